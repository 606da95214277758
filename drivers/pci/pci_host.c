/* Access to the configuration space of the machine's PCI functions, by ports or by ECAM; the scan for functions; BARs, capabilities and
 * message-signalled interrupts. */
#include "drivers/pci/pci_host.h"

#include "drivers/host.h"
#include "drivers/mmio.h"
#include "drivers/port_io.h"
#include "lib/log.h"
#include "lib/pci.h"
#include "lib/spinlock.h"
#include "lib/x86/paging.h"

#define CAPABILITIES_MAX 48 /* as many as fit in the 192 bytes that they may lie in */
#define POWER_MS 100        /* from D3 to D0: the function 10 ms, and 100 ms what is behind a bridge */

static struct spinlock lock; /* of the pair of ports */

uint32_t pci_host_read32(const struct pci_function *fn, unsigned reg)
{
	uint32_t value;

	if (fn->ecam)
		return mmio_read32(fn->ecam + reg);
	spin_lock(&lock);
	port_write32(PCI_CONFIG_ADDRESS, PCI_CONFIG_ENABLE | (uint32_t)fn->bdf << 8 | (reg & 0xfc));
	value = port_read32(PCI_CONFIG_DATA);
	spin_unlock(&lock);
	return value;
}

void pci_host_write32(const struct pci_function *fn, unsigned reg, uint32_t value)
{
	if (fn->ecam) {
		mmio_write32(fn->ecam + reg, value);
		return;
	}
	spin_lock(&lock);
	port_write32(PCI_CONFIG_ADDRESS, PCI_CONFIG_ENABLE | (uint32_t)fn->bdf << 8 | (reg & 0xfc));
	port_write32(PCI_CONFIG_DATA, value);
	spin_unlock(&lock);
}

uint16_t pci_host_read16(const struct pci_function *fn, unsigned reg)
{
	return (uint16_t)(pci_host_read32(fn, reg & ~3U) >> (reg & 2) * 8);
}

uint8_t pci_host_read8(const struct pci_function *fn, unsigned reg)
{
	return (uint8_t)(pci_host_read32(fn, reg & ~3U) >> (reg & 3) * 8);
}

void pci_host_write16(const struct pci_function *fn, unsigned reg, uint16_t value)
{
	if (fn->ecam) {
		mmio_write16(fn->ecam + reg, value);
		return;
	}
	/* The access has this width on the bus too: a neighbour such as the status register has bits that a write clears. */
	spin_lock(&lock);
	port_write32(PCI_CONFIG_ADDRESS, PCI_CONFIG_ENABLE | (uint32_t)fn->bdf << 8 | (reg & 0xfc));
	port_write16((uint16_t)(PCI_CONFIG_DATA + (reg & 2)), value);
	spin_unlock(&lock);
}

/* AMD's CPUs want EAX, AX or AL in each access to configuration space in memory (BKDG of family 10h, "MMIO
 * Configuration Coding Requirements"), which C does not promise. Their north bridge is always there. */
static bool amd_north_bridge(void)
{
	const struct pci_function north = { .bdf = 0x18 << 3 };

	return (pci_host_read32(&north, PCI_VENDOR_ID) & 0xffff) == 0x1022;
}

void pci_host_use_ecam(struct pci_function *fn, const struct acpi_info *acpi)
{
	unsigned bus = fn->bdf >> 8;

	if (amd_north_bridge())
		return;
	for (unsigned i = 0; i < acpi->mcfg_count; i++) {
		const struct acpi_mcfg *m = &acpi->mcfg[i];
		volatile uint8_t *page;

		if (m->segment || bus < m->first_bus || bus > m->last_bus || m->base > PHYS_LIMIT)
			continue;
		page = host_map_registers(m->base + ((uint64_t)fn->bdf << 12), PAGE_SIZE);
		/* ECAM is believed only where both ways show the same function. */
		if (page && mmio_read32(page) == pci_host_read32(fn, PCI_VENDOR_ID))
			fn->ecam = page;
		return;
	}
}

static bool probe(struct pci_function *fn, unsigned bdf)
{
	uint32_t id;

	*fn = (struct pci_function){ .bdf = (uint16_t)bdf };
	id = pci_host_read32(fn, PCI_VENDOR_ID);
	if ((id & 0xffff) == PCI_NO_VENDOR || !id)
		return false;
	fn->vendor = (uint16_t)id;
	fn->device = (uint16_t)(id >> 16);
	fn->class_code = pci_host_read32(fn, PCI_REVISION) >> 8;
	return true;
}

void pci_host_scan(void (*found)(void *ctx, const struct pci_function *fn), void *ctx)
{
	struct pci_function fn;

	for (unsigned slot = 0; slot < 256 * 32; slot++) {
		bool multi;

		if (!probe(&fn, slot << 3))
			continue;
		multi = pci_host_read8(&fn, PCI_HEADER_TYPE) & PCI_HEADER_MULTIFUNCTION;
		found(ctx, &fn);
		for (unsigned function = 1; multi && function < 8; function++)
			if (probe(&fn, slot << 3 | function))
				found(ctx, &fn);
	}
}

int pci_host_bar(const struct pci_function *fn, unsigned n, struct pci_bar *bar)
{
	unsigned reg = PCI_BAR0 + 4 * n;
	uint16_t command = pci_host_read16(fn, PCI_COMMAND);
	uint32_t low, high = 0, low_mask, high_mask = UINT32_MAX;
	bool wide;

	if (n >= PCI_BARS || (pci_host_read8(fn, PCI_HEADER_TYPE) & PCI_HEADER_LAYOUT) != 0)
		return ERR_NOENT;
	low = pci_host_read32(fn, reg);
	bar->io = low & 1;
	wide = !bar->io && (low & PCI_BAR_TYPE) == PCI_BAR_64 && n + 1 < PCI_BARS;
	pci_host_write16(fn, PCI_COMMAND, (uint16_t)(command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY)));
	pci_host_write32(fn, reg, UINT32_MAX);
	low_mask = pci_host_read32(fn, reg);
	pci_host_write32(fn, reg, low);
	if (wide) {
		high = pci_host_read32(fn, reg + 4);
		pci_host_write32(fn, reg + 4, UINT32_MAX);
		high_mask = pci_host_read32(fn, reg + 4);
		pci_host_write32(fn, reg + 4, high);
	}
	pci_host_write16(fn, PCI_COMMAND, command);
	low &= bar->io ? 0xfffcU : ~0xfU;
	low_mask &= bar->io ? 0xfffcU : ~0xfU;
	bar->address = (uint64_t)high << 32 | low;
	bar->size = ~((uint64_t)(bar->io ? UINT32_MAX : high_mask) << 32 | low_mask | (bar->io ? 0xffff0000U : 0)) + 1;
	return bar->address && (low_mask || (wide && high_mask)) ? 0 : ERR_NOENT;
}

volatile uint8_t *pci_host_map(const struct pci_function *fn, unsigned n, uint64_t size)
{
	volatile uint8_t *registers = NULL;
	struct pci_bar bar;

	if (!pci_host_bar(fn, n, &bar) && !bar.io && bar.size >= size)
		registers = host_map_registers(bar.address, size);
	if (!registers)
		log_line("pci %02x:%02x.%u: BAR %u is not %lu bytes of memory with an address", fn->bdf >> 8, fn->bdf >> 3 & 31, fn->bdf & 7, n,
			 (unsigned long)size);
	return registers;
}

void pci_host_enable(const struct pci_function *fn, bool intx)
{
	unsigned command = pci_host_read16(fn, PCI_COMMAND) & ~(unsigned)PCI_COMMAND_INTX_DISABLE;

	command |= PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | (intx ? 0 : PCI_COMMAND_INTX_DISABLE);
	pci_host_write16(fn, PCI_COMMAND, (uint16_t)command);
}

void pci_host_disable(const struct pci_function *fn)
{
	pci_host_write16(fn, PCI_COMMAND, (uint16_t)(pci_host_read16(fn, PCI_COMMAND) & ~PCI_COMMAND_MASTER));
}

uint8_t pci_host_capability(const struct pci_function *fn, uint8_t id, uint8_t from)
{
	uint8_t at;

	if (!(pci_host_read16(fn, PCI_STATUS) & PCI_STATUS_CAPABILITIES))
		return 0;
	at = from ? from : pci_host_read8(fn, PCI_CAPABILITIES) & 0xfc;
	for (unsigned n = 0; n < CAPABILITIES_MAX && at >= PCI_HEADER_END; n++) {
		uint16_t header = pci_host_read16(fn, at);

		if ((header & 0xff) == id)
			return at;
		at = (uint8_t)(header >> 8 & 0xfc);
	}
	return 0;
}

void pci_host_wake(const struct pci_function *fn)
{
	uint8_t cap = pci_host_capability(fn, PCI_CAP_POWER, 0);
	uint16_t control = cap ? pci_host_read16(fn, cap + PCI_POWER_CONTROL) : 0, command;
	uint32_t header[PCI_HEADER_END / 4];
	uint64_t until;

	if (!(control & PCI_POWER_STATE))
		return;
	/* The way from D3 to D0 may be a reset, which clears addresses and bus numbers. */
	for (unsigned reg = 0; reg < PCI_HEADER_END; reg += 4)
		header[reg / 4] = pci_host_read32(fn, reg);
	command = (uint16_t)header[PCI_COMMAND / 4];
	pci_host_write16(fn, cap + PCI_POWER_CONTROL, (uint16_t)(control & ~(PCI_POWER_STATE | PCI_POWER_EVENT)));
	until = time_now() + time_hz() / 1000 * POWER_MS;
	while (time_now() < until)
		(void)port_read32(PCI_CONFIG_ADDRESS); /* slow, and no access to the function */
	for (unsigned reg = PCI_REVISION + 4; reg < PCI_HEADER_END; reg += 4)
		pci_host_write32(fn, reg, header[reg / 4]);
	pci_host_write16(fn, PCI_COMMAND, command);
	log_line("pci %02x:%02x.%u: it was in power state D%u: now in D%u", fn->bdf >> 8, fn->bdf >> 3 & 31, fn->bdf & 7, control & PCI_POWER_STATE,
		 pci_host_read16(fn, cap + PCI_POWER_CONTROL) & PCI_POWER_STATE);
}

static void open_bridge(const struct pci_function *bridge)
{
	uint16_t command = pci_host_read16(bridge, PCI_COMMAND);

	/* Its decoding stays as it is: windows that the firmware did not set would lie over the first MiB. */
	if (command & PCI_COMMAND_MASTER)
		return;
	pci_host_write16(bridge, PCI_COMMAND, command | PCI_COMMAND_MASTER);
	log_line("pci %02x:%02x.%u: a bridge above a disk passed no DMA on: now it does", bridge->bdf >> 8, bridge->bdf >> 3 & 31, bridge->bdf & 7);
}

void pci_host_open_bridges(const struct pci_function *fn)
{
	unsigned bus = fn->bdf >> 8;

	/* A bridge lies on a bus of a lower number than the buses behind it. */
	for (unsigned bdf = 0; bus && bdf < bus << 8; bdf++) {
		struct pci_function bridge;

		if (!probe(&bridge, bdf) || (pci_host_read8(&bridge, PCI_HEADER_TYPE) & PCI_HEADER_LAYOUT) != PCI_HEADER_BRIDGE)
			continue;
		if (bus >= pci_host_read8(&bridge, PCI_SECONDARY_BUS) && bus <= pci_host_read8(&bridge, PCI_SUBORDINATE_BUS))
			open_bridge(&bridge);
	}
}

static int msix_init(struct pci_msi *msi)
{
	uint32_t where = pci_host_read32(msi->fn, msi->cap + 4U);
	uint16_t control = pci_host_read16(msi->fn, msi->cap + 2U);
	uint64_t offset = where & ~7U, size;
	struct pci_bar bar;

	msi->msix = true;
	msi->vectors = (control & 0x7ffU) + 1;
	size = (uint64_t)msi->vectors * PCI_MSIX_ENTRY_SIZE;
	if (pci_host_bar(msi->fn, where & 7, &bar) || bar.io || offset > bar.size || size > bar.size - offset)
		return ERR_NOENT;
	msi->table = host_map_registers(bar.address + offset, size);
	if (!msi->table)
		return ERR_NOENT;
	/* Every entry is masked before the function may use any. */
	pci_host_write16(msi->fn, msi->cap + 2U, (uint16_t)(control | PCI_MSIX_ENABLE | PCI_MSIX_FUNCTION_MASK));
	for (unsigned i = 0; i < msi->vectors; i++)
		mmio_write32(msi->table + (size_t)i * PCI_MSIX_ENTRY_SIZE + 12, 1);
	pci_host_write16(msi->fn, msi->cap + 2U, (uint16_t)((control | PCI_MSIX_ENABLE) & ~PCI_MSIX_FUNCTION_MASK));
	return 0;
}

int pci_msi_init(struct pci_msi *msi, const struct pci_function *fn)
{
	*msi = (struct pci_msi){ .fn = fn, .cap = pci_host_capability(fn, PCI_CAP_MSIX, 0) };
	if (msi->cap && !msix_init(msi))
		return 0;
	*msi = (struct pci_msi){ .fn = fn, .cap = pci_host_capability(fn, PCI_CAP_MSI, 0), .vectors = 1 };
	return msi->cap ? 0 : ERR_NOENT;
}

static void msi_set(const struct pci_msi *msi, uint64_t address, uint32_t data)
{
	uint16_t control = pci_host_read16(msi->fn, msi->cap + 2U);
	unsigned data_at = msi->cap + (control & PCI_MSI_64BIT ? 12U : 8U);

	pci_host_write16(msi->fn, msi->cap + 2U, (uint16_t)(control & ~(PCI_MSI_ENABLE | PCI_MSI_MULTIPLE)));
	pci_host_write32(msi->fn, msi->cap + 4U, (uint32_t)address);
	if (control & PCI_MSI_64BIT)
		pci_host_write32(msi->fn, msi->cap + 8U, (uint32_t)(address >> 32));
	pci_host_write16(msi->fn, data_at, (uint16_t)data);
	pci_host_write16(msi->fn, msi->cap + 2U, (uint16_t)((control & ~PCI_MSI_MULTIPLE) | PCI_MSI_ENABLE));
}

void pci_msi_mask(const struct pci_msi *msi, unsigned index, bool mask)
{
	if (msi->msix && index < msi->vectors)
		mmio_write32(msi->table + (size_t)index * PCI_MSIX_ENTRY_SIZE + 12, mask);
}

void pci_msi_set(const struct pci_msi *msi, unsigned index, uint64_t address, uint32_t data)
{
	volatile uint8_t *entry;

	if (index >= msi->vectors)
		return;
	if (!msi->msix) {
		msi_set(msi, address, data);
		return;
	}
	entry = msi->table + (size_t)index * PCI_MSIX_ENTRY_SIZE;
	mmio_write32(entry + 12, 1);
	mmio_write64(entry, address);
	mmio_write32(entry + 8, data);
	mmio_write32(entry + 12, 0);
}

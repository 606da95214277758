/* The configuration space of the devices on the bus, with its masks of writable bits, and the window of the BARs, where an access finds its
 * device first and then takes that device's lock. */
#include "vmm/devices/pci.h"

#include "lib/string.h"
#include "lib/x86/apic.h"
#include "vmm/interface/platform.h"

#define CONFIG_ADDRESS_BITS 0x80fffffcU

#define FIRST_GSI 16U
#define NOWHERE UINT64_MAX

#define HOST_BRIDGE_VENDOR 0x8086
#define HOST_BRIDGE_DEVICE 0x1237 /* 82441FX */
#define HOST_BRIDGE_CLASS 0x060000
#define HOST_BRIDGE_REVISION 2

/* ---- Configuration space of one device ---- */

uint16_t pci_config16(const struct pci_device *device, unsigned offset)
{
	uint16_t value;

	memcpy(&value, device->config + offset, sizeof(value));
	return value;
}

uint32_t pci_config32(const struct pci_device *device, unsigned offset)
{
	uint32_t value;

	memcpy(&value, device->config + offset, sizeof(value));
	return value;
}

void pci_config_set16(struct pci_device *device, unsigned offset, uint16_t value)
{
	memcpy(device->config + offset, &value, sizeof(value));
}

void pci_config_set32(struct pci_device *device, unsigned offset, uint32_t value)
{
	memcpy(device->config + offset, &value, sizeof(value));
}

static void set_writable32(struct pci_device *device, unsigned offset, uint32_t bits)
{
	memcpy(device->writable + offset, &bits, sizeof(bits));
}

/* Where a BAR decodes, as the configuration space stands: memory decoding must be on and the BAR whole inside the window. */
static uint64_t bar_target(const struct pci_device *device, unsigned index)
{
	const struct pci_bar *bar = &device->bar[index];
	uint64_t base = pci_config32(device, PCI_BAR0 + 4 * index) & ~0xfU;

	if (bar->is_64)
		base |= (uint64_t)pci_config32(device, PCI_BAR0 + 4 * index + 4) << 32;
	if (!(device->config[PCI_COMMAND] & PCI_COMMAND_MEMORY))
		return NOWHERE;
	if (base < PCI_MMIO_BASE || base - PCI_MMIO_BASE > PCI_MMIO_SIZE - bar->size)
		return NOWHERE;
	return base;
}

static void update_decoding(struct pci_device *device)
{
	spin_lock(&device->bus->lock);
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (device->bar[i].size)
			device->bar[i].base = bar_target(device, i);
	spin_unlock(&device->bus->lock);
}

unsigned pci_device_gsi(const struct pci_device *device)
{
	return FIRST_GSI + device->slot % 4;
}

/* Devices share a GSI, which is high while any of them asserts it. The bus's lock is held across vm_irq_set() so that two changes
 * reach the interrupt controllers in the order in which they were made. */
static void update_intx(struct pci_device *device)
{
	struct pci *pci = device->bus;
	uint32_t *level = &pci->intx_levels[device->slot % 4];
	bool disabled = pci_config16(device, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE;
	uint32_t before;

	spin_lock(&pci->lock);
	before = *level;
	if (device->intx && !disabled && !device->msi_enabled)
		*level |= 1U << device->slot;
	else
		*level &= ~(1U << device->slot);
	if (!before != !*level)
		vm_irq_set(pci->vm, pci_device_gsi(device), *level != 0);
	spin_unlock(&pci->lock);
}

void pci_device_intx(struct pci_device *device, bool level)
{
	if (device->intx == level)
		return;
	device->intx = level;
	if (level)
		device->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		device->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	update_intx(device);
}

void pci_device_msi_enabled(struct pci_device *device, bool enabled)
{
	if (device->msi_enabled == enabled)
		return;
	device->msi_enabled = enabled;
	update_intx(device);
}

static uint32_t config_read(struct pci_device *device, unsigned offset, unsigned size)
{
	uint32_t value = 0;

	spin_lock(&device->lock);
	if (device->ops && device->ops->config_reading)
		device->ops->config_reading(device, offset, size);
	memcpy(&value, device->config + offset, size);
	spin_unlock(&device->lock);
	return value;
}

static bool overlaps(unsigned offset, unsigned size, unsigned first, unsigned last)
{
	return offset <= last && offset + size > first;
}

static void config_write(struct pci_device *device, unsigned offset, unsigned size, uint32_t value)
{
	spin_lock(&device->lock);
	for (unsigned i = 0; i < size; i++) {
		uint8_t *byte = &device->config[offset + i];
		uint8_t mask = device->writable[offset + i];

		*byte = (uint8_t)((*byte & ~mask) | ((value >> (8 * i)) & mask));
	}
	if (overlaps(offset, size, PCI_COMMAND, PCI_COMMAND + 1)) {
		update_decoding(device);
		update_intx(device);
	} else if (overlaps(offset, size, PCI_BAR0, PCI_BAR0 + 4 * PCI_BARS - 1)) {
		update_decoding(device);
	}
	if (device->ops && device->ops->config_written)
		device->ops->config_written(device, offset, size);
	spin_unlock(&device->lock);
}

/* ---- Building a device ---- */

void pci_device_init(struct pci_device *device, struct vm *vm, const struct pci_device_ops *ops, uint16_t vendor, uint16_t id,
		     uint32_t class_code, uint8_t revision)
{
	memset(device, 0, sizeof(*device));
	device->vm = vm;
	device->ops = ops;
	device->next_capability = PCI_HEADER_END;
	pci_config_set16(device, PCI_VENDOR_ID, vendor);
	pci_config_set16(device, PCI_DEVICE_ID, id);
	pci_config_set32(device, PCI_REVISION, class_code << 8 | revision);
	device->writable[PCI_COMMAND] = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	device->writable[PCI_COMMAND + 1] = PCI_COMMAND_INTX_DISABLE >> 8;
	device->writable[PCI_INTERRUPT_LINE] = 0xff;
}

void pci_device_bar(struct pci_device *device, unsigned index, uint64_t size, bool is_64, const struct io_ops *ops, void *ctx)
{
	uint64_t mask = ~(size - 1);

	device->bar[index] = (struct pci_bar){
		.size = size, .base = NOWHERE, .is_64 = is_64, .ops = ops, .ctx = ctx, .device = device,
	};
	/* All-ones writes then read back as the size (section 6.2.5.1), with no further code. */
	device->config[PCI_BAR0 + 4 * index] = is_64 ? 4 : 0;
	set_writable32(device, PCI_BAR0 + 4 * index, (uint32_t)mask);
	if (is_64)
		set_writable32(device, PCI_BAR0 + 4 * index + 4, (uint32_t)(mask >> 32));
}

unsigned pci_device_capability(struct pci_device *device, uint8_t id, unsigned size)
{
	unsigned offset = device->next_capability;
	unsigned end = ALIGN_UP(offset + size, 4);

	if (end > sizeof(device->config) - 4)
		return 0;
	device->config[offset] = id;
	if (device->last_capability)
		device->config[device->last_capability + 1] = (uint8_t)offset;
	else
		device->config[PCI_CAPABILITIES] = (uint8_t)offset;
	device->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
	device->last_capability = (uint8_t)offset;
	device->next_capability = (uint8_t)end;
	return offset;
}

void pci_device_pin_a(struct pci_device *device)
{
	device->config[PCI_INTERRUPT_PIN] = 1;
}

/* What firmware leaves behind. The interrupt line says "unknown": a GSI above 15 is no line of the 8259s. */
static void device_reset(struct pci_device *device)
{
	spin_lock(&device->lock);
	for (unsigned i = 0; i < sizeof(device->config); i++)
		device->config[i] &= (uint8_t)~device->writable[i];
	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *bar = &device->bar[i];

		if (!bar->size)
			continue;
		pci_config_set32(device, PCI_BAR0 + 4 * i, pci_config32(device, PCI_BAR0 + 4 * i) | (uint32_t)bar->home);
		if (bar->is_64)
			pci_config_set32(device, PCI_BAR0 + 4 * i + 4, (uint32_t)(bar->home >> 32));
	}
	device->config[PCI_COMMAND] = PCI_COMMAND_MEMORY;
	device->config[PCI_INTERRUPT_LINE] = 0xff;
	if (device->ops && device->ops->reset)
		device->ops->reset(device);
	pci_device_intx(device, false);
	update_decoding(device);
	spin_unlock(&device->lock);
}

int pci_add(struct pci *pci, struct pci_device *device, unsigned slot)
{
	uint64_t next = pci->next_home;

	if (slot >= PCI_SLOTS)
		return ERR_RANGE;
	if (pci->device[slot])
		return ERR_BUSY;
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &device->bar[i];

		if (!bar->size)
			continue;
		if (bar->size > PCI_MMIO_SIZE)
			return ERR_NOMEM;
		bar->home = ALIGN_UP(next, bar->size);
		if (bar->home - PCI_MMIO_BASE > PCI_MMIO_SIZE - bar->size)
			return ERR_NOMEM;
		next = bar->home + bar->size;
	}
	pci->next_home = next;
	pci->device[slot] = device;
	device->bus = pci;
	device->slot = slot;
	device_reset(device);
	return 0;
}

/* ---- Configuration mechanism 1 ---- */

static uint64_t address_read(void *dev, uint64_t offset, unsigned size)
{
	struct pci *pci = dev;
	uint32_t value;

	if (size == 1 && offset == 1 && pci->cf9_read)
		return pci->cf9_read(pci->cf9_ctx);
	if (size != 4)
		return UINT64_MAX;
	spin_lock(&pci->lock);
	value = pci->address;
	spin_unlock(&pci->lock);
	return value;
}

static void address_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci *pci = dev;

	if (size == 1 && offset == 1 && pci->cf9_write)
		pci->cf9_write(pci->cf9_ctx, (uint8_t)value);
	if (size != 4)
		return;
	spin_lock(&pci->lock);
	pci->address = (uint32_t)value & CONFIG_ADDRESS_BITS;
	spin_unlock(&pci->lock);
}

/* The device that PCI_CONFIG_ADDRESS selects, or NULL: disabled, another bus, another function, nobody there. */
static struct pci_device *selected(struct pci *pci, unsigned *offset)
{
	uint32_t address;

	spin_lock(&pci->lock);
	address = pci->address;
	spin_unlock(&pci->lock);
	*offset = address & 0xfc;
	if (!(address & PCI_CONFIG_ENABLE) || (address & 0x00ff0700))
		return NULL;
	return pci->device[(address >> 11) & (PCI_SLOTS - 1)];
}

static uint64_t data_read(void *dev, uint64_t offset, unsigned size)
{
	unsigned reg;
	struct pci_device *device = selected(dev, &reg);

	return device ? config_read(device, reg + (unsigned)offset, size) : UINT64_MAX;
}

static void data_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned reg;
	struct pci_device *device = selected(dev, &reg);

	if (device)
		config_write(device, reg + (unsigned)offset, size, (uint32_t)value);
}

/* ---- The window of the BARs ---- */

static bool bar_holds(const struct pci_bar *bar, uint64_t address, unsigned size)
{
	/* A base of NOWHERE wraps to offset address + 1, which no BAR is large enough to hold. */
	uint64_t offset = address - bar->base;

	return offset < bar->size && size <= bar->size - offset;
}

static struct pci_bar *find_bar(struct pci *pci, uint64_t address, unsigned size, uint64_t *offset)
{
	struct pci_bar *bar;

	spin_lock(&pci->lock);
	bar = pci->last_hit;
	if (!bar || !bar_holds(bar, address, size)) {
		bar = NULL;
		for (unsigned slot = 0; slot < PCI_SLOTS && !bar; slot++) {
			struct pci_device *device = pci->device[slot];

			for (unsigned i = 0; device && i < PCI_BARS && !bar; i++)
				if (bar_holds(&device->bar[i], address, size))
					bar = &device->bar[i];
		}
		if (bar)
			pci->last_hit = bar;
	}
	if (bar)
		*offset = address - bar->base;
	spin_unlock(&pci->lock);
	return bar;
}

static uint64_t window_read(void *dev, uint64_t offset, unsigned size)
{
	uint64_t at, value;
	struct pci_bar *bar = find_bar(dev, PCI_MMIO_BASE + offset, size, &at);

	if (!bar)
		return UINT64_MAX;
	spin_lock(&bar->device->lock);
	value = bar->ops->read(bar->ctx, at, size);
	spin_unlock(&bar->device->lock);
	return value;
}

static void window_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	uint64_t at;
	struct pci_bar *bar = find_bar(dev, PCI_MMIO_BASE + offset, size, &at);

	if (!bar)
		return;
	spin_lock(&bar->device->lock);
	bar->ops->write(bar->ctx, at, size, value);
	spin_unlock(&bar->device->lock);
}

_Static_assert(PCI_MMIO_BASE + PCI_MMIO_SIZE == IOAPIC_BASE, "the window ends where the I/O APIC begins");

static const struct io_ops address_ops = { .read = address_read, .write = address_write };
static const struct io_ops data_ops = { .read = data_read, .write = data_write };
static const struct io_ops window_ops = { .read = window_read, .write = window_write };

/* ---- The bus ---- */

int pci_init(struct pci *pci, struct vm *vm, struct io_space *pio, struct io_space *mmio)
{
	int err;

	memset(pci, 0, sizeof(*pci));
	pci->vm = vm;
	pci->next_home = PCI_MMIO_BASE;
	err = io_space_add(pio, PCI_CONFIG_ADDRESS, 4, &address_ops, pci, NULL);
	if (!err)
		err = io_space_add(pio, PCI_CONFIG_DATA, 4, &data_ops, pci, NULL);
	if (!err)
		err = io_space_add(mmio, PCI_MMIO_BASE, PCI_MMIO_SIZE, &window_ops, pci, NULL);
	if (err)
		return err;
	pci_device_init(&pci->host_bridge, vm, NULL, HOST_BRIDGE_VENDOR, HOST_BRIDGE_DEVICE, HOST_BRIDGE_CLASS, HOST_BRIDGE_REVISION);
	return pci_add(pci, &pci->host_bridge, 0);
}

void pci_reset(struct pci *pci)
{
	spin_lock(&pci->lock);
	pci->address = 0;
	spin_unlock(&pci->lock);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		if (pci->device[slot])
			device_reset(pci->device[slot]);
}

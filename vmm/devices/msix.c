/* The MSI-X table and the pending bits: a vector that is masked when it is signalled stays pending until its mask is lifted. */
#include "vmm/devices/msix.h"

#include "lib/pci.h"
#include "lib/string.h"
#include "vmm/interface/platform.h"

#define CAPABILITY_SIZE 12


_Static_assert(offsetof(struct msix_entry, address) == 0 && offsetof(struct msix_entry, data) == 8 &&
	       offsetof(struct msix_entry, control) == 12, "MSI-X table entry");

int msix_init(struct msix *msix, struct pci_device *device, unsigned bar, uint32_t table_offset, uint32_t pba_offset, unsigned vectors)
{
	memset(msix, 0, sizeof(*msix));
	if (vectors == 0 || vectors > MSIX_VECTORS_MAX)
		return ERR_RANGE;
	msix->device = device;
	msix->vectors = vectors;
	msix->capability = pci_device_capability(device, PCI_CAP_MSIX, CAPABILITY_SIZE);
	if (!msix->capability)
		return ERR_NOMEM;
	pci_config_set16(device, msix->capability + PCI_MSI_CONTROL, (uint16_t)(vectors - 1));
	device->writable[msix->capability + PCI_MSI_CONTROL + 1] = (PCI_MSIX_ENABLE | PCI_MSIX_FUNCTION_MASK) >> 8;
	pci_config_set32(device, msix->capability + 4, table_offset | bar);
	pci_config_set32(device, msix->capability + 8, pba_offset | bar);
	msix_reset(msix);
	return 0;
}

void msix_reset(struct msix *msix)
{
	msix->pending = 0;
	for (unsigned i = 0; i < MSIX_VECTORS_MAX; i++)
		msix->table[i] = (struct msix_entry){ .control = PCI_MSIX_ENTRY_MASKED };
	msix->device->config[msix->capability + PCI_MSI_CONTROL + 1] = 0;
	msix->enabled = false;
	msix->device->msi_enabled = false;
}

static bool function_lets_through(const struct msix *msix)
{
	uint16_t control = pci_config16(msix->device, msix->capability + PCI_MSI_CONTROL);

	return (control & (PCI_MSIX_ENABLE | PCI_MSIX_FUNCTION_MASK)) == PCI_MSIX_ENABLE && pci_device_is_master(msix->device);
}

static void send_pending(struct msix *msix)
{
	if (!msix->pending || !function_lets_through(msix))
		return;
	for (unsigned i = 0; i < msix->vectors; i++) {
		if (!(msix->pending & BIT(i)) || (msix->table[i].control & PCI_MSIX_ENTRY_MASKED))
			continue;
		msix->pending &= ~BIT(i);
		vm_msi_send(msix->device->vm, msix->table[i].address, msix->table[i].data);
	}
}

void msix_update(struct msix *msix)
{
	msix->enabled = pci_config16(msix->device, msix->capability + PCI_MSI_CONTROL) & PCI_MSIX_ENABLE;
	pci_device_msi_enabled(msix->device, msix->enabled);
	send_pending(msix);
}

void msix_signal(struct msix *msix, unsigned vector)
{
	if (!msix->enabled || vector >= msix->vectors)
		return;
	if ((msix->table[vector].control & PCI_MSIX_ENTRY_MASKED) || !function_lets_through(msix))
		msix->pending |= BIT(vector);
	else
		vm_msi_send(msix->device->vm, msix->table[vector].address, msix->table[vector].data);
}

void msix_clear_pending(struct msix *msix)
{
	msix->pending = 0;
}

/* An aligned dword or quadword of the `bytes` that exist? */
static bool access_fits(uint64_t offset, unsigned size, uint64_t bytes)
{
	return (size == 4 || size == 8) && offset % size == 0 && offset < bytes && size <= bytes - offset;
}

uint64_t msix_table_read(const struct msix *msix, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	if (!access_fits(offset, size, msix->vectors * sizeof(struct msix_entry)))
		return UINT64_MAX;
	memcpy(&value, (const uint8_t *)msix->table + offset, size);
	return value;
}

void msix_table_write(struct msix *msix, uint64_t offset, unsigned size, uint64_t value)
{
	struct msix_entry *entry;

	if (!access_fits(offset, size, msix->vectors * sizeof(struct msix_entry)))
		return;
	entry = &msix->table[offset / sizeof(*entry)];
	memcpy((uint8_t *)entry + offset % sizeof(*entry), &value, size);
	entry->address &= ~3ULL;
	entry->control &= PCI_MSIX_ENTRY_MASKED;
	send_pending(msix);
}

uint64_t msix_pba_read(const struct msix *msix, uint64_t offset, unsigned size)
{
	if (!access_fits(offset, size, sizeof(msix->pending)))
		return UINT64_MAX;
	return msix->pending >> (8 * offset);
}

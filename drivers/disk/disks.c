/* Where the disks are found: each function on PCI that may be mass storage is shown to one driver after the other, until one takes it. */
#include "drivers/disk/disk.h"
#include "drivers/host.h"
#include "drivers/pci/pci_host.h"
#include "lib/log.h"

static bool (*const drivers[])(const struct pci_function *fn) = { nvme_found, virtio_host_found, ahci_found, ata_found };

static void found(void *ctx, const struct pci_function *fn)
{
	struct pci_function *kept;
	uint64_t phys;

	/* A bridge that sleeps hides what is behind it, and is found before that. */
	if (fn->class_code >> 8 == PCI_CLASS_BRIDGE)
		pci_host_wake(fn);
	/* Only mass storage is of interest to the drivers: class 1, or virtio, whose devices may have a class without a meaning. */
	if (fn->class_code >> 16 != 1 && fn->vendor != 0x1af4)
		return;
	kept = host_dma_alloc(1, &phys);
	if (!kept)
		return;
	*kept = *fn;
	pci_host_use_ecam(kept, ctx);
	pci_host_wake(kept);
	pci_host_open_bridges(kept);
	for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++)
		if (drivers[i](kept))
			return;
	/* VMD, or a SATA controller whose registers RST hides. */
	if (fn->vendor == PCI_VENDOR_INTEL && fn->class_code >> 8 == PCI_CLASS_RAID) {
		log_line("pci %02x:%02x.%u: Intel RST or VMD hides the disks behind it: switch RST/VMD off in the firmware set-up", fn->bdf >> 8,
			 fn->bdf >> 3 & 31, fn->bdf & 7);
		return;
	}
	log_line("pci %02x:%02x.%u: no driver for mass storage %06x (%04x:%04x)", fn->bdf >> 8, fn->bdf >> 3 & 31, fn->bdf & 7,
		 fn->class_code, fn->vendor, fn->device);
}

void disks_find(const struct acpi_info *acpi)
{
	pci_host_scan(found, (void *)(uintptr_t)acpi);
	if (!disk_at(0))
		log_line("disk: none found");
}

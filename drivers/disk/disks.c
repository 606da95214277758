/* Where the disks are found: every function on PCI is shown to every driver. */
#include "drivers/disk/disk.h"
#include "drivers/host.h"
#include "drivers/pci/pci_host.h"
#include "lib/log.h"

static bool (*const drivers[])(const struct pci_function *fn) = { nvme_found, virtio_host_found, ahci_found, ata_found };

static void found(void *ctx, const struct pci_function *fn)
{
	struct pci_function *kept;
	uint64_t phys;

	/* Only mass storage is anybody's here: class 1, or virtio's class of no meaning. */
	if (fn->class_code >> 16 != 1 && fn->vendor != 0x1af4)
		return;
	kept = host_dma_alloc(1, &phys);
	if (!kept)
		return;
	*kept = *fn;
	pci_host_use_ecam(kept, ctx);
	for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++)
		if (drivers[i](kept))
			return;
	log_line("pci %02x:%02x.%u: no driver for mass storage %06x (%04x:%04x)", fn->bdf >> 8, fn->bdf >> 3 & 31, fn->bdf & 7,
		 fn->class_code, fn->vendor, fn->device);
}

void disks_find(const struct acpi_info *acpi)
{
	static bool done;

	if (done)
		return;
	done = true;
	pci_host_scan(found, (void *)(uintptr_t)acpi);
	if (!disk_at(0))
		log_line("disk: none found");
}

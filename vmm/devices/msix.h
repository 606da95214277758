/* MSI-X: the capability, the table and the pending bits of a PCI device.
 *
 * Source: PCI Local Bus Specification 3.0, section 6.8.2 and 6.8.3. All functions want the device's lock held. */
#ifndef VMM_DEVICES_MSIX_H
#define VMM_DEVICES_MSIX_H

#include "lib/types.h"
#include "vmm/devices/pci.h"

#define MSIX_VECTORS_MAX 8U

struct msix_entry {
	uint64_t address;
	uint32_t data;
	uint32_t control; /* bit 0: masked */
};
_Static_assert(sizeof(struct msix_entry) == 16, "MSI-X table entry");

struct msix {
	struct pci_device *device;
	unsigned capability; /* its offset */
	unsigned vectors;
	bool enabled;        /* MSI-X Enable */
	uint64_t pending;    /* the pending bit array, a bit a vector */
	struct msix_entry table[MSIX_VECTORS_MAX];
};

/* Add the capability to a new device: table and pending bits at these offsets of BAR `bar`, which routes their accesses to the functions
 * below. Returns 0, ERR_RANGE (1 to MSIX_VECTORS_MAX vectors) or ERR_NOMEM (configuration space full). */
int msix_init(struct msix *msix, struct pci_device *device, unsigned bar, uint32_t table_offset, uint32_t pba_offset, unsigned vectors);

/* Back to the state after power-on: disabled, every vector masked, nothing pending. */
void msix_reset(struct msix *msix);

/* Configuration space or the bus-master bit may have changed: take up the new enable and mask bits, send what they let through. */
void msix_update(struct msix *msix);

/* Accesses to the table and to the pending bits, relative to each. Aligned dwords and quadwords count; others read as all ones. */
uint64_t msix_table_read(const struct msix *msix, uint64_t offset, unsigned size);
void msix_table_write(struct msix *msix, uint64_t offset, unsigned size, uint64_t value);
uint64_t msix_pba_read(const struct msix *msix, uint64_t offset, unsigned size);

/* Send vector `vector`, or leave it pending while it or the function is masked or no bus master. Vectors that do not exist, and all
 * of them while MSI-X is disabled, are dropped. */
void msix_signal(struct msix *msix, unsigned vector);

/* Forget what is pending: the device was reset. */
void msix_clear_pending(struct msix *msix);

#endif

/* The machine's own PCI functions (PCI Local Bus 3.0, chapter 6; PCI Express Base, section 7.2.2 for ECAM). */
#ifndef DRIVERS_PCI_PCI_HOST_H
#define DRIVERS_PCI_PCI_HOST_H

#include "drivers/acpi/acpi.h"
#include "lib/pci.h"
#include "lib/types.h"


struct pci_function {
	uint16_t bdf;               /* bus << 8 | device << 3 | function; segment 0 */
	uint16_t vendor, device;
	uint32_t class_code;        /* class << 16 | subclass << 8 | interface */
	volatile uint8_t *ecam;     /* its configuration page; NULL: by the ports 0xcf8 and 0xcfc */
};

struct pci_bar {
	bool io;
	uint64_t address; /* physical address or port */
	uint64_t size;
};

/* Message-signalled interrupts of one function. */
struct pci_msi {
	const struct pci_function *fn;
	uint8_t cap;                 /* 0: the function has none */
	bool msix;
	unsigned vectors;            /* that can be set: 1 for MSI */
	volatile uint8_t *table;     /* MSI-X */
};

/* Call `found` for every function of all 256 buses, as the firmware numbered them. */
void pci_host_scan(void (*found)(void *ctx, const struct pci_function *fn), void *ctx);

/* Reach the function's configuration by ECAM from now on, where ACPI's MCFG covers its bus. */
void pci_host_use_ecam(struct pci_function *fn, const struct acpi_info *acpi);

/* Configuration space; `reg` is aligned to the width. */
uint8_t pci_host_read8(const struct pci_function *fn, unsigned reg);
uint16_t pci_host_read16(const struct pci_function *fn, unsigned reg);
uint32_t pci_host_read32(const struct pci_function *fn, unsigned reg);
void pci_host_write16(const struct pci_function *fn, unsigned reg, uint16_t value);
void pci_host_write32(const struct pci_function *fn, unsigned reg, uint32_t value);

/* Where base address register `n` (0..5) decodes, and how much. Decoding is off for a moment. Returns 0 or ERR_NOENT (absent, or the
 * firmware gave it no address). */
int pci_host_bar(const struct pci_function *fn, unsigned n, struct pci_bar *bar);

/* Map the memory BAR `n`, at most `size` bytes of it. Returns NULL, logged, where it is no memory, smaller than that or unmappable. */
volatile uint8_t *pci_host_map(const struct pci_function *fn, unsigned n, uint64_t size);

/* Let the function decode its BARs and do DMA, with INTx on or off; or stop its DMA. */
void pci_host_enable(const struct pci_function *fn, bool intx);
void pci_host_disable(const struct pci_function *fn);

/* Have the function in D0 (PCI Power Management 1.2, section 5.4), with its header as it is now. Logged where it was not. */
void pci_host_wake(const struct pci_function *fn);
/* Switch on the bus mastering of all bridges above the function. Logged for each where it was off. */
void pci_host_open_bridges(const struct pci_function *fn);

/* The first capability with this ID at or after `from` (0: the list's start): its offset, or 0. */
uint8_t pci_host_capability(const struct pci_function *fn, uint8_t id, uint8_t from);

/* Find MSI-X or, without it, MSI; all vectors are masked or off. Returns 0 or ERR_NOENT. */
int pci_msi_init(struct pci_msi *msi, const struct pci_function *fn);
/* Mask an MSI-X vector, which holds its interrupts back; or let them come. Vectors of MSI cannot be masked here. */
void pci_msi_mask(const struct pci_msi *msi, unsigned index, bool mask);
/* Have vector `index` write `data` to `address`, and enable it. */
void pci_msi_set(const struct pci_msi *msi, unsigned index, uint64_t address, uint32_t data);

#endif

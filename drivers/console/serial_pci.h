/* UARTs on PCI: class 07, subclass 00 (PCI Code and ID Assignment 1.11), found through the configuration ports. */
#ifndef DRIVERS_CONSOLE_SERIAL_PCI_H
#define DRIVERS_CONSOLE_SERIAL_PCI_H

#include "lib/types.h"

struct serial_pci {
	uint8_t bus, device, function;
	uint16_t vendor, product;
	bool memory;      /* its registers are in memory space */
	uint64_t address; /* port or physical address */
};

/* Find the first 16550-compatible UART whose first BAR has an address, and switch its decoding on. Returns 0 or ERR_NOENT. */
int serial_pci_find(struct serial_pci *found);

#endif

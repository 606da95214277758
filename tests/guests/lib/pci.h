/* PCI configuration space by ports 0xcf8 and 0xcfc (PCI local bus specification 3.0, section 3.2.2.3.2). */
#ifndef TESTS_GUESTS_LIB_PCI_H
#define TESTS_GUESTS_LIB_PCI_H

#include "tests/guests/lib/cpu.h"

enum {
	PCI_ADDRESS = 0xcf8,
	PCI_DATA = 0xcfc,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_CAPABILITIES = 0x34,
	PCI_INTERRUPT_LINE = 0x3c,
};

/* Device number `dev` of bus 0, function 0. */
static inline uint32_t pci_address(unsigned dev, unsigned reg)
{
	return 0x80000000U | dev << 11 | (reg & 0xfc);
}

static inline uint32_t pci_read32(unsigned dev, unsigned reg)
{
	outl(PCI_ADDRESS, pci_address(dev, reg));
	return inl(PCI_DATA);
}

static inline uint16_t pci_read16(unsigned dev, unsigned reg)
{
	outl(PCI_ADDRESS, pci_address(dev, reg));
	return inw((uint16_t)(PCI_DATA + (reg & 2)));
}

static inline uint8_t pci_read8(unsigned dev, unsigned reg)
{
	outl(PCI_ADDRESS, pci_address(dev, reg));
	return inb((uint16_t)(PCI_DATA + (reg & 3)));
}

static inline void pci_write32(unsigned dev, unsigned reg, uint32_t value)
{
	outl(PCI_ADDRESS, pci_address(dev, reg));
	outl(PCI_DATA, value);
}

static inline void pci_write16(unsigned dev, unsigned reg, uint16_t value)
{
	outl(PCI_ADDRESS, pci_address(dev, reg));
	outw((uint16_t)(PCI_DATA + (reg & 2)), value);
}

#endif

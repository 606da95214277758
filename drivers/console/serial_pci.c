/* The scan of all bus, device and function numbers through the configuration ports, until a UART is found that has an address. */
#include "drivers/console/serial_pci.h"

#include "drivers/port_io.h"
#include "lib/pci.h"

#define CLASS_SERIAL 0x0700
#define INTERFACE_16550 2 /* 2..6: 16550 and its successors, which begin as one */
#define INTERFACE_16950 6

static void address(unsigned where, unsigned reg)
{
	port_write32(PCI_CONFIG_ADDRESS, PCI_CONFIG_ENABLE | where << 8 | reg);
}

static uint32_t config_read(unsigned where, unsigned reg)
{
	address(where, reg);
	return port_read32(PCI_CONFIG_DATA);
}

static unsigned header_type(unsigned where)
{
	return config_read(where, PCI_HEADER_TYPE & ~3U) >> (PCI_HEADER_TYPE & 3) * 8 & 0xff;
}

static bool usable(unsigned where, struct serial_pci *found)
{
	uint32_t class = config_read(where, PCI_REVISION), id = config_read(where, PCI_VENDOR_ID), bar = config_read(where, PCI_BAR0);
	unsigned interface = class >> 8 & 0xff;

	if (class >> 16 != CLASS_SERIAL || interface < INTERFACE_16550 || interface > INTERFACE_16950 ||
	    header_type(where) & PCI_HEADER_LAYOUT)
		return false;
	found->memory = !(bar & PCI_BAR_IO);
	found->address = found->memory ? bar & ~0xfU : bar & 0xfffc;
	if (found->memory && (bar & PCI_BAR_TYPE) == PCI_BAR_64)
		found->address |= (uint64_t)config_read(where, PCI_BAR0 + 4) << 32;
	if (!found->address)
		return false; /* the firmware gave it no place */
	found->bus = (uint8_t)(where >> 8);
	found->device = (uint8_t)(where >> 3 & 31);
	found->function = (uint8_t)(where & 7);
	found->vendor = (uint16_t)id;
	found->product = (uint16_t)(id >> 16);
	return true;
}

int serial_pci_find(struct serial_pci *found)
{
	for (unsigned where = 0; where < 256 * 32 * 8;) {
		uint32_t id = config_read(where, PCI_VENDOR_ID);
		unsigned functions = 8;

		if ((id & 0xffff) == PCI_NO_VENDOR)
			functions = where % 8 ? 1 : 8; /* no function 0: no device */
		else if (usable(where, found)) {
			/* The upper half of this register is the status, whose bits are cleared by writing ones. */
			uint32_t command = config_read(where, PCI_COMMAND) & 0xffff;

			address(where, PCI_COMMAND);
			port_write32(PCI_CONFIG_DATA, command | (found->memory ? PCI_COMMAND_MEMORY : PCI_COMMAND_IO));
			return 0;
		} else if (where % 8 || (header_type(where) & PCI_HEADER_MULTIFUNCTION)) {
			functions = 1;
		}
		where += functions;
	}
	return ERR_NOENT;
}

/* The scan of all bus, device and function numbers through the configuration ports, until a UART is found that has an address. */
#include "drivers/console/serial_pci.h"

#include "drivers/port_io.h"

/* PCI Local Bus Specification 3.0, sections 3.2.2.3.2 and 6.1. */
#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define ENABLE 0x80000000U
enum { REG_ID = 0x00, REG_COMMAND = 0x04, REG_CLASS = 0x08, REG_HEADER = 0x0c, REG_BAR0 = 0x10, REG_BAR1 = 0x14 };

#define COMMAND_IO 0x1U
#define COMMAND_MEMORY 0x2U
#define MULTIFUNCTION BIT(23)
#define HEADER_TYPE(reg) ((reg) >> 16 & 0x7f)
#define CLASS_SERIAL 0x0700
#define INTERFACE_16550 2 /* 2..6: 16550 and its successors, which begin as one */
#define INTERFACE_16950 6

static void address(unsigned where, unsigned reg)
{
	port_write32(CONFIG_ADDRESS, ENABLE | where << 8 | reg);
}

static uint32_t config_read(unsigned where, unsigned reg)
{
	address(where, reg);
	return port_read32(CONFIG_DATA);
}

static bool usable(unsigned where, struct serial_pci *found)
{
	uint32_t class = config_read(where, REG_CLASS), id = config_read(where, REG_ID), bar = config_read(where, REG_BAR0);
	unsigned interface = class >> 8 & 0xff;

	if (class >> 16 != CLASS_SERIAL || interface < INTERFACE_16550 || interface > INTERFACE_16950 ||
	    HEADER_TYPE(config_read(where, REG_HEADER)) != 0)
		return false;
	found->memory = !(bar & 1);
	found->address = found->memory ? bar & ~0xfU : bar & 0xfffc;
	if (found->memory && (bar & 6) == 4)
		found->address |= (uint64_t)config_read(where, REG_BAR1) << 32;
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
		uint32_t id = config_read(where, REG_ID);
		unsigned functions = 8;

		if ((id & 0xffff) == 0xffff)
			functions = where % 8 ? 1 : 8; /* no function 0: no device */
		else if (usable(where, found)) {
			/* The upper half of this register is the status, whose bits are cleared by writing ones. */
			uint32_t command = config_read(where, REG_COMMAND) & 0xffff;

			address(where, REG_COMMAND);
			port_write32(CONFIG_DATA, command | (found->memory ? COMMAND_MEMORY : COMMAND_IO));
			return 0;
		} else if (where % 8 || (config_read(where, REG_HEADER) & MULTIFUNCTION)) {
			functions = 1;
		}
		where += functions;
	}
	return ERR_NOENT;
}

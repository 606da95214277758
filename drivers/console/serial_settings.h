/* The user's choice of a serial port: serial=WHERE[,BAUD[,FORMAT]] of Lamina's command line. */
#ifndef DRIVERS_CONSOLE_SERIAL_SETTINGS_H
#define DRIVERS_CONSOLE_SERIAL_SETTINGS_H

#include "drivers/console/serial.h"
#include "lib/types.h"
#include "lib/x86/pc.h"

enum serial_where {
	SERIAL_AUTO, /* what the firmware's SPCR table names, else COM1, else the first PCI UART */
	SERIAL_OFF,
	SERIAL_PORT, /* com1..com4 or 0xPORT */
	SERIAL_PCI,  /* the first 16550 on PCI */
	SERIAL_MMIO, /* mmio:0xADDRESS; mmio32: the registers are 4 bytes apart */
};

struct serial_settings {
	enum serial_where where;
	uint64_t address; /* port or physical address */
	unsigned stride;
	struct serial_line line;
};

#define SERIAL_COM1 PORT_COM1

/* 115200 8N1 on whatever is there. */
void serial_settings_default(struct serial_settings *settings);
/* Read what follows `serial=`. Returns NULL, or what was expected (a literal): then *settings is the default. */
const char *serial_settings_parse(struct serial_settings *settings, const char *text);
/* The ISA interrupt of a COM port; -1 where the port is none of the four. */
int serial_port_irq(uint16_t port);

#endif

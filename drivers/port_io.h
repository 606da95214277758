/* The machine's I/O ports, as drivers see them; arch/ implements them, unit tests may fake them. */
#ifndef DRIVERS_PORT_IO_H
#define DRIVERS_PORT_IO_H

#include "lib/types.h"

uint8_t port_read8(uint16_t port);
uint16_t port_read16(uint16_t port);
uint32_t port_read32(uint16_t port);
void port_write8(uint16_t port, uint8_t value);
void port_write16(uint16_t port, uint16_t value);
void port_write32(uint16_t port, uint32_t value);

#endif

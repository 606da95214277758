/* The interface of drivers/port_io.h, one instruction for each function. */
#include "drivers/port_io.h"

#include "arch/x86_64/asm.h"

uint8_t port_read8(uint16_t port)
{
	return inb(port);
}

uint16_t port_read16(uint16_t port)
{
	return inw(port);
}

uint32_t port_read32(uint16_t port)
{
	return inl(port);
}

void port_write8(uint16_t port, uint8_t value)
{
	outb(port, value);
}

void port_write16(uint16_t port, uint16_t value)
{
	outw(port, value);
}

void port_write32(uint16_t port, uint32_t value)
{
	outl(port, value);
}

#include "drivers/serial.h"

#include "drivers/port_io.h"

enum { THR = 0, RBR = 0, DLL = 0, IER = 1, DLM = 1, FCR = 2, IIR = 2, LCR = 3, MCR = 4, LSR = 5, SCR = 7 };

#define IIR_NONE 0x01
#define LSR_DATA_READY 0x01
#define LSR_THR_EMPTY 0x20
#define LSR_TRANSMITTER_EMPTY 0x40
#define MCR_DTR_RTS_OUT2 0x0b

int serial_init(struct serial *serial, uint16_t port)
{
	serial->port = 0;
	port_write8(port + SCR, 0x5a);
	if (port_read8(port + SCR) != 0x5a)
		return ERR_NOENT;
	port_write8(port + IER, 0);
	port_write8(port + LCR, 0x80); /* divisor latch */
	port_write8(port + DLL, 1);    /* 115200 */
	port_write8(port + DLM, 0);
	port_write8(port + LCR, 0x03); /* 8N1 */
	port_write8(port + FCR, 0x07); /* FIFOs on and empty; an interrupt for every byte */
	port_write8(port + MCR, MCR_DTR_RTS_OUT2);
	serial->port = port;
	return 0;
}

bool serial_can_send(const struct serial *serial)
{
	return port_read8(serial->port + LSR) & LSR_THR_EMPTY;
}

bool serial_idle(const struct serial *serial)
{
	return port_read8(serial->port + LSR) & LSR_TRANSMITTER_EMPTY;
}

void serial_send(const struct serial *serial, uint8_t byte)
{
	port_write8(serial->port + THR, byte);
}

bool serial_receive(const struct serial *serial, uint8_t *byte)
{
	if (!(port_read8(serial->port + LSR) & LSR_DATA_READY))
		return false;
	*byte = port_read8(serial->port + RBR);
	return true;
}

void serial_interrupts(const struct serial *serial, bool transmit)
{
	port_write8(serial->port + IER, transmit ? 0x03 : 0x01);
}

bool serial_interrupt_pending(const struct serial *serial)
{
	return !(port_read8(serial->port + IIR) & IIR_NONE);
}

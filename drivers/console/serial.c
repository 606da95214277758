/* The UART's registers, in ports or in memory, and how a UART is recognized and set up. */
#include "drivers/console/serial.h"

#include "drivers/port_io.h"

enum { THR = 0, RBR = 0, DLL = 0, IER = 1, DLM = 1, FCR = 2, IIR = 2, LCR = 3, MCR = 4, LSR = 5, SCR = 7 };

#define IIR_NONE 0x01
#define LCR_STOP_2 0x04
#define LCR_PARITY 0x08
#define LCR_EVEN 0x10
#define LCR_DIVISOR 0x80
#define LSR_DATA_READY 0x01
#define LSR_THR_EMPTY 0x20
#define LSR_TRANSMITTER_EMPTY 0x40
#define MCR_DTR_RTS_OUT2 0x0b

static uint8_t read_reg(const struct serial *serial, unsigned reg)
{
	if (!serial->memory)
		return port_read8((uint16_t)(serial->port + reg));
	if (serial->stride == 4)
		return (uint8_t)*(volatile const uint32_t *)(serial->memory + reg * 4UL);
	return serial->memory[reg];
}

static void write_reg(const struct serial *serial, unsigned reg, uint8_t value)
{
	if (!serial->memory)
		port_write8((uint16_t)(serial->port + reg), value);
	else if (serial->stride == 4)
		*(volatile uint32_t *)(serial->memory + reg * 4UL) = value;
	else
		serial->memory[reg] = value;
}

static bool answers(const struct serial *serial)
{
	static const uint8_t patterns[] = { 0x5a, 0xa5 };

	for (unsigned i = 0; i < ARRAY_SIZE(patterns); i++) {
		write_reg(serial, SCR, patterns[i]);
		if (read_reg(serial, SCR) != patterns[i])
			return false;
	}
	return read_reg(serial, LSR) != 0xff;
}

int serial_init(struct serial *serial, const struct serial_line *line)
{
	uint8_t lcr;

	serial->present = false;
	if (!answers(serial))
		return ERR_NOENT;
	write_reg(serial, IER, 0);
	lcr = read_reg(serial, LCR) & (uint8_t)~LCR_DIVISOR;
	write_reg(serial, LCR, LCR_DIVISOR | lcr);
	serial->firmware_divisor = (uint16_t)(read_reg(serial, DLL) | read_reg(serial, DLM) << 8);
	if (line->baud) {
		uint32_t divisor = MIN(MAX(SERIAL_CLOCK / line->baud, 1U), 0xffffU);

		write_reg(serial, DLL, (uint8_t)divisor);
		write_reg(serial, DLM, (uint8_t)(divisor >> 8));
		lcr = (uint8_t)((line->data_bits - 5) | (line->stop_bits == 2 ? LCR_STOP_2 : 0) |
				(line->parity == 'n' ? 0 : LCR_PARITY) | (line->parity == 'e' ? LCR_EVEN : 0));
	}
	write_reg(serial, LCR, lcr);
	write_reg(serial, FCR, 0x07); /* FIFOs on and empty; an interrupt for every byte */
	write_reg(serial, MCR, MCR_DTR_RTS_OUT2);
	serial->present = true;
	return 0;
}

bool serial_can_send(const struct serial *serial)
{
	return read_reg(serial, LSR) & LSR_THR_EMPTY;
}

bool serial_idle(const struct serial *serial)
{
	return read_reg(serial, LSR) & LSR_TRANSMITTER_EMPTY;
}

void serial_send(const struct serial *serial, uint8_t byte)
{
	write_reg(serial, THR, byte);
}

bool serial_receive(const struct serial *serial, uint8_t *byte)
{
	if (!(read_reg(serial, LSR) & LSR_DATA_READY))
		return false;
	*byte = read_reg(serial, RBR);
	return true;
}

void serial_interrupts(const struct serial *serial, bool transmit)
{
	write_reg(serial, IER, transmit ? 0x03 : 0x01);
}

bool serial_interrupt_pending(const struct serial *serial)
{
	return !(read_reg(serial, IIR) & IIR_NONE);
}

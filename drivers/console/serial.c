/* The UART's registers, in ports or in memory, and how a UART is recognized and set up. */
#include "drivers/console/serial.h"

#include "drivers/port_io.h"
#include "lib/uart.h"

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
		write_reg(serial, UART_SCR, patterns[i]);
		if (read_reg(serial, UART_SCR) != patterns[i])
			return false;
	}
	return read_reg(serial, UART_LSR) != 0xff;
}

int serial_init(struct serial *serial, const struct serial_line *line)
{
	uint8_t lcr;

	serial->present = false;
	if (!answers(serial))
		return ERR_NOENT;
	write_reg(serial, UART_IER, 0);
	lcr = read_reg(serial, UART_LCR) & (uint8_t)~LCR_DLAB;
	write_reg(serial, UART_LCR, LCR_DLAB | lcr);
	serial->firmware_divisor = (uint16_t)(read_reg(serial, UART_DIVISOR_LOW) | read_reg(serial, UART_DIVISOR_HIGH) << 8);
	if (line->baud) {
		uint32_t divisor = MIN(MAX(SERIAL_CLOCK / line->baud, 1U), 0xffffU);

		write_reg(serial, UART_DIVISOR_LOW, (uint8_t)divisor);
		write_reg(serial, UART_DIVISOR_HIGH, (uint8_t)(divisor >> 8));
		lcr = (uint8_t)((line->data_bits - 5) | (line->stop_bits == 2 ? LCR_STOP_2 : 0) |
				(line->parity == 'n' ? 0 : LCR_PARITY) | (line->parity == 'e' ? LCR_EVEN : 0));
	}
	write_reg(serial, UART_LCR, lcr);
	write_reg(serial, UART_FCR, FCR_ENABLE | FCR_CLEAR_RX | FCR_CLEAR_TX); /* FIFOs on and empty; an interrupt for every byte */
	write_reg(serial, UART_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
	serial->present = true;
	return 0;
}

bool serial_can_send(const struct serial *serial)
{
	return read_reg(serial, UART_LSR) & LSR_THRE;
}

bool serial_idle(const struct serial *serial)
{
	return read_reg(serial, UART_LSR) & LSR_TEMT;
}

void serial_send(const struct serial *serial, uint8_t byte)
{
	write_reg(serial, UART_DATA, byte);
}

bool serial_receive(const struct serial *serial, uint8_t *byte)
{
	if (!(read_reg(serial, UART_LSR) & LSR_DR))
		return false;
	*byte = read_reg(serial, UART_DATA);
	return true;
}

void serial_interrupts(const struct serial *serial, bool transmit)
{
	write_reg(serial, UART_IER, transmit ? IER_RX | IER_THRE : IER_RX);
}

bool serial_interrupt_pending(const struct serial *serial)
{
	return !(read_reg(serial, UART_IIR) & IIR_NONE);
}

/* The machine's own 16550 serial port (National Semiconductor PC16550D data sheet), in I/O or memory space. */
#ifndef DRIVERS_CONSOLE_SERIAL_H
#define DRIVERS_CONSOLE_SERIAL_H

#include "lib/types.h"
#include "lib/uart.h"
#include "lib/x86/pc.h"

#define SERIAL_FIFO UART_FIFO_SIZE
#define SERIAL_REGISTERS UART_REGISTERS
#define SERIAL_CLOCK (UART_CLOCK_HZ / 16) /* bits a second with divisor 1, of a PC's UART */

/* Where the registers are. */
struct serial {
	bool present;
	uint16_t port;           /* of the first one, where `memory` is NULL */
	volatile uint8_t *memory;
	uint16_t firmware_divisor; /* found there by serial_init, which may have set another one */
	unsigned stride;         /* bytes from one register to the next: 1; 4: they are accessed as 32 bits */
};

/* How the line is to be set. */
struct serial_line {
	uint32_t baud;           /* 0: leave the UART as the firmware set it */
	uint8_t data_bits;       /* 5..8 */
	char parity;             /* 'n', 'e' or 'o' */
	uint8_t stop_bits;       /* 1 or 2 */
};

/* Look for a UART at serial->port or serial->memory and set it up, with FIFOs and without interrupts. Returns 0, then serial->present is
 * set; or ERR_NOENT where none answers (an empty bus reads as ones; the scratch register must hold what is written). */
int serial_init(struct serial *serial, const struct serial_line *line);
/* Whether the transmit FIFO is empty: then it takes SERIAL_FIFO bytes. */
bool serial_can_send(const struct serial *serial);
/* Whether the last bit has left: the transmitter is empty, not only its FIFO. */
bool serial_idle(const struct serial *serial);
void serial_send(const struct serial *serial, uint8_t byte);
/* Take one received byte. Returns false where there is none. */
bool serial_receive(const struct serial *serial, uint8_t *byte);
/* Interrupts on received data and, if `transmit`, on an empty transmit FIFO. */
void serial_interrupts(const struct serial *serial, bool transmit);
/* Whether the UART interrupts for anything; looking acknowledges an empty transmit FIFO. */
bool serial_interrupt_pending(const struct serial *serial);

#endif

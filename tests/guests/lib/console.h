/* Text on the first serial port, 0x3f8, by polling. */
#ifndef TESTS_GUESTS_LIB_CONSOLE_H
#define TESTS_GUESTS_LIB_CONSOLE_H

#include "lib/types.h"

enum {
	UART = 0x3f8,
	UART_DATA = UART,         /* receive buffer, transmit holding; divisor low */
	UART_IER = UART + 1,      /* interrupt enable; divisor high */
	UART_IIR = UART + 2,      /* read: interrupt identification; write: FIFO control */
	UART_FCR = UART + 2,
	UART_LCR = UART + 3,
	UART_MCR = UART + 4,
	UART_LSR = UART + 5,
	UART_MSR = UART + 6,
	UART_SCRATCH = UART + 7,
};

void console_init(void);
/* Print; at most 400 characters. */
void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Wait until all that was printed has left the transmitter. */
void console_drain(void);

#endif

/* The registers and bits of a PC's UART, a 16550 (National Semiconductor PC16550D data sheet, section 8). */
#ifndef LIB_UART_H
#define LIB_UART_H

#include "lib/types.h"

/* Offsets of the registers. With LCR's divisor latch bit the first two are the divisor. */
enum uart_register {
	UART_DATA = 0, /* RBR, THR */
	UART_DIVISOR_LOW = 0,
	UART_IER = 1,
	UART_DIVISOR_HIGH = 1,
	UART_IIR = 2, /* read */
	UART_FCR = 2, /* written */
	UART_LCR = 3,
	UART_MCR = 4,
	UART_LSR = 5,
	UART_MSR = 6,
	UART_SCR = 7,
	UART_REGISTERS
};

#define UART_FIFO_SIZE 16

#define IER_RX 0x01
#define IER_THRE 0x02
#define IER_LINE 0x04
#define IER_MODEM 0x08

#define IIR_NONE 0x01
#define IIR_LINE 0x06
#define IIR_RX 0x04
#define IIR_TIMEOUT 0x0c
#define IIR_THRE 0x02
#define IIR_MODEM 0x00
#define IIR_FIFOS 0xc0

#define FCR_ENABLE 0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04
#define FCR_TRIGGER_SHIFT 6

#define LCR_WORD 0x03
#define LCR_STOP_2 0x04
#define LCR_PARITY 0x08
#define LCR_EVEN 0x10
#define LCR_DLAB 0x80

#define MCR_DTR 0x01
#define MCR_RTS 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10

#define LSR_DR 0x01
#define LSR_OE 0x02
#define LSR_THRE 0x20
#define LSR_TEMT 0x40

/* The modem status register; its name is spelled out, for MSR_ is a model-specific register everywhere else. */
#define MODEM_TERI 0x04
#define MODEM_DELTAS 0x0f
#define MODEM_CTS 0x10
#define MODEM_DSR 0x20
#define MODEM_RI 0x40
#define MODEM_DCD 0x80

#endif

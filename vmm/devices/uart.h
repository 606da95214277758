/* The 16550A UART: a guest's serial port. */
#ifndef VMM_DEVICES_UART_H
#define VMM_DEVICES_UART_H

#include "lib/spinlock.h"
#include "lib/types.h"
#include "lib/uart.h"
#include "vmm/interface/platform.h"
#include "vmm/io/io_space.h"


struct uart_fifo {
	uint8_t head;  /* the oldest byte */
	uint8_t count;
	uint8_t byte[UART_FIFO_SIZE];
};

struct uart {
	struct vm *vm;
	struct spinlock lock;
	unsigned gsi;
	uint8_t ier;
	uint8_t fcr;          /* FIFO enable and trigger level only */
	uint8_t lcr;
	uint8_t mcr;
	uint8_t lsr_errors;   /* the error bits of LSR; the others follow from the FIFOs */
	uint8_t msr;
	uint8_t scr;
	uint16_t divisor;     /* DLM:DLL */
	bool thre_pending;    /* a transmitter-empty interrupt was not yet identified */
	bool timeout_pending; /* a character time-out interrupt */
	bool irq;
	uint8_t rx_trigger;   /* bytes that request service */
	struct uart_fifo rx;
	struct uart_fifo tx;  /* bytes that the console could not take yet; empty on a healthy machine */
	uint64_t timeout_per_divisor; /* machine time of four characters, over the divisor */
	uint64_t retry_delay;
	uint64_t rx_deadline;
	uint64_t tx_deadline;
	struct vtimer rx_timer;
	struct vtimer tx_timer;
};

/* Claim the eight ports at `base` (0x3f8) and bring the power-on state; interrupts go to `gsi` (4).
 * (National Semiconductor PC16550D data sheet; a PC gates the interrupt with MCR's OUT2.) Returns 0 or io_space_add's error. */
int uart_init(struct uart *uart, struct vm *vm, struct io_space *pio, uint16_t base, unsigned gsi);

/* Back to power-on, the interrupt low. */
void uart_reset(struct uart *uart);

/* Whether uart_receive would take a byte now; needs no lock, so another core's answer may be a moment old. */
bool uart_can_receive(const struct uart *uart);

/* A byte arrives from outside. Takes the UART's lock. Returns false, and changes nothing, where there is no room or the receiver
 * is cut off (loopback): offer it again later. */
bool uart_receive(struct uart *uart, uint8_t byte);

#endif

/* The machine's own 16550 serial port (National Semiconductor PC16550D data sheet). */
#ifndef DRIVERS_SERIAL_H
#define DRIVERS_SERIAL_H

#include "lib/types.h"

#define SERIAL_FIFO 16

struct serial {
	uint16_t port; /* 0: there is none */
};

/* Set 115200 8N1 with FIFOs. Returns 0, or ERR_NOENT where no UART answers at `port`. */
int serial_init(struct serial *serial, uint16_t port);
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

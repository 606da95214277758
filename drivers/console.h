/* The machine's console: the serial port shared by Lamina's log and the running guest, and a text screen for the log.
 * Output is queued and leaves by interrupt; nothing here waits, except the flush at the end of everything. */
#ifndef DRIVERS_CONSOLE_H
#define DRIVERS_CONSOLE_H

#include "lib/types.h"

/* Use the serial port at `port`; 0 for none. Until console_interrupts_on(), output is also pushed by each call. */
void console_init(uint16_t port);
/* Also show the log on the text screen mapped at `memory`; again when its mapping moves. */
void console_add_screen(volatile void *memory);
/* The serial interrupt is routed: let it drive the queue. */
void console_interrupts_on(void);
bool console_has_serial(void);

/* One byte of a guest's console. Returns false where the queue is full. */
bool console_put_guest(uint8_t byte);
/* Text of Lamina's own; \n becomes CR LF. It starts on a fresh line when a guest left the last one unfinished. */
void console_put_log(const char *text);
/* The serial port interrupts: send what is queued, hand each received byte to `input`. */
void console_interrupt(void (*input)(uint8_t byte));
/* Send everything that is queued, however long it takes (polling). */
void console_flush(void);
/* This core has the last word: the others are halted, one of them (or this one) perhaps while it held the console. */
void console_seize(void);

#endif

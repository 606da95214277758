/* The machine's console: the serial port and the screen, shared by Lamina's log and the guests' output.
 *
 * Serial output is queued and leaves by interrupt, or by polling where the port has none. The screen is a terminal in memory
 * (drivers/console/terminal.h): Lamina's own lines are drawn at once, the guests' output a little later and piece by piece, by whichever core
 * reaches `console_due`. Nothing here waits, except the flush at the end of everything. Times are ticks of the host's TSC. */
#ifndef DRIVERS_CONSOLE_CONSOLE_H
#define DRIVERS_CONSOLE_CONSOLE_H

#include "drivers/console/serial.h"
#include "drivers/console/terminal.h"
#include "lib/types.h"

/* When console_service wants to be called, UINT64_MAX for never: [0] by core 0, which also polls the serial port, [1] by the others. */
extern uint64_t console_due[2];

/* How fast the clock runs: once, when it is known. */
void console_set_rate(uint64_t ticks_per_second);
/* Use this serial port (one that serial_init has set up) from now on, or none (NULL). What was said so far goes there too. */
void console_use_serial(const struct serial *serial);
/* Show it on this screen from now on, or on none (draw is NULL): `memory` is TERMINAL_BYTES(columns, rows). What was said so far is shown. */
void console_use_screen(terminal_draw_fn *draw, void *ctx, void *memory, unsigned columns, unsigned rows);
/* The serial interrupt is routed: let it drive the queue. */
void console_interrupts_on(void);
/* The serial port has no interrupt: console_service is to look after it. */
void console_poll_on(void);
bool console_has_serial(void);

/* One byte of a guest's console. Returns false where the queue is full. */
bool console_put_guest(uint8_t byte, uint64_t now);
/* Text of Lamina's own; \n becomes CR LF. It starts on a fresh line when a guest left the last one unfinished. */
void console_put_log(const char *text);
/* The serial port interrupts: send what is queued, hand each received byte to `input`. */
void console_interrupt(void (*input)(uint8_t byte));
/* The time is console_due: poll the serial port, draw a piece of what changed. Bounded. */
void console_service(uint64_t now, void (*input)(uint8_t byte));
/* Send and draw everything, however long it takes (polling). */
void console_flush(void);
/* This core has the last word: the others are halted, one of them (or this one) perhaps while it held the console. */
void console_seize(void);

#endif

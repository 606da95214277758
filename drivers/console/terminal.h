/* A text terminal in memory: what a VT100 (and ECMA-48) does that boot logs, shells and full-screen programs ask of one. The screen
 * behind it gets only the cells that changed, and not before somebody calls terminal_refresh: a scroll costs one cleared line. */
#ifndef DRIVERS_CONSOLE_TERMINAL_H
#define DRIVERS_CONSOLE_TERMINAL_H

#include "lib/types.h"

#define TERMINAL_COLUMNS_MAX 256
#define TERMINAL_ROWS_MAX 128
#define TERMINAL_PARAMETERS 8

/* A cell: the character (0x20..0x7e, or TERMINAL_OTHER) in bits 7:0, VGA's attribute in bits 15:8 (foreground, background colour). */
#define TERMINAL_OTHER 0x7f /* a character that is not ASCII */

typedef void terminal_draw_fn(void *ctx, unsigned column, unsigned row, uint16_t cell);

struct terminal {
	uint16_t *cells;  /* rows from `top` on, around the end */
	uint16_t *shown;  /* what the screen shows, row by row */
	terminal_draw_fn *draw;
	void *ctx;
	unsigned columns, rows;
	unsigned top;
	unsigned column, row;
	unsigned saved_column, saved_row;
	unsigned region_first, region_last; /* the rows that scroll */
	unsigned cursor_column, cursor_row; /* where the screen shows the cursor */
	bool wrap;        /* the last column is written: the next character begins a line */
	bool cursor_off;
	bool bold, inverse;
	uint8_t foreground, background; /* VGA colours */
	uint8_t state;    /* of the escape sequence */
	bool private_mode; /* it began with ? */
	uint8_t utf8_left; /* bytes of a character that are still to come */
	unsigned last_parameter; /* index of the parameter that is being read */
	uint16_t parameter[TERMINAL_PARAMETERS];
	unsigned next_row;  /* where the next refresh goes on */
	uint64_t dirty[TERMINAL_ROWS_MAX / 64];
};

/* Begin with an empty terminal of `columns` by `rows` cells (1..TERMINAL_*_MAX each): `memory` is TERMINAL_BYTES of them. Nothing is known
 * of what the screen shows: the first refresh draws all of it. */
#define TERMINAL_BYTES(columns, rows) ((size_t)(columns) * (rows) * 2 * sizeof(uint16_t))
void terminal_init(struct terminal *t, void *memory, unsigned columns, unsigned rows, terminal_draw_fn *draw, void *ctx);
/* One byte of output. It may be anything. */
void terminal_put(struct terminal *t, uint8_t byte);
/* Draw up to `budget` cells that changed (a row is begun only while some of the budget is left; looking at four cells costs as much as
 * drawing one). Returns whether there are more. */
bool terminal_refresh(struct terminal *t, unsigned budget);
/* Whether there is anything to draw. */
bool terminal_dirty(const struct terminal *t);

#endif

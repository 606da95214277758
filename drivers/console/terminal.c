/* The terminal's state machine: each byte of output changes cells, cursor or attributes, and marks its rows as changed; a refresh draws the
 * cells of marked rows that differ from what the screen shows. */
#include "drivers/console/terminal.h"

#include "lib/string.h"

/* States between the bytes of an escape sequence (ECMA-48 section 5.4: CSI, parameters, intermediates, final byte). */
enum { GROUND, ESCAPE, ESCAPE_SKIP, CSI, CSI_SKIP, STRING, STRING_ESCAPE };

#define GREY 7
#define BRIGHT 8
#define BLACK 0
#define TAB 8

static uint16_t *row_cells(const struct terminal *t, unsigned row)
{
	unsigned at = t->top + row;

	return t->cells + (size_t)(at >= t->rows ? at - t->rows : at) * t->columns;
}

static void mark(struct terminal *t, unsigned row)
{
	t->dirty[row / 64] |= BIT(row % 64);
}

static void mark_from(struct terminal *t, unsigned first, unsigned last)
{
	for (unsigned row = first; row <= last; row++)
		mark(t, row);
}

static uint16_t attribute(const struct terminal *t)
{
	unsigned front = t->foreground | (t->bold ? BRIGHT : 0), back = t->background;

	return (uint16_t)((t->inverse ? front << 4 | back : back << 4 | front) << 8);
}

static void blank(struct terminal *t, unsigned row, unsigned first, unsigned end)
{
	uint16_t *cells = row_cells(t, row), cell = (uint16_t)((t->background << 4 | t->foreground) << 8 | ' ');

	for (unsigned column = first; column < end; column++)
		cells[column] = cell;
	mark(t, row);
}

static void copy_row(struct terminal *t, unsigned to, unsigned from)
{
	memcpy(row_cells(t, to), row_cells(t, from), t->columns * sizeof(uint16_t));
}

/* Rows first..last move up by `n` (down: by -n); what comes in is blank. */
static void scroll(struct terminal *t, unsigned first, unsigned last, int n)
{
	unsigned rows = last - first + 1, by = MIN((unsigned)(n < 0 ? -n : n), rows);

	if (n > 0 && rows == t->rows) {
		t->top = (t->top + by) % t->rows;
	} else {
		for (unsigned i = 0; i + by < rows; i++) {
			if (n > 0)
				copy_row(t, first + i, first + i + by);
			else
				copy_row(t, last - i, last - i - by);
		}
	}
	for (unsigned i = 0; i < by; i++)
		blank(t, n > 0 ? last - i : first + i, 0, t->columns);
	mark_from(t, first, last);
}

static void move(struct terminal *t, int column, int row)
{
	t->column = (unsigned)MAX(0, MIN(column, (int)t->columns - 1));
	t->row = (unsigned)MAX(0, MIN(row, (int)t->rows - 1));
	t->wrap = false;
}

static void line_feed(struct terminal *t)
{
	t->wrap = false;
	if (t->row == t->region_last)
		scroll(t, t->region_first, t->region_last, 1);
	else if (t->row + 1 < t->rows)
		t->row++;
}

static void reverse_line_feed(struct terminal *t)
{
	t->wrap = false;
	if (t->row == t->region_first)
		scroll(t, t->region_first, t->region_last, -1);
	else if (t->row)
		t->row--;
}

static void show(struct terminal *t, uint8_t character)
{
	if (t->wrap) {
		t->column = 0;
		line_feed(t);
	}
	row_cells(t, t->row)[t->column] = attribute(t) | character;
	mark(t, t->row);
	if (t->column + 1 < t->columns)
		t->column++;
	else
		t->wrap = true;
}

static void reset(struct terminal *t)
{
	t->foreground = GREY;
	t->background = BLACK;
	t->bold = t->inverse = t->cursor_off = t->wrap = false;
	t->column = t->row = t->saved_column = t->saved_row = 0;
	t->region_first = 0;
	t->region_last = t->rows - 1;
	for (unsigned row = 0; row < t->rows; row++)
		blank(t, row, 0, t->columns);
}

void terminal_init(struct terminal *t, void *memory, unsigned columns, unsigned rows, terminal_draw_fn *draw, void *ctx)
{
	memset(t, 0, sizeof(*t));
	t->cells = memory;
	t->shown = t->cells + (size_t)columns * rows;
	t->draw = draw;
	t->ctx = ctx;
	t->columns = columns;
	t->rows = rows;
	memset(t->shown, 0xff, (size_t)columns * rows * sizeof(uint16_t)); /* no cell that exists */
	reset(t);
}

/* ANSI's colours in VGA's order: red and blue change places. */
static uint8_t vga_colour(unsigned ansi)
{
	return (uint8_t)((ansi & 10) | (ansi & 1) << 2 | (ansi >> 2 & 1));
}

/* Select graphic rendition (ECMA-48 section 8.3.117; xterm's bright colours and 38/48). */
static void rendition(struct terminal *t)
{
	for (unsigned i = 0; i <= t->last_parameter; i++) {
		unsigned p = t->parameter[i];

		if (p == 0) {
			t->bold = t->inverse = false;
			t->foreground = GREY;
			t->background = BLACK;
		} else if (p == 1) {
			t->bold = true;
		} else if (p == 22) {
			t->bold = false;
		} else if (p == 7 || p == 27) {
			t->inverse = p == 7;
		} else if (p == 38 || p == 48) {
			/* 5;N: one of 256 colours, of which only the first 16 exist here; 2;R;G;B: none does. */
			bool indexed = i + 2 <= t->last_parameter && t->parameter[i + 1] == 5;

			if (indexed && t->parameter[i + 2] < 16)
				*(p == 38 ? &t->foreground : &t->background) = vga_colour(t->parameter[i + 2]);
			i += indexed ? 2 : 4;
		} else if (p == 39) {
			t->foreground = GREY;
		} else if (p == 49) {
			t->background = BLACK;
		} else if (p >= 30 && p <= 37) {
			t->foreground = vga_colour(p - 30);
		} else if (p >= 40 && p <= 47) {
			t->background = vga_colour(p - 40);
		} else if (p >= 90 && p <= 97) {
			t->foreground = vga_colour(p - 90 + BRIGHT);
		}
	}
}

static void erase_display(struct terminal *t, unsigned what)
{
	unsigned first = what == 0 ? t->row + 1 : 0, end = what == 1 ? t->row : t->rows;

	if (what > 3)
		return;
	for (unsigned row = first; row < end; row++)
		blank(t, row, 0, t->columns);
	if (what == 0)
		blank(t, t->row, t->column, t->columns);
	if (what == 1)
		blank(t, t->row, 0, t->column + 1);
}

static void erase_line(struct terminal *t, unsigned what)
{
	if (what <= 2)
		blank(t, t->row, what == 0 ? t->column : 0, what == 1 ? t->column + 1 : t->columns);
}

/* Insert (n > 0) or delete characters at the cursor. */
static void shift_line(struct terminal *t, int n)
{
	uint16_t *at = row_cells(t, t->row) + t->column;
	unsigned left = t->columns - t->column, by = MIN((unsigned)(n < 0 ? -n : n), left);

	if (n > 0) {
		memmove(at + by, at, (left - by) * sizeof(*at));
		blank(t, t->row, t->column, t->column + by);
	} else {
		memmove(at, at + by, (left - by) * sizeof(*at));
		blank(t, t->row, t->columns - by, t->columns);
	}
}

static void set_region(struct terminal *t, unsigned first, unsigned last)
{
	last = last ? MIN(last, t->rows) : t->rows;
	if (first >= last)
		return;
	t->region_first = first - 1;
	t->region_last = last - 1;
	move(t, 0, 0);
}

/* The control sequence that `final` ends (ECMA-48 section 8.3; DEC's scrolling region and cursor). */
static void control_sequence(struct terminal *t, uint8_t final)
{
	unsigned p0 = t->parameter[0];
	int n = (int)MAX(p0, 1U), column = (int)t->column, row = (int)t->row;
	bool in_region = t->row >= t->region_first && t->row <= t->region_last;

	if (t->private_mode) {
		if ((final == 'h' || final == 'l') && p0 == 25) {
			t->cursor_off = final == 'l';
			mark(t, t->row);
		}
		return;
	}
	switch (final) {
	case '@': shift_line(t, n); break;
	case 'A': move(t, column, row - n); break;
	case 'B': case 'e': move(t, column, row + n); break;
	case 'C': case 'a': move(t, column + n, row); break;
	case 'D': move(t, column - n, row); break;
	case 'E': move(t, 0, row + n); break;
	case 'F': move(t, 0, row - n); break;
	case 'G': case '`': move(t, n - 1, row); break;
	case 'H': case 'f': move(t, (int)MAX(t->parameter[1], 1) - 1, n - 1); break;
	case 'J': erase_display(t, p0); break;
	case 'K': erase_line(t, p0); break;
	case 'L': if (in_region) scroll(t, t->row, t->region_last, -n); break;
	case 'M': if (in_region) scroll(t, t->row, t->region_last, n); break;
	case 'P': shift_line(t, -n); break;
	case 'S': scroll(t, t->region_first, t->region_last, n); break;
	case 'T': scroll(t, t->region_first, t->region_last, -n); break;
	case 'X': blank(t, t->row, t->column, MIN(t->column + (unsigned)n, t->columns)); break;
	case 'd': move(t, column, n - 1); break;
	case 'm': rendition(t); break;
	case 'r': set_region(t, (unsigned)n, t->parameter[1]); break;
	case 's': t->saved_column = t->column; t->saved_row = t->row; break;
	case 'u': move(t, (int)t->saved_column, (int)t->saved_row); break;
	default: break;
	}
}

static void control(struct terminal *t, uint8_t byte)
{
	switch (byte) {
	case '\b': move(t, (int)t->column - 1, (int)t->row); break;
	case '\t': move(t, (int)((t->column / TAB + 1) * TAB), (int)t->row); break;
	case '\n': case '\v': case '\f': line_feed(t); break;
	case '\r': move(t, 0, (int)t->row); break;
	case 0x18: case 0x1a: t->state = GROUND; break;
	case 0x1b: t->state = t->state == STRING ? STRING_ESCAPE : ESCAPE; break;
	case 0x07: t->state = t->state == STRING ? GROUND : t->state; break;
	default: break;
	}
}

static void escape(struct terminal *t, uint8_t byte)
{
	t->state = GROUND;
	switch (byte) {
	case '[':
		t->state = CSI;
		t->private_mode = false;
		t->last_parameter = 0;
		memset(t->parameter, 0, sizeof(t->parameter));
		break;
	case ']': case 'P': case '_': case '^': case 'X': t->state = STRING; break;
	case '7': t->saved_column = t->column; t->saved_row = t->row; break;
	case '8': move(t, (int)t->saved_column, (int)t->saved_row); break;
	case 'D': line_feed(t); break;
	case 'E': t->column = 0; line_feed(t); break;
	case 'M': reverse_line_feed(t); break;
	case 'c': reset(t); break;
	default:
		if (byte >= 0x20 && byte <= 0x2f)
			t->state = ESCAPE_SKIP; /* a character set: one more byte */
	}
}

static void parameter(struct terminal *t, uint8_t byte)
{
	if (byte >= '0' && byte <= '9') {
		uint16_t *p = &t->parameter[t->last_parameter];

		*p = (uint16_t)MIN(*p * 10U + byte - '0', 9999U);
	} else if (byte == ';' || byte == ':') {
		t->last_parameter = MIN(t->last_parameter + 1, TERMINAL_PARAMETERS - 1U);
	} else if (byte >= '<' && byte <= '?') {
		t->private_mode = true;
	} else if (byte >= 0x40 && byte <= 0x7e) {
		t->state = GROUND;
		control_sequence(t, byte);
	} else {
		t->state = CSI_SKIP; /* an intermediate byte: nothing that is known here */
	}
}

/* UTF-8: one cell a character, whatever it is. */
static void ground(struct terminal *t, uint8_t byte)
{
	if (byte >= 0x80 && byte < 0xc0 && t->utf8_left) {
		t->utf8_left--;
		return;
	}
	t->utf8_left = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc0 ? 1 : 0;
	if (byte != 0x7f)
		show(t, byte < 0x80 ? byte : TERMINAL_OTHER);
}

void terminal_put(struct terminal *t, uint8_t byte)
{
	mark(t, t->row); /* the cursor leaves it */
	if (byte < 0x20) {
		control(t, byte);
	} else {
		switch (t->state) {
		case GROUND: ground(t, byte); break;
		case ESCAPE: escape(t, byte); break;
		case CSI: parameter(t, byte); break;
		case CSI_SKIP: t->state = byte >= 0x40 ? GROUND : CSI_SKIP; break;
		case STRING: break;
		default: t->state = GROUND; break;
		}
	}
	mark(t, t->row);
}

bool terminal_dirty(const struct terminal *t)
{
	for (unsigned i = 0; i < ARRAY_SIZE(t->dirty); i++)
		if (t->dirty[i])
			return true;
	return false;
}

static unsigned draw_row(struct terminal *t, unsigned row)
{
	const uint16_t *cells = row_cells(t, row);
	uint16_t *shown = t->shown + (size_t)row * t->columns;
	unsigned drawn = 0;

	for (unsigned column = 0; column < t->columns; column++) {
		uint16_t cell = cells[column];

		if (row == t->row && column == t->column && !t->cursor_off)
			cell = (uint16_t)((cell & 0xff) | (cell >> 4 & 0x0f00) | (cell & 0x0f00) << 4);
		if (cell == shown[column])
			continue;
		shown[column] = cell;
		t->draw(t->ctx, column, row, cell);
		drawn++;
	}
	return drawn;
}

bool terminal_refresh(struct terminal *t, unsigned budget)
{
	for (unsigned i = 0; i < t->rows && budget; i++) {
		unsigned row = t->next_row;

		if (t->dirty[row / 64] & BIT(row % 64)) {
			unsigned drawn = draw_row(t, row);

			t->dirty[row / 64] &= ~BIT(row % 64);
			budget -= MIN(drawn + t->columns / 4, budget);
		}
		t->next_row = row + 1 == t->rows ? 0 : row + 1;
	}
	return terminal_dirty(t);
}

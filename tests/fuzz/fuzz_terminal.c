/* SOURCES: drivers/console/terminal.c */
/* TEST: 5000 runs of up to 1024 bytes */
/* The terminal: the input is its size and the bytes that are put to it, with refreshes of any budget among them. */
#include "tests/fuzz/fuzz.h"

#include "drivers/console/terminal.h"

static struct terminal t;
static uint16_t *screen;
static unsigned drawn;

static void draw(void *ctx, unsigned column, unsigned row, uint16_t cell)
{
	FUZZ_CHECK(ctx == &t && column < t.columns && row < t.rows);
	FUZZ_CHECK((cell & 0xff) >= 0x20 && (cell & 0xff) <= TERMINAL_OTHER);
	screen[row * t.columns + column] = cell;
	drawn++;
}

static void check(void)
{
	FUZZ_CHECK(t.column < t.columns && t.row < t.rows && t.top < t.rows);
	FUZZ_CHECK(t.saved_column < t.columns && t.saved_row < t.rows);
	FUZZ_CHECK(t.region_first < t.region_last || t.rows == 1);
	FUZZ_CHECK(t.region_last < t.rows);
}

/* Without the cursor the screen shows what the cells hold. */
static void check_screen(void)
{
	unsigned calls = 0;

	for (const char *off = "\x18\x1b[?25l"; *off; off++)
		terminal_put(&t, (uint8_t)*off);
	while (terminal_refresh(&t, 1000))
		FUZZ_CHECK(++calls < 1000);
	FUZZ_CHECK(!terminal_dirty(&t));
	for (unsigned row = 0; row < t.rows; row++)
		FUZZ_CHECK(!memcmp(screen + row * t.columns, t.cells + (t.top + row) % t.rows * t.columns, t.columns * sizeof(*screen)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned columns = 1 + take_below(&in, TERMINAL_COLUMNS_MAX), rows = 1 + take_below(&in, TERMINAL_ROWS_MAX);
	void *memory = malloc(TERMINAL_BYTES(columns, rows));

	screen = calloc((size_t)columns * rows, sizeof(*screen));
	FUZZ_CHECK(memory && screen);
	terminal_init(&t, memory, columns, rows, draw, &t);
	while (in.left) {
		uint8_t byte = (uint8_t)take(&in, 1);

		if (byte == 0xfe) { /* no byte of UTF-8 */
			drawn = 0;
			terminal_refresh(&t, (unsigned)take(&in, 2));
		} else {
			terminal_put(&t, byte);
		}
		check();
	}
	check_screen();
	free(memory);
	free(screen);
	return 0;
}

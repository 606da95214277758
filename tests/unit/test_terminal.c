/* SOURCES: drivers/console/terminal.c drivers/console/framebuffer.c drivers/console/vga_text.c build/font.c */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/console/font.h"
#include "drivers/console/framebuffer.h"
#include "drivers/console/terminal.h"
#include "drivers/console/vga_text.h"

/* The screen: what was drawn, cell by cell. */
static struct terminal t;
static unsigned columns, rows, drawn;
static uint16_t *screen;
static void *memory;

/* VGA's CRT controller. */
static uint8_t crtc[0x20], crtc_index;

uint8_t port_read8(uint16_t port);
void port_write8(uint16_t port, uint8_t value);

uint8_t port_read8(uint16_t port)
{
	(void)port;
	return 0xff;
}

void port_write8(uint16_t port, uint8_t value)
{
	if (port == 0x3d4)
		crtc_index = value;
	else if (port == 0x3d5 && crtc_index < ARRAY_SIZE(crtc))
		crtc[crtc_index] = value;
}

static void draw(void *ctx, unsigned column, unsigned row, uint16_t cell)
{
	assert_ptr_equal(ctx, &t);
	assert_true(column < columns && row < rows);
	assert_true((cell & 0xff) >= 0x20 && (cell & 0xff) <= TERMINAL_OTHER);
	screen[row * columns + column] = cell;
	drawn++;
}

static void begin(unsigned c, unsigned r)
{
	free(screen);
	free(memory);
	columns = c;
	rows = r;
	screen = calloc((size_t)c * r, 2);
	memory = malloc(TERMINAL_BYTES(c, r));
	memset(memory, 0xa5, TERMINAL_BYTES(c, r));
	terminal_init(&t, memory, c, r, draw, &t);
	drawn = 0;
}

static int teardown(void **state)
{
	(void)state;
	free(screen);
	free(memory);
	screen = memory = NULL;
	return 0;
}

static void put(const char *text)
{
	while (*text)
		terminal_put(&t, (uint8_t)*text++);
}

static void show(void)
{
	unsigned rounds = 0;

	while (terminal_refresh(&t, 7))
		assert_true(rounds++ < 10000);
	assert_false(terminal_dirty(&t));
}

/* The rows, without the blanks at their ends, each followed by '|'. */
static void shows(const char *expected)
{
	static char text[TERMINAL_COLUMNS_MAX * TERMINAL_ROWS_MAX + TERMINAL_ROWS_MAX + 1];
	char *p = text;

	show();
	for (unsigned r = 0; r < rows; r++) {
		char *end = p;

		for (unsigned c = 0; c < columns; c++) {
			*p++ = (char)(screen[r * columns + c] & 0xff);
			if (p[-1] != ' ')
				end = p;
		}
		p = end;
		*p++ = '|';
	}
	*p = 0;
	assert_string_equal(text, expected);
}

static void test_lines(void **state)
{
	(void)state;
	begin(8, 3);
	shows("|||");
	assert_int_equal(drawn, 24);
	put("one\r\ntwo\r\nthree");
	shows("one|two|three|");
	put("\r\nfour\b\bF");
	shows("two|three|foFr|");
	put("\r\n\tx\ty");
	shows("three|foFr|       y|"); /* a tab stops in the last column */
	put("\r\nlonger than a row");
	shows("longer t|han a ro|w|");
	/* The last column may be written without a new line. */
	put("\x1b[2J\x1b[H12345678\rx");
	shows("x2345678|||");
}

static void test_only_changes_are_drawn(void **state)
{
	(void)state;
	begin(80, 25);
	show();
	drawn = 0;
	put("a");
	show();
	assert_int_equal(drawn, 2); /* the character and the cursor */
	drawn = 0;
	show();
	assert_int_equal(drawn, 0);
	for (unsigned i = 0; i < 100; i++)
		put("\r\nsame");
	show();
	drawn = 0;
	put("\r\nsame");
	show();
	assert_int_equal(drawn, 0); /* every row looks as before, and the cursor stays */
}

static void test_refresh_is_bounded(void **state)
{
	(void)state;
	begin(100, 50);
	assert_true(terminal_refresh(&t, 1));
	assert_int_equal(drawn, 100); /* the row that was begun */
	assert_true(terminal_refresh(&t, 250));
	assert_int_equal(drawn, 300);
	show();
	assert_int_equal(drawn, 5000);
	/* Fifty rows that look as before: ten at a time. */
	for (unsigned i = 0; i < 100; i++)
		put("\r\nsame");
	show();
	put("\r\nsame");
	drawn = 0;
	for (unsigned i = 0; i < 4; i++)
		assert_true(terminal_refresh(&t, 250));
	assert_false(terminal_refresh(&t, 250));
	assert_int_equal(drawn, 0);
}

static void test_cursor(void **state)
{
	(void)state;
	begin(10, 4);
	put("\x1b[3;4Hx\x1b[Ay\x1b[2Dz\x1b[Bw\x1b[99;99Hq\x1b[Hp");
	shows("p|   zy|   xw|         q|");
	put("\x1b[2d#\x1b[5G!\x1b[E.\x1b[F,");
	shows("p|,# z!|.  xw|         q|");
	put("\x1b[H\x1b[s\x1b[4;4H\x1b[u1\x1b" "7\r\n2\x1b" "83");
	shows("13|2# z!|.  xw|         q|");
	/* The cell under the cursor is shown inverse, unless it is off. */
	put("\x1b[1;1H");
	show();
	assert_int_equal(screen[0], 0x7000 | '1');
	put("\x1b[?25l");
	show();
	assert_int_equal(screen[0], 0x0700 | '1');
}

static void test_erase(void **state)
{
	(void)state;
	begin(6, 3);
	put("aaaaaa\r\nbbbbbb\r\ncccccc\x1b[2;3H");
	put("\x1b[K");
	shows("aaaaaa|bb|cccccc|");
	put("\x1b[1K");
	shows("aaaaaa||cccccc|");
	put("\x1b[1;3H\x1b[J");
	shows("aa|||");
	put("\x1b[Haaaaaa\r\nbbbbbb\r\ncccccc\x1b[2;3H\x1b[1J"); /* the cell under the cursor as well */
	shows("|   bbb|cccccc|");
	put("\x1b[4J\x1b[3K");
	shows("|   bbb|cccccc|");
	put("\x1b[3J");
	shows("|||");
	put("\x1b[H123456\x1b[3G\x1b[2P");
	shows("1256|||");
	put("\x1b[3@");
	shows("12   5|||");
	put("\x1b[1G\x1b[4X");
	shows("     5|||");
	put("\x1b[2J");
	shows("|||");
}

static void test_scrolling_region(void **state)
{
	(void)state;
	begin(4, 5);
	put("1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[4;1H\n");
	shows("1|3|4||5|");
	put("\x1b[2;1H\x1bM");
	shows("1||3|4|5|");
	put("\x1b[3;1H\x1b[M");
	shows("1||4||5|");
	put("\x1b[L");
	shows("1|||4|5|");
	put("\x1b[r\x1b[S");
	shows("||4|5||");
	put("\x1b[2T");
	shows("||||4|");
	put("\x1b[3;2r\x1b[9;9r\x1b[H\n\n\n\nx\ny"); /* no regions: ignored */
	shows("|||x| y|");
	put("\x1b" "c0\x1b[99M"); /* more than there is */
	shows("|||||");
	/* Below and above the region nothing scrolls, and the cursor stays on the screen. */
	put("\x1b" "ca\r\nb\r\nc\r\nd\r\ne\x1b[2;3r\x1b[4;1H\nE\n\nF");
	assert_int_equal(t.row, 4);
	shows("a|b|c|d|EF|");
	put("\x1b[1;2H\x1bM\x1bMx");
	assert_int_equal(t.row, 0);
	shows("ax|b|c|d|EF|");
	put("\x1b[3;2H\x1bMy\x1b[5;3H\x1bMz"); /* within the region, and below it */
	shows("ax|by|c|d z|EF|");
}

static void test_colours(void **state)
{
	(void)state;
	begin(10, 1);
	put("\x1b[31ma\x1b[1mb\x1b[0;7mc\x1b[27;44md\x1b[95me\x1b[38;5;2mf\x1b[38;2;1;2;3;42mg\x1b[39;49mh\x1b[38;5;200mi");
	show();
	assert_int_equal(screen[0], 0x0400 | 'a'); /* ANSI's red is VGA's 4 */
	assert_int_equal(screen[1], 0x0c00 | 'b');
	assert_int_equal(screen[2], 0x7000 | 'c');
	assert_int_equal(screen[3], 0x1700 | 'd');
	assert_int_equal(screen[4], 0x1d00 | 'e');
	assert_int_equal(screen[5], 0x1200 | 'f');
	assert_int_equal(screen[6], 0x2200 | 'g');
	assert_int_equal(screen[7], 0x0700 | 'h');
	assert_int_equal(screen[8], 0x0700 | 'i');
	/* The last of the 16 colours that exist, the first that does not, and the bright ones. */
	put("\r\x1b[0;38;5;15ma\x1b[38;5;16mb\x1b[48;5;15mc\x1b[0;90md\x1b[97me\x1b[98mf\x1b[30;37mg\x1b[40;47mh\x1b[0;1;31;22mi");
	show();
	assert_int_equal(screen[0], 0x0f00 | 'a');
	assert_int_equal(screen[1], 0x0f00 | 'b');
	assert_int_equal(screen[2], 0xff00 | 'c');
	assert_int_equal(screen[3], 0x0800 | 'd');
	assert_int_equal(screen[4], 0x0f00 | 'e');
	assert_int_equal(screen[5], 0x0f00 | 'f');
	assert_int_equal(screen[6], 0x0700 | 'g');
	assert_int_equal(screen[7], 0x7700 | 'h');
	assert_int_equal(screen[8], 0x0400 | 'i');
}

static void test_what_is_not_shown(void **state)
{
	(void)state;
	begin(12, 1);
	put("a\x1b]0;a title\x07" "b\x1b]0;another\x1b\\c\x1b(Bd\x1b[?2004he\x1b[>1cf\x1b[ qg\x1b[1!ph\x7f\x07");
	shows("abcdefgh|");
	put("\r\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\x80z\x1b[K"); /* each one cell, and a stray byte */
	shows("\x7f\x7f\x7f\x7fz|");
	put("\r\x1b[12\x18q\x1b[K"); /* CAN ends a sequence, and so does SUB */
	shows("q|");
	put("\r\x1b[12\x1aQ\x1b[K");
	shows("Q|");
}

/* Whatever a guest prints, of every size of screen: nothing outside the memory is touched, and the screen shows the cells. */
static void test_random_bytes(void **state)
{
	static const uint8_t likely[] = "\x1b[;0123456789?HJKLMPSTXr@dmABCD\n\r\t";
	uint32_t seed = 1;

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		begin(1 + round % 90, 1 + round * 7 % TERMINAL_ROWS_MAX);
		for (unsigned i = 0; i < 3000; i++) {
			seed = seed * 1664525 + 1013904223;
			terminal_put(&t, seed >> 31 ? (uint8_t)(seed >> 20) : likely[(seed >> 16) % (sizeof(likely) - 1)]);
			if (i % 500 == 0)
				terminal_refresh(&t, seed >> 24);
			assert_true(t.column < columns && t.row < rows && t.top < rows && t.region_first <= t.region_last && t.region_last < rows);
		}
		show();
		assert_memory_equal(screen, t.shown, (size_t)columns * rows * 2);
	}
}

/* ---- The framebuffer ---- */

static struct framebuffer fb;
static uint8_t *pixels;

static const char *make(unsigned width, unsigned height, unsigned pitch, uint8_t bpp, const uint8_t rgb[6])
{
	struct framebuffer_format format = { pitch, width, height, bpp, rgb[0], rgb[1], rgb[2], rgb[3], rgb[4], rgb[5] };

	free(pixels);
	pixels = calloc(height, pitch);
	return framebuffer_init(&fb, pixels, &format);
}

static uint32_t pixel(unsigned x, unsigned y)
{
	uint32_t value = 0;

	memcpy(&value, pixels + (size_t)y * fb.pitch + (size_t)x * fb.bytes, fb.bytes);
	return value;
}

/* The glyph of a character where it was drawn. */
static void has_glyph(unsigned column, unsigned row, unsigned index, uint32_t front, uint32_t back)
{
	for (unsigned y = 0; y < FONT_HEIGHT * fb.scale; y++)
		for (unsigned x = 0; x < FONT_WIDTH * fb.scale; x++)
			assert_int_equal(pixel(column * FONT_WIDTH * fb.scale + x, row * FONT_HEIGHT * fb.scale + y),
					 font_glyphs[index][y / fb.scale] >> (7 - x / fb.scale) & 1 ? front : back);
}

static void test_pixels(void **state)
{
	static const struct { uint8_t bpp, rgb[6]; unsigned width, height, pitch, scale, columns, rows; uint32_t front, back; } modes[] = {
		{ 32, { 16, 8, 8, 8, 0, 8 }, 1024, 768, 4096, 1, 128, 48, 0xffff55, 0xaa },
		{ 32, { 0, 8, 8, 8, 16, 8 }, 803, 601, 3300, 1, 100, 37, 0x55ffff, 0xaa0000 },
		{ 32, { 20, 10, 10, 10, 0, 10 }, 640, 480, 2560, 1, 80, 30, 0x3fc << 20 | 0x3fc << 10 | 0x154, 0x2a8 },
		{ 24, { 16, 8, 8, 8, 0, 8 }, 800, 600, 2400, 1, 100, 37, 0xffff55, 0xaa },
		{ 24, { 16, 8, 8, 8, 0, 8 }, 2560, 1440, 7680, 2, 160, 45, 0xffff55, 0xaa },
		{ 16, { 11, 5, 5, 6, 0, 5 }, 640, 480, 1281, 1, 80, 30, 31 << 11 | 63 << 5 | 10, 21 },
		{ 15, { 10, 5, 5, 5, 0, 5 }, 640, 480, 1280, 1, 80, 30, 31 << 10 | 31 << 5 | 10, 21 },
		{ 32, { 16, 8, 8, 8, 0, 8 }, 3840, 2160, 15360, 2, 240, 67, 0xffff55, 0xaa },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		assert_null(make(modes[i].width, modes[i].height, modes[i].pitch, modes[i].bpp, modes[i].rgb));
		assert_int_equal(fb.scale, modes[i].scale);
		assert_int_equal(fb.columns, modes[i].columns);
		assert_int_equal(fb.rows, modes[i].rows);
		framebuffer_draw(&fb, 3, 2, 0x1e00 | 'A'); /* yellow on blue */
		has_glyph(3, 2, 'A' - FONT_FIRST, modes[i].front, modes[i].back);
		/* The last cell, and one that no font has: all of it stays inside. */
		framebuffer_draw(&fb, fb.columns - 1, fb.rows - 1, 0x1e00 | 0xc4);
		has_glyph(fb.columns - 1, fb.rows - 1, FONT_GLYPHS - 1, modes[i].front, modes[i].back);
	}
	free(pixels);
	pixels = NULL;
}

/* VGA's sixteen colours: a bit each for blue, green, red and intensity, and brown in the place of dark yellow. */
static void test_palette(void **state)
{
	static const uint8_t rgb[6] = { 16, 8, 8, 8, 0, 8 };

	(void)state;
	assert_null(make(640, 480, 2560, 32, rgb));
	for (unsigned colour = 0; colour < 16; colour++) {
		unsigned low = colour & 8 ? 0x55 : 0;
		uint32_t expected = ((colour & 4 ? 0xaa : 0) + low) << 16 | ((colour & 2 ? 0xaa : 0) + low) << 8 | ((colour & 1 ? 0xaa : 0) + low);

		if (colour == 6)
			expected = 0xaa5500;
		framebuffer_draw(&fb, 0, 0, (uint16_t)(colour << 12 | ' '));
		assert_int_equal(pixel(0, 0), expected);
		framebuffer_draw(&fb, 1, 1, (uint16_t)((colour ^ 15) << 12 | colour << 8 | 'A'));
		has_glyph(1, 1, 'A' - FONT_FIRST, expected, pixel(FONT_WIDTH, FONT_HEIGHT));
	}
	free(pixels);
	pixels = NULL;
}

static void test_unusable_framebuffers(void **state)
{
	static const uint8_t rgb[6] = { 16, 8, 8, 8, 0, 8 }, outside[6] = { 25, 8, 8, 8, 0, 8 }, none[6] = { 16, 8, 8, 0, 0, 8 };

	(void)state;
	assert_non_null(make(640, 480, 640, 8, rgb));
	assert_non_null(make(640, 480, 5120, 64, rgb));
	assert_non_null(make(640, 480, 2560, 0, rgb));
	assert_non_null(make(640, 480, 2559, 32, rgb));
	assert_non_null(make(640, 480, 2560, 32, outside));
	assert_non_null(make(640, 480, 2560, 32, none));
	assert_non_null(make(640, 480, 1920, 24, outside));
	assert_non_null(make(312, 480, 2560, 32, rgb));
	assert_non_null(make(640, 150, 2560, 32, rgb));
	free(pixels);
	pixels = NULL;
}

static void test_vga(void **state)
{
	uint16_t cells[VGA_TEXT_COLUMNS * VGA_TEXT_ROWS] = { 0 };

	(void)state;
	vga_text_draw(cells, 79, 24, 0xf400 | 'x');
	assert_int_equal(cells[1999], 0x7400 | 'x'); /* it does not blink */
	vga_text_draw(cells, 0, 1, 0x0700 | TERMINAL_OTHER);
	assert_int_equal(cells[80], 0x07fe);
	/* The hardware's cursor is off: the terminal draws its own. */
	vga_text_init();
	assert_int_equal(crtc[0x0a], 0x20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_lines, teardown),
		cmocka_unit_test_teardown(test_only_changes_are_drawn, teardown),
		cmocka_unit_test_teardown(test_refresh_is_bounded, teardown),
		cmocka_unit_test_teardown(test_cursor, teardown),
		cmocka_unit_test_teardown(test_erase, teardown),
		cmocka_unit_test_teardown(test_scrolling_region, teardown),
		cmocka_unit_test_teardown(test_colours, teardown),
		cmocka_unit_test_teardown(test_what_is_not_shown, teardown),
		cmocka_unit_test_teardown(test_random_bytes, teardown),
		cmocka_unit_test(test_pixels),
		cmocka_unit_test(test_palette),
		cmocka_unit_test(test_unusable_framebuffers),
		cmocka_unit_test(test_vga),
	};

	return cmocka_run_group_tests_name("terminal", tests, NULL, NULL);
}

/* SOURCES: drivers/console/console.c drivers/console/terminal.c drivers/console/serial.c */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/console/console.h"
#include "drivers/port_io.h"

#define COLUMNS 40
#define ROWS 5
#define PORTS 2

/* Two UARTs, at 0x100 and 0x200: what each was sent; a deaf one never has room. */
static char sent[PORTS][40000];
static unsigned sent_count[PORTS];
static bool deaf;
static const char *arriving;
static uint8_t scratch, line_control;
static uint16_t cells[TERMINAL_BYTES(COLUMNS, ROWS) / 2], screen[COLUMNS * ROWS];
static unsigned drawn;

uint8_t port_read8(uint16_t port)
{
	switch (port & 7) {
	case 0:
		return line_control & 0x80 ? 1 : (uint8_t)*arriving++;
	case 2:
		return *arriving ? 4 : 1;
	case 5:
		return (uint8_t)((deaf ? 0 : 0x60) | (arriving && *arriving ? 1 : 0));
	case 7:
		return scratch;
	default:
		return 0;
	}
}

void port_write8(uint16_t port, uint8_t value)
{
	unsigned n = (port >> 8) - 1U;

	if ((port & 7) == 7)
		scratch = value;
	if ((port & 7) == 3)
		line_control = value;
	if ((port & 7) == 0 && !(line_control & 0x80) && sent_count[n] < sizeof(sent[0]) - 1)
		sent[n][sent_count[n]++] = (char)value;
}

static void draw(void *ctx, unsigned column, unsigned row, uint16_t cell)
{
	(void)ctx;
	screen[row * COLUMNS + column] = cell;
	drawn++;
}

static void use_port(uint16_t port)
{
	struct serial serial = { .port = port };
	const struct serial_line as_is = { 0, 8, 'n', 1 };

	assert_int_equal(serial_init(&serial, &as_is), 0);
	memset(sent, 0, sizeof(sent));
	memset(sent_count, 0, sizeof(sent_count));
	console_use_serial(&serial);
}

static void row_is(unsigned row, const char *text)
{
	for (unsigned i = 0; i < COLUMNS; i++)
		assert_int_equal(screen[row * COLUMNS + i] & 0xff, i < strlen(text) ? text[i] : ' ');
}

static char input[100];
static void take(uint8_t byte)
{
	size_t length = strlen(input);

	assert_true(length < sizeof(input) - 1);
	input[length] = (char)byte;
}

static void put_guest(const char *text, uint64_t now)
{
	for (; *text; text++)
		assert_true(console_put_guest((uint8_t)*text, now));
}

/* In the order of a boot, as there is one console. */
static void test_early_lines_reach_whatever_is_found(void **state)
{
	(void)state;
	arriving = "";
	console_put_log("lamina: first\n");
	assert_false(console_has_serial());
	console_use_screen(draw, NULL, cells, COLUMNS, ROWS);
	row_is(0, "lamina: first");
	use_port(0x100);
	console_put_log("lamina: second\n");
	row_is(1, "lamina: second");
	console_flush();
	assert_string_equal(sent[0], "lamina: first\r\nlamina: second\r\n");
	/* Another port is better: it gets all of it. */
	use_port(0x200);
	console_flush();
	assert_string_equal(sent[1], "lamina: first\r\nlamina: second\r\n");
	assert_string_equal(sent[0], "");
}

static void test_guests_are_drawn_later(void **state)
{
	(void)state;
	console_set_rate(1000000);
	put_guest("a", 5000000);
	assert_int_equal(console_due[0], 5050000);
	assert_int_equal(console_due[1], 5050000);
	drawn = 0;
	put_guest("b", 5010000);
	assert_int_equal(console_due[0], 5050000);
	console_service(5049999, take);
	assert_int_equal(drawn, 0);
	console_service(5050000, take);
	assert_int_equal(drawn, 3);
	row_is(2, "ab");
	assert_int_equal(console_due[0], UINT64_MAX);
	/* A line of Lamina's own begins afresh, and is drawn at once. */
	console_put_log("lamina: third\n");
	row_is(3, "lamina: third");
	assert_int_equal(console_due[1], UINT64_MAX);
}

static void test_polling(void **state)
{
	unsigned before;

	(void)state;
	console_flush();
	console_poll_on();
	assert_int_equal(console_due[0], 1);
	assert_int_equal(console_due[1], UINT64_MAX); /* core 0 polls */
	arriving = "typed";
	console_service(6000000, take);
	assert_string_equal(input, "typed");
	assert_int_equal(console_due[0], 6001000);
	deaf = true;
	put_guest("x", 6000100);
	assert_int_equal(console_due[0], 6001000);
	deaf = false;
	console_service(6001000, take);
	assert_int_equal(console_due[0], 6002000);
	assert_int_equal(sent[1][sent_count[1] - 1], 'x');
	/* A look fills the UART's FIFO, which has 16 bytes. */
	console_flush();
	deaf = true;
	put_guest("0123456789abcdefghij", 6001100);
	before = sent_count[1];
	deaf = false;
	console_service(6002000, take);
	assert_int_equal(sent_count[1], before + 16);
	console_service(6003000, take);
	assert_int_equal(sent_count[1], before + 20);
}

static void test_a_dead_uart_stops_nobody(void **state)
{
	unsigned taken = 0;

	(void)state;
	deaf = true;
	while (console_put_guest('.', 7000000)) {
		taken++;
		assert_true(taken <= 16384);
	}
	assert_in_range(taken, 12000, 12288);
	/* Lamina has more to say than the queue holds: the port is given up, which the screen tells. */
	for (unsigned i = 0; i < 200; i++)
		console_put_log("lamina: something of some length that fills the queue\n");
	assert_false(console_has_serial());
	deaf = false;
	/* Without a port there is always room: the screen shows it. */
	for (unsigned i = 0; i < 40000; i++)
		assert_true(console_put_guest('#', 8000000));
	console_flush();
	for (unsigned i = 0; i < COLUMNS * (ROWS - 1); i++)
		assert_int_equal(screen[i] & 0xff, '#');
}

/* The screen goes: nothing is drawn any more, and nobody is called for it. */
static void test_no_screen(void **state)
{
	(void)state;
	console_use_screen(NULL, NULL, NULL, 0, 0);
	drawn = 0;
	console_put_log("lamina: unseen\n");
	assert_true(console_put_guest('x', 9000000));
	console_flush();
	assert_int_equal(drawn, 0);
	assert_int_equal(console_due[1], UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_early_lines_reach_whatever_is_found),
		cmocka_unit_test(test_guests_are_drawn_later),
		cmocka_unit_test(test_polling),
		cmocka_unit_test(test_a_dead_uart_stops_nobody),
		cmocka_unit_test(test_no_screen),
	};

	return cmocka_run_group_tests_name("console", tests, NULL, NULL);
}

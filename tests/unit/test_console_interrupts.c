/* SOURCES: drivers/console/console.c drivers/console/terminal.c drivers/console/serial.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "drivers/console/console.h"
#include "drivers/port_io.h"

/* A 16550 whose transmit FIFO empties when the test says so, or (fast) at each look at LSR. Looking at IIR acknowledges an empty transmit FIFO. */
static char sent[1000];
static unsigned sent_count, fifo_count;
static bool empty_pending, fast;
static uint8_t scratch, line_control, interrupts;
static const char *arriving = "";
static char input[100];

uint8_t port_read8(uint16_t port)
{
	bool pending;

	switch (port & 7) {
	case 0:
		return line_control & 0x80 ? 1 : (uint8_t)*arriving++;
	case 2:
		if (interrupts & 1 && *arriving)
			return 4;
		pending = interrupts & 2 && empty_pending;
		empty_pending = false;
		return pending ? 2 : 1;
	case 5:
		if (fast)
			fifo_count = 0;
		return (uint8_t)((fifo_count ? 0 : 0x60) | (*arriving ? 1 : 0));
	case 7:
		return scratch;
	default:
		return 0;
	}
}

void port_write8(uint16_t port, uint8_t value)
{
	switch (port & 7) {
	case 0:
		if (line_control & 0x80)
			return;
		assert_true(fifo_count < SERIAL_FIFO);
		assert_true(sent_count < sizeof(sent) - 1);
		sent[sent_count++] = (char)value;
		fifo_count++;
		break;
	case 1:
		/* Enabling it while the FIFO is empty interrupts at once. */
		empty_pending |= value & 2 && !(interrupts & 2) && !fifo_count;
		interrupts = value;
		break;
	case 3:
		line_control = value;
		break;
	case 7:
		scratch = value;
		break;
	default:
		break;
	}
}

static void take(uint8_t byte)
{
	input[strlen(input)] = (char)byte;
}

/* The FIFO's bytes have left. */
static void line_is_idle(void)
{
	fifo_count = 0;
	empty_pending = true;
	if (interrupts & 2)
		console_interrupt(take);
}

/* The port is set up anew, and all that was said so far has left. */
static int setup(void **state)
{
	struct serial serial = { .port = 0x100 };
	const struct serial_line as_is = { 0, 8, 'n', 1 };

	(void)state;
	fast = true;
	interrupts = 0;
	assert_int_equal(serial_init(&serial, &as_is), 0);
	console_use_serial(&serial);
	console_flush();
	memset(sent, 0, sizeof(sent));
	memset(input, 0, sizeof(input));
	sent_count = fifo_count = 0;
	fast = empty_pending = false;
	return 0;
}

static void put(const char *text)
{
	for (; *text; text++)
		assert_true(console_put_guest((uint8_t)*text, 1000));
}

/* What does not fit into the FIFO leaves by its interrupt, which is on only as long as there is something. */
static void test_transmit(void **state)
{
	(void)state;
	console_interrupts_on();
	assert_int_equal(interrupts, 1); /* on received data */
	put("a");
	assert_string_equal(sent, "a");
	assert_int_equal(interrupts, 1);
	put("0123456789abcdefghijklmnopqrstuvwxyz");
	assert_string_equal(sent, "a");
	assert_int_equal(interrupts, 3);
	line_is_idle();
	assert_string_equal(sent, "a0123456789abcdef");
	assert_int_equal(interrupts, 3);
	line_is_idle();
	line_is_idle();
	assert_string_equal(sent, "a0123456789abcdefghijklmnopqrstuvwxyz");
	assert_int_equal(interrupts, 1);
	line_is_idle();
	put("!");
	assert_int_equal(sent[sent_count - 1], '!');
}

static void test_receive(void **state)
{
	(void)state;
	console_interrupts_on();
	arriving = "more than sixteen bytes at once";
	console_interrupt(take);
	assert_string_equal(input, "more than sixteen bytes at once");
}

/* Output that waits when the interrupts come on leaves by them. */
static void test_output_before_interrupts(void **state)
{
	(void)state;
	fifo_count = 1; /* the line is busy */
	put("waits");
	assert_string_equal(sent, "");
	fifo_count = 0;
	console_interrupts_on();
	assert_string_equal(sent, "waits");
	assert_int_equal(interrupts, 1);
	fifo_count = 1;
	put(" and waits again, for longer");
	assert_int_equal(interrupts, 3);
	console_interrupts_on(); /* once more: what is under way goes on */
	assert_int_equal(interrupts, 3);
	line_is_idle();
	line_is_idle();
	assert_string_equal(sent, "waits and waits again, for longer");
}

/* The last word is sent without interrupts, whoever holds the console. */
static void test_seize(void **state)
{
	(void)state;
	console_interrupts_on();
	fifo_count = 1;
	put("x");
	assert_int_equal(interrupts, 3);
	console_seize();
	fast = true;
	interrupts = 0; /* nobody handles them any more */
	console_put_log("lamina: panic\n");
	assert_int_equal(interrupts, 0);
	console_flush();
	assert_string_equal(sent, "x\r\nlamina: panic\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_transmit, setup),
		cmocka_unit_test_setup(test_receive, setup),
		cmocka_unit_test_setup(test_output_before_interrupts, setup),
		cmocka_unit_test_setup(test_seize, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

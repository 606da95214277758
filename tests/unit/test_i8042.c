/* SOURCES: vmm/devices/i8042.c vmm/io/io_space.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/hostile_io.h"
#include "vmm/devices/i8042.h"

static struct io_space pio;
static struct i8042 kbc;

static void out(uint16_t port, uint8_t value)
{
	io_space_write(&pio, port, 1, value);
}

static uint8_t in(uint16_t port)
{
	return (uint8_t)io_space_read(&pio, port, 1);
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&pio, 0, sizeof(pio));
	memset(&kbc, 0xaa, sizeof(kbc));
	assert_int_equal(i8042_init(&kbc, NULL, &pio), 0);
	return 0;
}

static void expect_resets(unsigned count)
{
	assert_int_equal(fake.request_count, count);
	assert_int_equal(fake.request, VM_REQUEST_RESET);
	assert_string_equal(fake.request_why, "keyboard controller");
}

/* Send a command and read its answer. */
static uint8_t ask(uint8_t command)
{
	out(0x64, command);
	assert_int_equal(in(0x64) & 0x01, 0x01);
	return in(0x60);
}

static void test_resets(void **state)
{
	(void)state;
	out(0x64, 0xfe);
	expect_resets(1);
	out(0x64, 0xf0);
	expect_resets(2);
	out(0x64, 0xff); /* pulses nothing */
	out(0x64, 0xd1);
	out(0x60, 0xdf); /* A20 on */
	assert_int_equal(fake.request_count, 2);
	out(0x64, 0xd1);
	out(0x60, 0xde);
	expect_resets(3);
}

static void test_controller(void **state)
{
	(void)state;
	assert_int_equal(in(0x64), 0x14);
	assert_int_equal(ask(0xaa), 0x55);
	assert_int_equal(ask(0xab), 0x00);
	assert_int_equal(ask(0x20), 0x74);
	out(0x64, 0x60);
	assert_int_equal(in(0x64) & 0x08, 0x08);
	out(0x60, 0x65);
	assert_int_equal(in(0x64) & 0x08, 0x00);
	assert_int_equal(ask(0x20), 0x65);
	out(0x64, 0xad);
	assert_int_equal(ask(0x20), 0x75);
	out(0x64, 0xae);
	out(0x64, 0xa8);
	assert_int_equal(ask(0x20), 0x45);
	out(0x64, 0xa7);
	assert_int_equal(ask(0x20), 0x65);
	/* The RAM behind it, first and last byte. */
	out(0x64, 0x61);
	out(0x60, 0x11);
	out(0x64, 0x7f);
	out(0x60, 0x22);
	assert_int_equal(ask(0x21), 0x11);
	assert_int_equal(ask(0x3f), 0x22);
	assert_int_equal(ask(0x20), 0x65);
	assert_int_equal(ask(0xd0), 0xc3);
	out(0x64, 0xd2);
	out(0x60, 0x99);
	assert_int_equal(ask(0xd0), 0xd3);
	assert_int_equal(ask(0xc0), 0x80);
	assert_int_equal(ask(0xe0), 0x00);
	assert_int_equal(ask(0xa4), 0xf1);
	/* The system flag is one bit in both registers. */
	out(0x64, 0x60);
	out(0x60, 0x61);
	assert_int_equal(in(0x64) & 0x04, 0);
	assert_int_equal(ask(0xaa), 0x55);
	assert_int_equal(in(0x64) & 0x04, 0x04);
	/* What is no command has no answer. */
	out(0x64, 0x99);
	assert_int_equal(in(0x64) & 0x01, 0);
}

static void test_no_keyboard(void **state)
{
	(void)state;
	out(0x64, 0x60);
	out(0x60, 0x47);
	/* Identify: the controller says time-out, with an interrupt, instead of letting a driver wait. */
	out(0x60, 0xf2);
	assert_int_equal(in(0x64) & 0x61, 0x41);
	assert_true(fake.irq[1]);
	/* A second one before the first was read is an edge of its own. */
	out(0x60, 0xf2);
	assert_int_equal(fake.irq_rises[1], 2);
	assert_int_equal(in(0x60), 0xfe);
	assert_false(fake.irq[1]);
	assert_int_equal(in(0x64) & 0x61, 0);
	assert_int_equal(in(0x60), 0xfe); /* the buffer keeps its byte */
	out(0x60, 0xf2);
	i8042_reset(&kbc);
	assert_false(fake.irq[1]);
	assert_int_equal(in(0x64), 0x14);
}

/* Linux's i8042_check_aux. */
static void test_no_aux(void **state)
{
	(void)state;
	out(0x64, 0xd3);
	out(0x60, 0x5a);
	assert_int_equal(in(0x64) & 0x21, 0x01); /* an answer, but not from port 2 */
	assert_int_equal(ask(0xa9), 0x01);
	/* Who writes to it all the same gets a time-out, with its interrupt. */
	out(0x64, 0x60);
	out(0x60, 0x47);
	out(0x64, 0xd4);
	out(0x60, 0xff);
	assert_int_equal(in(0x64) & 0x61, 0x61);
	assert_true(fake.irq[12]);
	assert_false(fake.irq[1]);
	assert_int_equal(ask(0xd0) & 0x30, 0x20);
	assert_false(fake.irq[12]);
}

static void test_hostile(void **state)
{
	(void)state;
	hostile_io(&pio, 0x60, 5, 60000, 0, NULL);
	/* Each command with some data bytes. */
	for (unsigned command = 0; command < 256; command++) {
		for (unsigned value = 0; value < 256; value += 15) {
			out(0x64, (uint8_t)command);
			out(0x60, (uint8_t)value);
			in(0x60);
		}
	}
	assert_int_equal(fake.request, VM_REQUEST_RESET);
	assert_int_equal(kbc.lock.held, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_resets, setup),
		cmocka_unit_test_setup(test_controller, setup),
		cmocka_unit_test_setup(test_no_keyboard, setup),
		cmocka_unit_test_setup(test_no_aux, setup),
		cmocka_unit_test_setup(test_hostile, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

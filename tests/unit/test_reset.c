/* SOURCES: vmm/devices/reset.c vmm/io/io_space.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/hostile_io.h"
#include "vmm/devices/reset.h"

static struct io_space pio;
static struct reset_ports ports;

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
	memset(&ports, 0xaa, sizeof(ports));
	assert_int_equal(reset_ports_init(&ports, NULL, &pio), 0);
	return 0;
}

static void expect_reset(unsigned count, const char *why)
{
	assert_int_equal(fake.request_count, count);
	assert_int_equal(fake.request, VM_REQUEST_RESET);
	assert_string_equal(fake.request_why, why);
}

static void test_cf9(void **state)
{
	(void)state;
	assert_int_equal(reset_cf9_read(&ports), 0);
	reset_cf9_write(&ports, 0x02);
	reset_cf9_write(&ports, 0xfb);
	assert_int_equal(fake.request_count, 0);
	assert_int_equal(reset_cf9_read(&ports), 0x0a);
	reset_cf9_write(&ports, 0x06);
	expect_reset(1, "port 0xcf9");
	assert_int_equal(reset_cf9_read(&ports), 0x02);
	reset_cf9_write(&ports, 0x04);
	expect_reset(2, "port 0xcf9");
	reset_cf9_write(&ports, 0x0a);
	reset_ports_reset(&ports);
	assert_int_equal(reset_cf9_read(&ports), 0);
}

static void test_port_92(void **state)
{
	(void)state;
	assert_int_equal(in(0x92), 0x02);
	out(0x92, 0x00); /* A20 stays on */
	out(0x92, 0x02);
	assert_int_equal(in(0x92), 0x02);
	assert_int_equal(fake.request_count, 0);
	out(0x92, 0x03);
	expect_reset(1, "port 0x92");
	out(0x92, 0x01);
	expect_reset(2, "port 0x92");
}

static void test_post_codes(void **state)
{
	(void)state;
	out(0x80, 0xfe);
	assert_int_equal(in(0x80), 0xff);
	assert_int_equal(fake.request_count, 0);
}

static void test_hostile(void **state)
{
	(void)state;
	hostile_io(&pio, 0x80, 0x20, 60000, 0, NULL);
	for (unsigned value = 0; value < 256; value++)
		reset_cf9_write(&ports, (uint8_t)value);
	assert_int_equal(fake.request, VM_REQUEST_RESET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_cf9, setup),
		cmocka_unit_test_setup(test_port_92, setup),
		cmocka_unit_test_setup(test_post_codes, setup),
		cmocka_unit_test_setup(test_hostile, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

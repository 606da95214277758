/* SOURCES: vmm/devices/acpi_pm.c vmm/devices/tick_clock.c vmm/io/io_space.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/hostile_io.h"
#include "vmm/devices/acpi_pm.h"

static struct io_space pio;
static struct acpi_pm pm;

static void out(uint16_t port, unsigned size, uint32_t value)
{
	io_space_write(&pio, port, size, value);
}

static uint32_t in(uint16_t port, unsigned size)
{
	return (uint32_t)io_space_read(&pio, port, size) & (uint32_t)(UINT32_MAX >> (32 - 8 * size));
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	fake.now = 55555;
	memset(&pio, 0, sizeof(pio));
	memset(&pm, 0xaa, sizeof(pm));
	assert_int_equal(acpi_pm_init(&pm, NULL, &pio), 0);
	return 0;
}

static void to_tick(uint64_t tick)
{
	fake_advance_to(tick_clock_when(&pm.clock, tick));
}

static void test_timer(void **state)
{
	(void)state;
	assert_int_equal(in(0x608, 4), 0);
	fake_advance_to(55555 + fake.hz);
	assert_in_range(in(0x608, 4), PM_TIMER_HZ, PM_TIMER_HZ + 1);
	/* All 32 bits, and a wrap. */
	to_tick(0xfedcba98);
	assert_int_equal(in(0x608, 4), 0xfedcba98);
	assert_int_equal(in(0x608, 2), 0xba98);
	assert_int_equal(in(0x60b, 1), 0xfe);
	to_tick(0x100000005);
	assert_int_equal(in(0x608, 4), 5);
	out(0x608, 4, 1234);
	assert_int_equal(in(0x608, 4), 5);
	/* A year on, no overflow: the clock is still right to some microseconds. */
	fake_advance_to(55555 + 365 * 86400 * fake.hz);
	assert_in_range(in(0x608, 4), (uint32_t)(365ULL * 86400 * PM_TIMER_HZ),
			(uint32_t)(365ULL * 86400 * PM_TIMER_HZ) + 8);
	/* Over an edge. */
	assert_int_equal(io_space_read(&pio, 0x60a, 4) & 0xffffffff, 0xffff0000 | in(0x60a, 2));
	assert_true(io_space_read(&pio, 0x606, 4) == UINT64_MAX);
	assert_true(io_space_read(&pio, 0x600, 8) == UINT64_MAX);
}

static void test_timer_interrupt(void **state)
{
	(void)state;
	assert_int_equal(in(0x600, 2), 0);
	to_tick(0x7fffffff);
	assert_int_equal(in(0x600, 2), 0);
	to_tick(0x80000000);
	assert_int_equal(in(0x600, 2), 1); /* the flag needs no enable */
	assert_false(fake.irq[9]);
	out(0x602, 2, 1);
	assert_true(fake.irq[9]);
	out(0x600, 2, 0xfffe);
	assert_true(fake.irq[9]);
	out(0x600, 2, 1);
	assert_false(fake.irq[9]);
	to_tick(0xffffffff);
	assert_false(fake.irq[9]);
	to_tick(0x100000000);
	assert_true(fake.irq[9]);
	to_tick(0x280000000);
	assert_int_equal(fake.irq_rises[9], 2);
	out(0x600, 1, 1);
	assert_false(fake.irq[9]);
	to_tick(0x300000000);
	assert_true(fake.irq[9]);
	acpi_pm_reset(&pm);
	assert_false(fake.irq[9]);
	assert_int_equal(in(0x600, 4), 0);
	pm.timer.fire(pm.timer.ctx);
	to_tick(0x480000000);
	assert_false(fake.irq[9]);
}

static void test_widths(void **state)
{
	(void)state;
	out(0x602, 2, 0xffff);
	assert_int_equal(in(0x602, 2), 0x0721);
	assert_int_equal(in(0x600, 4), 0x07210000);
	out(0x603, 1, 0x01);
	assert_int_equal(in(0x602, 2), 0x0121);
	assert_int_equal(in(0x603, 1), 0x01);
	out(0x600, 4, 0x0020ffff);
	assert_int_equal(in(0x602, 2), 0x0020);
	out(0x601, 2, 0x2100); /* the status' high byte and the enable's low one */
	assert_int_equal(in(0x602, 2), 0x0021);
	out(0x602, 4, 0); /* over the edge of the block: dropped */
	assert_int_equal(in(0x602, 2), 0x0021);
	assert_int_equal(in(0x604, 2), 1); /* SCI_EN */
	out(0x604, 2, 0);
	assert_int_equal(in(0x604, 2), 1);
	out(0x604, 2, 0xdfff & ~0x2000);
	assert_int_equal(in(0x604, 2), 0x1c03);
	out(0x606, 2, 0xffff);
	assert_int_equal(in(0x604, 4), 0x1c03);
	assert_int_equal(fake.request_count, 0);
}

static void test_sleep(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 8; type++) {
		if (type == 5)
			continue;
		out(0x604, 2, 0x2001 | type << 10);
		assert_int_equal(fake.request_count, 0);
		assert_int_equal(in(0x604, 2), 0x0001 | type << 10); /* SLP_EN reads 0 */
	}
	out(0x604, 2, 0x0001 | 5 << 10);
	assert_int_equal(fake.request_count, 0);
	out(0x604, 2, 0x2001 | 5 << 10);
	assert_int_equal(fake.request_count, 1);
	assert_int_equal(fake.request, VM_REQUEST_POWER_OFF);
	assert_string_equal(fake.request_why, "ACPI S5");
	out(0x605, 1, 0x34);
	assert_int_equal(fake.request_count, 2);
	out(0x604, 1, 0x00); /* the low byte alone never sleeps */
	out(0x605, 1, 0x14);
	assert_int_equal(fake.request_count, 2);
}

static void test_hostile(void **state)
{
	(void)state;
	hostile_io(&pio, 0x600, 12, 30000, 1000, NULL);
	hostile_io(&pio, 0x600, 12, 10000, 2000000000, NULL);
	for (unsigned port = 0x5f8; port < 0x614; port++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			io_space_write(&pio, port, size, UINT64_MAX);
			io_space_read(&pio, port, size);
		}
	}
	assert_int_equal(pm.lock.held, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_timer, setup),
		cmocka_unit_test_setup(test_timer_interrupt, setup),
		cmocka_unit_test_setup(test_widths, setup),
		cmocka_unit_test_setup(test_sleep, setup),
		cmocka_unit_test_setup(test_hostile, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: vmm/io/vm_disk_polling.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/fakes.h"
#include "vmm/io/vm_disk_polling.h"

#define MICROSECOND 1U
#define PERIOD_MIN 20U
#define PERIOD_MAX 2000U
#define BREAK_MIN 5000U
#define BREAK_MAX 2000000U

static struct vm_disk_polling polling;
static uint64_t now;

static int setup(void **state)
{
	(void)state;
	fake_reset();
	fake.hz = 1000000;
	memset(&polling, 0, sizeof(polling));
	now = 100 * fake.hz;
	polling.looked_at = now;
	return 0;
}

/* `ended` more requests have ended by interrupts, `ticks` after the last ones. */
static bool worth_trying(uint64_t ticks, unsigned ended)
{
	now += ticks;
	return vm_disk_polling_worth_trying(&polling, now, ended);
}

/* A look, which comes after the period that the look before has set, finds `ended` requests. */
static bool look(unsigned ended, unsigned in_flight, bool guest_waits)
{
	now += polling.look_period;
	polling.ended_since_look += ended;
	return vm_disk_polling_looked(&polling, now, in_flight, guest_waits);
}

static void begin(uint64_t period)
{
	vm_disk_polling_begin(&polling);
	polling.look_period = period;
	polling.looked_at = now;
	polling.ended_since_look = 0;
}

/* Looks that find nothing, until polling ends. Returns how many there were. */
static unsigned idle(void)
{
	unsigned looks = 1;

	while (look(0, 0, false))
		looks++;
	polling.on = false;
	return looks;
}

static void test_rate_decides(void **state)
{
	(void)state;
	/* Requests are counted until there are enough to judge by. */
	assert_false(worth_trying(MICROSECOND, 1));
	assert_false(worth_trying(MICROSECOND, 2));
	assert_int_equal(polling.ended_since_look, 3);
	assert_true(worth_trying(MICROSECOND, 1));
	assert_int_equal(polling.ended_since_look, 0);
	assert_int_equal(polling.looked_at, now);
	/* A millisecond for each is too slow, and anything below is not. */
	assert_false(worth_trying(4 * 1000, 4));
	assert_int_equal(polling.looked_at, now);
	assert_true(worth_trying(4 * 1000 - 1, 4));
	assert_false(worth_trying(8 * 1000, 8));
	assert_true(worth_trying(8 * 1000 - 1, 8));
	assert_false(polling.on);
}

static void test_first_period(void **state)
{
	(void)state;
	/* As long as it takes until four have ended, between the limits. */
	assert_true(worth_trying(800, 8));
	assert_int_equal(polling.look_period, 400);
	assert_true(worth_trying(3996, 4));
	assert_int_equal(polling.look_period, PERIOD_MAX);
	assert_true(worth_trying(16, 8));
	assert_int_equal(polling.look_period, PERIOD_MIN);
	/* What is not worth it changes nothing. */
	assert_false(worth_trying(50000, 4));
	assert_int_equal(polling.look_period, PERIOD_MIN);
}

static void test_begin(void **state)
{
	(void)state;
	polling.idle_looks = 3;
	polling.busy_looks = 4;
	vm_disk_polling_begin(&polling);
	assert_true(polling.on);
	assert_int_equal(polling.idle_looks, 0);
	assert_int_equal(polling.busy_looks, 0);
}

/* A guest that computes: twelve requests a look, and no change by more than a half at once. */
static void test_period_while_guest_computes(void **state)
{
	(void)state;
	begin(100);
	assert_true(look(10, 8, false)); /* 10 ticks each */
	assert_int_equal(polling.look_period, 120);
	assert_true(look(4, 8, false)); /* 30 each */
	assert_int_equal(polling.look_period, 180);
	assert_true(look(90, 8, false)); /* 2 each */
	assert_int_equal(polling.look_period, 90);
	assert_true(look(0, 8, false)); /* counts as one */
	assert_int_equal(polling.look_period, 135);
	for (unsigned i = 0; i < 20; i++)
		assert_true(look(4, 8, false));
	assert_int_equal(polling.look_period, PERIOD_MAX);
	for (unsigned i = 0; i < 20; i++)
		assert_true(look(4000, 8, false));
	assert_int_equal(polling.look_period, PERIOD_MIN);
}

/* A guest that waits: the period shrinks, but not below what the disk needs for 3/8 of what it has. */
static void test_period_while_guest_waits(void **state)
{
	(void)state;
	begin(400);
	assert_true(look(10, 0, true)); /* 40 ticks each */
	assert_int_equal(polling.look_period, 200);
	assert_true(look(10, 16, true)); /* 20 each: 120 for six */
	assert_int_equal(polling.look_period, 120);
	assert_true(look(4, 16, true)); /* 30 each: 180, but it grows for nobody who waits */
	assert_int_equal(polling.look_period, 120);
	for (unsigned i = 0; i < 10; i++)
		assert_true(look(10, 0, true));
	assert_int_equal(polling.look_period, PERIOD_MIN);
}

static void test_idle_looks_end_it(void **state)
{
	(void)state;
	begin(100);
	assert_int_equal(idle(), 5);
	assert_int_equal(polling.looked_at, now);
	assert_int_equal(polling.ended_since_look, 0);
	/* One look that finds enough begins the count anew. Three requests are enough, two are not. */
	begin(100);
	for (unsigned i = 0; i < 4; i++)
		assert_true(look(2, 0, true));
	assert_int_equal(polling.idle_looks, 4);
	assert_true(look(3, 0, true));
	assert_int_equal(polling.idle_looks, 0);
	assert_int_equal(polling.busy_looks, 1);
	for (unsigned i = 0; i < 4; i++)
		assert_true(look(2, 0, true));
	assert_false(look(2, 0, true));
	/* A disk that has much to do and only takes long is not idle, unless the longest period has been tried. */
	begin(100);
	assert_true(look(0, 4, true));
	assert_int_equal(polling.idle_looks, 0);
	assert_true(look(0, 3, true));
	assert_int_equal(polling.idle_looks, 1);
	begin(PERIOD_MAX);
	assert_true(look(0, 4, false));
	assert_int_equal(polling.look_period, PERIOD_MAX);
	assert_int_equal(polling.idle_looks, 1);
}

/* After polling has ended it is not tried for a while, each time for longer. */
static void test_breaks(void **state)
{
	uint64_t expected = BREAK_MIN;

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		begin(PERIOD_MIN);
		assert_int_equal(idle(), 5);
		assert_int_equal(polling.break_length, expected);
		assert_int_equal(polling.break_end, now + expected);
		assert_false(worth_trying(expected - 1, 4000));
		assert_true(worth_trying(1, 4));
		expected = MIN(2 * expected, BREAK_MAX);
	}
	assert_int_equal(expected, BREAK_MAX);
	/* Polling that was worth while for long begins with the shortest again; 40 looks are not long. */
	begin(PERIOD_MIN);
	for (unsigned i = 0; i < 40; i++)
		assert_true(look(8, 0, true));
	idle();
	assert_int_equal(polling.break_length, BREAK_MAX);
	begin(PERIOD_MIN);
	for (unsigned i = 0; i < 41; i++)
		assert_true(look(8, 0, true));
	idle();
	assert_int_equal(polling.break_length, BREAK_MIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_rate_decides, setup),
		cmocka_unit_test_setup(test_first_period, setup),
		cmocka_unit_test_setup(test_begin, setup),
		cmocka_unit_test_setup(test_period_while_guest_computes, setup),
		cmocka_unit_test_setup(test_period_while_guest_waits, setup),
		cmocka_unit_test_setup(test_idle_looks_end_it, setup),
		cmocka_unit_test_setup(test_breaks, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

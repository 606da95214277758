/* SOURCES: vmm/devices/pit.c vmm/devices/tick_clock.c vmm/io/io_space.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/hostile_io.h"
#include "vmm/devices/pit.h"

static struct io_space pio;
static struct pit pit;

/* Machine time at which PIT tick `tick` begins. */
static void to_tick(uint64_t tick)
{
	fake_advance_to(tick_clock_when(&pit.clock, tick));
}

static void out(uint16_t port, uint8_t value)
{
	io_space_write(&pio, port, 1, value);
}

static uint8_t in(uint16_t port)
{
	return (uint8_t)io_space_read(&pio, port, 1);
}

static void program(unsigned channel, uint8_t control, uint16_t count)
{
	out(0x43, (uint8_t)(channel << 6 | 0x30 | control));
	out((uint16_t)(0x40 + channel), (uint8_t)count);
	out((uint16_t)(0x40 + channel), (uint8_t)(count >> 8));
}

static uint16_t latch(unsigned channel)
{
	uint8_t low;

	out(0x43, (uint8_t)(channel << 6));
	low = in((uint16_t)(0x40 + channel));
	return (uint16_t)(low | in((uint16_t)(0x40 + channel)) << 8);
}

static uint8_t status(unsigned channel)
{
	out(0x43, (uint8_t)(0xe0 | 2U << channel));
	return in((uint16_t)(0x40 + channel));
}

static bool out2(void)
{
	return in(0x61) & 0x20;
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	fake.now = 123456789;
	memset(&pio, 0, sizeof(pio));
	memset(&pit, 0xaa, sizeof(pit));
	assert_int_equal(pit_init(&pit, NULL, &pio), 0);
	to_tick(1000);
	return 0;
}

static void test_clock(void **state)
{
	struct tick_clock clock;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		static const uint64_t rates[] = { 100000000, 1000000000, 2999998123, 5000000000 };

		fake.hz = rates[i];
		tick_clock_init(&clock, PIT_HZ);
		/* Each tick has begun at its time and, but for 400 machine ticks, not a tick earlier, for ten years. */
		for (uint64_t tick = 10; tick < (uint64_t)PIT_HZ * 86400 * 3650; tick = tick * 3 + 1) {
			uint64_t when = tick_clock_when(&clock, tick);

			assert_true(tick_clock_at(&clock, when) >= tick);
			assert_true(tick_clock_at(&clock, when) <= tick + 1);
			assert_true(tick_clock_at(&clock, when - rates[i] / PIT_HZ - 400) < tick);
		}
		assert_true(tick_clock_when(&clock, UINT64_MAX) == TIME_NEVER);
		/* After a day the clock is right to a tick. */
		assert_in_range(tick_clock_at(&clock, fake.now + 86400 * fake.hz), (uint64_t)PIT_HZ * 86400,
				(uint64_t)PIT_HZ * 86400 + 1);
	}
}

static void test_power_on(void **state)
{
	(void)state;
	assert_false(fake.irq[0]);
	assert_int_equal(status(0), 0x70); /* mode 0, null count, OUT low */
	fake_advance_to(fake.now + 10 * fake.hz);
	assert_int_equal(fake.irq_rises[0], 0);
	assert_int_equal(in(0x43), 0xff);
	assert_int_equal(io_space_read(&pio, 0x42, 2) >> 8 & 0xff, 0xff); /* a word's upper byte is the next port's */
	assert_int_equal(in(0x61) & 0x2f, 0);
}

/* A timer that was due when the machine was reset fires for nothing. */
static void test_reset(void **state)
{
	unsigned rises;

	(void)state;
	program(0, 0x34, 100);
	to_tick(1050);
	rises = fake.irq_rises[0];
	pit_reset(&pit);
	assert_false(fake.irq[0]);
	assert_true(pit.timer.deadline == TIME_NEVER);
	to_tick(2000);
	pit.timer.fire(pit.timer.ctx);
	assert_int_equal(fake.irq_rises[0], rises);
	assert_true(pit.timer.deadline == TIME_NEVER);
	assert_int_equal(status(0), 0x70);
}

static void test_mode0(void **state)
{
	uint64_t rises;

	(void)state;
	program(0, 0x00, 100);
	assert_false(fake.irq[0]);
	assert_int_equal(status(0) & 0xc0, 0x40); /* loaded with the next clock */
	to_tick(1001);
	assert_int_equal(status(0) & 0xc0, 0);
	assert_int_equal(latch(0), 100);
	to_tick(1100);
	assert_int_equal(latch(0), 1);
	assert_int_equal(fake.irq_rises[0], 0);
	to_tick(1101); /* N + 1 after the write */
	assert_int_equal(fake.irq_rises[0], 1);
	assert_true(fake.irq[0]);
	assert_int_equal(status(0), 0xb0);
	to_tick(1102);
	assert_int_equal(latch(0), 0xffff);
	to_tick(200000);
	assert_int_equal(fake.irq_rises[0], 1);
	/* The first byte of a new count lowers OUT and stops. */
	out(0x40, 10);
	assert_false(fake.irq[0]);
	to_tick(300000);
	rises = fake.irq_rises[0];
	out(0x40, 0);
	to_tick(300012);
	assert_int_equal(fake.irq_rises[0], rises + 1);
	/* A mode change before the end: no interrupt. */
	out(0x40, 100);
	out(0x40, 0);
	out(0x43, 0x30);
	to_tick(400000);
	assert_int_equal(fake.irq_rises[0], rises + 1);
	/* Zero is 65536. */
	out(0x40, 0);
	out(0x40, 0);
	to_tick(400000 + 65536);
	assert_int_equal(fake.irq_rises[0], rises + 1);
	to_tick(400000 + 65537);
	assert_int_equal(fake.irq_rises[0], rises + 2);
}

static void test_mode2_periodic(void **state)
{
	(void)state;
	program(0, 0x04, 1193);
	assert_true(fake.irq[0]);
	fake.irq_rises[0] = 0;
	to_tick(1001);
	assert_int_equal(latch(0), 1193);
	to_tick(1001 + 1192);
	assert_int_equal(latch(0), 1);
	assert_int_equal(status(0) & 0x80, 0); /* OUT is low in the last clock */
	assert_int_equal(fake.irq_rises[0], 0);
	to_tick(1001 + 1193);
	assert_int_equal(fake.irq_rises[0], 1);
	assert_int_equal(latch(0), 1193);
	/* No drift over ten minutes. */
	to_tick(1001 + 1193ULL * 600000);
	assert_int_equal(fake.irq_rises[0], 600000);
	/* The VM does not run for 5.5 periods: one interrupt when it runs again, and the phase is kept. */
	fake.now = tick_clock_when(&pit.clock, 1001 + 1193ULL * 600006 + 600);
	fake_advance_to(fake.now);
	assert_int_equal(fake.irq_rises[0], 600001);
	to_tick(1001 + 1193ULL * 600007 - 1);
	assert_int_equal(fake.irq_rises[0], 600001);
	to_tick(1001 + 1193ULL * 600007);
	assert_int_equal(fake.irq_rises[0], 600002);
	/* A late call of the timer changes nothing. */
	pit.timer.fire(pit.timer.ctx);
	assert_int_equal(fake.irq_rises[0], 600002);
	pit_reset(&pit);
	assert_false(fake.irq[0]);
	pit.timer.fire(pit.timer.ctx);
	fake_advance_to(fake.now + fake.hz);
	assert_int_equal(fake.irq_rises[0], 600002);
}

static void test_mode2_new_count(void **state)
{
	(void)state;
	program(0, 0x04, 1000);
	fake.irq_rises[0] = 0;
	to_tick(1001 + 300);
	out(0x40, 500 & 0xff);
	assert_int_equal(latch(0), 700);
	out(0x40, 500 >> 8);
	assert_int_equal(status(0) & 0x40, 0x40); /* waits for the end of the period */
	to_tick(1001 + 999);
	assert_int_equal(latch(0), 1);
	to_tick(1001 + 1000);
	assert_int_equal(fake.irq_rises[0], 1);
	assert_int_equal(latch(0), 500);
	assert_int_equal(status(0) & 0x40, 0);
	to_tick(1001 + 1499);
	assert_int_equal(fake.irq_rises[0], 1);
	to_tick(1001 + 1500);
	assert_int_equal(fake.irq_rises[0], 2);
	to_tick(1001 + 2000);
	assert_int_equal(fake.irq_rises[0], 3);
}

static void test_mode3(void **state)
{
	(void)state;
	out(0x61, 1);
	program(2, 0x06, 11);
	/* Six clocks high, five low; counts by two from 10. */
	for (unsigned i = 0; i < 33; i++) {
		unsigned position = i % 11;

		to_tick(1001 + i);
		assert_int_equal(out2(), position < 6);
		assert_int_equal(latch(2), 10 - 2 * (position < 6 ? position : position - 6));
	}
	program(0, 0x06, 2000);
	fake.irq_rises[0] = 0;
	to_tick(1034 + 1500);
	assert_int_equal(fake.irq_rises[0], 0);
	assert_int_equal(status(0) & 0x80, 0);
	to_tick(1034 + 2000);
	assert_int_equal(fake.irq_rises[0], 1);
	to_tick(1034 + 4000);
	assert_int_equal(fake.irq_rises[0], 2);
	/* A new count in the high half begins with the low half, at the end of the high one. */
	to_tick(1034 + 4000 + 100);
	out(0x40, 1000 & 0xff);
	out(0x40, 1000 >> 8);
	to_tick(1034 + 4000 + 999);
	assert_int_equal(status(0) & 0x80, 0x80);
	to_tick(1034 + 4000 + 1000);
	assert_int_equal(status(0) & 0x80, 0);
	assert_int_equal(latch(0), 1000);
	to_tick(1034 + 4000 + 1499);
	assert_int_equal(fake.irq_rises[0], 2);
	to_tick(1034 + 4000 + 1500);
	assert_int_equal(fake.irq_rises[0], 3);
	assert_int_equal(status(0) & 0x80, 0x80);
	to_tick(1034 + 4000 + 2500);
	assert_int_equal(fake.irq_rises[0], 4);
}

static void test_mode4_one_shot(void **state)
{
	(void)state;
	program(0, 0x08, 500);
	assert_true(fake.irq[0]);
	fake.irq_rises[0] = 0;
	to_tick(1001 + 500);
	assert_int_equal(status(0) & 0x80, 0);
	assert_int_equal(fake.irq_rises[0], 0);
	to_tick(1001 + 501);
	assert_int_equal(fake.irq_rises[0], 1);
	assert_int_equal(status(0) & 0x80, 0x80);
	to_tick(1001 + 100000);
	assert_int_equal(fake.irq_rises[0], 1);
	/* Each new count is a shot, and replaces one in flight. */
	out(0x40, 200);
	out(0x40, 0);
	to_tick(1001 + 100100);
	out(0x40, 200);
	out(0x40, 0);
	to_tick(1001 + 100301);
	assert_int_equal(fake.irq_rises[0], 1);
	to_tick(1001 + 100302);
	assert_int_equal(fake.irq_rises[0], 2);
}

static void test_gated_modes(void **state)
{
	uint64_t t = 2000;

	(void)state;
	/* Mode 0: the gate pauses. */
	to_tick(t);
	out(0x61, 0);
	program(2, 0x00, 100);
	to_tick(t += 500);
	assert_int_equal(latch(2), 100);
	assert_false(out2());
	out(0x61, 1);
	to_tick(t += 60);
	assert_int_equal(latch(2), 40);
	out(0x61, 0);
	to_tick(t += 500);
	assert_int_equal(latch(2), 40);
	out(0x61, 3);
	to_tick(t += 39);
	assert_false(out2());
	to_tick(t += 1);
	assert_true(out2());
	assert_int_equal(in(0x61) & 0x0f, 3);
	/* Mode 1: a rising edge triggers a low pulse of N. */
	program(2, 0x02, 50);
	to_tick(t += 500);
	assert_true(out2());
	assert_int_equal(status(2) & 0x40, 0x40);
	out(0x61, 0);
	out(0x61, 1);
	assert_true(out2());
	to_tick(t += 1);
	assert_false(out2());
	assert_int_equal(status(2) & 0x40, 0);
	to_tick(t += 30);
	assert_int_equal(latch(2), 20);
	out(0x61, 0); /* the falling edge does nothing */
	out(0x61, 1); /* triggers again */
	to_tick(t += 50);
	assert_false(out2());
	to_tick(t += 1);
	assert_true(out2());
	/* A count written meanwhile holds from the next trigger. */
	out(0x42, 10);
	out(0x42, 0);
	out(0x61, 0);
	out(0x61, 1);
	to_tick(t += 10);
	assert_false(out2());
	to_tick(t += 1);
	assert_true(out2());
	/* Mode 5: a strobe N after the trigger. */
	program(2, 0x0a, 50);
	to_tick(t += 500);
	assert_true(out2());
	out(0x61, 0);
	out(0x61, 1);
	to_tick(t += 50);
	assert_true(out2());
	to_tick(t += 1);
	assert_false(out2());
	to_tick(t += 1);
	assert_true(out2());
	/* Modes 2 and 3: a low gate stops with OUT high, a rising edge starts anew. */
	program(2, 0x04, 10);
	to_tick(t += 10);
	assert_false(out2());
	out(0x61, 0);
	assert_true(out2());
	to_tick(t += 100);
	assert_true(out2());
	out(0x42, 20);
	out(0x42, 0);
	out(0x61, 1);
	to_tick(t += 1);
	assert_int_equal(latch(2), 20);
	to_tick(t += 19);
	assert_false(out2());
}

static void test_access_and_bcd(void **state)
{
	(void)state;
	out(0x61, 1);
	/* Low byte only. */
	out(0x43, 0x94);
	out(0x42, 0x50);
	to_tick(1001 + 0x10);
	assert_int_equal(in(0x42), 0x40);
	assert_int_equal(in(0x42), 0x40);
	/* High byte only. */
	out(0x43, 0xa4);
	out(0x42, 0x50);
	to_tick(1017 + 1 + 0x110);
	assert_int_equal(in(0x42), 0x4e);
	out(0x43, 0x80);
	assert_int_equal(in(0x42), 0x4e);
	/* Both, live: low and high alternate. */
	program(2, 0x04, 0x1234);
	to_tick(1017 + 1 + 0x110 + 1);
	assert_int_equal(in(0x42), 0x34);
	assert_int_equal(in(0x42), 0x12);
	assert_int_equal(in(0x42), 0x34);
	/* BCD: 1000 down to 999, and 0 is 10000. */
	program(2, 0x05, 0x1000);
	to_tick(1017 + 1 + 0x110 + 1 + 1);
	assert_int_equal(latch(2), 0x1000);
	to_tick(1017 + 1 + 0x110 + 1 + 2);
	assert_int_equal(latch(2), 0x0999);
	program(2, 0x01, 0);
	to_tick(1017 + 1 + 0x110 + 1 + 2 + 2);
	assert_int_equal(latch(2), 0x9999);
	to_tick(1017 + 1 + 0x110 + 1 + 2 + 10000);
	assert_false(out2());
	to_tick(1017 + 1 + 0x110 + 1 + 2 + 10001);
	assert_true(out2());
}

static void test_latches(void **state)
{
	(void)state;
	program(0, 0x04, 60000);
	program(1, 0x04, 18);
	to_tick(1001 + 10);
	out(0x43, 0xc6); /* read back: count and status of 0 and 1 */
	to_tick(1001 + 5000);
	out(0x43, 0x00); /* latched already: ignored */
	assert_int_equal(in(0x40), 0xb4);
	assert_int_equal(in(0x40), (60000 - 10) & 0xff);
	assert_int_equal(in(0x40), (60000 - 10) >> 8);
	assert_int_equal(in(0x41), 0xb4);
	assert_int_equal(in(0x41), 8);
	assert_int_equal(in(0x41), 0);
	assert_int_equal(latch(0), 60000 - 5000);
	/* Bit 4 of port 0x61 toggles with memory refresh. */
	{
		bool seen[2] = { false, false };

		for (unsigned i = 0; i < 40; i++) {
			to_tick(10000 + i);
			seen[in(0x61) >> 4 & 1] = true;
		}
		assert_true(seen[0] && seen[1]);
	}
}

/* Linux's calibration loop: channel 2 in mode 0, waiting for OUT2. */
static void test_calibration(void **state)
{
	uint64_t begin;

	(void)state;
	out(0x61, (in(0x61) & ~2) | 1);
	begin = fake.now;
	program(2, 0x00, 1193182 / 20);
	while (!out2())
		fake_advance_to(fake.now + 1000);
	assert_in_range(fake.now - begin, fake.hz / 20 - 2000, fake.hz / 20 + 3000);
}

static void test_fast_period(void **state)
{
	unsigned fires;

	(void)state;
	/* A period of one tick must not take the machine: at most one interrupt each 100 us. */
	program(0, 0x04, 1);
	fake.irq_rises[0] = 0;
	fake_advance_to(fake.now + fake.hz);
	fires = fake.irq_rises[0];
	assert_in_range(fires, 9000, 10000);
	program(0, 0x06, 3);
	fake.irq_rises[0] = 0;
	fake_advance_to(fake.now + fake.hz);
	assert_in_range(fake.irq_rises[0], 9000, 10000);
}

static void test_hostile(void **state)
{
	(void)state;
	hostile_io(&pio, 0x40, 4, 40000, 2000, NULL);
	hostile_io(&pio, 0x40, 0x22, 40000, 200000, NULL);
	hostile_io(&pio, 0x40, 0x22, 5000, 2000000000, NULL);
	assert_int_equal(pit.lock.held, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_clock, setup),
		cmocka_unit_test_setup(test_power_on, setup),
		cmocka_unit_test_setup(test_reset, setup),
		cmocka_unit_test_setup(test_mode0, setup),
		cmocka_unit_test_setup(test_mode2_periodic, setup),
		cmocka_unit_test_setup(test_mode2_new_count, setup),
		cmocka_unit_test_setup(test_mode3, setup),
		cmocka_unit_test_setup(test_mode4_one_shot, setup),
		cmocka_unit_test_setup(test_gated_modes, setup),
		cmocka_unit_test_setup(test_access_and_bcd, setup),
		cmocka_unit_test_setup(test_latches, setup),
		cmocka_unit_test_setup(test_calibration, setup),
		cmocka_unit_test_setup(test_fast_period, setup),
		cmocka_unit_test_setup(test_hostile, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

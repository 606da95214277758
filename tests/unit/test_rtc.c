/* SOURCES: vmm/devices/rtc.c vmm/devices/rtc_time.c vmm/devices/tick_clock.c vmm/io/io_space.c */
#include "tests/unit/unit.h"

#include <string.h>
#include <time.h>

#include "tests/unit/hostile_io.h"
#include "vmm/devices/rtc.h"
#include "vmm/devices/rtc_time.h"

#define START 1704067190ULL /* Sunday, 31 December 2023, 23:59:50 */

static struct io_space pio;
static struct rtc rtc;

static uint8_t get(uint8_t index)
{
	io_space_write(&pio, 0x70, 1, index);
	return (uint8_t)io_space_read(&pio, 0x71, 1);
}

static void put(uint8_t index, uint8_t value)
{
	io_space_write(&pio, 0x70, 1, index);
	io_space_write(&pio, 0x71, 1, value);
}

static void pass(uint64_t milliseconds)
{
	fake_advance_to(fake.now + milliseconds * (fake.hz / 1000));
}

static void expect_time(unsigned hour, unsigned minute, unsigned second)
{
	assert_int_equal(get(RTC_HOURS), hour);
	assert_int_equal(get(RTC_MINUTES), minute);
	assert_int_equal(get(RTC_SECONDS), second);
}

static void expect_date(unsigned century, unsigned year, unsigned month, unsigned day, unsigned weekday)
{
	assert_int_equal(get(RTC_CENTURY), century);
	assert_int_equal(get(RTC_YEAR), year);
	assert_int_equal(get(RTC_MONTH), month);
	assert_int_equal(get(RTC_DAY), day);
	assert_int_equal(get(RTC_WEEKDAY), weekday);
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	fake.now = 987654321;
	memset(&pio, 0, sizeof(pio));
	memset(&rtc, 0xaa, sizeof(rtc));
	assert_int_equal(rtc_init(&rtc, NULL, &pio, GIB(3), GIB(5), START), 0);
	pass(100); /* away from the edges */
	return 0;
}

static void test_time_runs(void **state)
{
	(void)state;
	expect_time(0x23, 0x59, 0x50);
	expect_date(0x20, 0x23, 0x12, 0x31, 1);
	assert_int_equal(get(RTC_REG_A), 0x26);
	assert_int_equal(get(RTC_REG_B), 0x02);
	assert_int_equal(get(RTC_REG_D), 0x80);
	pass(9000);
	expect_time(0x23, 0x59, 0x59);
	pass(1000);
	expect_time(0x00, 0x00, 0x00);
	expect_date(0x20, 0x24, 0x01, 0x01, 2);
	pass(59 * 86400000ULL);
	expect_date(0x20, 0x24, 0x02, 0x29, 5);
	pass(86400000ULL);
	expect_date(0x20, 0x24, 0x03, 0x01, 6);
	/* The index cannot be read. A word is an access of each of the two ports: index and data in one OUT. */
	assert_int_equal(io_space_read(&pio, 0x70, 1) & 0xff, 0xff);
	get(RTC_MONTH);
	assert_int_equal(io_space_read(&pio, 0x70, 2) & 0xffff, 0x03ff);
	io_space_write(&pio, 0x70, 2, 0x5a00 | 0x40);
	assert_int_equal(get(0x40), 0x5a);
	/* Bit 7 of the index is the NMI mask. */
	assert_int_equal(get(0x80 | RTC_MONTH), 0x03);
}

/* Against the C library, over four centuries. */
static void test_calendar(void **state)
{
	uint8_t cmos[RTC_CMOS_SIZE] = { 0 };
	uint8_t moving[RTC_CMOS_SIZE] = { 0 };
	uint64_t now = 0;
	uint64_t step = 12345678;

	(void)state;
	cmos[RTC_REG_B] = RTC_B_24H | RTC_B_BINARY;
	moving[RTC_REG_B] = RTC_B_24H | RTC_B_BINARY;
	rtc_time_set(moving, now);
	while (now < 400ULL * 366 * 86400) {
		time_t unix_time;
		struct tm tm;

		now += step;
		unix_time = (time_t)now;
		assert_non_null(gmtime_r(&unix_time, &tm));
		rtc_time_set(cmos, now);
		rtc_time_advance(moving, step);
		assert_memory_equal(cmos, moving, sizeof(cmos));
		assert_int_equal(cmos[RTC_SECONDS], tm.tm_sec);
		assert_int_equal(cmos[RTC_MINUTES], tm.tm_min);
		assert_int_equal(cmos[RTC_HOURS], tm.tm_hour);
		assert_int_equal(cmos[RTC_DAY], tm.tm_mday);
		assert_int_equal(cmos[RTC_MONTH], tm.tm_mon + 1);
		assert_int_equal(cmos[RTC_YEAR] + 100 * cmos[RTC_CENTURY], tm.tm_year + 1900);
		assert_int_equal(cmos[RTC_WEEKDAY], tm.tm_wday + 1);
	}
	/* The registers' own end, and their beginning. */
	moving[RTC_CENTURY] = moving[RTC_YEAR] = 99;
	moving[RTC_MONTH] = 12;
	moving[RTC_DAY] = 31;
	rtc_time_advance(moving, 86400);
	assert_int_equal(moving[RTC_CENTURY], 0);
	assert_int_equal(moving[RTC_YEAR], 0);
	assert_int_equal(moving[RTC_MONTH], 1);
	assert_int_equal(moving[RTC_DAY], 1);
	rtc_time_advance(moving, 59 * 86400);
	assert_int_equal(moving[RTC_MONTH], 2);
	assert_int_equal(moving[RTC_DAY], 29); /* the year 0 is a leap year */
}

static void test_formats(void **state)
{
	(void)state;
	/* Binary and 12 hours, set as the data sheet says: SET, format, time, SET off. */
	put(RTC_REG_B, 0x84);
	put(RTC_HOURS, 0x80 | 11);
	put(RTC_MINUTES, 59);
	put(RTC_SECONDS, 58);
	put(RTC_DAY, 28);
	put(RTC_MONTH, 2);
	put(RTC_YEAR, 99);
	put(RTC_CENTURY, 20);
	put(RTC_WEEKDAY, 7);
	pass(5000); /* the clock stands still */
	expect_time(0x80 | 11, 59, 58);
	put(RTC_REG_B, 0x04);
	pass(2000);
	expect_time(12, 0, 0);
	expect_date(21 - 1, 99, 3, 1, 1);
	pass(3600000);
	expect_time(1, 0, 0);
	pass(11 * 3600000);
	expect_time(0x80 | 12, 0, 0);
	/* BCD and 12 hours. */
	put(RTC_REG_B, 0x80);
	put(RTC_HOURS, 0x12);
	put(RTC_MINUTES, 0x59);
	put(RTC_SECONDS, 0x59);
	put(RTC_REG_B, 0x00);
	pass(1000);
	expect_time(0x01, 0, 0);
	pass(11 * 3600000ULL);
	expect_time(0x92, 0, 0);
	/* A write without SET holds too. */
	put(RTC_MINUTES, 0x30);
	expect_time(0x92, 0x30, 0);
	pass(1000);
	expect_time(0x92, 0x30, 1);
}

static void test_update_in_progress(void **state)
{
	(void)state;
	/* 100 ms after an update. */
	assert_int_equal(get(RTC_REG_A) & 0x80, 0);
	pass(899);
	assert_int_equal(get(RTC_REG_A) & 0x80, 0);
	fake_advance_to(fake.now + fake.hz / 1000 - fake.hz / 5000); /* 200 us before the update */
	assert_int_equal(get(RTC_REG_A) & 0x80, 0x80);
	assert_int_equal(get(RTC_SECONDS), 0x50);
	fake_advance_to(fake.now + fake.hz / 5000 + 1000);
	assert_int_equal(get(RTC_REG_A) & 0x80, 0);
	assert_int_equal(get(RTC_SECONDS), 0x51);
	/* Not while SET holds, and the bit cannot be written. */
	put(RTC_REG_B, 0x82);
	put(RTC_REG_A, 0xa6);
	for (unsigned i = 0; i < 10000; i++) {
		fake_advance_to(fake.now + fake.hz / 8192);
		assert_int_equal(get(RTC_REG_A), 0x26);
	}
}

static void test_divider_reset(void **state)
{
	(void)state;
	put(RTC_REG_A, 0x76);
	pass(10000);
	expect_time(0x23, 0x59, 0x50);
	put(RTC_REG_A, 0x26);
	pass(499);
	expect_time(0x23, 0x59, 0x50);
	pass(2);
	expect_time(0x23, 0x59, 0x51);
	pass(1000);
	expect_time(0x23, 0x59, 0x52);
}

static void test_update_interrupt(void **state)
{
	(void)state;
	get(RTC_REG_C);
	put(RTC_REG_B, 0x12);
	assert_false(fake.irq[8]);
	pass(899);
	assert_false(fake.irq[8]);
	pass(2);
	assert_true(fake.irq[8]);
	assert_true(rtc.timer.deadline == TIME_NEVER); /* a line that is high needs no timer */
	pass(3000);
	assert_int_equal(fake.irq_rises[8], 1); /* not again before C is read */
	assert_int_equal(get(RTC_REG_C), 0x80 | 0x40 | 0x10); /* the periodic flag is set whether enabled or not */
	assert_false(fake.irq[8]);
	assert_int_equal(get(RTC_REG_C), 0);
	pass(1000);
	assert_true(fake.irq[8]);
	get(RTC_REG_C);
	/* SET clears the enable. */
	put(RTC_REG_B, 0x92);
	assert_int_equal(get(RTC_REG_B), 0x82);
	put(RTC_REG_B, 0x02);
	pass(3000);
	assert_int_equal(fake.irq_rises[8], 2);
	/* Flags that are set when the enable comes interrupt at once. */
	put(RTC_REG_B, 0x12);
	assert_int_equal(fake.irq_rises[8], 3);
	rtc_reset(&rtc);
	assert_false(fake.irq[8]);
	assert_int_equal(get(RTC_REG_B), 0x02);
	rtc.timer.fire(rtc.timer.ctx);
	assert_false(fake.irq[8]);
}

static void test_periodic_interrupt(void **state)
{
	static const struct { uint8_t rate; unsigned hz; } rates[] = {
		{ 1, 256 }, { 2, 128 }, { 3, 8192 }, { 6, 1024 }, { 10, 64 }, { 15, 2 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
		uint64_t end;

		put(RTC_REG_A, 0x20 | rates[i].rate);
		get(RTC_REG_C);
		put(RTC_REG_B, 0x42);
		fake.irq_rises[8] = 0;
		/* A driver that reads C at each interrupt. */
		for (end = fake.now + 4 * fake.hz; fake.now < end; ) {
			fake_advance_to(fake.now + fake.hz / 20000);
			if (fake.irq[8])
				assert_int_equal(get(RTC_REG_C) & 0xc0, 0xc0);
		}
		assert_in_range(fake.irq_rises[8], 4 * rates[i].hz - 1, 4 * rates[i].hz + 1);
		put(RTC_REG_B, 0x02);
	}
	put(RTC_REG_A, 0x20);
	get(RTC_REG_C);
	put(RTC_REG_B, 0x42);
	pass(5000);
	assert_false(fake.irq[8]);
	/* Missed periods are one interrupt. */
	put(RTC_REG_A, 0x26);
	fake.now += 10 * fake.hz;
	fake_advance_to(fake.now);
	get(RTC_REG_C);
	fake_advance_to(fake.now);
	assert_false(fake.irq[8]);
}

static void test_alarm(void **state)
{
	(void)state;
	/* 23:59:55, five seconds from now. */
	put(RTC_HOURS_ALARM, 0x23);
	put(RTC_MINUTES_ALARM, 0x59);
	put(RTC_SECONDS_ALARM, 0x55);
	get(RTC_REG_C);
	put(RTC_REG_B, 0x22);
	pass(4800);
	assert_false(fake.irq[8]);
	pass(200);
	assert_true(fake.irq[8]);
	assert_int_equal(get(RTC_REG_C) & 0xa0, 0xa0);
	pass(86399000);
	assert_false(fake.irq[8]);
	pass(1000);
	assert_true(fake.irq[8]);
	get(RTC_REG_C);
	/* Wildcards: each minute at :05. */
	put(RTC_HOURS_ALARM, 0xff);
	put(RTC_MINUTES_ALARM, 0xc0);
	put(RTC_SECONDS_ALARM, 0x05);
	fake.irq_rises[8] = 0;
	for (unsigned i = 0; i < 600; i++) {
		pass(1000);
		if (fake.irq[8]) {
			assert_int_equal(get(RTC_SECONDS), 0x05);
			get(RTC_REG_C);
		}
	}
	assert_int_equal(fake.irq_rises[8], 10);
	/* An alarm that is no time never comes. */
	put(RTC_SECONDS_ALARM, 0x7f);
	pass(200000);
	assert_false(fake.irq[8]);
	assert_int_equal(get(RTC_REG_C) & 0x20, 0);
}

/* The closed form against stepping second by second. */
static void test_alarm_delay(void **state)
{
	static const uint8_t hours[] = { 0, 5, 13, 23, 0xff, 24 };
	static const uint8_t parts[] = { 0, 7, 59, 0xc0, 60 };
	static const unsigned starts[] = { 0, 7, 18000, 18427, 46859, 86399, 43200, 86340 };

	(void)state;
	for (unsigned s = 0; s < ARRAY_SIZE(starts); s++)
	for (unsigned h = 0; h < ARRAY_SIZE(hours); h++)
	for (unsigned m = 0; m < ARRAY_SIZE(parts); m++)
	for (unsigned c = 0; c < ARRAY_SIZE(parts); c++) {
		uint8_t cmos[RTC_CMOS_SIZE] = { 0 };
		uint32_t expected = 0;

		cmos[RTC_REG_B] = RTC_B_24H | RTC_B_BINARY;
		rtc_time_set(cmos, starts[s]);
		cmos[RTC_HOURS_ALARM] = hours[h];
		cmos[RTC_MINUTES_ALARM] = parts[m];
		cmos[RTC_SECONDS_ALARM] = parts[c];
		for (unsigned d = 1; d <= 86400; d++) {
			unsigned t = (starts[s] + d) % 86400;

			if ((hours[h] == 0xff || hours[h] == t / 3600) && (parts[m] == 0xc0 || parts[m] == t / 60 % 60) &&
			    (parts[c] == 0xc0 || parts[c] == t % 60)) {
				expected = d;
				break;
			}
		}
		assert_int_equal(rtc_time_alarm_delay(cmos), expected);
	}
}

static unsigned size16(uint8_t index)
{
	return get(index) | (unsigned)get((uint8_t)(index + 1)) << 8;
}

static void test_cmos(void **state)
{
	unsigned checksum = 0;

	(void)state;
	assert_int_equal(size16(0x15), 640);
	assert_int_equal(size16(0x17), 0xffff);
	assert_int_equal(size16(0x30), 0xffff);
	assert_int_equal(size16(0x34), (GIB(3) - MIB(16)) >> 16);
	assert_int_equal(size16(0x5b) | get(0x5d) << 16, GIB(5) >> 16);
	assert_int_equal(get(0x14), 0x02); /* a floating-point unit, no floppy drive */
	for (unsigned i = 0x10; i < 0x2e; i++)
		checksum += get((uint8_t)i);
	assert_int_equal(get(0x2e) << 8 | get(0x2f), checksum);
	put(0x0f, 0x0a);
	assert_int_equal(get(0x0f), 0x0a);
	put(0x7f, 0x5a);
	assert_int_equal(get(0x7f), 0x5a);
	put(RTC_REG_C, 0xff);
	put(RTC_REG_D, 0x00);
	assert_int_equal(get(RTC_REG_C) & 0x8f, 0);
	assert_int_equal(get(RTC_REG_D), 0x80);
	/* A reset keeps time and CMOS, but not the shutdown status. */
	put(RTC_REG_B, 0x82);
	put(RTC_REG_A, 0x2f);
	rtc_reset(&rtc);
	assert_int_equal(get(RTC_REG_A) & 0x7f, 0x26);
	assert_int_equal(get(0x7f), 0x5a);
	assert_int_equal(get(0x0f), 0);
	expect_time(0x23, 0x59, 0x50);
	pass(1000);
	expect_time(0x23, 0x59, 0x51);

	memset(&pio, 0, sizeof(pio));
	assert_int_equal(rtc_init(&rtc, NULL, &pio, MIB(8), 0, START), 0);
	assert_int_equal(size16(0x17), 7 * 1024);
	assert_int_equal(size16(0x34), 0);
	assert_int_equal(size16(0x5b) | get(0x5d), 0);
	memset(&pio, 0, sizeof(pio));
	assert_int_equal(rtc_init(&rtc, NULL, &pio, KIB(512), UINT64_MAX, 0), 0);
	assert_int_equal(size16(0x15), 512);
	assert_int_equal(size16(0x17), 0);
	assert_int_equal(get(0x5d), 0xff);
}

static void test_hostile(void **state)
{
	(void)state;
	hostile_io(&pio, 0x70, 2, 60000, 2000000, NULL);
	hostile_io(&pio, 0x70, 2, 20000, 2000000000, NULL);
	/* Each register with each value, then time. */
	for (unsigned format = 0; format < 8; format += 2) {
		for (unsigned value = 0; value < 256; value++) {
			for (unsigned index = 0; index <= RTC_REG_D; index++)
				put((uint8_t)index, index == RTC_REG_B ? (uint8_t)format : (uint8_t)value);
			put(RTC_REG_A, 0x26);
			put(RTC_CENTURY, (uint8_t)value);
			pass(86401000);
			for (unsigned index = 0; index <= RTC_REG_D; index++)
				get((uint8_t)index);
		}
	}
	assert_int_equal(rtc.lock.held, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_time_runs, setup),
		cmocka_unit_test_setup(test_calendar, setup),
		cmocka_unit_test_setup(test_formats, setup),
		cmocka_unit_test_setup(test_update_in_progress, setup),
		cmocka_unit_test_setup(test_divider_reset, setup),
		cmocka_unit_test_setup(test_update_interrupt, setup),
		cmocka_unit_test_setup(test_periodic_interrupt, setup),
		cmocka_unit_test_setup(test_alarm, setup),
		cmocka_unit_test_setup(test_alarm_delay, setup),
		cmocka_unit_test_setup(test_cmos, setup),
		cmocka_unit_test_setup(test_hostile, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Calendar arithmetic on the time registers, in binary or BCD and with 12 or 24 hours. */
#include "vmm/devices/rtc_time.h"

#define DAY 86400U
#define ALARM_ANY 0xc0 /* an alarm byte with both high bits matches each value */

static unsigned decode(const uint8_t *cmos, uint8_t raw)
{
	return cmos[RTC_REG_B] & RTC_B_BINARY ? raw : (raw >> 4) * 10U + (raw & 15U);
}

static uint8_t encode(const uint8_t *cmos, unsigned value)
{
	return (uint8_t)(cmos[RTC_REG_B] & RTC_B_BINARY ? value : (value / 10 << 4 | value % 10));
}

/* 24 and more for what is no hour. */
static unsigned decode_hour(const uint8_t *cmos, uint8_t raw)
{
	unsigned hour;

	if (cmos[RTC_REG_B] & RTC_B_24H)
		return decode(cmos, raw);
	hour = decode(cmos, raw & 0x7f);
	if (hour < 1 || hour > 12)
		return 24;
	return hour % 12 + (raw & RTC_HOUR_PM ? 12 : 0);
}

static uint8_t encode_hour(const uint8_t *cmos, unsigned hour)
{
	if (cmos[RTC_REG_B] & RTC_B_24H)
		return encode(cmos, hour);
	return (uint8_t)(encode(cmos, (hour + 11) % 12 + 1) | (hour >= 12 ? RTC_HOUR_PM : 0));
}

static unsigned time_of_day(const uint8_t *cmos)
{
	unsigned hour = MIN(decode_hour(cmos, cmos[RTC_HOURS]), 23U);
	unsigned minute = MIN(decode(cmos, cmos[RTC_MINUTES]), 59U);

	return hour * 3600 + minute * 60 + MIN(decode(cmos, cmos[RTC_SECONDS]), 59U);
}

static void set_time_of_day(uint8_t *cmos, unsigned seconds)
{
	cmos[RTC_HOURS] = encode_hour(cmos, seconds / 3600);
	cmos[RTC_MINUTES] = encode(cmos, seconds / 60 % 60);
	cmos[RTC_SECONDS] = encode(cmos, seconds % 60);
}

/* Days are counted from 1 March of the year -400, Gregorian: a year that begins in March has its leap day last, and the 400 years,
 * one cycle of the calendar, keep each date that the registers can hold above 0. */
#define CYCLE_YEARS 400U
#define CYCLE_DAYS 146097U
#define DAYS_TO_1970 (719468U + CYCLE_DAYS)

static uint64_t days_of_date(unsigned year, unsigned month, unsigned day)
{
	uint64_t y = year + CYCLE_YEARS - (month <= 2);
	unsigned from_march = (month + 9) % 12;

	return y * 365 + y / 4 - y / 100 + y / 400 + (153 * from_march + 2) / 5 + day - 1;
}

static void set_date(uint8_t *cmos, uint64_t days)
{
	unsigned cycle_day = (unsigned)(days % CYCLE_DAYS);
	unsigned cycle_year = (cycle_day - cycle_day / 1460 + cycle_day / 36524 - cycle_day / 146096) / 365;
	unsigned year_day = cycle_day - (365 * cycle_year + cycle_year / 4 - cycle_year / 100);
	unsigned from_march = (5 * year_day + 2) / 153;
	unsigned month = from_march < 10 ? from_march + 3 : from_march - 9;
	uint64_t year = days / CYCLE_DAYS * CYCLE_YEARS + cycle_year + (month <= 2) - CYCLE_YEARS;

	cmos[RTC_DAY] = encode(cmos, year_day - (153 * from_march + 2) / 5 + 1);
	cmos[RTC_MONTH] = encode(cmos, month);
	cmos[RTC_YEAR] = encode(cmos, (unsigned)(year % 100));
	cmos[RTC_CENTURY] = encode(cmos, (unsigned)(year / 100 % 100));
}

void rtc_time_set(uint8_t *cmos, uint64_t unix_seconds)
{
	uint64_t days = unix_seconds / DAY;

	set_time_of_day(cmos, (unsigned)(unix_seconds % DAY));
	set_date(cmos, DAYS_TO_1970 + days);
	cmos[RTC_WEEKDAY] = encode(cmos, (unsigned)((days + 4) % 7 + 1)); /* 1 January 1970 was a Thursday; Sunday is 1 */
}

void rtc_time_advance(uint8_t *cmos, uint64_t seconds)
{
	uint64_t total = time_of_day(cmos) + seconds;
	uint64_t days = total / DAY;
	unsigned year;
	unsigned month;
	unsigned day;
	unsigned weekday;

	set_time_of_day(cmos, (unsigned)(total % DAY));
	if (days == 0)
		return;
	year = MIN(decode(cmos, cmos[RTC_CENTURY]), 99U) * 100 + MIN(decode(cmos, cmos[RTC_YEAR]), 99U);
	month = MIN(MAX(decode(cmos, cmos[RTC_MONTH]), 1U), 12U);
	day = MIN(MAX(decode(cmos, cmos[RTC_DAY]), 1U), 31U);
	weekday = MIN(MAX(decode(cmos, cmos[RTC_WEEKDAY]), 1U), 7U);
	set_date(cmos, days_of_date(year, month, day) + days);
	cmos[RTC_WEEKDAY] = encode(cmos, (unsigned)((weekday - 1 + days) % 7 + 1));
}

uint32_t rtc_time_alarm_delay(const uint8_t *cmos)
{
	bool any_hour = cmos[RTC_HOURS_ALARM] >= ALARM_ANY;
	bool any_minute = cmos[RTC_MINUTES_ALARM] >= ALARM_ANY;
	bool any_second = cmos[RTC_SECONDS_ALARM] >= ALARM_ANY;
	unsigned hour = any_hour ? 0 : decode_hour(cmos, cmos[RTC_HOURS_ALARM]);
	unsigned minute = any_minute ? 0 : decode(cmos, cmos[RTC_MINUTES_ALARM]);
	unsigned second = any_second ? 0 : decode(cmos, cmos[RTC_SECONDS_ALARM]);
	unsigned now = time_of_day(cmos);
	unsigned now_hour = now / 3600;
	unsigned now_minute = now / 60 % 60;
	unsigned now_second = now % 60;

	if (hour > 23 || minute > 59 || second > 59)
		return 0;
	if (any_hour || hour == now_hour) {
		unsigned later_second = any_second ? now_second + 1 : second;
		unsigned later_minute = any_minute ? now_minute + 1 : minute;

		if ((any_minute || minute == now_minute) && later_second > now_second && later_second < 60)
			return later_second - now_second;
		if (later_minute > now_minute && later_minute < 60)
			return now_hour * 3600 + later_minute * 60 + second - now;
	}
	if (any_hour && now_hour < 23)
		return (now_hour + 1) * 3600 + minute * 60 + second - now;
	if (!any_hour && hour > now_hour)
		return hour * 3600 + minute * 60 + second - now;
	return DAY + hour * 3600 + minute * 60 + second - now;
}

/* The RTC's time registers: their formats, how they advance, when they meet the alarm. */
#ifndef VMM_DEVICES_RTC_TIME_H
#define VMM_DEVICES_RTC_TIME_H

#include "lib/types.h"

#define RTC_SECONDS 0x00
#define RTC_SECONDS_ALARM 0x01
#define RTC_MINUTES 0x02
#define RTC_MINUTES_ALARM 0x03
#define RTC_HOURS 0x04
#define RTC_HOURS_ALARM 0x05
#define RTC_WEEKDAY 0x06
#define RTC_DAY 0x07
#define RTC_MONTH 0x08
#define RTC_YEAR 0x09
#define RTC_REG_A 0x0a
#define RTC_REG_B 0x0b
#define RTC_REG_C 0x0c
#define RTC_REG_D 0x0d
#define RTC_CENTURY 0x32

#define RTC_B_SET 0x80
#define RTC_B_BINARY 0x04 /* DM */
#define RTC_B_24H 0x02

/* Set the registers of `cmos` to a time (seconds since 1970, UTC, to the year 9999), in the format that register B says. */
void rtc_time_set(uint8_t *cmos, uint64_t unix_seconds);

/* Let `seconds` pass. Registers that hold no time are taken as the nearest value. */
void rtc_time_advance(uint8_t *cmos, uint64_t seconds);

/* Seconds until the time next meets the alarm registers, 1 to 86400; 0 where it never does. (MC146818A, "Alarm".) */
uint32_t rtc_time_alarm_delay(const uint8_t *cmos);

#endif

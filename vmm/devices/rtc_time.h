/* The RTC's time registers: their formats, how they advance, when they meet the alarm. */
#ifndef VMM_DEVICES_RTC_TIME_H
#define VMM_DEVICES_RTC_TIME_H

#include "lib/types.h"
#include "lib/x86/rtc.h"

/* Set the registers of `cmos` to a time (seconds since 1970, UTC, to the year 9999), in the format that register B says. */
void rtc_time_set(uint8_t *cmos, uint64_t unix_seconds);

/* Let `seconds` pass. Registers that hold no time are taken as the nearest value. */
void rtc_time_advance(uint8_t *cmos, uint64_t seconds);

/* Seconds until the time next meets the alarm registers, 1 to 86400; 0 where it never does. (MC146818A, "Alarm".) */
uint32_t rtc_time_alarm_delay(const uint8_t *cmos);

#endif

/* The registers of a PC's real-time clock, by their index in the CMOS (Motorola MC146818A data sheet; the century as PC firmware has it). */
#ifndef LIB_X86_RTC_H
#define LIB_X86_RTC_H

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

#define RTC_A_UIP 0x80 /* an update is in progress */
#define RTC_B_SET 0x80
#define RTC_B_BINARY 0x04 /* DM */
#define RTC_B_24H 0x02
#define RTC_HOUR_PM 0x80

#endif

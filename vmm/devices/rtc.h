/* The MC146818 real-time clock with its CMOS RAM. */
#ifndef VMM_DEVICES_RTC_H
#define VMM_DEVICES_RTC_H

#include "lib/spinlock.h"
#include "lib/types.h"
#include "vmm/devices/tick_clock.h"
#include "vmm/interface/platform.h"
#include "vmm/io/io_space.h"

#define RTC_HZ 32768
#define RTC_CMOS_SIZE 128

struct rtc {
	struct vm *vm;
	struct spinlock lock;
	struct tick_clock clock;
	uint8_t index;
	uint8_t cmos[RTC_CMOS_SIZE]; /* the time registers as the guest reads them, true at tick `updated` */
	uint64_t updated;            /* the last update cycle (a whole second of the divider chain) */
	uint64_t flags_tick;         /* the tick up to which register C is right */
	uint32_t period;             /* periodic interrupt in ticks, a power of two; 0: none */
	bool irq;
	struct vtimer timer;
};

/* Claim ports 0x70 and 0x71. The clock starts at `unix_seconds` (UTC) and runs on with time_now(). The CMOS tells the guest's RAM:
 * `low_memory` bytes below 4 GiB (0x15 to 0x18, 0x30, 0x31, 0x34, 0x35) and `high_memory` from 4 GiB up (0x5b to 0x5d).
 * (Motorola MC146818A data sheet; memory sizes as PC firmware keeps them.) Returns 0 or io_space_add's error. */
int rtc_init(struct rtc *rtc, struct vm *vm, struct io_space *pio, uint64_t low_memory, uint64_t high_memory,
	     uint64_t unix_seconds);

/* A reset of the VM: interrupts off, IRQ 8 low; time and CMOS go on, as their battery does. */
void rtc_reset(struct rtc *rtc);

#endif

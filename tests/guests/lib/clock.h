/* Time: the ACPI PM timer is the yardstick, the TSC is calibrated against it. */
#ifndef TESTS_GUESTS_LIB_CLOCK_H
#define TESTS_GUESTS_LIB_CLOCK_H

#include "tests/guests/lib/cpu.h"

#define PM_TIMER_HZ 3579545U

extern uint64_t tsc_hz;

void clock_init(void);
/* The PM timer's present count, 24 bits (0 where the machine has none). */
uint32_t pm_timer(void);
/* TSC ticks that pass in `ticks` ticks of the PM timer (less than 2^23). */
uint64_t tsc_over_pm_ticks(uint32_t ticks);

static inline uint64_t tsc_after_us(uint64_t us)
{
	return rdtsc() + tsc_hz / 1000 * us / 1000;
}

static inline void delay_us(uint64_t us)
{
	uint64_t end = tsc_after_us(us);

	while (rdtsc() < end)
		cpu_pause();
}

/* Wait at most ms milliseconds for a condition; true where it came. */
#define WAIT_FOR(condition, ms) \
	({ \
		uint64_t end_ = tsc_after_us((ms) * 1000ULL); \
		bool met_; \
		while (!(met_ = (condition)) && rdtsc() < end_) \
			cpu_pause(); \
		met_; \
	})

#endif

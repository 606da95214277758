/* A device's clock: ticks at a fixed rate, computed from the machine's time by one multiplication each way. */
#ifndef VMM_DEVICES_TICK_CLOCK_H
#define VMM_DEVICES_TICK_CLOCK_H

#include "lib/types.h"
#include "vmm/interface/platform.h"

#define TICK_CLOCK_SHIFT 40

struct tick_clock {
	uint64_t base;       /* machine time of tick 0 */
	uint64_t to_ticks;   /* 2^64 * hz / time_hz(), rounded up */
	uint64_t from_ticks; /* 2^40 * time_hz() / hz, rounded up */
};

/* Start the clock at tick 0 now; `hz` lies between 1000 and time_hz(), exclusive. */
void tick_clock_init(struct tick_clock *clock, uint64_t hz);

/* The tick at machine time `now`, which is not before tick_clock_init. */
static inline uint64_t tick_clock_at(const struct tick_clock *clock, uint64_t now)
{
	return (uint64_t)(((unsigned __int128)(now - clock->base) * clock->to_ticks) >> 64);
}

static inline uint64_t tick_clock_now(const struct tick_clock *clock)
{
	return tick_clock_at(clock, time_now());
}

/* A machine time at which tick `tick` has begun: tick_clock_at() of it is at least `tick`, since every rounding goes up. Beyond
 * the end of time, TIME_NEVER. */
static inline uint64_t tick_clock_when(const struct tick_clock *clock, uint64_t tick)
{
	unsigned __int128 ticks = (unsigned __int128)tick * clock->from_ticks;
	unsigned __int128 delta = (ticks + (1ULL << TICK_CLOCK_SHIFT) - 1) >> TICK_CLOCK_SHIFT;

	return delta < TIME_NEVER - clock->base ? clock->base + (uint64_t)delta : TIME_NEVER;
}

#endif

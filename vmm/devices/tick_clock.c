/* The two factors of a device's clock, computed by long division once, so that each later conversion is one multiplication. */
#include "vmm/devices/tick_clock.h"

/* num * 2^shift / den, rounded up; den < 2^63. By hand, because 128-bit division needs a run-time library. */
static uint64_t divide_scaled(uint64_t num, unsigned shift, uint64_t den)
{
	uint64_t quotient = num / den;
	uint64_t rest = num % den;

	for (unsigned i = 0; i < shift; i++) {
		rest <<= 1;
		quotient <<= 1;
		if (rest >= den) {
			rest -= den;
			quotient |= 1;
		}
	}
	return quotient + (rest != 0);
}

void tick_clock_init(struct tick_clock *clock, uint64_t hz)
{
	clock->base = time_now();
	clock->to_ticks = divide_scaled(hz, 64, time_hz());
	clock->from_ticks = divide_scaled(time_hz(), TICK_CLOCK_SHIFT, hz);
}

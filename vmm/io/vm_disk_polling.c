/* The rates at which requests end decide: when polling is tried, how long it waits between two looks, when it ends, and for how long it is
 * not tried again. */
#include "vmm/io/vm_disk_polling.h"

#include "lib/time.h"

#define POLLING_ENOUGH 4U                       /* requests that make a look worth while */
#define POLLING_FULL 12U                        /* requests for which a look should wait at most */
#define POLLING_IDLE_LOOKS 5U                   /* looks in a row that found too little, after which polling ends */
#define POLLING_PERIOD_MAX (time_hz() / 500)
#define POLLING_PERIOD_MIN (time_hz() / 50000)
#define POLLING_BREAK_MIN (time_hz() / 200)     /* from the end of polling to the next trial; each failure doubles it */
#define POLLING_BREAK_MAX (time_hz() * 2)

bool vm_disk_polling_worth_trying(struct vm_disk_polling *polling, uint64_t now, unsigned ended)
{
	uint64_t passed = now - polling->looked_at;
	unsigned count = polling->ended_since_look + ended;
	bool worth;

	polling->ended_since_look = count;
	if (count < POLLING_ENOUGH)
		return false;
	worth = now >= polling->break_end && passed < count * POLLING_PERIOD_MAX / 2;
	if (worth)
		polling->look_period = MAX(MIN(passed * POLLING_ENOUGH / count, POLLING_PERIOD_MAX), POLLING_PERIOD_MIN);
	polling->looked_at = now;
	polling->ended_since_look = 0;
	return worth;
}

void vm_disk_polling_begin(struct vm_disk_polling *polling)
{
	polling->on = true;
	polling->idle_looks = polling->busy_looks = 0;
}

/* A guest that waits shall wait for less, though not for less than the disk needs for 3/8 of the requests that it has; a guest that
 * computes is not disturbed until there is enough to tell. */
static uint64_t next_period(const struct vm_disk_polling *polling, uint64_t now, unsigned in_flight, bool guest_waits)
{
	uint64_t each = (now - polling->looked_at) / MAX(polling->ended_since_look, 1U);
	uint64_t period = polling->look_period;

	if (guest_waits)
		period = MAX(period / 2, MIN(each * (in_flight * 3 / 8), period));
	else
		period = MIN(period + period / 2, MAX(each * POLLING_FULL, period / 2));
	return MAX(MIN(period, POLLING_PERIOD_MAX), POLLING_PERIOD_MIN);
}

bool vm_disk_polling_looked(struct vm_disk_polling *polling, uint64_t now, unsigned in_flight, bool guest_waits)
{
	bool go_on;

	polling->look_period = next_period(polling, now, in_flight, guest_waits);
	if (polling->ended_since_look < POLLING_ENOUGH - 1 && (in_flight < POLLING_ENOUGH || polling->look_period == POLLING_PERIOD_MAX)) {
		polling->idle_looks++;
	} else {
		polling->idle_looks = 0;
		polling->busy_looks++;
	}
	go_on = polling->idle_looks < POLLING_IDLE_LOOKS;
	if (!go_on) {
		/* Polling that was worth while for long begins with the shortest break again. */
		if (polling->busy_looks > 8 * POLLING_IDLE_LOOKS || !polling->break_length)
			polling->break_length = POLLING_BREAK_MIN;
		else
			polling->break_length = MIN(2 * polling->break_length, POLLING_BREAK_MAX);
		polling->break_end = now + polling->break_length;
	}
	polling->looked_at = now;
	polling->ended_since_look = 0;
	return go_on;
}

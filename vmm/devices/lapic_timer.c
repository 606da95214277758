/* The local APIC's timer (SDM vol. 3, "APIC Timer"). It counts the host's TSC, so counts convert by shifts. */
#include "vmm/devices/lapic.h"
#include "vmm/devices/lapic_registers.h"
#include "vmm/exits/cpuid.h"

/* A periodic timer interrupts at most this often; a guest that asks for more only loses ticks, and cannot keep its core in here. */
#define MAX_PERIODIC_HZ 50000

static uint32_t mode(const struct lapic_timer *t)
{
	return t->lvt & LVT_TIMER_MODE;
}

static bool counts(const struct lapic_timer *t)
{
	return mode(t) == LVT_TIMER_ONE_SHOT || mode(t) == LVT_TIMER_PERIODIC;
}

static void arm(struct lapic_timer *t)
{
	uint64_t deadline = t->running && !(t->lvt & LVT_MASKED) ? t->deadline : TIME_NEVER;

	if (deadline != TIME_NEVER || t->vtimer.deadline != TIME_NEVER)
		vtimer_set(&t->vtimer, deadline);
}

static void interrupt(struct lapic *l)
{
	if (!(l->timer.lvt & LVT_MASKED))
		lapic_accept(l, (uint8_t)l->timer.lvt, false);
}

/* Where the deadline has passed: interrupt once, and stop or move on to the next period that lies ahead. */
static void advance(struct lapic *l, uint64_t now)
{
	struct lapic_timer *t = &l->timer;

	if (!t->running || now < t->deadline)
		return;
	if (mode(t) == LVT_TIMER_PERIODIC) {
		t->deadline += t->period;
		if (t->deadline <= now)
			t->deadline += ((now - t->deadline) / t->period + 1) * t->period;
	} else {
		t->running = false;
		t->tsc_deadline = 0;
		lapic_put(l, LAPIC_CURRENT_COUNT, 0);
	}
	interrupt(l);
}

static void fire(void *ctx)
{
	struct lapic *l = ctx;
	struct lapic_timer *t = &l->timer;
	uint64_t now = time_now();

	advance(l, now);
	if (t->running && mode(t) == LVT_TIMER_PERIODIC && !(t->lvt & LVT_MASKED))
		vtimer_set(&t->vtimer, MAX(t->deadline, now + t->min_period));
	else
		arm(t);
}

void lapic_timer_init(struct lapic *l)
{
	struct lapic_timer *t = &l->timer;

	t->min_period = time_hz() / MAX_PERIODIC_HZ;
	t->input_shift = (uint8_t)cpuid_crystal_shift(time_hz());
	t->lvt = LVT_MASKED;
	vtimer_init(&t->vtimer, l->vm, l->cpu_index, fire, l);
}

void lapic_timer_stop(struct lapic *l)
{
	struct lapic_timer *t = &l->timer;

	t->running = false;
	t->tsc_deadline = 0;
	arm(t);
}

void lapic_timer_set_lvt(struct lapic *l, uint32_t lvt)
{
	struct lapic_timer *t = &l->timer;
	bool counted = counts(t);

	advance(l, time_now());
	t->lvt = lvt;
	if (counted != counts(t) || !(counted || mode(t) == LVT_TIMER_DEADLINE)) {
		t->running = false;
		t->tsc_deadline = 0;
		lapic_put(l, LAPIC_INITIAL_COUNT, 0);
		lapic_put(l, LAPIC_CURRENT_COUNT, 0);
	}
	arm(t);
}

void lapic_timer_set_count(struct lapic *l, uint32_t count)
{
	struct lapic_timer *t = &l->timer;
	uint64_t now;

	if (!counts(t)) {
		lapic_put(l, LAPIC_INITIAL_COUNT, 0);
		return;
	}
	now = time_now();
	advance(l, now);
	lapic_put(l, LAPIC_INITIAL_COUNT, count);
	lapic_put(l, LAPIC_CURRENT_COUNT, count);
	t->running = count != 0;
	t->period = (uint64_t)count << t->shift;
	t->deadline = now + t->period;
	arm(t);
}

void lapic_timer_set_divide(struct lapic *l, uint32_t divide)
{
	struct lapic_timer *t = &l->timer;
	uint32_t left = lapic_timer_count(l);

	t->shift = (uint8_t)(t->input_shift + (((divide & 3) | (divide >> 1 & 4)) + 1) % 8);
	if (!t->running || !counts(t))
		return;
	/* The count goes on from where it is, at the new rate. */
	t->period = (uint64_t)lapic_get(l, LAPIC_INITIAL_COUNT) << t->shift;
	t->deadline = time_now() + ((uint64_t)left << t->shift);
	arm(t);
}

uint32_t lapic_timer_count(struct lapic *l)
{
	struct lapic_timer *t = &l->timer;
	uint64_t now = time_now();
	uint32_t count = 0;

	advance(l, now);
	if (t->running && counts(t)) {
		uint64_t left = (t->deadline - now + (1ULL << t->shift) - 1) >> t->shift;

		count = (uint32_t)MIN(left, lapic_get(l, LAPIC_INITIAL_COUNT));
	}
	lapic_put(l, LAPIC_CURRENT_COUNT, count);
	return count;
}

void lapic_refresh_count(struct lapic *l)
{
	lapic_timer_count(l);
}

uint64_t lapic_deadline_read(struct lapic *l)
{
	advance(l, time_now());
	return l->timer.tsc_deadline;
}

void lapic_deadline_write(struct lapic *l, uint64_t value)
{
	struct lapic_timer *t = &l->timer;
	uint64_t now, guest_now;

	if (mode(t) != LVT_TIMER_DEADLINE)
		return;
	now = time_now();
	advance(l, now);
	guest_now = now + (uint64_t)l->tsc_offset;
	if (value > guest_now) {
		uint64_t left = value - guest_now;

		t->tsc_deadline = value;
		t->deadline = left < TIME_NEVER - now ? now + left : TIME_NEVER;
		t->running = true;
	} else {
		t->tsc_deadline = 0;
		t->running = false;
		if (value)
			interrupt(l);
	}
	arm(t);
}

void lapic_set_tsc_offset(struct lapic *l, int64_t offset)
{
	advance(l, time_now());
	l->tsc_offset = offset;
	if (l->timer.tsc_deadline)
		lapic_deadline_write(l, l->timer.tsc_deadline);
}

/* SOURCES: vmm/devices/lapic.c vmm/devices/lapic_interrupt.c vmm/devices/lapic_timer.c vmm/devices/lapic_message.c */
#include "tests/unit/unit.h"

#include "lib/x86/msr.h"
#include "tests/unit/lapic_fixture.h"
#include "vmm/exits/cpuid.h"

static struct lapic *const l = &apic[0];

/* The pending vector, taken and finished; -1 if none. */
static int take(void)
{
	int vector;

	lapic_sync(l);
	vector = lapic_pending(l);
	if (vector >= 0) {
		lapic_acknowledge(l, (uint8_t)vector);
		lapic_eoi(l);
	}
	return vector;
}

static void one_shot(void **state)
{
	(void)state;
	put(l, LAPIC_DIVIDE, 0xb); /* by 1 */
	put(l, LAPIC_LVT_TIMER, 0xec);
	put(l, LAPIC_INITIAL_COUNT, 1000);
	assert_int_equal(get(l, LAPIC_CURRENT_COUNT), 1000);
	fake_advance_to(400);
	assert_int_equal(get(l, LAPIC_CURRENT_COUNT), 600);
	fake_advance_to(999);
	assert_int_equal(take(), -1);
	assert_int_equal(get(l, LAPIC_CURRENT_COUNT), 1);
	fake_advance_to(1000);
	assert_int_equal(take(), 0xec);
	assert_int_equal(get(l, LAPIC_CURRENT_COUNT), 0);
	assert_int_equal(get(l, LAPIC_INITIAL_COUNT), 1000);
	fake_advance_to(100000);
	assert_int_equal(take(), -1);
	put(l, LAPIC_INITIAL_COUNT, 50);
	put(l, LAPIC_INITIAL_COUNT, 0); /* stops */
	fake_advance_to(200000);
	assert_int_equal(take(), -1);
}

static void divide_values(void **state)
{
	static const struct { uint32_t code, by; } table[] = { { 0, 2 }, { 1, 4 }, { 2, 8 }, { 3, 16 }, { 8, 32 }, { 9, 64 }, { 10, 128 }, { 11, 1 } };

	(void)state;
	put(l, LAPIC_LVT_TIMER, 0xec);
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		uint64_t start = fake.now;

		put(l, LAPIC_DIVIDE, table[i].code);
		put(l, LAPIC_INITIAL_COUNT, 100);
		fake_advance_to(start + 100 * table[i].by - 1);
		assert_int_equal(take(), -1);
		fake_advance_to(start + 100 * table[i].by);
		assert_int_equal(take(), 0xec);
	}
	/* A change on the run keeps the count. */
	put(l, LAPIC_DIVIDE, 0xb);
	put(l, LAPIC_INITIAL_COUNT, 1000);
	fake_advance_to(fake.now + 500);
	put(l, LAPIC_DIVIDE, 0);
	assert_int_equal(get(l, LAPIC_CURRENT_COUNT), 500);
	fake_advance_to(fake.now + 999);
	assert_int_equal(take(), -1);
	fake_advance_to(fake.now + 1);
	assert_int_equal(take(), 0xec);
	/* The largest count does not overflow. */
	put(l, LAPIC_DIVIDE, 10);
	put(l, LAPIC_INITIAL_COUNT, 0xffffffff);
	assert_int_equal(get(l, LAPIC_CURRENT_COUNT), 0xffffffff);
	assert_true(l->timer.vtimer.deadline == fake.now + 0xffffffffULL * 128);
}

static void periodic(void **state)
{
	(void)state;
	put(l, LAPIC_DIVIDE, 0xb);
	put(l, LAPIC_LVT_TIMER, 0x200ed);
	put(l, LAPIC_INITIAL_COUNT, 1000000);
	for (unsigned i = 1; i <= 5; i++) {
		fake_advance_to(i * 1000000 - 1);
		assert_int_equal(take(), -1);
		fake_advance_to(i * 1000000);
		assert_int_equal(take(), 0xed);
	}
	assert_int_equal(fake.kicks[0], 5);
	/* A long pause: one interrupt, and the phase stays. */
	fake.now = 105300000;
	l->timer.vtimer.fire(l);
	assert_int_equal(take(), 0xed);
	assert_int_equal(take(), -1);
	assert_true(l->timer.vtimer.deadline == 106000000);
	assert_int_equal(get(l, LAPIC_CURRENT_COUNT), 700000);
	assert_int_equal(fake.kicks[0], 6);
}

/* A period of one tick must not keep the host busy: at most 50000 interrupts a second. */
static void no_storm(void **state)
{
	(void)state;
	put(l, LAPIC_DIVIDE, 0xb);
	put(l, LAPIC_LVT_TIMER, 0x200ed);
	put(l, LAPIC_INITIAL_COUNT, 1);
	for (unsigned i = 0; i < 1000; i++) {
		fake_advance_to(fake.now + 1000);
		take();
	}
	assert_in_range(fake.kicks[0], 40, 51);
	assert_true(get(l, LAPIC_CURRENT_COUNT) <= 1);
}

static void masked_timer_counts_silently(void **state)
{
	(void)state;
	put(l, LAPIC_DIVIDE, 0xb);
	put(l, LAPIC_LVT_TIMER, 0x300ed);
	put(l, LAPIC_INITIAL_COUNT, 1000000);
	assert_true(l->timer.vtimer.deadline == TIME_NEVER);
	fake_advance_to(3200000);
	assert_int_equal(get(l, LAPIC_CURRENT_COUNT), 800000);
	put(l, LAPIC_LVT_TIMER, 0x200ed);
	assert_int_equal(take(), -1); /* what ran out while masked is lost */
	fake_advance_to(4000000);
	assert_int_equal(take(), 0xed);
	put(l, LAPIC_LVT_TIMER, 0x300ed);
	assert_true(l->timer.vtimer.deadline == TIME_NEVER);
	/* Masked just after it ran out, before the host's timer came: delivered by the old entry. */
	put(l, LAPIC_LVT_TIMER, 0x200ed);
	fake.now = 5000001;
	put(l, LAPIC_LVT_TIMER, 0x300ee);
	assert_int_equal(take(), 0xed);
}

static void deadline(void **state)
{
	(void)state;
	lapic_deadline_write(l, 5000);
	assert_int_equal(lapic_deadline_read(l), 0); /* not in that mode */
	put(l, LAPIC_LVT_TIMER, 0x400ee);
	lapic_set_tsc_offset(l, -1000);
	fake_advance_to(2000);
	lapic_deadline_write(l, 5000);
	assert_int_equal(lapic_deadline_read(l), 5000);
	put(l, LAPIC_INITIAL_COUNT, 7); /* ignored */
	assert_int_equal(get(l, LAPIC_INITIAL_COUNT), 0);
	assert_int_equal(get(l, LAPIC_CURRENT_COUNT), 0);
	fake_advance_to(5999);
	assert_int_equal(take(), -1);
	fake_advance_to(6000);
	assert_int_equal(take(), 0xee);
	assert_int_equal(lapic_deadline_read(l), 0);
	lapic_deadline_write(l, 4000); /* past: at once */
	assert_int_equal(take(), 0xee);
	assert_int_equal(lapic_deadline_read(l), 0);
	lapic_deadline_write(l, 9000);
	lapic_deadline_write(l, 0); /* disarms */
	fake_advance_to(20000);
	assert_int_equal(take(), -1);
	/* The guest's TSC jumps forward past the deadline, then back. */
	lapic_deadline_write(l, 30000);
	lapic_set_tsc_offset(l, 5000);
	assert_true(l->timer.vtimer.deadline == 25000);
	lapic_set_tsc_offset(l, 10000);
	assert_int_equal(take(), 0xee);
	/* A new deadline when the old has passed, though nobody has looked since: both come. */
	lapic_deadline_write(l, 31000);
	fake.now = 22000;
	lapic_deadline_write(l, 90000);
	assert_int_equal(take(), 0xee);
	assert_int_equal(lapic_deadline_read(l), 90000);
	/* Far away, around the end of 64 bits. */
	lapic_deadline_write(l, UINT64_MAX);
	assert_int_equal(take(), -1);
	assert_true(lapic_deadline_read(l) == UINT64_MAX);
	lapic_set_tsc_offset(l, -1000);
	lapic_deadline_write(l, UINT64_MAX);
	assert_true(l->timer.vtimer.deadline == TIME_NEVER);
	lapic_set_tsc_offset(l, -30000); /* the guest's TSC is "negative" */
	lapic_deadline_write(l, UINT64_MAX - 5);
	assert_true(l->timer.vtimer.deadline == 30000 - 6);
	fake_advance_to(30000 - 6);
	assert_int_equal(take(), 0xee);
}

static void masked_deadline_expires(void **state)
{
	(void)state;
	put(l, LAPIC_LVT_TIMER, 0x500ee);
	lapic_deadline_write(l, 100);
	lapic_deadline_write(l, 100);
	fake_advance_to(200);
	assert_int_equal(lapic_deadline_read(l), 0);
	put(l, LAPIC_LVT_TIMER, 0x400ee);
	assert_int_equal(take(), -1);
}

static void mode_switches_disarm(void **state)
{
	(void)state;
	put(l, LAPIC_DIVIDE, 0xb);
	put(l, LAPIC_LVT_TIMER, 0xec);
	put(l, LAPIC_INITIAL_COUNT, 1000);
	put(l, LAPIC_LVT_TIMER, 0x400ec);
	fake_advance_to(2000);
	assert_int_equal(take(), -1);
	assert_int_equal(get(l, LAPIC_INITIAL_COUNT), 0);
	lapic_deadline_write(l, 5000);
	put(l, LAPIC_LVT_TIMER, 0xec);
	assert_int_equal(lapic_deadline_read(l), 0);
	fake_advance_to(6000);
	assert_int_equal(take(), -1);
	put(l, LAPIC_INITIAL_COUNT, 1000); /* one-shot to periodic goes on */
	put(l, LAPIC_LVT_TIMER, 0x200ec);
	fake_advance_to(7000);
	assert_int_equal(take(), 0xec);
	put(l, LAPIC_LVT_TIMER, 0x600ec); /* reserved mode: off */
	put(l, LAPIC_INITIAL_COUNT, 1000);
	lapic_deadline_write(l, 9000);
	fake_advance_to(20000000);
	assert_int_equal(take(), -1);
}

static void resets_stop_it(void **state)
{
	(void)state;
	put(l, LAPIC_LVT_TIMER, 0x400ec);
	lapic_deadline_write(l, 5000);
	lapic_init_reset(l);
	assert_int_equal(lapic_deadline_read(l), 0);
	lapic_deadline_write(l, 5000); /* one-shot mode again */
	assert_int_equal(lapic_deadline_read(l), 0);
	put(l, LAPIC_SVR, 0x1ff);
	put(l, LAPIC_LVT_TIMER, 0x200ec);
	put(l, LAPIC_INITIAL_COUNT, 100000);
	lapic_set_base(l, LAPIC_BASE | APIC_BASE_BSP);
	fake_advance_to(10000000);
	lapic_set_base(l, XAPIC | APIC_BASE_BSP);
	assert_int_equal(take(), -1);
	assert_int_equal(get(l, LAPIC_CURRENT_COUNT), 0);
}

static void late_and_early_fires(void **state)
{
	(void)state;
	put(l, LAPIC_DIVIDE, 0xb);
	put(l, LAPIC_LVT_TIMER, 0xec);
	put(l, LAPIC_INITIAL_COUNT, 1000);
	l->timer.vtimer.fire(l); /* too early: the timer had been set anew */
	assert_int_equal(take(), -1);
	fake_advance_to(1000);
	assert_int_equal(take(), 0xec);
	l->timer.vtimer.fire(l); /* stopped meanwhile */
	assert_int_equal(take(), -1);
	put(l, LAPIC_INITIAL_COUNT, 1000);
	fake.now = 5000; /* the host's timer is late, the guest looks first */
	assert_int_equal(get(l, LAPIC_CURRENT_COUNT), 0);
	assert_int_equal(take(), 0xec);
	fake_advance_to(5001);
	assert_int_equal(take(), -1);
	put(l, LAPIC_LVT_TIMER, 0x07); /* an illegal vector */
	put(l, LAPIC_INITIAL_COUNT, 10);
	fake_advance_to(6000);
	put(l, LAPIC_ESR, 0);
	assert_int_equal(get(l, LAPIC_ESR), 0x40);
}

static void page_holds_count(void **state)
{
	(void)state;
	put(l, LAPIC_DIVIDE, 0xb);
	put(l, LAPIC_INITIAL_COUNT, 1000);
	fake_advance_to(300);
	lapic_refresh_count(l);
	assert_int_equal(*(uint32_t *)(void *)(pages[0] + 0x390), 700);
}

/* Above 2^32 Hz the crystal is the TSC divided by a power of two, and the timer follows it. */
static void fast_tsc(void **state)
{
	(void)state;
	assert_int_equal(cpuid_crystal_shift(4294967295), 0);
	assert_int_equal(cpuid_crystal_shift(4294967296), 1);
	fake.hz = 5000000000;
	lapic_init(l, NULL, 0, 0, pages[0], false);
	lapic_reset(l, true);
	put(l, LAPIC_SVR, 0x1ff);
	put(l, LAPIC_DIVIDE, 0xb);
	put(l, LAPIC_LVT_TIMER, 0xec);
	put(l, LAPIC_INITIAL_COUNT, 1000);
	fake_advance_to(1999);
	assert_int_equal(take(), -1);
	fake_advance_to(2000);
	assert_int_equal(take(), 0xec);
	lapic_timer_stop(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(one_shot, setup),
		cmocka_unit_test_setup(divide_values, setup),
		cmocka_unit_test_setup(periodic, setup),
		cmocka_unit_test_setup(no_storm, setup),
		cmocka_unit_test_setup(masked_timer_counts_silently, setup),
		cmocka_unit_test_setup(deadline, setup),
		cmocka_unit_test_setup(masked_deadline_expires, setup),
		cmocka_unit_test_setup(mode_switches_disarm, setup),
		cmocka_unit_test_setup(resets_stop_it, setup),
		cmocka_unit_test_setup(late_and_early_fires, setup),
		cmocka_unit_test_setup(page_holds_count, setup),
		cmocka_unit_test_setup(fast_tsc, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

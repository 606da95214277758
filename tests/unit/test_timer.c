/* SOURCES: vmm/sched/timer.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/fakes.h"
#include "vmm/interface/core.h"
#include "vmm/sched/sched.h"
#include "vmm/sched/timer.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vcpu/vcpu.h"
#include "vmm/vm/vm.h"
#include "vmm/vm/vm_services.h"

#define TIMERS 40U

static struct vm vm;
static struct vcpu vcpu;
static struct sched_slot slot;
static unsigned arms, notices;

static struct user {
	struct vtimer timer;
	unsigned fired;
	uint64_t again; /* set itself anew, so much later; TIME_NEVER: no */
	uint64_t takes; /* time that it needs */
} user[TIMERS];

static unsigned order[1000], fired;

unsigned core_index(void)
{
	return 0;
}

struct vcpu *vm_vcpu(const struct vm *of, unsigned index)
{
	return of->vcpu[index];
}

void sched_arm(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	arms++;
}

void vcpu_notify(struct vcpu *v, uint32_t bits)
{
	assert_ptr_equal(v, &vcpu);
	assert_int_equal(bits, PENDING_TIMER);
	notices++;
}

static void fire(void *ctx)
{
	struct user *u = ctx;

	assert_int_equal(u->timer.deadline, TIME_NEVER);
	assert_true(fired < ARRAY_SIZE(order));
	order[fired++] = (unsigned)(u - user);
	u->fired++;
	fake.now += u->takes;
	if (u->again != TIME_NEVER)
		vtimer_set(&u->timer, fake.now + u->again);
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	fake.now = 1000;
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	memset(user, 0, sizeof(user));
	vm.vcpu[0] = &vcpu;
	vcpu.slot = &slot;
	timer_queue_init(&vcpu.timers, &vcpu);
	for (unsigned i = 0; i < TIMERS; i++) {
		user[i].again = TIME_NEVER;
		vtimer_init(&user[i].timer, &vm, 0, fire, &user[i]);
	}
	fired = arms = notices = 0;
	return 0;
}

static void test_in_order_of_deadline(void **state)
{
	(void)state;
	assert_int_equal(timer_queue_next(&vcpu.timers), TIME_NEVER);
	vtimer_set(&user[0].timer, 1300);
	vtimer_set(&user[1].timer, 1100);
	vtimer_set(&user[2].timer, 1200);
	vtimer_set(&user[3].timer, 1100); /* of equals the first */
	assert_int_equal(timer_queue_next(&vcpu.timers), 1100);
	timer_queue_run(&vcpu.timers);
	assert_int_equal(fired, 0);
	fake.now = 1200;
	timer_queue_run(&vcpu.timers);
	assert_int_equal(fired, 3);
	assert_int_equal(order[0] << 8 | order[1] << 4 | order[2], 0x132);
	assert_int_equal(timer_queue_next(&vcpu.timers), 1300);
}

static void test_set_anew_and_stopped(void **state)
{
	(void)state;
	vtimer_set(&user[0].timer, 1100);
	vtimer_set(&user[1].timer, 1200);
	vtimer_set(&user[0].timer, 1300);
	vtimer_set(&user[1].timer, TIME_NEVER);
	vtimer_set(&user[2].timer, TIME_NEVER);
	assert_int_equal(timer_queue_next(&vcpu.timers), 1300);
	fake.now = 2000;
	timer_queue_run(&vcpu.timers);
	assert_int_equal(fired, 1);
	assert_int_equal(user[0].fired, 1);
}

/* The core's timer follows the head; another core's vCPU is told. */
static void test_head(void **state)
{
	(void)state;
	vtimer_set(&user[0].timer, 1100);
	assert_int_equal(arms << 4 | notices, 0x01);
	vcpu.has_core = true;
	vtimer_set(&user[1].timer, 1050);
	assert_int_equal(arms << 4 | notices, 0x11);
	vtimer_set(&user[2].timer, 1080); /* not the head */
	assert_int_equal(arms << 4 | notices, 0x11);
	slot.core = 1;
	vtimer_set(&user[1].timer, TIME_NEVER);
	assert_int_equal(arms << 4 | notices, 0x12);
	slot.core = 0;
}

/* One that sets itself anew at once has its turn when the guest, and the machine's interrupts, have had theirs. */
static void test_one_turn_each(void **state)
{
	(void)state;
	user[0].again = 0;
	user[0].takes = 10;
	user[1].takes = 1;
	vtimer_set(&user[0].timer, 900);
	vtimer_set(&user[1].timer, 1000);
	timer_queue_run(&vcpu.timers);
	assert_int_equal(user[0].fired, 1);
	assert_int_equal(user[1].fired, 1);
	assert_int_equal(timer_queue_next(&vcpu.timers), 1010);
	timer_queue_run(&vcpu.timers);
	assert_int_equal(user[0].fired, 2);
}

/* What fires many times too late, such as a fast periodic timer, is bounded too. */
static void fire_late(void *ctx)
{
	struct user *u = ctx;

	u->fired++;
	vtimer_set(&u->timer, u->again++);
}

static void test_far_behind(void **state)
{
	(void)state;
	user[0].timer.fire = fire_late;
	user[0].again = 1;
	vtimer_set(&user[0].timer, 0);
	timer_queue_run(&vcpu.timers);
	assert_in_range(user[0].fired, 1, 32);
	assert_true(timer_queue_next(&vcpu.timers) < fake.now); /* the core's timer fires at once */
}

static void test_clear(void **state)
{
	(void)state;
	for (unsigned i = 0; i < TIMERS; i++)
		vtimer_set(&user[i].timer, 1000 + i);
	timer_queue_clear(&vcpu.timers);
	assert_int_equal(timer_queue_next(&vcpu.timers), TIME_NEVER);
	fake.now = 5000;
	timer_queue_run(&vcpu.timers);
	assert_int_equal(fired, 0);
	vtimer_set(&user[7].timer, 4000);
	timer_queue_run(&vcpu.timers);
	assert_int_equal(user[7].fired, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_in_order_of_deadline, setup),
		cmocka_unit_test_setup(test_set_anew_and_stopped, setup),
		cmocka_unit_test_setup(test_head, setup),
		cmocka_unit_test_setup(test_one_turn_each, setup),
		cmocka_unit_test_setup(test_far_behind, setup),
		cmocka_unit_test_setup(test_clear, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

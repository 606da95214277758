/* SOURCES: vmm/sched/sched.c */
/* Two VMs share a core: neither may keep the other from running, and each gets the core when it is to. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "mm/pool.h"
#include "tests/unit/fakes.h"
#include "vmm/interface/core.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vcpu/vcpu.h"
#include "vmm/vm/registry.h"
#include "vmm/vm/vm.h"
#include "vmm/vm/vm_services.h"

#define US 1000ULL /* at 1 GHz */
#define EXIT_COST (1 * US)
#define SWITCH_COST (1 * US)

struct pool lamina_pool;
static jmp_buf out;
static unsigned kicks[2], parked;
static void (*on_run)(struct vcpu *of); /* instead of a guest */
static bool idle_ends;
static struct vm vm[2];
static struct vm_handle handle[2];
static struct vcpu v[2]; /* the hostile VM's, the other VM's */
static uint64_t core_timer, guest_time[2], turns[2], end;
static bool ipis; /* the hostile VM's other vCPU sends them all the time */
static uint64_t hostile_busy;

void *pool_alloc(struct pool *pool, unsigned pages)
{
	(void)pool;
	return calloc(pages, 4096);
}

unsigned core_index(void) { return 0; }
bool core_take_interrupts(void) { return false; }
void core_kick(unsigned core) { kicks[core]++; }
void core_timer_set(uint64_t deadline) { core_timer = deadline; }
static uint64_t loaded_root;
void core_address_space(uint64_t root) { loaded_root = root; }
void vm_vcpu_parked(struct vm *of, unsigned index) { assert_ptr_equal(of, &vm[0]); assert_int_equal(index, 0); parked++; }
uint64_t timer_queue_next(const struct timer_queue *queue) { return queue->head ? queue->head->deadline : TIME_NEVER; }

void core_idle(void)
{
	if (idle_ends)
		longjmp(out, 1);
	if (ipis)
		sched_wake(v[0].slot);
	else
		fake.now = core_timer > fake.now ? core_timer : fake.now;
	fake.now += EXIT_COST;
	if (fake.now >= end)
		longjmp(out, 1);
}

static void engine_load(struct vcpu *of) { (void)of; fake.now += SWITCH_COST; }
static void engine_unload(struct vcpu *of) { (void)of; }
static const struct engine engine = { .load = engine_load, .unload = engine_unload };

static struct vtimer timer;

/* What an interrupt of the machine's does to the guest that runs (handle_external_interrupt, and PENDING_TIMER). */
static bool interrupted(struct vcpu *of)
{
	fake.now += EXIT_COST;
	if (sched_should_yield(of))
		return true;
	sched_arm(of);
	return false;
}

void vcpu_run(struct vcpu *of)
{
	unsigned n = (unsigned)(of - v);

	assert_int_equal(of->slot->woken, 0);
	assert_int_equal(of->pending & PENDING_ON_WAKE, PENDING_ON_WAKE);
	assert_int_equal(loaded_root, handle[n].root);
	if (on_run) {
		turns[n]++;
		on_run(of);
		return;
	}
	if (fake.now >= end)
		longjmp(out, 1);
	turns[n]++;
	if (ipis && n)
		__atomic_store_n(&v[0].slot->woken, 1, __ATOMIC_SEQ_CST); /* the other core's sched_wake */
	fake.now += EXIT_COST;
	of->pending = 0;
	sched_arm(of);
	if (n == 0) {
		/* It takes what has come, sets its timer a microsecond ahead, and halts. */
		fake.now += hostile_busy;
		guest_time[0] += hostile_busy;
		timer.deadline = fake.now + US;
		of->timers.head = ipis ? NULL : &timer;
		fake.now += EXIT_COST;
		of->state = VCPU_HALTED;
		return;
	}
	/* It computes until the machine interrupts it, and somebody wants the core. */
	for (bool kicked = ipis;; kicked = false) {
		/* The IPI is pending at the entry; the next one kicks only after the hostile vCPU has taken this one (lapic_accept). */
		uint64_t next = kicked ? fake.now : MAX(core_timer, fake.now);

		next = MIN(next, end);
		guest_time[1] += next - fake.now;
		fake.now = next;
		if (fake.now >= end)
			longjmp(out, 1);
		if (interrupted(of))
			return;
	}
}

static int setup(void **state)
{
	static bool built;

	(void)state;
	fake_reset();
	fake.now = 1000;
	end = fake.now + fake.hz; /* a second */
	ipis = idle_ends = false;
	hostile_busy = 0;
	on_run = NULL;
	core_timer = TIME_NEVER;
	parked = 0;
	memset(guest_time, 0, sizeof(guest_time));
	memset(turns, 0, sizeof(turns));
	memset(kicks, 0, sizeof(kicks));
	for (unsigned i = 0; i < 2; i++) {
		handle[i].root = i + 1;
		handle[i].alive = true;
		v[i].vm = &vm[i];
		v[i].engine = &engine;
		if (!built) {
			assert_int_equal(sched_add_core(i), 0);
			v[i].slot = sched_add_vcpu(&handle[i], &v[i], 0);
			assert_ptr_equal(handle[i].boot_slot, v[i].slot);
			assert_int_equal(v[i].slot->woken, 1);
		}
		v[i].pending = 0;
		v[i].state = VCPU_RUNNING;
		v[i].timers.head = NULL;
		v[i].slot->vm = &handle[i];
		v[i].slot->woken = 1;
		v[i].slot->runnable = true;
		v[i].slot->last_turn_ticks = 0;
		v[i].slot->deadline = TIME_NEVER;
	}
	built = true;
	return 0;
}

static void run(void)
{
	if (!setjmp(out))
		sched_run();
}

static void share(bool by_ipis, uint64_t busy)
{
	ipis = by_ipis;
	hostile_busy = busy;
	run();
	print_message("in a second: the hostile vCPU %lu turns; the other %lu turns, %lu us of its own\n", (unsigned long)turns[0],
		      (unsigned long)turns[1], (unsigned long)(guest_time[1] / US));
	assert_true(guest_time[1] >= fake.hz / 4);
}

static void test_timer_that_is_always_due(void **state) { (void)state; share(false, 0); }
static void test_ipis_without_end(void **state) { (void)state; share(true, 0); }
static void test_busy_and_woken(void **state) { (void)state; share(true, 500 * US); }

/* ---- One thing at a time ---- */

static void halt(struct vcpu *of)
{
	of->pending = 0;
	of->state = VCPU_HALTED;
}

static void test_ended_vm_runs_no_more(void **state)
{
	(void)state;
	idle_ends = true;
	on_run = halt;
	handle[1].alive = false;
	v[1].slot->deadline = 500;
	run();
	assert_int_equal(turns[0], 1);
	assert_int_equal(turns[1], 0);
	assert_int_equal(core_timer, TIME_NEVER);
}

static void take_timer(struct vcpu *of)
{
	halt(of);
	if (of->timers.head && of->timers.head->deadline <= fake.now)
		of->timers.head = NULL;
}

/* An idle core wakes for the first timer of all its vCPUs. */
static void test_idle_until_the_first_timer(void **state)
{
	static struct vtimer first = { .deadline = 7000 }, second = { .deadline = 9000 };

	(void)state;
	idle_ends = true;
	on_run = take_timer;
	v[0].timers.head = &second;
	v[1].timers.head = &first;
	run();
	assert_int_equal(turns[0] + turns[1], 2);
	assert_int_equal(core_timer, 7000);
	fake.now = 7000;
	run();
	assert_int_equal(turns[0], 1);
	assert_int_equal(turns[1], 2);
	assert_int_equal(core_timer, 9000);
	sched_wake(v[0].slot);
	run();
	assert_int_equal(turns[0], 2);
	assert_int_equal(turns[1], 2);
}

static void park(struct vcpu *of)
{
	static struct vtimer left_over = { .deadline = 1 };

	halt(of);
	of->timers.head = &left_over;
	of->state = VCPU_PARKED;
	of->park_unreported = of == &v[0];
}

/* It is told once; a parked vCPU's timers do not run. */
static void test_parked_is_reported(void **state)
{
	(void)state;
	idle_ends = true;
	on_run = park;
	run();
	assert_int_equal(parked, 1);
	assert_false(v[0].park_unreported);
	assert_int_equal(turns[0] + turns[1], 2);
	assert_int_equal(core_timer, TIME_NEVER);
}

static void wake_others(struct vcpu *of)
{
	struct vcpu *other = &v[of == &v[0]];
	struct sched_slot *slot = other->slot;

	of->pending = 0;
	other->slot->runnable = false;
	sched_wake(of->slot);
	assert_int_equal(of->slot->woken, 1);
	assert_false(vcpu_has_pending(of));
	sched_wake(slot); /* another VM's: its turn comes later */
	assert_int_equal(slot->woken, 1);
	assert_false(vcpu_has_pending(of));
	assert_in_range(core_timer, fake.now + 50 * US - SWITCH_COST, fake.now + 50 * US);
	fake.now += 50 * US;
	sched_wake(slot);
	assert_int_equal(of->pending, PENDING_YIELD);
	fake.now -= 50 * US;
	of->pending = 0;
	slot->vm = of->slot->vm; /* were it of the same VM: at once */
	slot->runnable = true; /* it waits for the end of the slice, woken or not */
	sched_wake(slot);
	assert_false(vcpu_has_pending(of));
	slot->runnable = false;
	sched_wake(slot);
	assert_int_equal(of->pending, PENDING_YIELD);
	assert_int_equal(kicks[0] + kicks[1], 0);
	longjmp(out, 1);
}

static void test_wake(void **state)
{
	static struct vcpu far;

	(void)state;
	on_run = wake_others;
	run();
	assert_int_equal(turns[0] + turns[1], 1);
	far.slot = sched_add_vcpu(&handle[1], &far, 1);
	far.slot->woken = 0;
	sched_wake(far.slot);
	assert_int_equal(far.slot->woken, 1);
	assert_int_equal(kicks[1], 1);
	assert_int_equal(kicks[0], 0);
	assert_ptr_equal(handle[1].boot_slot, v[1].slot); /* as before */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_timer_that_is_always_due, setup),
		cmocka_unit_test_setup(test_ipis_without_end, setup),
		cmocka_unit_test_setup(test_busy_and_woken, setup),
		cmocka_unit_test_setup(test_ended_vm_runs_no_more, setup),
		cmocka_unit_test_setup(test_idle_until_the_first_timer, setup),
		cmocka_unit_test_setup(test_parked_is_reported, setup),
		cmocka_unit_test_setup(test_wake, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: vmm/vcpu/pending.c vmm/sched/sched.c */
/* LIBS: -lpthread */
/* The reasons for which a vCPU looks around: who takes each, who must be kicked, and what other cores may believe meanwhile. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "mm/pool.h"
#include "tests/unit/fakes.h"
#include "vmm/devices/lapic.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/vcpu/deliver.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vm/registry.h"
#include "vmm/vm/vm.h"
#include "vmm/vm/vm_services.h"

#define CORES 2

struct pool lamina_pool;
static struct vm vm;
static struct vcpu vcpu[2]; /* the second is on core 1 */
static struct vm_handle handle;

/* What was called, for the vCPU that looks. */
static struct calls {
	unsigned reset, settle, timers, arm, input, disks, init, sipi, sync, deliver;
} calls;
static bool deliver_nmi, apic_changes, wakes;
static unsigned kicks[CORES], here;
static void (*on_settle)(struct vcpu *v);

void *pool_alloc(struct pool *pool, unsigned pages) { (void)pool; return calloc(pages, 4096); }
unsigned core_index(void) { return here; }
bool core_take_interrupts(void) { return false; }
void core_kick(unsigned core) { kicks[core]++; }
void core_timer_set(uint64_t deadline) { (void)deadline; calls.arm++; }
void core_address_space(uint64_t root) { (void)root; }
void core_idle(void) { fail(); }
void vcpu_run(struct vcpu *v) { (void)v; fail(); }
void vm_vcpu_parked(struct vm *of, unsigned index) { (void)of; (void)index; fail(); }
uint64_t timer_queue_next(const struct timer_queue *queue) { (void)queue; return TIME_NEVER; }

void vcpu_reset(struct vcpu *v) { calls.reset++; v->state = VCPU_RUNNING; }
void virtual_mmu_settle(struct vcpu *v) { calls.settle++; if (on_settle) on_settle(v); }
void timer_queue_run(struct timer_queue *queue) { (void)queue; calls.timers++; }
void vm_console_input(struct vm *of) { assert_ptr_equal(of, &vm); calls.input++; }
void vm_poll_disks(struct vm *of) { assert_ptr_equal(of, &vm); calls.disks++; }
void vcpu_take_init(struct vcpu *v) { calls.init++; v->state = VCPU_WAIT_FOR_SIPI; }
void vcpu_take_sipi(struct vcpu *v) { calls.sipi++; v->state = VCPU_RUNNING; }
bool lapic_sync_slow(struct lapic *l) { (void)l; calls.sync++; return apic_changes; }
bool vcpu_can_wake(struct vcpu *v) { return v->nmis_pending || wakes; }

static bool engine_nmi_in_service(struct vcpu *v) { (void)v; return false; }
static const struct engine engine = { .nmi_in_service = engine_nmi_in_service };

void vcpu_deliver(struct vcpu *v, bool apic_changed)
{
	calls.deliver++;
	deliver_nmi = v->nmis_pending;
	v->nmis_pending = 0;
	assert_int_equal(apic_changed, apic_changes);
}

static int setup(void **state)
{
	static bool built;
	static struct sched_slot *slot[2];

	(void)state;
	fake_reset();
	memset(vcpu, 0, sizeof(vcpu));
	memset(&calls, 0, sizeof(calls));
	memset(kicks, 0, sizeof(kicks));
	deliver_nmi = apic_changes = wakes = false;
	here = 0;
	on_settle = NULL;
	handle.alive = true;
	for (unsigned i = 0; i < 2; i++) {
		vcpu[i].vm = &vm;
		vcpu[i].engine = &engine;
		vcpu[i].index = i;
		vcpu[i].lapic.posted_any = 1; /* the look is counted */
		if (!built) {
			assert_int_equal(sched_add_core(i), 0);
			slot[i] = sched_add_vcpu(&handle, &vcpu[i], i);
			assert_non_null(slot[i]);
		}
		vcpu[i].slot = slot[i];
		slot[i]->woken = 0;
	}
	built = true;
	return 0;
}

static void look(struct vcpu *v, uint32_t reasons, bool enters)
{
	memset(&calls, 0, sizeof(calls));
	v->nmis_posted = 1;
	vcpu_look_again(v, reasons);
	assert_int_equal(vcpu_prepare(v), enters);
	assert_false(vcpu_has_pending(v));
}

/* ---- Who takes what ---- */

static void test_each_reason_is_taken_once(void **state)
{
	static const struct {
		uint32_t reason;
		enum vcpu_state before, after;
		struct calls of[2]; /* for vCPU 0, vCPU 1 */
	} cases[] = {
#define BOTH(...) { { __VA_ARGS__ }, { __VA_ARGS__ } }
#define RUNS .sync = 1, .deliver = 1
		{ PENDING_RESET, VCPU_PARKED, VCPU_RUNNING, BOTH(.reset = 1, RUNS) },
		{ PENDING_LEAVE, VCPU_RUNNING, VCPU_PARKED, BOTH(0) },
		{ PENDING_POSTED, VCPU_RUNNING, VCPU_RUNNING, BOTH(RUNS) },
		{ PENDING_EVALUATE, VCPU_RUNNING, VCPU_RUNNING, BOTH(RUNS) },
		{ PENDING_YIELD, VCPU_RUNNING, VCPU_RUNNING, BOTH(RUNS) },
		{ PENDING_FLUSH, VCPU_RUNNING, VCPU_RUNNING, BOTH(.settle = 1, RUNS) },
		{ PENDING_TIMER, VCPU_RUNNING, VCPU_RUNNING, BOTH(.timers = 1, .arm = 1, RUNS) },
		{ PENDING_INPUT, VCPU_RUNNING, VCPU_RUNNING, { { .input = 1, RUNS }, { RUNS } } },
		{ PENDING_DISK, VCPU_RUNNING, VCPU_RUNNING, { { .disks = 1, RUNS }, { RUNS } } },
		{ PENDING_INIT, VCPU_RUNNING, VCPU_WAIT_FOR_SIPI, BOTH(.init = 1) },
		{ PENDING_SIPI, VCPU_WAIT_FOR_SIPI, VCPU_RUNNING, BOTH(.sipi = 1, RUNS) },
		{ PENDING_NMI, VCPU_RUNNING, VCPU_RUNNING, BOTH(RUNS) },
	};

	(void)state;
	assert_int_equal(ARRAY_SIZE(cases), PENDING_COUNT);
	for (unsigned c = 0; c < ARRAY_SIZE(cases); c++) {
		for (unsigned i = 0; i < 2; i++) {
			struct vcpu *v = &vcpu[i];

			v->state = cases[c].before;
			here = i;
			look(v, cases[c].reason, cases[c].after == VCPU_RUNNING && cases[c].reason != PENDING_YIELD);
			assert_memory_equal(&calls, &cases[c].of[i], sizeof(calls));
			assert_int_equal(v->state, cases[c].after);
			assert_int_equal(v->park_unreported, cases[c].reason == PENDING_LEAVE);
			assert_int_equal(deliver_nmi, cases[c].reason == PENDING_NMI);
			v->park_unreported = deliver_nmi = false;
		}
	}
	assert_true(PENDING_INPUT < PENDING_INIT && PENDING_INIT < PENDING_SIPI && PENDING_SIPI < PENDING_NMI); /* in the order of the list */
}

/* Several at once, in the order of the list: INIT, then SIPI, then the NMI that the started vCPU takes. */
static void test_several_at_once(void **state)
{
	(void)state;
	vcpu[1].state = VCPU_RUNNING;
	look(&vcpu[1], PENDING_INIT | PENDING_SIPI | PENDING_NMI | PENDING_TIMER, true);
	assert_memory_equal(&calls, &((struct calls){ .init = 1, .sipi = 1, .timers = 1, .arm = 1, .sync = 1, .deliver = 1 }), sizeof(calls));
	assert_true(deliver_nmi);
	vcpu[0].state = VCPU_PARKED;
	look(&vcpu[0], PENDING_RESET | PENDING_LEAVE, false); /* a request that came while it was to start over */
	assert_int_equal(calls.reset, 1);
	assert_int_equal(vcpu[0].state, VCPU_PARKED);
	assert_true(vcpu[0].park_unreported);
}

/* A parked vCPU drops what was meant for its old life. Only a reset starts it, and only a request is told that it has parked. */
static void test_parked(void **state)
{
	(void)state;
	for (uint32_t reason = 1; reason < 1U << PENDING_COUNT; reason <<= 1) {
		if (reason & (PENDING_RESET | PENDING_LEAVE))
			continue;
		vcpu[0].state = VCPU_PARKED;
		look(&vcpu[0], reason, false);
		assert_memory_equal(&calls, &(struct calls){ 0 }, sizeof(calls));
		assert_int_equal(vcpu[0].state, VCPU_PARKED);
		assert_int_equal(vcpu[0].nmis_pending, 0);
		assert_false(vcpu[0].park_unreported);
	}
	look(&vcpu[0], PENDING_LEAVE, false);
	assert_true(vcpu[0].park_unreported);
	look(&vcpu[0], PENDING_RESET, true);
	assert_int_equal(calls.reset, 1);
	vcpu[0].state = VCPU_PARKED;
	vcpu[0].pending = PENDING_NMI | PENDING_INIT;
	vcpu_restart(&vcpu[0]);
	assert_int_equal(vcpu[0].pending, PENDING_RESET);
	assert_int_equal(vcpu[0].slot->woken, 1);
}

static void test_halted(void **state)
{
	(void)state;
	vcpu[0].state = VCPU_HALTED;
	look(&vcpu[0], PENDING_TIMER, false);
	assert_int_equal(calls.deliver, 0);
	apic_changes = true; /* the guest cannot take it, but the engine is to know */
	look(&vcpu[0], PENDING_POSTED, false);
	assert_int_equal(calls.deliver, 1);
	wakes = true;
	look(&vcpu[0], PENDING_POSTED, true);
}

/* What a wake-up stands for, and what not. */
static void test_wakeup(void **state)
{
	struct vcpu *v = &vcpu[0];

	(void)state;
	assert_int_equal(PENDING_ON_WAKE, PENDING_TIMER | PENDING_INPUT | PENDING_DISK);
	vcpu_take_wakeup(v);
	assert_false(vcpu_has_pending(v));
	sched_wake(v->slot);
	assert_int_equal(v->slot->woken, 1);
	vcpu_take_wakeup(v);
	assert_int_equal(v->slot->woken, 0);
	assert_int_equal(v->pending, PENDING_ON_WAKE);
	v->pending = PENDING_EVALUATE;
	sched_wake(v->slot);
	vcpu_begin_turn(v);
	assert_int_equal(v->slot->woken, 0);
	assert_int_equal(v->pending, PENDING_ON_WAKE | PENDING_EVALUATE);
	v->pending = 0;
	vcpu_begin_turn(v); /* its timers may be due though nobody woke it */
	assert_int_equal(v->pending, PENDING_ON_WAKE);
}

/* ---- Who is told ---- */

static void expect_told(const struct vcpu *v, unsigned core, unsigned times, bool woken)
{
	assert_int_equal(kicks[core], times);
	assert_int_equal(v->slot->woken, woken);
}

static void test_post_from_another_core_kicks(void **state)
{
	struct vcpu *v = &vcpu[1];

	(void)state;
	v->has_core = true;
	vcpu_notify(v, PENDING_NMI);
	assert_int_equal(v->pending, PENDING_NMI);
	expect_told(v, 1, 1, true);
	vcpu_notify(v, PENDING_NMI); /* stands there already: its core has been told */
	expect_told(v, 1, 1, true);
	vcpu_post_nmi(v);
	assert_int_equal(v->nmis_posted, 1);
	expect_told(v, 1, 1, true);
	vcpu_notify(v, PENDING_NMI | PENDING_TIMER);
	expect_told(v, 1, 2, true);
	assert_int_equal(v->pending, PENDING_NMI | PENDING_TIMER);
	assert_int_equal(kicks[0], 0);
}

static void test_post_on_the_own_core(void **state)
{
	struct vcpu *v = &vcpu[0];

	(void)state;
	v->has_core = true;
	vcpu_notify(v, PENDING_POSTED);
	assert_int_equal(v->pending, PENDING_POSTED);
	expect_told(v, 0, 0, false);
	v->has_core = false; /* it waits for its turn: the scheduler must know */
	vcpu_notify(v, PENDING_TIMER);
	expect_told(v, 0, 0, true);
	v->pending = v->slot->woken = 0;
	v->slot = NULL; /* not placed on a core yet */
	vcpu_notify(v, PENDING_TIMER);
	assert_int_equal(v->pending, PENDING_TIMER);
}

/* ---- Rounds ---- */

static unsigned posts_left;

static void post_again(struct vcpu *v)
{
	if (posts_left) {
		posts_left--;
		vcpu_notify(v, PENDING_FLUSH);
	}
}

static void test_until_nothing_is_pending(void **state)
{
	struct vcpu *v = &vcpu[0];

	(void)state;
	v->has_core = true;
	on_settle = post_again;
	posts_left = 3;
	look(v, PENDING_FLUSH, true);
	assert_int_equal(calls.settle, 4);
	posts_left = 1000000;
	vcpu_look_again(v, PENDING_FLUSH);
	assert_false(vcpu_prepare(v)); /* the core is let go; nothing is lost */
	assert_in_range(posts_left, 1000000 - 100, 1000000 - 1);
	assert_int_equal(v->pending, PENDING_FLUSH);
	assert_int_equal(v->slot->woken, 1);
}

/* ---- In the guest, and seen from outside ---- */

static void test_may_enter(void **state)
{
	struct vcpu *v = &vcpu[0];

	(void)state;
	assert_true(vcpu_may_enter(v));
	assert_true(v->in_guest);
	v->state = VCPU_HALTED;
	assert_false(vcpu_may_enter(v));
	assert_false(v->in_guest);
	v->state = VCPU_RUNNING;
	v->by_emulation = true;
	assert_false(vcpu_may_enter(v));
	v->in_guest = true;
	v->pending = PENDING_TIMER;
	assert_false(vcpu_runs_unaware(v, PENDING_FLUSH));
	v->pending = PENDING_FLUSH;
	assert_true(vcpu_runs_unaware(v, PENDING_FLUSH));
	vcpu_left_guest(v);
	assert_false(vcpu_runs_unaware(v, PENDING_FLUSH));
}

/* One thread is a vCPU that enters and leaves the guest, the other changes tables and tells it, time and again: the changer must never go on
 * while the guest runs on translations from before the change. */
#define CHANGES 10000000 /* at least, and so many entries: the other thread may start late */
#define ENTRIES 1000000
#define LOOKS_IN_GUEST 20

static uint64_t change, settled_change, change_done; /* the middle one is the vCPU's alone */
static unsigned guest_violations, entries;
static bool changes_over;

static void note_change(struct vcpu *v)
{
	(void)v;
	settled_change = __atomic_load_n(&change, __ATOMIC_ACQUIRE);
}

static void *run_guest(void *ctx)
{
	struct vcpu *v = ctx;

	while (!__atomic_load_n(&changes_over, __ATOMIC_RELAXED)) {
		if (!vcpu_may_enter(v))
			continue;
		__atomic_add_fetch(&entries, 1, __ATOMIC_RELAXED);
		for (unsigned i = 0; i < LOOKS_IN_GUEST; i++)
			guest_violations += __atomic_load_n(&change_done, __ATOMIC_ACQUIRE) > settled_change;
		vcpu_left_guest(v);
	}
	return NULL;
}

static void test_nobody_runs_unaware(void **state)
{
	struct vcpu *v = &vcpu[1];
	pthread_t thread;

	(void)state;
	v->kickable = true;
	on_settle = note_change;
	assert_int_equal(pthread_create(&thread, NULL, run_guest, v), 0);
	for (uint64_t i = 1; i <= CHANGES || __atomic_load_n(&entries, __ATOMIC_RELAXED) < ENTRIES; i++) {
		__atomic_store_n(&change, i, __ATOMIC_RELEASE);
		vcpu_notify(v, PENDING_FLUSH);
		while (vcpu_runs_unaware(v, PENDING_FLUSH))
			;
		__atomic_store_n(&change_done, i, __ATOMIC_RELEASE);
	}
	changes_over = true;
	pthread_join(thread, NULL);
	assert_int_equal(guest_violations, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_each_reason_is_taken_once, setup),
		cmocka_unit_test_setup(test_several_at_once, setup),
		cmocka_unit_test_setup(test_parked, setup),
		cmocka_unit_test_setup(test_halted, setup),
		cmocka_unit_test_setup(test_wakeup, setup),
		cmocka_unit_test_setup(test_post_from_another_core_kicks, setup),
		cmocka_unit_test_setup(test_post_on_the_own_core, setup),
		cmocka_unit_test_setup(test_until_nothing_is_pending, setup),
		cmocka_unit_test_setup(test_may_enter, setup),
		cmocka_unit_test_setup(test_nobody_runs_unaware, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

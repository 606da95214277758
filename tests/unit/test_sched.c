/* SOURCES: vmm/sched/sched.c vmm/vm/console_router.c vmm/vm/registry.c */
/* Two VMs share a core: neither may keep the other from running. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "mm/pool.h"
#include "tests/unit/fakes.h"
#include "vmm/interface/core.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/vcpu.h"
#include "vmm/vm/console_router.h"
#include "vmm/vm/registry.h"
#include "vmm/vm/vm.h"

#define US 1000ULL /* at 1 GHz */
#define EXIT_COST (1 * US)
#define SWITCH_COST (1 * US)

struct pool lamina_pool;
static jmp_buf out;
static struct vm vm[2];
static struct vcpu v[2]; /* the hostile one, the other */
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
void core_kick(unsigned core) { (void)core; }
void core_timer_set(uint64_t deadline) { core_timer = deadline; }
void core_address_space(uint64_t root) { (void)root; }
void vm_vcpu_parked(struct vm *of, unsigned index) { (void)of; (void)index; fail(); }
uint64_t timer_queue_next(const struct timer_queue *queue) { return queue->head ? queue->head->deadline : TIME_NEVER; }

void core_idle(void)
{
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

static void share(bool by_ipis, uint64_t busy)
{
	static bool built;

	fake_reset();
	fake.now = 1000;
	end = fake.now + fake.hz; /* a second */
	ipis = by_ipis;
	hostile_busy = busy;
	core_timer = TIME_NEVER;
	memset(guest_time, 0, sizeof(guest_time));
	memset(turns, 0, sizeof(turns));
	if (!built) {
		built = true;
		assert_int_equal(sched_add_core(0), 0);
		for (unsigned i = 0; i < 2; i++) {
			struct vm_handle *handle = registry_add(i ? "other" : "hostile", i + 1);

			v[i].vm = &vm[i];
			v[i].engine = &engine;
			v[i].slot = sched_add_vcpu(handle, &v[i], 0);
		}
	}
	for (unsigned i = 0; i < 2; i++) {
		v[i].state = VCPU_RUNNING;
		v[i].timers.head = NULL;
		v[i].slot->woken = 1;
		v[i].slot->runnable = true;
		v[i].slot->deadline = TIME_NEVER;
	}
	if (!setjmp(out))
		sched_run();
	print_message("in a second: the hostile vCPU %lu turns; the other %lu turns, %lu us of its own\n", (unsigned long)turns[0],
		      (unsigned long)turns[1], (unsigned long)(guest_time[1] / US));
	assert_true(guest_time[1] >= fake.hz / 4);
}

static void test_timer_that_is_always_due(void **state) { (void)state; share(false, 0); }
static void test_ipis_without_end(void **state) { (void)state; share(true, 0); }
static void test_busy_and_woken(void **state) { (void)state; share(true, 500 * US); }

/* A VM that could not be started, or has ended while the next one is built, keeps the console's input from it no longer. */
static void test_input_for_a_vm_after_one_that_ended(void **state)
{
	struct vm_handle *next;
	static struct vcpu cpu;
	uint8_t byte = 0;

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		registry_end(v[i].slot->vm);
	next = registry_add("next", 3);
	cpu.vm = &vm[0];
	cpu.engine = &engine;
	cpu.slot = sched_add_vcpu(next, &cpu, 0);
	console_router_input('x');
	assert_true(console_input_waiting(next));
	assert_true(console_input_take(next, &byte));
	assert_int_equal(byte, 'x');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timer_that_is_always_due),
		cmocka_unit_test(test_ipis_without_end),
		cmocka_unit_test(test_busy_and_woken),
		cmocka_unit_test(test_input_for_a_vm_after_one_that_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

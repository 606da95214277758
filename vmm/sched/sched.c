/* The cores' queues: whose turn it is, how long a turn is, and what a core does between two turns. */
#include "vmm/sched/sched.h"

#include "lib/log.h"
#include "mm/pool.h"
#include "vmm/interface/core.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vm/registry.h"
#include "vmm/vm/vm_services.h"

#define SLOTS_PER_CORE 32
#define SLICE_HZ 200 /* a vCPU's turn is a 200th of a second */
#define TURN_MIN_HZ 20000 /* and a 20000th at least, however often other vCPUs are woken */

struct core_queue { /* fits a page */
	unsigned count;
	unsigned next_choice;     /* round robin: the slot that is asked first */
	uint64_t loaded_root;     /* of the address space that the core is in; 0: Lamina's own */
	struct sched_slot *loaded;
	uint64_t turn_start;
	uint64_t slice_end;       /* TIME_NEVER while no other vCPU wants the core */
	uint64_t others_deadline; /* when another slot's vCPU may first want the core, or may have it */
	struct sched_slot *slot[SLOTS_PER_CORE];
};

static struct core_queue *queues[CORES_MAX];
static struct sched_slot slots[SCHED_SLOTS_MAX];
static unsigned slot_count;

int sched_add_core(unsigned core)
{
	queues[core] = pool_alloc(&lamina_pool, 1);
	return queues[core] ? 0 : ERR_NOMEM;
}

struct sched_slot *sched_add_vcpu(struct vm_handle *vm, struct vcpu *vcpu, unsigned core)
{
	struct core_queue *queue = queues[core];
	struct sched_slot *slot;

	if (slot_count == SCHED_SLOTS_MAX || queue->count == SLOTS_PER_CORE)
		return NULL;
	slot = &slots[slot_count++];
	slot->vcpu = vcpu;
	slot->vm = vm;
	slot->core = core;
	slot->deadline = TIME_NEVER;
	slot->woken = 1; /* nobody else knows it yet */
	if (!vm->boot_slot)
		vm->boot_slot = slot;
	queue->slot[queue->count] = slot;
	__atomic_store_n(&queue->count, queue->count + 1, __ATOMIC_RELEASE);
	return slot;
}

void sched_wake(struct sched_slot *slot)
{
	struct core_queue *queue = queues[slot->core];

	__atomic_store_n(&slot->woken, 1, __ATOMIC_SEQ_CST);
	if (slot->core != core_index())
		core_kick(slot->core);
	else if (queue->loaded && queue->loaded != slot && !slot->runnable &&
		 (queue->loaded->vm == slot->vm || sched_should_yield(queue->loaded->vcpu)))
		vcpu_look_again(queue->loaded->vcpu, PENDING_YIELD);
}

void sched_arm(struct vcpu *v)
{
	struct core_queue *queue = queues[v->slot->core];
	uint64_t deadline = timer_queue_next(&v->timers);

	deadline = MIN(deadline, queue->others_deadline);
	core_timer_set(MIN(deadline, queue->slice_end));
}

static bool wants_core(const struct sched_slot *slot, uint64_t now)
{
	return slot->vm->alive && (slot->runnable || __atomic_load_n(&slot->woken, __ATOMIC_RELAXED) || slot->deadline <= now);
}

/* When a vCPU that is woken takes the core from the vCPU that has it: after as long a time as the woken vCPU's own last turn was. Otherwise a
 * guest that is woken without end would leave nothing to its neighbours. */
static uint64_t turn_of_woken(const struct core_queue *queue, const struct sched_slot *slot)
{
	return queue->turn_start + MIN(MAX(slot->last_turn_ticks, time_hz() / TURN_MIN_HZ), time_hz() / SLICE_HZ);
}

bool sched_should_yield(struct vcpu *v)
{
	struct core_queue *queue = queues[v->slot->core];
	uint64_t now, turn, others_deadline = queue->others_deadline;

	if (queue->count == 1)
		return false;
	now = time_now();
	for (unsigned i = 0; i < queue->count; i++) {
		const struct sched_slot *slot = queue->slot[i];

		if (slot == v->slot || !wants_core(slot, now))
			continue;
		if (now >= queue->slice_end)
			return true;
		if (slot->runnable)
			continue;
		turn = turn_of_woken(queue, slot);
		if (now >= turn)
			return true;
		queue->others_deadline = MIN(queue->others_deadline, turn);
	}
	if (queue->others_deadline != others_deadline)
		sched_arm(v);
	return false;
}

static void switch_to(struct core_queue *queue, struct sched_slot *slot)
{
	if (queue->loaded == slot)
		return;
	if (queue->loaded)
		queue->loaded->vcpu->engine->unload(queue->loaded->vcpu);
	if (queue->loaded_root != slot->vm->root) {
		core_address_space(slot->vm->root);
		queue->loaded_root = slot->vm->root;
	}
	queue->loaded = slot;
	slot->vcpu->engine->load(slot->vcpu);
}

/* A slot's turn begins: how long it may last, and when to look at the other slots. */
static void plan_turn(struct core_queue *queue, const struct sched_slot *slot, uint64_t now)
{
	bool contended = false;

	queue->turn_start = now;
	queue->others_deadline = TIME_NEVER;
	for (unsigned i = 0; i < queue->count; i++) {
		const struct sched_slot *other = queue->slot[i];

		if (other == slot)
			continue;
		contended |= wants_core(other, now);
		/* A vCPU that was taken off while it ran gets its turn when the slice ends, whatever its timers say. */
		if (!other->runnable && other->vm->alive)
			queue->others_deadline = MIN(queue->others_deadline, wants_core(other, now) ? turn_of_woken(queue, other) :
								   MAX(other->deadline, turn_of_woken(queue, other)));
	}
	queue->slice_end = contended ? now + time_hz() / SLICE_HZ : TIME_NEVER;
}

static void run_slot(struct core_queue *queue, struct sched_slot *slot, uint64_t now)
{
	struct vcpu *v = slot->vcpu;

	plan_turn(queue, slot, now);
	switch_to(queue, slot); /* its pending word can be seen from here on */
	vcpu_begin_turn(v);
	vcpu_run(v);
	slot->last_turn_ticks = time_now() - now;
	slot->runnable = v->state == VCPU_RUNNING;
	slot->deadline = v->state == VCPU_PARKED ? TIME_NEVER : timer_queue_next(&v->timers);
	if (v->park_unreported) {
		v->park_unreported = false;
		vm_vcpu_parked(v->vm, v->index);
	}
}

static struct sched_slot *choose(struct core_queue *queue, uint64_t now, uint64_t *deadline)
{
	*deadline = TIME_NEVER;
	for (unsigned i = 0; i < queue->count; i++) {
		unsigned n = (queue->next_choice + i) % queue->count;
		struct sched_slot *slot = queue->slot[n];

		if (wants_core(slot, now)) {
			queue->next_choice = n + 1;
			return slot;
		}
		if (slot->vm->alive)
			*deadline = MIN(*deadline, slot->deadline);
	}
	return NULL;
}

void sched_run(void)
{
	struct core_queue *queue = queues[core_index()];

	for (;;) {
		uint64_t now = time_now(), deadline;
		struct sched_slot *slot = choose(queue, now, &deadline);

		if (slot) {
			run_slot(queue, slot, now);
			(void)core_take_interrupts(); /* the vCPU may not have run guest code, and the core does not become idle */
			continue;
		}
		core_timer_set(deadline);
		/* Interrupts are off from the look at the slots to the halt itself: no wake-up is missed. */
		core_idle();
	}
}

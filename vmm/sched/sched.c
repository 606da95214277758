#include "vmm/sched/sched.h"

#include "lib/log.h"
#include "lib/spinlock.h"
#include "lib/string.h"
#include "mm/pool.h"
#include "vmm/interface/core.h"
#include "vmm/vcpu/vcpu.h"
#include "vmm/vm/vm_services.h"

#define SLOTS_PER_CORE 32
#define SLICE_HZ 200 /* a vCPU's turn is a 200th of a second */
#define TURN_MIN_HZ 20000 /* and a 20000th at least, however often others are woken */

struct core_queue { /* fits a page */
	unsigned count;
	unsigned next;        /* round robin */
	uint64_t root;        /* address space that is loaded; 0: Lamina's own */
	struct sched_slot *loaded;
	uint64_t turn_start;
	uint64_t slice_end;   /* TIME_NEVER while nobody else wants the core */
	uint64_t others;      /* first deadline of the other slots */
	struct sched_slot *slot[SLOTS_PER_CORE];
};

static struct core_queue *queues[CORES_MAX];
static struct sched_slot slots[SCHED_SLOTS_MAX];
static unsigned slot_count;
static struct vm_handle vms[8];
static unsigned vm_count;
static unsigned running_vms; /* atomic */
static struct vm_handle *focus; /* who gets console input */

int sched_add_core(unsigned core)
{
	queues[core] = pool_alloc(&lamina_pool, 1);
	return queues[core] ? 0 : ERR_NOMEM;
}

struct vm_handle *sched_add_vm(const char *name, uint64_t root)
{
	struct vm_handle *vm;

	if (vm_count == ARRAY_SIZE(vms))
		return NULL;
	vm = &vms[vm_count++];
	memcpy(vm->name, name, strnlen(name, sizeof(vm->name) - 1));
	vm->root = root;
	vm->running = true;
	running_vms++;
	if (!focus || !focus->running)
		focus = vm;
	return vm;
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
	slot->wake = 1;
	if (!vm->first)
		vm->first = slot;
	queue->slot[queue->count] = slot;
	__atomic_store_n(&queue->count, queue->count + 1, __ATOMIC_RELEASE);
	return slot;
}

void sched_wake(struct sched_slot *slot)
{
	struct core_queue *queue = queues[slot->core];

	__atomic_store_n(&slot->wake, 1, __ATOMIC_SEQ_CST);
	if (slot->core != core_index())
		core_kick(slot->core);
	else if (queue->loaded && queue->loaded != slot && !slot->ready &&
		 (queue->loaded->vm == slot->vm || sched_should_yield(queue->loaded->vcpu)))
		__atomic_or_fetch(&queue->loaded->vcpu->pending, PENDING_YIELD, __ATOMIC_RELAXED);
}

void sched_arm(struct vcpu *v)
{
	struct core_queue *queue = queues[v->slot->core];
	uint64_t deadline = timer_queue_next(&v->timers);

	deadline = MIN(deadline, queue->others);
	core_timer_set(MIN(deadline, queue->slice_end));
}

static bool wants_core(const struct sched_slot *slot, uint64_t now)
{
	return slot->vm->running && (slot->ready || __atomic_load_n(&slot->wake, __ATOMIC_RELAXED) || slot->deadline <= now);
}

/* One that is woken waits until the other has had the core for as long as it had it last itself: else a guest that is woken without end
 * would leave nothing to its neighbours. */
static uint64_t woken_turn(const struct core_queue *queue, const struct sched_slot *slot)
{
	return queue->turn_start + MIN(MAX(slot->had, time_hz() / TURN_MIN_HZ), time_hz() / SLICE_HZ);
}

bool sched_should_yield(struct vcpu *v)
{
	struct core_queue *queue = queues[v->slot->core];
	uint64_t now, turn, others = queue->others;

	if (queue->count == 1)
		return false;
	now = time_now();
	for (unsigned i = 0; i < queue->count; i++) {
		const struct sched_slot *slot = queue->slot[i];

		if (slot == v->slot || !wants_core(slot, now))
			continue;
		if (now >= queue->slice_end)
			return true;
		if (slot->ready)
			continue;
		turn = woken_turn(queue, slot);
		if (now >= turn)
			return true;
		queue->others = MIN(queue->others, turn);
	}
	if (queue->others != others)
		sched_arm(v);
	return false;
}

void sched_console_input(uint8_t byte)
{
	struct vm_handle *vm = focus;

	if (!vm || !vm->first || vm->input_head - vm->input_tail == SCHED_INPUT_SIZE)
		return; /* nobody, or nobody reads: as on a real line, the byte is lost */
	vm->input[vm->input_head % SCHED_INPUT_SIZE] = byte;
	__atomic_store_n(&vm->input_head, vm->input_head + 1, __ATOMIC_RELEASE);
	sched_wake(vm->first);
}

bool sched_input_waiting(const struct vm_handle *vm)
{
	return __atomic_load_n(&vm->input_head, __ATOMIC_ACQUIRE) != vm->input_tail;
}

bool sched_input_take(struct vm_handle *vm, uint8_t *byte)
{
	if (!sched_input_waiting(vm))
		return false;
	*byte = vm->input[vm->input_tail % SCHED_INPUT_SIZE];
	__atomic_store_n(&vm->input_tail, vm->input_tail + 1, __ATOMIC_RELEASE);
	return true;
}

unsigned sched_vm_ended(struct vm_handle *vm)
{
	vm->running = false;
	for (unsigned i = 0; i < vm_count; i++)
		if (vms[i].running && focus == vm)
			focus = &vms[i];
	return __atomic_sub_fetch(&running_vms, 1, __ATOMIC_SEQ_CST);
}

static void switch_to(struct core_queue *queue, struct sched_slot *slot)
{
	if (queue->loaded == slot)
		return;
	if (queue->loaded)
		queue->loaded->vcpu->engine->unload(queue->loaded->vcpu);
	if (queue->root != slot->vm->root) {
		core_address_space(slot->vm->root);
		queue->root = slot->vm->root;
	}
	queue->loaded = slot;
	slot->vcpu->engine->load(slot->vcpu);
}

static void run_slot(struct core_queue *queue, struct sched_slot *slot, uint64_t now)
{
	struct vcpu *v = slot->vcpu;
	bool rivals = false;

	queue->turn_start = now;
	queue->others = TIME_NEVER;
	for (unsigned i = 0; i < queue->count; i++) {
		struct sched_slot *other = queue->slot[i];

		if (other == slot)
			continue;
		rivals |= wants_core(other, now);
		/* One that waits for its turn gets it when the slice ends, whatever its timers say. */
		if (!other->ready && other->vm->running)
			queue->others = MIN(queue->others, wants_core(other, now) ? woken_turn(queue, other) :
							   MAX(other->deadline, woken_turn(queue, other)));
	}
	queue->slice_end = rivals ? now + time_hz() / SLICE_HZ : TIME_NEVER;
	__atomic_store_n(&slot->wake, 0, __ATOMIC_SEQ_CST);
	switch_to(queue, slot);
	__atomic_or_fetch(&v->pending, PENDING_TIMER | PENDING_INPUT | PENDING_DISK, __ATOMIC_SEQ_CST);
	vcpu_run(v);
	slot->had = time_now() - now;
	slot->ready = v->state == VCPU_RUNNING;
	slot->deadline = v->state == VCPU_PARKED ? TIME_NEVER : timer_queue_next(&v->timers);
	if (v->leaves) {
		v->leaves = false;
		vm_vcpu_parked(v->vm, v->index);
	}
}

static struct sched_slot *choose(struct core_queue *queue, uint64_t now, uint64_t *deadline)
{
	*deadline = TIME_NEVER;
	for (unsigned i = 0; i < queue->count; i++) {
		unsigned n = (queue->next + i) % queue->count;
		struct sched_slot *slot = queue->slot[n];

		if (wants_core(slot, now)) {
			queue->next = n + 1;
			return slot;
		}
		if (slot->vm->running)
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
			(void)core_take_interrupts(); /* it need not have run guest code, nor does the core get idle */
			continue;
		}
		core_timer_set(deadline);
		/* Interrupts are off from the look at the slots to the halt itself: no wake-up is missed. */
		core_idle();
	}
}

/* The timer queues: set from any core of the VM, fired on the core of the vCPU whose queue it is. */
#include "vmm/sched/timer.h"

#include "vmm/interface/core.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vcpu/vcpu.h"
#include "vmm/vm/vm_services.h"

void timer_queue_init(struct timer_queue *queue, struct vcpu *vcpu)
{
	queue->head = NULL;
	queue->vcpu = vcpu;
}

uint64_t timer_queue_next(const struct timer_queue *queue)
{
	const struct vtimer *head = __atomic_load_n(&queue->head, __ATOMIC_RELAXED);

	return head ? head->deadline : TIME_NEVER;
}

static void unlink_timer(struct timer_queue *queue, struct vtimer *t)
{
	struct vtimer **link;

	for (link = &queue->head; *link; link = &(*link)->next) {
		if (*link == t) {
			*link = t->next;
			return;
		}
	}
}

void vtimer_init(struct vtimer *t, struct vm *vm, unsigned cpu, void (*fire)(void *ctx), void *ctx)
{
	t->deadline = TIME_NEVER;
	t->fire = fire;
	t->ctx = ctx;
	t->queue = &vm_vcpu(vm, cpu)->timers;
	t->next = NULL;
}

void vtimer_set(struct vtimer *t, uint64_t deadline)
{
	struct timer_queue *queue = t->queue;
	struct vtimer **link;
	uint64_t before, after;

	spin_lock(&queue->lock);
	before = timer_queue_next(queue);
	if (t->deadline != TIME_NEVER)
		unlink_timer(queue, t);
	t->deadline = deadline;
	if (deadline != TIME_NEVER) {
		for (link = &queue->head; *link && (*link)->deadline <= deadline; link = &(*link)->next)
			;
		t->next = *link;
		*link = t;
	}
	after = timer_queue_next(queue);
	spin_unlock(&queue->lock);
	if (after == before)
		return;
	if (vcpu_runs_here(queue->vcpu))
		sched_arm(queue->vcpu);
	else
		vcpu_notify(queue->vcpu, PENDING_TIMER);
}

void timer_queue_run(struct timer_queue *queue)
{
	uint64_t now = time_now();

	/* A timer that fires may set itself anew: then it is due when guest and interrupts have had their turn. A timer that is in the past when
	 * this is over makes the core's timer, which the caller sets (sched_arm), fire at once. */
	for (unsigned n = 0; n < 32; n++) {
		struct vtimer *t;

		spin_lock(&queue->lock);
		t = queue->head;
		if (!t || t->deadline > now) {
			spin_unlock(&queue->lock);
			return;
		}
		queue->head = t->next;
		t->deadline = TIME_NEVER;
		spin_unlock(&queue->lock);
		t->fire(t->ctx);
	}
}

void timer_queue_clear(struct timer_queue *queue)
{
	spin_lock(&queue->lock);
	while (queue->head) {
		queue->head->deadline = TIME_NEVER;
		queue->head = queue->head->next;
	}
	spin_unlock(&queue->lock);
}

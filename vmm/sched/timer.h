/* A vCPU's timers: the device timers and its local APIC's, in order of deadline. */
#ifndef VMM_SCHED_TIMER_H
#define VMM_SCHED_TIMER_H

#include "lib/spinlock.h"
#include "lib/types.h"

struct vcpu;
struct vtimer;

struct timer_queue {
	struct spinlock lock;
	struct vtimer *head;
	struct vcpu *vcpu;
};

void timer_queue_init(struct timer_queue *queue, struct vcpu *vcpu);
/* The first deadline, or TIME_NEVER. */
uint64_t timer_queue_next(const struct timer_queue *queue);
/* Fire what is due; on the core of the queue's vCPU. */
void timer_queue_run(struct timer_queue *queue);
/* Empty it: the devices are about to be reset. */
void timer_queue_clear(struct timer_queue *queue);

#endif

/* Which vCPU runs on which core. A vCPU stays on its core; the vCPUs of one core share it by time slices.
 *
 * The slots are Lamina's, mapped in every address space: a core looks at them whichever VM's address space it is in. */
#ifndef VMM_SCHED_SCHED_H
#define VMM_SCHED_SCHED_H

#include "lib/types.h"

struct vcpu;
struct vm_handle;

#define SCHED_SLOTS_MAX 128

/* A vCPU's place on its core. Its core alone writes it, but for `woken`. */
struct sched_slot {
	struct vcpu *vcpu;        /* an address in its VM's address space */
	struct vm_handle *vm;
	unsigned core;
	uint32_t woken;           /* atomic: somebody has posted for the vCPU since its core last looked. sched_wake() alone sets it,
				   * sched_take_wakeup() alone clears it. It is a word of the slot because v->pending (vmm/vcpu/pending.h)
				   * can be seen in the VM's own address space only */
	bool runnable;            /* it had instructions to execute when it left the core */
	uint64_t last_turn_ticks; /* how long it had the core last */
	uint64_t deadline;        /* its first timer, while another vCPU runs or the core is idle */
};

/* Let a core take part in the scheduling. Returns 0 or ERR_NOMEM. */
int sched_add_core(unsigned core);
/* A slot for a VM's vCPU on a core. Returns NULL where the tables are full. Before sched_run(). */
struct sched_slot *sched_add_vcpu(struct vm_handle *vm, struct vcpu *vcpu, unsigned core);

/* Have a vCPU looked at soon, from any core and in any address space. What it is to look at was posted or written before. */
void sched_wake(struct sched_slot *slot);
/* Take the wake-up, on the slot's core, before looking at what it was for. Returns whether there was one. */
static inline bool sched_take_wakeup(struct sched_slot *slot)
{
	return __atomic_exchange_n(&slot->woken, 0, __ATOMIC_SEQ_CST);
}

/* Set this core's timer for the running vCPU's next deadline and for the other slots'. */
void sched_arm(struct vcpu *v);
/* Whether the running vCPU's time is up and another vCPU waits for the core. */
bool sched_should_yield(struct vcpu *v);

/* Run this core's vCPUs, for ever. */
NORETURN void sched_run(void);

#endif

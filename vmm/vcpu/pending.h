/* Why a vCPU looks around before it enters the guest again: the list of reasons, the ways to post one, and what comes of it.
 *
 * Two words carry the reasons. v->pending has a bit for each; it lies in the VM's address space, so that only a core that is in there can post
 * to it. The word `woken` of the vCPU's slot can be seen from every address space and says one thing: the core is to look at this vCPU. Code
 * that posts from another core sets the first, then the second (vcpu_notify). Code that has something for the VM while its core is in another address
 * space, as the console and disks may, sets the second alone (sched_wake); the core translates it into the reasons marked
 * REASON_ON_WAKE, whose takers find out themselves whether there is anything.
 *
 * A vCPU looks at `pending` before each entry, with interrupts off from there to the entry: a kick that comes meanwhile ends guest mode as
 * soon as it begins, so that no post is missed. Where other vCPUs must even know that the guest does not run (`kickable`), vcpu_may_enter()
 * looks a second time after it has set `in_guest`. */
#ifndef VMM_VCPU_PENDING_H
#define VMM_VCPU_PENDING_H

#include "vmm/interface/core.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/vcpu.h"

enum {
	REASON_ON_WAKE = 1 << 0, /* posted whenever the slot was woken */
	REASON_VCPU0 = 1 << 1,   /* of the VM: its vCPU 0 takes it, the others ignore it */
};

/* TAKEN(reason, REASON_…, taker): the taker, a function of the vCPU, is called once for each look that finds the reason; takers are called in
 * the order of the list. OWN(reason): vcpu_prepare() has a place of its own for it. A new reason is one more line. */
#define PENDING_REASONS(OWN, TAKEN) \
	OWN(RESET)    /* the VM has been reset: start from the beginning */ \
	OWN(LEAVE)    /* the VM resets or ends: park */ \
	OWN(POSTED)   /* the local APIC has posted interrupts */ \
	OWN(EVALUATE) /* see which interrupt can be delivered */ \
	OWN(YIELD)    /* another vCPU's turn on this core, or the engine is to leave its loop */ \
	TAKEN(FLUSH, 0, virtual_mmu_settle) /* shadow page tables have changed under it */ \
	TAKEN(TIMER, REASON_ON_WAKE, take_timers) /* the timer queue's head has come, or changed */ \
	TAKEN(INPUT, REASON_ON_WAKE | REASON_VCPU0, take_input) /* console input for the VM */ \
	TAKEN(DISK, REASON_ON_WAKE | REASON_VCPU0, take_disks) /* requests of the VM's disks have ended */ \
	TAKEN(INIT, 0, vcpu_take_init) \
	TAKEN(SIPI, 0, vcpu_take_sipi) \
	TAKEN(NMI, 0, take_nmi)

/* The bits of v->pending, PENDING_RESET and so on. */
#define PENDING_NUMBER(reason, ...) PENDING_NUMBER_##reason,
#define PENDING_BIT(reason, ...) PENDING_##reason = 1 << PENDING_NUMBER_##reason,
#define PENDING_NOTHING(reason)
#define PENDING_TAKEN_BIT(reason, how, taker) | PENDING_##reason
#define PENDING_ON_WAKE_BIT(reason, how, taker) | ((how) & REASON_ON_WAKE ? PENDING_##reason : 0)
enum { PENDING_REASONS(PENDING_NUMBER, PENDING_NUMBER) PENDING_COUNT };
enum { PENDING_REASONS(PENDING_BIT, PENDING_BIT) };
enum {
	PENDING_TAKEN = 0 PENDING_REASONS(PENDING_NOTHING, PENDING_TAKEN_BIT),     /* the reasons that have a taker */
	PENDING_ON_WAKE = 0 PENDING_REASONS(PENDING_NOTHING, PENDING_ON_WAKE_BIT), /* what a wake-up stands for */
};
_Static_assert(PENDING_COUNT <= 32, "v->pending has 32 bits");

/* ---- To post ---- */

/* Post reasons from any core that is in the VM's address space, and make the vCPU's core notice. */
void vcpu_notify(struct vcpu *v, uint32_t reasons);

/* Post an NMI, likewise from any core. */
void vcpu_post_nmi(struct vcpu *v);

/* Post reasons on the vCPU's own core, while it is there: it looks before it enters the guest again, and nobody needs to be told. */
static inline void vcpu_look_again(struct vcpu *v, uint32_t reasons)
{
	__atomic_or_fetch(&v->pending, reasons, __ATOMIC_RELAXED);
}

/* The VM starts over: forget everything that was posted to the parked vCPU, and have it start from its reset state. From any core of the VM's. */
void vcpu_restart(struct vcpu *v);

/* ---- Between the core and the vCPU ---- */

/* Whether the vCPU runs on this core: who posts to it needs no kick then. */
static inline bool vcpu_runs_here(const struct vcpu *v)
{
	return v->has_core && v->slot->core == core_index();
}

/* The vCPU gets the core, or the core's interrupts have had their turn: it looks for what a wake-up stands for, whether it was woken or not. */
static inline void vcpu_begin_turn(struct vcpu *v)
{
	(void)sched_take_wakeup(v->slot);
	vcpu_look_again(v, PENDING_ON_WAKE);
}

/* The running vCPU's core has taken an interrupt, which may have been a kick. */
static inline void vcpu_take_wakeup(struct vcpu *v)
{
	if (sched_take_wakeup(v->slot))
		vcpu_look_again(v, PENDING_ON_WAKE);
}

/* ---- Before the guest is entered ---- */

/* Whether anything is posted: a look without order, for the vCPU's own core. */
static inline bool vcpu_has_pending(const struct vcpu *v)
{
	return __atomic_load_n(&v->pending, __ATOMIC_RELAXED);
}

/* Take all that is posted and do what it asks for, again and again until nothing is. Returns whether the guest may be entered; if not, the
 * vCPU's state, or PENDING_YIELD, is why. */
bool vcpu_prepare(struct vcpu *v);
/* The same for the engine's loop. If it returns true, the vCPU is in_guest from then on. */
bool vcpu_may_enter(struct vcpu *v);

/* The guest runs no longer: other vCPUs need not wait for this vCPU. */
static inline void vcpu_left_guest(struct vcpu *v)
{
	__atomic_store_n(&v->in_guest, false, __ATOMIC_RELEASE);
}

/* Whether the vCPU may still run guest code without having taken any of these reasons, which were posted by vcpu_notify(). It is false for a
 * vCPU that has left the guest, and for a vCPU that is there again, since it takes what is posted in between. Only for a vCPU that is `kickable`. */
static inline bool vcpu_runs_unaware(const struct vcpu *v, uint32_t reasons)
{
	return __atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST) && __atomic_load_n(&v->pending, __ATOMIC_SEQ_CST) & reasons;
}

#endif

/* What a vCPU does before it enters the guest: it takes the reasons that are pending, until there are none. */
#include "vmm/vcpu/pending.h"

#include "vmm/mmu/virtual_mmu.h"
#include "vmm/vcpu/deliver.h"
#include "vmm/vm/vm_services.h"

#define NMIS_MAX 2 /* NMIs that a CPU knows of at a time: in service, and latched */
#define ROUNDS_MAX 8 /* rounds in which vcpu_prepare() looks for more to do before it lets the core go */

void vcpu_notify(struct vcpu *v, uint32_t reasons)
{
	uint32_t before = __atomic_fetch_or(&v->pending, reasons, __ATOMIC_SEQ_CST);

	/* Its core has been told of reasons that stand there already. On its own core a running vCPU looks before it enters the guest again. */
	if ((before & reasons) == reasons || !v->slot || vcpu_runs_here(v))
		return;
	sched_wake(v->slot);
}

void vcpu_post_nmi(struct vcpu *v)
{
	/* Cores that post at once may count past two, each by one. */
	if (__atomic_load_n(&v->nmis_posted, __ATOMIC_RELAXED) < NMIS_MAX)
		__atomic_add_fetch(&v->nmis_posted, 1, __ATOMIC_SEQ_CST);
	vcpu_notify(v, PENDING_NMI);
}

void vcpu_restart(struct vcpu *v)
{
	__atomic_store_n(&v->nmis_posted, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&v->pending, PENDING_RESET, __ATOMIC_SEQ_CST);
	sched_wake(v->slot);
}

/* ---- Takers ---- */

static void take_timers(struct vcpu *v)
{
	timer_queue_run(&v->timers);
	sched_arm(v);
}

static void take_input(struct vcpu *v)
{
	vm_console_input(v->vm);
}

static void take_disks(struct vcpu *v)
{
	vm_poll_disks(v->vm);
}

/* SDM vol. 3, "Handling Multiple NMIs": while an NMI's handler runs the CPU keeps one more NMI, and no more. Where no handler runs, the first
 * of two NMIs begins one. */
static void take_nmi(struct vcpu *v)
{
	unsigned come = __atomic_exchange_n(&v->nmis_posted, 0, __ATOMIC_SEQ_CST);
	unsigned most = v->engine->nmi_in_service(v) ? NMIS_MAX - 1 : NMIS_MAX;

	v->nmis_pending = (uint8_t)MIN(v->nmis_pending + come, most);
}

/* Most looks are for interrupts alone, and spare themselves this. */
static __attribute__((noinline)) void call_takers(struct vcpu *v, uint32_t pending)
{
#define CALL_TAKER(reason, how, taker) \
	if (pending & PENDING_##reason && (!((how) & REASON_VCPU0) || v->index == 0)) \
		taker(v);
	PENDING_REASONS(PENDING_NOTHING, CALL_TAKER)
#undef CALL_TAKER
}

/* ---- The look ---- */

bool vcpu_prepare(struct vcpu *v)
{
	uint32_t pending;
	unsigned rounds = 0;

	while ((pending = __atomic_exchange_n(&v->pending, 0, __ATOMIC_SEQ_CST))) {
		bool apic_changed;

		if (__builtin_expect(++rounds > ROUNDS_MAX, 0)) {
			/* Other vCPUs may set new bits all the time; the core has interrupts to take and other VMs' vCPUs to run
			 * (sched_run). */
			__atomic_or_fetch(&v->pending, pending, __ATOMIC_SEQ_CST);
			sched_wake(v->slot);
			return false;
		}
		if (pending & PENDING_RESET)
			vcpu_reset(v);
		else if (v->state == VCPU_PARKED && !(pending & PENDING_LEAVE))
			continue;
		if (pending & PENDING_LEAVE) {
			v->state = VCPU_PARKED;
			v->park_unreported = true;
			return false;
		}
		if (pending & PENDING_TAKEN)
			call_takers(v, pending);
		if (v->state == VCPU_WAIT_FOR_SIPI)
			continue;
		apic_changed = lapic_sync(&v->lapic);
		if (v->state == VCPU_HALTED && vcpu_can_wake(v))
			v->state = VCPU_RUNNING;
		if (v->state == VCPU_RUNNING || apic_changed)
			vcpu_deliver(v, apic_changed);
		if (pending & PENDING_YIELD && v->state == VCPU_RUNNING)
			return false;
	}
	return v->state == VCPU_RUNNING;
}

bool vcpu_may_enter(struct vcpu *v)
{
	do {
		vcpu_left_guest(v);
		if (!vcpu_prepare(v) || v->by_emulation)
			return false;
		/* A core that sets `pending` and then sees false here knows that this vCPU sees what it set. */
		__atomic_store_n(&v->in_guest, true, __ATOMIC_SEQ_CST);
	} while (v->kickable && __atomic_load_n(&v->pending, __ATOMIC_SEQ_CST));
	return true;
}

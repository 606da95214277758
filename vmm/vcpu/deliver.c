/* Interrupts on their way into the guest: an injected event, a window to wait for, or the CPU's own delivery. */
#include "vmm/vcpu/deliver.h"

#include "lib/x86/registers.h"
#include "vmm/vcpu/vcpu.h"
#include "vmm/vm/vm_services.h"

/* The 8259s are wired to vCPU 0's LINT0. */
static bool pic_requests(const struct vcpu *v)
{
	return v->pic_line && __atomic_load_n(v->pic_line, __ATOMIC_RELAXED) && lapic_accepts_pic(&v->lapic);
}

static bool interrupt_requests(const struct vcpu *v)
{
	return lapic_pending(&v->lapic) >= 0 || pic_requests(v);
}

static void inject_interrupt(struct vcpu *v, uint8_t vector)
{
	const struct vcpu_event event = { EVENT_INTERRUPT, vector, false, 0 };

	v->engine->inject(v, &event);
}

static void deliver_nmi(struct vcpu *v)
{
	const struct vcpu_event event = { EVENT_NMI, 2, false, 0 };

	if (!v->nmis_pending)
		return;
	if (v->engine->can_inject(v, EVENT_NMI)) {
		v->nmis_pending--;
		v->engine->inject(v, &event);
	}
	if (v->nmis_pending)
		v->engine->nmi_window(v, true);
}

static void deliver_pic(struct vcpu *v)
{
	if (!v->engine->can_inject(v, EVENT_INTERRUPT)) {
		v->engine->interrupt_window(v, true);
		return;
	}
	inject_interrupt(v, vm_pic_acknowledge(v->vm));
	if (interrupt_requests(v))
		v->engine->interrupt_window(v, true);
}

/* Without the CPU's help: the local APIC's highest request becomes an injected event, or a window to wait for. */
static void deliver_lapic(struct vcpu *v)
{
	int vector = lapic_pending(&v->lapic);

	/* Set at each look: VM entry refuses a threshold that is above the TPR. */
	v->engine->tpr_threshold(v, vector < 0 ? lapic_tpr_threshold(&v->lapic) : 0);
	if (v->engine->offer_interrupt && v->engine->offer_interrupt(v, vector))
		return;
	if (vector < 0)
		return;
	if (!v->engine->can_inject(v, EVENT_INTERRUPT)) {
		v->engine->interrupt_window(v, true);
		return;
	}
	lapic_acknowledge(&v->lapic, (uint8_t)vector);
	inject_interrupt(v, (uint8_t)vector);
	if (interrupt_requests(v))
		v->engine->interrupt_window(v, true);
}

/* With the CPU's help it finds the next vector itself, at the guest's EOI too. But an interrupt waits for an interrupt window where the
 * guest cannot take it now, and goes in by injection where another one waits behind it: no virtual interrupt is recognized while
 * interrupt-window exiting is on (SDM vol. 3, "Evaluation of Pending Virtual Interrupts"). The architecture needs neither; it is a guard:
 * Bochs 2.7 delivers a virtual interrupt that is recognized while the guest's IF is 0 as soon as an interrupt of the host's comes in, and a
 * guest that holds a lock then waits for itself. The guard does not cover virtual interrupts that the guest makes recognizable without an
 * exit, by a self-IPI or its TPR. */
static void deliver_virtual(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	bool can_inject = v->engine->can_inject(v, EVENT_INTERRUPT);
	int vector = lapic_pending(l), next = lapic_highest_irr(l);

	if (can_inject && vector >= 0) {
		lapic_acknowledge(l, (uint8_t)vector);
		next = lapic_highest_irr(l);
		inject_interrupt(v, (uint8_t)vector);
		vector = next;
	}
	v->engine->virtual_interrupts(v, (uint8_t)MAX(next, 0), (uint8_t)MAX(lapic_highest_isr(l), 0));
	v->held_back = vector >= 0;
	if (v->held_back)
		v->engine->interrupt_window(v, true);
}

void vcpu_deliver(struct vcpu *v, bool apic_changed)
{
	struct lapic *l = &v->lapic;

	deliver_nmi(v);
	if (v->hw_delivery && l->enabled) {
		if (apic_changed || v->held_back)
			deliver_virtual(v);
		if (l->eoi_exit_dirty) {
			l->eoi_exit_dirty = false;
			v->engine->eoi_exits(v, l->eoi_exit);
		}
	} else {
		deliver_lapic(v);
	}
	if (pic_requests(v))
		deliver_pic(v);
}

bool vcpu_can_wake(struct vcpu *v)
{
	return v->nmis_pending || (vcpu_read(v, VCPU_RFLAGS) & RFLAGS_IF && interrupt_requests(v));
}

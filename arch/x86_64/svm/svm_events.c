/* Events for the guest, and the ways to hear when it can take them (APM vol. 2, "Event Injection", "Interrupt and Local APIC Support"). */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "vmm/devices/lapic.h"
#include "vmm/emulate/decode.h"
#include "vmm/exits/exit_instruction.h"
#include "vmm/interface/core.h"

/* What an instruction raises before it is done. #BP and #OF are traps of INT3 and INTO, which an injected exception would begin anew;
 * an NMI's number is no exception. */
#define STEP_EXCEPTIONS (0xffffffffU & ~(uint32_t)(BIT(VECTOR_NMI) | BIT(VECTOR_BP) | BIT(VECTOR_OF)))

static bool nmi_blocked(const struct svm_vcpu *x)
{
	return x->nmi == NMI_BLOCKED || (x->nmi == NMI_IN_IRET && x->vmcb.rip == x->iret_rip);
}

bool svm_nmi_in_service(struct vcpu *v)
{
	return nmi_blocked(svm_of(v));
}

bool svm_can_inject(struct vcpu *v, enum vcpu_event_type type)
{
	const struct svm_vcpu *x = svm_of(v);

	if (x->vmcb.event_injection & EVENT_VALID || x->vmcb.interrupt_shadow & SHADOW)
		return false;
	return type == EVENT_NMI ? !nmi_blocked(x) : (x->vmcb.rflags & RFLAGS_IF) != 0;
}

static bool contributory(uint8_t vector)
{
	return vector == 0 || (vector >= 10 && vector <= 13);
}

static void nmi_delivered(struct svm_vcpu *x)
{
	x->nmi = NMI_BLOCKED;
	x->nmi_wanted = false;
	x->vmcb.intercept_misc1 |= INTERCEPT_IRET;
	svm_changed(&x->vmcb, CLEAN_CONTROLS);
}

void svm_inject(struct vcpu *v, const struct vcpu_event *event)
{
	struct svm_vcpu *x = svm_of(v);
	struct vmcb *b = &x->vmcb;
	uint64_t queued = b->event_injection, info = event->vector | EVENT_VALID;
	uint32_t error = event->error;

	/* Lamina's own single step must not show in the RFLAGS that the delivery saves. */
	if (__builtin_expect(svm_step_done(v), 0) && event->type != EVENT_NMI)
		core_kick(core_index());
	if (event->type == EVENT_NMI) {
		info |= EVENT_KIND_NMI << EVENT_KIND_SHIFT;
		nmi_delivered(x);
	} else if (event->type == EVENT_EXCEPTION) {
		info |= EVENT_KIND_EXCEPTION << EVENT_KIND_SHIFT;
		if (event->has_error && b->cr0 & CR0_PE) /* real mode has no error codes */
			info |= EVENT_HAS_ERROR;
		/* An exception during the delivery of another one (APM vol. 2, "#DF: Double-Fault Exception"). */
		if (queued & EVENT_VALID && (queued >> EVENT_KIND_SHIFT & 7) == EVENT_KIND_EXCEPTION) {
			uint8_t first = (uint8_t)queued;

			if (first == 8) {
				vm_request(v->vm, VM_REQUEST_RESET, "triple fault");
				return;
			}
			if ((contributory(first) && contributory(event->vector)) ||
			    (first == 14 && (contributory(event->vector) || event->vector == 14))) {
				info = 8 | EVENT_VALID | EVENT_KIND_EXCEPTION << EVENT_KIND_SHIFT | (b->cr0 & CR0_PE ? EVENT_HAS_ERROR : 0);
				error = 0;
			}
		}
		/* A fault's saved RFLAGS has RF set; #DB may be a trap and was reflected with the right value. */
		if (event->vector != 1)
			b->rflags |= RFLAGS_RF;
	}
	b->event_injection = info | (info & EVENT_HAS_ERROR ? (uint64_t)error << 32 : 0);
}

/* INTn, INT3 and INTO are executed again: RIP is still at them. A virtual interrupt that still waits in V_IRQ comes again by itself as
 * well: QEMU 7.2 reports a virtual interrupt whose delivery was cut off, as an exception of that vector, before it clears V_IRQ. */
void svm_requeue(struct vcpu *v)
{
	struct vmcb *b = vmcb_of(v);
	uint64_t info = b->exit_interrupt_info;
	unsigned kind = info >> EVENT_KIND_SHIFT & 7;
	uint8_t vector = (uint8_t)info;

	if (kind == EVENT_KIND_SOFT_INTERRUPT || (kind == EVENT_KIND_EXCEPTION && (vector == VECTOR_BP || vector == VECTOR_OF)))
		return;
	if (svm_of(v)->offered && b->v_irq & V_IRQ && b->v_vector == vector && kind != EVENT_KIND_NMI)
		return;
	b->event_injection = info;
}

/* The guest's MOV to CR8 goes to V_TPR and exits only while a request waits: for a lower TPR, or for the window, whose request the new TPR
 * may hold back. (QEMU 7.2 aborts where that MOV meets a pending virtual interrupt.) */
static void intercept_cr8(struct svm_vcpu *x)
{
	struct vmcb *b = &x->vmcb;
	uint32_t bit = x->tpr_waits || b->v_irq & V_IRQ ? INTERCEPT_CR_WRITE(8) : 0;

	if ((b->intercept_cr & INTERCEPT_CR_WRITE(8)) == bit)
		return;
	b->intercept_cr ^= (uint32_t)INTERCEPT_CR_WRITE(8);
	svm_changed(b, CLEAN_CONTROLS);
}

/* What V_IRQ stands for: nothing, a vector that the guest takes when it can, or the wish to hear of that moment. */
static void set_virtual_interrupt(struct svm_vcpu *x, bool on, bool intercepted, uint8_t vector)
{
	struct vmcb *b = &x->vmcb;

	x->offered = on && !intercepted;
	b->v_irq = (uint8_t)((b->v_irq & ~V_IRQ) | on);
	b->v_vector = vector;
	if (intercepted != !!(b->intercept_misc1 & INTERCEPT_VINTR)) {
		b->intercept_misc1 ^= INTERCEPT_VINTR;
		svm_changed(b, CLEAN_CONTROLS);
	}
	svm_seen(x);
	intercept_cr8(x);
}

/* A virtual interrupt that is intercepted: the exit comes as soon as the guest would take one. A vector on offer gives way to it and is
 * offered again after that exit. */
void svm_interrupt_window(struct vcpu *v, bool on)
{
	struct svm_vcpu *x = svm_of(v);

	if (on != !!(x->vmcb.intercept_misc1 & INTERCEPT_VINTR))
		set_virtual_interrupt(x, on, on, 0);
}

/* A virtual interrupt that is not intercepted: the guest takes it as soon as it can, and no exit tells of it. The next exit, for whatever
 * reason, finds V_IRQ clear, which is early enough: the local APIC cannot be read without an exit. Not while Lamina steps the guest, whose
 * RFLAGS.TF the delivery would save. And not with shadow paging, where the delivery itself often exits by a page fault: Bochs 2.7 has
 * cleared V_IRQ then, and says in EXITINTINFO that another event was under way. */
bool svm_offer_interrupt(struct vcpu *v, int vector)
{
	struct svm_vcpu *x = svm_of(v);

	if (v->shadow)
		return false;
	if (vector < 0 || x->step) {
		if (x->offered)
			set_virtual_interrupt(x, false, false, 0);
	} else if (!x->offered || x->vmcb.v_vector != vector) {
		set_virtual_interrupt(x, true, false, (uint8_t)vector);
	}
	return true;
}

void svm_virtual_changed(struct vcpu *v)
{
	struct svm_vcpu *x = svm_of(v);
	const struct vmcb *b = &x->vmcb;

	if (x->offered && !(b->v_irq & V_IRQ)) {
		lapic_acknowledge(&v->lapic, b->v_vector);
		x->offered = false;
		intercept_cr8(x);
	}
	/* The guest wrote CR8: no request waited for a lower TPR, or the MOV would have exited. */
	if (b->v_tpr != x->tpr) {
		x->tpr = b->v_tpr;
		lapic_set_cr8(&v->lapic, b->v_tpr);
	}
	x->seen = x->nmi_wanted ? SVM_LOOK_CLOSER : svm_virtual_state(b);
}

/* Whether the guest's next instruction takes RFLAGS from somewhere: IRET, POPF or SYSRET. */
static bool loads_flags(struct vcpu *v)
{
	const struct vmcb *b = vmcb_of(v);
	const struct insn *insn = exit_instruction(v, insn_memo_at(&v->emulator.code, b->rip), b->cr3);

	if (!insn || insn->encoding != ENCODING_LEGACY)
		return false;
	return insn->map == MAP_ONE_BYTE ? insn->opcode == 0xcf || insn->opcode == 0x9d : insn->map == MAP_0F && insn->opcode == 0x07;
}

/* Exit after the guest's next instruction, whatever it is; the shadow of STI or MOV SS is over then, and an IRET done. An exception of that
 * instruction exits too: its delivery would save Lamina's TF, and the guest's IRET load it again long after the step. */
static void step(struct vcpu *v)
{
	struct svm_vcpu *x = svm_of(v);
	struct vmcb *b = &x->vmcb;

	if (x->step || b->rflags & RFLAGS_TF)
		return; /* the guest steps itself: its #DB exits too */
	(void)svm_offer_interrupt(v, -1);
	x->step = nmi_blocked(x) || loads_flags(v) ? STEP_LOADS_FLAGS : STEP_PLAIN;
	x->step_rip = b->rip;
	b->rflags |= RFLAGS_TF;
	b->intercept_exceptions |= STEP_EXCEPTIONS;
	svm_changed(b, CLEAN_CONTROLS);
}

bool svm_step_done(struct vcpu *v)
{
	struct svm_vcpu *x = svm_of(v);
	struct vmcb *b = &x->vmcb;

	if (!x->step)
		return false;
	if (x->step == STEP_PLAIN || b->rip == x->step_rip)
		b->rflags &= ~RFLAGS_TF;
	x->step = STEP_NONE;
	b->intercept_exceptions = svm_exceptions(v);
	svm_changed(b, CLEAN_CONTROLS);
	return true;
}

/* There is no window exit for NMIs. While an NMI waits, every exit looks whether it can be delivered; this makes sure that an exit comes. */
void svm_nmi_window(struct vcpu *v, bool on)
{
	struct svm_vcpu *x = svm_of(v);

	x->nmi_wanted = on;
	if (!on)
		return;
	x->seen = SVM_LOOK_CLOSER;
	if (x->nmi == NMI_BLOCKED)
		return; /* its handler's IRET exits */
	if (x->vmcb.event_injection & EVENT_VALID)
		core_kick(core_index()); /* exits after the event's delivery, before the first instruction */
	else
		step(v);
}

void svm_iret(struct vcpu *v)
{
	struct svm_vcpu *x = svm_of(v);

	x->nmi = NMI_IN_IRET;
	x->iret_rip = x->vmcb.rip;
	x->vmcb.intercept_misc1 &= ~(uint32_t)INTERCEPT_IRET;
	svm_changed(&x->vmcb, CLEAN_CONTROLS);
}

/* Called at each look at the local APIC, so this is also where V_TPR learns what the guest wrote there. */
void svm_tpr_threshold(struct vcpu *v, unsigned threshold)
{
	struct svm_vcpu *x = svm_of(v);
	struct vmcb *b = &x->vmcb;
	uint8_t tpr = (uint8_t)lapic_cr8(&v->lapic);

	if (tpr != x->tpr) {
		x->tpr = b->v_tpr = tpr;
		svm_seen(x);
	}
	if (!!threshold != x->tpr_waits) {
		x->tpr_waits = threshold;
		intercept_cr8(x);
	}
}

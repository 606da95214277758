/* Real mode by emulation: the emulator set up from the engine's registers, its wishes carried out, events delivered, and back. */
#include "vmm/vcpu/real_mode.h"

#include "lib/log.h"
#include "lib/printf.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/access.h"
#include "vmm/emulate/step.h"
#include "vmm/exits/exit.h"
#include "vmm/exits/msr.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vcpu/vcpu_emulator.h"
#include "vmm/vm/arena.h"

#define POLL_STEPS 32 /* after so many instructions the core's interrupts get their turn */

struct real_mode {
	struct step_state step;
	bool nmi_blocked;
	bool was_interruptible; /* the guest could have taken an interrupt when `pending` was last looked at */
	unsigned steps;         /* instructions so far, free running */
};

/* From the engine to the emulator. */
static void load(struct vcpu *v)
{
	struct step_state *step = &v->real_mode->step;
	uint64_t blocking = vcpu_read(v, VCPU_INTERRUPTIBILITY);

	vcpu_emulator_load(v);
	step->gdtr.base = vcpu_read(v, VCPU_GDT_BASE);
	step->gdtr.limit = (uint16_t)vcpu_read(v, VCPU_GDT_LIMIT);
	step->idtr.base = vcpu_read(v, VCPU_IDT_BASE);
	step->idtr.limit = (uint16_t)vcpu_read(v, VCPU_IDT_LIMIT);
	step->cr2 = vcpu_read(v, VCPU_CR2);
	step->changed = 0;
	step->shadow = (uint8_t)(blocking & (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS));
	v->real_mode->nmi_blocked = blocking & INTERRUPTIBILITY_NMI;
}

_Static_assert(STEP_SHADOW_STI == INTERRUPTIBILITY_STI && STEP_SHADOW_MOV_SS == INTERRUPTIBILITY_MOV_SS, "one encoding of shadows");

/* From the emulator to the engine, but for the control registers, which the engine gets when they change. The emulator may go on. */
static void store(struct vcpu *v)
{
	struct emulator *e = &v->emulator;
	struct step_state *step = &v->real_mode->step;

	vcpu_write(v, VCPU_RIP, e->rip);
	vcpu_write(v, VCPU_RSP, v->gpr[GPR_RSP]);
	vcpu_write(v, VCPU_RFLAGS, e->rflags);
	vcpu_write(v, VCPU_INTERRUPTIBILITY, step->shadow | (v->real_mode->nmi_blocked ? INTERRUPTIBILITY_NMI : 0));
	for (unsigned s = 0; s < SEG_COUNT; s++) {
		const struct segment_state *seg = &e->seg[s];
		const struct segment_state state = { seg->selector, seg->limit, seg->access, seg->base };

		if (step->changed & BIT(s))
			v->engine->write_segment(v, (enum segment_register)s, &state);
	}
	if (step->changed & STEP_CHANGED_GDTR) {
		vcpu_write(v, VCPU_GDT_BASE, step->gdtr.base);
		vcpu_write(v, VCPU_GDT_LIMIT, step->gdtr.limit);
	}
	if (step->changed & STEP_CHANGED_IDTR) {
		vcpu_write(v, VCPU_IDT_BASE, step->idtr.base);
		vcpu_write(v, VCPU_IDT_LIMIT, step->idtr.limit);
	}
	if (step->changed & STEP_CHANGED_CR2)
		vcpu_write(v, VCPU_CR2, step->cr2);
	step->changed = 0;
}

/* ---- What the emulator asks for ---- */

static int write_cr(void *ctx, unsigned cr, uint64_t value)
{
	struct vcpu *v = ctx;

	store(v); /* the engine's checks look at segments too */
	return exit_write_cr(v, cr, value) ? VECTOR_GP : 0;
}

static uint64_t read_cr8(void *ctx)
{
	return lapic_cr8(&((struct vcpu *)ctx)->lapic);
}

static enum vcpu_register debug_register(unsigned dr)
{
	return dr == 7 ? VCPU_DR7 : dr == 6 ? VCPU_DR6 : (enum vcpu_register)(VCPU_DR0 + dr);
}

static uint64_t read_dr(void *ctx, unsigned dr)
{
	return vcpu_read(ctx, debug_register(dr));
}

static int write_dr(void *ctx, unsigned dr, uint64_t value)
{
	if (dr == 7) /* bit 10 is 1, bits 11, 12, 14 and 15 are 0 (SDM vol. 3, "Debug Control Register") */
		value = (value & 0xffff27ff) | BIT(10);
	vcpu_write(ctx, debug_register(dr), value);
	return 0;
}

static int read_msr(void *ctx, uint32_t msr, uint64_t *value)
{
	struct vcpu *v = ctx;

	return v->engine->read_direct_msr(v, msr, value) && msr_read(v, msr, value) ? VECTOR_GP : 0;
}

static int write_msr(void *ctx, uint32_t msr, uint64_t value)
{
	struct vcpu *v = ctx;
	uint64_t old;

	if (!v->engine->read_direct_msr(v, msr, &old))
		return v->engine->write_direct_msr(v, msr, value) ? VECTOR_GP : 0;
	store(v); /* EFER */
	return msr_write(v, msr, value) ? VECTOR_GP : 0;
}

static void cpuid(void *ctx, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	exit_lookup_cpuid(ctx, leaf, subleaf, out);
}

static void invlpg(void *ctx, uint64_t linear)
{
	virtual_mmu_invlpg(ctx, linear);
}

/* Guest memory is coherent and no device does DMA around the caches. */
static void write_back_caches(void *ctx)
{
	(void)ctx;
}

static void fpu_init(void *ctx)
{
	(void)ctx;
	core_fpu_init();
}

static uint16_t fpu_status(void *ctx)
{
	(void)ctx;
	return core_fpu_status();
}

static uint16_t fpu_control(void *ctx)
{
	(void)ctx;
	return core_fpu_control();
}

int real_mode_create(struct vcpu *v)
{
	struct real_mode *rm;

	if (!v->shadow || v->engine->shadow_real_mode)
		return 0;
	rm = vm_alloc(v->vm, sizeof(*rm));
	if (!rm)
		return ERR_NOMEM;
	rm->step.write_cr = write_cr;
	rm->step.read_cr8 = read_cr8;
	rm->step.read_dr = read_dr;
	rm->step.write_dr = write_dr;
	rm->step.read_msr = read_msr;
	rm->step.write_msr = write_msr;
	rm->step.cpuid = cpuid;
	rm->step.invlpg = invlpg;
	rm->step.write_back_caches = write_back_caches;
	rm->step.fpu_init = fpu_init;
	rm->step.fpu_status = fpu_status;
	rm->step.fpu_control = fpu_control;
	v->real_mode = rm;
	v->emulator.step = &rm->step;
	return 0;
}

void real_mode_plan(struct arena_plan *plan, const struct engine *engine)
{
	if (!engine->shadow_real_mode)
		arena_plan_alloc(plan, sizeof(struct real_mode));
}

void real_mode_check(struct vcpu *v)
{
	if (!v->real_mode || vcpu_read(v, VCPU_CR0) & CR0_PE)
		return;
	v->by_emulation = true;
	/* Leave the engine's loop. */
	vcpu_look_again(v, PENDING_YIELD);
}

/* ---- Running ---- */

static void stop(struct vcpu *v)
{
	const struct emulate_result *r = &v->emulated;
	char text[3 * 16 + 1];
	unsigned n = 0;

	for (unsigned i = 0; i < r->byte_count && i < sizeof(r->bytes); i++)
		n += (unsigned)snprintf(text + n, sizeof(text) - n, "%02x ", r->bytes[i]);
	text[n] = 0;
	store(v);
	log_line("vm %s: vcpu %u: real mode is emulated, and this instruction at %x:%lx cannot be: %s", v->vm_name, v->index,
		 v->emulator.seg[SEG_CS].selector, v->emulator.rip, n ? text : "(no memory there)");
	vm_request(v->vm, VM_REQUEST_STOP, "an instruction that cannot be emulated");
	vcpu_dump(v);
}

/* What the emulation of an instruction, or of an event's delivery, came to. Returns whether to go on. */
static bool take_verdict(struct vcpu *v, int verdict)
{
	const struct emulate_result *r = &v->emulated;

	switch (verdict) {
	case EMULATE_DONE:
		if (r->iret) {
			v->real_mode->nmi_blocked = false;
			if (v->nmis_pending) /* there is no window to wait for here */
				vcpu_look_again(v, PENDING_EVALUATE);
		}
		if (r->halted && !r->delivered) {
			v->state = VCPU_HALTED;
			vcpu_look_again(v, PENDING_EVALUATE);
		}
		return true;
	case EMULATE_RETRY:
		return true;
	case EMULATE_EXCEPTION: /* in long mode, where a strange segment register keeps the CPU from running it */
	case EMULATE_UNSUPPORTED:
		stop(v);
		return false;
	default:
		store(v);
		vm_request(v->vm, VM_REQUEST_RESET, "triple fault");
		return true;
	}
}

static bool deliver(struct vcpu *v, const struct vcpu_event *event)
{
	struct real_mode *rm = v->real_mode;

	if (event->type == EVENT_NMI)
		rm->nmi_blocked = true;
	return take_verdict(v, emulate_interrupt(&v->emulator, event->vector, event->type != EVENT_EXCEPTION,
						 event->has_error ? (int64_t)event->error : -1, &v->emulated));
}

/* Do everything that is pending asks for. Returns whether the vCPU goes on by emulation. */
static bool take_pending(struct vcpu *v)
{
	struct vcpu_event event;

	store(v);
	if (!vcpu_prepare(v) || !v->by_emulation)
		return false;
	load(v);
	return !v->engine->take_event(v, &event) || deliver(v, &event);
}

static bool interruptible(const struct vcpu *v)
{
	return v->emulator.rflags & RFLAGS_IF && !v->real_mode->step.shadow;
}

void real_mode_run(struct vcpu *v)
{
	struct real_mode *rm = v->real_mode;
	struct vcpu_event event;

	load(v);
	if (v->engine->take_event(v, &event) && !deliver(v, &event))
		return;
	for (;;) {
		if (++rm->steps % POLL_STEPS == 0)
			exit_take_turn(v);
		if (interruptible(v) && !rm->was_interruptible)
			vcpu_look_again(v, PENDING_EVALUATE);
		if (vcpu_has_pending(v) && !take_pending(v))
			return;
		rm->was_interruptible = interruptible(v);
		if (emulate_enterable(&v->emulator))
			break;
		v->emulated_instructions++;
		if (!take_verdict(v, emulate_step(&v->emulator, &v->emulated)))
			return;
	}
	store(v);
	v->by_emulation = false;
	virtual_mmu_update(v);
}

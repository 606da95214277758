/* Delivery of interrupts and exceptions (SDM vol. 3, chapter "Interrupt and Exception Handling"; real mode: "8086 Emulation"). */
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/step_parts.h"

/* The bit of error codes that says that the selector is an index into the IDT. */
#define ERROR_IDT 2

static int deliver_real(struct execution *x, uint8_t vector, uint64_t return_rip)
{
	struct emulator *e = x->e;
	const struct step_table *ivt = &e->step->idtr;
	struct stack stack = stack_begin(e);
	uint64_t entry;
	int verdict;

	if (vector * 4U + 3 > ivt->limit)
		return general_protection(x, 0);
	verdict = system_read(x, ivt->base + (uint64_t)vector * 4, 4, &entry);
	if (verdict == EMULATE_CONTINUE)
		verdict = stack_push(x, &stack, 2, e->rflags);
	if (verdict == EMULATE_CONTINUE)
		verdict = stack_push(x, &stack, 2, segment_of(e, SEG_CS)->selector);
	if (verdict == EMULATE_CONTINUE)
		verdict = stack_push(x, &stack, 2, return_rip);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if ((entry & 0xffff) > segment_of(e, SEG_CS)->limit)
		return general_protection(x, 0);
	stack_commit(e, &stack);
	e->rflags &= ~(RFLAGS_IF | RFLAGS_TF | RFLAGS_RF | RFLAGS_AC);
	segment_set_real(e, SEG_CS, (uint16_t)(entry >> 16));
	e->rip = entry & 0xffff;
	emulate_derive_mode(e);
	return EMULATE_DONE;
}

/* What a gate of the IDT leads to. */
struct target {
	struct descriptor code;
	uint16_t selector;
	uint64_t offset;
	unsigned size; /* of what is pushed */
	bool interrupt_gate;
	bool inner;
};

static int find_target(struct execution *x, uint8_t vector, bool software, unsigned ext, struct target *t)
{
	struct emulator *e = x->e;
	uint32_t gate_error = vector * 8U + ERROR_IDT + ext;
	unsigned type;
	uint64_t raw;
	int verdict;

	if (vector * 8U + 7 > e->step->idtr.limit)
		return general_protection(x, gate_error);
	verdict = system_read(x, e->step->idtr.base + (uint64_t)vector * 8, 8, &raw);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	type = raw >> 40 & 0x1f;
	if (type != TYPE_TASK_GATE && (type & ~9U) != TYPE_INTERRUPT_GATE16)
		return general_protection(x, gate_error);
	if (software && (raw >> 45 & 3) < cpl(e))
		return general_protection(x, gate_error);
	if (!(raw >> 47 & 1))
		return raise_exception(x->r, VECTOR_NP, gate_error);
	if (type == TYPE_TASK_GATE)
		return EMULATE_UNSUPPORTED;
	t->size = type & 8 ? 4 : 2;
	t->interrupt_gate = !(type & 1);
	t->selector = (uint16_t)(raw >> 16);
	t->offset = (raw & 0xffff) | (t->size == 4 ? raw >> 32 & 0xffff0000 : 0);
	verdict = descriptor_read(x, t->selector, VECTOR_GP, ext, &t->code);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if ((t->code.access & (SEGMENT_S | SEGMENT_TYPE_CODE)) != (SEGMENT_S | SEGMENT_TYPE_CODE) || dpl(t->code.access) > cpl(e))
		return general_protection(x, (t->selector & 0xfffc) | ext);
	if (!(t->code.access & SEGMENT_P))
		return raise_exception(x->r, VECTOR_NP, (t->selector & 0xfffc) | ext);
	t->inner = !(t->code.access & SEGMENT_TYPE_CONFORMING) && dpl(t->code.access) < cpl(e);
	/* Virtual-8086 mode is left for CPL 0 or not at all. */
	if (v86_mode(e) && (!t->inner || dpl(t->code.access)))
		return general_protection(x, (t->selector & 0xfffc) | ext);
	return EMULATE_CONTINUE;
}

static int deliver_protected(struct execution *x, uint8_t vector, bool software, unsigned ext, int64_t error, uint64_t return_rip)
{
	static const uint8_t v86_order[] = { SEG_GS, SEG_FS, SEG_DS, SEG_ES };
	struct emulator *e = x->e;
	bool v86 = v86_mode(e);
	uint64_t flags = e->rflags, rsp = e->gpr[REG_RSP], push[10], sp = 0;
	unsigned n = 0, level;
	struct stack stack;
	struct target t = { .size = 4 };
	int verdict = find_target(x, vector, software, ext, &t);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	level = t.inner ? dpl(t.code.access) : cpl(e);
	if (v86)
		for (unsigned i = 0; i < ARRAY_SIZE(v86_order); i++)
			push[n++] = segment_of(e, v86_order[i])->selector;
	if (t.inner) {
		push[n++] = segment_of(e, SEG_SS)->selector;
		push[n++] = rsp;
	}
	push[n++] = flags;
	push[n++] = segment_of(e, SEG_CS)->selector;
	push[n++] = return_rip;
	if (error >= 0)
		push[n++] = (uint64_t)error;
	if (t.inner) {
		e->rflags &= ~RFLAGS_VM;
		verdict = tss_stack_enter(x, level, ext, &sp);
		if (verdict != EMULATE_CONTINUE)
			return verdict;
		e->gpr[REG_RSP] = sp;
	}
	stack = stack_begin(e);
	for (unsigned i = 0; i < n; i++) {
		verdict = stack_push(x, &stack, t.size, push[i]);
		if (verdict != EMULATE_CONTINUE)
			return verdict;
	}
	verdict = code_segment_enter(x, t.selector, &t.code, level, t.offset, ext);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	stack_commit(e, &stack);
	if (v86)
		for (unsigned i = 0; i < ARRAY_SIZE(v86_order); i++)
			segment_set_null(e, v86_order[i], 0);
	e->rflags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | (t.interrupt_gate ? RFLAGS_IF : 0));
	emulate_derive_mode(e);
	return EMULATE_DONE;
}

int interrupt_deliver(struct execution *x, uint8_t vector, bool software, unsigned ext, int64_t error, uint64_t return_rip)
{
	struct step_snapshot before;
	int verdict;

	if (long_mode(x->e))
		return EMULATE_UNSUPPORTED;
	if (!(x->e->paging.cr0 & CR0_PE))
		return deliver_real(x, vector, return_rip);
	snapshot_take(&before, x->e);
	verdict = deliver_protected(x, vector, software, ext, error, return_rip);
	if (verdict != EMULATE_DONE)
		snapshot_restore(&before, x->e);
	return verdict;
}

/* #DE, #TS, #NP, #SS, #GP (SDM vol. 3, "Double-Fault Exception"). */
static bool contributory(uint8_t vector)
{
	return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP);
}

/* Deliver an event and whatever comes of it. `exception`: it counts towards a double fault. */
static int deliver_all(struct execution *x, uint8_t vector, bool exception, int64_t error, unsigned ext)
{
	struct emulator *e = x->e;
	struct emulate_result *r = x->r;
	int verdict;

	for (;;) {
		uint64_t flags = e->rflags;

		if (exception && vector == VECTOR_PF) {
			e->step->cr2 = r->cr2;
			e->step->changed |= STEP_CHANGED_CR2;
		}
		/* Faults are pushed with RF, so that an instruction breakpoint does not hit again; traps are not. */
		if (exception && vector != VECTOR_DB && vector != VECTOR_BP && vector != VECTOR_OF && vector != VECTOR_DF)
			e->rflags |= RFLAGS_RF;
		verdict = interrupt_deliver(x, vector, false, ext, error, e->rip);
		if (verdict != EMULATE_EXCEPTION) {
			if (verdict == EMULATE_DONE) {
				r->vector = vector;
				r->delivered = true;
			} else {
				e->rflags = flags;
			}
			return verdict;
		}
		e->rflags = flags;
		if (exception && vector == VECTOR_DF)
			return EMULATE_SHUTDOWN;
		if (exception && ((contributory(vector) && contributory(r->vector)) ||
				  (vector == VECTOR_PF && (contributory(r->vector) || r->vector == VECTOR_PF)))) {
			vector = VECTOR_DF;
			error = 0;
		} else {
			vector = r->vector;
			error = r->has_error_code ? (int64_t)r->error_code : -1;
		}
		exception = true;
		ext = 1;
	}
}

int exception_deliver(struct execution *x)
{
	return deliver_all(x, x->r->vector, true, x->r->has_error_code ? (int64_t)x->r->error_code : -1, 1);
}

int emulate_interrupt(struct emulator *e, uint8_t vector, bool external, int64_t error_code, struct emulate_result *r)
{
	struct execution x;

	x.e = e;
	x.r = r;
	x.insn = NULL;
	x.step = true;
	r->halted = r->delivered = r->iret = false;
	r->length = r->byte_count = 0;
	emulate_derive_mode(e);
	e->step->shadow = 0;
	return deliver_all(&x, vector, !external, error_code, 1);
}

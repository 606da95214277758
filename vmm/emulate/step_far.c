/* Far jumps, calls and returns, IRET (SDM vol. 2 at these instructions; vol. 3, "Privilege Levels", "Call Gates"). */
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/step_parts.h"

static bool is_64bit_code(const struct emulator *e, uint32_t ar)
{
	return long_mode(e) && (ar & SEGMENT_L);
}

/* May execution go on at `offset` of this code segment? */
static bool offset_fits(const struct emulator *e, uint32_t ar, uint32_t limit, uint64_t offset)
{
	return is_64bit_code(e, ar) ? sign_extend(offset, 6) == offset : offset <= limit;
}

/* The same in real mode, where the limit stays, and in virtual-8086 mode, where loading CS sets it. */
static bool offset_fits_real(struct emulator *e, uint64_t offset)
{
	return offset <= (v86_mode(e) ? 0xffff : segment_of(e, SEG_CS)->limit);
}

int branch_near(struct execution *x, uint64_t offset, unsigned size)
{
	const struct segment_state *cs = segment_of(x->e, SEG_CS);

	offset &= size_mask(size);
	if (!offset_fits(x->e, x->e->mode == DECODE_64 ? SEGMENT_L : 0, cs->limit, offset))
		return general_protection(x, 0);
	x->e->rip = offset;
	x->e->rflags &= ~RFLAGS_RF;
	return EMULATE_DONE;
}

int code_segment_enter(struct execution *x, uint16_t selector, struct descriptor *d, unsigned level, uint64_t offset, unsigned ext)
{
	int verdict;

	if (long_mode(x->e) && (d->access & SEGMENT_L) && (d->access & SEGMENT_DB))
		return general_protection(x, (selector & 0xfffc) | ext);
	if (!offset_fits(x->e, d->access, d->limit, offset))
		return general_protection(x, ext);
	verdict = descriptor_accessed(x, d);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	segment_set(x->e, SEG_CS, (uint16_t)((selector & ~3) | level), d);
	x->e->rip = offset;
	emulate_derive_mode(x->e);
	return EMULATE_CONTINUE;
}

int stack_segment_enter(struct execution *x, uint16_t selector, unsigned level, uint8_t vector, unsigned ext)
{
	uint32_t error = (selector & 0xfffc) | ext;
	struct descriptor d;
	int verdict;

	if (selector_null(selector))
		return raise_exception(x->r, vector, ext);
	verdict = descriptor_read(x, selector, vector, ext, &d);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if ((selector & 3U) != level || dpl(d.access) != level ||
	    (d.access & (SEGMENT_S | SEGMENT_TYPE_CODE | SEGMENT_TYPE_WRITABLE)) != (SEGMENT_S | SEGMENT_TYPE_WRITABLE))
		return raise_exception(x->r, vector, error);
	if (!(d.access & SEGMENT_P))
		return raise_exception(x->r, VECTOR_SS, error);
	verdict = descriptor_accessed(x, &d);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	segment_set(x->e, SEG_SS, selector, &d);
	emulate_derive_mode(x->e);
	return EMULATE_CONTINUE;
}

int tss_stack_enter(struct execution *x, unsigned level, unsigned ext, uint64_t *sp)
{
	const struct segment_state *tr = segment_of(x->e, SEG_TR);
	bool wide = tr->access & 8;
	unsigned size = wide ? 4 : 2, offset = wide ? level * 8 + 4 : level * 4 + 2;
	uint64_t selector;
	int verdict;

	if ((tr->access & SEGMENT_UNUSABLE) || offset + size + 1 > tr->limit)
		return raise_exception(x->r, VECTOR_TS, (tr->selector & 0xfffc) | ext);
	verdict = system_read(x, tr->base + offset, size, sp);
	if (verdict == EMULATE_CONTINUE)
		verdict = system_read(x, tr->base + offset + size, 2, &selector);
	if (verdict == EMULATE_CONTINUE)
		verdict = stack_segment_enter(x, (uint16_t)selector, level, VECTOR_TS, ext);
	return verdict;
}

void drop_inner_segments(struct emulator *e)
{
	static const uint8_t which[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	for (unsigned i = 0; i < ARRAY_SIZE(which); i++) {
		const struct segment_state *s = segment_of(e, which[i]);
		bool conforming = (s->access & (SEGMENT_TYPE_CODE | SEGMENT_TYPE_CONFORMING)) == (SEGMENT_TYPE_CODE | SEGMENT_TYPE_CONFORMING);

		if (!(s->access & SEGMENT_UNUSABLE) && !conforming && dpl(s->access) < cpl(e))
			segment_set_null(e, which[i], 0);
	}
}

static int push_return(struct execution *x, struct stack *stack, unsigned size, uint16_t cs, uint64_t next)
{
	int verdict = stack_push(x, stack, size, cs);

	if (verdict == EMULATE_CONTINUE)
		verdict = stack_push(x, stack, size, next & size_mask(size));
	return verdict;
}

static int transfer_real(struct execution *x, uint16_t selector, uint64_t offset, unsigned size, bool call)
{
	struct emulator *e = x->e;
	const struct segment_state *cs = segment_of(e, SEG_CS);
	struct stack stack = stack_begin(e);
	int verdict;

	if (!offset_fits_real(e, offset))
		return general_protection(x, 0);
	if (call) {
		verdict = push_return(x, &stack, size, cs->selector, next_rip(x));
		if (verdict != EMULATE_CONTINUE)
			return verdict;
		stack_commit(e, &stack);
	}
	segment_set_real(e, SEG_CS, selector);
	return branch_near(x, offset, size);
}

#define GATE_PARAMETERS_MAX 32

/* CALL through a call gate to an inner level: the caller's stack pointer and its parameters go onto the inner level's stack. */
static int call_inner(struct execution *x, uint16_t selector, struct descriptor *code, uint64_t offset, unsigned size, unsigned count)
{
	struct emulator *e = x->e;
	struct segment_state ss = *segment_of(e, SEG_SS), cs = *segment_of(e, SEG_CS);
	struct stack stack = stack_begin(e);
	uint64_t parameter[GATE_PARAMETERS_MAX] = { 0 }, next = next_rip(x), rsp = e->gpr[REG_RSP], sp = 0;
	unsigned level = dpl(code->access);
	int verdict;

	for (unsigned i = 0; i < count; i++) {
		verdict = stack_pop(x, &stack, size, &parameter[i]);
		if (verdict != EMULATE_CONTINUE)
			return verdict;
	}
	verdict = tss_stack_enter(x, level, 0, &sp);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	e->gpr[REG_RSP] = sp;
	stack = stack_begin(e);
	verdict = push_return(x, &stack, size, ss.selector, rsp);
	while (count-- && verdict == EMULATE_CONTINUE)
		verdict = stack_push(x, &stack, size, parameter[count]);
	if (verdict == EMULATE_CONTINUE)
		verdict = push_return(x, &stack, size, cs.selector, next);
	if (verdict == EMULATE_CONTINUE)
		verdict = code_segment_enter(x, selector, code, level, offset, 0);
	if (verdict == EMULATE_CONTINUE)
		stack_commit(e, &stack);
	return verdict;
}

/* To another code segment at the same level. */
static int transfer_same(struct execution *x, uint16_t selector, struct descriptor *code, uint64_t offset, unsigned size, bool call)
{
	struct stack stack = stack_begin(x->e);
	int verdict = EMULATE_CONTINUE;

	if (call)
		verdict = push_return(x, &stack, size, segment_of(x->e, SEG_CS)->selector, next_rip(x));
	if (verdict == EMULATE_CONTINUE)
		verdict = code_segment_enter(x, selector, code, cpl(x->e), offset, 0);
	if (verdict == EMULATE_CONTINUE && call)
		stack_commit(x->e, &stack);
	return verdict;
}

static int call_gate(struct execution *x, uint16_t selector, const struct descriptor *gate, bool call)
{
	struct emulator *e = x->e;
	unsigned size = (gate->access & 15) == TYPE_CALL_GATE32 ? 4 : 2;
	uint16_t target = gate->raw >> 16 & 0xffff;
	uint64_t offset = (gate->raw & 0xffff) | (size == 4 ? gate->raw >> 32 & 0xffff0000 : 0);
	struct descriptor code;
	bool conforming;
	int verdict;

	if (dpl(gate->access) < cpl(e) || (selector & 3U) > dpl(gate->access))
		return general_protection(x, selector & 0xfffc);
	if (!(gate->access & SEGMENT_P))
		return raise_exception(x->r, VECTOR_NP, selector & 0xfffc);
	verdict = descriptor_read(x, target, VECTOR_GP, 0, &code);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	conforming = code.access & SEGMENT_TYPE_CONFORMING;
	if ((code.access & (SEGMENT_S | SEGMENT_TYPE_CODE)) != (SEGMENT_S | SEGMENT_TYPE_CODE) || dpl(code.access) > cpl(e) ||
	    (!call && !conforming && dpl(code.access) != cpl(e)))
		return general_protection(x, target & 0xfffc);
	if (!(code.access & SEGMENT_P))
		return raise_exception(x->r, VECTOR_NP, target & 0xfffc);
	if (!conforming && dpl(code.access) < cpl(e))
		return call_inner(x, target, &code, offset, size, gate->raw >> 32 & 31);
	return transfer_same(x, target, &code, offset, size, call);
}

static int transfer_protected(struct execution *x, uint16_t selector, uint64_t offset, unsigned size, bool call)
{
	struct emulator *e = x->e;
	struct descriptor d;
	int verdict;

	verdict = descriptor_read(x, selector, VECTOR_GP, 0, &d);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (!(d.access & SEGMENT_S)) {
		switch (d.access & 15) {
		case TYPE_CALL_GATE16:
			if (long_mode(e))
				break;
			return call_gate(x, selector, &d, call);
		case TYPE_CALL_GATE32:
			return long_mode(e) ? EMULATE_UNSUPPORTED : call_gate(x, selector, &d, call);
		case TYPE_TSS16:
		case TYPE_TASK_GATE:
		case TYPE_TSS32:
			if (!long_mode(e))
				return EMULATE_UNSUPPORTED; /* a task switch */
			break;
		default:
			break;
		}
		return general_protection(x, selector & 0xfffc);
	}
	if (!(d.access & SEGMENT_TYPE_CODE) || dpl(d.access) > cpl(e) ||
	    (!(d.access & SEGMENT_TYPE_CONFORMING) && ((selector & 3U) > cpl(e) || dpl(d.access) != cpl(e))))
		return general_protection(x, selector & 0xfffc);
	if (!(d.access & SEGMENT_P))
		return raise_exception(x->r, VECTOR_NP, selector & 0xfffc);
	return transfer_same(x, selector, &d, offset, size, call);
}

/* Finish a transfer that changed state bit by bit: all or nothing. */
static int conclude(struct execution *x, const struct step_snapshot *before, int verdict)
{
	if (verdict == EMULATE_CONTINUE) {
		x->e->rflags &= ~RFLAGS_RF;
		return EMULATE_DONE;
	}
	if (verdict != EMULATE_DONE)
		snapshot_restore(before, x->e);
	return verdict;
}

int far_transfer(struct execution *x, uint16_t selector, uint64_t offset, unsigned size, bool call)
{
	struct step_snapshot before;

	if (!protected_mode(x->e))
		return transfer_real(x, selector, offset, size, call);
	snapshot_take(&before, x->e);
	return conclude(x, &before, transfer_protected(x, selector, offset, size, call));
}

/* Return to a code segment that the stack named, at its RPL, which may be an outer level; `release` as RET has it. `full`: SS and
 * rsp follow on the stack even without a change of level (IRET in 64-bit mode). */
static int return_protected(struct execution *x, struct stack *stack, unsigned size, uint16_t selector, uint64_t offset, unsigned release,
			    bool full)
{
	struct emulator *e = x->e;
	unsigned rpl = selector & 3, before = cpl(e);
	uint64_t sp, ss;
	struct descriptor d;
	int verdict;

	verdict = descriptor_read(x, selector, VECTOR_GP, 0, &d);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if ((d.access & (SEGMENT_S | SEGMENT_TYPE_CODE)) != (SEGMENT_S | SEGMENT_TYPE_CODE) || rpl < before ||
	    (d.access & SEGMENT_TYPE_CONFORMING ? dpl(d.access) > rpl : dpl(d.access) != rpl))
		return general_protection(x, selector & 0xfffc);
	if (!(d.access & SEGMENT_P))
		return raise_exception(x->r, VECTOR_NP, selector & 0xfffc);
	stack->sp = (stack->sp + release) & size_mask(stack->width);
	if (rpl == before && !full) {
		verdict = code_segment_enter(x, selector, &d, rpl, offset, 0);
		if (verdict == EMULATE_CONTINUE)
			stack_commit(e, stack);
		return verdict;
	}
	verdict = stack_pop(x, stack, size, &sp);
	if (verdict == EMULATE_CONTINUE)
		verdict = stack_pop(x, stack, size, &ss);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (selector_null((uint16_t)ss) && is_64bit_code(e, d.access) && rpl != 3 && (ss & 3) == rpl) {
		segment_set_null(e, SEG_SS, (uint16_t)ss);
		e->seg[SEG_SS].access = (e->seg[SEG_SS].access & ~0x60U) | rpl << 5;
	} else {
		verdict = stack_segment_enter(x, (uint16_t)ss, rpl, VECTOR_GP, 0);
		if (verdict != EMULATE_CONTINUE)
			return verdict;
	}
	verdict = code_segment_enter(x, selector, &d, rpl, offset, 0);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	*stack = stack_begin(e);
	stack->sp = (sp + release) & size_mask(stack->width);
	stack_commit(e, stack);
	if (rpl != before)
		drop_inner_segments(e);
	return EMULATE_CONTINUE;
}

int step_far_return(struct execution *x, unsigned release)
{
	struct emulator *e = x->e;
	unsigned size = x->insn->operand_size;
	struct stack stack = stack_begin(e);
	struct step_snapshot before;
	uint64_t offset, selector;
	int verdict;

	verdict = stack_pop(x, &stack, size, &offset);
	if (verdict == EMULATE_CONTINUE)
		verdict = stack_pop(x, &stack, size, &selector);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (!protected_mode(e)) {
		if (!offset_fits_real(e, offset))
			return general_protection(x, 0);
		stack.sp = (stack.sp + release) & size_mask(stack.width);
		stack_commit(e, &stack);
		segment_set_real(e, SEG_CS, (uint16_t)selector);
		return branch_near(x, offset, size);
	}
	snapshot_take(&before, e);
	return conclude(x, &before, return_protected(x, &stack, size, (uint16_t)selector, offset, release, false));
}

/* Take over the flags that IRET finds, as far as the level that executes it may. */
static void restore_flags(struct emulator *e, uint64_t flags, unsigned size, unsigned level, uint64_t more)
{
	uint64_t mask = RFLAGS_STATUS | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_RF | RFLAGS_AC | RFLAGS_ID | more;

	if (level <= iopl(e))
		mask |= RFLAGS_IF;
	if (level == 0)
		mask |= RFLAGS_IOPL | RFLAGS_VIF | RFLAGS_VIP;
	if (size == 2)
		mask &= 0xffff;
	e->rflags = ((e->rflags & ~mask) | (flags & mask)) | RFLAGS_FIXED;
	e->paging.rflags_ac = e->rflags & RFLAGS_AC;
}

/* From CPL 0 to virtual-8086 mode: nine doublewords are on the stack, of which three have been popped. */
static int return_to_v86(struct execution *x, struct stack *stack, uint16_t cs, uint64_t ip, uint64_t flags)
{
	static const uint8_t order[] = { SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	struct emulator *e = x->e;
	uint64_t value[1 + ARRAY_SIZE(order)];
	int verdict;

	for (unsigned i = 0; i < ARRAY_SIZE(value); i++) {
		verdict = stack_pop(x, stack, 4, &value[i]);
		if (verdict != EMULATE_CONTINUE)
			return verdict;
	}
	if (ip > 0xffff)
		return general_protection(x, 0);
	restore_flags(e, flags, 4, 0, RFLAGS_VM);
	segment_set_real(e, SEG_CS, cs);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		segment_set_real(e, order[i], (uint16_t)value[i + 1]);
	e->gpr[REG_RSP] = value[0];
	e->rip = ip;
	emulate_derive_mode(e);
	return EMULATE_CONTINUE;
}

static int iret_protected(struct execution *x, struct stack *stack, unsigned size, uint64_t rip, uint16_t cs, uint64_t flags)
{
	struct emulator *e = x->e;
	unsigned level = cpl(e);
	int verdict;

	if (size == 4 && (flags & RFLAGS_VM) && level == 0 && !long_mode(e))
		return return_to_v86(x, stack, cs, rip, flags);
	verdict = return_protected(x, stack, size, cs, rip, 0, e->mode == DECODE_64);
	if (verdict == EMULATE_CONTINUE)
		restore_flags(e, flags, size, level, 0);
	return verdict;
}

int step_iret(struct execution *x)
{
	struct emulator *e = x->e;
	unsigned size = x->insn->operand_size;
	struct stack stack = stack_begin(e);
	struct step_snapshot before;
	uint64_t rip, cs, flags;
	int verdict;

	if (v86_mode(e) && iopl(e) < 3)
		return e->paging.cr4 & CR4_VME ? EMULATE_UNSUPPORTED : general_protection(x, 0);
	if (protected_mode(e) && (e->rflags & RFLAGS_NT))
		return long_mode(e) ? general_protection(x, 0) : EMULATE_UNSUPPORTED; /* a task switch */
	verdict = stack_pop(x, &stack, size, &rip);
	if (verdict == EMULATE_CONTINUE)
		verdict = stack_pop(x, &stack, size, &cs);
	if (verdict == EMULATE_CONTINUE)
		verdict = stack_pop(x, &stack, size, &flags);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (protected_mode(e)) {
		snapshot_take(&before, e);
		verdict = iret_protected(x, &stack, size, rip, (uint16_t)cs, flags);
		if (verdict != EMULATE_CONTINUE) {
			snapshot_restore(&before, e);
			return verdict;
		}
	} else {
		if (!offset_fits_real(e, rip))
			return general_protection(x, 0);
		segment_set_real(e, SEG_CS, (uint16_t)cs);
		e->rip = rip;
		stack_commit(e, &stack);
		/* IOPL is 3 in virtual-8086 mode here, and stays. */
		restore_flags(e, flags, size, v86_mode(e) ? 3 : 0, 0);
	}
	x->r->iret = true;
	return EMULATE_DONE;
}

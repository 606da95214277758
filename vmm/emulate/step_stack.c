/* Pushes and pops of operands, segments, flags and all registers; ENTER and LEAVE. */
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "vmm/emulate/step_parts.h"

static int push_one(struct execution *x, unsigned size, uint64_t value)
{
	struct stack stack = stack_begin(x->e);
	int verdict = stack_push(x, &stack, size, value);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	stack_commit(x->e, &stack);
	return done(x);
}

/* A selector fills its slot's low two bytes and leaves the others (SDM vol. 2, "PUSH": recent processors). */
static int push_segment(struct execution *x, enum segment_register which)
{
	struct stack stack = stack_begin(x->e);
	uint64_t sp = (stack.sp - x->insn->operand_size) & size_mask(stack.width);
	int verdict = memory_write(x, SEG_SS, sp, 2, segment_of(x->e, which)->selector);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	stack.sp = sp;
	stack_commit(x->e, &stack);
	return done(x);
}

static int pop_segment(struct execution *x, enum segment_register which)
{
	struct emulator *e = x->e;
	struct stack stack = stack_begin(e);
	uint64_t value, sp = (stack.sp + x->insn->operand_size) & size_mask(stack.width);
	int verdict = stack_pop(x, &stack, 2, &value);

	if (verdict == EMULATE_CONTINUE)
		verdict = segment_load(x, which, (uint16_t)value);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	stack.sp = sp; /* as wide as the stack was before SS changed */
	stack_commit(e, &stack);
	if (which == SEG_SS)
		e->step->shadow |= STEP_SHADOW_MOV_SS;
	return done(x);
}

static int push_operand(struct execution *x)
{
	unsigned size = x->insn->operand_size;
	int verdict = locate_operand(x, size, WALK_READ);

	return verdict == EMULATE_CONTINUE ? push_one(x, size, operand_read(x, size)) : verdict;
}

/* POP r/m: an address that uses rsp sees it incremented. */
static int pop_operand(struct execution *x)
{
	struct emulator *e = x->e;
	unsigned size = x->insn->operand_size;
	struct stack stack = stack_begin(e);
	uint64_t rsp = e->gpr[REG_RSP], value;
	int verdict;

	if (x->insn->modrm >> 3 & 7)
		return undefined_opcode(x);
	verdict = stack_pop(x, &stack, size, &value);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	stack_commit(e, &stack);
	verdict = locate_operand(x, size, WALK_WRITE);
	if (verdict != EMULATE_CONTINUE) {
		e->gpr[REG_RSP] = rsp;
		return verdict;
	}
	operand_write(x, size, value);
	return done(x);
}

static int pop_register(struct execution *x, unsigned reg)
{
	struct stack stack = stack_begin(x->e);
	uint64_t value;
	int verdict = stack_pop(x, &stack, x->insn->operand_size, &value);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	stack_commit(x->e, &stack);
	write_gpr(&x->e->gpr[reg], x->insn->operand_size, value);
	return done(x);
}

static int push_all(struct execution *x)
{
	struct stack stack = stack_begin(x->e);
	int verdict = EMULATE_CONTINUE;

	for (unsigned reg = 0; reg < 8 && verdict == EMULATE_CONTINUE; reg++)
		verdict = stack_push(x, &stack, x->insn->operand_size, x->e->gpr[reg]);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	stack_commit(x->e, &stack);
	return done(x);
}

static int pop_all(struct execution *x)
{
	struct stack stack = stack_begin(x->e);
	unsigned size = x->insn->operand_size;
	uint64_t value[8];

	for (unsigned reg = 8; reg--;) {
		int verdict = stack_pop(x, &stack, size, &value[reg]);

		if (verdict != EMULATE_CONTINUE)
			return verdict;
	}
	stack_commit(x->e, &stack);
	for (unsigned reg = 0; reg < 8; reg++)
		if (reg != REG_RSP)
			write_gpr(&x->e->gpr[reg], size, value[reg]);
	return done(x);
}

/* PUSHF, POPF and IRET in virtual-8086 mode are for IOPL 3. */
static int v86_flags(struct execution *x)
{
	if (!v86_mode(x->e) || iopl(x->e) == 3)
		return EMULATE_CONTINUE;
	return x->e->paging.cr4 & CR4_VME ? EMULATE_UNSUPPORTED : general_protection(x, 0);
}

static int push_flags(struct execution *x)
{
	int verdict = v86_flags(x);

	return verdict == EMULATE_CONTINUE ? push_one(x, x->insn->operand_size, x->e->rflags & ~(RFLAGS_VM | RFLAGS_RF)) : verdict;
}

static int pop_flags(struct execution *x)
{
	struct emulator *e = x->e;
	struct stack stack = stack_begin(e);
	uint64_t mask = RFLAGS_STATUS | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID, value;
	int verdict = v86_flags(x);

	if (verdict == EMULATE_CONTINUE)
		verdict = stack_pop(x, &stack, x->insn->operand_size, &value);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	stack_commit(e, &stack);
	if (cpl(e) <= iopl(e))
		mask |= RFLAGS_IF;
	if (cpl(e) == 0) {
		mask |= RFLAGS_IOPL | RFLAGS_VIF | RFLAGS_VIP;
		value &= ~(RFLAGS_VIF | RFLAGS_VIP);
	}
	if (x->insn->operand_size == 2)
		mask &= 0xffff;
	e->rflags = (e->rflags & ~mask) | (value & mask);
	return done(x);
}

static int enter(struct execution *x)
{
	struct emulator *e = x->e;
	unsigned size = x->insn->operand_size, level = x->insn->imm >> 16 & 31;
	struct stack stack = stack_begin(e);
	uint64_t mask = size_mask(stack.width), frame, bp = e->gpr[REG_RBP];
	int verdict = stack_push(x, &stack, size, bp);

	frame = stack.sp;
	for (unsigned i = 1; i < level && verdict == EMULATE_CONTINUE; i++) {
		uint64_t link;

		bp -= size;
		verdict = memory_read(x, SEG_SS, bp & mask, size, &link);
		if (verdict == EMULATE_CONTINUE)
			verdict = stack_push(x, &stack, size, link);
	}
	if (level && verdict == EMULATE_CONTINUE)
		verdict = stack_push(x, &stack, size, frame);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	stack.sp = (stack.sp - (x->insn->imm & 0xffff)) & mask;
	stack_commit(e, &stack);
	write_gpr(&e->gpr[REG_RBP], size, frame);
	return done(x);
}

static int leave(struct execution *x)
{
	struct emulator *e = x->e;
	struct stack stack = stack_begin(e);
	uint64_t value;
	int verdict;

	stack.sp = e->gpr[REG_RBP] & size_mask(stack.width);
	verdict = stack_pop(x, &stack, x->insn->operand_size, &value);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	stack_commit(e, &stack);
	write_gpr(&e->gpr[REG_RBP], x->insn->operand_size, value);
	return done(x);
}

int step_stack(struct execution *x)
{
	const struct insn *insn = x->insn;
	unsigned op = insn->opcode, reg = (op & 7) | (insn->rex & 1) << 3;

	if (insn->map == MAP_0F) /* A0, A1, A8, A9: FS and GS */
		return op & 1 ? pop_segment(x, op >> 3 & 1 ? SEG_GS : SEG_FS) : push_segment(x, op >> 3 & 1 ? SEG_GS : SEG_FS);
	switch (op) {
	case 0x06:
	case 0x0e:
	case 0x16:
	case 0x1e:
		return push_segment(x, op >> 3);
	case 0x07:
	case 0x17:
	case 0x1f:
		return pop_segment(x, op >> 3);
	case 0x60:
		return push_all(x);
	case 0x61:
		return pop_all(x);
	case 0x68:
	case 0x6a:
		return push_one(x, insn->operand_size, insn->imm);
	case 0x8f:
		return pop_operand(x);
	case 0x9c:
		return push_flags(x);
	case 0x9d:
		return pop_flags(x);
	case 0xc8:
		return enter(x);
	case 0xc9:
		return leave(x);
	case 0xff:
		return push_operand(x);
	default:
		return op < 0x58 ? push_one(x, insn->operand_size, x->e->gpr[reg]) : pop_register(x, reg);
	}
}

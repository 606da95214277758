/* Near jumps, calls and returns, loops, software interrupts, BOUND; what leaves the code segment is in step_far.c. */
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/step_parts.h"

static int jump_if(struct execution *x, bool taken)
{
	return taken ? branch_near(x, next_rip(x) + x->insn->imm, x->insn->operand_size) : done(x);
}

static int call_near(struct execution *x, uint64_t target)
{
	unsigned size = x->insn->operand_size;
	struct stack stack = stack_begin(x->e);
	int verdict = stack_push(x, &stack, size, next_rip(x));

	if (verdict == EMULATE_CONTINUE)
		verdict = branch_near(x, target, size);
	if (verdict == EMULATE_DONE)
		stack_commit(x->e, &stack);
	return verdict;
}

static int return_near(struct execution *x, unsigned release)
{
	struct stack stack = stack_begin(x->e);
	uint64_t target;
	int verdict = stack_pop(x, &stack, x->insn->operand_size, &target);

	if (verdict == EMULATE_CONTINUE)
		verdict = branch_near(x, target, x->insn->operand_size);
	if (verdict == EMULATE_DONE) {
		stack.sp = (stack.sp + release) & size_mask(stack.width);
		stack_commit(x->e, &stack);
	}
	return verdict;
}

/* LOOPNE, LOOPE, LOOP */
static int loop(struct execution *x, unsigned kind)
{
	struct emulator *e = x->e;
	uint64_t before = e->gpr[REG_RCX], mask = size_mask(x->insn->address_size), count = (before - 1) & mask;
	bool zf = e->rflags & RFLAGS_ZF;
	int verdict;

	write_gpr(&e->gpr[REG_RCX], x->insn->address_size, count);
	verdict = jump_if(x, count && (kind == 2 || zf == (kind == 1)));
	if (verdict != EMULATE_DONE)
		e->gpr[REG_RCX] = before;
	return verdict;
}

static int software_interrupt(struct execution *x, uint8_t vector)
{
	struct emulator *e = x->e;
	bool icebp = x->insn->opcode == 0xf1;
	int verdict;

	/* INT3 and INTO do not depend on IOPL. */
	if (x->insn->opcode == 0xcd && v86_mode(e) && (iopl(e) < 3 || (e->paging.cr4 & CR4_VME)))
		return e->paging.cr4 & CR4_VME ? EMULATE_UNSUPPORTED : general_protection(x, 0);
	verdict = interrupt_deliver(x, vector, !icebp, icebp, -1, next_rip(x));
	if (verdict == EMULATE_DONE) {
		x->r->vector = vector;
		x->r->delivered = true;
	}
	return verdict;
}

static int bound(struct execution *x)
{
	const struct insn *insn = x->insn;
	unsigned size = insn->operand_size;
	uint64_t at = effective_address(x->e, insn), mask = size_mask(insn->address_size), low, high;
	int64_t index = (int64_t)sign_extend(x->e->gpr[insn->reg], size);
	int verdict = memory_read(x, insn->segment, at & mask, size, &low);

	if (verdict == EMULATE_CONTINUE)
		verdict = memory_read(x, insn->segment, (at + size) & mask, size, &high);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (index < (int64_t)sign_extend(low, size) || index > (int64_t)sign_extend(high, size))
		return raise_exception(x->r, VECTOR_BR, -1);
	return done(x);
}

/* FF /2 .. /5 */
static int indirect(struct execution *x)
{
	const struct insn *insn = x->insn;
	unsigned op = insn->modrm >> 3 & 7, size = insn->operand_size;
	uint64_t at, mask = size_mask(insn->address_size), offset, selector;
	int verdict;

	if (!(op & 1)) {
		verdict = locate_operand(x, size, WALK_READ);
		if (verdict != EMULATE_CONTINUE)
			return verdict;
		offset = operand_read(x, size);
		return op == 2 ? call_near(x, offset) : branch_near(x, offset, size);
	}
	if (!(insn->flags & INSN_MEM))
		return undefined_opcode(x);
	at = effective_address(x->e, insn);
	verdict = memory_read(x, insn->segment, at & mask, size, &offset);
	if (verdict == EMULATE_CONTINUE)
		verdict = memory_read(x, insn->segment, (at + size) & mask, 2, &selector);
	return verdict == EMULATE_CONTINUE ? far_transfer(x, (uint16_t)selector, offset, size, op == 3) : verdict;
}

/* EA and 9A: offset, then selector */
static int direct_far(struct execution *x, bool call)
{
	unsigned size = x->insn->operand_size;

	return far_transfer(x, (uint16_t)(x->insn->imm >> (8 * size)), x->insn->imm & size_mask(size), size, call);
}

int step_control(struct execution *x)
{
	const struct insn *insn = x->insn;
	struct emulator *e = x->e;

	if (insn->map == MAP_0F || (insn->opcode & 0xf0) == 0x70)
		return jump_if(x, condition(insn->opcode, e->rflags));
	switch (insn->opcode) {
	case 0xe0:
	case 0xe1:
	case 0xe2:
		return loop(x, insn->opcode & 3);
	case 0xe3:
		return jump_if(x, !(e->gpr[REG_RCX] & size_mask(insn->address_size)));
	case 0xe8:
		return call_near(x, next_rip(x) + insn->imm);
	case 0xe9:
	case 0xeb:
		return jump_if(x, true);
	case 0xc2:
	case 0xc3:
		return return_near(x, insn->imm & 0xffff);
	case 0xca:
	case 0xcb:
		return step_far_return(x, insn->imm & 0xffff);
	case 0x9a:
	case 0xea:
		return direct_far(x, insn->opcode == 0x9a);
	case 0xff:
		return indirect(x);
	case 0xcc:
		return software_interrupt(x, VECTOR_BP);
	case 0xcd:
		return software_interrupt(x, (uint8_t)insn->imm);
	case 0xce:
		return e->rflags & RFLAGS_OF ? software_interrupt(x, VECTOR_OF) : done(x);
	case 0xf1:
		return software_interrupt(x, VECTOR_DB);
	case 0xcf:
		return step_iret(x);
	case 0x62:
		return bound(x);
	default:
		return EMULATE_UNSUPPORTED;
	}
}

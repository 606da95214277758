/* Register and accumulator forms of the arithmetic, decimal adjustment, conversions and flags. */
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/step_parts.h"

static inline uint64_t *opcode_register(struct execution *x)
{
	return &x->e->gpr[(x->insn->opcode & 7) | (x->insn->rex & 1) << 3];
}

/* 40..4F: INC and DEC leave CF alone. */
static int increment_register(struct execution *x)
{
	struct emulator *e = x->e;
	unsigned size = x->insn->operand_size;
	uint64_t *reg = opcode_register(x), carry = e->rflags & RFLAGS_CF;

	write_gpr(reg, size, alu(x->insn->opcode & 8 ? ALU_SUB : ALU_ADD, *reg, 1, size, &e->rflags));
	e->rflags = (e->rflags & ~RFLAGS_CF) | carry;
	return done(x);
}

/* al or (e/r)ax with an immediate: the eight operations and TEST */
static int accumulator(struct execution *x, enum alu_op op, bool write)
{
	struct emulator *e = x->e;
	unsigned size = x->insn->operand_size;
	uint64_t result = alu(op, e->gpr[REG_RAX], x->insn->imm, size, &e->rflags);

	if (write)
		write_gpr(&e->gpr[REG_RAX], size, result);
	return done(x);
}

static int exchange_accumulator(struct execution *x)
{
	struct emulator *e = x->e;
	unsigned size = x->insn->operand_size;
	uint64_t *reg = opcode_register(x), value = *reg;

	if (reg == &e->gpr[REG_RAX])
		return done(x); /* NOP, PAUSE */
	write_gpr(reg, size, e->gpr[REG_RAX]);
	write_gpr(&e->gpr[REG_RAX], size, value);
	return done(x);
}

static int load_immediate(struct execution *x)
{
	const struct insn *insn = x->insn;

	if (insn->opcode < 0xb8)
		write_reg(x->e, insn, (insn->opcode & 7U) | (insn->rex & 1U) << 3, 1, insn->imm);
	else
		write_gpr(opcode_register(x), insn->operand_size, insn->imm);
	return done(x);
}

/* CBW, CWDE, CDQE; CWD, CDQ, CQO */
static int convert(struct execution *x)
{
	struct emulator *e = x->e;
	unsigned size = x->insn->operand_size;

	if (x->insn->opcode == 0x98)
		write_gpr(&e->gpr[REG_RAX], size, sign_extend(e->gpr[REG_RAX], size / 2));
	else
		write_gpr(&e->gpr[REG_RDX], size, sign_extend(e->gpr[REG_RAX], size) >> 63 ? ~0ULL : 0);
	return done(x);
}

static int load_address(struct execution *x)
{
	const struct insn *insn = x->insn;

	if (!(insn->flags & INSN_MEM))
		return undefined_opcode(x);
	write_gpr(&x->e->gpr[insn->reg], insn->operand_size, effective_address(x->e, insn) & size_mask(insn->address_size));
	return done(x);
}

static int translate_byte(struct execution *x)
{
	struct emulator *e = x->e;
	uint64_t value;
	int verdict = memory_read(x, x->insn->segment, (e->gpr[REG_RBX] + (uint8_t)e->gpr[REG_RAX]) & size_mask(x->insn->address_size), 1,
				  &value);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	write_gpr(&e->gpr[REG_RAX], 1, value);
	return done(x);
}

/* DAA and DAS */
static int decimal_adjust(struct execution *x, bool subtract)
{
	struct emulator *e = x->e;
	uint8_t old = (uint8_t)e->gpr[REG_RAX], al = old;
	bool carry = e->rflags & RFLAGS_CF, adjust = e->rflags & RFLAGS_AF, low = (old & 15) > 9 || adjust, high = old > 0x99 || carry;
	bool carry_out = high;

	if (low) {
		al = (uint8_t)(subtract ? al - 6 : al + 6);
		if (subtract && old < 6)
			carry_out = true;
	}
	if (high)
		al = (uint8_t)(subtract ? al - 0x60 : al + 0x60);
	write_gpr(&e->gpr[REG_RAX], 1, al);
	result_flags(e, al, 1);
	set_flag(e, RFLAGS_CF, carry_out);
	set_flag(e, RFLAGS_AF, low);
	return done(x);
}

/* AAA and AAS */
static int ascii_adjust(struct execution *x, bool subtract)
{
	struct emulator *e = x->e;
	uint16_t ax = (uint16_t)e->gpr[REG_RAX];
	bool adjust = (ax & 15) > 9 || (e->rflags & RFLAGS_AF);

	if (adjust)
		ax = (uint16_t)(subtract ? ax - 0x106 : ax + 0x106);
	ax &= 0xff0f;
	write_gpr(&e->gpr[REG_RAX], 2, ax);
	result_flags(e, ax, 1);
	set_flag(e, RFLAGS_CF, adjust);
	set_flag(e, RFLAGS_AF, adjust);
	return done(x);
}

static int ascii_adjust_multiply(struct execution *x)
{
	struct emulator *e = x->e;
	unsigned base = x->insn->imm & 0xff, al = (uint8_t)e->gpr[REG_RAX];

	if (!base)
		return raise_exception(x->r, VECTOR_DE, -1);
	write_gpr(&e->gpr[REG_RAX], 2, (al / base) << 8 | al % base);
	result_flags(e, al % base, 1);
	return done(x);
}

static int ascii_adjust_divide(struct execution *x)
{
	struct emulator *e = x->e;
	uint64_t ax = e->gpr[REG_RAX];

	write_gpr(&e->gpr[REG_RAX], 2, alu(ALU_ADD, ax, (ax >> 8 & 0xff) * (x->insn->imm & 0xff), 1, &e->rflags));
	return done(x);
}

/* CLI and STI */
static int interrupt_flag(struct execution *x, bool on)
{
	struct emulator *e = x->e;

	if ((e->paging.cr0 & CR0_PE) && cpl(e) > iopl(e)) {
		if (e->paging.cr4 & (v86_mode(e) ? CR4_VME : CR4_PVI) && cpl(e) == 3)
			return EMULATE_UNSUPPORTED; /* virtual interrupt flag */
		return general_protection(x, 0);
	}
	if (on && !(e->rflags & RFLAGS_IF))
		e->step->shadow |= STEP_SHADOW_STI;
	set_flag(e, RFLAGS_IF, on);
	return done(x);
}

#define AH_FLAGS (RFLAGS_STATUS & 0xff)

int step_alu(struct execution *x)
{
	struct emulator *e = x->e;
	unsigned op = x->insn->opcode;

	if (op < 0x40 && (op & 7) < 6)
		return accumulator(x, (enum alu_op)(op >> 3), op >> 3 != ALU_CMP);
	switch (op & 0xf8) {
	case 0x40:
	case 0x48:
		return increment_register(x);
	case 0x90:
		return exchange_accumulator(x);
	case 0xb0:
	case 0xb8:
		return load_immediate(x);
	default:
		break;
	}
	switch (op) {
	case 0x27:
	case 0x2f:
		return decimal_adjust(x, op == 0x2f);
	case 0x37:
	case 0x3f:
		return ascii_adjust(x, op == 0x3f);
	case 0x8d:
		return load_address(x);
	case 0x98:
	case 0x99:
		return convert(x);
	case 0x9e:
		e->rflags = (e->rflags & ~AH_FLAGS) | (e->gpr[REG_RAX] >> 8 & AH_FLAGS);
		return done(x);
	case 0x9f:
		e->gpr[REG_RAX] = (e->gpr[REG_RAX] & ~0xff00ULL) | (e->rflags & 0xff) << 8;
		return done(x);
	case 0xa8:
	case 0xa9:
		return accumulator(x, ALU_AND, false);
	case 0xd4:
		return ascii_adjust_multiply(x);
	case 0xd5:
		return ascii_adjust_divide(x);
	case 0xd7:
		return translate_byte(x);
	case 0xf5:
		e->rflags ^= RFLAGS_CF;
		return done(x);
	case 0xf8:
	case 0xf9:
		set_flag(e, RFLAGS_CF, op & 1);
		return done(x);
	case 0xfa:
	case 0xfb:
		return interrupt_flag(x, op & 1);
	case 0xfc:
	case 0xfd:
		set_flag(e, RFLAGS_DF, op & 1);
		return done(x);
	default:
		return EMULATE_UNSUPPORTED;
	}
}

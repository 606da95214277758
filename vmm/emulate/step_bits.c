/* Bit scans, POPCNT and BSWAP. */
#include "lib/x86/registers.h"
#include "vmm/emulate/step_parts.h"
#include "vmm/exits/cpuid_bits.h"


/* Does F3 turn BSF into TZCNT, or BSR into LZCNT, on this guest's CPU? */
static bool counts_zeros(struct emulator *e, bool reverse)
{
	uint32_t out[4];

	if (reverse) {
		e->step->cpuid(e->ctx, 0x80000001, 0, out);
		return out[2] & BIT(CPUID_E1_ABM);
	}
	e->step->cpuid(e->ctx, 7, 0, out);
	return out[1] & BIT(CPUID_7_BMI1);
}

/* BSF, BSR, TZCNT, LZCNT */
int step_bit_scan(struct execution *x)
{
	const struct insn *insn = x->insn;
	unsigned size = insn->operand_size, bits = 8 * size, result;
	bool reverse = insn->opcode & 1;
	struct emulator *e = x->e;
	uint64_t value;
	int verdict = locate_operand(x, size, WALK_READ);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	value = operand_read(x, size);
	if ((insn->flags & INSN_REPE) && counts_zeros(e, reverse)) {
		if (reverse)
			result = value ? (unsigned)__builtin_clzll(value) - (64 - bits) : bits;
		else
			result = value ? (unsigned)__builtin_ctzll(value) : bits;
		e->rflags &= ~RFLAGS_STATUS;
		set_flag(e, RFLAGS_CF, !value);
		set_flag(e, RFLAGS_ZF, (reverse ? value >> (bits - 1) : value) & 1); /* the result is 0 */
		write_gpr(&e->gpr[insn->reg], size, result);
		return done(x);
	}
	/* Without a set bit the destination keeps its value. Flags but ZF are undefined; Intel's CPUs set PF by the result. */
	result_flags(e, 0, 1);
	set_flag(e, RFLAGS_ZF, !value);
	if (value) {
		result = reverse ? 63 - (unsigned)__builtin_clzll(value) : (unsigned)__builtin_ctzll(value);
		result_flags(e, result, 1);
		set_flag(e, RFLAGS_ZF, false);
		write_gpr(&e->gpr[insn->reg], size, result);
	}
	return done(x);
}

int step_popcnt(struct execution *x)
{
	unsigned size = x->insn->operand_size;
	struct emulator *e = x->e;
	uint64_t value;
	unsigned n = 0;
	int verdict = locate_operand(x, size, WALK_READ);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	value = operand_read(x, size);
	for (uint64_t v = value; v; v &= v - 1)
		n++;
	e->rflags &= ~RFLAGS_STATUS;
	set_flag(e, RFLAGS_ZF, !value);
	write_gpr(&e->gpr[x->insn->reg], size, n);
	return done(x);
}

int step_bswap(struct execution *x)
{
	uint64_t *reg = &x->e->gpr[(x->insn->opcode & 7) | (x->insn->rex & 1) << 3];
	unsigned size = x->insn->operand_size;

	switch (size) {
	case 8:
		*reg = __builtin_bswap64(*reg);
		break;
	case 4:
		*reg = __builtin_bswap32((uint32_t)*reg);
		break;
	default: /* undefined; Intel's CPUs clear the register */
		write_gpr(reg, 2, 0);
		break;
	}
	return done(x);
}

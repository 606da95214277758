/* Shifts and rotates. Of the flags that the manual leaves undefined, Intel's CPUs clear AF and set OF as a shift by one bit would. */
#include "lib/x86/registers.h"
#include "vmm/emulate/step_parts.h"

enum { OP_ROL, OP_ROR, OP_RCL, OP_RCR, OP_SHL, OP_SHR, OP_SAL, OP_SAR };

static uint64_t rotate_carry(unsigned op, uint64_t value, unsigned count, unsigned bits, bool *carry)
{
	uint64_t top = 1ULL << (bits - 1);

	while (count--) {
		bool out = value & (op == OP_RCL ? top : 1);

		if (op == OP_RCL)
			value = value << 1 | (*carry ? 1 : 0);
		else
			value = value >> 1 | (*carry ? top : 0);
		*carry = out;
	}
	return value;
}

int step_shift(struct execution *x, unsigned count)
{
	struct emulator *e = x->e;
	unsigned size = x->insn->operand_size, bits = 8 * size, op = x->insn->modrm >> 3 & 7;
	uint64_t mask = size_mask(size), value, result;
	bool carry = e->rflags & RFLAGS_CF, overflow, top, next;
	int verdict;

	count &= size == 8 ? 63 : 31;
	verdict = locate_operand(x, size, WALK_WRITE);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	value = operand_read(x, size);
	if (!count) {
		operand_write(x, size, value); /* which in 64-bit mode clears a 32-bit register's upper half */
		return done(x);
	}
	top = value >> (bits - 1) & 1;
	next = value >> (bits - 2) & 1;
	switch (op) {
	case OP_ROL:
	case OP_ROR: {
		unsigned turn = count & (bits - 1);

		if (op == OP_ROR)
			turn = (bits - turn) & (bits - 1);
		result = turn ? value << turn | value >> (bits - turn) : value;
		overflow = top != (op == OP_ROL ? next : value & 1);
		carry = op == OP_ROL ? result & 1 : result >> (bits - 1) & 1;
		break;
	}
	case OP_RCL:
	case OP_RCR:
		if (bits < 32)
			count %= bits + 1;
		overflow = !count ? e->rflags & RFLAGS_OF : top != (op == OP_RCL ? next : carry);
		result = rotate_carry(op, value, count, bits, &carry);
		break;
	case OP_SHR:
		result = value >> count;
		carry = count <= bits && (value >> (count - 1) & 1);
		overflow = top;
		break;
	case OP_SAR:
		value = sign_extend(value, size);
		result = (uint64_t)((int64_t)value >> count);
		carry = (int64_t)value >> (count - 1) & 1;
		overflow = false;
		break;
	default:
		result = value << count;
		carry = count <= bits && (value >> (bits - count) & 1);
		overflow = top != next;
		break;
	}
	result &= mask;
	if (op >= OP_SHL)
		result_flags(e, result, size);
	set_flag(e, RFLAGS_CF, carry);
	set_flag(e, RFLAGS_OF, overflow);
	operand_write(x, size, result);
	return done(x);
}

/* SHLD and SHRD; 16-bit ones by more than 16 go on with the destination's own bits. */
int step_double_shift(struct execution *x, unsigned count)
{
	struct emulator *e = x->e;
	unsigned size = x->insn->operand_size, bits = 8 * size;
	bool left = !(x->insn->opcode & 8), carry;
	uint64_t value, fill, result;
	int verdict;

	count &= size == 8 ? 63 : 31;
	verdict = locate_operand(x, size, WALK_WRITE);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	value = operand_read(x, size);
	if (!count) {
		operand_write(x, size, value);
		return done(x);
	}
	fill = e->gpr[x->insn->reg] & size_mask(size);
	if (size == 2) {
		uint64_t wide = value << 32 | fill << 16 | value;

		result = left ? wide << count >> 32 : wide >> count;
		carry = left ? wide >> (48 - count) & 1 : wide >> (count - 1) & 1;
	} else {
		result = left ? value << count | fill >> (bits - count) : value >> count | fill << (bits - count);
		carry = left ? value >> (bits - count) & 1 : value >> (count - 1) & 1;
	}
	result &= size_mask(size);
	result_flags(e, result, size);
	set_flag(e, RFLAGS_CF, carry);
	set_flag(e, RFLAGS_OF, (value >> (bits - 1) & 1) != (left ? value >> (bits - 2) & 1 : fill & 1));
	operand_write(x, size, result);
	return done(x);
}

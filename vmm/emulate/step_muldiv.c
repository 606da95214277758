/* Multiplication and division, and the other instructions of group 3. */
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/step_parts.h"

/* Write a double-width result to ax, or rdx:rax. */
static void write_pair(struct emulator *e, unsigned size, uint64_t low, uint64_t high)
{
	if (size == 1) {
		write_gpr(&e->gpr[REG_RAX], 2, (high & 0xff) << 8 | (low & 0xff));
	} else {
		write_gpr(&e->gpr[REG_RAX], size, low);
		write_gpr(&e->gpr[REG_RDX], size, high);
	}
}

/* The product of two operands, its upper half in *high; *overflow where that half says more than the lower one. */
static uint64_t multiply(uint64_t a, uint64_t b, unsigned size, bool is_signed, uint64_t *high, bool *overflow)
{
	unsigned bits = 8 * size;
	unsigned __int128 product;
	uint64_t low;

	if (is_signed)
		product = (unsigned __int128)((__int128)(int64_t)sign_extend(a, size) * (int64_t)sign_extend(b, size));
	else
		product = (unsigned __int128)(a & size_mask(size)) * (b & size_mask(size));
	low = (uint64_t)product & size_mask(size);
	*high = (uint64_t)(product >> bits) & size_mask(size);
	*overflow = *high != (is_signed && low >> (bits - 1) ? size_mask(size) : 0);
	return low;
}

/* CF and OF; of the others, which the manual leaves undefined, Intel's CPUs set SF and PF and clear ZF and AF. */
static void multiply_flags(struct emulator *e, uint64_t low, unsigned size, bool overflow)
{
	result_flags(e, low, size);
	set_flag(e, RFLAGS_ZF, false);
	set_flag(e, RFLAGS_CF, overflow);
	set_flag(e, RFLAGS_OF, overflow);
}

/* high:low / divisor on 64-bit halves, where the quotient fits: high < divisor. */
static uint64_t divide_128(uint64_t high, uint64_t low, uint64_t divisor, uint64_t *rest)
{
	uint64_t quotient = 0;

	if (!high) {
		*rest = low % divisor;
		return low / divisor;
	}
	for (unsigned i = 64; i--;) {
		bool carry = high >> 63;

		high = high << 1 | (low >> i & 1);
		quotient <<= 1;
		if (carry || high >= divisor) {
			high -= divisor;
			quotient |= 1;
		}
	}
	*rest = high;
	return quotient;
}

static int divide(struct execution *x, uint64_t divisor, bool is_signed)
{
	struct emulator *e = x->e;
	unsigned size = x->insn->operand_size, bits = 8 * size;
	uint64_t mask = size_mask(size), low, high, quotient, rest;
	bool negative = false, negative_divisor = false;

	if (size == 1) {
		low = e->gpr[REG_RAX] & 0xff;
		high = e->gpr[REG_RAX] >> 8 & 0xff;
	} else {
		low = e->gpr[REG_RAX] & mask;
		high = e->gpr[REG_RDX] & mask;
	}
	if (is_signed) {
		negative = high >> (bits - 1) & 1;
		negative_divisor = divisor >> (bits - 1) & 1;
		if (negative) {
			high = (~high + !low) & mask;
			low = -low & mask;
		}
		if (negative_divisor)
			divisor = -divisor & mask;
	}
	if (high >= divisor)
		return raise_exception(x->r, VECTOR_DE, -1);
	if (size < 8) {
		low |= high << bits;
		high = 0;
	}
	quotient = divide_128(high, low, divisor, &rest);
	if (is_signed) {
		/* The magnitude may be one more for a negative quotient. */
		if (quotient > (mask >> 1) + (negative != negative_divisor))
			return raise_exception(x->r, VECTOR_DE, -1);
		if (negative != negative_divisor)
			quotient = -quotient;
		if (negative)
			rest = -rest;
	}
	write_pair(e, size, quotient, rest);
	return done(x);
}

int step_group3(struct execution *x)
{
	unsigned op = x->insn->modrm >> 3 & 7, size = x->insn->operand_size;
	struct emulator *e = x->e;
	uint64_t operand, low, high;
	bool overflow;
	int verdict = locate_operand(x, size, WALK_READ);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	operand = operand_read(x, size);
	if (op >= 6)
		return divide(x, operand, op == 7);
	low = multiply(e->gpr[REG_RAX], operand, size, op == 5, &high, &overflow);
	write_pair(e, size, low, high);
	multiply_flags(e, low, size, overflow);
	return done(x);
}

/* IMUL with two or three operands */
int step_imul(struct execution *x, bool immediate)
{
	unsigned size = x->insn->operand_size;
	struct emulator *e = x->e;
	uint64_t low, high;
	bool overflow;
	int verdict = locate_operand(x, size, WALK_READ);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	low = multiply(immediate ? x->insn->imm : e->gpr[x->insn->reg], operand_read(x, size), size, true, &high, &overflow);
	write_gpr(&e->gpr[x->insn->reg], size, low);
	multiply_flags(e, low, size, overflow);
	return done(x);
}

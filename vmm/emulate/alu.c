/* The result and the flags of one arithmetic operation, and the conditions of jumps. */
#include "vmm/emulate/alu.h"

#include "lib/x86/registers.h"
#include "vmm/emulate/access.h"

uint64_t alu(enum alu_op op, uint64_t a, uint64_t b, unsigned size, uint64_t *rflags)
{
	uint64_t mask = size_mask(size), carry_in = *rflags & RFLAGS_CF, carry = 0, overflow = 0, flags = 0, result;
	unsigned top = 8 * size - 1;

	a &= mask;
	b &= mask;
	switch (op) {
	case ALU_ADC:
	case ALU_ADD:
		result = a + b + (op == ALU_ADC ? carry_in : 0);
		carry = (a & b) | ((a | b) & ~result);
		overflow = (a ^ result) & (b ^ result);
		flags = (a ^ b ^ result) & RFLAGS_AF;
		break;
	case ALU_SBB:
	case ALU_SUB:
	case ALU_CMP:
		result = a - b - (op == ALU_SBB ? carry_in : 0);
		carry = (~a & b) | (~(a ^ b) & result);
		overflow = (a ^ b) & (a ^ result);
		flags = (a ^ b ^ result) & RFLAGS_AF;
		break;
	case ALU_OR:
		result = a | b;
		break;
	case ALU_AND:
		result = a & b;
		break;
	default:
		result = a ^ b;
		break;
	}
	result &= mask;
	if (carry >> top & 1)
		flags |= RFLAGS_CF;
	if (overflow >> top & 1)
		flags |= RFLAGS_OF;
	if (!result)
		flags |= RFLAGS_ZF;
	if (result >> top & 1)
		flags |= RFLAGS_SF;
	/* Bit n of the constant: n has an even number of ones. */
	if (0x9669 >> ((result ^ result >> 4) & 15) & 1)
		flags |= RFLAGS_PF;
	*rflags = (*rflags & ~RFLAGS_STATUS) | flags;
	return result;
}

bool condition(unsigned cc, uint64_t rflags)
{
	bool sf = rflags & RFLAGS_SF, of = rflags & RFLAGS_OF, zf = rflags & RFLAGS_ZF, cf = rflags & RFLAGS_CF, value;

	switch (cc >> 1 & 7) {
	case 0:
		value = of;
		break;
	case 1:
		value = cf;
		break;
	case 2:
		value = zf;
		break;
	case 3:
		value = cf || zf;
		break;
	case 4:
		value = sf;
		break;
	case 5:
		value = rflags & RFLAGS_PF;
		break;
	case 6:
		value = sf != of;
		break;
	default:
		value = zf || sf != of;
		break;
	}
	return value != (cc & 1);
}

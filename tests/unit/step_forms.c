#include "tests/unit/step_forms.h"

#include <cpuid.h>
#include <string.h>

#include "lib/x86/segment.h"
#include "vmm/emulate/alu.h"

#define ALL RFLAGS_STATUS
#define LOGIC (RFLAGS_STATUS & ~RFLAGS_AF)

/* Make the memory operand come out at `target`, a linear address. Returns false where these bytes cannot. */
static bool aim(enum decode_mode mode, uint8_t *bytes, const struct insn *insn, uint64_t target)
{
	uint64_t offset = mode == DECODE_16 ? target - L : target, mask = size_mask(insn->address_size);
	unsigned at = insn->length - insn->imm_size - insn->disp_size;

	if (insn->address_size == 2 && mode == DECODE_32)
		return false; /* the flat segments' first 64 KiB are not there */
	if (insn->segment >= SEG_FS || insn->segment == SEG_CS || insn->base == REG_RIP)
		return false;
	if (insn->index != REG_NONE) {
		native_gpr[insn->index] &= 0xfff;
		if (insn->base == insn->index || insn->index == REG_RSP)
			return false;
		offset -= native_gpr[insn->index] << insn->scale;
	}
	if (insn->base == REG_NONE) {
		if (insn->disp_size < (mode == DECODE_16 ? 2U : 4U))
			return false;
		memcpy(bytes + at, &offset, insn->disp_size);
	} else {
		native_gpr[insn->base] = ((offset - (uint64_t)insn->disp) & mask) | (mode == DECODE_64 ? 0 : native_gpr[insn->base] & ~mask);
		if (insn->base == REG_RSP && insn->address_size == 4 && mode == DECODE_16)
			return false;
	}
	return true;
}

bool step_form_try(enum decode_mode mode, const struct form *f)
{
	uint64_t flags = (native_random64() & RFLAGS_STATUS) | RFLAGS_FIXED, target = L + 0x100 + native_random_below(DATA_SIZE - 0x200);
	uint8_t bytes[32];
	unsigned n = 0;
	struct insn insn;

	for (unsigned i = 0; i < 16; i++)
		native_gpr[i] = native_random64() >> (native_random_below(5) * 14);
	native_gpr[REG_RSP] = (mode == DECODE_16 ? 0 : L) + DATA_SIZE + STACK_SIZE / 2 + native_random_below(64);
	if (mode != DECODE_64)
		for (unsigned i = 0; i < 16; i++)
			native_gpr[i] &= 0xffffffff;
	if (!(f->how & F_NO_66) && native_random_below(2))
		bytes[n++] = 0x66;
	if (!(f->how & F_NO_67) && !native_random_below(4))
		bytes[n++] = 0x67;
	if (f->how & F_REP)
		bytes[n++] = 0xf3;
	if (mode == DECODE_64 && native_random_below(2))
		bytes[n++] = (uint8_t)(0x40 | native_random_below(16));
	memcpy(bytes + n, f->opcode, f->opcode_length);
	n += f->opcode_length;
	for (unsigned i = n; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)native_random64();
	if (!(f->how & F_NO_MODRM)) {
		if ((f->how & F_REG) || (!(f->how & F_MEM) && native_random_below(2)))
			bytes[n] |= 0xc0;
		else if (bytes[n] >= 0xc0)
			bytes[n] &= 0x7f;
		if (f->how & F_GROUP)
			bytes[n] = (uint8_t)((bytes[n] & 0xc7) | f->group << 3);
	}
	if (decode(&insn, bytes, 15, mode))
		return false;
	if (f->how & F_NO_RSP && ((insn.flags & INSN_MODRM && insn.mod == 3 && insn.rm == REG_RSP) || insn.base == REG_RSP))
		return false;
	if (insn.flags & INSN_MEM) {
		int64_t bit = 0;

		if (f->how & F_BIT) {
			if (insn.reg == insn.base || insn.reg == insn.index)
				return false;
			bit = (int64_t)native_random_below(0x4000) - 0x2000;
			target = L + 0x1000 + native_random_below(0x800);
		}
		if (!aim(mode, bytes, &insn, target))
			return false;
		if (f->how & F_BIT)
			native_gpr[insn.reg] = ((uint64_t)bit & size_mask(insn.operand_size)) |
					(mode == DECODE_64 || insn.operand_size != 2 ? 0 : native_random64() & 0xffff0000);
	}
	if (f->how & F_COUNT && ((insn.imm_size ? insn.imm : native_gpr[REG_RCX]) & 31) > insn.operand_size * 8U)
		return false;
	native_run_both(mode, bytes, insn.length, flags, f->flags);
	return true;
}

/* clang 14's __builtin_cpu_supports does not know it. */
static bool has_movbe(void)
{
	unsigned eax, ebx, ecx, edx;

	return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_MOVBE);
}

static void run_forms(step_form_visitor *visit, const struct form *form, unsigned count, unsigned times)
{
	for (unsigned i = 0; i < count; i++)
		visit(&form[i], times);
}

void step_forms_mov(step_form_visitor *visit)
{
	static const struct form form[] = {
		{ { 0x88 }, 1, 0, 0, ALL }, { { 0x89 }, 1, 0, 0, ALL }, { { 0x8a }, 1, 0, 0, ALL }, { { 0x8b }, 1, 0, 0, ALL },
		{ { 0xc6 }, 1, 0, F_GROUP, ALL }, { { 0xc7 }, 1, 0, F_GROUP, ALL }, { { 0x8d }, 1, 0, F_MEM, ALL },
		{ { 0xa0 }, 1, 0, F_NO_MODRM, ALL }, { { 0xa1 }, 1, 0, F_NO_MODRM, ALL }, { { 0xa2 }, 1, 0, F_NO_MODRM, ALL },
		{ { 0xa3 }, 1, 0, F_NO_MODRM, ALL }, { { 0x0f, 0xb6 }, 2, 0, 0, ALL }, { { 0x0f, 0xb7 }, 2, 0, 0, ALL },
		{ { 0x0f, 0xbe }, 2, 0, 0, ALL }, { { 0x0f, 0xbf }, 2, 0, 0, ALL }, { { 0x86 }, 1, 0, 0, ALL }, { { 0x87 }, 1, 0, 0, ALL },
		{ { 0x98 }, 1, 0, F_NO_MODRM, ALL }, { { 0x99 }, 1, 0, F_NO_MODRM, ALL }, { { 0x0f, 0x1f }, 2, 0, 0, ALL },
		{ { 0x9e }, 1, 0, F_NO_MODRM, ALL }, { { 0x9f }, 1, 0, F_NO_MODRM, ALL }, { { 0xd6 }, 1, 0, F_NO_MODRM | F_NO_64, ALL },
	};

	run_forms(visit, form, ARRAY_SIZE(form), 120);
	for (unsigned i = 0; i < 16; i++) {
		visit(&(struct form){ { (uint8_t)(0xb0 + i) }, 1, 0, F_NO_MODRM, ALL }, 40);
		visit(&(struct form){ { 0x0f, (uint8_t)(0x40 + i) }, 2, 0, 0, ALL }, 60);
		visit(&(struct form){ { 0x0f, (uint8_t)(0x90 + i) }, 2, 0, 0, ALL }, 40);
		if (i < 8)
			visit(&(struct form){ { (uint8_t)(0x90 + i) }, 1, 0, F_NO_MODRM, ALL }, 40);
		if (i < 8)
			visit(&(struct form){ { 0x0f, (uint8_t)(0xc8 + i) }, 2, 0, F_NO_MODRM | F_NO_66, ALL }, 40);
	}
}

void step_forms_arithmetic(step_form_visitor *visit)
{
	for (unsigned op = 0; op < 8; op++) {
		uint16_t flags = op == ALU_OR || op == ALU_AND || op == ALU_XOR ? LOGIC : ALL;

		for (unsigned low = 0; low < 4; low++)
			visit(&(struct form){ { (uint8_t)(op << 3 | low) }, 1, 0, 0, flags }, 100);
		visit(&(struct form){ { (uint8_t)(op << 3 | 4) }, 1, 0, F_NO_MODRM, flags }, 60);
		visit(&(struct form){ { (uint8_t)(op << 3 | 5) }, 1, 0, F_NO_MODRM, flags }, 60);
		visit(&(struct form){ { 0x80 }, 1, (uint8_t)op, F_GROUP, flags }, 80);
		visit(&(struct form){ { 0x81 }, 1, (uint8_t)op, F_GROUP, flags }, 80);
		visit(&(struct form){ { 0x82 }, 1, (uint8_t)op, F_GROUP | F_NO_64, flags }, 40);
		visit(&(struct form){ { 0x83 }, 1, (uint8_t)op, F_GROUP, flags }, 80);
		visit(&(struct form){ { (uint8_t)(0x40 + op) }, 1, 0, F_NO_MODRM | F_NO_64, ALL }, 60);
		visit(&(struct form){ { (uint8_t)(0x48 + op) }, 1, 0, F_NO_MODRM | F_NO_64, ALL }, 60);
	}
	for (unsigned wide = 0; wide < 2; wide++) {
		const struct form form[] = {
			{ { (uint8_t)(0x84 + wide) }, 1, 0, 0, LOGIC }, { { (uint8_t)(0xa8 + wide) }, 1, 0, F_NO_MODRM, LOGIC },
			{ { (uint8_t)(0xf6 + wide) }, 1, 0, F_GROUP, LOGIC }, { { (uint8_t)(0xf6 + wide) }, 1, 2, F_GROUP, ALL },
			{ { (uint8_t)(0xf6 + wide) }, 1, 3, F_GROUP, ALL }, { { (uint8_t)(0xfe + wide) }, 1, 0, F_GROUP, ALL },
			{ { (uint8_t)(0xfe + wide) }, 1, 1, F_GROUP, ALL }, { { 0x0f, (uint8_t)(0xc0 + wide) }, 2, 0, 0, ALL },
			{ { 0x0f, (uint8_t)(0xb0 + wide) }, 2, 0, 0, ALL },
			{ { 0xf0, 0x0f, (uint8_t)(0xc0 + wide) }, 3, 0, F_MEM | F_NO_64, ALL },
			{ { 0xf0, (uint8_t)(0x00 + wide) }, 2, 0, F_MEM | F_NO_64, ALL },
		};

		run_forms(visit, form, ARRAY_SIZE(form), 150);
	}
	visit(&(struct form){ { 0x0f, 0xc7 }, 2, 1, F_GROUP | F_MEM | F_NO_64, ALL }, 150);
	visit(&(struct form){ { 0x0f, 0x38, 0xf0 }, 3, 0, F_MEM, ALL }, has_movbe() ? 80 : 0);
}

void step_forms_multiply(step_form_visitor *visit)
{
	static const struct form form[] = {
		{ { 0xf6 }, 1, 4, F_GROUP, 0x801 }, { { 0xf6 }, 1, 5, F_GROUP, 0x801 }, { { 0xf7 }, 1, 4, F_GROUP, 0x801 },
		{ { 0xf7 }, 1, 5, F_GROUP, 0x801 }, { { 0x69 }, 1, 0, 0, 0x801 }, { { 0x6b }, 1, 0, 0, 0x801 },
		{ { 0x0f, 0xaf }, 2, 0, 0, 0x801 },
	};

	run_forms(visit, form, ARRAY_SIZE(form), 400);
}

void step_forms_divide(step_form_visitor *visit)
{
	static const struct form form[] = {
		{ { 0xf6 }, 1, 6, F_GROUP, 0 }, { { 0xf6 }, 1, 7, F_GROUP, 0 }, { { 0xf7 }, 1, 6, F_GROUP, 0 }, { { 0xf7 }, 1, 7, F_GROUP, 0 },
	};

	run_forms(visit, form, ARRAY_SIZE(form), 1500);
}

void step_forms_shifts(step_form_visitor *visit)
{
	for (unsigned op = 0; op < 8; op++) {
		/* OF is defined for counts of 1 only; CF for SHL and SHR not beyond the operand. */
		uint16_t one = op < 4 ? ALL : LOGIC, many = op < 4 ? ALL & ~RFLAGS_OF : LOGIC & ~(RFLAGS_OF | RFLAGS_CF);

		visit(&(struct form){ { 0xd0 }, 1, (uint8_t)op, F_GROUP, one }, 150);
		visit(&(struct form){ { 0xd1 }, 1, (uint8_t)op, F_GROUP, one }, 150);
		visit(&(struct form){ { 0xc0 }, 1, (uint8_t)op, F_GROUP, many }, 300);
		visit(&(struct form){ { 0xc1 }, 1, (uint8_t)op, F_GROUP, many }, 300);
		visit(&(struct form){ { 0xd2 }, 1, (uint8_t)op, F_GROUP, many }, 300);
		visit(&(struct form){ { 0xd3 }, 1, (uint8_t)op, F_GROUP, many }, 300);
	}
}

void step_forms_double_shifts(step_form_visitor *visit)
{
	static const uint8_t opcode[] = { 0xa4, 0xa5, 0xac, 0xad };

	for (unsigned i = 0; i < 4; i++)
		visit(&(struct form){ { 0x0f, opcode[i] }, 2, 0, F_COUNT, LOGIC & ~(RFLAGS_OF | RFLAGS_CF) }, 500);
}

void step_forms_bits(step_form_visitor *visit)
{
	for (unsigned i = 0; i < 4; i++) {
		visit(&(struct form){ { 0x0f, (uint8_t)(0xa3 + 8 * i) }, 2, 0, F_BIT, RFLAGS_CF | RFLAGS_ZF }, 300);
		visit(&(struct form){ { 0x0f, 0xba }, 2, (uint8_t)(4 + i), F_GROUP, RFLAGS_CF | RFLAGS_ZF }, 200);
	}
	visit(&(struct form){ { 0x0f, 0xbc }, 2, 0, 0, RFLAGS_ZF }, 300);
	visit(&(struct form){ { 0x0f, 0xbd }, 2, 0, 0, RFLAGS_ZF }, 300);
	visit(&(struct form){ { 0x0f, 0xbc }, 2, 0, F_REP, RFLAGS_ZF }, 300);
	visit(&(struct form){ { 0x0f, 0xbd }, 2, 0, F_REP, RFLAGS_ZF }, 300);
	visit(&(struct form){ { 0x0f, 0xb8 }, 2, 0, F_REP, ALL }, __builtin_cpu_supports("popcnt") ? 300 : 0);
}

void step_forms_decimal(step_form_visitor *visit)
{
	static const struct form form[] = {
		{ { 0x27 }, 1, 0, F_NO_MODRM | F_NO_64, ALL & ~RFLAGS_OF }, { { 0x2f }, 1, 0, F_NO_MODRM | F_NO_64, ALL & ~RFLAGS_OF },
		{ { 0x37 }, 1, 0, F_NO_MODRM | F_NO_64, RFLAGS_AF | RFLAGS_CF }, { { 0x3f }, 1, 0, F_NO_MODRM | F_NO_64, RFLAGS_AF | RFLAGS_CF },
		{ { 0xd4 }, 1, 0, F_NO_MODRM | F_NO_64, 0xc4 }, { { 0xd5 }, 1, 0, F_NO_MODRM | F_NO_64, 0xc4 },
	};

	run_forms(visit, form, ARRAY_SIZE(form), 1500);
}

void step_forms_flag_instructions(step_form_visitor *visit)
{
	static const uint8_t opcode[] = { 0xf5, 0xf8, 0xf9, 0xfd };

	for (unsigned i = 0; i < ARRAY_SIZE(opcode); i++)
		visit(&(struct form){ { opcode[i] }, 1, 0, F_NO_MODRM, ALL }, 20);
}

void step_forms_stack(step_form_visitor *visit)
{
	static const struct form form[] = {
		{ { 0x50 }, 1, 0, F_NO_MODRM, ALL }, { { 0x53 }, 1, 0, F_NO_MODRM, ALL }, { { 0x54 }, 1, 0, F_NO_MODRM, ALL },
		{ { 0x58 }, 1, 0, F_NO_MODRM, ALL }, { { 0x5c }, 1, 0, F_NO_MODRM, ALL }, { { 0x5f }, 1, 0, F_NO_MODRM, ALL },
		{ { 0x60 }, 1, 0, F_NO_MODRM | F_NO_64, ALL }, { { 0x61 }, 1, 0, F_NO_MODRM | F_NO_64, ALL },
		{ { 0x68 }, 1, 0, F_NO_MODRM, ALL }, { { 0x6a }, 1, 0, F_NO_MODRM, ALL }, { { 0x8f }, 1, 0, F_GROUP | F_NO_RSP, ALL },
		{ { 0xff }, 1, 6, F_GROUP | F_NO_RSP, ALL },
	};

	run_forms(visit, form, ARRAY_SIZE(form), 200);
}

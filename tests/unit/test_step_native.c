/* SOURCES: tests/unit/step_native.c vmm/emulate/step.c vmm/emulate/step_alu.c vmm/emulate/step_bits.c vmm/emulate/step_control.c vmm/emulate/step_descriptor.c vmm/emulate/step_far.c vmm/emulate/step_fpu.c vmm/emulate/step_interrupt.c vmm/emulate/step_io.c vmm/emulate/step_memory.c vmm/emulate/step_muldiv.c vmm/emulate/step_shift.c vmm/emulate/step_stack.c vmm/emulate/step_state.c vmm/emulate/step_system.c vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* Emulated instructions against the same bytes on the host's CPU, as 64-bit code, and as 32-bit and 16-bit code in segments of a
 * local descriptor table where the host's kernel grants one. With STEP_ALL_FLAGS in the environment flags that the manual leaves
 * undefined are compared too, which differ between CPUs. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "tests/unit/step_native.h"
#include "vmm/emulate/alu.h"

/* ---- The generator ---- */

enum {
	F_GROUP = 1 << 0,  /* ModRM.reg is `group` */
	F_BIT = 1 << 1,    /* a register's bit index moves a memory operand */
	F_NO_MODRM = 1 << 2,
	F_NO_64 = 1 << 3,
	F_MEM = 1 << 4,    /* memory operands only */
	F_REG = 1 << 5,
	F_NO_66 = 1 << 6,
	F_NO_RSP = 1 << 7, /* rsp is the stack pointer: not an operand */
	F_STRING = 1 << 8,
	F_NO_67 = 1 << 9,
	F_REP = 1 << 10,   /* F3 is part of the opcode */
	F_DOUBLE_SHIFT = 1 << 11, /* the last byte, or CL, is the count */
};

struct form {
	uint8_t opcode[3];
	uint8_t opcode_length;
	uint8_t group;
	uint16_t how;
	uint16_t flags; /* that the manual defines */
};

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

/* SHLD and SHRD by more bits than the operand has: result and flags differ between CPUs (SDM vol. 2, "SHLD"). */
static bool is_undefined(const uint8_t *bytes, const struct insn *insn)
{
	uint64_t count = insn->opcode & 1 ? native_gpr[REG_RCX] : bytes[insn->length - 1];

	return insn->operand_size == 2 && (count & 31) > 16;
}

static void run_mode(enum decode_mode mode, const struct form *f, unsigned times)
{
	unsigned attempts = times * 400;

	while (times) {
		uint64_t flags = (native_random64() & RFLAGS_STATUS) | RFLAGS_FIXED, target = L + 0x100 + native_random_below(DATA_SIZE - 0x200);
		uint8_t bytes[32];
		unsigned n = 0;
		struct insn insn;

		assert_true(attempts--);
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
			continue;
		if (f->how & F_NO_RSP && ((insn.flags & INSN_MODRM && insn.mod == 3 && insn.rm == REG_RSP) || insn.base == REG_RSP))
			continue;
		if (insn.flags & INSN_MEM) {
			int64_t bit = 0;

			if (f->how & F_BIT) {
				if (insn.reg == insn.base || insn.reg == insn.index)
					continue;
				bit = (int64_t)native_random_below(0x4000) - 0x2000;
				target = L + 0x1000 + native_random_below(0x800);
			}
			if (!aim(mode, bytes, &insn, target))
				continue;
			if (f->how & F_BIT)
				native_gpr[insn.reg] = ((uint64_t)bit & size_mask(insn.operand_size)) |
						(mode == DECODE_64 || insn.operand_size != 2 ? 0 : native_random64() & 0xffff0000);
		}
		if (f->how & F_DOUBLE_SHIFT && is_undefined(bytes, &insn))
			continue;
		native_run_both(mode, bytes, insn.length, flags, f->flags);
		times--;
	}
}

static void run_form(const struct form *f, unsigned times)
{
	for (int mode = DECODE_16; mode <= DECODE_64; mode++) {
		if ((mode == DECODE_64 && (f->how & F_NO_64)) || (mode != DECODE_64 && !native_have_ldt))
			continue;
		native_reset((enum decode_mode)mode);
		run_mode((enum decode_mode)mode, f, times);
	}
}

static void run_forms(const struct form *form, unsigned count, unsigned times)
{
	for (unsigned i = 0; i < count; i++)
		run_form(&form[i], times);
}

static void test_mov(void **unused)
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

	(void)unused;
	run_forms(form, ARRAY_SIZE(form), 120);
	for (unsigned i = 0; i < 16; i++) {
		run_form(&(struct form){ { (uint8_t)(0xb0 + i) }, 1, 0, F_NO_MODRM, ALL }, 40);
		run_form(&(struct form){ { 0x0f, (uint8_t)(0x40 + i) }, 2, 0, 0, ALL }, 60);
		run_form(&(struct form){ { 0x0f, (uint8_t)(0x90 + i) }, 2, 0, 0, ALL }, 40);
		if (i < 8)
			run_form(&(struct form){ { (uint8_t)(0x90 + i) }, 1, 0, F_NO_MODRM, ALL }, 40);
		if (i < 8)
			run_form(&(struct form){ { 0x0f, (uint8_t)(0xc8 + i) }, 2, 0, F_NO_MODRM | F_NO_66, ALL }, 40);
	}
}

static void test_arithmetic(void **unused)
{
	(void)unused;
	for (unsigned op = 0; op < 8; op++) {
		uint16_t flags = op == ALU_OR || op == ALU_AND || op == ALU_XOR ? LOGIC : ALL;

		for (unsigned low = 0; low < 4; low++)
			run_form(&(struct form){ { (uint8_t)(op << 3 | low) }, 1, 0, 0, flags }, 100);
		run_form(&(struct form){ { (uint8_t)(op << 3 | 4) }, 1, 0, F_NO_MODRM, flags }, 60);
		run_form(&(struct form){ { (uint8_t)(op << 3 | 5) }, 1, 0, F_NO_MODRM, flags }, 60);
		run_form(&(struct form){ { 0x80 }, 1, (uint8_t)op, F_GROUP, flags }, 80);
		run_form(&(struct form){ { 0x81 }, 1, (uint8_t)op, F_GROUP, flags }, 80);
		run_form(&(struct form){ { 0x82 }, 1, (uint8_t)op, F_GROUP | F_NO_64, flags }, 40);
		run_form(&(struct form){ { 0x83 }, 1, (uint8_t)op, F_GROUP, flags }, 80);
		run_form(&(struct form){ { (uint8_t)(0x40 + op) }, 1, 0, F_NO_MODRM | F_NO_64, ALL }, 60);
		run_form(&(struct form){ { (uint8_t)(0x48 + op) }, 1, 0, F_NO_MODRM | F_NO_64, ALL }, 60);
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

		run_forms(form, ARRAY_SIZE(form), 150);
	}
	run_form(&(struct form){ { 0x0f, 0xc7 }, 2, 1, F_GROUP | F_MEM | F_NO_64, ALL }, 150);
	run_form(&(struct form){ { 0x0f, 0x38, 0xf0 }, 3, 0, F_MEM, ALL }, __builtin_cpu_supports("movbe") ? 80 : 0);
}

static void test_multiply(void **unused)
{
	static const struct form form[] = {
		{ { 0xf6 }, 1, 4, F_GROUP, 0x801 }, { { 0xf6 }, 1, 5, F_GROUP, 0x801 }, { { 0xf7 }, 1, 4, F_GROUP, 0x801 },
		{ { 0xf7 }, 1, 5, F_GROUP, 0x801 }, { { 0x69 }, 1, 0, 0, 0x801 }, { { 0x6b }, 1, 0, 0, 0x801 },
		{ { 0x0f, 0xaf }, 2, 0, 0, 0x801 },
	};
	static const struct form divisions[] = {
		{ { 0xf6 }, 1, 6, F_GROUP, 0 }, { { 0xf6 }, 1, 7, F_GROUP, 0 }, { { 0xf7 }, 1, 6, F_GROUP, 0 }, { { 0xf7 }, 1, 7, F_GROUP, 0 },
	};

	(void)unused;
	run_forms(form, ARRAY_SIZE(form), 400);
	native_faults = 0;
	run_forms(divisions, ARRAY_SIZE(divisions), 1500);
	assert_in_range(native_faults, 100, 11000);
}

static void test_shifts(void **unused)
{
	(void)unused;
	for (unsigned op = 0; op < 8; op++) {
		/* OF is defined for counts of 1 only; CF for SHL and SHR not beyond the operand. */
		uint16_t one = op < 4 ? ALL : LOGIC, many = op < 4 ? ALL & ~RFLAGS_OF : LOGIC & ~(RFLAGS_OF | RFLAGS_CF);

		run_form(&(struct form){ { 0xd0 }, 1, (uint8_t)op, F_GROUP, one }, 150);
		run_form(&(struct form){ { 0xd1 }, 1, (uint8_t)op, F_GROUP, one }, 150);
		run_form(&(struct form){ { 0xc0 }, 1, (uint8_t)op, F_GROUP, many }, 300);
		run_form(&(struct form){ { 0xc1 }, 1, (uint8_t)op, F_GROUP, many }, 300);
		run_form(&(struct form){ { 0xd2 }, 1, (uint8_t)op, F_GROUP, many }, 300);
		run_form(&(struct form){ { 0xd3 }, 1, (uint8_t)op, F_GROUP, many }, 300);
	}
}

static void test_double_shifts(void **unused)
{
	static const uint8_t opcode[] = { 0xa4, 0xa5, 0xac, 0xad };

	(void)unused;
	for (unsigned i = 0; i < 4; i++)
		run_form(&(struct form){ { 0x0f, opcode[i] }, 2, 0, F_DOUBLE_SHIFT, LOGIC & ~(RFLAGS_OF | RFLAGS_CF) }, 500);
}

static void test_bits(void **unused)
{
	(void)unused;
	for (unsigned i = 0; i < 4; i++) {
		run_form(&(struct form){ { 0x0f, (uint8_t)(0xa3 + 8 * i) }, 2, 0, F_BIT, RFLAGS_CF | RFLAGS_ZF }, 300);
		run_form(&(struct form){ { 0x0f, 0xba }, 2, (uint8_t)(4 + i), F_GROUP, RFLAGS_CF | RFLAGS_ZF }, 200);
	}
	run_form(&(struct form){ { 0x0f, 0xbc }, 2, 0, 0, RFLAGS_ZF }, 300);
	run_form(&(struct form){ { 0x0f, 0xbd }, 2, 0, 0, RFLAGS_ZF }, 300);
	run_form(&(struct form){ { 0x0f, 0xbc }, 2, 0, F_REP, RFLAGS_ZF }, 300);
	run_form(&(struct form){ { 0x0f, 0xbd }, 2, 0, F_REP, RFLAGS_ZF }, 300);
	run_form(&(struct form){ { 0x0f, 0xb8 }, 2, 0, F_REP, ALL }, __builtin_cpu_supports("popcnt") ? 300 : 0);
}

static void test_decimal(void **unused)
{
	static const struct form form[] = {
		{ { 0x27 }, 1, 0, F_NO_MODRM | F_NO_64, ALL & ~RFLAGS_OF }, { { 0x2f }, 1, 0, F_NO_MODRM | F_NO_64, ALL & ~RFLAGS_OF },
		{ { 0x37 }, 1, 0, F_NO_MODRM | F_NO_64, RFLAGS_AF | RFLAGS_CF }, { { 0x3f }, 1, 0, F_NO_MODRM | F_NO_64, RFLAGS_AF | RFLAGS_CF },
		{ { 0xd4 }, 1, 0, F_NO_MODRM | F_NO_64, 0xc4 }, { { 0xd5 }, 1, 0, F_NO_MODRM | F_NO_64, 0xc4 },
	};

	(void)unused;
	run_forms(form, ARRAY_SIZE(form), 1500);
}

static void test_flag_instructions(void **unused)
{
	static const uint8_t opcode[] = { 0xf5, 0xf8, 0xf9, 0xfd };

	(void)unused;
	for (unsigned i = 0; i < ARRAY_SIZE(opcode); i++)
		run_form(&(struct form){ { opcode[i] }, 1, 0, F_NO_MODRM, ALL }, 20);
}

static void test_stack(void **unused)
{
	static const struct form form[] = {
		{ { 0x50 }, 1, 0, F_NO_MODRM, ALL }, { { 0x53 }, 1, 0, F_NO_MODRM, ALL }, { { 0x54 }, 1, 0, F_NO_MODRM, ALL },
		{ { 0x58 }, 1, 0, F_NO_MODRM, ALL }, { { 0x5c }, 1, 0, F_NO_MODRM, ALL }, { { 0x5f }, 1, 0, F_NO_MODRM, ALL },
		{ { 0x60 }, 1, 0, F_NO_MODRM | F_NO_64, ALL }, { { 0x61 }, 1, 0, F_NO_MODRM | F_NO_64, ALL },
		{ { 0x68 }, 1, 0, F_NO_MODRM, ALL }, { { 0x6a }, 1, 0, F_NO_MODRM, ALL }, { { 0x8f }, 1, 0, F_GROUP | F_NO_RSP, ALL },
		{ { 0xff }, 1, 6, F_GROUP | F_NO_RSP, ALL },
	};

	(void)unused;
	run_forms(form, ARRAY_SIZE(form), 200);
}

/* ENTER and LEAVE need frames to follow, and POP through rsp an address that is known. */
static void test_frames(void **unused)
{
	(void)unused;
	for (int mode = DECODE_16; mode <= DECODE_64; mode++) {
		uint64_t stack = (mode == DECODE_16 ? 0 : L) + DATA_SIZE + STACK_SIZE / 2;

		if (mode != DECODE_64 && !native_have_ldt)
			continue;
		native_reset((enum decode_mode)mode);
		for (unsigned i = 0; i < 400; i++) {
			uint8_t bytes[8];
			unsigned n = 0;

			for (unsigned r = 0; r < 16; r++)
				native_gpr[r] = mode == DECODE_64 ? native_random64() : (uint32_t)native_random64();
			native_gpr[REG_RSP] = stack + 4 * native_random_below(64);
			native_gpr[REG_RBP] = stack + 4 * native_random_below(64);
			if (native_random_below(2))
				bytes[n++] = 0x66;
			switch (i % 3) {
			case 0:
				bytes[n++] = 0xc8;
				bytes[n++] = (uint8_t)native_random64();
				bytes[n++] = 0;
				bytes[n++] = (uint8_t)(native_random_below(2) ? native_random_below(8) : native_random64());
				break;
			case 1:
				bytes[n++] = 0xc9;
				break;
			default: /* pop [esp + 8] */
				if (mode == DECODE_16)
					bytes[n++] = 0x67;
				memcpy(bytes + n, "\x8f\x44\x24\x08", 4);
				n += 4;
				native_gpr[REG_RSP] &= 0xffffffff;
				break;
			}
			native_run_both((enum decode_mode)mode, bytes, n, RFLAGS_FIXED, ALL);
		}
	}
}

static void test_strings(void **unused)
{
	static const uint8_t opcode[] = { 0xa4, 0xa6, 0xaa, 0xac, 0xae };

	(void)unused;
	for (int mode = DECODE_16; mode <= DECODE_64; mode++) {
		if (mode != DECODE_64 && !native_have_ldt)
			continue;
		native_reset((enum decode_mode)mode);
		for (unsigned i = 0; i < 800; i++) {
			uint64_t flags = (native_random64() & RFLAGS_STATUS) | RFLAGS_FIXED | (native_random_below(3) ? 0 : RFLAGS_DF);
			uint64_t base = mode == DECODE_16 ? 0 : L, start;
			unsigned which = native_random_below(5), count = native_random_below(8) ? native_random_below(500) : 0, span;
			uint8_t bytes[8];
			unsigned n = 0;
			struct insn insn;

			for (unsigned r = 0; r < 16; r++)
				native_gpr[r] = mode == DECODE_64 ? native_random64() : (uint32_t)native_random64();
			if (native_random_below(2))
				bytes[n++] = 0x66;
			if (native_random_below(3))
				bytes[n++] = native_random_below(2) ? 0xf3 : 0xf2;
			if (mode == DECODE_64 && !native_random_below(3))
				bytes[n++] = 0x48;
			bytes[n++] = (uint8_t)(opcode[which] | native_random_below(2));
			assert_int_equal(decode(&insn, bytes, n, (enum decode_mode)mode), 0);
			span = (count ? count : 1) * insn.operand_size;
			start = base + (flags & RFLAGS_DF ? span - insn.operand_size : 0);
			native_gpr[REG_RSI] = start + native_random_below(DATA_SIZE - span);
			native_gpr[REG_RDI] = start + native_random_below(DATA_SIZE - span);
			native_gpr[1] = count | (mode == DECODE_16 ? native_random64() & 0xffff0000 : 0);
			if (which == 4 && native_random_below(2))
				native_gpr[REG_RAX] = 0;
			if (which == 1 && native_random_below(2))
				native_gpr[REG_RDI] = native_gpr[REG_RSI];
			native_run_both((enum decode_mode)mode, bytes, n, flags, ALL);
		}
	}
}

static int setup(void **unused)
{
	(void)unused;
	native_all_flags = getenv("STEP_ALL_FLAGS") != NULL;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_mov, setup),
		cmocka_unit_test_setup(test_arithmetic, setup),
		cmocka_unit_test_setup(test_multiply, setup),
		cmocka_unit_test_setup(test_shifts, setup),
		cmocka_unit_test_setup(test_double_shifts, setup),
		cmocka_unit_test_setup(test_bits, setup),
		cmocka_unit_test_setup(test_decimal, setup),
		cmocka_unit_test_setup(test_flag_instructions, setup),
		cmocka_unit_test_setup(test_stack, setup),
		cmocka_unit_test_setup(test_frames, setup),
		cmocka_unit_test_setup(test_strings, setup),
	};

	return cmocka_run_group_tests(tests, native_setup, NULL);
}

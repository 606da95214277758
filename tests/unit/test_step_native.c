/* SOURCES: tests/unit/step_forms.c tests/unit/step_native.c vmm/emulate/step.c vmm/emulate/step_alu.c vmm/emulate/step_bits.c vmm/emulate/step_control.c vmm/emulate/step_descriptor.c vmm/emulate/step_far.c vmm/emulate/step_fpu.c vmm/emulate/step_interrupt.c vmm/emulate/step_io.c vmm/emulate/step_memory.c vmm/emulate/step_muldiv.c vmm/emulate/step_shift.c vmm/emulate/step_stack.c vmm/emulate/step_state.c vmm/emulate/step_system.c vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* Emulated instructions against the same bytes on the host's CPU, as 64-bit code, and as 32-bit and 16-bit code in segments of a
 * local descriptor table where the host's kernel grants one. With STEP_ALL_FLAGS in the environment flags that the manual leaves
 * undefined are compared too, which differ between CPUs. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/step_forms.h"

#define ALL RFLAGS_STATUS

static void run_form(const struct form *f, unsigned times)
{
	for (int mode = DECODE_16; mode <= DECODE_64; mode++) {
		unsigned attempts = times * 400;

		if ((mode == DECODE_64 && (f->how & F_NO_64)) || (mode != DECODE_64 && !native_have_ldt))
			continue;
		native_reset((enum decode_mode)mode);
		for (unsigned done = 0; done < times;) {
			assert_true(attempts--);
			done += step_form_try((enum decode_mode)mode, f);
		}
	}
}

static void test_mov(void **unused)
{
	(void)unused;
	step_forms_mov(run_form);
}

static void test_arithmetic(void **unused)
{
	(void)unused;
	step_forms_arithmetic(run_form);
}

static void test_multiply(void **unused)
{
	(void)unused;
	step_forms_multiply(run_form);
}

static void test_divide(void **unused)
{
	(void)unused;
	native_faults = 0;
	step_forms_divide(run_form);
	assert_in_range(native_faults, 100, 11000);
}

static void test_shifts(void **unused)
{
	(void)unused;
	step_forms_shifts(run_form);
}

static void test_double_shifts(void **unused)
{
	(void)unused;
	step_forms_double_shifts(run_form);
}

static void test_bits(void **unused)
{
	(void)unused;
	step_forms_bits(run_form);
}

static void test_decimal(void **unused)
{
	(void)unused;
	step_forms_decimal(run_form);
}

static void test_flag_instructions(void **unused)
{
	(void)unused;
	step_forms_flag_instructions(run_form);
}

static void test_stack(void **unused)
{
	(void)unused;
	step_forms_stack(run_form);
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
			native_gpr[REG_RCX] = count | (mode == DECODE_16 ? native_random64() & 0xffff0000 : 0);
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
		cmocka_unit_test_setup(test_divide, setup),
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

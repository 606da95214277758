/* SOURCES: tests/unit/exit_machine.c vmm/exits/exit.c vmm/exits/exit_cr.c vmm/exits/cpuid.c */
/* The exits of instructions on control registers: what they load and store, and what raises #GP. */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "tests/unit/exit_machine.h"
#include "tests/unit/fakes.h"

static void cr(unsigned which, unsigned gpr)
{
	v.exit.cr.cr = (uint8_t)which;
	v.exit.cr.gpr = (uint8_t)gpr;
}

static void test_cr_write(void **state)
{
	(void)state;
	cr(0, GPR_RCX);
	v.gpr[GPR_RCX] = 0x80000011;
	leave(EXIT_CR_WRITE);
	advanced();
	assert_int_equal(done.cr0, 0x80000011);
	assert_int_equal(done.mmu_updates, 1);
	assert_int_equal(done.mode_checks, 1);
	cr(4, GPR_RSP);
	reg[VCPU_RSP] = 0x20;
	leave(EXIT_CR_WRITE);
	advanced();
	assert_int_equal(done.cr4, 0x20);
	assert_int_equal(done.mmu_updates, 1);
	assert_int_equal(done.mode_checks, 0);
	next.refuse_cr0 = next.refuse_cr4 = true;
	leave(EXIT_CR_WRITE);
	injected(VECTOR_GP, true, 0);
	assert_int_equal(done.mmu_updates, 0);
	cr(0, GPR_RCX);
	leave(EXIT_CR_WRITE);
	injected(VECTOR_GP, true, 0);
	assert_int_equal(done.mmu_updates, 0);
	assert_int_equal(done.mode_checks, 0);
}

static void test_cr_width(void **state)
{
	(void)state;
	cr(0, GPR_RCX);
	v.gpr[GPR_RCX] = 0x180000011;
	leave(EXIT_CR_WRITE);
	assert_true(done.cr0 == 0x180000011); /* for #GP */
	next.compatibility = true;
	leave(EXIT_CR_WRITE);
	assert_true(done.cr0 == 0x80000011);
}

static void test_cr8(void **state)
{
	(void)state;
	cr(8, GPR_RDX);
	v.gpr[GPR_RDX] = 15;
	leave(EXIT_CR_WRITE);
	advanced();
	assert_int_equal(done.cr8, 15);
	assert_int_equal(v.pending, PENDING_EVALUATE);
	v.gpr[GPR_RDX] = 16;
	leave(EXIT_CR_WRITE);
	injected(VECTOR_GP, true, 0);
	assert_int_equal(done.cr8, 0);
	v.gpr[GPR_RDX] = 0x100000001; /* 64-bit code */
	leave(EXIT_CR_WRITE);
	injected(VECTOR_GP, true, 0);
	leave(EXIT_CR_READ);
	advanced();
	assert_int_equal(v.gpr[GPR_RDX], 11);
}

static void test_cr_read(void **state)
{
	(void)state;
	cr(0, GPR_R9);
	leave(EXIT_CR_READ);
	advanced();
	assert_int_equal(v.gpr[GPR_R9], 0x80050033);
	cr(4, GPR_RSP);
	leave(EXIT_CR_READ);
	advanced();
	assert_int_equal(reg[VCPU_RSP], 0x6f0);
}

/* Nothing asks for exits of the others. */
static void test_cr_unexpected(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 16; i++) {
		if (i == 0 || i == 4 || i == 8)
			continue;
		cr(i, GPR_RAX);
		leave(EXIT_CR_WRITE);
		stopped("write of a control register that should not exit");
		leave(EXIT_CR_READ);
		stopped("read of a control register that should not exit");
	}
}

/* What the emulation of real mode shares. */
static void test_write_cr3(void **state)
{
	(void)state;
	memset(&done, 0, sizeof(done));
	assert_int_equal(exit_write_cr(&v, 3, 0x5000), 0);
	assert_int_equal(done.cr3, 0x5000);
	next.refuse_cr3 = true;
	assert_int_equal(exit_write_cr(&v, 3, 0x5000), ERR_INVALID);
}

static void test_clts(void **state)
{
	(void)state;
	reg[VCPU_CR0] = 0x8005003b;
	leave(EXIT_CLTS);
	advanced();
	assert_int_equal(done.cr0, 0x80050033);
	next.refuse_cr0 = true;
	leave(EXIT_CLTS);
	injected(VECTOR_GP, true, 0);
}

static void test_lmsw(void **state)
{
	struct insn insn;

	(void)state;
	/* From the CPU, from a register, from memory; only PE, MP, EM and TS count, and PE stays. */
	v.exit.cr.operand = MSW_VALUE;
	v.exit.cr.value = 0xfff8;
	leave(EXIT_LMSW);
	advanced();
	assert_int_equal(done.cr0, 0x80050039);
	v.exit.cr.operand = MSW_GPR;
	cr(0, GPR_RSP);
	reg[VCPU_RSP] = 0xffffffffffff0006;
	leave(EXIT_LMSW);
	advanced();
	assert_int_equal(done.cr0, 0x80050037);
	assert_int_equal(done.operands, 0);
	v.exit.cr.operand = MSW_MEMORY;
	v.exit.cr.insn = &insn;
	next.operand = 0;
	leave(EXIT_LMSW);
	advanced();
	assert_int_equal(done.operands, 1);
	assert_int_equal(done.operand_size, 2);
	assert_int_equal(done.cr0, 0x80050031);
	reg[VCPU_CR0] = 0x10; /* real mode: PE can be set */
	next.operand = 1;
	leave(EXIT_LMSW);
	assert_int_equal(done.cr0, 0x11);
	/* The operand is not there: the guest runs again as it is, its page fault queued perhaps. */
	next.no_operand = true;
	leave(EXIT_LMSW);
	stayed();
	assert_int_equal(done.cr0, 0);
	next.no_operand = false;
	next.refuse_cr0 = true;
	leave(EXIT_LMSW);
	injected(VECTOR_GP, true, 0);
}

static void test_smsw(void **state)
{
	static const struct { uint8_t size; uint64_t expected; } registers[] = {
		{ 2, 0x5555555555550033 }, { 4, 0x80050033 }, { 8, 0x80050033 },
	};
	struct insn insn;

	(void)state;
	v.exit.cr.operand = MSW_MEMORY;
	v.exit.cr.insn = &insn;
	leave(EXIT_SMSW);
	advanced();
	assert_int_equal(done.operands, 1);
	assert_int_equal(done.operand_size, 2);
	assert_int_equal(done.operand & 0xffff, 0x0033);
	next.no_operand = true;
	leave(EXIT_SMSW);
	stayed();
	v.exit.cr.operand = MSW_GPR;
	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++) {
		v.exit.cr.size = registers[i].size;
		cr(0, GPR_R10);
		v.gpr[GPR_R10] = 0x5555555555555555;
		leave(EXIT_SMSW);
		advanced();
		assert_true(v.gpr[GPR_R10] == registers[i].expected);
		cr(0, GPR_RSP);
		reg[VCPU_RSP] = 0x5555555555555555;
		leave(EXIT_SMSW);
		assert_true(reg[VCPU_RSP] == registers[i].expected);
	}
	assert_int_equal(done.operands, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_cr_write, exit_setup),
		cmocka_unit_test_setup(test_cr_width, exit_setup),
		cmocka_unit_test_setup(test_cr8, exit_setup),
		cmocka_unit_test_setup(test_cr_read, exit_setup),
		cmocka_unit_test_setup(test_cr_unexpected, exit_setup),
		cmocka_unit_test_setup(test_write_cr3, exit_setup),
		cmocka_unit_test_setup(test_clts, exit_setup),
		cmocka_unit_test_setup(test_lmsw, exit_setup),
		cmocka_unit_test_setup(test_smsw, exit_setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

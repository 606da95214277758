/* SOURCES: arch/x86_64/svm/svm_exit.c vmm/emulate/code_memory.c vmm/emulate/decode.c vmm/emulate/decode_tables.c */
/* Exits of AMD-V that only some CPUs or a step of Lamina's own cause: a refused VMRUN behind a MOV to CR3 or CR4, exceptions during a step. */
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/x86_64/svm/svm.h"
#include "tests/unit/fakes.h"
#include "vmm/exits/exit.h"
#include "vmm/exits/exit_instruction.h"
#include "vmm/vm/vm_vcpu.h"

#define RIP 0xffffffff81000100

struct svm_features svm_features;

static struct vm vm;
static struct vcpu v;
static struct svm_vcpu x;
static uint8_t code[16];
static bool readable;
static unsigned decoded, exits;

uint64_t svm_read(struct vcpu *of, enum vcpu_register reg) { (void)of; (void)reg; return 0x80000011; }
static uint64_t cr2;
void svm_write(struct vcpu *of, enum vcpu_register reg, uint64_t value) { (void)of; assert_int_equal(reg, VCPU_CR2); cr2 = value; }
void svm_requeue(struct vcpu *of) { (void)of; }
void svm_virtual_changed(struct vcpu *of) { (void)of; }
void svm_iret(struct vcpu *of) { (void)of; }
bool svm_step_done(struct vcpu *of) { (void)of; return false; }
static unsigned complaints, explained;
unsigned svm_explain_entry_failure(struct vcpu *of, bool aloud) { (void)of; explained += aloud; return complaints; }
uint64_t vcpu_read_gpr(struct vcpu *of, unsigned gpr) { return of->gpr[gpr]; }
uint64_t exit_operand_linear(struct vcpu *of, const struct insn *i) { (void)of; (void)i; return 0x1234; }

const struct insn *exit_instruction(struct vcpu *of, struct insn_memo *memo, uint64_t space)
{
	assert_int_equal(space, of == &v ? x.vmcb.cr3 : 0);
	decoded++;
	memo->place.rip = CODE_NOWHERE;
	if (!readable || decode(&memo->insn, code, sizeof(code), DECODE_64))
		return NULL;
	memcpy(memo->bytes, code, sizeof(code));
	insn_memo_place(memo, x.vmcb.rip, space, code, sizeof(code));
	return &memo->insn;
}

bool vcpu_exit(struct vcpu *of)
{
	/* This is what the dispatcher begins with. */
	assert_true(of->in_guest);
	exits++;
	return true;
}

static int setup(void **state)
{
	(void)state;
	memset(&vm, 0, sizeof(vm));
	memset(&v, 0, sizeof(v));
	memset(&x, 0, sizeof(x));
	memset(&svm_features, 0, sizeof(svm_features));
	vm_attach_vcpu(&vm, &v);
	v.hw = &x;
	code_memory_init(&v.emulator.code);
	readable = true;
	decoded = exits = 0;
	x.vmcb.cr3 = 0x5000;
	x.vmcb.intercept_cr = INTERCEPT_CR_READ(0) | INTERCEPT_CR_WRITE(0);
	return 0;
}

/* Exit at this code. */
static const struct vm_exit *leave(unsigned exit_code, const char *bytes, unsigned n)
{
	memset(code, 0x90, sizeof(code));
	memcpy(code, bytes, n);
	memset(&v.exit, 0xa5, sizeof(v.exit));
	v.kickable = v.in_guest = true;
	x.vmcb.exit_code = exit_code;
	x.vmcb.rip = RIP;
	exits = 0;
	assert_true(svm_handle_exit(&v, &x));
	assert_int_equal(exits, 1);
	assert_int_equal(x.vmcb.rip, RIP);
	assert_int_equal(x.vmcb.intercept_cr, INTERCEPT_CR_READ(0) | INTERCEPT_CR_WRITE(0));
	return &v.exit;
}
#define LEAVE(exit_code, bytes) leave(exit_code, bytes, sizeof(bytes) - 1)

#define CR0_READ 0x00
#define CR0_WRITE 0x10
#define CR0_SELECTIVE 0x65

/* VMEXIT_INVALID at a MOV that should have raised #GP, and as it is meant. */
static void test_wrong_cr_writes(void **state)
{
	static const struct {
		const char *code;
		uint64_t value, cr4;
		bool wrong, compatibility;
	} cases[] = {
		{ "\x0f\x22\xd9", BIT(40), 0, true, false }, /* mov %rcx, %cr3 */
		{ "\x0f\x22\xd9", BIT(62), 0, true, false },
		{ "\x0f\x22\xd9", BIT(63), 0, true, false },
		{ "\x0f\x22\xd9", BIT(63), CR4_PCIDE, false, false },
		{ "\x0f\x22\xd9", BIT(40), 0, false, true },
		{ "\x0f\x22\xd9", BIT(39) | 0x18, 0, false, false },
		{ "\x0f\x22\xe1", CR4_PAE | BIT(30), 0, true, false }, /* mov %rcx, %cr4 */
		{ "\x0f\x22\xe1", CR4_PAE | BIT(32), 0, true, false },
		{ "\x0f\x22\xe1", CR4_PAE | BIT(32), 0, false, true },
		{ "\x0f\x22\xe1", CR4_PAE | CR4_PGE, 0, false, false },
		{ "\x0f\x20\xd9", BIT(40), 0, false, false }, /* mov %cr3, %rcx */
		{ "\x0f\x22\xc1", BIT(40), 0, false, false }, /* mov %rcx, %cr0 */
		{ "\x44\x0f\x22\xc1", BIT(40), 0, false, false }, /* mov %rcx, %cr8 */
		{ "\x90\x22\xd9", BIT(40), 0, false, false },
	};

	(void)state;
	v.emulator.paging.maxphyaddr = 40;
	x.cr4_offered = CR4_PAE | CR4_PGE;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		for (complaints = 0; complaints < 2; complaints++) {
			const struct vm_exit *e;
			bool fault = cases[i].wrong && !complaints;

			x.vmcb.efer = EFER_LMA;
			x.vmcb.cs.attributes = cases[i].compatibility ? 0 : ATTRIBUTE_L;
			x.vmcb.cr4 = cases[i].cr4;
			v.gpr[GPR_RCX] = cases[i].value;
			explained = 0;
			e = leave(0xffffffff, cases[i].code, 4);
			if (e->kind != (fault ? EXIT_REFUSED : EXIT_ENTRY_FAILED))
				fail_msg("case %u, %u complaints: kind %u", i, complaints, e->kind);
			if (fault)
				assert_int_equal(e->vector, 13);
			assert_int_equal(explained, !fault);
		}
	}
	/* The code cannot be read. */
	readable = false;
	complaints = 0;
	assert_int_equal(leave(0xffffffff, cases[0].code, 4)->kind, EXIT_ENTRY_FAILED);
}

/* While Lamina steps the guest, its exceptions exit and are its own. */
static void test_exceptions_of_a_step(void **state)
{
	const struct vm_exit *e;

	(void)state;
	x.vmcb.exit_info1 = 6;
	x.vmcb.exit_info2 = 0x12345678;
	e = LEAVE(0x4e, "");
	assert_int_equal(e->kind, EXIT_EXCEPTION);
	assert_int_equal(e->exception.vector, 14);
	assert_true(e->exception.has_error);
	assert_int_equal(e->exception.error, 6);
	assert_int_equal(cr2, 0x12345678);
	e = LEAVE(0x4d, "");
	assert_int_equal(e->exception.vector, 13);
	assert_true(e->exception.has_error);
	e = LEAVE(0x46, "");
	assert_int_equal(e->exception.vector, 6);
	assert_false(e->exception.has_error);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_wrong_cr_writes, setup),
		cmocka_unit_test_setup(test_exceptions_of_a_step, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

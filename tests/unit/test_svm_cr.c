/* SOURCES: arch/x86_64/svm/svm_exit.c vmm/emulate/code_memory.c vmm/emulate/decode.c vmm/emulate/decode_tables.c */
/* What the AMD-V engine makes of exits at control registers. It only decodes: the operands of LMSW and SMSW are in RAM or a device below, whose
 * locks nobody may wait for who still counts as in the guest (kick() in vmm/mmu/virtual_mmu.c), so that they are the handler's; and RIP is the
 * dispatcher's. The functions that would do either are not linked here. */
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

static void test_smsw(void **state)
{
	const struct vm_exit *e;

	(void)state;
	e = LEAVE(CR0_READ, "\x0f\x01\x23"); /* smsw (%rbx) */
	assert_int_equal(e->kind, EXIT_SMSW);
	assert_int_equal(e->cr.operand, MSW_MEMORY);
	assert_int_equal(e->cr.insn->base, 3);
	assert_int_equal(e->length, 3);
	e = LEAVE(CR0_READ, "\x66\x0f\x01\xe1"); /* smsw %cx */
	assert_int_equal(e->kind, EXIT_SMSW);
	assert_int_equal(e->cr.operand, MSW_GPR);
	assert_int_equal(e->cr.gpr, 1);
	assert_int_equal(e->cr.size, 2);
	assert_int_equal(e->length, 4);
	e = LEAVE(CR0_READ, "\x0f\x01\xe1"); /* smsw %ecx */
	assert_int_equal(e->cr.size, 4);
	e = LEAVE(CR0_READ, "\x49\x0f\x01\xe1"); /* smsw %r9 */
	assert_int_equal(e->kind, EXIT_SMSW);
	assert_int_equal(e->cr.gpr, 9);
	assert_int_equal(e->cr.size, 8);
}

static void test_lmsw(void **state)
{
	const struct vm_exit *e;

	(void)state;
	e = LEAVE(CR0_SELECTIVE, "\x0f\x01\x33"); /* lmsw (%rbx) */
	assert_int_equal(e->kind, EXIT_LMSW);
	assert_int_equal(e->cr.operand, MSW_MEMORY);
	assert_int_equal(e->length, 3);
	e = LEAVE(CR0_SELECTIVE, "\x41\x0f\x01\xf0"); /* lmsw %r8w */
	assert_int_equal(e->kind, EXIT_LMSW);
	assert_int_equal(e->cr.operand, MSW_GPR);
	assert_int_equal(e->cr.gpr, 8);
	assert_int_equal(e->length, 4);
	assert_int_equal(LEAVE(CR0_WRITE, "\x0f\x06")->kind, EXIT_CLTS);
	assert_int_equal(v.exit.length, 2);
}

static void test_mov(void **state)
{
	const struct vm_exit *e;

	(void)state;
	e = LEAVE(CR0_WRITE, "\x0f\x22\xc1"); /* mov %rcx, %cr0 */
	assert_int_equal(e->kind, EXIT_CR_WRITE);
	assert_int_equal(e->cr.cr, 0);
	assert_int_equal(e->cr.gpr, 1);
	assert_int_equal(e->length, 3);
	e = LEAVE(CR0_SELECTIVE, "\x0f\x22\xc4");
	assert_int_equal(e->kind, EXIT_CR_WRITE);
	assert_int_equal(e->cr.cr, 0);
	assert_int_equal(e->cr.gpr, 4);
	e = LEAVE(CR0_READ + 4, "\x41\x0f\x20\xe7"); /* mov %cr4, %r15 */
	assert_int_equal(e->kind, EXIT_CR_READ);
	assert_int_equal(e->cr.cr, 4);
	assert_int_equal(e->cr.gpr, 15);
	assert_int_equal(e->length, 4);
	e = LEAVE(CR0_WRITE + 8, "\x44\x0f\x22\x00"); /* the mod field does not count */
	assert_int_equal(e->kind, EXIT_CR_WRITE);
	assert_int_equal(e->cr.cr, 8);
	assert_int_equal(e->cr.gpr, 0);
	e = LEAVE(CR0_WRITE + 3, "\x0f\x22\xdf");
	assert_int_equal(e->kind, EXIT_CR3_WRITE);
	assert_int_equal(e->cr.gpr, 7);
	e = LEAVE(CR0_READ + 3, "\x0f\x20\xdc");
	assert_int_equal(e->kind, EXIT_CR3_READ);
	assert_int_equal(e->cr.gpr, 4);
}

/* With decode assists nobody reads the code for a MOV, and for the others there is nothing else to do. */
static void test_decode_assists(void **state)
{
	const struct vm_exit *e;

	(void)state;
	svm_features.decode_assists = true;
	x.vmcb.exit_info1 = BIT(63) | 13;
	e = LEAVE(CR0_WRITE + 4, "\x90");
	assert_int_equal(e->kind, EXIT_CR_WRITE);
	assert_int_equal(e->cr.cr, 4);
	assert_int_equal(e->cr.gpr, 13);
	assert_int_equal(e->length, 0);
	assert_int_equal(LEAVE(CR0_READ + 3, "\x90")->kind, EXIT_CR3_READ);
	assert_int_equal(decoded, 0);
	x.vmcb.exit_info1 = 0;
	assert_int_equal(LEAVE(CR0_READ, "\x0f\x01\x23")->kind, EXIT_SMSW);
	assert_int_equal(decoded, 1);
}

/* What is remembered is decoded once, until its bytes change; a memory operand wants the emulator's state each time. */
static void test_memory(void **state)
{
	(void)state;
	LEAVE(CR0_WRITE, "\x0f\x22\xc1");
	assert_int_equal(LEAVE(CR0_WRITE, "\x0f\x22\xc1")->cr.gpr, 1);
	assert_int_equal(decoded, 1);
	assert_int_equal(LEAVE(CR0_WRITE, "\x0f\x22\xc3")->cr.gpr, 3);
	assert_int_equal(decoded, 2);
	x.vmcb.cr3 = 0x6000; /* another address space has a slot of its own */
	LEAVE(CR0_WRITE, "\x0f\x22\xc3");
	x.vmcb.cr3 = 0x5000;
	assert_int_equal(LEAVE(CR0_WRITE, "\x0f\x22\xc3")->cr.gpr, 3);
	assert_int_equal(decoded, 3);
	LEAVE(CR0_SELECTIVE, "\x0f\x01\x33");
	LEAVE(CR0_SELECTIVE, "\x0f\x01\x33");
	assert_int_equal(decoded, 5);
}

/* Another vCPU has changed the code since: the guest runs what is there now. */
static void test_other_code(void **state)
{
	(void)state;
	assert_int_equal(LEAVE(CR0_WRITE, "\x90")->kind, EXIT_ENGINE);
	assert_int_equal(LEAVE(CR0_WRITE, "\x0f\x05")->kind, EXIT_ENGINE);
	assert_int_equal(LEAVE(CR0_WRITE, "\x0f\x01\x3b")->kind, EXIT_ENGINE); /* invlpg */
	assert_int_equal(LEAVE(CR0_WRITE, "\x0f\x38\x20\xc0")->kind, EXIT_ENGINE);
	readable = false;
	assert_int_equal(LEAVE(CR0_WRITE, "\x0f\x22\xc1")->kind, EXIT_ENGINE);
}

static void test_invlpg(void **state)
{
	const struct vm_exit *e;

	(void)state;
	e = LEAVE(0x79, "\x0f\x01\x3b");
	assert_int_equal(e->kind, EXIT_INVLPG);
	assert_int_equal(e->length, 3);
	assert_int_equal(e->page_fault.linear, 0x1234);
	assert_int_equal(LEAVE(0x79, "\x0f\x01\xf8")->kind, EXIT_ENGINE); /* swapgs */
	svm_features.decode_assists = true;
	x.vmcb.exit_info1 = 0x7000;
	e = LEAVE(0x79, "\x90");
	assert_int_equal(e->kind, EXIT_INVLPG);
	assert_int_equal(e->page_fault.linear, 0x7000);
}

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
		cmocka_unit_test_setup(test_smsw, setup),
		cmocka_unit_test_setup(test_lmsw, setup),
		cmocka_unit_test_setup(test_mov, setup),
		cmocka_unit_test_setup(test_decode_assists, setup),
		cmocka_unit_test_setup(test_memory, setup),
		cmocka_unit_test_setup(test_other_code, setup),
		cmocka_unit_test_setup(test_invlpg, setup),
		cmocka_unit_test_setup(test_wrong_cr_writes, setup),
		cmocka_unit_test_setup(test_exceptions_of_a_step, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

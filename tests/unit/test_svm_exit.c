/* SOURCES: arch/x86_64/svm/svm_exit.c vmm/emulate/code_memory.c vmm/emulate/decode.c vmm/emulate/decode_tables.c */
/* What the AMD-V engine makes of exits (APM vol. 2, appendix C), those at control registers first. It only decodes: the operands of LMSW and SMSW are in RAM or a device below, whose
 * locks nobody may wait for who still counts as in the guest (kick() in vmm/mmu/virtual_mmu.c), so that they are the handler's; and RIP is the
 * dispatcher's. The functions that would do either are not linked here. */
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/x86_64/svm/svm.h"
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "tests/unit/fakes.h"
#include "vmm/exits/exit.h"
#include "vmm/exits/exit_instruction.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vm/vm_vcpu.h"

#define RIP 0xffffffff81000100

struct svm_features svm_features;

static struct vm vm;
static struct vcpu v;
static struct svm_vcpu x;
static uint8_t code[16];
static bool readable;
static unsigned decoded, exits, requeues, looks, irets, explained;

uint64_t svm_read(struct vcpu *of, enum vcpu_register reg) { (void)of; (void)reg; return 0x80000011; }
void svm_requeue(struct vcpu *of) { (void)of; requeues++; }
void svm_virtual_changed(struct vcpu *of) { (void)of; looks++; }
void svm_iret(struct vcpu *of) { (void)of; irets++; }
bool svm_step_done(struct vcpu *of)
{
	unsigned step = x.step;

	(void)of;
	x.step = STEP_NONE;
	if (step == STEP_PLAIN)
		x.vmcb.rflags &= ~RFLAGS_TF;
	return step != STEP_NONE;
}

void svm_write(struct vcpu *of, enum vcpu_register reg, uint64_t value) { (void)of; (void)reg; (void)value; }
unsigned svm_explain_entry_failure(struct vcpu *of, bool aloud) { (void)of; explained += aloud; return 1; }
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
	decoded = exits = requeues = looks = irets = explained = 0;
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

/* ---- The other exits ---- */

static const struct vm_exit *plain(unsigned exit_code)
{
	return LEAVE(exit_code, "\x90");
}

static void test_kinds(void **state)
{
	static const struct { uint16_t code; enum vm_exit_kind kind; } all[] = {
		{ 0x60, EXIT_EXTERNAL_INTERRUPT }, { 0x61, EXIT_NMI }, { 0x64, EXIT_INTERRUPT_WINDOW }, { 0x72, EXIT_CPUID },
		{ 0x76, EXIT_WBINVD }, { 0x78, EXIT_HLT }, { 0x89, EXIT_WBINVD }, { 0x8d, EXIT_XSETBV },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		x.vmcb.clean = 1;
		x.clean = 0x77;
		x.vmcb.event_injection = EVENT_VALID;
		assert_int_equal(plain(all[i].code)->kind, all[i].kind);
		assert_int_equal(v.exit.length, 0);
		assert_int_equal(x.vmcb.clean, 0x77);
		assert_int_equal(x.vmcb.event_injection, 0);
	}
	assert_int_equal(plain(0x60)->vector, 0);
	x.vmcb.exit_info1 = 0;
	assert_int_equal(plain(0x7c)->kind, EXIT_MSR_READ);
	x.vmcb.exit_info1 = 1;
	assert_int_equal(plain(0x7c)->kind, EXIT_MSR_WRITE);
	x.vmcb.exit_info1 = 0x1230018;
	assert_int_equal(plain(0x7d)->kind, EXIT_TASK_SWITCH);
	assert_int_equal(v.exit.task.selector, 0x18);
	assert_int_equal(irets, 0);
	assert_int_equal(plain(0x74)->kind, EXIT_NMI_WINDOW);
	assert_int_equal(irets, 1);
	assert_int_equal(requeues, 0);
	assert_int_equal(explained, 0);
}

/* INVLPGA, VMRUN to SKINIT, MONITOR, MWAIT, RDPRU, INVPCID and MCOMMIT do not exist in the guest; RDPMC is the handler's. */
static void test_refused(void **state)
{
	static const uint8_t undefined[] = { 0x7a, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x8a, 0x8b, 0x8c, 0x8e, 0xa2, 0xa3 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(undefined); i++) {
		assert_int_equal(plain(undefined[i])->kind, EXIT_REFUSED);
		assert_int_equal(v.exit.vector, VECTOR_UD);
	}
	assert_int_equal(plain(0x6f)->kind, EXIT_RDPMC);
	/* The intercept of XSETBV comes before the check of the CPL. */
	x.vmcb.cpl = 3;
	assert_int_equal(plain(0x8d)->kind, EXIT_REFUSED);
	assert_int_equal(v.exit.vector, VECTOR_GP);
}

static void test_unknown(void **state)
{
	static const uint16_t unknown[] = { 0x66, 0x71, 0x73, 0x75, 0x77, 0x7e, 0x87, 0x88, 0x8f, 0xa1, 0xa4, 0x401 };

	(void)state;
	x.vmcb.exit_info1 = 0x4242;
	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
		assert_int_equal(plain(unknown[i])->kind, EXIT_UNKNOWN);
		assert_int_equal(v.exit.raw.reason, unknown[i]);
		assert_int_equal(v.exit.raw.qualification, 0x4242);
	}
	assert_int_equal(explained, 0);
}

/* VMRUN refused the state; there is no event to deliver again then. */
static void test_entry_failure(void **state)
{
	(void)state;
	x.vmcb.exit_interrupt_info = EVENT_VALID;
	assert_int_equal(plain(0xffffffffU)->kind, EXIT_ENTRY_FAILED);
	assert_int_equal(v.exit.raw.qualification, 0);
	assert_int_equal((uint32_t)v.exit.raw.reason, 0xffffffffU);
	assert_int_equal(explained, 1);
	assert_int_equal(requeues, 0);
	assert_int_equal(plain(0x61)->kind, EXIT_NMI);
	assert_int_equal(requeues, 1);
}

static const struct vm_exit *io(uint64_t info)
{
	x.vmcb.exit_info1 = info;
	return plain(0x7b);
}

/* APM vol. 2, "IOIO Intercept". */
static void test_io(void **state)
{
	const struct vm_exit *e;

	(void)state;
	x.vmcb.exit_info2 = RIP + 2;
	for (unsigned size = 1; size <= 4; size *= 2) {
		e = io(0xffff0000 | size << 4);
		assert_int_equal(e->kind, EXIT_IO);
		assert_int_equal(e->io.size, size);
		assert_int_equal(e->io.port, 0xffff);
		assert_int_equal(e->length, 2);
		assert_false(e->io.in || e->io.string || e->io.rep);
	}
	e = io(0x3f80011);
	assert_int_equal(e->io.port, 0x3f8);
	assert_true(e->io.in);
	assert_false(e->io.string || e->io.rep);
	/* Without decode assists neither the address size nor the segment is there. */
	e = io(0x10c | 3 << 10);
	assert_true(e->io.string && e->io.rep);
	assert_int_equal(e->io.address_size, 0);
	svm_features.decode_assists = true;
	for (unsigned i = 0; i < 3; i++) {
		e = io(4 | BIT(7 + i) | 5 << 10);
		assert_true(e->io.string);
		assert_false(e->io.rep);
		assert_int_equal(e->io.address_size, 2U << i);
		assert_int_equal(e->io.segment, 5);
	}
}

/* APM vol. 2, "Nested versus Guest Page Faults, Fault Ordering". */
static void test_nested_faults(void **state)
{
	const struct vm_exit *e;

	(void)state;
	x.vmcb.exit_info2 = 0xfee00300;
	x.vmcb.exit_info1 = BIT(32);
	e = plain(0x400);
	assert_int_equal(e->kind, EXIT_NESTED_FAULT);
	assert_int_equal(e->fault.gpa, 0xfee00300);
	assert_int_equal(e->fault.access, ACCESS_READ);
	assert_true(e->fault.translated);
	assert_false(e->fault.vectoring);
	x.vmcb.exit_info1 = BIT(32) | BIT(1);
	assert_int_equal(plain(0x400)->fault.access, ACCESS_WRITE);
	x.vmcb.exit_info1 = BIT(33) | BIT(4) | BIT(0);
	e = plain(0x400);
	assert_int_equal(e->fault.access, ACCESS_FETCH);
	assert_false(e->fault.translated);
	assert_int_equal(requeues, 0);
	/* In the middle of a delivery. */
	x.vmcb.exit_interrupt_info = EVENT_VALID;
	e = plain(0x400);
	assert_int_equal(e->kind, EXIT_NESTED_FAULT);
	assert_int_equal(e->fault.gpa, 0xfee00300);
	assert_true(e->fault.vectoring);
	assert_int_equal(requeues, 1);
}

static void test_page_faults(void **state)
{
	const struct vm_exit *e;

	(void)state;
	v.shadow = (struct shadow_vcpu *)&x; /* with shadow paging */
	x.vmcb.exit_info1 = 0x1f;
	x.vmcb.exit_info2 = 0x7fffffffe000;
	e = plain(0x4e);
	assert_int_equal(e->kind, EXIT_PAGE_FAULT);
	assert_int_equal(e->page_fault.linear, 0x7fffffffe000);
	assert_int_equal(e->page_fault.error, 0x1f);
	assert_false(e->page_fault.vectoring);
	x.vmcb.exit_interrupt_info = EVENT_VALID;
	assert_true(plain(0x4e)->page_fault.vectoring);
	assert_int_equal(requeues, 1);
}

static void test_exceptions(void **state)
{
	const struct vm_exit *e;

	(void)state;
	x.vmcb.exit_info1 = 7;
	for (unsigned vector = 0; vector < 32; vector++) {
		if (vector == 14 || vector == VECTOR_MC)
			continue;
		e = plain(0x40 + vector);
		assert_int_equal(e->kind, EXIT_EXCEPTION);
		assert_int_equal(e->exception.vector, vector);
		assert_int_equal(e->exception.has_error, vector_has_error_code((uint8_t)vector));
		assert_int_equal(e->exception.error, vector_has_error_code((uint8_t)vector) ? 7 : 0);
	}
	assert_int_equal(plain(0x40 + VECTOR_MC)->kind, EXIT_MACHINE_CHECK);
}

/* The delivery would have cleared DR7.GD and ended the shadow of STI. */
static void test_debug(void **state)
{
	(void)state;
	x.clean = CLEAN_ALL;
	x.vmcb.dr7 = 0x2400;
	x.vmcb.dr6 = 0xffff4ff0;
	x.vmcb.interrupt_shadow = SHADOW;
	x.vmcb.rflags = RFLAGS_TF;
	assert_int_equal(plain(0x41)->kind, EXIT_EXCEPTION);
	assert_int_equal(x.vmcb.dr7, 0x400);
	assert_int_equal(x.vmcb.dr6, 0xffff4ff0);
	assert_int_equal(x.vmcb.interrupt_shadow, 0);
	assert_int_equal(x.vmcb.rflags, RFLAGS_TF);
	assert_int_equal(x.vmcb.clean, CLEAN_ALL & ~CLEAN_DR);
}

/* Lamina's own single step is no exception of the guest's, unless a breakpoint was met as well. */
static void test_own_step(void **state)
{
	(void)state;
	x.clean = CLEAN_ALL;
	x.step = STEP_PLAIN;
	x.vmcb.dr7 = 0x2400;
	x.vmcb.dr6 = 0xffff4ff0;
	x.vmcb.rflags = RFLAGS_TF;
	assert_int_equal(plain(0x41)->kind, EXIT_NMI_WINDOW);
	assert_int_equal(x.vmcb.dr6, 0xffff0ff0);
	assert_int_equal(x.vmcb.dr7, 0x2400);
	assert_int_equal(x.vmcb.rflags, 0);
	assert_int_equal(x.vmcb.clean, CLEAN_ALL & ~CLEAN_DR);
	for (unsigned i = 0; i < 4; i++) {
		x.step = STEP_PLAIN;
		x.vmcb.dr6 = 0xffff4ff0 | BIT(i);
		assert_int_equal(plain(0x41)->kind, EXIT_EXCEPTION);
		assert_int_equal(x.vmcb.dr6, 0xffff0ff0 | BIT(i));
	}
	/* The IRET that was awaited has loaded the guest's own TF. */
	x.step = STEP_LOADS_FLAGS;
	x.vmcb.dr6 = 0xffff4ff0;
	x.vmcb.rflags = RFLAGS_TF | 2;
	assert_int_equal(plain(0x41)->kind, EXIT_NMI_WINDOW);
	assert_int_equal(x.vmcb.rflags, RFLAGS_TF | 2);
	x.step = STEP_PLAIN; /* any other step's TF is Lamina's own */
	plain(0x41);
	assert_int_equal(x.vmcb.rflags, 2);
}

/* What the guest and its CPU changed on their own is looked at before the exit. */
static void test_looks_closer(void **state)
{
	(void)state;
	x.vmcb.tlb_control = TLB_FLUSH_ALL;
	assert_int_equal(plain(0x72)->kind, EXIT_CPUID);
	assert_int_equal(looks, 0);
	assert_int_equal(x.vmcb.tlb_control, TLB_FLUSH_ALL);
	x.vmcb.v_tpr = 3;
	assert_int_equal(plain(0x72)->kind, EXIT_CPUID);
	assert_int_equal(looks, 1);
	assert_int_equal(x.vmcb.tlb_control, 0);
	assert_int_equal(v.pending, 0);
	x.nmi_wanted = true;
	plain(0x72);
	assert_int_equal(looks, 2);
	assert_int_equal(v.pending, PENDING_EVALUATE);
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
		cmocka_unit_test_setup(test_kinds, setup),
		cmocka_unit_test_setup(test_refused, setup),
		cmocka_unit_test_setup(test_unknown, setup),
		cmocka_unit_test_setup(test_entry_failure, setup),
		cmocka_unit_test_setup(test_io, setup),
		cmocka_unit_test_setup(test_nested_faults, setup),
		cmocka_unit_test_setup(test_page_faults, setup),
		cmocka_unit_test_setup(test_exceptions, setup),
		cmocka_unit_test_setup(test_debug, setup),
		cmocka_unit_test_setup(test_own_step, setup),
		cmocka_unit_test_setup(test_looks_closer, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: arch/x86_64/vmx/vmx_exit.c */
/* What the VT-x engine makes of exit reasons and qualifications (SDM vol. 3, "VM-Exit Information Fields"), with a VMCS of the test's. */
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/x86_64/vmx/vmx.h"
#include "lib/x86/vectors.h"
#include "tests/unit/fakes.h"
#include "vmm/exits/exit.h"
#include "vmm/vm/vm.h"

#define RIP 0x401000
#define NMI_UNBLOCKED BIT(12) /* "NMI unblocking due to IRET", in an exit qualification and in the interruption information */

static uint64_t vmcs[0x7000];
static unsigned writes;
static struct vm vm;
static struct vcpu v;
static uint64_t dr6;
static unsigned exits, requeues, unblocked, explained;

/* ---- Around it ---- */

uint64_t vmcs_read_any(uint64_t encoding)
{
	assert_true(encoding < 0x7000);
	return vmcs[encoding];
}
void vmcs_write_any(uint64_t encoding, uint64_t value)
{
	assert_true(encoding < 0x7000);
	vmcs[encoding] = value;
	writes++;
}
uint64_t vmx_read(struct vcpu *of, enum vcpu_register reg)
{
	assert_ptr_equal(of, &v);
	assert_int_equal(reg, VCPU_DR6); /* nothing else is for the decoder */
	return dr6;
}
void vmx_write(struct vcpu *of, enum vcpu_register reg, uint64_t value)
{
	assert_ptr_equal(of, &v);
	assert_int_equal(reg, VCPU_DR6);
	dr6 = value;
}
void vmx_requeue_vectoring(void) { requeues++; }
void vmx_unblock_nmi(void) { unblocked++; }
void vmx_explain_entry_failure(struct vcpu *of) { (void)of; explained++; }
bool vcpu_exit(struct vcpu *of)
{
	assert_ptr_equal(of, &v);
	exits++;
	return exits & 1;
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(vmcs, 0, sizeof(vmcs));
	memset(&vm, 0, sizeof(vm));
	memset(&v, 0, sizeof(v));
	v.vm = &vm;
	dr6 = 0xffff0ff0;
	writes = exits = requeues = unblocked = explained = 0;
	vmcs[VMCS_GUEST_RIP.encoding] = RIP;
	vmcs[VMCS_EXIT_INSTRUCTION_LENGTH.encoding] = 3;
	return 0;
}

static const struct vm_exit *leave(uint32_t reason, uint64_t qualification)
{
	memset(&v.exit, 0xa5, sizeof(v.exit));
	vmcs[VMCS_EXIT_REASON.encoding] = reason;
	vmcs[VMCS_EXIT_QUALIFICATION.encoding] = qualification;
	exits = 0;
	assert_true(vmx_handle_exit(&v)); /* what vcpu_exit() says */
	assert_int_equal(exits, 1);
	return &v.exit;
}

static const struct vm_exit *exception(unsigned vector, unsigned type, uint64_t qualification, uint32_t error)
{
	vmcs[VMCS_EXIT_INTERRUPTION.encoding] = EVENT_VALID | type << EVENT_KIND_SHIFT | vector;
	vmcs[VMCS_EXIT_ERROR_CODE.encoding] = error;
	if (vector == VECTOR_PF || vector == 17)
		vmcs[VMCS_EXIT_INTERRUPTION.encoding] |= EVENT_HAS_ERROR;
	return leave(0, qualification);
}

/* An exit in the middle of the delivery of an event. */
static void vectoring(void)
{
	vmcs[VMCS_IDT_VECTORING.encoding] = EVENT_VALID | 0x41;
}

/* ---- Reasons ---- */

static void test_reasons_alone(void **state)
{
	static const struct { uint8_t reason; enum vm_exit_kind kind; } plain[] = {
		{ 2, EXIT_TRIPLE_FAULT }, { 7, EXIT_INTERRUPT_WINDOW }, { 8, EXIT_NMI_WINDOW }, { 10, EXIT_CPUID }, { 12, EXIT_HLT },
		{ 13, EXIT_WBINVD }, { 15, EXIT_RDPMC }, { 31, EXIT_MSR_READ }, { 32, EXIT_MSR_WRITE }, { 40, EXIT_PAUSE }, { 41, EXIT_MACHINE_CHECK },
		{ 52, EXIT_TIME_SLICE }, { 54, EXIT_WBINVD }, { 55, EXIT_XSETBV },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++) {
		assert_int_equal(leave(plain[i].reason, 0)->kind, plain[i].kind);
		assert_int_equal(v.exit.length, 3);
	}
	assert_int_equal(writes, 0); /* RIP is the dispatcher's */
}

/* VMX instructions, GETSEC, MONITOR and MWAIT do not exist in the guest. */
static void test_refused(void **state)
{
	static const uint8_t undefined[] = { 11, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 36, 39, 50, 53, 59 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(undefined); i++) {
		assert_int_equal(leave(undefined[i], 0)->kind, EXIT_REFUSED);
		assert_int_equal(v.exit.vector, VECTOR_UD);
	}
}

/* What there is no line for, gaps in the table, and reasons of CPUs to come. */
static void test_unknown(void **state)
{
	static const uint32_t unknown[] = { 3, 16, 29, 33, 37, 63, 64, 65, 0xffff, 0x10000, BIT(30) };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
		const struct vm_exit *e = leave(unknown[i], 0x1234);

		assert_int_equal(e->kind, EXIT_UNKNOWN);
		assert_int_equal(e->raw.reason, unknown[i]);
		assert_int_equal(e->raw.qualification, 0x1234);
	}
	assert_int_equal(explained, 0);
}

static void test_entry_failed(void **state)
{
	const struct vm_exit *e = leave(BIT(31) | 33, 4);

	(void)state;
	assert_int_equal(e->kind, EXIT_ENTRY_FAILED);
	assert_int_equal(e->raw.reason, 33);
	assert_int_equal(e->raw.qualification, 4);
	assert_int_equal(explained, 1);
	assert_non_null(strstr(fake.log, "VM entry failed, exit reason 33, qualification 4"));
	assert_int_equal(leave(BIT(31) | 10, 0)->kind, EXIT_ENTRY_FAILED); /* not CPUID */
}

static void test_external_interrupt(void **state)
{
	(void)state;
	vmcs[VMCS_EXIT_INTERRUPTION.encoding] = EVENT_VALID | 0xef;
	assert_int_equal(leave(1, 0)->kind, EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(v.exit.vector, 0xef);
}

static void test_small_ones(void **state)
{
	const struct vm_exit *e;

	(void)state;
	e = leave(9, 0xc0000028);
	assert_int_equal(e->kind, EXIT_TASK_SWITCH);
	assert_int_equal(e->task.selector, 0x28);
	e = leave(14, 0xffff888000001234);
	assert_int_equal(e->kind, EXIT_INVLPG);
	assert_true(e->page_fault.linear == 0xffff888000001234);
	e = leave(45, 0x51);
	assert_int_equal(e->kind, EXIT_EOI);
	assert_int_equal(e->vector, 0x51);
	e = leave(56, 0x300);
	assert_int_equal(e->kind, EXIT_APIC_WRITE);
	assert_int_equal(e->apic.offset, 0x300);
	/* The instruction that lowered the TPR is over, and the shadow of the one before. */
	vmcs[VMCS_GUEST_INTERRUPTIBILITY.encoding] = INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS | INTERRUPTIBILITY_NMI;
	assert_int_equal(leave(43, 0)->kind, EXIT_TPR_BELOW_THRESHOLD);
	assert_int_equal(vmcs[VMCS_GUEST_INTERRUPTIBILITY.encoding], INTERRUPTIBILITY_NMI);
}

/* ---- Qualifications ---- */

static void test_io(void **state)
{
	const struct vm_exit *e;

	(void)state;
	e = leave(30, 0x3f8ULL << 16); /* OUT, a byte */
	assert_int_equal(e->kind, EXIT_IO);
	assert_int_equal(e->io.port, 0x3f8);
	assert_int_equal(e->io.size, 1);
	assert_false(e->io.in);
	assert_false(e->io.string);
	assert_false(e->io.rep);
	e = leave(30, 0xcfcULL << 16 | BIT(3) | 3); /* IN, four bytes */
	assert_int_equal(e->io.size, 4);
	assert_true(e->io.in);
	assert_false(e->io.string);
	vmcs[VMCS_EXIT_INSTRUCTION_INFO.encoding] = 2U << 7 | SEG_FS << 15;
	e = leave(30, 0x1f0ULL << 16 | BIT(4) | BIT(5) | 1); /* REP OUTSW, FS, 64-bit addresses */
	assert_true(e->io.string);
	assert_true(e->io.rep);
	assert_false(e->io.in);
	assert_int_equal(e->io.size, 2);
	assert_int_equal(e->io.port, 0x1f0);
	assert_int_equal(e->io.address_size, 8);
	assert_int_equal(e->io.segment, SEG_FS);
	vmcs[VMCS_EXIT_INSTRUCTION_INFO.encoding] = 0;
	assert_int_equal(leave(30, BIT(4))->io.address_size, 2);
}

static void test_control_registers(void **state)
{
	const struct vm_exit *e;

	(void)state;
	e = leave(28, 0 | 9 << 8);
	assert_int_equal(e->kind, EXIT_CR_WRITE);
	assert_int_equal(e->cr.cr, 0);
	assert_int_equal(e->cr.gpr, 9);
	e = leave(28, 8 | 15 << 8);
	assert_int_equal(e->kind, EXIT_CR_WRITE);
	assert_int_equal(e->cr.cr, 8);
	assert_int_equal(e->cr.gpr, 15);
	e = leave(28, 8 | 1 << 4 | 2 << 8);
	assert_int_equal(e->kind, EXIT_CR_READ);
	assert_int_equal(e->cr.cr, 8);
	assert_int_equal(e->cr.gpr, 2);
	e = leave(28, 4 | 4 << 8);
	assert_int_equal(e->kind, EXIT_CR_WRITE);
	assert_int_equal(e->cr.cr, 4);
	assert_int_equal(e->cr.gpr, 4);
	e = leave(28, 3 | 7 << 8);
	assert_int_equal(e->kind, EXIT_CR3_WRITE);
	assert_int_equal(e->cr.gpr, 7);
	e = leave(28, 3 | 1 << 4 | 8 << 8);
	assert_int_equal(e->kind, EXIT_CR3_READ);
	assert_int_equal(e->cr.gpr, 8);
	assert_int_equal(leave(28, 2 << 4)->kind, EXIT_CLTS);
	e = leave(28, 3 << 4 | 0xfff1ULL << 16); /* LMSW, of a register */
	assert_int_equal(e->kind, EXIT_LMSW);
	assert_int_equal(e->cr.operand, MSW_VALUE);
	assert_int_equal(e->cr.value, 0xfff1);
	e = leave(28, 3 << 4 | BIT(6) | 0x8ULL << 16); /* of memory: the CPU has read it as well */
	assert_int_equal(e->kind, EXIT_LMSW);
	assert_int_equal(e->cr.operand, MSW_VALUE);
	assert_int_equal(e->cr.value, 8);
	assert_int_equal(writes, 0);
}

static void test_ept_violation(void **state)
{
	const struct vm_exit *e;

	(void)state;
	vmcs[VMCS_GUEST_PHYSICAL_ADDRESS.encoding] = 0xfee00123456;
	e = leave(48, BIT(1) | BIT(7) | BIT(8));
	assert_int_equal(e->kind, EXIT_NESTED_FAULT);
	assert_true(e->fault.gpa == 0xfee00123456);
	assert_int_equal(e->fault.access, ACCESS_WRITE);
	assert_true(e->fault.translated);
	assert_false(e->fault.vectoring);
	e = leave(48, BIT(0) | BIT(7)); /* at the guest's page tables */
	assert_int_equal(e->fault.access, ACCESS_READ);
	assert_false(e->fault.translated);
	assert_false(leave(48, BIT(0) | BIT(8))->fault.translated); /* without a linear address bit 8 means nothing */
	assert_int_equal(leave(48, BIT(2) | BIT(7) | BIT(8))->fault.access, ACCESS_FETCH);
	assert_int_equal(requeues, 0);
	assert_int_equal(writes, 0);
	vectoring();
	assert_true(leave(48, BIT(1) | BIT(7) | BIT(8))->fault.vectoring);
	assert_int_equal(requeues, 1);
}

/* An IRET that faulted had unblocked NMIs already; not so where its fault came in a delivery. */
static void test_nmi_unblocking(void **state)
{
	uint64_t *blocking = &vmcs[VMCS_GUEST_INTERRUPTIBILITY.encoding];

	(void)state;
	leave(48, BIT(0) | BIT(7) | BIT(8));
	assert_int_equal(*blocking, 0);
	leave(48, BIT(0) | BIT(7) | BIT(8) | NMI_UNBLOCKED);
	assert_int_equal(*blocking, INTERRUPTIBILITY_NMI);
	*blocking = 0;
	vectoring();
	leave(48, BIT(0) | BIT(7) | BIT(8) | NMI_UNBLOCKED);
	assert_int_equal(*blocking, 0);
}

static void test_apic_access(void **state)
{
	const struct vm_exit *e;

	(void)state;
	e = leave(44, 0x300 | 1 << 12);
	assert_int_equal(e->kind, EXIT_APIC_ACCESS);
	assert_int_equal(e->apic.offset, 0x300);
	assert_int_equal(e->apic.access, ACCESS_WRITE);
	assert_true(e->apic.linear);
	e = leave(44, 0x20);
	assert_int_equal(e->apic.access, ACCESS_READ);
	assert_true(e->apic.linear);
	e = leave(44, 2 << 12);
	assert_int_equal(e->apic.access, ACCESS_FETCH);
	assert_false(e->apic.linear);
	assert_false(leave(44, 3 << 12)->apic.linear);   /* a linear access of an event's delivery */
	assert_false(leave(44, 10 << 12)->apic.linear);  /* guest-physical */
	vectoring();
	assert_false(leave(44, 1 << 12)->apic.linear);
	assert_int_equal(requeues, 1);
}

/* ---- Exceptions ---- */

static void test_nmi_of_the_machine(void **state)
{
	(void)state;
	assert_int_equal(exception(2, EVENT_KIND_NMI, 0, 0)->kind, EXIT_NMI);
	assert_int_equal(unblocked, 1);
	assert_int_equal(exception(VECTOR_MC, EVENT_KIND_EXCEPTION, 0, 0)->kind, EXIT_MACHINE_CHECK);
	assert_int_equal(unblocked, 1);
}

static void test_page_fault(void **state)
{
	const struct vm_exit *e;

	(void)state;
	e = exception(VECTOR_PF, EVENT_KIND_EXCEPTION, 0x7fff12345678, 6);
	assert_int_equal(e->kind, EXIT_PAGE_FAULT);
	assert_true(e->page_fault.linear == 0x7fff12345678);
	assert_int_equal(e->page_fault.error, 6);
	assert_false(e->page_fault.vectoring);
	assert_int_equal(writes, 0);
	vmcs[VMCS_EXIT_INTERRUPTION.encoding] |= NMI_UNBLOCKED;
	leave(0, 0);
	assert_int_equal(vmcs[VMCS_GUEST_INTERRUPTIBILITY.encoding], INTERRUPTIBILITY_NMI);
	vmcs[VMCS_GUEST_INTERRUPTIBILITY.encoding] = 0;
	vectoring();
	assert_true(leave(0, 0)->page_fault.vectoring);
	assert_int_equal(requeues, 1);
	assert_int_equal(vmcs[VMCS_GUEST_INTERRUPTIBILITY.encoding], 0);
}

static void test_alignment_check(void **state)
{
	const struct vm_exit *e;

	(void)state;
	e = exception(17, EVENT_KIND_EXCEPTION, 0, 0);
	assert_int_equal(e->kind, EXIT_EXCEPTION);
	assert_int_equal(e->exception.vector, 17);
	assert_true(e->exception.has_error);
	assert_int_equal(e->exception.error, 0);
	e = exception(VECTOR_UD, EVENT_KIND_EXCEPTION, 0, 99);
	assert_int_equal(e->exception.vector, VECTOR_UD);
	assert_false(e->exception.has_error);
	assert_int_equal(e->exception.error, 0); /* the field is that of an exit before */
	assert_int_equal(writes, 0);
	vectoring();
	exception(VECTOR_UD, EVENT_KIND_EXCEPTION, 0, 0);
	assert_int_equal(requeues, 1);
}

/* The CPU leaves DR6, DR7.GD and the shadow for who delivers the #DB. */
static void test_debug_exception(void **state)
{
	(void)state;
	dr6 = 0xffff0ff0 | 0x3;
	vmcs[VMCS_GUEST_DR7.encoding] = 0x400 | BIT(13);
	vmcs[VMCS_GUEST_INTERRUPTIBILITY.encoding] = INTERRUPTIBILITY_MOV_SS | INTERRUPTIBILITY_NMI;
	assert_int_equal(exception(VECTOR_DB, EVENT_KIND_EXCEPTION, BIT(14) | 4, 0)->kind, EXIT_EXCEPTION);
	assert_int_equal(v.exit.exception.vector, VECTOR_DB);
	assert_int_equal(dr6, 0xffff0ff0 | BIT(14) | 4);
	assert_int_equal(vmcs[VMCS_GUEST_DR7.encoding], 0x400);
	assert_int_equal(vmcs[VMCS_GUEST_INTERRUPTIBILITY.encoding], INTERRUPTIBILITY_NMI);
	assert_int_equal(vmcs[VMCS_GUEST_RIP.encoding], RIP);
}

/* INT1 is a trap: the handler finds RIP behind it. */
static void test_int1(void **state)
{
	(void)state;
	vmcs[VMCS_EXIT_INSTRUCTION_LENGTH.encoding] = 1;
	exception(VECTOR_DB, EVENT_KIND_PRIVILEGED, 0, 0);
	assert_int_equal(v.exit.kind, EXIT_EXCEPTION);
	assert_int_equal(vmcs[VMCS_GUEST_RIP.encoding], RIP + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_reasons_alone, setup),
		cmocka_unit_test_setup(test_refused, setup),
		cmocka_unit_test_setup(test_unknown, setup),
		cmocka_unit_test_setup(test_entry_failed, setup),
		cmocka_unit_test_setup(test_external_interrupt, setup),
		cmocka_unit_test_setup(test_small_ones, setup),
		cmocka_unit_test_setup(test_io, setup),
		cmocka_unit_test_setup(test_control_registers, setup),
		cmocka_unit_test_setup(test_ept_violation, setup),
		cmocka_unit_test_setup(test_nmi_unblocking, setup),
		cmocka_unit_test_setup(test_apic_access, setup),
		cmocka_unit_test_setup(test_nmi_of_the_machine, setup),
		cmocka_unit_test_setup(test_page_fault, setup),
		cmocka_unit_test_setup(test_alignment_check, setup),
		cmocka_unit_test_setup(test_debug_exception, setup),
		cmocka_unit_test_setup(test_int1, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: tests/unit/exit_machine.c vmm/exits/exit.c vmm/exits/exit_cr.c vmm/exits/cpuid.c */
/* The dispatcher of exits and the handlers that stand with it: what each verdict leads to, who moves RIP, what guests do wrong. */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "tests/unit/exit_machine.h"
#include "tests/unit/fakes.h"

/* ---- The dispatcher ---- */

static void test_verdicts(void **state)
{
	(void)state;
	next.verdict = VERDICT_ADVANCE;
	assert_true(leave(EXIT_NESTED_FAULT));
	advanced();
	next.verdict = VERDICT_RESUME;
	assert_true(leave(EXIT_NESTED_FAULT));
	stayed();
	next.verdict = VERDICT_INJECT;
	assert_true(leave(EXIT_NESTED_FAULT));
	stayed();
	next.verdict = VERDICT_STOP;
	leave(EXIT_NESTED_FAULT);
	assert_int_equal(done.dumps, 1);
	assert_int_equal(done.advances, 0);
	assert_int_equal(fake.request_count, 0); /* the handler says why */
}

/* A broken contract stops this VM, whatever the handler's value is. */
static void test_no_verdict(void **state)
{
	static const unsigned none[] = { VERDICT_STOP + 1, 7, 0xffffffff };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
		next.verdict = none[i];
		leave(EXIT_NESTED_FAULT);
		stopped("an exit without a verdict");
	}
	assert_non_null(strstr(fake.log, "verdict 7 on an exit (nested page fault) is none"));
}

static void test_out_of_the_guest(void **state)
{
	(void)state;
	leave(EXIT_CPUID);
	assert_false(v.in_guest);
}

/* The short way back, and the others. */
static void test_way_back(void **state)
{
	(void)state;
	assert_true(leave(EXIT_CPUID));
	assert_int_equal(done.may_enters, 0);
	next.may_enter = false;
	assert_false(leave(EXIT_HLT)); /* something is pending */
	assert_int_equal(done.may_enters, 1);
	next.may_enter = true;
	assert_true(leave(EXIT_HLT));
	v.kickable = true; /* in_guest must be set with care */
	next.may_enter = false;
	assert_false(leave(EXIT_CPUID));
	assert_int_equal(done.may_enters, 1);
}

static void test_statistics(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		leave(EXIT_CPUID);
	leave(EXIT_WBINVD);
	for (unsigned kind = 0; kind < EXIT_KINDS; kind++)
		assert_int_equal(v.exit_count[kind], kind == EXIT_CPUID ? 3 : kind == EXIT_WBINVD ? 1 : 0);
	assert_true(v.exit_ticks[EXIT_CPUID] > 0);
	assert_int_equal(v.exit_ticks[EXIT_HLT], 0);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(vm_exit_name(EXIT_CPUID), "CPUID");
	assert_string_equal(vm_exit_name(EXIT_SMSW), "SMSW");
	assert_string_equal(vm_exit_name(EXIT_ENTRY_FAILED), "failed VM entry");
	for (unsigned kind = 0; kind < EXIT_KINDS; kind++)
		assert_true(strlen(vm_exit_name(kind)) < 27); /* vm.c's column */
}

/* No instruction, or one that is over or not executed: RIP stays. */
static void test_events(void **state)
{
	static const enum vm_exit_kind events[] = {
		EXIT_EXTERNAL_INTERRUPT, EXIT_NMI, EXIT_INTERRUPT_WINDOW, EXIT_NMI_WINDOW, EXIT_TPR_BELOW_THRESHOLD,
		EXIT_APIC_WRITE, EXIT_EOI, EXIT_TIME_SLICE, EXIT_TRIPLE_FAULT, EXIT_ENGINE,
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
		leave(events[i]);
		stayed();
	}
}

/* ---- Instructions ---- */

static void test_cpuid(void **state)
{
	struct cpuid_state s = { .apic_id = 5, .cr4 = 0x6f0 };
	uint32_t out[4];

	(void)state;
	v.lapic.apic_id = 5;
	v.lapic.enabled = true;
	memset(&vm.cpuid, 0x77, sizeof(vm.cpuid));
	vm.cpuid.basic[1][CPUID_EBX] = 0x20800;
	vm.cpuid.basic[1][CPUID_ECX] = 0;
	vm.cpuid.structured[1][CPUID_EAX] = 0x1234;
	v.gpr[GPR_RAX] = ~0xffffffffULL; /* the upper halves count for nothing, and are cleared */
	leave(EXIT_CPUID);
	advanced();
	cpuid_lookup(&vm.cpuid, &s, 0, 0, out);
	assert_int_equal(v.gpr[GPR_RAX], out[0]);
	assert_int_equal(v.gpr[GPR_RBX], out[1]);
	assert_int_equal(v.gpr[GPR_RCX], out[2]);
	assert_int_equal(v.gpr[GPR_RDX], out[3]);
	/* A leaf with the vCPU's own state; the local APIC's bit goes with its global enable. */
	v.gpr[GPR_RAX] = 1;
	leave(EXIT_CPUID);
	cpuid_lookup(&vm.cpuid, &s, 1, 0, out);
	assert_int_equal(v.gpr[GPR_RBX], out[1]);
	assert_int_equal(v.gpr[GPR_RBX], 0x5020800);
	assert_int_equal(v.gpr[GPR_RCX] & BIT(27), 0);
	assert_true(v.gpr[GPR_RDX] & BIT(9));
	v.lapic.enabled = false;
	v.gpr[GPR_RAX] = 1;
	leave(EXIT_CPUID);
	assert_false(v.gpr[GPR_RDX] & BIT(9));
	reg[VCPU_CR4] |= CR4_OSXSAVE;
	v.gpr[GPR_RAX] = 1;
	leave(EXIT_CPUID);
	assert_int_equal(v.gpr[GPR_RCX] & BIT(27), BIT(27));
	v.gpr[GPR_RAX] = 7;
	v.gpr[GPR_RCX] = 0xffffffff00000001;
	leave(EXIT_CPUID);
	assert_int_equal(v.gpr[GPR_RAX], 0x1234);
	/* How much XSAVE needs with what is enabled. */
	vm.cpuid.xcr0 = 7;
	v.gpr[GPR_RAX] = 0xd;
	v.gpr[GPR_RCX] = 0;
	reg[VCPU_XCR0] = 7;
	leave(EXIT_CPUID);
	s.xcr0 = 7;
	s.cr4 = 0;
	cpuid_lookup(&vm.cpuid, &s, 0xd, 0, out);
	assert_int_equal(v.gpr[GPR_RBX], out[1]);
	advanced();
}

static void test_hlt(void **state)
{
	(void)state;
	leave(EXIT_HLT);
	advanced();
	assert_int_equal(v.state, VCPU_HALTED);
	assert_int_equal(v.pending, PENDING_EVALUATE);
	v.state = VCPU_RUNNING;
	reg[VCPU_RFLAGS] = RFLAGS_TF; /* the trap comes behind it */
	leave(EXIT_HLT);
	advanced();
	assert_int_equal(v.state, VCPU_RUNNING);
}

static void test_io(void **state)
{
	(void)state;
	v.exit.io.port = 0x3f8;
	v.exit.io.size = 1;
	v.exit.io.in = v.exit.io.string = false;
	leave(EXIT_IO);
	advanced();
	assert_int_equal(done.port, 0x3f8);
	assert_int_equal(done.port_size, 1);
	assert_true(done.port_value == v.gpr[GPR_RAX]);
	/* IN of a byte or a word leaves the rest of RAX alone, of four bytes clears the upper half. */
	v.exit.io.in = true;
	v.gpr[GPR_RAX] = 0x1111111111111111;
	leave(EXIT_IO);
	assert_true(v.gpr[GPR_RAX] == 0x11111111111111d4);
	v.exit.io.size = 2;
	leave(EXIT_IO);
	assert_true(v.gpr[GPR_RAX] == 0x111111111111c3d4);
	v.exit.io.size = 4;
	leave(EXIT_IO);
	advanced();
	assert_true(v.gpr[GPR_RAX] == 0xa1b2c3d4);
	v.exit.io.string = true;
	leave(EXIT_IO);
	assert_int_equal(done.strings, 1);
	assert_int_equal(done.reads_of_ports, 0);
	stayed();
}

/* A guest that polls a device lets the machine's interrupts in, once its turn is over. */
static void test_polling(void **state)
{
	(void)state;
	v.exit.io.in = true;
	v.exit.io.string = false;
	v.exit.io.size = 1;
	leave(EXIT_IO);
	assert_int_equal(done.taken, 0);
	v.turn_ticks = 0;
	leave(EXIT_IO);
	assert_int_equal(done.taken, 1);
	reg[VCPU_RFLAGS] = RFLAGS_IF; /* they come by themselves */
	leave(EXIT_IO);
	assert_int_equal(done.taken, 0);
}

static void test_msr(void **state)
{
	(void)state;
	v.gpr[GPR_RCX] = 0xffffffff00000001;
	leave(EXIT_MSR_READ);
	advanced();
	assert_true(v.gpr[GPR_RAX] == 0x55667789);
	assert_true(v.gpr[GPR_RDX] == 0x11223344);
	v.gpr[GPR_RAX] = 0xffffffff00000002; /* the upper halves do not count */
	v.gpr[GPR_RDX] = 0xffffffff00000003;
	leave(EXIT_MSR_WRITE);
	advanced();
	assert_int_equal(done.operand_size, 1);
	assert_true(done.operand == 0x300000002);
	next.refuse_msr = true;
	v.gpr[GPR_RAX] = v.gpr[GPR_RDX] = 0x99;
	leave(EXIT_MSR_READ);
	injected(VECTOR_GP, true, 0);
	assert_int_equal(v.gpr[GPR_RAX], 0x99);
	assert_int_equal(v.gpr[GPR_RDX], 0x99);
	leave(EXIT_MSR_WRITE);
	injected(VECTOR_GP, true, 0);
}

/* In user mode it needs CR4.PCE; real mode has no user mode. */
static void test_rdpmc(void **state)
{
	static const struct { uint64_t cr0, cr4; unsigned cpl; bool refuse, works; } cases[] = {
		{ CR0_PE, 0, 0, false, true }, { CR0_PE, 0, 3, false, false }, { CR0_PE, CR4_PCE, 3, false, true },
		{ 0, 0, 3, false, true }, { CR0_PE, 0, 0, true, false },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		next.cr0 = cases[i].cr0;
		next.cr4 = cases[i].cr4;
		next.cpl = cases[i].cpl;
		next.refuse_msr = cases[i].refuse;
		v.gpr[GPR_RAX] = v.gpr[GPR_RDX] = 0x99;
		v.gpr[GPR_RCX] = 0xffffffff00000001;
		leave(EXIT_RDPMC);
		if (cases[i].works) {
			advanced();
			assert_int_equal(v.gpr[GPR_RAX], 0x55667789);
			assert_int_equal(v.gpr[GPR_RDX], 0x11223344);
		} else {
			injected(VECTOR_GP, true, 0);
			assert_int_equal(v.gpr[GPR_RAX], 0x99);
			assert_int_equal(v.gpr[GPR_RDX], 0x99);
		}
	}
}

static void test_xsetbv(void **state)
{
	(void)state;
	vm.cpuid.xcr0 = 7;
	v.gpr[GPR_RCX] = 0xffffffff00000000;
	v.gpr[GPR_RAX] = 0xffffffff00000007;
	v.gpr[GPR_RDX] = 0xffffffff00000000;
	leave(EXIT_XSETBV);
	advanced();
	assert_int_equal(v.xcr0, 7);
	assert_int_equal(done.xcr0, 7);
	/* What it refuses it leaves: another register, no x87, AVX without SSE, bits that the guest's CPU has not. */
	v.gpr[GPR_RCX] = 1;
	leave(EXIT_XSETBV);
	injected(VECTOR_GP, true, 0);
	v.gpr[GPR_RCX] = 0;
	for (unsigned i = 0; i < 4; i++) {
		static const struct { uint32_t low, high; } wrong[] = { { 6, 0 }, { 5, 0 }, { 0xf, 0 }, { 7, 1 } };

		v.gpr[GPR_RAX] = wrong[i].low;
		v.gpr[GPR_RDX] = wrong[i].high;
		leave(EXIT_XSETBV);
		injected(VECTOR_GP, true, 0);
		assert_int_equal(v.xcr0, 7);
		assert_int_equal(done.xcr0, 0);
	}
}

static void test_caches_and_pause(void **state)
{
	(void)state;
	leave(EXIT_WBINVD);
	advanced();
	leave(EXIT_PAUSE);
	advanced();
}

/* ---- Events ---- */

static void test_windows(void **state)
{
	(void)state;
	leave(EXIT_INTERRUPT_WINDOW);
	assert_int_equal(done.interrupt_window, false);
	assert_int_equal(done.nmi_window, NONE);
	assert_int_equal(v.pending, PENDING_EVALUATE);
	leave(EXIT_NMI_WINDOW);
	assert_int_equal(done.nmi_window, false);
	assert_int_equal(done.interrupt_window, NONE);
	assert_int_equal(v.pending, PENDING_EVALUATE);
	leave(EXIT_TPR_BELOW_THRESHOLD);
	assert_int_equal(done.nmi_window, NONE);
	assert_int_equal(done.interrupt_window, NONE);
	assert_int_equal(v.pending, PENDING_EVALUATE);
}

static void test_of_the_machine(void **state)
{
	(void)state;
	v.exit.vector = 0xef;
	leave(EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(done.acknowledged, 0xef);
	assert_int_equal(done.taken, 0);
	v.exit.vector = 0;
	leave(EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(done.acknowledged, NONE);
	assert_int_equal(done.taken, 1);
	leave(EXIT_TIME_SLICE);
	assert_int_equal(done.taken, 1);
	next.yield = true;
	leave(EXIT_TIME_SLICE);
	assert_true(v.pending & PENDING_YIELD);
	leave(EXIT_NMI);
	assert_int_equal(done.nmis, 1);
	if (!setjmp(end_of_machine))
		leave(EXIT_MACHINE_CHECK);
	assert_int_equal(done.machine_checks, 1);
}

static void test_local_apic(void **state)
{
	(void)state;
	v.exit.apic.offset = 0x300;
	leave(EXIT_APIC_WRITE);
	assert_int_equal(done.apic_write, 0x300);
	assert_int_equal(v.pending, PENDING_EVALUATE);
	v.exit.vector = 0x51;
	leave(EXIT_EOI);
	assert_int_equal(done.eoi, 0x51);
}

static void test_exceptions(void **state)
{
	(void)state;
	v.exit.exception.vector = 17;
	v.exit.exception.has_error = true;
	v.exit.exception.error = 0;
	leave(EXIT_EXCEPTION);
	injected(17, true, 0);
	v.exit.exception.vector = VECTOR_DB;
	v.exit.exception.has_error = false;
	leave(EXIT_EXCEPTION);
	injected(VECTOR_DB, false, 0);
	v.exit.vector = VECTOR_UD;
	leave(EXIT_REFUSED);
	injected(VECTOR_UD, false, 0);
	v.exit.vector = VECTOR_GP;
	leave(EXIT_REFUSED);
	injected(VECTOR_GP, true, 0);
}

static void test_triple_fault(void **state)
{
	(void)state;
	leave(EXIT_TRIPLE_FAULT);
	stayed();
	assert_int_equal(fake.request_count, 1);
	assert_int_equal(fake.request, VM_REQUEST_RESET);
}

/* The default is to stop the guest, loudly. */
static void test_stops(void **state)
{
	(void)state;
	v.exit.raw.reason = 65;
	v.exit.raw.qualification = 0x1234;
	leave(EXIT_UNKNOWN);
	stopped("unexpected exit");
	assert_non_null(strstr(fake.log, "exit reason 65 (qualification 1234) has no handler"));
	leave(EXIT_ENTRY_FAILED);
	stopped("VM entry failed");
	v.exit.task.selector = 0x28;
	leave(EXIT_TASK_SWITCH);
	stopped("hardware task switch");
	assert_non_null(strstr(fake.log, "selector 0028"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_verdicts, exit_setup),
		cmocka_unit_test_setup(test_no_verdict, exit_setup),
		cmocka_unit_test_setup(test_out_of_the_guest, exit_setup),
		cmocka_unit_test_setup(test_way_back, exit_setup),
		cmocka_unit_test_setup(test_statistics, exit_setup),
		cmocka_unit_test_setup(test_names, exit_setup),
		cmocka_unit_test_setup(test_events, exit_setup),
		cmocka_unit_test_setup(test_cpuid, exit_setup),
		cmocka_unit_test_setup(test_hlt, exit_setup),
		cmocka_unit_test_setup(test_io, exit_setup),
		cmocka_unit_test_setup(test_polling, exit_setup),
		cmocka_unit_test_setup(test_msr, exit_setup),
		cmocka_unit_test_setup(test_rdpmc, exit_setup),
		cmocka_unit_test_setup(test_xsetbv, exit_setup),
		cmocka_unit_test_setup(test_caches_and_pause, exit_setup),
		cmocka_unit_test_setup(test_windows, exit_setup),
		cmocka_unit_test_setup(test_of_the_machine, exit_setup),
		cmocka_unit_test_setup(test_local_apic, exit_setup),
		cmocka_unit_test_setup(test_exceptions, exit_setup),
		cmocka_unit_test_setup(test_triple_fault, exit_setup),
		cmocka_unit_test_setup(test_stops, exit_setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

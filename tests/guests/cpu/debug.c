/* Single-step and breakpoints, across instructions that a hypervisor emulates too (SDM vol. 3, chapter 17). */
#include "tests/guests/lib/console.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"

#define DR6_BS BIT(14)
#define DR6_BD BIT(13)

static volatile struct {
	unsigned count;
	uint64_t rip[16];
	uint64_t dr6[16];
	bool disarm; /* clear DR7 at the first hit */
} steps;

static void on_debug(struct trap_frame *frame)
{
	if (steps.count < ARRAY_SIZE(steps.rip)) {
		steps.rip[steps.count] = frame->rip;
		steps.dr6[steps.count] = read_dr6();
	}
	if (++steps.count >= ARRAY_SIZE(steps.rip))
		frame->rflags &= ~RFLAGS_TF;
	write_dr6(0);
	if (steps.disarm)
		write_dr7(0);
	frame->rflags |= RFLAGS_RF;
}

/* After the POPF that sets TF, the trap comes behind each of the instructions in between. */
#define STEP_OVER(instructions, ...) \
	do { \
		steps.count = 0; \
		steps.disarm = false; \
		write_dr6(0); \
		trap_handle(VECTOR_DB, on_debug); \
		__asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t" \
				 instructions \
				 "\n78:\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\t" \
				 "movq $78b, %0" : "=r"(end) : __VA_ARGS__); \
		trap_handle(VECTOR_DB, NULL); \
	} while (0)

/* One instruction between POPF and 78: traps at 78, behind PUSHF and behind AND; the second POPF ends it. */
#define CHECK_ONE_STEP(what) \
	do { \
		CHECK(steps.count >= 1, what ": no #DB came"); \
		CHECK(steps.rip[0] == end, what ": the first #DB came at %llx, not behind the instruction at %llx", \
		      (unsigned long long)steps.rip[0], (unsigned long long)end); \
		CHECK(steps.dr6[0] & DR6_BS, what ": DR6 %llx lacks BS", (unsigned long long)steps.dr6[0]); \
		CHECK(steps.count == 4 || steps.count == 3, what ": %u traps instead of 4", steps.count); \
	} while (0)

TEST(step_plain, "#DB: single-step over plain instructions")
{
	uint64_t end;

	STEP_OVER("nop", "r"(0));
	CHECK_ONE_STEP("NOP");
	STEP_OVER("nop; nop; nop", "r"(0));
	CHECK(steps.count >= 3 && steps.rip[2] == end, "three NOPs: the third #DB is not behind the third");
}

TEST(step_emulated, "#DB: single-step over instructions that exit")
{
	uint64_t end;

	STEP_OVER("cpuid", "a"(0), "c"(0) : "rbx", "rdx");
	CHECK_ONE_STEP("CPUID");
	STEP_OVER("rdmsr", "c"(MSR_APIC_BASE) : "rax", "rdx");
	CHECK_ONE_STEP("RDMSR");
	STEP_OVER("outb %%al, %%dx", "a"(0x33), "d"(UART_SCRATCH));
	CHECK_ONE_STEP("OUT");
	STEP_OVER("inb %%dx, %%al", "a"(0), "d"(UART_SCRATCH));
	CHECK_ONE_STEP("IN");
	STEP_OVER("movl (%%rdx), %%eax", "a"(0), "d"(0xfee00030ULL));
	CHECK_ONE_STEP("MOV from the local APIC");
	STEP_OVER("movl %%eax, (%%rdx)", "a"(0), "d"(0xfec00000ULL) : "memory");
	CHECK_ONE_STEP("MOV to the I/O APIC");
	STEP_OVER("movq %%rax, %%cr0", "a"(read_cr0()));
	CHECK_ONE_STEP("MOV to CR0");
	STEP_OVER("wbinvd", "r"(0));
	CHECK_ONE_STEP("WBINVD");
}

TEST(step_fault, "#DB: a faulting instruction under TF gives its fault, not #DB")
{
	trap_handle(VECTOR_DB, NULL);
	TRY("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tud2");
	CHECK_FAULT("UD2 under TF", VECTOR_UD, 0);
}

static volatile uint64_t watched;

TEST(watch_data, "#DB: data breakpoints in DR0 to DR3")
{
	uint64_t sink;

	trap_handle(VECTOR_DB, on_debug);
	for (unsigned i = 0; i < 4; i++) {
		steps.count = 0;
		steps.disarm = true;
		write_dr6(0);
		if (i == 0)
			write_dr0((uint64_t)&watched);
		else if (i == 1)
			write_dr1((uint64_t)&watched);
		else if (i == 2)
			write_dr2((uint64_t)&watched);
		else
			write_dr3((uint64_t)&watched);
		write_dr7(0x400 | 2ULL << 2 * i | 0xdULL << (16 + 4 * i)); /* global; write; 4 bytes */
		sink = watched;
		(void)sink;
		if (steps.count != 0)
			test_fail("DR%u: a read triggered a write breakpoint", i);
		watched = i;
		if (steps.count != 1)
			test_fail("DR%u: a write triggered %u times", i, steps.count);
		else if ((steps.dr6[0] & 0xf) != BIT(i))
			test_fail("DR%u: DR6 is %llx", i, (unsigned long long)steps.dr6[0]);
		write_dr7(0);
	}
	trap_handle(VECTOR_DB, NULL);
}

TEST(watch_code, "#DB: an instruction breakpoint faults before the instruction, RF steps over it")
{
	uint64_t at, count = 0;

	trap_handle(VECTOR_DB, on_debug);
	steps.count = 0;
	steps.disarm = false;
	__asm__ volatile("leaq 78f(%%rip), %0\n\tmovq %0, %%dr0\n\tmovl $0x402, %%eax\n\tmovq %%rax, %%dr7\n\tnop\n78:\tincq %1\n\t"
			 "xorl %%eax, %%eax\n\tmovq %%rax, %%dr7" : "=&r"(at), "+r"(count) : : "rax", "memory");
	trap_handle(VECTOR_DB, NULL);
	CHECK_EQUAL("hits", steps.count, 1);
	CHECK_EQUAL("RIP", steps.rip[0], at);
	CHECK_EQUAL("DR6's low bits", steps.dr6[0] & 0xf, 1);
	CHECK_EQUAL("executions of the instruction", count, 1);
}

TEST(watch_general, "#DB: general detect stops an access to the debug registers")
{
	uint64_t value;

	SKIP_QEMU("there is no general detect");
	trap_handle(VECTOR_DB, NULL);
	write_dr6(0);
	write_dr7(0x400 | BIT(13));
	TRY("movq %%dr0, %0", "=r"(value));
	CHECK_FAULT("MOV from DR0 under DR7.GD", VECTOR_DB, 0);
	CHECK(fault.dr6 & DR6_BD, "DR6 %llx lacks BD", (unsigned long long)fault.dr6);
	write_dr7(0);
	CHECK_EQUAL("DR7", read_dr7(), 0x400);
	write_dr6(0);
}

/* When an interrupt is taken: STI and MOV SS shadows, HLT, REP, POPF, and instructions that a hypervisor emulates. */
#include "lib/string.h"
#include "tests/guests/irq/irq.h"

/* A self-IPI that is pending when IF becomes 1. */
#define PEND(vector) \
	do { \
		irq_disable(); \
		count_apic(vector); \
		apic_icr(0, (vector) | APIC_SHORTHAND_SELF); \
	} while (0)

/* Bochs 2.7 may take an interrupt one instruction late after IN and OUT. */
#define CHECK_RIP(what, vector, where) \
	do { \
		CHECK(seen[vector].count == 1, what ": %u interrupts instead of 1", seen[vector].count); \
		CHECK(seen[vector].rip == (where), what ": it came at %llx instead of %llx", (unsigned long long)seen[vector].rip, \
		      (unsigned long long)(where)); \
	} while (0)

APIC_TEST(window_sti, "Window: the instruction behind STI runs first, CLI there keeps the interrupt out")
{
	uint64_t where;

	PEND(0x91);
	__asm__ volatile("leaq 78f(%%rip), %0\n\tsti\n\tnop\n78:\tnop\n\tcli" : "=&r"(where) : : "memory");
	CHECK_RIP("STI, NOP", 0x91, where);
	PEND(0x91);
	__asm__ volatile("sti; cli" : : : "memory");
	CHECK_EQUAL("interrupts between STI and CLI", seen[0x91].count, 0);
	__asm__ volatile("leaq 78f(%%rip), %0\n\tpushfq\n\torq $0x200, (%%rsp)\n\tpopfq\n78:\tnop\n\tcli" : "=&r"(where) : : "memory");
	CHECK_RIP("POPF", 0x91, where);
}

APIC_TEST(window_emulated, "Window: STI's shadow ends with an instruction that exits")
{
	uint64_t where;

	PEND(0x92);
	__asm__ volatile("leaq 78f(%%rip), %0\n\txorl %%eax, %%eax\n\tsti\n\tcpuid\n78:\tnop\n\tcli"
			 : "=&r"(where) : : "memory", "rax", "rbx", "rcx", "rdx");
	CHECK_RIP("STI, CPUID", 0x92, where);
	PEND(0x92);
	__asm__ volatile("leaq 78f(%%rip), %0\n\tmovl $0x1b, %%ecx\n\tsti\n\trdmsr\n78:\tnop\n\tcli"
			 : "=&r"(where) : : "memory", "rax", "rcx", "rdx");
	CHECK_RIP("STI, RDMSR", 0x92, where);
	PEND(0x92);
	__asm__ volatile("leaq 78f(%%rip), %0\n\tsti\n\tmovl 0xfec00000, %%eax\n78:\tnop\n\tcli" : "=&r"(where) : : "memory", "rax");
	CHECK_RIP("STI, a read of the I/O APIC", 0x92, where);
}

APIC_TEST(window_mov_ss, "Window: the instruction behind MOV SS runs first")
{
	uint64_t where, also;

	PEND(0x93);
	/* POPF opens, MOV SS behind it cannot hold it back. */
	__asm__ volatile("leaq 78f(%%rip), %0\n\tpushfq\n\torq $0x200, (%%rsp)\n\tpopfq\n78:\tnop\n\tcli" : "=&r"(where) : : "memory");
	CHECK_RIP("POPF", 0x93, where);
	PEND(0x93);
	__asm__ volatile("leaq 78f(%%rip), %0\n\tleaq 79f(%%rip), %1\n\tmovl $0x10, %%eax\n\tsti\n\tmovl %%eax, %%ss\n78:\tnop\n79:\tnop\n\tcli"
			 : "=&r"(where), "=&r"(also) : : "memory", "rax");
	CHECK_EQUAL("interrupts", seen[0x93].count, 1);
	CHECK(seen[0x93].rip == where || seen[0x93].rip == also, "STI, MOV SS: it came at %llx, expected %llx or %llx",
	      (unsigned long long)seen[0x93].rip, (unsigned long long)where, (unsigned long long)also);
	/* Pending by the TPR while IF is 1: MOV SS comes just before the one that lowers it. */
	write_cr8(15);
	count_apic(0x93);
	apic_icr(0, 0x93 | APIC_SHORTHAND_SELF);
	__asm__ volatile("leaq 78f(%%rip), %0\n\tmovl $0x10, %%eax\n\txorl %%ecx, %%ecx\n\tsti\n\tnop\n\tmovl %%eax, %%ss\n\t"
			 "movq %%rcx, %%cr8\n78:\tnop\n\tcli" : "=&r"(where) : : "memory", "rax", "rcx");
	CHECK_RIP("MOV SS, MOV CR8", 0x93, where);
}

APIC_TEST(window_cr8, "Window: lowering CR8 takes the interrupt at once")
{
	uint64_t where;

	write_cr8(15);
	count_apic(0x94);
	apic_icr(0, 0x94 | APIC_SHORTHAND_SELF);
	irq_enable();
	__asm__ volatile("leaq 78f(%%rip), %0\n\txorl %%ecx, %%ecx\n\tmovq %%rcx, %%cr8\n78:\tnop" : "=&r"(where) : : "memory", "rcx");
	irq_disable();
	CHECK_RIP("MOV CR8", 0x94, where);
}

APIC_TEST(window_halt, "Window: STI, HLT with an interrupt pending does not sleep")
{
	uint64_t where;

	for (unsigned i = 0; i < 100; i++) {
		PEND(0x95);
		__asm__ volatile("leaq 78f(%%rip), %0\n\tsti\n\thlt\n78:\tcli" : "=&r"(where) : : "memory");
		CHECK_RIP("STI, HLT", 0x95, where);
	}
}

#define LENGTH (4U << 20)

APIC_TEST(window_rep, "Window: interrupts in the middle of REP STOSB and REP MOVSB lose nothing")
{
	static uint8_t bytes[LENGTH + 4096];
	uint64_t rdi, rsi, rcx;
	unsigned inside = 0;

	apic_write(APIC_TIMER_DIVIDE, 0xb);
	memset(bytes, 0, sizeof(bytes));
	count_apic(0x96);
	apic_write(APIC_LVT_TIMER, 0x96);
	apic_write(APIC_TIMER_INITIAL, 100000);
	irq_enable();
	rdi = (uint64_t)bytes;
	rcx = LENGTH;
	__asm__ volatile("rep stosb" : "+D"(rdi), "+c"(rcx) : "a"(0x5a) : "memory");
	irq_disable();
	if (seen[0x96].count == 1 && seen[0x96].rcx > 0 && seen[0x96].rcx < LENGTH)
		inside++;
	CHECK_EQUAL("RDI", rdi, bytes + LENGTH);
	for (unsigned i = 0; i < LENGTH + 4096; i += 1021)
		CHECK(bytes[i] == (i < LENGTH ? 0x5a : 0), "byte %x is %x", i, bytes[i]);
	CHECK(bytes[LENGTH - 1] == 0x5a && bytes[LENGTH] == 0, "the end is wrong");
	memset(bytes, 0x11, LENGTH / 2);
	apic_write(APIC_TIMER_INITIAL, 100000);
	irq_enable();
	rsi = (uint64_t)bytes;
	rdi = rsi + LENGTH / 2;
	rcx = LENGTH / 2;
	__asm__ volatile("rep movsb" : "+D"(rdi), "+S"(rsi), "+c"(rcx) : : "memory");
	irq_disable();
	if (seen[0x96].count == 2 && seen[0x96].rcx > 0 && seen[0x96].rcx < LENGTH / 2)
		inside++;
	for (unsigned i = 0; i < LENGTH; i += 1021)
		CHECK(bytes[i] == 0x11, "byte %x is %x after the move", i, bytes[i]);
	if (!inside)
		SKIP("no interrupt came inside of a REP instruction");
}

APIC_TEST(window_rep_io, "Window: interrupts in the middle of REP INSB lose nothing")
{
	static uint8_t bytes[0x8000];
	uint64_t rdi = (uint64_t)bytes, rcx = sizeof(bytes);

	outb(0x3ff, 0x77);
	count_apic(0x97);
	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_LVT_TIMER, 0x97 | APIC_TIMER_PERIODIC);
	apic_write(APIC_TIMER_INITIAL, 20000);
	irq_enable();
	__asm__ volatile("rep insb" : "+D"(rdi), "+c"(rcx) : "d"(0x3ff) : "memory");
	irq_disable();
	apic_write(APIC_TIMER_INITIAL, 0);
	CHECK_EQUAL("RCX", rcx, 0);
	CHECK_EQUAL("RDI", rdi, bytes + sizeof(bytes));
	for (unsigned i = 0; i < sizeof(bytes); i++)
		CHECK(bytes[i] == 0x77, "byte %x is %x", i, bytes[i]);
}

/* What operations cost that a hypervisor may have to emulate: TSC ticks each, the least of several runs, less the empty loop.
 * On Bochs a tick is an instruction. Each figure includes the instructions that set the operation up (at most four). */
#include "lib/string.h"
#include "tests/guests/bench/bench.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/console.h"
#include "tests/guests/lib/pic.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"

uint64_t bench_empty;

void report(const char *name, uint64_t ticks)
{
	say("bench: %s %llu\n", name, (unsigned long long)((ticks - MIN(bench_empty, ticks)) / ROUNDS));
}

static void cpu_operations(void)
{
	BENCH("cpuid", "", "xorl %%eax, %%eax\n\tcpuid");
	BENCH("rdtsc", "", "rdtsc");
	BENCH("rdmsr-apic-base", "movl $0x1b, %%ecx", "rdmsr");
	BENCH("rdmsr-mtrr-cap", "movl $0xfe, %%ecx", "rdmsr");
	if (cpuid(7, 0).ebx & BIT(1))
		BENCH("wrmsr-tsc-adjust", "movl $0x3b, %%ecx\n\trdmsr", "wrmsr");
	BENCH("rdmsr-fs-base", "movl $0xc0000100, %%ecx", "rdmsr");
	BENCH("cr8-write", "xorl %%r12d, %%r12d", "movq %%r12, %%cr8");
	BENCH("wbinvd", "", "wbinvd");
}

static void ports(void)
{
	BENCH("out-pic-mask", "movb $0xff, %%al", "outb %%al, $0x21");
	BENCH("in-pic-mask", "", "inb $0x21, %%al");
	BENCH("out-pit-latch", "xorl %%eax, %%eax", "outb %%al, $0x43");
	(void)pit_read(0);
	BENCH("out-unclaimed", "", "outb %%al, $0x80");
	BENCH("in-unclaimed", "", "inb $0x84, %%al");
	BENCH("in-uart-lsr", "movl $0x3fd, %%edx", "inb %%dx, %%al");
	BENCH("out-pci-address", "movl $0xcf8, %%edx\n\tmovl $0x80000000, %%eax", "outl %%eax, %%dx");
}

static void memory_mapped(void)
{
	BENCH("ioapic-select-write", "movl $0xfec00000, %%r12d\n\tmovl $1, %%eax", "movl %%eax, (%%r12)");
	BENCH("ioapic-data-read", "movl $0xfec00010, %%r12d", "movl (%%r12), %%eax");
	BENCH("hole-read", "movl $0xd0000000, %%r12d", "movl (%%r12), %%eax");
}

/* The first touch of a page that the guest has not used before: finds lazily backed memory. */
static void first_touch(void)
{
	uint64_t best = UINT64_MAX, worst = 0;

	for (uint64_t at = MIB(24); at < MIB(24) + 64 * 4096; at += 4096) {
		uint64_t start = rdtsc(), ticks;

		*(volatile uint64_t *)at = 1;
		ticks = rdtsc() - start;
		best = MIN(best, ticks);
		worst = MAX(worst, ticks);
	}
	say("bench: first-touch-best %llu\nbench: first-touch-worst %llu\n", (unsigned long long)best, (unsigned long long)worst);
}

static void on_ipi(struct trap_frame *frame)
{
	(void)frame;
	apic_eoi();
}

static void on_ipi_x2apic(struct trap_frame *frame)
{
	(void)frame;
	wrmsr(MSR_X2APIC + APIC_EOI, 0);
}

static void local_apic(void)
{
	apic_init(false);
	BENCH("xapic-tpr-write", "movl $0xfee00080, %%r12d\n\txorl %%eax, %%eax", "movl %%eax, (%%r12)");
	BENCH("xapic-tpr-read", "movl $0xfee00080, %%r12d", "movl (%%r12), %%eax");
	BENCH("xapic-eoi", "movl $0xfee000b0, %%r12d\n\txorl %%eax, %%eax", "movl %%eax, (%%r12)");
	apic_write(APIC_LVT_TIMER, 0x61 | APIC_MASKED);
	BENCH("xapic-timer-arm-disarm", "movl $0xfee00380, %%r12d\n\tmovl $0xffffffff, %%eax\n\txorl %%ecx, %%ecx",
	      "movl %%eax, (%%r12)\n\tmovl %%ecx, (%%r12)");
	if (cpuid(1, 0).ecx & BIT(24)) {
		apic_write(APIC_LVT_TIMER, 0x61 | APIC_TIMER_DEADLINE);
		BENCH("tsc-deadline-arm-disarm", "movl $0x6e0, %%ecx",
		      "movl $-1, %%eax\n\tmovl $0x7fffffff, %%edx\n\twrmsr\n\txorl %%eax, %%eax\n\txorl %%edx, %%edx\n\twrmsr");
		apic_write(APIC_LVT_TIMER, APIC_MASKED);
	}
	trap_handle(0x60, on_ipi);
	irq_enable();
	BENCH("xapic-self-ipi-handler-eoi", "movl $0xfee00300, %%r12d\n\tmovl $0x40060, %%eax", "movl %%eax, (%%r12)\n\tnop");
	irq_disable();
	if (!apic_has_x2apic())
		return;
	apic_init(true);
	BENCH("x2apic-tpr-write", "movl $0x808, %%ecx\n\txorl %%eax, %%eax\n\txorl %%edx, %%edx", "wrmsr");
	BENCH("x2apic-tpr-read", "movl $0x808, %%ecx", "rdmsr");
	BENCH("x2apic-eoi", "movl $0x80b, %%ecx\n\txorl %%eax, %%eax\n\txorl %%edx, %%edx", "wrmsr");
	trap_handle(0x60, on_ipi_x2apic);
	irq_enable();
	BENCH("x2apic-self-ipi-handler-eoi", "movl $0x83f, %%ecx\n\tmovl $0x60, %%eax\n\txorl %%edx, %%edx", "wrmsr\n\tnop");
	BENCH("x2apic-icr-ipi-handler-eoi", "movl $0x830, %%ecx\n\tmovl $0x40060, %%eax\n\txorl %%edx, %%edx", "wrmsr\n\tnop");
	irq_disable();
}

void guest_main(void)
{
	bench_empty = MEASURE("", "");
	say("bench: empty-loop %llu\n", (unsigned long long)(bench_empty / ROUNDS));
	cpu_operations();
	paging();
	ports();
	memory_mapped();
	first_touch();
	local_apic();
	say("bench: done\n");
}

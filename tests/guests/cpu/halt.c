/* HLT and what ends it. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/clock.h"
#include "tests/guests/lib/pic.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"

static volatile unsigned ticks;
static volatile uint64_t tick_rip;

static void on_tick(struct trap_frame *frame)
{
	ticks++;
	tick_rip = frame->rip;
	apic_eoi();
}

TEST(halt_timer, "HLT: the APIC timer ends it, RIP behind it")
{
	uint64_t before, end;

	apic_init(false);
	ticks = 0;
	trap_handle(0x60, on_tick);
	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_LVT_TIMER, 0x60);
	before = rdtsc();
	apic_write(APIC_TIMER_INITIAL, 100000);
	__asm__ volatile("sti; hlt; 78: cli; leaq 78b(%%rip), %0" : "=r"(end) : : "memory");
	apic_write(APIC_LVT_TIMER, APIC_MASKED);
	trap_handle(0x60, NULL);
	CHECK_EQUAL("ticks", ticks, 1);
	CHECK_EQUAL("the RIP that the interrupt saved", tick_rip, end);
	CHECK(rdtsc() - before >= 1000, "HLT ended after %llu ticks", (unsigned long long)(rdtsc() - before));
}

/* The local APIC's driver: the same registers are reached by MSRs in x2APIC mode and by memory in xAPIC mode, and its timer counts either
 * the TSC or its own clock. */
#include "arch/x86_64/host_apic.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/memory.h"
#include "arch/x86_64/traps.h"
#include "lib/log.h"
#include "lib/x86/apic.h"
#include "lib/x86/msr.h"

/* Commands: INIT, start-up and a fixed interrupt. */
#define SEND_INIT (APIC_INIT << ICR_DELIVERY_SHIFT | ICR_ASSERT)
#define SEND_STARTUP (APIC_SIPI << ICR_DELIVERY_SHIFT | ICR_ASSERT)
#define SEND_FIXED (APIC_FIXED << ICR_DELIVERY_SHIFT | ICR_ASSERT)

static bool x2apic;
static volatile uint8_t *registers;
static uint64_t ticks_per_tsc; /* 32.32 fixed point: timer ticks for each TSC tick */

static uint32_t apic_read(enum lapic_register reg)
{
	if (x2apic)
		return (uint32_t)rdmsr(MSR_X2APIC_BASE + reg);
	return *(volatile uint32_t *)(registers + reg * 16UL);
}

static void apic_write(enum lapic_register reg, uint32_t value)
{
	if (x2apic)
		wrmsr(MSR_X2APIC_BASE + reg, value);
	else
		*(volatile uint32_t *)(registers + reg * 16UL) = value;
}

void host_apic_init(uint64_t phys, bool opt_out)
{
	uint64_t base = rdmsr(MSR_APIC_BASE), address = base & PAGE_MASK & (BIT(cpu_features.phys_bits) - 1);
	/* Where the firmware left x2APIC mode on it stays on: the way back leads through a disabled APIC, and may be locked. */
	bool handed_over = (base & APIC_BASE_ENABLE) && (base & APIC_BASE_X2APIC);

	x2apic = handed_over || (cpu_features.x2apic && !opt_out);
	if (x2apic) {
		log_line("apic: x2APIC mode, %s", handed_over ? "which the firmware left on" : "switched on by Lamina");
	} else {
		log_line("apic: xAPIC mode at %lx: %s", address,
			 opt_out && cpu_features.x2apic ? "the firmware's DMAR table asks for it" : "the CPU has no x2APIC mode");
		if (address != phys)
			log_line("apic: the ACPI tables say %lx, the CPU counts", phys);
		registers = map_device(address, PAGE_SIZE);
		if (!registers)
			panic("the local APIC at %lx cannot be mapped", address);
	}
}

void host_apic_enable(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE;

	wrmsr(MSR_APIC_BASE, base);
	if (x2apic)
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
	apic_write(LAPIC_TPR, 0);
	apic_write(LAPIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	apic_write(LAPIC_DIVIDE, LAPIC_DIVIDE_BY_1);
	apic_write(LAPIC_LVT_TIMER, cpu_features.tsc_deadline ? LVT_TIMER_DEADLINE | VECTOR_TIMER : VECTOR_TIMER);
}

uint32_t host_apic_id(void)
{
	uint32_t id = apic_read(LAPIC_ID);

	return x2apic ? id : id >> 24;
}

bool host_apic_x2apic(void)
{
	return x2apic;
}

void host_apic_eoi(void)
{
	apic_write(LAPIC_EOI, 0);
}

static void send(uint32_t apic_id, uint32_t command)
{
	if (x2apic) {
		/* This WRMSR orders nothing (SDM vol. 3, "MSR Access in x2APIC Mode"): what the other core is to see must be out. */
		__asm__ volatile("mfence; lfence" : : : "memory");
		wrmsr(MSR_X2APIC_BASE + LAPIC_ICR, (uint64_t)apic_id << 32 | command);
		return;
	}
	while (apic_read(LAPIC_ICR) & ICR_PENDING)
		pause();
	apic_write(LAPIC_ICR_HIGH, apic_id << 24);
	apic_write(LAPIC_ICR, command);
}

void host_apic_send(uint32_t apic_id, uint8_t vector)
{
	send(apic_id, SEND_FIXED | vector);
}

void host_apic_send_others(uint8_t vector)
{
	send(0, SEND_FIXED | ICR_OTHERS | vector);
}

void host_apic_send_init(uint32_t apic_id)
{
	send(apic_id, SEND_INIT);
}

void host_apic_send_startup(uint32_t apic_id, uint8_t page)
{
	send(apic_id, SEND_STARTUP | page);
}

void host_apic_timer_calibrate_start(void)
{
	apic_write(LAPIC_LVT_TIMER, LVT_MASKED);
	apic_write(LAPIC_INITIAL_COUNT, UINT32_MAX);
}

uint32_t host_apic_timer_elapsed(void)
{
	return UINT32_MAX - apic_read(LAPIC_CURRENT_COUNT);
}

void host_apic_timer_calibrated(uint64_t ticks, uint64_t tsc)
{
	ticks_per_tsc = (ticks << 32) / tsc;
	apic_write(LAPIC_INITIAL_COUNT, 0);
	apic_write(LAPIC_LVT_TIMER, cpu_features.tsc_deadline ? LVT_TIMER_DEADLINE | VECTOR_TIMER : VECTOR_TIMER);
}

void host_apic_timer_set(uint64_t deadline)
{
	uint64_t now, ticks;

	this_cpu()->timer_deadline = deadline;
	if (cpu_features.tsc_deadline) {
		wrmsr(MSR_TSC_DEADLINE, deadline == UINT64_MAX ? 0 : deadline);
		return;
	}
	if (deadline == UINT64_MAX) {
		apic_write(LAPIC_INITIAL_COUNT, 0);
		return;
	}
	now = rdtsc();
	/* Far deadlines are reached in steps: whoever takes the interrupt looks at the time and sets the timer anew. */
	ticks = deadline <= now ? 1 : ((MIN(deadline - now, BIT(31)) * ticks_per_tsc) >> 32) + 1;
	apic_write(LAPIC_INITIAL_COUNT, (uint32_t)MIN(ticks, (uint64_t)UINT32_MAX));
}

/* The local APIC's timer in its three modes. */
#include "tests/guests/irq/irq.h"

/* Timer ticks a second at divide 1, measured by the TSC. */
static uint64_t timer_hz(void)
{
	uint32_t start = 0xffffffff;

	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_LVT_TIMER, APIC_MASKED);
	apic_write(APIC_TIMER_INITIAL, start);
	delay_us(2000);
	start -= apic_read(APIC_TIMER_CURRENT);
	apic_write(APIC_TIMER_INITIAL, 0);
	return start * 500ULL;
}

APIC_TEST(timer_counts, "APIC timer: counts down at its frequency, the divider divides")
{
	static const struct { uint8_t code; unsigned divisor; } dividers[] = {
		{ 0xb, 1 }, { 0, 2 }, { 1, 4 }, { 2, 8 }, { 3, 16 }, { 8, 32 }, { 9, 64 }, { 0xa, 128 },
	};
	uint64_t hz = timer_hz();

	if (under_lamina()) {
		uint64_t claimed = cpuid(0x40000010, 0).ebx * 1000ULL;

		CHECK(hz > claimed - claimed / 50 && hz < claimed + claimed / 50, "it runs at %llu Hz, CPUID claims %llu",
		      (unsigned long long)hz, (unsigned long long)claimed);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(dividers); i++) {
		uint64_t ticks, expected = hz / dividers[i].divisor / 500;

		apic_write(APIC_TIMER_DIVIDE, dividers[i].code);
		CHECK_EQUAL("divide configuration", apic_read(APIC_TIMER_DIVIDE), dividers[i].code);
		apic_write(APIC_TIMER_INITIAL, 0xfffffff0);
		delay_us(2000);
		ticks = 0xfffffff0 - apic_read(APIC_TIMER_CURRENT);
		apic_write(APIC_TIMER_INITIAL, 0);
		CHECK(ticks > expected - expected / 20 - 2 && ticks < expected + expected / 20 + 2, "divide by %u: %llu ticks in 2 ms instead of %llu",
		      dividers[i].divisor, (unsigned long long)ticks, (unsigned long long)expected);
	}
	CHECK_EQUAL("current count when stopped", apic_read(APIC_TIMER_CURRENT), 0);
}

APIC_TEST(timer_one_shot, "APIC timer: one shot, once and in time")
{
	uint64_t hz = timer_hz(), start, us;

	count_apic(0x61);
	apic_write(APIC_LVT_TIMER, 0x61);
	start = rdtsc();
	apic_write(APIC_TIMER_INITIAL, (uint32_t)(hz / 200));
	irq_enable();
	CHECK(WAIT_FOR(seen[0x61].count, 20), "no interrupt in 20 ms");
	us = (seen[0x61].tsc - start) / (tsc_hz / 1000000);
	CHECK(us >= 4900 && us <= 5300, "5 ms took %llu us", (unsigned long long)us);
	delay_us(12000);
	CHECK_EQUAL("interrupts", seen[0x61].count, 1);
	CHECK_EQUAL("current count at the end", apic_read(APIC_TIMER_CURRENT), 0);
	/* Stopped by an initial count of 0; masked: no interrupt, though it counts. */
	apic_write(APIC_TIMER_INITIAL, (uint32_t)(hz / 1000));
	apic_write(APIC_TIMER_INITIAL, 0);
	delay_us(2000);
	CHECK_EQUAL("interrupts of a stopped timer", seen[0x61].count, 1);
	apic_write(APIC_LVT_TIMER, APIC_MASKED | 0x61);
	apic_write(APIC_TIMER_INITIAL, (uint32_t)(hz / 1000));
	delay_us(2000);
	apic_write(APIC_LVT_TIMER, 0x61);
	delay_us(100);
	CHECK_EQUAL("interrupts of a masked timer", seen[0x61].count, 1);
}

APIC_TEST(timer_periodic, "APIC timer: periodic, no drift")
{
	uint64_t hz = timer_hz();

	count_apic(0x62);
	apic_write(APIC_LVT_TIMER, 0x62 | APIC_TIMER_PERIODIC);
	apic_write(APIC_TIMER_INITIAL, (uint32_t)(hz / 1000));
	irq_enable();
	delay_us(50500);
	irq_disable();
	apic_write(APIC_TIMER_INITIAL, 0);
	CHECK(seen[0x62].count >= 49 && seen[0x62].count <= 51, "50 ms at 1 kHz: %u interrupts", seen[0x62].count);
}

APIC_TEST(timer_deadline, "APIC timer: TSC deadline")
{
	uint64_t deadline, value;

	if (!(cpuid(1, 0).ecx & BIT(24)))
		SKIP("no TSC-deadline mode");
	count_apic(0x63);
	apic_write(APIC_LVT_TIMER, 0x63);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 1000);
	irq_enable();
	delay_us(100);
	CHECK_EQUAL("interrupts by a deadline in one-shot mode", seen[0x63].count, 0);
	CHECK_EQUAL("the deadline in one-shot mode", rdmsr(MSR_TSC_DEADLINE), 0);

	apic_write(APIC_LVT_TIMER, 0x63 | APIC_TIMER_DEADLINE);
	__asm__ volatile("mfence" : : : "memory");
	deadline = tsc_after_us(3000);
	wrmsr(MSR_TSC_DEADLINE, deadline);
	value = rdmsr(MSR_TSC_DEADLINE);
	CHECK_EQUAL("the armed deadline", value, deadline);
	CHECK(WAIT_FOR(seen[0x63].count, 10), "no interrupt in 10 ms");
	CHECK(seen[0x63].tsc >= deadline, "it came %llu ticks early", (unsigned long long)(deadline - seen[0x63].tsc));
	CHECK(seen[0x63].tsc - deadline < tsc_hz / 5000, "it came %llu ticks late", (unsigned long long)(seen[0x63].tsc - deadline));
	if (under_lamina()) /* Bochs 2.7 leaves it there */
		CHECK_EQUAL("the deadline after it fired", rdmsr(MSR_TSC_DEADLINE), 0);
	delay_us(2000);
	CHECK_EQUAL("interrupts", seen[0x63].count, 1);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() - 1000);
	CHECK(WAIT_FOR(seen[0x63].count == 2, 2), "a deadline in the past brought no interrupt");
	wrmsr(MSR_TSC_DEADLINE, 1);
	CHECK(WAIT_FOR(seen[0x63].count == 3, 2), "deadline 1 brought no interrupt");
	wrmsr(MSR_TSC_DEADLINE, tsc_after_us(1000));
	wrmsr(MSR_TSC_DEADLINE, 0);
	delay_us(2000);
	CHECK_EQUAL("interrupts after disarming", seen[0x63].count, 3);
	/* Changing the mode disarms. */
	wrmsr(MSR_TSC_DEADLINE, tsc_after_us(1000));
	apic_write(APIC_LVT_TIMER, 0x63);
	delay_us(2000);
	CHECK_EQUAL("interrupts after leaving the mode", seen[0x63].count, 3);
	apic_write(APIC_LVT_TIMER, 0x63 | APIC_TIMER_DEADLINE);
	apic_write(APIC_TIMER_INITIAL, 1000);
	delay_us(100);
	CHECK_EQUAL("interrupts by an initial count in deadline mode", seen[0x63].count, 3);
	CHECK_EQUAL("current count in deadline mode", apic_read(APIC_TIMER_CURRENT), 0);
}

APIC_TEST(timer_halt, "APIC timer: ends HLT, again and again")
{
	uint64_t hz = timer_hz();

	count_apic(0x64);
	apic_write(APIC_LVT_TIMER, 0x64);
	for (unsigned i = 1; i <= 50; i++) {
		apic_write(APIC_TIMER_INITIAL, (uint32_t)(hz / 100000 * i / 10 + 1));
		__asm__ volatile("sti; hlt; cli" : : : "memory");
		CHECK_EQUAL("interrupts", seen[0x64].count, i);
	}
}

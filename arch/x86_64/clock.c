/* The TSC's rate is measured against a clock whose rate is known: HPET, ACPI PM timer or PIT, the first of them that runs. Every wait is
 * bounded by the TSC itself, so that a clock that stands still is passed over. */
#include "arch/x86_64/clock.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/host_apic.h"
#include "arch/x86_64/memory.h"
#include "arch/x86_64/panic.h"
#include "lib/log.h"
#include "lib/x86/pc.h"
#include "lib/x86/rtc.h"
#include "vmm/interface/platform.h"

#define CALIBRATION_MS 10
#define DEAD_TICKS BIT(30)     /* of the TSC: far more than the calibration takes on any CPU */
#define TSC_HZ_LEAST 1000000
#define HPET_SIZE 0x400
#define HPET_PERIOD 0x04
#define HPET_PERIOD_MAX 100000000
#define HPET_CONFIGURATION 0x10
#define HPET_ENABLE 1
#define HPET_COUNTER 0xf0

static uint64_t tsc_hz = 1000000000; /* until calibrated: only delays depend on it */

uint64_t time_now(void)
{
	return rdtsc();
}

uint64_t time_hz(void)
{
	return tsc_hz;
}

struct measurement {
	uint64_t tsc, apic;
	uint64_t reference; /* ticks of the reference clock that passed */
};

/* A clock whose rate is known. */
struct reference {
	const char *name;
	uint64_t hz;
	uint32_t mask;  /* of its counter */
	uint16_t port;  /* where its counter is read, unless in memory: */
	volatile uint32_t *counter;
};

static uint32_t reference_read(const struct reference *ref)
{
	return ref->counter ? *ref->counter : inl(ref->port);
}

/* Every wait is bounded by the TSC: a clock that stands still is treated as absent. */
static bool measure(const struct reference *ref, struct measurement *m)
{
	const uint64_t wanted = ref->hz * CALIBRATION_MS / 1000;
	uint32_t start = reference_read(ref), passed;
	uint64_t tsc = rdtsc();

	/* Begin on an edge, so that the first tick is whole. */
	while (reference_read(ref) == start)
		if (rdtsc() - tsc > DEAD_TICKS)
			return false;
	start = reference_read(ref);
	tsc = rdtsc();
	host_apic_timer_calibrate_start();
	do {
		passed = (reference_read(ref) - start) & ref->mask;
		if (rdtsc() - tsc > DEAD_TICKS)
			return false;
	} while (passed < wanted);
	m->tsc = rdtsc() - tsc;
	m->apic = host_apic_timer_elapsed();
	m->reference = passed;
	return true;
}

/* IA-PC HPET Specification 1.0a, section 2.3: the period in femtoseconds, ENABLE_CNF, the main counter's low half. */
static bool hpet_reference(const struct acpi_info *acpi, struct reference *ref)
{
	volatile uint32_t *registers;
	uint32_t period;

	if (!acpi->hpet.present)
		return false;
	registers = map_device(acpi->hpet.address, HPET_SIZE);
	period = registers ? registers[HPET_PERIOD / 4] : 0;
	if (!period || period > HPET_PERIOD_MAX) {
		log_line("time: the HPET at %lx is not used: its period of %u fs is impossible", acpi->hpet.address, period);
		return false;
	}
	if (!(registers[HPET_CONFIGURATION / 4] & HPET_ENABLE))
		registers[HPET_CONFIGURATION / 4] |= HPET_ENABLE;
	*ref = (struct reference){ "HPET", 1000000000000000ULL / period, UINT32_MAX, 0, &registers[HPET_COUNTER / 4] };
	return true;
}

static bool pm_timer_reference(const struct acpi_info *acpi, struct reference *ref)
{
	if (!acpi->pm_timer.present)
		return false;
	*ref = (struct reference){ "ACPI PM timer", PM_TIMER_HZ, acpi->pm_timer_32bit ? 0xffffffff : 0xffffff, (uint16_t)acpi->pm_timer.address, NULL };
	if (acpi->pm_timer.space != ACPI_SPACE_MEMORY)
		return true;
	ref->counter = map_device(acpi->pm_timer.address, sizeof(uint32_t));
	return ref->counter;
}

static bool measure_pit(struct measurement *m)
{
	uint16_t count = PIT_HZ * CALIBRATION_MS / 1000;
	uint64_t tsc;

	outb(PORT_SYSTEM_B, (inb(PORT_SYSTEM_B) & (uint8_t)~(PORT_B_GATE2 | PORT_B_SPEAKER)) | PORT_B_GATE2);
	outb(PORT_PIT_CONTROL, 0xb0); /* channel 2, mode 0 */
	outb(PORT_PIT_CHANNEL_2, (uint8_t)count);
	outb(PORT_PIT_CHANNEL_2, (uint8_t)(count >> 8));
	if (inb(PORT_SYSTEM_B) & PORT_B_OUT2)
		return false; /* the output is high before the PIT can have counted: there is no PIT */
	tsc = rdtsc();
	host_apic_timer_calibrate_start();
	while (!(inb(PORT_SYSTEM_B) & PORT_B_OUT2))
		if (rdtsc() - tsc > DEAD_TICKS)
			return false;
	m->tsc = rdtsc() - tsc;
	m->apic = host_apic_timer_elapsed();
	m->reference = count;
	return true;
}

/* The best clock that runs. Returns whether there is one. */
static bool measure_any(const struct acpi_info *acpi, struct measurement *m, struct reference *used)
{
	static bool (*const find[])(const struct acpi_info *acpi, struct reference *ref) = { hpet_reference, pm_timer_reference };

	for (unsigned i = 0; i < ARRAY_SIZE(find); i++) {
		if (!find[i](acpi, used))
			continue;
		if (measure(used, m))
			return true;
		log_line("time: the %s stands still: not used", used->name);
	}
	*used = (struct reference){ .name = "PIT", .hz = PIT_HZ };
	return measure_pit(m);
}

void clock_calibrate(const struct acpi_info *acpi)
{
	struct reference used;
	struct measurement m;

	if (!measure_any(acpi, &m, &used))
		boot_fatal("no clock to measure the TSC against: HPET, ACPI PM timer and PIT are missing or stand still");
	tsc_hz = m.tsc * used.hz / m.reference;
	/* To the nearest 10 kHz: finer than that is the measurement's own noise. */
	tsc_hz = (tsc_hz + 5000) / 10000 * 10000;
	if (tsc_hz < TSC_HZ_LEAST)
		boot_fatal("the TSC does not run: %lu ticks in %u ms of the %s", m.tsc, CALIBRATION_MS, used.name);
	host_apic_timer_calibrated(m.apic, m.tsc);
	log_line("time: TSC at %lu kHz, measured against the %s", tsc_hz / 1000, used.name);
	if (!cpu_features.invariant_tsc)
		log_line("time: the CPU does not promise an invariant TSC (CPUID 80000007 EDX bit 8): clocks go wrong where its frequency changes");
}

void clock_delay_us(uint64_t us)
{
	uint64_t end = rdtsc() + tsc_hz / 1000000 * us;

	while (rdtsc() < end)
		pause();
}

static uint8_t cmos(uint8_t index)
{
	outb(PORT_CMOS_INDEX, index);
	return inb(PORT_CMOS_DATA);
}

static unsigned from_bcd(uint8_t value, bool binary)
{
	return binary ? value : (value >> 4) * 10U + (value & 15);
}

uint64_t clock_wall_seconds(void)
{
	bool binary = cmos(RTC_REG_B) & RTC_B_BINARY;
	unsigned year, month, day, hour, minute, second;

	/* Bounded: a clock that is not there must not hang the boot. */
	for (unsigned spins = 0; spins < 1000000 && (cmos(RTC_REG_A) & RTC_A_UIP); spins++)
		;
	second = from_bcd(cmos(RTC_SECONDS), binary);
	minute = from_bcd(cmos(RTC_MINUTES), binary);
	hour = from_bcd(cmos(RTC_HOURS) & (uint8_t)~RTC_HOUR_PM, binary);
	day = from_bcd(cmos(RTC_DAY), binary);
	month = from_bcd(cmos(RTC_MONTH), binary);
	year = 2000 + from_bcd(cmos(RTC_YEAR), binary);
	if (month < 1 || month > 12 || day < 1 || day > 31)
		return 946684800; /* 2000-01-01 */
	/* Days since 1970 of a proleptic Gregorian date; the year begins in March. */
	if (month <= 2)
		year--;
	month = (month + 9) % 12;
	return ((year * 365ULL + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719468) * 24 + hour) * 3600 +
	       minute * 60ULL + second;
}

#include "arch/x86_64/clock.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/host_apic.h"
#include "lib/log.h"
#include "vmm/platform.h"

#define PM_TIMER_HZ 3579545
#define PIT_HZ 1193182
#define CALIBRATION_MS 10

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

static bool measure_pm_timer(const struct acpi_info *acpi, struct measurement *m)
{
	uint16_t port = (uint16_t)acpi->pm_timer.address;
	uint32_t mask = acpi->pm_timer_32bit ? 0xffffffff : 0xffffff;
	uint32_t start, passed;
	uint64_t tsc;

	if (!acpi->pm_timer.present || acpi->pm_timer.space != ACPI_SPACE_IO)
		return false;
	/* Begin on an edge, so that the first tick is whole. A timer that stands still is no timer. */
	start = inl(port);
	for (unsigned spins = 0; inl(port) == start; spins++)
		if (spins == 1000000)
			return false;
	start = inl(port);
	tsc = rdtsc();
	host_apic_timer_calibrate_start();
	do {
		passed = (inl(port) - start) & mask;
	} while (passed < PM_TIMER_HZ * CALIBRATION_MS / 1000);
	m->tsc = rdtsc() - tsc;
	m->apic = host_apic_timer_elapsed();
	m->reference = passed;
	return true;
}

static void measure_pit(struct measurement *m)
{
	uint16_t count = PIT_HZ * CALIBRATION_MS / 1000;
	uint64_t tsc;

	outb(0x61, (inb(0x61) & 0xfc) | 1); /* gate 2 on, speaker off */
	outb(0x43, 0xb0);                   /* channel 2, mode 0 */
	outb(0x42, (uint8_t)count);
	outb(0x42, (uint8_t)(count >> 8));
	tsc = rdtsc();
	host_apic_timer_calibrate_start();
	while (!(inb(0x61) & 0x20))
		;
	m->tsc = rdtsc() - tsc;
	m->apic = host_apic_timer_elapsed();
	m->reference = count;
}

void clock_calibrate(const struct acpi_info *acpi)
{
	struct measurement m;
	bool pm = measure_pm_timer(acpi, &m);

	if (!pm)
		measure_pit(&m);
	tsc_hz = m.tsc * (pm ? PM_TIMER_HZ : PIT_HZ) / m.reference;
	/* To the nearest 10 kHz: finer than that is the measurement's own noise. */
	tsc_hz = (tsc_hz + 5000) / 10000 * 10000;
	host_apic_timer_calibrated(m.apic, m.tsc);
	log_line("time: TSC at %lu kHz, measured against the %s%s", tsc_hz / 1000, pm ? "ACPI PM timer" : "PIT",
		 cpu_features.invariant_tsc ? "" : "; the CPU does not promise that it is invariant");
}

void clock_delay_us(uint64_t us)
{
	uint64_t end = rdtsc() + tsc_hz / 1000000 * us;

	while (rdtsc() < end)
		pause();
}

static uint8_t cmos(uint8_t index)
{
	outb(0x70, index);
	return inb(0x71);
}

static unsigned from_bcd(uint8_t value, bool binary)
{
	return binary ? value : (value >> 4) * 10U + (value & 15);
}

uint64_t clock_wall_seconds(void)
{
	bool binary = cmos(0x0b) & 4;
	unsigned year, month, day, hour, minute, second;

	/* Bounded: a clock that is not there must not hang the boot. */
	for (unsigned spins = 0; spins < 1000000 && (cmos(0x0a) & 0x80); spins++)
		;
	second = from_bcd(cmos(0), binary);
	minute = from_bcd(cmos(2), binary);
	hour = from_bcd(cmos(4) & 0x7f, binary);
	day = from_bcd(cmos(7), binary);
	month = from_bcd(cmos(8), binary);
	year = 2000 + from_bcd(cmos(9), binary);
	if (month < 1 || month > 12 || day < 1 || day > 31)
		return 946684800; /* 2000-01-01 */
	/* Days since 1970 of a proleptic Gregorian date; the year begins in March. */
	if (month <= 2)
		year--;
	month = (month + 9) % 12;
	return ((year * 365ULL + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719468) * 24 + hour) * 3600 +
	       minute * 60ULL + second;
}

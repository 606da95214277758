/* The TSC's rate is measured in three windows against a clock whose rate is known: HPET, ACPI PM timer or PIT, the first of them that runs.
 * Every wait is bounded by the TSC itself, so that a clock that stands still is passed over. tsc_rate.c chooses between that and what the
 * CPU claims. */
#include "arch/x86_64/clock.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/host_apic.h"
#include "arch/x86_64/memory.h"
#include "arch/x86_64/panic.h"
#include "arch/x86_64/tsc_rate.h"
#include "lib/log.h"
#include "lib/x86/msr.h"
#include "lib/x86/pc.h"
#include "lib/x86/rtc.h"
#include "vmm/interface/platform.h"

#define CALIBRATION_MS 10
#define WINDOWS 3
#define DEAD_TICKS BIT(30)     /* of the TSC: far more than the calibration takes on any CPU */
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

/* A look at the counters: the reference's, between two of the TSC. */
struct look {
	uint32_t reference;
	uint64_t before, after;
};

static struct look look_at(const struct reference *ref)
{
	struct look look;

	look.before = rdtsc();
	look.reference = reference_read(ref);
	look.after = rdtsc();
	return look;
}

static uint64_t middle(const struct look *look)
{
	return look->before + (look->after - look->before) / 2;
}

/* Every wait is bounded by the TSC: a clock that stands still is treated as absent. */
static bool measure(const struct reference *ref, struct tsc_window *w)
{
	const uint64_t wanted = ref->hz * CALIBRATION_MS / 1000;
	uint32_t first = reference_read(ref), passed;
	uint64_t begin = rdtsc();
	struct look start, end;

	/* Begin on an edge, so that the first tick is whole. */
	do {
		start = look_at(ref);
		if (start.after - begin > DEAD_TICKS)
			return false;
	} while (start.reference == first);
	host_apic_timer_calibrate_start();
	w->slack = rdtsc() - start.before;
	do {
		end = look_at(ref);
		passed = (end.reference - start.reference) & ref->mask;
		if (end.after - start.before > DEAD_TICKS)
			return false;
	} while (passed < wanted);
	w->apic = host_apic_timer_elapsed();
	w->slack += rdtsc() - end.before;
	w->tsc = middle(&end) - middle(&start);
	w->reference = passed;
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

static bool measure_pit(const struct reference *ref, struct tsc_window *w)
{
	uint16_t count = (uint16_t)(ref->hz * CALIBRATION_MS / 1000);
	uint64_t start, last, now, before;

	outb(PORT_SYSTEM_B, (inb(PORT_SYSTEM_B) & (uint8_t)~(PORT_B_GATE2 | PORT_B_SPEAKER)) | PORT_B_GATE2);
	outb(PORT_PIT_CONTROL, 0xb0); /* channel 2, mode 0 */
	outb(PORT_PIT_CHANNEL_2, (uint8_t)count);
	before = rdtsc();
	outb(PORT_PIT_CHANNEL_2, (uint8_t)(count >> 8));
	start = rdtsc();
	if (inb(PORT_SYSTEM_B) & PORT_B_OUT2)
		return false; /* the output is high before the PIT can have counted: there is no PIT */
	host_apic_timer_calibrate_start();
	w->slack = rdtsc() - before;
	now = start;
	do {
		last = now; /* the output rose behind this look at it, or will */
		now = rdtsc();
		if (now - start > DEAD_TICKS)
			return false;
	} while (!(inb(PORT_SYSTEM_B) & PORT_B_OUT2));
	w->apic = host_apic_timer_elapsed();
	now = rdtsc();
	w->slack += now - last;
	w->tsc = now - start;
	w->reference = count;
	return true;
}

/* All windows by one clock. */
static bool measure_windows(const struct reference *ref, bool (*by)(const struct reference *ref, struct tsc_window *w), struct tsc_window *windows)
{
	for (unsigned i = 0; i < WINDOWS; i++)
		if (!by(ref, &windows[i]))
			return false;
	return true;
}

/* By the best clock that runs. Returns whether there is one. */
static bool measure_any(const struct acpi_info *acpi, struct tsc_window *windows, struct reference *used)
{
	static bool (*const find[])(const struct acpi_info *acpi, struct reference *ref) = { hpet_reference, pm_timer_reference };

	for (unsigned i = 0; i < ARRAY_SIZE(find); i++) {
		if (!find[i](acpi, used))
			continue;
		if (measure_windows(used, measure, windows))
			return true;
		log_line("time: the %s stands still: not used", used->name);
	}
	*used = (struct reference){ .name = "PIT", .hz = PIT_HZ };
	return measure_windows(used, measure_pit, windows);
}

/* The local APIC's timer against a TSC whose rate the CPU names. */
static struct tsc_window measure_apic(uint64_t hz)
{
	struct tsc_window w = { 0 };
	uint64_t start;

	host_apic_timer_calibrate_start();
	start = rdtsc();
	while (rdtsc() - start < hz * CALIBRATION_MS / 1000)
		pause();
	w.apic = host_apic_timer_elapsed();
	w.tsc = rdtsc() - start;
	return w;
}

static void report(const struct tsc_rate *rate, const struct reference *used)
{
	if (rate->doubtful)
		log_line("time: CPUID leaf 15h claims a TSC of %lu kHz, which the %s shows to be wrong by more than 1 %%: not believed",
			 rate->doubtful / 1000, used->name);
	if (!rate->source)
		log_line("time: TSC at %lu kHz, measured against the %s", rate->hz / 1000, used->name);
	else if (rate->measured)
		log_line("time: TSC at %lu kHz, says %s; measured against the %s: %lu kHz", rate->hz / 1000, rate->source, used->name,
			 rate->measured / 1000);
	else
		log_line("time: TSC at %lu kHz, says %s; there is no clock to measure it against", rate->hz / 1000, rate->source);
	if (!cpu_features.invariant_tsc)
		log_line("time: the CPU does not promise an invariant TSC (CPUID 80000007 EDX bit 8): clocks go wrong where its frequency changes");
}

void clock_calibrate(const struct acpi_info *acpi)
{
	struct tsc_window windows[WINDOWS], best;
	unsigned count;
	struct reference used;
	struct tsc_claims claims;
	struct tsc_rate rate;

	tsc_claims_read(&claims, cpuid_count);
	count = measure_any(acpi, windows, &used) ? WINDOWS : 0;
	if (!count && claims.platform_info)
		claims.platform = tsc_platform_hz(rdmsr(MSR_PLATFORM_INFO));
	rate = tsc_rate_choose(&claims, windows, count, used.hz);
	if (count && rate.hz < TSC_HZ_LEAST)
		boot_fatal("the TSC does not run: %lu ticks in %u ms of the %s", tsc_window_best(windows, count)->tsc, CALIBRATION_MS, used.name);
	if (!rate.hz)
		boot_fatal("no clock to measure the TSC against: HPET, ACPI PM timer and PIT are missing or stand still; nor does the CPU name its rate");
	tsc_hz = rate.hz;
	best = count ? *tsc_window_best(windows, count) : measure_apic(rate.hz);
	host_apic_timer_calibrated(best.apic, best.tsc);
	report(&rate, &used);
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

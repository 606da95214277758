/* The rate of the TSC: an outer hypervisor knows it, leaf 15h does where its crystal is given, else it is what was measured, and where there
 * was nothing to measure by, what the CPU was built for. Nothing here touches the machine. */
#include "arch/x86_64/tsc_rate.h"

#include "lib/string.h"
#include "lib/x86/cpuid.h"
#include "vmm/exits/cpuid_bits.h"

#define TSC_HZ_MOST 100000000000ULL
#define HYPERVISOR_LEAVES 0x40000000
#define HYPERVISOR_TSC 0x40000010 /* EAX: kHz */
#define FAMILY_6 6

static uint64_t possible(uint64_t hz)
{
	return hz >= TSC_HZ_LEAST && hz <= TSC_HZ_MOST ? hz : 0;
}

/* SDM vol. 2, CPUID leaves 15h and 16h. */
void tsc_claims_read(struct tsc_claims *claims, void (*cpuid)(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]))
{
	uint32_t first[4], version[4], r[4];
	bool intel;

	memset(claims, 0, sizeof(*claims));
	cpuid(0, 0, first);
	cpuid(1, 0, version);
	if (version[2] & BIT(CPUID_1_HYPERVISOR)) {
		cpuid(HYPERVISOR_LEAVES, 0, r);
		/* Hypervisors' leaves lie in a range of 256. */
		if (r[0] >= HYPERVISOR_TSC && r[0] < HYPERVISOR_LEAVES + 0x100) {
			cpuid(HYPERVISOR_TSC, 0, r);
			claims->hypervisor = possible(r[0] * 1000ULL);
		}
	}
	if (first[0] >= 0x15) {
		cpuid(0x15, 0, r);
		if (r[0] && r[1] && r[2])
			claims->crystal = possible((uint64_t)r[2] * r[1] / r[0]);
	}
	if (first[0] >= 0x16) {
		cpuid(0x16, 0, r);
		claims->base = possible((r[0] & 0xffff) * 1000000ULL);
	}
	/* CPUs with AVX are Sandy Bridge or later: before it the bus had other rates. */
	intel = !memcmp(&first[1], "Genu", 4) && !memcmp(&first[3], "ineI", 4) && !memcmp(&first[2], "ntel", 4);
	claims->platform_info = intel && (version[0] >> 8 & 0xf) == FAMILY_6 && version[2] & BIT(CPUID_1_AVX);
}

uint64_t tsc_platform_hz(uint64_t platform_info)
{
	return possible((platform_info >> 8 & 0xff) * 100000000);
}

const struct tsc_window *tsc_window_best(const struct tsc_window *windows, unsigned count)
{
	const struct tsc_window *best = windows;

	for (unsigned i = 1; i < count; i++)
		if (windows[i].slack < best->slack)
			best = &windows[i];
	return best;
}

static uint64_t window_hz(const struct tsc_window *window, uint64_t reference_hz)
{
	return window->reference ? window->tsc * reference_hz / window->reference : 0;
}

/* Whether one window at least differs by no more than 1 %: another may have been stretched. */
static bool confirmed(uint64_t hz, const struct tsc_window *windows, unsigned count, uint64_t reference_hz)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t measured = window_hz(&windows[i], reference_hz);

		if ((measured > hz ? measured - hz : hz - measured) <= hz / 100)
			return true;
	}
	return !count;
}

struct tsc_rate tsc_rate_choose(const struct tsc_claims *claims, const struct tsc_window *windows, unsigned count, uint64_t reference_hz)
{
	struct tsc_rate rate = { 0 };

	if (count) {
		rate.measured = window_hz(tsc_window_best(windows, count), reference_hz);
		/* To the nearest 10 kHz: finer than that is the measurement's own noise. */
		rate.measured = (rate.measured + 5000) / 10000 * 10000;
	}
	/* Emulators copy the leaf of a CPU whose TSC runs at another rate than theirs. */
	if (claims->crystal && !confirmed(claims->crystal, windows, count, reference_hz))
		rate.doubtful = claims->crystal;
	if (claims->hypervisor) {
		rate.hz = claims->hypervisor;
		rate.source = "the outer hypervisor (CPUID leaf 40000010h)";
	} else if (claims->crystal && !rate.doubtful) {
		rate.hz = claims->crystal;
		rate.source = "CPUID leaf 15h";
	} else if (count) {
		rate.hz = rate.measured;
	} else if (claims->base) {
		rate.hz = claims->base;
		rate.source = "CPUID leaf 16h";
	} else if (claims->platform) {
		rate.hz = claims->platform;
		rate.source = "MSR_PLATFORM_INFO";
	}
	return rate;
}

/* SOURCES: arch/x86_64/tsc_rate.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/x86_64/tsc_rate.h"

#define REFERENCE_HZ 10000000UL
#define GHZ_2 2000000000UL

/* A window of 10 ms by a clock of 10 MHz that shows this rate. */
static struct tsc_window window(uint64_t hz, uint64_t slack)
{
	return (struct tsc_window){ .tsc = hz / 100, .apic = 1000, .reference = REFERENCE_HZ / 100, .slack = slack };
}

static struct tsc_rate choose(const struct tsc_claims *claims, const struct tsc_window *windows, unsigned count)
{
	return tsc_rate_choose(claims, windows, count, REFERENCE_HZ);
}

/* An SMI of 50 us stretches the first window: its reads show it, and the rate of another counts. */
static void test_the_shortest_reads(void **state)
{
	const struct tsc_claims none = { 0 };
	struct tsc_window windows[3] = { window(GHZ_2 + 10000000, 100000), window(GHZ_2, 400), window(GHZ_2 + 30000, 900) };
	struct tsc_rate rate = choose(&none, windows, 3);

	(void)state;
	assert_ptr_equal(tsc_window_best(windows, 3), &windows[1]);
	assert_int_equal(rate.hz, GHZ_2);
	assert_int_equal(rate.measured, GHZ_2);
	assert_null(rate.source);
	assert_int_equal(rate.doubtful, 0);
	for (unsigned best = 0; best < 3; best++) {
		for (unsigned i = 0; i < 3; i++)
			windows[i] = window(GHZ_2 + i * 1000000, i == best ? 10 : 20);
		assert_ptr_equal(tsc_window_best(windows, 3), &windows[best]);
		assert_int_equal(choose(&none, windows, 3).hz, GHZ_2 + best * 1000000);
	}
	/* Equal: the first; one window: that one. */
	windows[0].slack = windows[1].slack = windows[2].slack = 10;
	assert_ptr_equal(tsc_window_best(windows, 3), &windows[0]);
	assert_ptr_equal(tsc_window_best(&windows[2], 1), &windows[2]);
}

static void test_measured_to_10_khz(void **state)
{
	const struct tsc_claims none = { 0 };
	struct tsc_window w = window(GHZ_2, 0);

	(void)state;
	w.tsc = 20000049; /* 2000004900 Hz */
	assert_int_equal(choose(&none, &w, 1).hz, GHZ_2);
	w.tsc = 20000050;
	assert_int_equal(choose(&none, &w, 1).hz, GHZ_2 + 10000);
	w.tsc = 5;
	assert_true(choose(&none, &w, 1).hz < TSC_HZ_LEAST);
}

static void test_an_outer_hypervisor_is_believed(void **state)
{
	const struct tsc_claims claims = { .hypervisor = 2112003000, .crystal = GHZ_2, .base = 1 };
	struct tsc_window w = window(GHZ_2, 10);
	struct tsc_rate rate = choose(&claims, &w, 1);

	(void)state;
	assert_int_equal(rate.hz, 2112003000); /* exact: not rounded */
	assert_int_equal(rate.measured, GHZ_2);
	assert_non_null(strstr(rate.source, "outer hypervisor"));
	assert_int_equal(rate.doubtful, 0);
}

/* Leaf 15h holds where one window at least confirms it to 1 %. */
static void test_the_crystal_and_the_windows(void **state)
{
	struct tsc_claims claims = { .crystal = GHZ_2, .base = 3000000000 };
	struct tsc_window windows[3] = { window(2100000000, 10), window(2100000000, 20), window(2020000000, 30) };
	struct tsc_rate rate = choose(&claims, windows, 3);

	(void)state;
	assert_int_equal(rate.hz, GHZ_2);
	assert_non_null(strstr(rate.source, "leaf 15h"));
	assert_int_equal(rate.measured, 2100000000);
	windows[2] = window(1980000000, 30);
	assert_int_equal(choose(&claims, windows, 3).hz, GHZ_2);
	windows[2] = window(2020010000, 30);
	rate = choose(&claims, windows, 3);
	assert_int_equal(rate.hz, 2100000000);
	assert_null(rate.source);
	assert_int_equal(rate.doubtful, GHZ_2);
	windows[2] = window(1979990000, 30);
	assert_int_equal(choose(&claims, windows, 3).hz, 2100000000);
	/* A hypervisor's word does not make the leaf right. */
	claims.hypervisor = 2100003000;
	rate = choose(&claims, windows, 3);
	assert_int_equal(rate.hz, 2100003000);
	assert_int_equal(rate.doubtful, GHZ_2);
}

static void test_nothing_to_measure_by(void **state)
{
	struct tsc_claims claims = { .hypervisor = 5000000, .crystal = 4000000, .base = 3000000, .platform = 2000000 };
	struct tsc_rate rate;

	(void)state;
	assert_int_equal(choose(&claims, NULL, 0).hz, 5000000);
	claims.hypervisor = 0;
	assert_int_equal(choose(&claims, NULL, 0).hz, 4000000);
	claims.crystal = 0;
	rate = choose(&claims, NULL, 0);
	assert_int_equal(rate.hz, 3000000);
	assert_non_null(strstr(rate.source, "leaf 16h"));
	claims.base = 0;
	rate = choose(&claims, NULL, 0);
	assert_int_equal(rate.hz, 2000000);
	assert_string_equal(rate.source, "MSR_PLATFORM_INFO");
	assert_int_equal(rate.measured | rate.doubtful, 0);
	claims.platform = 0;
	assert_int_equal(choose(&claims, NULL, 0).hz, 0);
}

/* What is measured goes before what the CPU was built for. */
static void test_measured_before_the_base(void **state)
{
	const struct tsc_claims claims = { .base = 3000000000, .platform = 2900000000 };
	struct tsc_window w = window(GHZ_2, 10);

	(void)state;
	assert_int_equal(choose(&claims, &w, 1).hz, GHZ_2);
}

/* The CPU. */
static uint32_t leaves[2][0x17][4]; /* from 0 and from 40000000h */
static struct tsc_claims claims;

static void fake_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	unsigned range = leaf >> 30;

	assert_int_equal(subleaf, 0);
	assert_true(range < 2 && (leaf & 0xfff) <= 0x16);
	/* Leaves that are not there are not asked for. */
	assert_true((leaf & 0xfff) <= (range ? leaves[1][0][0] & 0xfff : leaves[0][0][0]) || !(leaf & 0xfff));
	memcpy(regs, leaves[range][leaf & 0xfff], 16);
}

static void cpu(const char *vendor, uint32_t max)
{
	memset(leaves, 0, sizeof(leaves));
	leaves[0][0][0] = max;
	memcpy(&leaves[0][0][1], vendor, 4);
	memcpy(&leaves[0][0][3], vendor + 4, 4);
	memcpy(&leaves[0][0][2], vendor + 8, 4);
	leaves[0][1][0] = 0x906ea; /* family 6 */
	leaves[0][1][2] = 1U << 28; /* AVX */
}

static void test_claims_of_a_cpu(void **state)
{
	(void)state;
	cpu("GenuineIntel", 0x16);
	memcpy(leaves[0][0x15], (uint32_t[]){ 2, 216, 24000000, 0 }, 16);
	memcpy(leaves[0][0x16], (uint32_t[]){ 0xabcd0a28, 4100, 100, 0 }, 16);
	tsc_claims_read(&claims, fake_cpuid);
	assert_int_equal(claims.crystal, 2592000000);
	assert_int_equal(claims.base, 2600000000);
	assert_int_equal(claims.hypervisor | claims.platform, 0);
	assert_true(claims.platform_info);
	/* More than 32 bits by the way. */
	memcpy(leaves[0][0x15], (uint32_t[]){ 0x10000000, 0xf0000000, 0x10000000, 0 }, 16);
	tsc_claims_read(&claims, fake_cpuid);
	assert_int_equal(claims.crystal, 15 * 0x10000000UL);
	/* No crystal, no ratio, no denominator: no claim. */
	for (unsigned i = 0; i < 3; i++) {
		memcpy(leaves[0][0x15], (uint32_t[]){ 2, 216, 24000000, 0 }, 16);
		leaves[0][0x15][i] = 0;
		tsc_claims_read(&claims, fake_cpuid);
		assert_int_equal(claims.crystal, 0);
	}
	/* Impossible: below 1 MHz, above 100 GHz. */
	memcpy(leaves[0][0x15], (uint32_t[]){ 100, 1, 24000000, 0 }, 16);
	tsc_claims_read(&claims, fake_cpuid);
	assert_int_equal(claims.crystal, 0);
	memcpy(leaves[0][0x15], (uint32_t[]){ 1, 5000, 24000000, 0 }, 16);
	tsc_claims_read(&claims, fake_cpuid);
	assert_int_equal(claims.crystal, 0);
}

static void test_older_cpus(void **state)
{
	(void)state;
	cpu("GenuineIntel", 0x14);
	memset(leaves[0][0x15], 0xff, 32);
	tsc_claims_read(&claims, fake_cpuid);
	assert_int_equal(claims.crystal | claims.base | claims.hypervisor, 0);
	assert_true(claims.platform_info);
	leaves[0][1][2] = 0; /* no AVX: Nehalem's bus has 133 MHz, and Core 2 has no such ratio */
	tsc_claims_read(&claims, fake_cpuid);
	assert_false(claims.platform_info);
	cpu("GenuineIntel", 0xd);
	leaves[0][1][0] = 0xf41; /* Pentium 4 */
	tsc_claims_read(&claims, fake_cpuid);
	assert_false(claims.platform_info);
	cpu("AuthenticAMD", 0xd);
	tsc_claims_read(&claims, fake_cpuid);
	assert_false(claims.platform_info);
	assert_int_equal(tsc_platform_hz(0x0000080838f31a00), 2600000000);
	assert_int_equal(tsc_platform_hz(0x0000080838f300ff), 0);
}

static void test_claims_of_a_hypervisor(void **state)
{
	static const struct { uint32_t hypervisor, max, khz; uint64_t hz; } cases[] = {
		{ 1, 0x40000010, 2592003, 2592003000 },
		{ 1, 0x400000ff, 2592003, 2592003000 },
		{ 1, 0x4000000f, 2592003, 0 },
		{ 1, 0x40000100, 2592003, 0 }, /* no range of theirs: a CPU that answers as for its highest leaf */
		{ 1, 0x00000016, 2592003, 0 },
		{ 0, 0x40000010, 2592003, 0 }, /* the bit says that there is none */
		{ 1, 0x40000010, 0, 0 },
		{ 1, 0x40000010, 999, 0 },
		{ 1, 0x40000010, 100000001, 0 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		cpu("GenuineIntel", 0x14);
		leaves[0][1][2] |= cases[i].hypervisor << 31;
		leaves[1][0][0] = cases[i].max;
		leaves[1][0x10][0] = cases[i].khz;
		tsc_claims_read(&claims, fake_cpuid);
		assert_int_equal(claims.hypervisor, cases[i].hz);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_shortest_reads),
		cmocka_unit_test(test_measured_to_10_khz),
		cmocka_unit_test(test_an_outer_hypervisor_is_believed),
		cmocka_unit_test(test_the_crystal_and_the_windows),
		cmocka_unit_test(test_nothing_to_measure_by),
		cmocka_unit_test(test_measured_before_the_base),
		cmocka_unit_test(test_claims_of_a_cpu),
		cmocka_unit_test(test_older_cpus),
		cmocka_unit_test(test_claims_of_a_hypervisor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: */
#include "tests/unit/unit.h"

#include "lib/types.h"

/* The registers are the test's. */
#define ARCH_X86_64_ASM_H
static uint64_t msrs[0x400];

static uint64_t rdmsr(uint32_t msr)
{
	assert_true(msr < 0x400);
	return msrs[msr];
}

/* NOLINTNEXTLINE(bugprone-suspicious-include): so that it reads the test's registers */
#include "arch/x86_64/mtrr.c"
#include "lib/x86/msr.h"

struct cpu_features cpu_features;

static struct {
	uint64_t base, size;
} found[4];
static unsigned count;

static void each(uint64_t base, uint64_t size)
{
	assert_true(count < ARRAY_SIZE(found));
	found[count].base = base;
	found[count++].size = size;
}

static void set(unsigned phys_bits, uint64_t default_type, uint64_t base, uint64_t mask)
{
	cpu_features.phys_bits = phys_bits;
	msrs[MSR_MTRRCAP] = 1;
	msrs[MSR_MTRR_DEF_TYPE] = MTRR_DEF_TYPE_ENABLED | default_type;
	msrs[MSR_MTRR_PHYSBASE0] = base;
	msrs[MSR_MTRR_PHYSBASE0 + 1] = mask;
	count = 0;
}

static void test_hole_below_4g(void **state)
{
	(void)state;
	set(39, MTRR_TYPE_WB, 0xc0000000, 0x7fc0000800);
	mtrr_not_write_back(GIB(16), each);
	assert_int_equal(count, 1);
	assert_int_equal(found[0].base, 0xc0000000);
	assert_int_equal(found[0].size, GIB(1));
}

/* Memory encryption takes the upper bits of the address as the key: CPUID still counts them, the MTRRs' masks cannot have them. And some
 * firmware writes masks for CPUs with fewer address bits. */
static void test_masks_narrower_than_cpuid_says(void **state)
{
	(void)state;
	set(52, MTRR_TYPE_WB, 0x80000000, 0x00003fff80000800); /* 6 bits of keys */
	mtrr_not_write_back(GIB(64), each);
	assert_int_equal(count, 1);
	assert_int_equal(found[0].base, 0x80000000);
	assert_int_equal(found[0].size, GIB(2));
	set(39, MTRR_TYPE_WB, 0xe0000000, 0x0000000fe0000800); /* written for 36 bits */
	mtrr_not_write_back(GIB(16), each);
	assert_int_equal(count, 1);
	assert_int_equal(found[0].size, MIB(512));
}

/* A mask without bits matches everything. */
static void test_everything(void **state)
{
	(void)state;
	set(39, MTRR_TYPE_WB, 0, 0x800);
	mtrr_not_write_back(GIB(16), each);
	assert_int_equal(count, 1);
	assert_true(found[0].size >= GIB(16));
}

/* Firmware that forgets the RAM above 4 GiB: Lamina's own accesses there would not be cached, a guest's through EPT would. */
static void test_forgotten(void **state)
{
	(void)state;
	set(36, 0, MTRR_TYPE_WB, 0xf00000800); /* 0 .. 4 GiB */
	msrs[MSR_MTRR_DEF_TYPE] |= BIT(10);
	mtrr_not_write_back(GIB(6), each);
	assert_int_equal(count, 1);
	assert_int_equal(found[0].base, GIB(4));
	assert_int_equal(found[0].size, GIB(2));
	/* Two ranges with a hole. */
	set(36, 0, GIB(3) | MTRR_TYPE_WB, 0xfc0000800); /* 3 .. 4 GiB */
	msrs[MSR_MTRRCAP] = 2;
	msrs[MSR_MTRR_PHYSBASE0 + 2] = MTRR_TYPE_WB;
	msrs[MSR_MTRR_PHYSBASE0 + 3] = 0xf80000800; /* 0 .. 2 GiB */
	mtrr_not_write_back(GIB(4), each);
	assert_int_equal(count, 1);
	assert_int_equal(found[0].base, GIB(2));
	assert_int_equal(found[0].size, GIB(1));
	/* AMD's may have write-back from 4 GiB on by SYSCFG. */
	__builtin_memcpy(cpu_features.vendor, "AuthenticAMD", 13);
	set(36, 0, MTRR_TYPE_WB, 0xf00000800);
	mtrr_not_write_back(GIB(6), each);
	assert_int_equal(count, 0);
	__builtin_memset(cpu_features.vendor, 0, 13);
}

/* The first MiB is the fixed ranges', where they are on; else what no range covers begins at 0. MTRRs that are off leave everything uncached. */
static void test_first_mib(void **state)
{
	(void)state;
	for (unsigned fixed = 0; fixed < 2; fixed++) {
		set(36, 0, GIB(1) | MTRR_TYPE_WB, 0xfc0000800); /* 1 .. 2 GiB */
		msrs[MSR_MTRR_DEF_TYPE] |= fixed ? MTRR_DEF_TYPE_FIXED : 0;
		mtrr_not_write_back(GIB(2), each);
		assert_int_equal(count, 1);
		assert_int_equal(found[0].base, fixed ? MIB(1) : 0);
		assert_int_equal(found[0].size, GIB(1) - (fixed ? MIB(1) : 0));
	}
	set(36, 0, GIB(1) | MTRR_TYPE_WB, 0xfc0000800);
	msrs[MSR_MTRR_DEF_TYPE] = MTRR_TYPE_WB;
	mtrr_not_write_back(GIB(2), each);
	assert_true(count == 1 && found[0].base == 0 && found[0].size == GIB(2));
	/* A range that is not valid does not count, nor does a range behind the end. */
	set(36, MTRR_TYPE_WB, GIB(1), 0xfc0000000);
	mtrr_not_write_back(GIB(2), each);
	assert_int_equal(count, 0);
	set(36, MTRR_TYPE_WB, GIB(2), 0xfc0000800);
	mtrr_not_write_back(GIB(2), each);
	assert_int_equal(count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hole_below_4g),
		cmocka_unit_test(test_masks_narrower_than_cpuid_says),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_forgotten),
		cmocka_unit_test(test_first_mib),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: vmm/exits/cpuid.c */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/types.h"
#include "vmm/exits/cpuid.h"

#define A out[CPUID_EAX]
#define B out[CPUID_EBX]
#define C out[CPUID_ECX]
#define D out[CPUID_EDX]

#define ALL_GRANTS 0xffU

/* The host that fake_cpuid plays. */
static struct {
	const char *vendor;
	uint32_t max_basic, max_extended;
	bool everything; /* all feature bits set */
	uint32_t xcr0;
	unsigned more_caches; /* than four */
	unsigned calls;
} machine;

static void fake_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	static const uint32_t components[][3] = { /* size, offset, flags */
		[2] = { 256, 576, 0 }, [3] = { 64, 960, 0 }, [4] = { 64, 1024, 0 }, [5] = { 64, 1088, 0 }, [6] = { 512, 1152, 0 },
		[7] = { 1024, 1664, 0 }, [9] = { 8, 2688, 0 }, [17] = { 64, 2752, 2 }, [18] = { 8192, 2816, 2 },
	};
	uint32_t ones = machine.everything ? 0xffffffff : 0;

	machine.calls++;
	assert_true(leaf <= machine.max_basic || leaf == 0x80000000 || (leaf > 0x80000000 && leaf <= machine.max_extended));
	for (unsigned i = 0; i < 4; i++)
		regs[i] = ones;
	switch (leaf) {
	case 0:
		regs[0] = machine.max_basic;
		memcpy(&regs[1], machine.vendor, 4);
		memcpy(&regs[3], machine.vendor + 4, 4);
		memcpy(&regs[2], machine.vendor + 8, 4);
		break;
	case 1:
		regs[0] = 0x50654;
		regs[1] = 0x12340807; /* APIC ID 0x12, 0x34 logical, CLFLUSH 64, brand 7 */
		break;
	case 4:
		memset(regs, 0, 16);
		if (subleaf < 4 + machine.more_caches) {
			static const uint32_t types[] = { 0x21, 0x22, 0x43, 0x63, 0x83, 0x83, 0x83 };

			regs[0] = types[subleaf] | 0x100 | 7 << 26 | (subleaf == 3 ? 15 : 1) << 14;
			regs[1] = 0x1c0003f;
			regs[2] = 63;
		}
		break;
	case 7:
		if (subleaf == 0)
			regs[0] = machine.everything ? 2 : 0;
		break;
	case 0xd:
		if (subleaf == 0) {
			regs[0] = machine.xcr0;
			regs[1] = regs[2] = 11008;
			regs[3] = 0;
		} else if (subleaf > 1) {
			memset(regs, 0, 16);
			if (subleaf < ARRAY_SIZE(components))
				for (unsigned i = 0; i < 3; i++)
					regs[i] = components[subleaf][i];
		}
		break;
	case 0x80000000:
		regs[0] = machine.max_extended;
		break;
	case 0x80000008:
		regs[0] = 0x392e; /* 57 linear bits, 46 physical */
		break;
	}
}

static struct cpuid_host host;
static struct cpuid_table table;
static struct cpuid_state vcpu;
static struct cpuid_policy policy;
static uint32_t out[4];

static void intel(void)
{
	machine.vendor = "GenuineIntel";
	machine.max_basic = 0x1f;
	machine.max_extended = 0x80000008;
	machine.everything = true;
	machine.xcr0 = 0x602e7;
}

static void amd(void)
{
	intel();
	machine.vendor = "AuthenticAMD";
	machine.max_basic = 0x10;
	machine.max_extended = 0x80000028;
}

static void build(void)
{
	cpuid_capture(&host, fake_cpuid);
	memset(&table, 0xa5, sizeof(table));
	cpuid_build(&table, &host, &policy);
}

static int setup(void **state)
{
	(void)state;
	policy = (struct cpuid_policy){ .vcpus = 1, .tsc_hz = 2500000000, .granted = ALL_GRANTS, .phys_bits = 46, .nested_paging = true };
	vcpu = (struct cpuid_state){ .xcr0 = 1 };
	intel();
	return 0;
}

static void look(uint32_t leaf, uint32_t subleaf)
{
	memset(out, 0xa5, sizeof(out));
	cpuid_lookup(&table, &vcpu, leaf, subleaf, out);
}

static void assert_zero(uint32_t leaf, uint32_t subleaf)
{
	look(leaf, subleaf);
	if (A | B | C | D)
		fail_msg("leaf %#x.%u: %#x %#x %#x %#x", leaf, subleaf, A, B, C, D);
}

static void never_offered(void **state)
{
	(void)state;
	build();
	look(1, 0);
	/* DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, CNXT-ID, SDBG, xTPR, PDCM, DCA, OSXSAVE */
	assert_int_equal(C & (BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(10) | BIT(11) | BIT(14) | BIT(15) | BIT(18) | BIT(27)), 0);
	assert_int_equal(D & (BIT(10) | BIT(18) | BIT(20) | BIT(21) | BIT(22) | BIT(28) | BIT(29) | BIT(30) | BIT(31)), 0);
	look(7, 0);
	/* SGX, HLE, RTM, PQM, MPX, PQE, PT */
	assert_int_equal(B & (BIT(2) | BIT(4) | BIT(11) | BIT(12) | BIT(14) | BIT(15) | BIT(22) | BIT(25)), 0);
	/* OSPKE, CET_SS, TME, LA57, KL, bus lock, ENQCMD, SGX_LC, PKS */
	assert_int_equal(C & (BIT(4) | BIT(7) | BIT(13) | BIT(16) | BIT(23) | BIT(24) | BIT(29) | BIT(30) | BIT(31)), 0);
	/* UINTR, SRBDS, hybrid, TSXLDTRK, PCONFIG, LBR, IBT, AMX, SPEC_CTRL, STIBP, L1D_FLUSH, ARCH_CAPABILITIES, CORE_CAPABILITIES, SSBD */
	assert_int_equal(D & (BIT(5) | BIT(9) | BIT(15) | BIT(16) | BIT(18) | BIT(19) | BIT(20) | BIT(22) | BIT(24) | BIT(25) | 0xfc000000), 0);
	look(7, 1);
	assert_int_equal(B | C, 0);
	assert_zero(7, 2);
	assert_zero(7, 0xffffffff);
	static const uint32_t absent[] = { 3, 5, 8, 9, 0xa, 0xc, 0xe, 0xf, 0x10, 0x11, 0x12, 0x13, 0x14 };
	for (unsigned i = 0; i < ARRAY_SIZE(absent); i++)
		for (uint32_t sub = 0; sub < 4; sub++)
			assert_zero(absent[i], sub);
	look(6, 0);
	assert_int_equal(A, 4); /* ARAT alone */
	assert_int_equal(B | C | D, 0);
	look(0x80000001, 0);
	assert_int_equal(C & (BIT(2) | BIT(3) | BIT(9) | BIT(10) | BIT(12) | BIT(13) | BIT(15) | BIT(22) | BIT(23) | BIT(24) | BIT(29)), 0);
	look(0x80000008, 0);
	assert_int_equal(A, 0x302e);
	assert_int_equal(B & ~5U, 0);
}

static void offered(void **state)
{
	(void)state;
	build();
	look(0, 0);
	assert_int_equal(A, 0x16);
	assert_memory_equal(&B, "Genu", 4);
	look(1, 0);
	assert_int_equal(A, 0x50654);
	assert_int_equal(B, 0x00010807);
	assert_true((~C & (BIT(13) | BIT(17) | BIT(21) | BIT(24) | BIT(26) | BIT(28) | BIT(31))) == 0);
	assert_int_equal(D, 0x0f8bfbff);
	look(7, 0);
	assert_int_equal(A, 1);
	assert_true((B & (BIT(0) | BIT(1) | BIT(7) | BIT(10) | BIT(16) | BIT(20))) == (BIT(0) | BIT(1) | BIT(7) | BIT(10) | BIT(16) | BIT(20)));
	assert_true((C & (BIT(2) | BIT(3) | BIT(5) | BIT(22))) == (BIT(2) | BIT(5) | BIT(22))); /* no PKU */
	look(0x80000000, 0);
	assert_int_equal(A, 0x80000008);
	look(0x80000001, 0);
	assert_true((D & (BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29))) == (BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29)));
	assert_int_equal(C & 0x21, 0x21);
	look(0x80000007, 0);
	assert_int_equal(D, 0x100);
	assert_int_equal(A | B | C, 0);
}

/* A TSC that P-states or idle states change is not called invariant; an outer hypervisor's is no core's. */
static void invariant_tsc(void **state)
{
	static const struct { uint32_t promised, hypervisor, offered; } cases[] = { { 0, 0, 0 }, { 0x100, 0, 0x100 }, { 0, 1, 0x100 }, { 0x100, 1, 0x100 } };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		cpuid_capture(&host, fake_cpuid);
		host.extended[7][CPUID_EDX] = (host.extended[7][CPUID_EDX] & ~0x100U) | cases[i].promised;
		host.basic[1][CPUID_ECX] = (host.basic[1][CPUID_ECX] & ~(1U << 31)) | cases[i].hypervisor << 31;
		memset(&table, 0xa5, sizeof(table));
		cpuid_build(&table, &host, &policy);
		look(0x80000007, 0);
		assert_int_equal(D, cases[i].offered);
		assert_int_equal(A | B | C, 0);
	}
}

/* Without each grant its features are gone; with it they are there. */
static void grants(void **state)
{
	static const struct { uint32_t grant, leaf, subleaf, reg, bit; } bits[] = {
		{ CPUID_GRANT_RDTSCP, 0x80000001, 0, CPUID_EDX, 27 }, { CPUID_GRANT_RDTSCP, 7, 0, CPUID_ECX, 22 },
		{ CPUID_GRANT_INVPCID, 7, 0, CPUID_EBX, 10 }, { CPUID_GRANT_PCID, 1, 0, CPUID_ECX, 17 },
		{ CPUID_GRANT_XSAVE, 1, 0, CPUID_ECX, 26 }, { CPUID_GRANT_XSAVE, 1, 0, CPUID_ECX, 28 },
		{ CPUID_GRANT_XSAVE, 1, 0, CPUID_ECX, 12 }, { CPUID_GRANT_XSAVE, 7, 0, CPUID_EBX, 5 },
		{ CPUID_GRANT_XSAVE, 7, 0, CPUID_EBX, 16 },
		{ CPUID_GRANT_XSAVE, 7, 0, CPUID_ECX, 9 }, { CPUID_GRANT_XSAVE, 0xd, 1, CPUID_EAX, 3 },
		{ CPUID_GRANT_XSAVES, 0xd, 1, CPUID_EAX, 3 }, { CPUID_GRANT_WAITPKG, 7, 0, CPUID_ECX, 5 },
		{ CPUID_GRANT_X2APIC, 1, 0, CPUID_ECX, 21 }, { CPUID_GRANT_TSC_DEADLINE, 1, 0, CPUID_ECX, 24 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++) {
		policy.granted = ALL_GRANTS & ~bits[i].grant;
		build();
		look(bits[i].leaf, bits[i].subleaf);
		assert_int_equal(out[bits[i].reg] >> bits[i].bit & 1, 0);
		policy.granted = ALL_GRANTS;
		build();
		look(bits[i].leaf, bits[i].subleaf);
		assert_int_equal(out[bits[i].reg] >> bits[i].bit & 1, 1);
	}
	policy.nested_paging = false;
	build();
	look(0x80000001, 0);
	assert_int_equal(D >> 26 & 1, 1); /* Lamina walks the page tables itself, and knows 1 GiB pages */
	look(7, 0);
	assert_int_equal(C >> 3 & 1, 0);
	assert_true(table.xcr0 == 0xe7);
}

/* An old host with nothing: only what Lamina itself provides is offered. */
static void poor_host(void **state)
{
	(void)state;
	machine.everything = false;
	machine.max_basic = 0xa;
	machine.xcr0 = 0;
	build();
	look(0, 0);
	assert_int_equal(A, 0x16);
	look(1, 0);
	assert_true(C == (BIT(21) | BIT(24) | BIT(31)));
	assert_true(D == (BIT(9) | BIT(12)));
	look(7, 0);
	assert_true(A == 0 && B == BIT(1) && C == 0 && D == 0);
	for (uint32_t sub = 0; sub < 70; sub++)
		assert_zero(0xd, sub);
	look(0x80000001, 0);
	assert_true((A | B | C | D) == 0);
	assert_false(cpuid_xcr0_valid(&table, 1));
	policy.nested_paging = false;
	build();
	look(0x80000001, 0);
	assert_true((A | B | C) == 0 && D == BIT(26)); /* 1 GiB pages, which the shadow MMU has whatever the host has */
	policy.nested_paging = true;
	machine.max_basic = 0;
	machine.max_extended = 0; /* not even extended leaves: a nonsense value must not be walked */
	build();
	look(0x80000008, 0);
	assert_int_equal(A, 0x302e);
}

static void xsave_sizes(void **state)
{
	(void)state;
	build();
	assert_true(table.xcr0 == 0xe7);
	look(0xd, 0);
	assert_int_equal(A, 0xe7);
	assert_int_equal(B, 576);
	assert_int_equal(C, 2688);
	assert_int_equal(D, 0);
	vcpu.xcr0 = 7;
	look(0xd, 0);
	assert_int_equal(B, 832);
	vcpu.xcr0 = 0xe7;
	look(0xd, 0);
	assert_int_equal(B, 2688);
	vcpu.xcr0 = 0x47;
	look(0xd, 0);
	assert_int_equal(B, 1664);
	look(0xd, 1);
	assert_int_equal(A, 0xf);
	assert_int_equal(B, 576 + 256 + 512);
	assert_int_equal(C | D, 0);
	look(0xd, 2);
	assert_true(A == 256 && B == 576 && C == 0 && D == 0);
	assert_zero(0xd, 9); /* PKRU */
	assert_zero(0xd, 3); /* MPX */
	assert_zero(0xd, 18); /* AMX */
	assert_zero(0xd, 20);
	assert_zero(0xd, 63);
	assert_zero(0xd, 0xffffffff);
	vcpu.xcr0 = UINT64_MAX; /* cannot be, and does no harm */
	vcpu.xss = UINT64_MAX;
	look(0xd, 0);
	assert_int_equal(B, 2688);
	look(0xd, 1);
}

static void xcr0_rules(void **state)
{
	static const struct { uint64_t value; bool valid; } values[] = {
		{ 0, false }, { 1, true }, { 2, false }, { 3, true }, { 5, false }, { 7, true }, { 0x27, false }, { 0xe7, true }, { 0xe3, false },
		{ 0x207, false }, { 0x201, false }, { 0xb, false }, { 0x60007, false }, { BIT(63) | 7, false },
	};

	(void)state;
	build();
	for (unsigned i = 0; i < ARRAY_SIZE(values); i++)
		assert_int_equal(cpuid_xcr0_valid(&table, values[i].value), values[i].valid);
	machine.xcr0 = 7;
	build();
	assert_false(cpuid_xcr0_valid(&table, 0xe7));
	look(7, 0);
	assert_int_equal(B & 0xdc230000, 0); /* no AVX-512 without its state */
	assert_true(B & BIT(5));
	machine.xcr0 = 0x27; /* a broken outer hypervisor: opmask only */
	build();
	assert_true(table.xcr0 == 7);
}

static void dynamic_bits(void **state)
{
	(void)state;
	policy.vcpus = 64;
	build();
	vcpu.apic_id = 63;
	vcpu.cr4 = BIT(18) | BIT(22);
	look(1, 0);
	assert_int_equal(B >> 24, 63);
	assert_true(C & BIT(27));
	look(7, 0);
	assert_true(C & BIT(4));
	look(7, 1);
	assert_false(C & BIT(4));
	vcpu.cr4 = ~(BIT(18) | BIT(22));
	look(1, 0);
	assert_false(C & BIT(27));
	look(7, 0);
	assert_false(C & BIT(4));
	assert_true(cpuid_wants_cr4(1) && cpuid_wants_cr4(7) && !cpuid_wants_cr4(0xd));
	vcpu.apic_id = 0x12345;
	look(1, 0);
	assert_int_equal(B >> 24, 0x45);
	look(0xb, 1);
	assert_int_equal(D, 0x12345);
}

/* A host with more of them than are kept. */
static void many_caches(void **state)
{
	(void)state;
	machine.more_caches = 3;
	build();
	look(4, 4);
	assert_int_equal(A & 0xff, 0x83);
	assert_zero(4, 5);
	assert_zero(4, 6);
}

static void topology(void **state)
{
	static const struct { unsigned vcpus, shift; } sizes[] = { { 1, 0 }, { 2, 1 }, { 3, 2 }, { 4, 2 }, { 5, 3 }, { 33, 6 }, { 64, 6 } };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint32_t ids = (1U << sizes[i].shift) - 1;

		policy.vcpus = sizes[i].vcpus;
		build();
		vcpu.apic_id = sizes[i].vcpus - 1;
		look(1, 0);
		assert_int_equal(B >> 16 & 0xff, sizes[i].vcpus);
		assert_int_equal(D >> 28 & 1, sizes[i].vcpus > 1);
		for (uint32_t sub = 0; sub < 4; sub++) {
			look(4, sub);
			assert_int_equal(A >> 26, ids);
			assert_int_equal(A >> 14 & 0xfff, sub == 3 ? ids : 0);
			assert_true(A & 0x1f);
		}
		assert_zero(4, 4);
		assert_zero(4, 5);
		assert_zero(4, 0x80000000);
		look(0xb, 0);
		assert_true(A == 0 && B == 1 && C == 0x100 && D == vcpu.apic_id);
		look(0xb, 1);
		assert_true(A == sizes[i].shift && B == sizes[i].vcpus && C == 0x201 && D == vcpu.apic_id);
		look(0xb, 2);
		assert_true(A == 0 && B == 0 && C == 2 && D == vcpu.apic_id);
		look(0xb, 0x1ff);
		assert_true(A == 0 && B == 0 && C == 0xff);
	}
}

static void time_leaves(void **state)
{
	(void)state;
	build();
	look(0x15, 0);
	assert_true(A == 1 && B == 1 && C == 2500000000 && D == 0);
	look(0x16, 0);
	assert_true(A == 2500 && B == 2500 && C == 2500 && D == 0);
	look(0x40000010, 0);
	assert_true(A == 2500000 && B == 2500000 && C == 0 && D == 0);
	policy.tsc_hz = 5000000001;
	build();
	look(0x15, 0);
	assert_true(A == 1 && B == 2 && C == 2500000000);
	look(0x16, 0);
	assert_true(A == 5000 && C == 2500);
	look(0x40000010, 0);
	assert_true(A == 5000000 && B == 2500000);
}

static void hypervisor_leaves(void **state)
{
	(void)state;
	build();
	look(0x40000000, 0);
	assert_int_equal(A, 0x40000010);
	assert_memory_equal(&B, "LaminaLamina", 12);
	for (uint32_t leaf = 0x40000001; leaf < 0x40000010; leaf++)
		assert_zero(leaf, 0);
	assert_zero(0x40000011, 0);
	assert_zero(0x40000100, 0);
	assert_zero(0x4fffffff, 0);
}

static void out_of_range_intel(void **state)
{
	static const uint32_t beyond[] = { 0x17, 0x1f, 0x20, 0x1000, 0x3fffffff, 0x50000000, 0x7fffffff,
					   0x80000009, 0x80000021, 0x80000022, 0x8fffffff, 0xffffffff };

	(void)state;
	build();
	for (unsigned i = 0; i < ARRAY_SIZE(beyond); i++) {
		look(beyond[i], 7);
		if (A != 2500 || B != 2500 || C != 2500 || D != 0)
			fail_msg("leaf %#x", beyond[i]);
	}
}

static void amd_table(void **state)
{
	static const uint32_t beyond[] = { 0xe, 0x10, 0x15, 0x16, 0x17, 0x1f, 0x20, 0x50000000, 0x80000022, 0xffffffff };

	(void)state;
	amd();
	policy.vcpus = 3;
	build();
	look(0, 0);
	assert_int_equal(A, 0xd);
	for (unsigned i = 0; i < ARRAY_SIZE(beyond); i++)
		assert_zero(beyond[i], 0);
	look(0x80000000, 0);
	assert_int_equal(A, 0x80000021);
	look(0x80000001, 0);
	assert_int_equal(C & (BIT(2) | BIT(9) | BIT(10) | BIT(22)), 0);
	assert_true((C & (BIT(1) | BIT(4) | BIT(6))) == (BIT(1) | BIT(4) | BIT(6)));
	assert_true(D & BIT(9));
	look(0x80000008, 0);
	assert_int_equal(C, 2 | 2 << 12);
	assert_int_equal(B, 5);
	/* SVM, IBS, LWP, TOPOEXT, SEV */
	for (uint32_t leaf = 0x8000000a; leaf <= 0x80000018; leaf++)
		assert_zero(leaf, 0);
	for (uint32_t leaf = 0x8000001b; leaf <= 0x80000020; leaf++)
		assert_zero(leaf, 0);
	look(0x80000021, 0);
	assert_int_equal(A, 0x44);
	assert_int_equal(B | C | D, 0);
	assert_zero(4, 0);
	look(0xb, 1);
	assert_true(A == 2 && B == 3);
	/* An old one: few leaves. */
	machine.everything = false;
	machine.max_basic = 5;
	machine.max_extended = 0x80000018;
	policy.granted = 0;
	build();
	look(0, 0);
	assert_int_equal(A, 7);
	look(0x80000000, 0);
	assert_int_equal(A, 0x80000018);
	assert_zero(0xb, 0);
	assert_zero(0xb, 1);
	assert_zero(0xd, 0);
	assert_zero(0x80000019, 0);
	assert_zero(0x80000021, 0);
}

static void cr4_follows_the_table(void **state)
{
	static const struct {
		uint32_t *word;
		unsigned feature;
		uint64_t cr4;
	} bits[] = {
		{ &table.basic[1][CPUID_ECX], 17, BIT(17) }, { &table.basic[1][CPUID_ECX], 26, BIT(18) },
		{ &table.structured[0][CPUID_EBX], 0, BIT(16) }, { &table.structured[0][CPUID_EBX], 7, BIT(20) },
		{ &table.structured[0][CPUID_EBX], 20, BIT(21) }, { &table.structured[0][CPUID_ECX], 2, BIT(11) },
	};

	(void)state;
	memset(&table, 0, sizeof(table));
	assert_int_equal(cpuid_cr4(&table), 0x7ff);
	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++) {
		memset(&table, 0, sizeof(table));
		*bits[i].word = 1U << bits[i].feature;
		assert_int_equal(cpuid_cr4(&table), 0x7ff | bits[i].cr4);
	}
	/* Nothing else that the table shows: not VMXE, SMXE, PKE, CET ... */
	memset(&table, 0xff, sizeof(table));
	assert_int_equal(cpuid_cr4(&table), 0x370fff);
}

/* The list of features names each bit once. */
static void features_are_unique(void **state)
{
	static const char *const keys[] = {
#define FEATURE(leaf, reg, bit, name, needs) #leaf " " #reg " " #bit,
#include "vmm/exits/cpuid_features.h"
#undef FEATURE
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		for (unsigned j = i + 1; j < ARRAY_SIZE(keys); j++)
			assert_string_not_equal(keys[i], keys[j]);
}

static void any_question_is_answered(void **state)
{
	uint64_t seed = 0x123456789abcdef;

	(void)state;
	build();
	for (unsigned i = 0; i < 200000; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		vcpu.xcr0 = seed;
		vcpu.xss = ~seed;
		look((uint32_t)seed & (seed >> 60 & 1 ? 0xf000003f : 0xffffffff), (uint32_t)(seed >> 32) & (seed >> 61 & 1 ? 31 : 0xffffffff));
	}
	assert_true(sizeof(table) <= 3072);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(never_offered, setup),
		cmocka_unit_test_setup(offered, setup),
		cmocka_unit_test_setup(invariant_tsc, setup),
		cmocka_unit_test_setup(grants, setup),
		cmocka_unit_test_setup(poor_host, setup),
		cmocka_unit_test_setup(xsave_sizes, setup),
		cmocka_unit_test_setup(xcr0_rules, setup),
		cmocka_unit_test_setup(dynamic_bits, setup),
		cmocka_unit_test_setup(topology, setup),
		cmocka_unit_test_setup(many_caches, setup),
		cmocka_unit_test_setup(time_leaves, setup),
		cmocka_unit_test_setup(hypervisor_leaves, setup),
		cmocka_unit_test_setup(out_of_range_intel, setup),
		cmocka_unit_test_setup(amd_table, setup),
		cmocka_unit_test_setup(cr4_follows_the_table, setup),
		cmocka_unit_test_setup(features_are_unique, setup),
		cmocka_unit_test_setup(any_question_is_answered, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

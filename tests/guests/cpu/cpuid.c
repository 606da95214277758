/* CPUID, and that what it offers really works. */
#include "lib/string.h"
#include "tests/guests/lib/clock.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"

TEST(cpuid_signature, "CPUID: hypervisor bit and signature")
{
	struct cpuid_regs r = cpuid(1, 0);

	if (!under_lamina())
		SKIP("not under Lamina");
	CHECK(r.ecx & BIT(31), "leaf 1 ECX bit 31 (hypervisor) is clear: ECX %x", r.ecx);
	CHECK(!(r.ecx & BIT(5)), "leaf 1 ECX bit 5 (VMX) is offered: ECX %x", r.ecx);
	CHECK(!(r.ecx & BIT(6)), "leaf 1 ECX bit 6 (SMX) is offered: ECX %x", r.ecx);
	CHECK(!(cpuid(0x80000001, 0).ecx & BIT(2)), "leaf 0x80000001 ECX bit 2 (SVM) is offered");
	r = cpuid(0x40000000, 0);
	CHECK(r.eax >= 0x40000010, "the highest hypervisor leaf is %x, below the timing leaf 0x40000010", r.eax);
}

TEST(cpuid_basics, "CPUID: leaf ranges, vendor, features that long mode implies")
{
	struct cpuid_regs r = cpuid(0, 0);

	CHECK(r.eax >= 7, "the highest basic leaf is %x", r.eax);
	CHECK(r.eax < 0x100, "the highest basic leaf is %x", r.eax);
	r = cpuid(0x80000000, 0);
	CHECK(r.eax >= 0x80000008 && r.eax < 0x80000100, "the highest extended leaf is %x", r.eax);
	r = cpuid(0x80000001, 0);
	CHECK(r.edx & BIT(29), "long mode is not offered: leaf 0x80000001 EDX %x", r.edx);
	r = cpuid(0x80000008, 0);
	CHECK((r.eax & 0xff) >= 36 && (r.eax & 0xff) <= 52, "physical-address width %u", r.eax & 0xff);
	CHECK((r.eax >> 8 & 0xff) == 48 || (r.eax >> 8 & 0xff) == 57, "linear-address width %u", r.eax >> 8 & 0xff);
	r = cpuid(1, 0);
	/* FPU, TSC, MSR, PAE, CX8, APIC, PGE, CMOV, FXSR, SSE, SSE2: every long-mode processor has them. */
	CHECK((r.edx & 0x0700a371) == 0x0700a371, "leaf 1 EDX %x lacks a feature that long mode implies", r.edx);
}

TEST(cpuid_osxsave, "CPUID: leaf 1 shows CR4.OSXSAVE")
{
	uint64_t cr4 = read_cr4();

	if (!(cpuid(1, 0).ecx & BIT(26)))
		SKIP("no XSAVE");
	write_cr4(cr4 & ~CR4_OSXSAVE);
	CHECK(!(cpuid(1, 0).ecx & BIT(27)), "OSXSAVE is shown while CR4.OSXSAVE is clear");
	write_cr4(cr4 | CR4_OSXSAVE);
	CHECK(cpuid(1, 0).ecx & BIT(27), "OSXSAVE is not shown while CR4.OSXSAVE is set");
	write_cr4(cr4);
}

TEST(cpuid_apic_bit, "CPUID: leaf 1 shows IA32_APIC_BASE's enable bit")
{
	uint64_t base = rdmsr(MSR_APIC_BASE);
	bool on, off;

	if (!under_lamina())
		SKIP("Bochs 2.7 never enables an APIC again that was disabled");
	wrmsr(MSR_APIC_BASE, base & ~(BIT(11) | BIT(10)));
	off = cpuid(1, 0).edx & BIT(9);
	wrmsr(MSR_APIC_BASE, (base & ~BIT(10)) | BIT(11));
	if (base & BIT(10))
		wrmsr(MSR_APIC_BASE, base);
	on = cpuid(1, 0).edx & BIT(9);
	CHECK(on, "the APIC feature is not shown while the APIC is enabled");
	CHECK(!off, "the APIC feature is shown while the APIC is disabled");
}

/* ---- Features: offered ones work; those that a VMX control or CR4 switches off are #UD when not offered ---- */

static uint8_t buffer[16384] __attribute__((aligned(64)));

#define FEATURE(name, ...) \
	static void name(void) \
	{ \
		uint64_t a = 0, b = 0, c = 0, d = 0; \
		TRY(__VA_ARGS__, "+a"(a), "+b"(b), "+c"(c), "+d"(d) : "D"(buffer) : "memory", "cc", "rsi"); \
	}

FEATURE(do_rdtscp, "rdtscp")
FEATURE(do_invpcid, "movq $0, (%%rdi)\n\tmovq $0, 8(%%rdi)\n\tmovl $2, %%eax\n\tinvpcid (%%rdi), %%rax")
FEATURE(do_rdrand, "rdrand %%rax")
FEATURE(do_rdseed, "rdseed %%rax")
FEATURE(do_popcnt, "popcnt %%rax, %%rax")
FEATURE(do_movbe, "movbe (%%rdi), %%rax")
FEATURE(do_crc32, "crc32b %%al, %%eax")
FEATURE(do_ssse3, "pshufb %%xmm0, %%xmm0")
FEATURE(do_sse41, "ptest %%xmm0, %%xmm0")
FEATURE(do_aes, "aesenc %%xmm0, %%xmm0")
FEATURE(do_pclmul, "pclmulqdq $0, %%xmm0, %%xmm0")
FEATURE(do_cmpxchg16b, "cmpxchg16b (%%rdi)")
FEATURE(do_clflush, "clflush (%%rdi)")
FEATURE(do_clflushopt, "clflushopt (%%rdi)")
FEATURE(do_clwb, "clwb (%%rdi)")
FEATURE(do_bmi1, "andn %%rax, %%rax, %%rax")
FEATURE(do_bmi2, "pdep %%rax, %%rax, %%rax")
FEATURE(do_adx, "adcx %%rax, %%rax")
FEATURE(do_lzcnt, "lzcnt %%rax, %%rax")
FEATURE(do_lahf, "lahf")
FEATURE(do_prefetchw, "prefetchw (%%rdi)")
FEATURE(do_fxsave, "fxsave (%%rdi)")
FEATURE(do_sha, "sha1msg1 %%xmm0, %%xmm0")
FEATURE(do_rdpid, "rdpid %%rax")
FEATURE(do_movdiri, "movdiri %%rax, (%%rdi)")
FEATURE(do_movdir64b, "movdir64b (%%rdi), %%rdi")
FEATURE(do_serialize, ".byte 0x0f, 0x01, 0xe8")
/* TPAUSE with a deadline that has passed. */
FEATURE(do_tpause, "xorl %%ecx, %%ecx\n\txorl %%eax, %%eax\n\txorl %%edx, %%edx\n\ttpause %%ecx")
FEATURE(do_fsgsbase, "movq %%cr4, %%rsi\n\torq $0x10000, %%rsi\n\tmovq %%rsi, %%cr4\n\trdfsbase %%rax\n\twrfsbase %%rax")
FEATURE(do_smap, "clac")
FEATURE(do_xsave, "movq %%cr4, %%rsi\n\torq $0x40000, %%rsi\n\tmovq %%rsi, %%cr4\n\tmovl $3, %%eax\n\txsave (%%rdi)")
FEATURE(do_xsaveopt, "movq %%cr4, %%rsi\n\torq $0x40000, %%rsi\n\tmovq %%rsi, %%cr4\n\tmovl $3, %%eax\n\txsaveopt (%%rdi)")
FEATURE(do_xsavec, "movq %%cr4, %%rsi\n\torq $0x40000, %%rsi\n\tmovq %%rsi, %%cr4\n\tmovl $3, %%eax\n\txsavec (%%rdi)")
FEATURE(do_xsaves, "movq %%cr4, %%rsi\n\torq $0x40000, %%rsi\n\tmovq %%rsi, %%cr4\n\tmovl $3, %%eax\n\txsaves (%%rdi)\n\txrstors (%%rdi)")
#define ENABLE_AVX(mask) \
	"movq %%cr4, %%rsi\n\torq $0x40000, %%rsi\n\tmovq %%rsi, %%cr4\n\txorl %%ecx, %%ecx\n\txorl %%edx, %%edx\n\tmovl $" mask \
	", %%eax\n\txsetbv\n\t"
FEATURE(do_avx, ENABLE_AVX("7") "vxorps %%ymm0, %%ymm0, %%ymm0")
FEATURE(do_avx2, ENABLE_AVX("7") "vpaddd %%ymm0, %%ymm0, %%ymm0")
FEATURE(do_fma, ENABLE_AVX("7") "vfmadd132ps %%ymm0, %%ymm0, %%ymm0")
FEATURE(do_f16c, ENABLE_AVX("7") "vcvtph2ps %%xmm0, %%ymm0")
FEATURE(do_avx512f, ENABLE_AVX("0xe7") "vpaddd %%zmm0, %%zmm0, %%zmm0")

enum { EAX, EBX, ECX, EDX };

static const struct feature {
	const char *name;
	uint32_t leaf, subleaf;
	unsigned reg, bit;
	void (*run)(void);
	bool ud_otherwise; /* a control of VT-x takes it away, so it must be #UD where not offered; AMD-V has none */
} features[] = {
	{ "RDTSCP", 0x80000001, 0, EDX, 27, do_rdtscp, true },
	{ "INVPCID", 7, 0, EBX, 10, do_invpcid, true },
	{ "XSAVES", 0xd, 1, EAX, 3, do_xsaves, true },
	{ "WAITPKG", 7, 0, ECX, 5, do_tpause, true },
	{ "RDPID", 7, 0, ECX, 22, do_rdpid, false },
	{ "RDRAND", 1, 0, ECX, 30, do_rdrand, false },
	{ "RDSEED", 7, 0, EBX, 18, do_rdseed, false },
	{ "POPCNT", 1, 0, ECX, 23, do_popcnt, false },
	{ "MOVBE", 1, 0, ECX, 22, do_movbe, false },
	{ "SSE4.2", 1, 0, ECX, 20, do_crc32, false },
	{ "SSE4.1", 1, 0, ECX, 19, do_sse41, false },
	{ "SSSE3", 1, 0, ECX, 9, do_ssse3, false },
	{ "AES", 1, 0, ECX, 25, do_aes, false },
	{ "PCLMULQDQ", 1, 0, ECX, 1, do_pclmul, false },
	{ "CMPXCHG16B", 1, 0, ECX, 13, do_cmpxchg16b, false },
	{ "CLFLUSH", 1, 0, EDX, 19, do_clflush, false },
	{ "CLFLUSHOPT", 7, 0, EBX, 23, do_clflushopt, false },
	{ "CLWB", 7, 0, EBX, 24, do_clwb, false },
	{ "BMI1", 7, 0, EBX, 3, do_bmi1, false },
	{ "BMI2", 7, 0, EBX, 8, do_bmi2, false },
	{ "ADX", 7, 0, EBX, 19, do_adx, false },
	{ "SHA", 7, 0, EBX, 29, do_sha, false },
	{ "SMAP", 7, 0, EBX, 20, do_smap, false },
	{ "FSGSBASE", 7, 0, EBX, 0, do_fsgsbase, false },
	{ "MOVDIRI", 7, 0, ECX, 27, do_movdiri, false },
	{ "MOVDIR64B", 7, 0, ECX, 28, do_movdir64b, false },
	{ "SERIALIZE", 7, 0, EDX, 14, do_serialize, false },
	{ "LZCNT", 0x80000001, 0, ECX, 5, do_lzcnt, false },
	{ "LAHF64", 0x80000001, 0, ECX, 0, do_lahf, false },
	{ "PREFETCHW", 0x80000001, 0, ECX, 8, do_prefetchw, false },
	{ "FXSR", 1, 0, EDX, 24, do_fxsave, false },
	{ "XSAVE", 1, 0, ECX, 26, do_xsave, false },
	{ "XSAVEOPT", 0xd, 1, EAX, 0, do_xsaveopt, false },
	{ "XSAVEC", 0xd, 1, EAX, 1, do_xsavec, false },
	{ "AVX", 1, 0, ECX, 28, do_avx, false },
	{ "AVX2", 7, 0, EBX, 5, do_avx2, false },
	{ "FMA", 1, 0, ECX, 12, do_fma, false },
	{ "F16C", 1, 0, ECX, 29, do_f16c, false },
	{ "AVX512F", 7, 0, EBX, 16, do_avx512f, false },
};

static uint32_t cpuid_reg(uint32_t leaf, uint32_t subleaf, unsigned reg)
{
	struct cpuid_regs r = cpuid(leaf, subleaf);
	uint32_t max = cpuid(leaf & 0xffff0000, 0).eax;

	if (leaf > max)
		return 0;
	return reg == EAX ? r.eax : reg == EBX ? r.ebx : reg == ECX ? r.ecx : r.edx;
}

TEST(cpuid_features, "CPUID: offered features work, masked ones are #UD")
{
	uint64_t cr4 = read_cr4();

	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		const struct feature *f = &features[i];
		bool offered = cpuid_reg(f->leaf, f->subleaf, f->reg) >> f->bit & 1;

		if (!offered && (!f->ud_otherwise || cpu_is_amd()))
			continue;
		/* Bochs 2.7 misreports leaf 0xD, so XCR0's and XSAVES's bits cannot be relied upon on its bare machine. */
		if (!under_lamina() && f->leaf == 0xd)
			continue;
		memset(buffer, 0, 1024);
		f->run();
		write_cr4(cr4);
		if (offered)
			CHECK(fault.vector == NO_FAULT, "%s is offered, but its instruction raises vector %d", f->name, fault.vector);
		else
			CHECK(fault.vector == VECTOR_UD, "%s is not offered, but its instruction raises %d instead of #UD", f->name,
			      fault.vector);
	}
}

TEST(cpuid_tsc_aux, "RDTSCP and RDPID return IA32_TSC_AUX")
{
	uint32_t lo, hi, aux;
	uint64_t before, after;

	if (!(cpuid(0x80000001, 0).edx & BIT(27)))
		SKIP("no RDTSCP");
	wrmsr(MSR_TSC_AUX, 0xfeedc0de);
	CHECK_EQUAL("IA32_TSC_AUX", rdmsr(MSR_TSC_AUX), 0xfeedc0de);
	before = rdtsc();
	__asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux));
	after = rdtsc();
	CHECK_EQUAL("RDTSCP's ECX", aux, 0xfeedc0de);
	CHECK(((uint64_t)hi << 32 | lo) > before && ((uint64_t)hi << 32 | lo) < after, "RDTSCP lies not between two RDTSC");
	wrmsr(MSR_TSC_AUX, 0);
}

TEST(xsetbv, "XSETBV: legal and illegal values")
{
	uint64_t cr4 = read_cr4();
	uint32_t mask = cpuid(0xd, 0).eax, lo, hi;
	static const struct { uint32_t index, hi, lo; bool legal; uint32_t needs; } cases[] = {
		{ 0, 0, 1, true, 0 },
		{ 0, 0, 3, true, 0 },
		{ 0, 0, 7, true, 4 },
		{ 0, 0, 0xe7, true, 0xe4 },
		{ 0, 0, 0, false, 0 },         /* x87 must be set */
		{ 0, 0, 2, false, 0 },
		{ 0, 0, 5, false, 0 },         /* AVX without SSE */
		{ 0, 0, 0x27, false, 0 },      /* a part of AVX-512 */
		{ 0, 0, 0xe3, false, 0 },      /* AVX-512 without AVX */
		{ 0, 0x80000000, 1, false, 0 },
		{ 0, 0x40000000, 1, false, 0 },
		{ 1, 0, 1, false, 0 },
		{ 0xffffffff, 0, 1, false, 0 },
	};

	if (!(cpuid(1, 0).ecx & BIT(26)))
		SKIP("no XSAVE");
	write_cr4(cr4 & ~CR4_OSXSAVE);
	TRY("xgetbv", "=a"(lo), "=d"(hi) : "c"(0));
	CHECK_FAULT("XGETBV without CR4.OSXSAVE", VECTOR_UD, 0);
	TRY("xsetbv", : "c"(0), "a"(1), "d"(0));
	CHECK_FAULT("XSETBV without CR4.OSXSAVE", VECTOR_UD, 0);
	write_cr4(cr4 | CR4_OSXSAVE);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		if (cases[i].legal && (mask & cases[i].needs) != cases[i].needs)
			continue;
		TRY("xsetbv", : "c"(cases[i].index), "a"(cases[i].lo), "d"(cases[i].hi));
		CHECK(fault.vector == (cases[i].legal ? NO_FAULT : VECTOR_GP) && (cases[i].legal || fault.error == 0),
		      "XSETBV of %x:%x to XCR%x: %s, saw vector %d", cases[i].hi, cases[i].lo, cases[i].index,
		      cases[i].legal ? "expected no exception" : "expected #GP(0)", fault.vector);
		if (!cases[i].legal)
			continue;
		TRY("xgetbv", "=a"(lo), "=d"(hi) : "c"(0));
		CHECK_NO_FAULT("XGETBV");
		CHECK_EQUAL("XCR0", lo, cases[i].lo);
	}
	for (unsigned bit = 8; bit < 32; bit++) {
		if (mask & BIT(bit))
			continue;
		TRY("xsetbv", : "c"(0), "a"((uint32_t)(7 | BIT(bit))), "d"(0));
		CHECK(fault.vector == VECTOR_GP, "XSETBV with bit %u, which CPUID does not offer: expected #GP, saw %d", bit, fault.vector);
	}
	TRY("xsetbv", : "c"(0), "a"(1), "d"(0));
	write_cr4(cr4);
}

static bool within_percent(uint64_t a, uint64_t b, unsigned percent)
{
	uint64_t difference = a > b ? a - b : b - a;

	return difference * 100 <= b * percent;
}

TEST(cpuid_frequency, "CPUID: frequencies agree with the PM timer")
{
	uint64_t measured = tsc_over_pm_ticks(PM_TIMER_HZ / 20) * 20, claimed;
	struct cpuid_regs r;

	if (!under_lamina())
		SKIP("the bare (emulated) machine's leaves claim other frequencies");
	if (cpuid(0, 0).eax >= 0x15) {
		r = cpuid(0x15, 0);
		if (r.eax && r.ebx && r.ecx) {
			claimed = (uint64_t)r.ecx * r.ebx / r.eax;
			CHECK(within_percent(claimed, measured, 1), "leaf 0x15 claims a TSC of %llu Hz, the PM timer says %llu",
			      (unsigned long long)claimed, (unsigned long long)measured);
		}
	}
	if (cpuid(0, 0).eax >= 0x16) {
		r = cpuid(0x16, 0);
		if (r.eax & 0xffff)
			CHECK(within_percent((r.eax & 0xffff) * 1000000ULL, measured, 1),
			      "leaf 0x16 claims %u MHz, the PM timer says %llu Hz", r.eax & 0xffff, (unsigned long long)measured);
	}
	r = cpuid(0x40000010, 0);
	CHECK(within_percent(r.eax * 1000ULL, measured, 1), "leaf 0x40000010 claims a TSC of %u kHz, the PM timer says %llu Hz", r.eax,
	      (unsigned long long)measured);
	CHECK(r.ebx != 0, "leaf 0x40000010 gives no APIC timer frequency");
}

TEST(cpuid_topology, "CPUID: topology leaf agrees with the APIC IDs")
{
	uint32_t initial = cpuid(1, 0).ebx >> 24, shift = 0, cpus = 0;
	struct cpuid_regs r;

	if (cpuid(0, 0).eax < 0xb)
		SKIP("no leaf 0xb");
	r = cpuid(0xb, 0);
	if ((r.ecx & 0xff00) == 0)
		SKIP("leaf 0xb is empty");
	for (uint32_t level = 0; level < 8; level++) {
		r = cpuid(0xb, level);
		CHECK((r.ecx & 0xff) == level, "level %u answers with level number %u", level, r.ecx & 0xff);
		if ((r.ecx & 0xff00) == 0)
			break;
		CHECK((r.eax & 0x1f) >= shift, "the shift falls from %u to %u at level %u", shift, r.eax & 0x1f, level);
		CHECK((r.ebx & 0xffff) >= cpus, "the CPU count falls from %u to %u at level %u", cpus, r.ebx & 0xffff, level);
		CHECK((r.ebx & 0xffff) <= 1U << (r.eax & 0x1f), "%u CPUs do not fit a shift of %u", r.ebx & 0xffff, r.eax & 0x1f);
		CHECK((r.edx & 0xff) == initial, "leaf 0xb says x2APIC ID %x, leaf 1 says %x", r.edx, initial);
		shift = r.eax & 0x1f;
		cpus = r.ebx & 0xffff;
	}
	CHECK(cpus >= 1, "no CPU at the highest level");
}

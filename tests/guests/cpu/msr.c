/* Model-specific registers: what holds values, what refuses them. */
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"

TEST(msr_unknown, "MSR: unknown ones raise #GP on read and write")
{
	static const uint32_t unknown[] = { 0x12345678, 0x3fff, 0x4000, 0xc0001fff, 0xc0009999, 0xffffffff, 0x80000000 };
	uint64_t value;

	if (!under_lamina() && rdmsr_safe(0x12345678, &value) == NO_FAULT)
		SKIP("this machine ignores unknown MSRs");

	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
		rdmsr_safe(unknown[i], &value);
		CHECK(fault.vector == VECTOR_GP && fault.error == 0, "RDMSR of %x: expected #GP(0), saw vector %d", unknown[i], fault.vector);
		wrmsr_safe(unknown[i], 0);
		CHECK(fault.vector == VECTOR_GP && fault.error == 0, "WRMSR to %x: expected #GP(0), saw vector %d", unknown[i], fault.vector);
	}
}

TEST(msr_vmx, "MSR: the VMX capability MSRs are hidden")
{
	uint64_t value;

	if (!under_lamina())
		SKIP("not under Lamina");
	for (uint32_t msr = 0x480; msr <= 0x491; msr++)
		CHECK(rdmsr_safe(msr, &value) == VECTOR_GP, "RDMSR of %x: expected #GP, saw vector %d, value %llx", msr, fault.vector,
		      (unsigned long long)value);
	CHECK(wrmsr_safe(0x3a, 0) == VECTOR_GP, "WRMSR to IA32_FEATURE_CONTROL: expected #GP, saw %d", fault.vector);
}

TEST(msr_efer, "MSR: EFER refuses reserved bits and leaving long mode under paging")
{
	uint64_t efer = rdmsr(MSR_EFER);

	CHECK((efer & (EFER_LME | EFER_LMA)) == (EFER_LME | EFER_LMA), "EFER %llx lacks LME or LMA in long mode", (unsigned long long)efer);
	for (unsigned bit = 0; bit < 64; bit++) {
		if (bit == 0 || bit == 8 || (bit >= 10 && bit <= 15))
			continue;
		CHECK(wrmsr_safe(MSR_EFER, efer | BIT(bit)) == VECTOR_GP, "EFER bit %u: expected #GP, saw vector %d", bit, fault.vector);
	}
	CHECK(wrmsr_safe(MSR_EFER, efer & ~EFER_LME) == VECTOR_GP, "clearing EFER.LME under paging: expected #GP, saw %d", fault.vector);
	CHECK_EQUAL("EFER after the refusals", rdmsr(MSR_EFER), efer);
	CHECK(wrmsr_safe(MSR_EFER, efer | EFER_SCE) == NO_FAULT, "setting EFER.SCE raises vector %d", fault.vector);
	CHECK_EQUAL("EFER with SCE", rdmsr(MSR_EFER), efer | EFER_SCE);
	if (cpuid(0x80000001, 0).edx & BIT(20)) {
		CHECK(wrmsr_safe(MSR_EFER, efer | EFER_NXE) == NO_FAULT, "setting EFER.NXE raises vector %d", fault.vector);
		CHECK_EQUAL("EFER with NXE", rdmsr(MSR_EFER), efer | EFER_NXE);
	}
	wrmsr(MSR_EFER, efer);
}

TEST(msr_apic_base, "MSR: IA32_APIC_BASE refuses reserved bits and wrong mode changes")
{
	uint64_t base = rdmsr(MSR_APIC_BASE);
	bool x2apic = cpuid(1, 0).ecx & BIT(21);

	CHECK((base & ~0xfffULL) == 0xfee00000, "IA32_APIC_BASE is %llx", (unsigned long long)base);
	CHECK(base & BIT(8), "the BSP flag is clear on the boot processor: %llx", (unsigned long long)base);
	CHECK(wrmsr_safe(MSR_APIC_BASE, base | 1) == VECTOR_GP, "reserved bit 0: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(MSR_APIC_BASE, base | BIT(9)) == VECTOR_GP, "reserved bit 9: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(MSR_APIC_BASE, base | BIT(63)) == VECTOR_GP, "bit 63: expected #GP, saw %d", fault.vector);
	wrmsr(MSR_APIC_BASE, 0xfee00900);
	if (!x2apic) {
		CHECK(wrmsr_safe(MSR_APIC_BASE, 0xfee00d00) == VECTOR_GP, "x2APIC mode, not offered: expected #GP, saw %d", fault.vector);
		return;
	}
	/* SDM vol. 3, figure 10-27: the legal changes of state. */
	CHECK(wrmsr_safe(MSR_APIC_BASE, 0xfee00500) == VECTOR_GP, "xAPIC to the invalid state: expected #GP, saw %d", fault.vector);
	if (!under_lamina())
		SKIP("Bochs 2.7 never enables an APIC again that was disabled, so x2APIC mode has no way back");
	CHECK(wrmsr_safe(MSR_APIC_BASE, 0xfee00d00) == NO_FAULT, "xAPIC to x2APIC raises %d", fault.vector);
	CHECK(wrmsr_safe(MSR_APIC_BASE, 0xfee00900) == VECTOR_GP, "x2APIC to xAPIC: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(MSR_APIC_BASE, 0xfee00100) == NO_FAULT, "x2APIC to disabled raises %d", fault.vector);
	CHECK(wrmsr_safe(MSR_APIC_BASE, 0xfee00d00) == VECTOR_GP, "disabled to x2APIC: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(MSR_APIC_BASE, 0xfee00900) == NO_FAULT, "disabled to xAPIC raises %d", fault.vector);
	CHECK_EQUAL("IA32_APIC_BASE", rdmsr(MSR_APIC_BASE), 0xfee00900);
}

TEST(msr_pat, "MSR: IA32_PAT holds legal types and refuses others")
{
	uint64_t pat = rdmsr(MSR_PAT);

	CHECK(wrmsr_safe(MSR_PAT, 0x0706050401000706) == NO_FAULT, "a legal PAT raises %d", fault.vector);
	CHECK_EQUAL("PAT", rdmsr(MSR_PAT), 0x0706050401000706);
	SKIP_QEMU("any value is taken");
	for (unsigned entry = 0; entry < 8; entry++) {
		static const uint8_t illegal[] = { 2, 3, 8, 0x16, 0xff };

		for (unsigned i = 0; i < ARRAY_SIZE(illegal); i++) {
			uint64_t value = (0x0606060606060606ULL & ~(0xffULL << 8 * entry)) | (uint64_t)illegal[i] << 8 * entry;

			CHECK(wrmsr_safe(MSR_PAT, value) == VECTOR_GP, "PAT %llx: expected #GP, saw %d", (unsigned long long)value, fault.vector);
		}
	}
	CHECK_EQUAL("PAT after the refusals", rdmsr(MSR_PAT), 0x0706050401000706);
	wrmsr(MSR_PAT, pat);
}

TEST(msr_mtrr, "MSR: MTRRs hold values and refuse illegal ones")
{
	uint64_t cap, type, base, mask, value;
	unsigned variable;

	if (!(cpuid(1, 0).edx & BIT(12)))
		SKIP("no MTRRs");
	cap = rdmsr(MSR_MTRRCAP);
	variable = cap & 0xff;
	CHECK(wrmsr_safe(MSR_MTRRCAP, cap) == VECTOR_GP, "WRMSR to IA32_MTRRCAP: expected #GP, saw %d", fault.vector);
	type = rdmsr(MSR_MTRR_DEF_TYPE);
	CHECK(wrmsr_safe(MSR_MTRR_DEF_TYPE, (type & ~0xffULL) | 2) == VECTOR_GP, "default type 2: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(MSR_MTRR_DEF_TYPE, type | BIT(9)) == VECTOR_GP, "reserved bit 9: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(MSR_MTRR_DEF_TYPE, type) == NO_FAULT, "writing the default type back raises %d", fault.vector);
	CHECK_EQUAL("IA32_MTRR_DEF_TYPE", rdmsr(MSR_MTRR_DEF_TYPE), type);
	if (!variable)
		return;
	base = rdmsr(0x200 + 2 * (variable - 1));
	mask = rdmsr(0x201 + 2 * (variable - 1));
	CHECK(wrmsr_safe(0x200 + 2 * (variable - 1), 0xe0000001) == NO_FAULT, "a legal variable base raises %d", fault.vector);
	CHECK_EQUAL("variable base", rdmsr(0x200 + 2 * (variable - 1)), 0xe0000001);
	CHECK(wrmsr_safe(0x200 + 2 * (variable - 1), 0xe0000002) == VECTOR_GP, "variable type 2: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(0x201 + 2 * (variable - 1), BIT(63)) == VECTOR_GP, "mask bit 63: expected #GP, saw %d", fault.vector);
	wrmsr(0x200 + 2 * (variable - 1), base);
	wrmsr(0x201 + 2 * (variable - 1), mask);
	rdmsr_safe(0x200 + 2 * variable, &value);
	if (under_lamina() && 0x200 + 2 * variable < 0x250)
		CHECK(fault.vector == VECTOR_GP, "variable base %u, past the count: expected #GP, saw %d", variable, fault.vector);
	if (cap & BIT(8)) {
		value = rdmsr(0x250);
		CHECK(wrmsr_safe(0x250, 0x0606060606060602) == VECTOR_GP, "fixed type 2: expected #GP, saw %d", fault.vector);
		CHECK(wrmsr_safe(0x250, value) == NO_FAULT, "writing a fixed range back raises %d", fault.vector);
	}
}

TEST(msr_tsc, "MSR: TSC writes and IA32_TSC_ADJUST move together")
{
	uint64_t before, after, adjust, value;

	before = rdtsc();
	value = rdmsr(MSR_TSC);
	after = rdtsc();
	CHECK(before < value && value < after, "RDMSR of the TSC gives %llx between RDTSCs %llx and %llx", (unsigned long long)value,
	      (unsigned long long)before, (unsigned long long)after);
	if (!(cpuid(7, 0).ebx & BIT(1)))
		SKIP("no IA32_TSC_ADJUST");
	adjust = rdmsr(MSR_TSC_ADJUST);
	before = rdtsc();
	wrmsr(MSR_TSC_ADJUST, adjust + 0x123456789abULL);
	after = rdtsc();
	CHECK(after - before - 0x123456789abULL < 100000, "TSC_ADJUST raised by 123456789ab moved the TSC by %llx",
	      (unsigned long long)(after - before));
	CHECK_EQUAL("TSC_ADJUST", rdmsr(MSR_TSC_ADJUST), adjust + 0x123456789abULL);
	before = rdtsc();
	wrmsr(MSR_TSC, 0x1000);
	after = rdtsc();
	CHECK(after - 0x1000 < 100000, "the TSC reads %llx after 0x1000 was written", (unsigned long long)after);
	value = rdmsr(MSR_TSC_ADJUST) - adjust - 0x123456789abULL;
	CHECK(0x1000 - before - value < 100000, "writing the TSC moved it by %llx, but TSC_ADJUST by %llx",
	      (unsigned long long)(0x1000 - before), (unsigned long long)value);
	wrmsr(MSR_TSC_ADJUST, adjust);
	CHECK(rdtsc() > before - 0x123456789abULL, "the TSC did not come back with TSC_ADJUST");
}

TEST(msr_hold, "MSR: SYSENTER, STAR and base registers hold values, and are canonical")
{
	static const struct { uint32_t msr; uint64_t value; bool canonical; } msrs[] = {
		{ MSR_SYSENTER_ESP, 0xffff800012345678, true },
		{ MSR_SYSENTER_EIP, 0xffff8000abcdef01, true },
		{ MSR_LSTAR, 0xffffffff81000040, true },
		{ MSR_CSTAR, 0xffffffff81000080, true },
		{ MSR_FS_BASE, 0x00007fff12345000, true },
		{ MSR_GS_BASE, 0xffff888000000000, true },
		{ MSR_KERNEL_GS_BASE, 0xffff888000001000, true },
		{ MSR_SYSENTER_CS, 0x08, false },
		{ MSR_STAR, 0x0018000800000000, false },
		{ MSR_FMASK, 0x47700, false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++) {
		uint64_t old = rdmsr(msrs[i].msr), value;

		CHECK(wrmsr_safe(msrs[i].msr, msrs[i].value) == NO_FAULT, "WRMSR to %x raises vector %d", msrs[i].msr, fault.vector);
		value = rdmsr(msrs[i].msr);
		CHECK(value == msrs[i].value, "MSR %x: wrote %llx, read %llx", msrs[i].msr, (unsigned long long)msrs[i].value,
		      (unsigned long long)value);
		if (msrs[i].canonical && !cpu_is_amd()) { /* QEMU 7.2 takes any value */
			CHECK(wrmsr_safe(msrs[i].msr, 0x0100000000000000) == VECTOR_GP,
			      "a non-canonical value for MSR %x: expected #GP, saw vector %d", msrs[i].msr, fault.vector);
			CHECK(rdmsr(msrs[i].msr) == msrs[i].value, "MSR %x changed by a refused write", msrs[i].msr);
		}
		wrmsr(msrs[i].msr, old);
	}
}

TEST(msr_misc, "MSR: the ones that kernels read at boot")
{
	/* TSC, BIOS_SIGN_ID; and of Intel's CPUs MISC_ENABLE, PLATFORM_ID. */
	static const uint32_t msrs[] = { 0x10, 0x8b, MSR_MISC_ENABLE, 0x17 };
	uint64_t value;

	if (!under_lamina())
		SKIP("Bochs 2.7 lacks some of them");
	for (unsigned i = 0; i < (cpu_is_amd() ? 2 : ARRAY_SIZE(msrs)); i++)
		CHECK(rdmsr_safe(msrs[i], &value) == NO_FAULT, "RDMSR of %x raises vector %d", msrs[i], fault.vector);
	if (cpuid(1, 0).edx & BIT(14)) {
		CHECK(rdmsr_safe(0x179, &value) == NO_FAULT, "MCA is offered, but IA32_MCG_CAP raises %d", fault.vector);
		for (unsigned bank = 0; bank < (value & 0xff); bank++) {
			uint64_t status;

			CHECK(rdmsr_safe(0x401 + 4 * bank, &status) == NO_FAULT, "IA32_MC%u_STATUS raises %d", bank, fault.vector);
		}
	}
}

static uint64_t syscall_frame[4];

/* SYSCALL and SYSENTER land here in ring 0; INT 0x81, which nobody handles, hands over to the waiting run_user(). */
__asm__(".pushsection .text\n"
	"landing: int $0x81\n"
	"user_syscall: syscall\n ud2\n"
	"user_sysenter: sysenter\n ud2\n"
	"kernel_sysret: movq %rsp, %rax; movq $user_after_sysret, %rcx; movl $0x203, %r11d; sysretq\n"
	"user_after_sysret: movl %cs, %ebx; movl %ss, %edx; pushfq; popq %rsi; int $0x80\n"
	".popsection");
extern const uint8_t landing[], user_syscall[], user_sysenter[], kernel_sysret[];

TEST(msr_syscall, "SYSCALL, SYSENTER and SYSRET use their MSRs")
{
	uint64_t efer = rdmsr(MSR_EFER);

	wrmsr(MSR_STAR, 0x0018000800000000); /* SYSRET: SS 0x20, CS 0x28, with RPL 3 */
	wrmsr(MSR_LSTAR, (uint64_t)landing);
	wrmsr(MSR_FMASK, RFLAGS_CF | RFLAGS_DF);
	wrmsr(MSR_EFER, efer & ~EFER_SCE);
	run_user64(user_syscall, 0);
	CHECK_FAULT("SYSCALL with EFER.SCE clear", VECTOR_UD, 0);
	wrmsr(MSR_EFER, efer | EFER_SCE);
	run_user64(user_syscall, 0);
	CHECK_FAULT("SYSCALL", 0x81, 0);
	CHECK_EQUAL("CS after SYSCALL", fault.frame.cs, 8);
	CHECK_EQUAL("SS after SYSCALL", fault.frame.ss, 0x10);
	CHECK_EQUAL("RCX after SYSCALL", fault.frame.rcx, (uint64_t)user_syscall + 2);
	CHECK_EQUAL("R11 after SYSCALL", fault.frame.r11, 2);

	if (cpu_is_amd()) { /* APM vol. 3, SYSENTER: legacy mode only */
		run_user64(user_sysenter, 0);
		CHECK_FAULT("SYSENTER in long mode", VECTOR_UD, 0);
		return;
	}
	wrmsr(MSR_SYSENTER_CS, 0);
	run_user64(user_sysenter, 0);
	CHECK_FAULT("SYSENTER with a null SYSENTER_CS", VECTOR_GP, 0);
	wrmsr(MSR_SYSENTER_CS, 8);
	wrmsr(MSR_SYSENTER_ESP, (uint64_t)(syscall_frame + 4));
	wrmsr(MSR_SYSENTER_EIP, (uint64_t)landing);
	run_user64(user_sysenter, 0);
	CHECK_FAULT("SYSENTER", 0x81, 0);
	CHECK_EQUAL("CS after SYSENTER", fault.frame.cs, 8);
	CHECK_EQUAL("RSP after SYSENTER", fault.frame.rsp, (uint64_t)(syscall_frame + 4));

	TRY("jmp kernel_sysret", : : "memory", "rax", "rbx", "rcx", "rdx", "rsi", "r11");
	CHECK_FAULT("the code that SYSRET reached", VECTOR_USER_END, 0);
	CHECK_EQUAL("CS after SYSRET", fault.frame.rbx, 0x2b);
	CHECK_EQUAL("SS after SYSRET", fault.frame.rdx, 0x23);
	CHECK_EQUAL("RFLAGS after SYSRET", fault.frame.rsi, 0x203);
	wrmsr(MSR_EFER, efer);
}

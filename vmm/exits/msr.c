/* The list of MSRs that a guest may read and write by exits, with their values and their reserved bits. An MSR that is not in the list
 * raises #GP. */
#include "vmm/exits/msr.h"

#include "lib/string.h"
#include "lib/x86/msr.h"
#include "vmm/exits/cpuid.h"
#include "vmm/exits/cpuid_bits.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vcpu/vcpu.h"

#define HWCR_TSC_FREQ_SEL BIT(24) /* the TSC counts at P0's rate, as CPUID's invariant TSC says */

#define MTRR_VARIABLE 8
#define MTRRCAP (MTRR_VARIABLE | MTRRCAP_FIXED | MTRRCAP_WC)
#define MTRR_ENABLED (MTRR_DEF_TYPE_ENABLED | MTRR_DEF_TYPE_FIXED)

void msr_reset(struct msr_state *state, unsigned phys_bits)
{
	memset(state, 0, sizeof(*state));
	memset(state->mtrr_fixed, MTRR_TYPE_WB, sizeof(state->mtrr_fixed));
	state->mtrr_def_type = MTRR_ENABLED | MTRR_TYPE_WB;
	/* 0xc0000000..0xffffffff: uncached. */
	state->mtrr_variable[0] = 0xc0000000 | MTRR_TYPE_UC;
	state->mtrr_variable[1] = ((BIT(phys_bits) - 1) & ~0x3fffffffULL) | MTRR_PHYSMASK_VALID;
}

/* The index of a fixed-range MTRR in mtrr_fixed, or a negative number for any other MSR. */
static int fixed_mtrr(uint32_t msr)
{
	if (msr == MSR_MTRR_FIX64K_00000)
		return 0;
	if (msr >= MSR_MTRR_FIX16K_80000 && msr <= MSR_MTRR_FIX16K_A0000)
		return (int)(1 + msr - MSR_MTRR_FIX16K_80000);
	if (msr >= MSR_MTRR_FIX4K_C0000 && msr <= MSR_MTRR_FIX4K_F8000)
		return (int)(3 + msr - MSR_MTRR_FIX4K_C0000);
	return -1;
}

static bool valid_type(uint8_t type)
{
	return type == 0 || type == 1 || type == 4 || type == 5 || type == 6;
}

static int write_mtrr(struct vcpu *v, uint32_t msr, uint64_t value)
{
	struct msr_state *state = v->msr;
	int fixed = fixed_mtrr(msr);
	uint64_t beyond = ~(BIT(v->cpuid->extended[8][CPUID_EAX] & 0xff) - 1);

	if (fixed >= 0) {
		for (unsigned i = 0; i < 8; i++)
			if (!valid_type((uint8_t)(value >> 8 * i)))
				return ERR_INVALID;
		state->mtrr_fixed[fixed] = value;
		return 0;
	}
	if (msr == MSR_MTRR_DEF_TYPE) {
		if (value & ~(MTRR_ENABLED | 0xff) || !valid_type((uint8_t)value))
			return ERR_INVALID;
		state->mtrr_def_type = value;
		return 0;
	}
	if (value & beyond || (msr & 1 ? value & 0x7ff : value & 0xf00 || !valid_type((uint8_t)value)))
		return ERR_INVALID;
	state->mtrr_variable[msr - MSR_MTRR_PHYSBASE0] = value;
	return 0;
}

static int read_mtrr(struct vcpu *v, uint32_t msr, uint64_t *value)
{
	struct msr_state *state = v->msr;
	int fixed = fixed_mtrr(msr);

	*value = fixed >= 0 ? state->mtrr_fixed[fixed] : msr == MSR_MTRR_DEF_TYPE ? state->mtrr_def_type : state->mtrr_variable[msr - MSR_MTRR_PHYSBASE0];
	return 0;
}

static void set_tsc_offset(struct vcpu *v, int64_t offset)
{
	lapic_set_tsc_offset(&v->lapic, offset);
	v->engine->tsc_offset(v, offset);
}

/* Whether the CPU is AMD's: the guest gets the MSRs of its CPU's vendor, and not the other vendor's. */
static bool amd(const struct vcpu *v)
{
	return v->cpuid->basic[0][CPUID_EBX] == 0x68747541; /* "Auth" */
}

/* AMD's MSRs that systems read without asking, by their sources: constants, whose writes are #GP or mean nothing. What is not here raises #GP. */
static const struct amd_msr {
	uint32_t first, last;
	uint32_t family_max; /* of the CPU, above which it does not have them, or systems would believe that their writes do something */
	bool writable;
	uint64_t value;
} amd_msrs[] = {
	/* PERF_CTL0..3 and PERF_CTR0..3: every AMD CPU has them, and no CPUID bit says so. Memory testers and profilers clear them at their start.
	 * They count nothing, and keep nothing, so that who writes one and reads it back, as Linux does (check_hw_exists), looks elsewhere. */
	{ MSR_K7_PERF_CTL0, MSR_K7_PERF_CTR3, UINT32_MAX, true, 0 },
	/* Linux: the memory types of the north bridge (k8_check_syscfg_dram_mod_en), memory encryption (early_detect_mem_encrypt). */
	{ MSR_SYSCFG, MSR_SYSCFG, UINT32_MAX, false, 0 },
	/* Linux (bsp_init_amd) and NetBSD compare the TSC's rate with P0's. */
	{ MSR_HWCR, MSR_HWCR, UINT32_MAX, false, HWCR_TSC_FREQ_SEL },
	/* The north bridge's switches, among them one for I/O access to extended PCI registers; all stay off. OpenBSD's and NetBSD's errata. */
	{ MSR_NB_CFG, MSR_NB_CFG, UINT32_MAX, true, 0 },
	/* FreeBSD: erratum 383 on family 10h (_mca_init), in virtual machines too. */
	{ MSR_MC0_CTL_MASK, MSR_MC5_CTL_MASK, UINT32_MAX, true, 0 },
	/* Nothing happens when the cores halt: C1E, which Linux, FreeBSD (cpu_probe_amdc1e), OpenBSD and NetBSD look for. */
	{ MSR_INT_PENDING, MSR_INT_PENDING, UINT32_MAX, false, 0 },
	/* OpenBSD's amd64_errata() and NetBSD's x86_errata() test and set bits there on families 0fh to 11h. On later families Linux takes an LS_CFG
	 * that can be read for a way to switch speculative store bypass off. */
	{ MSR_LS_CFG, MSR_BU_CFG, 0x11, true, 0 },
	/* OpenBSD (identifycpu), and others with a guard. LFENCE serializes on families without the register, too. */
	{ MSR_DE_CFG, MSR_DE_CFG, UINT32_MAX, true, DE_CFG_LFENCE_SERIALIZES },
};

#define PERF_COUNTERS_AMD 4

static uint32_t family(const struct vcpu *v)
{
	uint32_t signature = v->cpuid->basic[1][CPUID_EAX];

	return (signature >> 8 & 0xf) + ((signature >> 8 & 0xf) == 0xf ? signature >> 20 & 0xff : 0);
}

static const struct amd_msr *find_amd_msr(const struct vcpu *v, uint32_t msr)
{
	if (amd(v))
		for (unsigned i = 0; i < ARRAY_SIZE(amd_msrs); i++)
			if (msr >= amd_msrs[i].first && msr <= amd_msrs[i].last && family(v) <= amd_msrs[i].family_max)
				return &amd_msrs[i];
	return NULL;
}

int msr_read_counter(struct vcpu *v, uint32_t counter, uint64_t *value)
{
	*value = 0;
	/* Intel's are there where CPUID's leaf 0xa says so, and that leaf is empty; so are their MSRs. */
	return amd(v) && counter < PERF_COUNTERS_AMD ? 0 : ERR_INVALID;
}

static int read_other(struct vcpu *v, uint32_t msr, uint64_t *value)
{
	const struct amd_msr *amd_msr;

	*value = 0;
	switch (msr) {
	case MSR_PLATFORM_ID:
	case MSR_BIOS_SIGN_ID:
	case MSR_MISC_FEATURES_ENABLES:
	case MSR_PLATFORM_INFO:
		return amd(v) && msr != MSR_BIOS_SIGN_ID ? ERR_INVALID : 0;
	case MSR_FEATURE_CONTROL:
		*value = BIT(0); /* locked, with nothing enabled */
		return amd(v) ? ERR_INVALID : 0;
	case MSR_MISC_ENABLE:
		*value = v->misc_enable;
		return amd(v) ? ERR_INVALID : 0;
	case MSR_MCG_CAP:    /* no banks */
	case MSR_MCG_STATUS:
	case MSR_DEBUGCTL:
		return 0;
	case MSR_XSS:
		return v->cpuid->xsave[1][CPUID_EAX] & BIT(CPUID_D_1_XSAVES) ? 0 : ERR_INVALID;
	default:
		amd_msr = find_amd_msr(v, msr);
		if (!amd_msr)
			return ERR_INVALID;
		*value = amd_msr->value;
		return 0;
	}
}

int msr_read(struct vcpu *v, uint32_t msr, uint64_t *value)
{
	switch (msr) {
	case MSR_APIC_BASE:
		*value = lapic_base_msr(&v->lapic);
		return 0;
	case MSR_TSC_DEADLINE:
		*value = lapic_deadline_read(&v->lapic);
		return 0;
	case MSR_X2APIC_BASE ... MSR_X2APIC_LAST:
		return lapic_msr_read(&v->lapic, msr, value);
	case MSR_TSC:
		*value = time_now() + (uint64_t)v->lapic.tsc_offset;
		return 0;
	case MSR_TSC_ADJUST:
		*value = (uint64_t)v->tsc_adjust;
		return 0;
	case MSR_EFER:
		*value = vcpu_read(v, VCPU_EFER);
		return 0;
	case MSR_PAT: /* exits only where the CPU cannot switch it */
		*value = vcpu_read(v, VCPU_PAT);
		return 0;
	case MSR_MTRRCAP:
		*value = MTRRCAP;
		return 0;
	case MSR_MTRR_PHYSBASE0 ... MSR_MTRR_PHYSMASK7:
	case MSR_MTRR_FIX64K_00000:
	case MSR_MTRR_FIX16K_80000 ... MSR_MTRR_FIX16K_A0000:
	case MSR_MTRR_FIX4K_C0000 ... MSR_MTRR_FIX4K_F8000:
	case MSR_MTRR_DEF_TYPE:
		return read_mtrr(v, msr, value);
	default:
		return read_other(v, msr, value);
	}
}

static int write_tsc(struct vcpu *v, uint64_t value)
{
	int64_t change = (int64_t)(value - (time_now() + (uint64_t)v->lapic.tsc_offset));

	/* SDM vol. 3, "IA32_TSC_ADJUST MSR": a write of the TSC adds its change there. */
	v->tsc_adjust += change;
	set_tsc_offset(v, v->lapic.tsc_offset + change);
	return 0;
}

static int write_apic_base(struct vcpu *v, uint64_t value)
{
	if (lapic_set_base(&v->lapic, value))
		return ERR_INVALID;
	vcpu_apply_apic_mode(v);
	/* A disabled local APIC lets the 8259s' interrupts through. */
	vcpu_look_again(v, PENDING_EVALUATE);
	return 0;
}

static int write_other(struct vcpu *v, uint32_t msr, uint64_t value)
{
	const struct amd_msr *amd_msr;
	uint64_t old;

	if (read_other(v, msr, &old))
		return ERR_INVALID;
	switch (msr) {
	case MSR_BIOS_SIGN_ID: /* written before CPUID, to ask for the microcode's revision */
		return 0;
	case MSR_MISC_ENABLE:
		/* The guest may change only the bits of features that exist: fast strings, and the limit of CPUID leaves, which is ignored. */
		if ((value ^ MISC_ENABLE_DEFAULT) & (MISC_ENABLE_NO_BTS | MISC_ENABLE_NO_PEBS))
			return ERR_INVALID;
		v->misc_enable = value;
		return 0;
	case MSR_DEBUGCTL: /* LBR and BTF are in every CPU: systems set them without asking. Here they do nothing. */
		return value & ~(BIT(0) | BIT(1)) ? ERR_INVALID : 0;
	case MSR_MCG_STATUS:
	case MSR_XSS:
	case MSR_MISC_FEATURES_ENABLES:
		return value ? ERR_INVALID : 0;
	default:
		amd_msr = find_amd_msr(v, msr);
		return amd_msr && amd_msr->writable ? 0 : ERR_INVALID; /* else read-only */
	}
}

/* SDM vol. 3, "Page Attribute Table": the MTRRs' types, and UC-. */
static int write_pat(struct vcpu *v, uint64_t value)
{
	for (unsigned i = 0; i < 8; i++)
		if (!valid_type((uint8_t)(value >> 8 * i)) && (uint8_t)(value >> 8 * i) != 7)
			return ERR_INVALID;
	vcpu_write(v, VCPU_PAT, value);
	return 0;
}

int msr_write(struct vcpu *v, uint32_t msr, uint64_t value)
{
	switch (msr) {
	case MSR_TSC_DEADLINE:
		lapic_deadline_write(&v->lapic, value);
		return 0;
	case MSR_X2APIC_BASE ... MSR_X2APIC_LAST:
		vcpu_look_again(v, PENDING_EVALUATE);
		return lapic_msr_write(&v->lapic, msr, value);
	case MSR_APIC_BASE:
		return write_apic_base(v, value);
	case MSR_PAT:
		return write_pat(v, value);
	case MSR_TSC:
		return write_tsc(v, value);
	case MSR_TSC_ADJUST:
		set_tsc_offset(v, v->lapic.tsc_offset + ((int64_t)value - v->tsc_adjust));
		v->tsc_adjust = (int64_t)value;
		return 0;
	case MSR_EFER:
		if (v->engine->set_efer(v, value))
			return ERR_INVALID;
		virtual_mmu_update(v);
		return 0;
	case MSR_MTRR_PHYSBASE0 ... MSR_MTRR_PHYSMASK7:
	case MSR_MTRR_FIX64K_00000:
	case MSR_MTRR_FIX16K_80000 ... MSR_MTRR_FIX16K_A0000:
	case MSR_MTRR_FIX4K_C0000 ... MSR_MTRR_FIX4K_F8000:
	case MSR_MTRR_DEF_TYPE:
		return write_mtrr(v, msr, value);
	default:
		return write_other(v, msr, value);
	}
}

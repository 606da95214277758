/* The MSRs that a guest on VT-x reads and writes without an exit: which they are, the bitmaps that say so to the CPU, their values between
 * two vCPUs, and their values for whoever emulates an access. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/vmx/vmx.h"
#include "lib/string.h"
#include "lib/x86/apic.h"
#include "lib/x86/msr.h"

/* MSRs that the guest uses directly and Lamina never: they are saved and loaded only when another vCPU takes the core. */
static const uint32_t switched_msrs[VMX_SWITCHED_MSRS] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_KERNEL_GS_BASE, MSR_TSC_AUX,
};

static const uint32_t direct_msrs[] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_KERNEL_GS_BASE, MSR_FS_BASE, MSR_GS_BASE,
	MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};

#define BITMAP_READ 0
#define BITMAP_WRITE 2048

/* The MSR bitmap is an allow-list: all ones, and a zero for each MSR that the guest may touch itself
 * (SDM vol. 3, "MSR-Bitmap Address"). */
static void allow_msr(uint8_t *bitmap, unsigned direction, uint32_t msr)
{
	uint32_t bit = msr & 0x1fff;

	bitmap[direction + (msr >= 0xc0000000 ? 1024 : 0) + bit / 8] &= (uint8_t)~(1U << bit % 8);
}

void vmx_fill_msr_bitmap(const struct engine_vm *vm, uint8_t *bitmap)
{
	memset(bitmap, 0xff, PAGE_SIZE);
	for (unsigned i = 0; i < ARRAY_SIZE(direct_msrs); i++) {
		allow_msr(bitmap, BITMAP_READ, direct_msrs[i]);
		allow_msr(bitmap, BITMAP_WRITE, direct_msrs[i]);
	}
	if (vmx_controls.entry & ENTRY_LOAD_PAT) {
		allow_msr(bitmap, BITMAP_READ, MSR_PAT);
		allow_msr(bitmap, BITMAP_WRITE, MSR_PAT);
	}
	if (!vm->shadow) /* shadow paging runs the guest with bits that it did not set */
		allow_msr(bitmap, BITMAP_READ, MSR_EFER);
	allow_msr(bitmap, BITMAP_READ, MSR_TSC); /* the CPU adds the offset */
	if (cpu_features.rdtscp) {
		allow_msr(bitmap, BITMAP_READ, MSR_TSC_AUX);
		allow_msr(bitmap, BITMAP_WRITE, MSR_TSC_AUX);
	}
}

/* In x2APIC mode the CPU virtualizes all reads but the current count, and writes of TPR, EOI and self-IPI
 * (SDM vol. 3, "Virtualizing MSR-Based APIC Accesses"). */
void vmx_fill_x2apic_bitmap(const struct engine_vm *vm, uint8_t *bitmap)
{
	static const uint8_t readable[] = {
		LAPIC_ID, LAPIC_VERSION, LAPIC_TPR, LAPIC_PPR, LAPIC_LDR, LAPIC_SVR, LAPIC_ESR, LAPIC_ICR, LAPIC_LVT_TIMER, LAPIC_LVT_THERMAL,
		LAPIC_LVT_PERF, LAPIC_LVT_LINT0, LAPIC_LVT_LINT1, LAPIC_LVT_ERROR, LAPIC_INITIAL_COUNT, LAPIC_DIVIDE,
	};

	vmx_fill_msr_bitmap(vm, bitmap);
	for (unsigned i = 0; i < ARRAY_SIZE(readable); i++)
		allow_msr(bitmap, BITMAP_READ, MSR_X2APIC_BASE + readable[i]);
	for (uint32_t r = LAPIC_ISR; r < LAPIC_IRR + 8; r++) /* ISR, TMR, IRR */
		allow_msr(bitmap, BITMAP_READ, MSR_X2APIC_BASE + r);
	allow_msr(bitmap, BITMAP_WRITE, MSR_X2APIC_BASE + LAPIC_TPR);
	allow_msr(bitmap, BITMAP_WRITE, MSR_X2APIC_BASE + LAPIC_EOI);
	allow_msr(bitmap, BITMAP_WRITE, MSR_X2APIC_BASE + LAPIC_SELF_IPI);
}

void vmx_reset_switched_msrs(void)
{
	for (unsigned i = 0; i < VMX_SWITCHED_MSRS; i++)
		if (switched_msrs[i] != MSR_TSC_AUX || cpu_features.rdtscp)
			wrmsr(switched_msrs[i], 0);
}

void vmx_save_switched_msrs(struct vmx_vcpu *x)
{
	for (unsigned i = 0; i < VMX_SWITCHED_MSRS; i++)
		if (switched_msrs[i] != MSR_TSC_AUX || cpu_features.rdtscp)
			x->switched_msr[i] = rdmsr(switched_msrs[i]);
}

void vmx_load_switched_msrs(const struct vmx_vcpu *x)
{
	for (unsigned i = 0; i < VMX_SWITCHED_MSRS; i++)
		if (switched_msrs[i] != MSR_TSC_AUX || cpu_features.rdtscp)
			wrmsr(switched_msrs[i], x->switched_msr[i]);
}

static bool is_direct_msr(uint32_t msr)
{
	if (msr == MSR_TSC_AUX)
		return cpu_features.rdtscp;
	for (unsigned i = 0; i < ARRAY_SIZE(direct_msrs); i++)
		if (direct_msrs[i] == msr)
			return true;
	return false;
}

/* FS and GS base and SYSENTER's are in the VMCS, the others in the CPU. */
static enum vcpu_register register_of(uint32_t msr)
{
	switch (msr) {
	case MSR_FS_BASE:
		return VCPU_FS_BASE;
	case MSR_GS_BASE:
		return VCPU_GS_BASE;
	case MSR_SYSENTER_CS:
		return VCPU_SYSENTER_CS;
	case MSR_SYSENTER_ESP:
		return VCPU_SYSENTER_ESP;
	case MSR_SYSENTER_EIP:
		return VCPU_SYSENTER_EIP;
	default:
		return VCPU_REGISTERS;
	}
}

int vmx_read_direct_msr(struct vcpu *v, uint32_t msr, uint64_t *value)
{
	enum vcpu_register reg = register_of(msr);

	if (!is_direct_msr(msr))
		return ERR_INVALID;
	*value = reg == VCPU_REGISTERS ? rdmsr(msr) : vmx_read(v, reg);
	return 0;
}

int vmx_write_direct_msr(struct vcpu *v, uint32_t msr, uint64_t value)
{
	enum vcpu_register reg = register_of(msr);
	bool address = msr != MSR_STAR && msr != MSR_SFMASK && msr != MSR_TSC_AUX && msr != MSR_SYSENTER_CS;

	/* What WRMSR refuses (SDM vol. 2, "WRMSR"): addresses that are not canonical, reserved bits. */
	if (!is_direct_msr(msr) || (address && (uint64_t)((int64_t)(value << 16) >> 16) != value) ||
	    ((msr == MSR_TSC_AUX || msr == MSR_SFMASK) && value >> 32))
		return ERR_INVALID;
	if (reg == VCPU_REGISTERS)
		wrmsr(msr, value);
	else
		vmx_write(v, reg, value);
	return 0;
}

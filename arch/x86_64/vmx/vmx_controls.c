/* Which controls this CPU grants (SDM vol. 3, appendix A), and entering VMX root mode with them. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/memory.h"
#include "arch/x86_64/vmx/engine_vmx.h"
#include "arch/x86_64/vmx/feature_control.h"
#include "arch/x86_64/vmx/vmx.h"
#include "lib/printf.h"
#include "lib/x86/msr.h"
#include "lib/x86/registers.h"

struct vmx_controls vmx_controls;

static char reason[160];

struct control_name {
	uint64_t bit;
	const char *name;
};

static const struct control_name pin_names[] = {
	{ PIN_EXTERNAL_INTERRUPT, "external-interrupt exiting" },
	{ PIN_NMI, "NMI exiting" },
	{ PIN_VIRTUAL_NMIS, "virtual NMIs" },
};
static const struct control_name proc_names[] = {
	{ PROC_INTERRUPT_WINDOW, "interrupt-window exiting" },
	{ PROC_TSC_OFFSETTING, "use TSC offsetting" },
	{ PROC_HLT, "HLT exiting" },
	{ PROC_MWAIT, "MWAIT exiting" },
	{ PROC_RDPMC, "RDPMC exiting" },
	{ PROC_TPR_SHADOW, "use TPR shadow" },
	{ PROC_NMI_WINDOW, "NMI-window exiting" },
	{ PROC_IO_BITMAPS, "use I/O bitmaps" },
	{ PROC_MSR_BITMAPS, "use MSR bitmaps" },
	{ PROC_MONITOR, "MONITOR exiting" },
	{ PROC_SECONDARY, "activate secondary controls" },
};
static const struct control_name proc2_names[] = {
	{ PROC2_EPT, "enable EPT" },
	{ PROC2_UNRESTRICTED, "unrestricted guest" },
	{ PROC2_WBINVD, "WBINVD exiting" },
	{ PROC2_VPID, "enable VPID" },
};
static const struct control_name exit_names[] = {
	{ EXIT_HOST_64, "host address-space size" },
	{ EXIT_ACK_INTERRUPT, "acknowledge interrupt on exit" },
	{ EXIT_SAVE_DEBUG, "save debug controls" },
	{ EXIT_SAVE_PAT, "save IA32_PAT" },
	{ EXIT_LOAD_PAT, "load IA32_PAT" },
	{ EXIT_SAVE_EFER, "save IA32_EFER" },
	{ EXIT_LOAD_EFER, "load IA32_EFER" },
};
static const struct control_name entry_names[] = {
	{ ENTRY_LOAD_DEBUG, "load debug controls" },
	{ ENTRY_LOAD_PAT, "load IA32_PAT" },
	{ ENTRY_LOAD_EFER, "load IA32_EFER" },
};

/* One control word: what is required, plus what is optional and granted, plus what the CPU forces on. Returns NULL or names the
 * first required bit that the capability MSR does not allow. */
static const char *negotiate(const char *word, uint32_t msr, uint64_t required, uint64_t optional, const struct control_name *names,
			     unsigned count, uint32_t *result)
{
	uint64_t capability = rdmsr(msr);
	uint32_t must_be_1 = (uint32_t)capability, may_be_1 = (uint32_t)(capability >> 32);
	uint32_t missing = (uint32_t)required & ~may_be_1;

	for (unsigned i = 0; i < count && missing; i++) {
		if (!(missing & names[i].bit))
			continue;
		snprintf(reason, sizeof(reason), "this CPU's VT-x lacks \"%s\" (bit %u of the %s controls, MSR 0x%x)", names[i].name,
			 (unsigned)__builtin_ctzll(names[i].bit), word, msr);
		return reason;
	}
	if (missing) {
		snprintf(reason, sizeof(reason), "this CPU's VT-x lacks bits 0x%x of the %s controls (MSR 0x%x)", missing, word, msr);
		return reason;
	}
	*result = ((uint32_t)required | ((uint32_t)optional & may_be_1)) | must_be_1;
	return NULL;
}

#define NEGOTIATE(word, msr, required, optional, names, result) negotiate(word, msr, required, optional, names, ARRAY_SIZE(names), result)

static const char *negotiate_vpid(struct vmx_controls *c)
{
	uint64_t capability = rdmsr(MSR_VMX_EPT_VPID_CAP);

	if (!(capability & VPID_CAP_INVVPID) || !(capability & (VPID_CAP_SINGLE | VPID_CAP_ALL)))
		return "this CPU lacks INVVPID (bits 32, 41 and 42 of MSR 0x48c)";
	c->ept_vpid_capability = capability;
	return NULL;
}

/* Nested paging wants unrestricted guest too, since guests begin in real mode, and VPID. Returns NULL or what is missing. */
static const char *negotiate_nested(struct vmx_controls *c)
{
	static char why[sizeof(reason)];
	const char *error = NEGOTIATE("secondary processor-based", MSR_VMX_PROCBASED_CTLS2,
				      PROC2_EPT | PROC2_UNRESTRICTED | PROC2_WBINVD | PROC2_VPID,
				      PROC2_APIC_ACCESSES | PROC2_X2APIC_MODE | PROC2_APIC_REGISTERS | PROC2_INTERRUPT_DELIVERY |
					      PROC2_RDTSCP | PROC2_INVPCID | PROC2_XSAVES,
				      proc2_names, &c->proc2);
	uint64_t capability;

	if (error) {
		snprintf(why, sizeof(why), "%s", error);
		return why;
	}
	capability = rdmsr(MSR_VMX_EPT_VPID_CAP);
	if (!(capability & EPT_CAP_4_LEVELS))
		return "this CPU's EPT lacks 4-level page walks (bit 6 of MSR 0x48c)";
	if (!(capability & EPT_CAP_WB))
		return "this CPU's EPT lacks the write-back memory type (bit 14 of MSR 0x48c)";
	if (!(capability & EPT_CAP_INVEPT) || !(capability & (EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL)))
		return "this CPU lacks INVEPT (bits 20, 25 and 26 of MSR 0x48c)";
	c->eptp_flags = EPTP_WB | EPTP_4_LEVELS | (capability & EPT_CAP_AD ? EPTP_AD : 0);
	return negotiate_vpid(c);
}

const char *vmx_controls_negotiate(void)
{
	struct vmx_controls *c = &vmx_controls;
	uint64_t basic = rdmsr(MSR_VMX_BASIC);
	bool true_controls = basic & VMX_BASIC_TRUE_CONTROLS;
	const uint64_t exit_msrs = EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER;
	const uint64_t entry_msrs = ENTRY_LOAD_PAT | ENTRY_LOAD_EFER;
	const uint32_t apic = PROC2_APIC_ACCESSES | PROC2_X2APIC_MODE | PROC2_APIC_REGISTERS | PROC2_INTERRUPT_DELIVERY;
	const char *error;

	c->preemption_shift = rdmsr(MSR_VMX_MISC) & 0x1f;
	c->revision = (uint32_t)basic & 0x7fffffff;
	c->cr0_fixed0 = rdmsr(MSR_VMX_CR0_FIXED0);
	c->cr0_fixed1 = rdmsr(MSR_VMX_CR0_FIXED1);
	c->cr4_fixed0 = rdmsr(MSR_VMX_CR4_FIXED0);
	c->cr4_fixed1 = rdmsr(MSR_VMX_CR4_FIXED1);

	error = NEGOTIATE("pin-based", true_controls ? MSR_VMX_TRUE_PINBASED_CTLS : MSR_VMX_PINBASED_CTLS,
			  PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS, PIN_PREEMPTION_TIMER, pin_names, &c->pin);
	if (error)
		return error;
	error = NEGOTIATE("primary processor-based", true_controls ? MSR_VMX_TRUE_PROCBASED_CTLS : MSR_VMX_PROCBASED_CTLS,
			  PROC_TSC_OFFSETTING | PROC_HLT | PROC_MWAIT | PROC_MONITOR | PROC_RDPMC | PROC_TPR_SHADOW | PROC_IO_BITMAPS |
				  PROC_MSR_BITMAPS | PROC_SECONDARY,
			  0, proc_names, &c->proc);
	if (error)
		return error;
	c->no_nested_paging = negotiate_nested(c);
	if (c->no_nested_paging) {
		/* Shadow paging needs none of that, but is faster with VPID. */
		error = NEGOTIATE("secondary processor-based", MSR_VMX_PROCBASED_CTLS2, 0,
				  apic | PROC2_WBINVD | PROC2_VPID | PROC2_RDTSCP | PROC2_XSAVES, proc2_names, &c->proc2);
		if (!error && c->proc2 & PROC2_VPID && negotiate_vpid(c))
			c->proc2 &= ~(uint32_t)PROC2_VPID;
	}
	if (!error)
		error = NEGOTIATE("VM-exit", true_controls ? MSR_VMX_TRUE_EXIT_CTLS : MSR_VMX_EXIT_CTLS,
				  EXIT_HOST_64 | EXIT_ACK_INTERRUPT | EXIT_SAVE_DEBUG | (c->no_nested_paging ? 0 : exit_msrs),
				  exit_msrs, exit_names, &c->exit);
	if (!error)
		error = NEGOTIATE("VM-entry", true_controls ? MSR_VMX_TRUE_ENTRY_CTLS : MSR_VMX_ENTRY_CTLS,
				  ENTRY_LOAD_DEBUG | (c->no_nested_paging ? 0 : entry_msrs), entry_msrs, entry_names, &c->entry);
	if (error)
		return error;
	/* APIC virtualization is used with all its controls or not at all, so that there are two ways of delivery and not more. */
	c->apic_virtualization = (c->proc2 & apic) == apic;
	if (!c->apic_virtualization)
		c->proc2 &= ~apic;
	if (c->proc2 & PROC2_VPID) {
		c->flush_type = c->ept_vpid_capability & VPID_CAP_SINGLE ? INVVPID_SINGLE : INVVPID_ALL;
		c->flush_address = c->ept_vpid_capability & VPID_CAP_ADDRESS;
	}
	if (!(c->proc2 & PROC2_XSAVES))
		cpu_features.xsaves = false;
	return NULL;
}

bool vmx_present(void)
{
	return cpu_features.vmx;
}

const char *vmx_probe(void)
{
	const char *problem = feature_control_problem(rdmsr(MSR_FEATURE_CONTROL));

	return problem ? problem : vmx_controls_negotiate();
}

const char *vmx_cpu_enable(void)
{
	uint64_t control = rdmsr(MSR_FEATURE_CONTROL);
	uint32_t *region = this_cpu()->hw_page;
	uint64_t phys = pool_phys(&lamina_pool, region);

	if (feature_control_problem(control))
		return feature_control_problem(control);
	if (feature_control_enabled(control) != control)
		wrmsr(MSR_FEATURE_CONTROL, feature_control_enabled(control));
	write_cr0((read_cr0() | vmx_controls.cr0_fixed0) & vmx_controls.cr0_fixed1);
	write_cr4((read_cr4() | CR4_VMXE | vmx_controls.cr4_fixed0) & vmx_controls.cr4_fixed1);
	*region = vmx_controls.revision;
	__asm__ goto("vmxon %0\n\tjbe %l1" : : "m"(phys) : "cc", "memory" : failed);
	/* Whoever used VMX before may have left translations. */
	vmx_flush_all();
	return NULL;
failed:
	return "VMXON failed";
}

/* The AMD-V engine as the monitor sees it: what it offers on this CPU, and the table of its functions. */
#include "arch/x86_64/features.h"
#include "arch/x86_64/svm/engine_svm.h"
#include "arch/x86_64/svm/svm.h"
#include "mm/page_table.h"
#include "vmm/config/monitor_mode.h"
#include "vmm/exits/cpuid.h"

static void set_tsc_offset(struct vcpu *v, int64_t offset)
{
	vmcb_of(v)->tsc_offset = (uint64_t)offset;
	svm_changed(vmcb_of(v), CLEAN_CONTROLS);
}

static void monitor_caps(struct monitor_caps *caps)
{
	caps->amdv = true;
	caps->nested_paging = cpu_features.npt;
	caps->no_nested_paging = cpu_features.npt ? NULL : "this CPU's AMD-V lacks RVI (nested paging; CPUID 8000_000Ah, EDX bit 0)";
	caps->tpr_shadow = true; /* V_TPR */
}

static unsigned nested_max_level(void)
{
	return cpu_features.page_1g ? PT_LEVEL_1G : PT_LEVEL_2M;
}

static uint32_t granted(void)
{
	const struct cpu_features *f = &cpu_features;

	return (f->rdtscp ? CPUID_GRANT_RDTSCP : 0) | (f->invpcid ? CPUID_GRANT_INVPCID : 0) | (f->xsaves ? CPUID_GRANT_XSAVES : 0) |
	       (f->pcid ? CPUID_GRANT_PCID : 0) | (f->xsave ? CPUID_GRANT_XSAVE : 0);
}

/* AVIC is not used. */
static bool hw_delivery(const struct engine_vm *vm)
{
	(void)vm;
	return false;
}

const struct engine engine_svm = {
	.name = "AMD-V",
	.mmu_name = "RVI",
	.tag_name = "ASID",
	.modes = BIT(MONITOR_HWMMU) | BIT(MONITOR_HV),
	.cpu_mode = "SVM host mode",
	.cpu_enable = svm_cpu_enable,
	.shadow_real_mode = true, /* "paged real mode" (APM vol. 2, section 15.19) */
	.nested_policy = &policy_npt,
	.monitor_caps = monitor_caps,
	.nested_max_level = nested_max_level,
	.granted = granted,
	.hw_delivery = hw_delivery,
	.vm_create = svm_vm_create,
	.vcpu_create = svm_create,
	.plan_vm = svm_plan_vm,
	.plan_vcpu = svm_plan_vcpu,
	.vcpu_reset = svm_reset,
	.load = svm_load,
	.unload = svm_unload,
	.run = svm_run,
	.read = svm_read,
	.write = svm_write,
	.read_context = svm_read_context,
	.read_segment = svm_read_segment,
	.write_segment = svm_write_segment,
	.set_cr0 = svm_set_cr0,
	.set_cr4 = svm_set_cr4,
	.set_efer = svm_set_efer,
	.advance = svm_advance,
	.can_inject = svm_can_inject,
	.inject = svm_inject,
	.nmi_in_service = svm_nmi_in_service,
	.interrupt_window = svm_interrupt_window,
	.offer_interrupt = svm_offer_interrupt,
	.nmi_window = svm_nmi_window,
	.tpr_threshold = svm_tpr_threshold,
	.tsc_offset = set_tsc_offset,
	.flush = svm_flush,
	.shadow_root = svm_shadow_root,
	.flush_address = svm_flush_address,
	.dump = svm_dump,
};

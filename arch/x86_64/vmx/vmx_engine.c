/* The VT-x engine as the monitor sees it: what it offers on this CPU, and the table of its functions. */
#include "arch/x86_64/features.h"
#include "arch/x86_64/vmx/engine_vmx.h"
#include "arch/x86_64/vmx/vmx.h"
#include "mm/page_table.h"
#include "vmm/config/monitor_mode.h"
#include "vmm/exits/cpuid.h"

static void set_tsc_offset(struct vcpu *v, int64_t offset)
{
	(void)v;
	vmwrite64(VMCS_TSC_OFFSET, (uint64_t)offset);
}

static void monitor_caps(struct monitor_caps *caps)
{
	caps->vtx = true;
	caps->nested_paging = !vmx_controls.no_nested_paging;
	caps->no_nested_paging = vmx_controls.no_nested_paging;
	caps->apic_virtualization = cpu_features.virtualize_apic_accesses;
	caps->tpr_shadow = cpu_features.tpr_shadow;
}

static unsigned nested_max_level(void)
{
	/* No CPU walks it for shadow paging: there the shadow tables' page sizes count, which every x86-64 CPU has up to 2 MiB. */
	if (vmx_controls.no_nested_paging)
		return cpu_features.page_1g ? PT_LEVEL_1G : PT_LEVEL_2M;
	return cpu_features.ept_1g ? PT_LEVEL_1G : cpu_features.ept_2m ? PT_LEVEL_2M : PT_LEVEL_4K;
}

static uint32_t granted(void)
{
	uint32_t proc2 = vmx_controls.proc2;

	return (proc2 & PROC2_RDTSCP ? CPUID_GRANT_RDTSCP : 0) | (proc2 & PROC2_INVPCID ? CPUID_GRANT_INVPCID : 0) |
	       (proc2 & PROC2_XSAVES ? CPUID_GRANT_XSAVES : 0) | (proc2 & PROC2_VPID ? CPUID_GRANT_PCID : 0) |
	       (cpu_features.xsave ? CPUID_GRANT_XSAVE : 0);
}

const struct engine engine_vmx = {
	.name = "VT-x",
	.mmu_name = "EPT",
	.tag_name = "VPID",
	.modes = BIT(MONITOR_HWMMU) | BIT(MONITOR_HV),
	.cpu_mode = "VMX root mode",
	.cpu_enable = vmx_cpu_enable,
	.nested_policy = &policy_ept,
	.monitor_caps = monitor_caps,
	.nested_max_level = nested_max_level,
	.granted = granted,
	.hw_delivery = vmx_hw_delivery,
	.vm_create = vmx_vm_create,
	.vcpu_create = vmx_create,
	.plan_vm = vmx_plan_vm,
	.plan_vcpu = vmx_plan_vcpu,
	.vcpu_reset = vmx_reset,
	.load = vmx_load,
	.unload = vmx_unload,
	.run = vmx_run,
	.read = vmx_read,
	.write = vmx_write,
	.read_context = vmx_read_context,
	.read_segment = vmx_read_segment,
	.write_segment = vmx_write_segment,
	.set_cr0 = vmx_set_cr0,
	.set_cr4 = vmx_set_cr4,
	.set_efer = vmx_set_efer,
	.advance = vmx_advance,
	.can_inject = vmx_can_inject,
	.inject = vmx_inject,
	.nmi_in_service = vmx_nmi_in_service,
	.interrupt_window = vmx_interrupt_window,
	.nmi_window = vmx_nmi_window,
	.tpr_threshold = vmx_tpr_threshold,
	.virtual_interrupts = vmx_virtual_interrupts,
	.eoi_exits = vmx_eoi_exits,
	.apic_mode = vmx_apic_mode,
	.tsc_offset = set_tsc_offset,
	.flush = vmx_flush,
	.shadow_root = vmx_shadow_root,
	.flush_address = vmx_flush_address,
	.take_event = vmx_take_event,
	.read_direct_msr = vmx_read_direct_msr,
	.write_direct_msr = vmx_write_direct_msr,
	.dump = vmx_dump,
};

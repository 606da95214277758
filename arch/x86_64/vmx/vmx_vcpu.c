/* A vCPU's VMCS on VT-x: its creation, the controls and the host's state in it, and the guest's state after a reset. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/vmx/vmx.h"
#include "lib/x86/msr.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "mm/page_table.h"
#include "vmm/exits/cpuid.h"
#include "vmm/vm/arena.h"

/* How often a second a guest that causes no exits is made to exit. Host interrupts exit by themselves; but an emulator may hold them back
 * as long as the guest keeps RFLAGS.IF clear (Bochs 2.7 decides that only when IF changes), and no guest shall have a core for itself. */
#define SLICE_HZ 100

#define ACTIVITY_ACTIVE 0

static void vmclear(uint64_t phys)
{
	__asm__ volatile("vmclear %0" : : "m"(phys) : "cc", "memory");
}

void vmx_plan_vcpu(struct arena_plan *plan)
{
	arena_plan_alloc(plan, sizeof(struct vmx_vcpu));
	arena_plan_pages(plan, 1 + arena_pages(fpu_area_size()));
}

int vmx_create(struct vcpu *v)
{
	struct vmx_vcpu *x = vm_alloc(v->vm, sizeof(*x));
	uint32_t *vmcs = vm_alloc_pages(v->vm, 1);
	uint32_t fpu_pages = arena_pages(fpu_area_size());

	if (!x || !vmcs)
		return ERR_NOMEM;
	x->fpu = vm_alloc_pages(v->vm, fpu_pages);
	if (!x->fpu)
		return ERR_NOMEM;
	*vmcs = vmx_controls.revision;
	x->vmcs_phys = vm_phys(v->vm, vmcs);
	x->tag.what = (uint16_t)(v->engine_vm->first_tag + v->index);
	v->hw = x;
	vmclear(x->vmcs_phys);
	return 0;
}

static void write_controls(struct vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	const struct vmx_vm *vm = v->engine_vm->hw;

	x->proc = vmx_controls.proc;
	x->proc2 = vmx_controls.proc2;
	if (v->shadow) {
		x->proc |= PROC_CR3_LOAD | PROC_CR3_STORE | PROC_INVLPG;
		x->proc2 &= ~(uint32_t)(PROC2_EPT | PROC2_UNRESTRICTED | PROC2_INVPCID | PROC2_APIC_ACCESSES | PROC2_X2APIC_MODE |
					PROC2_APIC_REGISTERS | PROC2_INTERRUPT_DELIVERY);
	}
	vmwrite32(VMCS_PIN_BASED_CONTROLS, vmx_controls.pin);
	vmwrite32(VMCS_PROCESSOR_CONTROLS, x->proc);
	vmwrite32(VMCS_SECONDARY_CONTROLS, x->proc2);
	if (vmx_controls.pin & PIN_PREEMPTION_TIMER)
		vmwrite32(VMCS_PREEMPTION_TIMER, (uint32_t)MIN(time_hz() / SLICE_HZ >> vmx_controls.preemption_shift, (uint64_t)UINT32_MAX));
	vmwrite32(VMCS_EXIT_CONTROLS, vmx_controls.exit);
	vmwrite32(VMCS_ENTRY_CONTROLS, vmx_controls.entry);
	/* #MC is the machine's. #DB and #AC can recur without end inside their own delivery, on one instruction of the guest's. */
	vmwrite32(VMCS_EXCEPTION_BITMAP, (uint32_t)(BIT(VECTOR_MC) | BIT(VECTOR_AC) | BIT(VECTOR_DB) | (v->shadow ? BIT(VECTOR_PF) : 0)));
	vmwrite32(VMCS_PAGE_FAULT_MASK, 0);
	vmwrite32(VMCS_PAGE_FAULT_MATCH, 0);
	vmwrite32(VMCS_CR3_TARGET_COUNT, 0);
	vmwrite32(VMCS_EXIT_MSR_STORE_COUNT, 0);
	vmwrite32(VMCS_EXIT_MSR_LOAD_COUNT, 0);
	vmwrite32(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
	vmwrite32(VMCS_ENTRY_INTERRUPTION, 0);
	vmwrite64(VMCS_IO_BITMAP_A, vm->io_bitmap_a);
	vmwrite64(VMCS_IO_BITMAP_B, vm->io_bitmap_b);
	vmwrite64(VMCS_MSR_BITMAP, vm->msr_bitmap);
	vmwrite64(VMCS_VMCS_LINK_POINTER, UINT64_MAX);
	vmwrite64(VMCS_VIRTUAL_APIC, vm_phys(v->vm, v->lapic.page));
	if (!v->shadow)
		vmwrite64(VMCS_EPT_POINTER, v->engine_vm->nested->root | vmx_controls.eptp_flags);
	if (x->proc2 & PROC2_VPID)
		vmwrite16(VMCS_VPID, (uint16_t)x->tag.what);
	vmwrite32(VMCS_TPR_THRESHOLD, 0);
	if (v->hw_delivery) {
		vmwrite64(VMCS_APIC_ACCESS, vm->apic_access);
		vmwrite16(VMCS_GUEST_INTERRUPT_STATUS, 0);
		vmx_eoi_exits(v, v->lapic.eoi_exit);
	}
	if (x->proc2 & PROC2_XSAVES)
		vmwrite64(VMCS_XSS_EXIT_BITMAP, 0); /* IA32_XSS is 0 and stays so */
	vmwrite(VMCS_CR0_MASK, ~x->cr0_owned);
	vmwrite(VMCS_CR4_MASK, ~x->cr4_owned);
	vmwrite64(VMCS_TSC_OFFSET, (uint64_t)v->lapic.tsc_offset);
}

static void write_host_state(void)
{
	struct table_pointer idtr;

	__asm__ volatile("sidt %0" : "=m"(idtr));
	vmwrite16(VMCS_HOST_ES_SELECTOR, GDT_DATA);
	vmwrite16(VMCS_HOST_CS_SELECTOR, GDT_CODE);
	vmwrite16(VMCS_HOST_SS_SELECTOR, GDT_DATA);
	vmwrite16(VMCS_HOST_DS_SELECTOR, GDT_DATA);
	vmwrite16(VMCS_HOST_FS_SELECTOR, 0);
	vmwrite16(VMCS_HOST_GS_SELECTOR, 0);
	vmwrite16(VMCS_HOST_TR_SELECTOR, GDT_TSS);
	if (vmx_controls.exit & EXIT_LOAD_PAT)
		vmwrite64(VMCS_HOST_PAT, rdmsr(MSR_PAT));
	if (vmx_controls.exit & EXIT_LOAD_EFER)
		vmwrite64(VMCS_HOST_EFER, rdmsr(MSR_EFER));
	vmwrite32(VMCS_HOST_SYSENTER_CS, 0);
	vmwrite(VMCS_HOST_CR0, read_cr0());
	vmwrite(VMCS_HOST_CR3, read_cr3());
	vmwrite(VMCS_HOST_CR4, read_cr4());
	vmwrite(VMCS_HOST_FS_BASE, 0);
	vmwrite(VMCS_HOST_GS_BASE, (uint64_t)this_cpu());
	vmwrite(VMCS_HOST_TR_BASE, (uint64_t)&this_cpu()->tss);
	vmwrite(VMCS_HOST_GDTR_BASE, (uint64_t)this_cpu()->gdt);
	vmwrite(VMCS_HOST_IDTR_BASE, idtr.base);
	vmwrite(VMCS_HOST_SYSENTER_ESP, 0);
	vmwrite(VMCS_HOST_SYSENTER_EIP, 0);
	vmwrite(VMCS_HOST_RIP, (uint64_t)vmx_exit_point);
}

static void reset_segments(struct vcpu *v)
{
	const struct segment_state data = { 0, 0xffff, SEGMENT_DATA_16, 0 };
	const struct segment_state code = { 0xf000, 0xffff, SEGMENT_CODE_16, 0xffff0000 };
	const struct segment_state ldt = { 0, 0xffff, SEGMENT_LDT, 0 };
	const struct segment_state tss = { 0, 0xffff, SEGMENT_TSS_32, 0 };

	for (enum segment_register s = SEG_ES; s <= SEG_GS; s++)
		vmx_write_segment(v, s, &data);
	vmx_write_segment(v, SEG_CS, &code);
	vmx_write_segment(v, SEG_LDTR, &ldt);
	vmx_write_segment(v, SEG_TR, &tss);
	vmx_write(v, VCPU_GDT_BASE, 0);
	vmx_write(v, VCPU_GDT_LIMIT, 0xffff);
	vmx_write(v, VCPU_IDT_BASE, 0);
	vmx_write(v, VCPU_IDT_LIMIT, 0xffff);
}

void vmx_reset(struct vcpu *v, bool init)
{
	struct vmx_vcpu *x = vmx_of(v);

	vmx_load(v);
	x->cr4_offered = cpuid_cr4(v->cpuid) & vmx_controls.cr4_fixed1;
	x->cr4_owned = x->cr4_offered & ~(uint64_t)CR4_MCE;
	x->cr0_owned = CR0_TS | CR0_EM | CR0_MP | CR0_WP | CR0_AM;
	if (v->shadow) {
		/* The guest's changes of bits that bear on paging must exit. */
		x->cr0_owned &= ~(uint64_t)CR0_WP;
		x->cr4_owned &= ~(uint64_t)(CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP);
	}
	write_controls(v);
	write_host_state();
	reset_segments(v);
	vmx_write(v, VCPU_EFER, 0);
	vmx_write(v, VCPU_CR0, CR0_ET | CR0_NW | CR0_CD);
	vmx_write(v, VCPU_CR3, 0);
	vmx_write(v, VCPU_CR4, 0);
	vmx_write(v, VCPU_RIP, 0xfff0);
	vmx_write(v, VCPU_RSP, 0);
	vmx_write(v, VCPU_RFLAGS, RFLAGS_FIXED);
	vmx_write(v, VCPU_DR7, DR7_RESET);
	if (!v->shadow) {
		vmwrite64(VMCS_GUEST_PDPTE0, 0);
		vmwrite64(VMCS_GUEST_PDPTE1, 0);
		vmwrite64(VMCS_GUEST_PDPTE2, 0);
		vmwrite64(VMCS_GUEST_PDPTE3, 0);
	}
	vmx_write(v, VCPU_SYSENTER_CS, 0);
	vmx_write(v, VCPU_SYSENTER_ESP, 0);
	vmx_write(v, VCPU_SYSENTER_EIP, 0);
	vmwrite64(VMCS_GUEST_DEBUGCTL, 0);
	vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
	vmwrite32(VMCS_GUEST_INTERRUPTIBILITY, 0);
	vmwrite32(VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
	write_cr2(0);
	__asm__ volatile("mov %0, %%dr0; mov %0, %%dr1; mov %0, %%dr2; mov %0, %%dr3; mov %1, %%dr6" : : "r"(0UL), "r"((uint64_t)DR6_RESET));
	vmx_flush(v);
	if (init)
		return;
	vmx_write(v, VCPU_PAT, PAT_RESET);
	vmx_reset_switched_msrs();
	fpu_area_init(x->fpu);
	fpu_restore(x->fpu, 1);
}

/* The VT-x engine: a vCPU's VMCS from creation to running. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/vmx/engine_vmx.h"
#include "arch/x86_64/vmx/vmx.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/x86/msr.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "mm/page_table.h"
#include "vmm/config/monitor_mode.h"
#include "vmm/exits/cpuid.h"
#include "vmm/vm/arena.h"

/* A guest that causes no exits gets one so often. Host interrupts exit by themselves; but an emulator may hold them back as long as the guest
 * keeps RFLAGS.IF clear (Bochs 2.7 decides that only when IF changes), and no guest shall have a core for itself. */
#define SLICE_HZ 100

#define ACTIVITY_ACTIVE 0

/* MSRs that the guest uses directly and Lamina never: they change hands only between vCPUs. */
static const uint32_t switched_msrs[VMX_SWITCHED_MSRS] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_KERNEL_GS_BASE, MSR_TSC_AUX,
};

static const uint32_t direct_msrs[] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_KERNEL_GS_BASE, MSR_FS_BASE, MSR_GS_BASE,
	MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};

#define IO_BITMAP_PAGES 2
#define MSR_BITMAP_PAGES 2  /* one for each mode of the local APIC */
#define APIC_ACCESS_TABLES 2 /* no RAM is in its GiB: nested paging needs a directory and a table for the page */

#define BITMAP_READ 0
#define BITMAP_WRITE 2048

/* The MSR bitmap is an allow-list: all ones, and a zero for each MSR that the guest may touch itself
 * (SDM vol. 3, "MSR-Bitmap Address"). */
static void allow_msr(uint8_t *bitmap, unsigned direction, uint32_t msr)
{
	uint32_t bit = msr & 0x1fff;

	bitmap[direction + (msr >= 0xc0000000 ? 1024 : 0) + bit / 8] &= (uint8_t)~(1U << bit % 8);
}

static void fill_msr_bitmap(const struct engine_vm *vm, uint8_t *bitmap)
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
static void fill_x2apic_bitmap(const struct engine_vm *vm, uint8_t *bitmap)
{
	static const uint8_t readable[] = { 0x02, 0x03, 0x08, 0x0a, 0x0d, 0x0f, 0x28, 0x30, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x3e };

	fill_msr_bitmap(vm, bitmap);
	for (unsigned i = 0; i < ARRAY_SIZE(readable); i++)
		allow_msr(bitmap, BITMAP_READ, MSR_X2APIC_BASE + readable[i]);
	for (uint32_t r = 0x10; r < 0x28; r++) /* ISR, TMR, IRR */
		allow_msr(bitmap, BITMAP_READ, MSR_X2APIC_BASE + r);
	allow_msr(bitmap, BITMAP_WRITE, MSR_X2APIC_BASE + 0x08);
	allow_msr(bitmap, BITMAP_WRITE, MSR_X2APIC_BASE + 0x0b);
	allow_msr(bitmap, BITMAP_WRITE, MSR_X2APIC_BASE + 0x3f);
}

/* Not with shadow paging: exits in the middle of a delivery are everyday there, and Bochs 2.7 then reports the event before as the one to
 * deliver again. Nothing but exits is lost. */
static bool delivers(bool shadow)
{
	return vmx_controls.apic_virtualization && !shadow;
}

static bool hw_delivery(const struct engine_vm *vm)
{
	return delivers(vm->shadow);
}

int vmx_vm_create(struct engine_vm *vm)
{
	struct vmx_vm *x = vm_alloc(vm->vm, sizeof(*x));
	uint8_t *io = vm_alloc_pages(vm->vm, IO_BITMAP_PAGES);
	uint8_t *msr = vm_alloc_pages(vm->vm, MSR_BITMAP_PAGES);
	uint8_t *access;

	if (!x || !io || !msr)
		return ERR_NOMEM;
	memset(io, 0xff, (size_t)IO_BITMAP_PAGES * PAGE_SIZE); /* no port goes to the machine */
	fill_msr_bitmap(vm, msr);
	fill_x2apic_bitmap(vm, msr + PAGE_SIZE);
	x->io_bitmap_a = vm_phys(vm->vm, io);
	x->io_bitmap_b = x->io_bitmap_a + PAGE_SIZE;
	x->msr_bitmap = vm_phys(vm->vm, msr);
	x->msr_bitmap_x2apic = x->msr_bitmap + PAGE_SIZE;
	if (hw_delivery(vm)) {
		/* Accesses to this page are the local APIC's; its contents are never used. */
		access = vm_alloc_pages(vm->vm, 1);
		if (!access)
			return ERR_NOMEM;
		x->apic_access = vm_phys(vm->vm, access);
		if (page_table_map(vm->nested, LAPIC_BASE, x->apic_access, PAGE_SIZE, PT_READ | PT_WRITE))
			return ERR_NOMEM;
	}
	vm->hw = x;
	return 0;
}

static void plan_vm(struct arena_plan *plan, bool shadow)
{
	arena_plan_alloc(plan, sizeof(struct vmx_vm));
	arena_plan_pages(plan, IO_BITMAP_PAGES + MSR_BITMAP_PAGES);
	if (delivers(shadow))
		arena_plan_pages(plan, 1 + APIC_ACCESS_TABLES);
}

static void plan_vcpu(struct arena_plan *plan)
{
	arena_plan_alloc(plan, sizeof(struct vmx_vcpu));
	arena_plan_pages(plan, 1 + arena_pages(fpu_area_size()));
}

static void vmclear(uint64_t phys)
{
	__asm__ volatile("vmclear %0" : : "m"(phys) : "cc", "memory");
}

static void vmptrld(uint64_t phys)
{
	__asm__ goto("vmptrld %0\n\tjbe %l1" : : "m"(phys) : "cc", "memory" : failed);
	return;
failed:
	panic("VMPTRLD of %lx failed", phys);
}

static int create(struct vcpu *v)
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
	vmwrite32(VMCS_EXCEPTION_BITMAP, (uint32_t)(BIT(18) | BIT(17) | BIT(1) | (v->shadow ? BIT(14) : 0)));
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
	struct PACKED {
		uint16_t limit;
		uint64_t base;
	} idtr;

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

static void load(struct vcpu *v);

static void reset(struct vcpu *v, bool init)
{
	struct vmx_vcpu *x = vmx_of(v);

	load(v);
	x->cr4_offered = cpuid_cr4(v->cpuid) & vmx_controls.cr4_fixed1;
	x->cr4_owned = x->cr4_offered & ~(uint64_t)CR4_MCE;
	x->cr0_owned = CR0_TS | CR0_EM | CR0_MP | CR0_WP | CR0_AM;
	if (v->shadow) {
		/* What bears on paging must be seen. */
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
	for (unsigned i = 0; i < VMX_SWITCHED_MSRS; i++)
		if (switched_msrs[i] != MSR_TSC_AUX || cpu_features.rdtscp)
			wrmsr(switched_msrs[i], 0);
	fpu_area_init(x->fpu);
	fpu_restore(x->fpu, 1);
}

/* Registers that hardware switches neither at an entry nor at an exit. */
static void save_direct_state(struct vmx_vcpu *x)
{
	for (unsigned i = 0; i < VMX_SWITCHED_MSRS; i++)
		if (switched_msrs[i] != MSR_TSC_AUX || cpu_features.rdtscp)
			x->msr[i].value = rdmsr(switched_msrs[i]);
	x->cr2 = read_cr2();
	__asm__ volatile("mov %%dr0, %0; mov %%dr1, %1; mov %%dr2, %2; mov %%dr3, %3; mov %%dr6, %4"
			 : "=r"(x->dr[0]), "=r"(x->dr[1]), "=r"(x->dr[2]), "=r"(x->dr[3]), "=r"(x->dr6));
	fpu_save(x->fpu);
}

static void restore_direct_state(struct vcpu *v, const struct vmx_vcpu *x)
{
	for (unsigned i = 0; i < VMX_SWITCHED_MSRS; i++)
		if (switched_msrs[i] != MSR_TSC_AUX || cpu_features.rdtscp)
			wrmsr(switched_msrs[i], x->msr[i].value);
	write_cr2(x->cr2);
	__asm__ volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3; mov %4, %%dr6"
			 : : "r"(x->dr[0]), "r"(x->dr[1]), "r"(x->dr[2]), "r"(x->dr[3]), "r"(x->dr6));
	fpu_restore(x->fpu, v->xcr0);
}

static void load(struct vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);

	if (this_cpu()->vcpu == v)
		return;
	vmptrld(x->vmcs_phys);
	if (x->loaded_once)
		restore_direct_state(v, x);
	x->loaded_once = true;
	this_cpu()->vcpu = v;
}

static void unload(struct vcpu *v)
{
	if (this_cpu()->vcpu != v)
		return;
	save_direct_state(vmx_of(v));
	this_cpu()->vcpu = NULL;
}

static void run(struct vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	bool launched = x->launched;

	x->launched = true;
	if (vmx_enter(v, launched))
		return;
	log_line("vm %s: vcpu %u: VM entry refused, VM-instruction error %u", v->vm_name, v->index, vmread32(VMCS_INSTRUCTION_ERROR));
	vmx_explain_entry_failure(v);
	vm_request(v->vm, VM_REQUEST_STOP, "VM entry failed");
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

static int read_direct_msr(struct vcpu *v, uint32_t msr, uint64_t *value)
{
	enum vcpu_register reg = register_of(msr);

	if (!is_direct_msr(msr))
		return ERR_INVALID;
	*value = reg == VCPU_REGISTERS ? rdmsr(msr) : vmx_read(v, reg);
	return 0;
}

static int write_direct_msr(struct vcpu *v, uint32_t msr, uint64_t value)
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
	.hw_delivery = hw_delivery,
	.vm_create = vmx_vm_create,
	.vcpu_create = create,
	.plan_vm = plan_vm,
	.plan_vcpu = plan_vcpu,
	.vcpu_reset = reset,
	.load = load,
	.unload = unload,
	.run = run,
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
	.read_direct_msr = read_direct_msr,
	.write_direct_msr = write_direct_msr,
	.dump = vmx_dump,
};

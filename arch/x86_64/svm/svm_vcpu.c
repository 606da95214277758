/* The AMD-V engine: a vCPU's VMCB from creation to running. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/svm/engine_svm.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/x86/msr.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "mm/page_table.h"
#include "vmm/config/monitor_mode.h"
#include "vmm/exits/cpuid.h"
#include "vmm/vm/vm.h"

/* MSRs that the guest uses directly: VMLOAD and VMSAVE switch them. */
static const uint32_t direct_msrs[] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_KERNEL_GS_BASE, MSR_FS_BASE, MSR_GS_BASE,
	MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};

#define IOPM_PAGES 3
#define MSRPM_PAGES 2

/* The MSR permission map is an allow-list: all ones, and two zeros (read, write) for each MSR that the guest may touch itself
 * (APM vol. 2, "MSR Intercepts"). */
static void allow_msr(uint8_t *map, uint32_t msr)
{
	unsigned bit = (msr & 0x1fff) * 2;

	map[(msr >= 0xc0000000 ? 0x800 : 0) + bit / 8] &= (uint8_t)~(3U << bit % 8);
}

static int svm_vm_create(struct vm *vm)
{
	struct svm_vm *s = vm_alloc(vm, sizeof(*s));
	uint8_t *io = vm_alloc_pages(vm, IOPM_PAGES);
	uint8_t *msr = vm_alloc_pages(vm, MSRPM_PAGES);

	if (!s || !io || !msr)
		return ERR_NOMEM;
	memset(io, 0xff, (size_t)IOPM_PAGES * PAGE_SIZE); /* no port goes to the machine */
	memset(msr, 0xff, (size_t)MSRPM_PAGES * PAGE_SIZE);
	for (unsigned i = 0; i < ARRAY_SIZE(direct_msrs); i++)
		allow_msr(msr, direct_msrs[i]);
	if (!vm->shadow) /* VMRUN switches it with nested paging; else the guest's is kept without effect */
		allow_msr(msr, MSR_PAT);
	if (cpu_features.rdtscp)
		allow_msr(msr, MSR_TSC_AUX);
	s->iopm = vm_phys(vm, io);
	s->msrpm = vm_phys(vm, msr);
	vm->hw = s;
	return 0;
}

static int create(struct vcpu *v)
{
	struct svm_vcpu *x = vm_alloc_pages(v->vm, (sizeof(*x) + PAGE_SIZE - 1) / PAGE_SIZE);
	uint32_t fpu_pages = (fpu_area_size() + PAGE_SIZE - 1) / PAGE_SIZE;

	if (!x)
		return ERR_NOMEM;
	x->fpu = vm_alloc_pages(v->vm, fpu_pages);
	if (!x->fpu)
		return ERR_NOMEM;
	x->vmcb_phys = vm_phys(v->vm, &x->vmcb);
	v->hw = x;
	return 0;
}

/* A tag of its own where there are enough; vCPUs that share one flush it whenever they take a core. */
static uint32_t asid_of(const struct vcpu *v)
{
	uint32_t tag = v->vm->first_tag + v->index;

	return (tag - 1) % (svm_features.asids - 1) + 1;
}

static bool asids_are_shared;

static void write_controls(struct vcpu *v)
{
	struct svm_vcpu *x = svm_of(v);
	const struct svm_vm *vm = v->vm->hw;
	struct vmcb *b = &x->vmcb;

	memset(b, 0, sizeof(*b));
	b->intercept_cr = svm_features.cr4_possible & ~x->cr4_offered ? INTERCEPT_CR_WRITE(4) : 0;
	/* #MC is the machine's. #DB and #AC can recur without end inside their own delivery, on one instruction of the guest's. */
	b->intercept_exceptions = BIT(18) | BIT(17) | BIT(1);
	b->intercept_misc1 = INTERCEPT_INTR | INTERCEPT_NMI | INTERCEPT_INIT | INTERCEPT_CR0_SELECTIVE | INTERCEPT_RDPMC | INTERCEPT_CPUID |
			     INTERCEPT_INVD | INTERCEPT_HLT | INTERCEPT_INVLPGA | INTERCEPT_IOIO | INTERCEPT_MSR | INTERCEPT_TASK_SWITCH |
			     INTERCEPT_SHUTDOWN;
	b->intercept_misc2 = INTERCEPT_VMRUN | INTERCEPT_VMMCALL | INTERCEPT_VMLOAD | INTERCEPT_VMSAVE | INTERCEPT_STGI | INTERCEPT_CLGI |
			     INTERCEPT_SKINIT | INTERCEPT_WBINVD | INTERCEPT_MONITOR | INTERCEPT_MWAIT | INTERCEPT_MWAIT_ARMED |
			     (cpu_features.xsave ? INTERCEPT_XSETBV : 0) | (svm_features.rdpru ? INTERCEPT_RDPRU : 0);
	b->intercept_misc3 = svm_features.mcommit ? INTERCEPT_MCOMMIT : 0;
	b->iopm_base = vm->iopm;
	b->msrpm_base = vm->msrpm;
	b->tsc_offset = (uint64_t)v->lapic.tsc_offset;
	b->asid = asid_of(v);
	/* The local APIC has compared the priorities, and MOV to CR8 exits while a virtual interrupt waits. */
	b->v_priority = V_IGNORE_TPR;
	b->v_control = V_INTR_MASKING;
	if (v->shadow) {
		b->intercept_exceptions |= BIT(14);
		b->intercept_misc1 |= INTERCEPT_INVLPG;
	} else {
		b->nested_paging = 1;
		b->nested_cr3 = v->vm->nested.root;
	}
	x->tpr = 0;
	x->offered = false;
	x->seen = 0;
	x->nmi = NMI_OPEN;
	x->nmi_wanted = x->stepping = x->tpr_waits = false;
	if (v->vm->first_tag + v->index >= svm_features.asids)
		asids_are_shared = true;
}

static void reset_segments(struct vcpu *v)
{
	const struct segment_state data = { 0, 0xffff, SEGMENT_DATA_16, 0 };
	const struct segment_state code = { 0xf000, 0xffff, SEGMENT_CODE_16, 0xffff0000 };
	const struct segment_state ldt = { 0, 0xffff, SEGMENT_LDT, 0 };
	const struct segment_state tss = { 0, 0xffff, SEGMENT_TSS_32, 0 };

	for (enum segment_register s = SEG_ES; s <= SEG_GS; s++)
		svm_write_segment(v, s, &data);
	svm_write_segment(v, SEG_CS, &code);
	svm_write_segment(v, SEG_LDTR, &ldt);
	svm_write_segment(v, SEG_TR, &tss);
	vmcb_of(v)->gdtr.limit = vmcb_of(v)->idtr.limit = 0xffff;
}

static void load(struct vcpu *v);

static void reset(struct vcpu *v, bool init)
{
	struct svm_vcpu *x = svm_of(v);
	struct vmcb *b = &x->vmcb;
	/* What INIT leaves alone. */
	const uint64_t kept[] = { b->star, b->lstar, b->cstar, b->sfmask, b->kernel_gs_base, b->g_pat };

	load(v);
	x->cr4_offered = cpuid_cr4(&v->vm->cpuid) & svm_features.cr4_possible;
	write_controls(v);
	reset_segments(v);
	svm_write(v, VCPU_EFER, 0);
	svm_write(v, VCPU_CR3, 0);
	svm_write(v, VCPU_CR4, 0);
	svm_write(v, VCPU_CR0, CR0_ET | CR0_NW | CR0_CD);
	b->rip = 0xfff0;
	b->rflags = RFLAGS_FIXED;
	b->dr6 = DR6_RESET;
	b->dr7 = DR7_RESET;
	__asm__ volatile("mov %0, %%dr0; mov %0, %%dr1; mov %0, %%dr2; mov %0, %%dr3" : : "r"(0UL));
	svm_flush(v);
	if (init) {
		b->star = kept[0];
		b->lstar = kept[1];
		b->cstar = kept[2];
		b->sfmask = kept[3];
		b->kernel_gs_base = kept[4];
		b->g_pat = kept[5];
		return;
	}
	b->g_pat = PAT_RESET;
	if (cpu_features.rdtscp)
		wrmsr(MSR_TSC_AUX, 0);
	fpu_area_init(x->fpu);
	fpu_restore(x->fpu, 1);
}

/* Registers that hardware switches neither at an entry nor at an exit. */
static void save_direct_state(struct vcpu *v, struct svm_vcpu *x)
{
	if (cpu_features.rdtscp)
		x->tsc_aux = rdmsr(MSR_TSC_AUX);
	if (cpu_features.xsave)
		v->xcr0 = xgetbv(0);
	__asm__ volatile("mov %%dr0, %0; mov %%dr1, %1; mov %%dr2, %2; mov %%dr3, %3"
			 : "=r"(x->dr[0]), "=r"(x->dr[1]), "=r"(x->dr[2]), "=r"(x->dr[3]));
	fpu_save(x->fpu);
}

static void restore_direct_state(struct vcpu *v, const struct svm_vcpu *x)
{
	if (cpu_features.rdtscp)
		wrmsr(MSR_TSC_AUX, x->tsc_aux);
	__asm__ volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3"
			 : : "r"(x->dr[0]), "r"(x->dr[1]), "r"(x->dr[2]), "r"(x->dr[3]));
	fpu_restore(x->fpu, v->xcr0);
}

static void load(struct vcpu *v)
{
	struct svm_vcpu *x = svm_of(v);

	if (this_cpu()->vcpu == v)
		return;
	if (x->loaded_once)
		restore_direct_state(v, x);
	x->loaded_once = true;
	x->vmcb.clean = 0;
	write_cr2(x->vmcb.cr2); /* see svm_write() */
	if (asids_are_shared)
		svm_flush(v);
	this_cpu()->vcpu = v;
}

static void unload(struct vcpu *v)
{
	if (this_cpu()->vcpu != v)
		return;
	save_direct_state(v, svm_of(v));
	this_cpu()->vcpu = NULL;
}

static void run(struct vcpu *v)
{
	struct svm_vcpu *x = svm_of(v);

	svm_enter(v, x, x->vmcb_phys, svm_host_vmcb());
}

void svm_flush(struct vcpu *v)
{
	vmcb_of(v)->tlb_control = svm_features.flush;
	svm_of(v)->seen = SVM_LOOK_CLOSER; /* done once, and not at every entry from then on */
}

static void flush_address(struct vcpu *v, uint64_t linear)
{
	__asm__ volatile("invlpga %0, %1" : : "a"(linear), "c"(vmcb_of(v)->asid) : "memory");
}

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
static bool hw_delivery(const struct vm *vm)
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
	.shadow_real_mode = true, /* "paged real mode" (APM vol. 2, section 15.19) */
	.nested_policy = &policy_npt,
	.monitor_caps = monitor_caps,
	.nested_max_level = nested_max_level,
	.granted = granted,
	.hw_delivery = hw_delivery,
	.vm_create = svm_vm_create,
	.vcpu_create = create,
	.vcpu_reset = reset,
	.load = load,
	.unload = unload,
	.run = run,
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
	.interrupt_window = svm_interrupt_window,
	.offer_interrupt = svm_offer_interrupt,
	.nmi_window = svm_nmi_window,
	.tpr_threshold = svm_tpr_threshold,
	.tsc_offset = set_tsc_offset,
	.flush = svm_flush,
	.shadow_root = svm_shadow_root,
	.flush_address = flush_address,
	.dump = svm_dump,
};

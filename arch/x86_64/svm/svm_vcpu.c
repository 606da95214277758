/* A vCPU's VMCB on AMD-V: its creation, the controls in it, and the guest's state after a reset. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/string.h"
#include "lib/x86/msr.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "mm/page_table.h"
#include "vmm/exits/cpuid.h"
#include "vmm/vm/arena.h"

bool svm_asids_shared;

void svm_plan_vcpu(struct arena_plan *plan)
{
	arena_plan_pages(plan, arena_pages(sizeof(struct svm_vcpu)) + arena_pages(fpu_area_size()));
}

int svm_create(struct vcpu *v)
{
	struct svm_vcpu *x = vm_alloc_pages(v->vm, arena_pages(sizeof(*x)));
	uint32_t fpu_pages = arena_pages(fpu_area_size());

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
	uint32_t tag = v->engine_vm->first_tag + v->index;

	return (tag - 1) % (svm_features.asids - 1) + 1;
}

static void write_controls(struct vcpu *v)
{
	struct svm_vcpu *x = svm_of(v);
	const struct svm_vm *vm = v->engine_vm->hw;
	struct vmcb *b = &x->vmcb;

	memset(b, 0, sizeof(*b));
	b->intercept_cr = svm_features.cr4_possible & ~x->cr4_offered ? INTERCEPT_CR_WRITE(4) : 0;
	b->intercept_exceptions = svm_exceptions(v);
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
		b->intercept_misc1 |= INTERCEPT_INVLPG;
	} else {
		b->nested_paging = 1;
		b->nested_cr3 = v->engine_vm->nested->root;
	}
	x->tpr = 0;
	x->offered = false;
	x->seen = 0;
	x->nmi = NMI_OPEN;
	x->step = STEP_NONE;
	x->nmi_wanted = x->tpr_waits = false;
	if (v->engine_vm->first_tag + v->index >= svm_features.asids)
		svm_asids_shared = true;
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

void svm_reset(struct vcpu *v, bool init)
{
	struct svm_vcpu *x = svm_of(v);
	struct vmcb *b = &x->vmcb;
	/* What INIT leaves alone. */
	const uint64_t kept[] = { b->star, b->lstar, b->cstar, b->sfmask, b->kernel_gs_base, b->g_pat };

	svm_load(v);
	x->cr4_offered = cpuid_cr4(v->cpuid) & svm_features.cr4_possible;
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

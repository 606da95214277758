/* A vCPU on a core with AMD-V: the state that neither VMRUN nor VMLOAD switches is loaded when the vCPU takes the core and saved when the
 * vCPU leaves; and the translations that are flushed there. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/x86/msr.h"

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

void svm_load(struct vcpu *v)
{
	struct svm_vcpu *x = svm_of(v);

	if (this_cpu()->vcpu == v)
		return;
	if (x->loaded_once)
		restore_direct_state(v, x);
	x->loaded_once = true;
	x->vmcb.clean = 0;
	write_cr2(x->vmcb.cr2); /* see svm_write() */
	if (svm_asids_shared)
		svm_flush(v);
	this_cpu()->vcpu = v;
}

void svm_unload(struct vcpu *v)
{
	if (this_cpu()->vcpu != v)
		return;
	save_direct_state(v, svm_of(v));
	this_cpu()->vcpu = NULL;
}

void svm_run(struct vcpu *v)
{
	struct svm_vcpu *x = svm_of(v);

	svm_enter(v, x, x->vmcb_phys, svm_host_vmcb());
}

void svm_flush(struct vcpu *v)
{
	vmcb_of(v)->tlb_control = svm_features.flush;
	svm_of(v)->seen = SVM_LOOK_CLOSER; /* the flush is done at one entry, and not at every entry from then on */
}

void svm_flush_address(struct vcpu *v, uint64_t linear)
{
	__asm__ volatile("invlpga %0, %1" : : "a"(linear), "c"(vmcb_of(v)->asid) : "memory");
}

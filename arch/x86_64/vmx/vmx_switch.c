/* A vCPU on a core with VT-x: the state that no VM entry or exit switches is loaded when the vCPU takes the core and saved when the vCPU
 * leaves. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/panic.h"
#include "arch/x86_64/vmx/vmx.h"
#include "lib/log.h"

static void vmptrld(uint64_t phys)
{
	__asm__ goto("vmptrld %0\n\tjbe %l1" : : "m"(phys) : "cc", "memory" : failed);
	return;
failed:
	panic("VMPTRLD of %lx failed", phys);
}

/* Registers that hardware switches neither at an entry nor at an exit. */
static void save_direct_state(struct vmx_vcpu *x)
{
	vmx_save_switched_msrs(x);
	x->cr2 = read_cr2();
	__asm__ volatile("mov %%dr0, %0; mov %%dr1, %1; mov %%dr2, %2; mov %%dr3, %3; mov %%dr6, %4"
			 : "=r"(x->dr[0]), "=r"(x->dr[1]), "=r"(x->dr[2]), "=r"(x->dr[3]), "=r"(x->dr6));
	fpu_save(x->fpu);
}

static void restore_direct_state(struct vcpu *v, const struct vmx_vcpu *x)
{
	vmx_load_switched_msrs(x);
	write_cr2(x->cr2);
	__asm__ volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3; mov %4, %%dr6"
			 : : "r"(x->dr[0]), "r"(x->dr[1]), "r"(x->dr[2]), "r"(x->dr[3]), "r"(x->dr6));
	fpu_restore(x->fpu, v->xcr0);
}

void vmx_load(struct vcpu *v)
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

void vmx_unload(struct vcpu *v)
{
	if (this_cpu()->vcpu != v)
		return;
	save_direct_state(vmx_of(v));
	this_cpu()->vcpu = NULL;
}

void vmx_run(struct vcpu *v)
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

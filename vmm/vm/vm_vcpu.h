/* A vCPU joined to its VM: it gets a pointer to each part of the VM that it uses all the time. */
#ifndef VMM_VM_VM_VCPU_H
#define VMM_VM_VM_VCPU_H

#include "vmm/vcpu/vcpu.h"
#include "vmm/vm/vm.h"

/* Once the VM has its engine and its shadow MMU, if it is to have one; v->index is set. */
static inline void vm_attach_vcpu(struct vm *vm, struct vcpu *v)
{
	v->vm = vm;
	v->vm_name = vm->config.name;
	v->engine = vm->engine;
	v->engine_vm = &vm->engine_vm;
	v->memory = &vm->memory;
	v->cpuid = &vm->cpuid;
	v->msr = &vm->msr;
	v->pio = &vm->pio;
	v->mmio = &vm->mmio;
	v->shadow_mmu = vm->shadow;
	v->pic_line = v->index == 0 ? &vm->pic_output : NULL;
}

#endif

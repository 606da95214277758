/* The virtual MMU of a VM in its second form: shadow page tables instead of nested paging. The first form, nested paging, needs nothing
 * of this: the CPU does it all. v->shadow is NULL there. */
#ifndef VMM_MMU_VIRTUAL_MMU_H
#define VMM_MMU_VIRTUAL_MMU_H

#include "vmm/config/config.h"
#include "vmm/exits/exit.h"

struct arena_plan;

/* Make the VM's shadow MMU, from its arena; after its memory, before its vCPUs. Returns 0 or an error, logged. */
int virtual_mmu_create(struct vm *vm);
/* What virtual_mmu_create and virtual_mmu_add_vcpu allocate. */
void virtual_mmu_plan(struct arena_plan *plan, const struct vm_config *config);
void virtual_mmu_plan_vcpu(struct arena_plan *plan);
/* Make the vCPU's view of the shadow MMU. Returns 0 or an error. */
int virtual_mmu_add_vcpu(struct vcpu *v);
/* The VM starts over. */
void virtual_mmu_reset(struct vm *vm);
/* The guest's CR0, CR3, CR4 or EFER changed: load the root that goes with them. Does nothing with nested paging. */
void virtual_mmu_update(struct vcpu *v);
/* Before the guest runs again after its root changed or, by PENDING_FLUSH, another vCPU changed tables: tell the engine. Does nothing
 * with nested paging. */
void virtual_mmu_settle(struct vcpu *v);
/* INVLPG. */
void virtual_mmu_invlpg(struct vcpu *v, uint64_t linear);
/* The emulator wrote guest memory. */
void virtual_mmu_written(struct vcpu *v, uint64_t gpa, unsigned size);

#endif

/* Between the two halves of a VM: building it and running it. */
#ifndef VMM_VM_VM_CREATE_H
#define VMM_VM_VM_CREATE_H

#include "vmm/vm/vm.h"

/* Load the guest's files and start vCPU 0 on them: at first and after each reset. Returns 0 or an error, logged. */
int vm_start_guest(struct vm *vm);

#endif

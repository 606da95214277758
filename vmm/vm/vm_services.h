/* What a vCPU and the scheduler ask of the VM around them. Devices have vmm/interface/platform.h for that. */
#ifndef VMM_VM_VM_SERVICES_H
#define VMM_VM_VM_SERVICES_H

#include "lib/types.h"

struct vcpu;
struct vm;

/* A vCPU of the VM. */
struct vcpu *vm_vcpu(const struct vm *vm, unsigned index);
/* A vCPU has stopped for a request; the last vCPU to do so carries the request out. */
void vm_vcpu_parked(struct vm *vm, unsigned index);
/* Hand waiting console input to the guest's UART. */
void vm_console_input(struct vm *vm);
/* Collect the requests that the VM's disks have ended. */
void vm_poll_disks(struct vm *vm);
/* The 8259s' answer to an interrupt acknowledge cycle: a vector. */
uint8_t vm_pic_acknowledge(struct vm *vm);

#endif

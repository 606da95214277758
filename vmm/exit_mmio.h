/* The exits that need the guest's instruction itself: memory-mapped registers and string I/O. */
#ifndef VMM_EXIT_MMIO_H
#define VMM_EXIT_MMIO_H

#include "vmm/exit.h"

/* An access to a guest-physical address without RAM. */
enum verdict exit_nested_fault(struct vcpu *v, struct vm_exit *exit);
/* An access to the local APIC's page that the CPU does not virtualize. */
enum verdict exit_apic_access(struct vcpu *v, struct vm_exit *exit);
/* INS or OUTS. */
enum verdict exit_string_io(struct vcpu *v, struct vm_exit *exit);
/* Connect the vCPU's emulator with the vCPU; once. */
void exit_mmio_init(struct vcpu *v);

#endif

/* The exits of accesses to memory-mapped registers. */
#ifndef VMM_EXITS_EXIT_MMIO_H
#define VMM_EXITS_EXIT_MMIO_H

#include "vmm/exits/exit.h"

/* An access to a guest-physical address without RAM. */
enum verdict exit_nested_fault(struct vcpu *v, struct vm_exit *exit);
/* An access to the local APIC's page that the CPU does not virtualize. */
enum verdict exit_apic_access(struct vcpu *v, struct vm_exit *exit);

#endif

/* The exits of MOV to and from CR3, which only shadow paging has. */
#ifndef VMM_MMU_CR3_EXITS_H
#define VMM_MMU_CR3_EXITS_H

#include "vmm/exits/exit.h"

/* MOV to CR3: 0, or ERR_INVALID for #GP. */
int cr3_write(struct vcpu *v, uint64_t value);

enum verdict exit_cr3_write(struct vcpu *v, struct vm_exit *exit);
enum verdict exit_cr3_read(struct vcpu *v, struct vm_exit *exit);

#endif

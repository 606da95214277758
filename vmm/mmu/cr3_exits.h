/* MOV to and from CR3 with shadow paging. The handlers of their exits are declared in vmm/exits/handlers.h. */
#ifndef VMM_MMU_CR3_EXITS_H
#define VMM_MMU_CR3_EXITS_H

#include "vmm/vcpu/vcpu.h"

/* MOV to CR3: 0, or ERR_INVALID for #GP: nothing has changed. */
int cr3_write(struct vcpu *v, uint64_t value);

#endif

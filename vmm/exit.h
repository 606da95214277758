/* What to do about an exit: one table from its kind to its handler. */
#ifndef VMM_EXIT_H
#define VMM_EXIT_H

#include "vmm/vcpu.h"
#include "vmm/vm_exit.h"

/* A handler's verdict. Only the dispatcher moves the guest's RIP. */
enum verdict {
	VERDICT_ADVANCE, /* the instruction is done: go on after it */
	VERDICT_RESUME,  /* go on where the guest is */
	VERDICT_INJECT,  /* the handler queued an exception with vcpu_inject_exception: go on, in its handler */
	VERDICT_STOP,    /* the guest cannot go on: the handler said why with vm_request */
};

/* Called by the engine for every exit, which stands in v->exit. Returns whether to enter the guest again. */
bool vcpu_exit(struct vcpu *v);

#endif

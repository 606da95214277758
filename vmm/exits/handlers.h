/* The handlers of exits, one for each kind, declared by the list of kinds (vmm/exits/vm_exit.h). A kind without a handler does not link; a
 * handler of another type than its kind's cause asks for does not compile. */
#ifndef VMM_EXITS_HANDLERS_H
#define VMM_EXITS_HANDLERS_H

#include "lib/x86/vectors.h"
#include "vmm/exits/exit.h"

#define VM_EXIT_DECLARE_INSTRUCTION(handler) enum verdict handler(struct vcpu *v, struct vm_exit *exit);
#define VM_EXIT_DECLARE_EVENT(handler) enum stay_verdict handler(struct vcpu *v, struct vm_exit *exit);
#define VM_EXIT_DECLARE(kind, cause, handler, name) VM_EXIT_DECLARE_##cause(handler)
VM_EXIT_KINDS(VM_EXIT_DECLARE)
#undef VM_EXIT_DECLARE
#undef VM_EXIT_DECLARE_EVENT
#undef VM_EXIT_DECLARE_INSTRUCTION

/* What handlers share: the instruction ends in #GP(0). */
static inline enum verdict general_protection(struct vcpu *v)
{
	vcpu_inject_exception(v, VECTOR_GP, 0);
	return VERDICT_INJECT;
}

#endif

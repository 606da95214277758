/* What to do about an exit: one table from its kind to its handler. */
#ifndef VMM_EXITS_EXIT_H
#define VMM_EXITS_EXIT_H

#include "vmm/exits/vm_exit.h"
#include "vmm/vcpu/vcpu.h"

/* A handler's verdict. Only the dispatcher moves the guest's RIP. */
enum verdict {
	VERDICT_ADVANCE, /* the instruction is done: go on after it */
	VERDICT_RESUME,  /* go on where the guest is */
	VERDICT_INJECT,  /* the handler queued an exception with vcpu_inject_exception: go on, in its handler */
	VERDICT_STOP,    /* the guest cannot go on: the handler said why with vm_request */
};

/* The verdict where no instruction caused the exit: there is none to go on after. The compiler refuses VERDICT_ADVANCE in its place. */
enum stay_verdict {
	STAY_RESUME = VERDICT_RESUME,
	STAY_INJECT = VERDICT_INJECT,
	STAY_STOP = VERDICT_STOP,
};

/* Called by the engine for every exit, which stands in v->exit. Returns whether to enter the guest again. */
bool vcpu_exit(struct vcpu *v);

/* What exits share with the emulation of real mode.
 * A MOV to CR0, CR3, CR4 or CR8, the value being as wide as the mode has it. Returns 0, or an error for #GP: nothing has changed. */
int exit_write_cr(struct vcpu *v, unsigned cr, uint64_t value);
/* What CPUID answers: eax, ebx, ecx, edx. */
void exit_lookup_cpuid(struct vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
/* Let the core's interrupts in, and see whether another vCPU wants the core. */
void exit_take_turn(struct vcpu *v);
/* The same, but only if the guest keeps interrupts off by IF=0. */
void exit_turn_is_over(struct vcpu *v);
/* Called where the guest reads a device's register, as it does on and on when it polls. */
static inline void exit_device_read(struct vcpu *v)
{
	if (__builtin_expect(v->exit_start - v->turn_start >= v->turn_ticks, 0))
		exit_turn_is_over(v);
}

#endif

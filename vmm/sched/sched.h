/* Which vCPU runs on which core. A vCPU stays on its core; where a core has several they share it by time slices.
 *
 * The slots are Lamina's, mapped in every address space: a core looks at them whichever VM's address space it is in. */
#ifndef VMM_SCHED_SCHED_H
#define VMM_SCHED_SCHED_H

#include "lib/types.h"

struct vcpu;
struct vm_handle;

#define SCHED_SLOTS_MAX 128
#define SCHED_INPUT_SIZE 256 /* a power of two */

/* What Lamina knows of a VM outside its address space. */
struct vm_handle {
	char name[32];
	uint64_t root;        /* its address space */
	bool running;
	uint32_t input_head, input_tail; /* console input: free running */
	uint8_t input[SCHED_INPUT_SIZE];
	struct sched_slot *first;        /* vCPU 0's */
};

struct sched_slot {
	struct vcpu *vcpu;    /* an address in its VM's address space */
	struct vm_handle *vm;
	unsigned core;
	uint32_t wake;        /* atomic: look at it */
	bool ready;           /* it was running when its slice ended */
	uint64_t had;         /* how long its last turn was */
	uint64_t deadline;    /* its first timer, while another one runs or the core is idle */
};

/* A core takes part. Returns 0 or ERR_NOMEM. */
int sched_add_core(unsigned core);
/* A VM's handle, and its vCPU on a core. Return NULL where the tables are full. Before sched_run. */
struct vm_handle *sched_add_vm(const char *name, uint64_t root);
struct sched_slot *sched_add_vcpu(struct vm_handle *vm, struct vcpu *vcpu, unsigned core);

/* Have a vCPU looked at soon, from any core. */
void sched_wake(struct sched_slot *slot);
/* Set this core's timer for the running vCPU's next deadline and for the others'. */
void sched_arm(struct vcpu *v);
/* Whether the running vCPU's time is up and another one waits. */
bool sched_should_yield(struct vcpu *v);
/* A byte from the console: for the VM that has it. */
void sched_console_input(uint8_t byte);
/* Take a byte of console input. Returns false where there is none. */
bool sched_input_take(struct vm_handle *vm, uint8_t *byte);
bool sched_input_waiting(const struct vm_handle *vm);
/* A VM has ended. Returns how many still run. */
unsigned sched_vm_ended(struct vm_handle *vm);

/* Run this core's vCPUs, for ever. */
NORETURN void sched_run(void);

#endif

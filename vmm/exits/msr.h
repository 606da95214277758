/* The model-specific registers that a guest reads and writes by exits. They are an allow-list: any other MSR raises #GP. */
#ifndef VMM_EXITS_MSR_H
#define VMM_EXITS_MSR_H

#include "lib/types.h"
#include "lib/x86/msr.h"

struct vcpu;

/* The guest's IA32_MISC_ENABLE after a reset: fast strings; no branch trace storage, no PEBS. */
#define MISC_ENABLE_DEFAULT (MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_NO_BTS | MISC_ENABLE_NO_PEBS)

/* What RDMSR and WRMSR see of the memory-type range registers (SDM vol. 3, "Memory Type Range Registers (MTRRs)"). They are kept
 * and have no effect: guest memory is write-back, device registers are emulated. */
struct msr_state {
	uint64_t mtrr_def_type;
	uint64_t mtrr_variable[16];
	uint64_t mtrr_fixed[11];
};

/* As firmware leaves them: everything write-back but the PCI window. */
void msr_reset(struct msr_state *state, unsigned phys_bits);

/* The guest's RDMSR and WRMSR. Return 0, or ERR_INVALID: #GP. */
int msr_read(struct vcpu *v, uint32_t msr, uint64_t *value);
int msr_write(struct vcpu *v, uint32_t msr, uint64_t value);
/* RDPMC's counter, by the number in ECX. Likewise. */
int msr_read_counter(struct vcpu *v, uint32_t counter, uint64_t *value);

#endif

/* The instruction that exited, for engines whose CPU does not say enough of it. */
#ifndef VMM_EXITS_EXIT_INSTRUCTION_H
#define VMM_EXITS_EXIT_INSTRUCTION_H

#include "vmm/vcpu/vcpu.h"

struct insn;

/* The instruction at CS:RIP, for an engine whose CPU does not say enough of it; valid until the next such call. NULL where it cannot be
 * fetched or decoded: another vCPU has changed the code or its tables since the exit. The bytes that were decoded are v->emulated's:
 * whoever remembers them must not read the code again, which another vCPU can have changed. */
const struct insn *exit_instruction(struct vcpu *v);
/* The value of its memory operand, of `size` bytes. Returns 0; ERR_BUSY: run the guest again (an exception may be queued for it). */
int exit_operand(struct vcpu *v, const struct insn *insn, unsigned size, uint64_t *value);
/* Write it: likewise. */
int exit_operand_write(struct vcpu *v, const struct insn *insn, unsigned size, uint64_t value);
/* Its linear address, as INVLPG takes it. */
uint64_t exit_operand_linear(struct vcpu *v, const struct insn *insn);

#endif

/* The instruction that exited, for engines whose CPU does not say enough of it. */
#ifndef VMM_EXITS_EXIT_INSTRUCTION_H
#define VMM_EXITS_EXIT_INSTRUCTION_H

#include "vmm/vcpu/vcpu.h"

struct insn;

/* The instruction at CS:RIP, decoded into `memo`, one of v->emulator.code's, where insn_memo_holds() may find it from now on, CR3 being `space`.
 * NULL where it cannot be fetched or decoded: another vCPU has changed the code or its tables since the exit. */
const struct insn *exit_instruction(struct vcpu *v, struct insn_memo *memo, uint64_t space);
/* Read that instruction's memory operand, of `size` bytes. Returns 0; ERR_BUSY: run the guest again (an exception may be queued for it). */
int exit_operand(struct vcpu *v, const struct insn *insn, unsigned size, uint64_t *value);
/* Write that operand. Returns likewise. */
int exit_operand_write(struct vcpu *v, const struct insn *insn, unsigned size, uint64_t value);
/* That operand's linear address, as INVLPG takes it. */
uint64_t exit_operand_linear(struct vcpu *v, const struct insn *insn);

#endif

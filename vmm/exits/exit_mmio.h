/* The exits that need the guest's instruction itself: memory-mapped registers and string I/O. */
#ifndef VMM_EXITS_EXIT_MMIO_H
#define VMM_EXITS_EXIT_MMIO_H

#include "vmm/exits/exit.h"

struct insn;

/* An access to a guest-physical address without RAM. */
enum verdict exit_nested_fault(struct vcpu *v, struct vm_exit *exit);
/* An access to the local APIC's page that the CPU does not virtualize. */
enum verdict exit_apic_access(struct vcpu *v, struct vm_exit *exit);
/* INS or OUTS. */
enum verdict exit_string_io(struct vcpu *v, struct vm_exit *exit);
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
/* Give the vCPU's emulator the state that the guest is in, segments by and by. */
void exit_mmio_prepare(struct vcpu *v);
/* Connect the vCPU's emulator with the vCPU; once. */
void exit_mmio_init(struct vcpu *v);

#endif

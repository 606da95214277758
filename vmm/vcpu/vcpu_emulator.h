/* A vCPU's emulator: connected with the vCPU once, loaded with the guest's state before each instruction, its result taken over afterwards. */
#ifndef VMM_VCPU_VCPU_EMULATOR_H
#define VMM_VCPU_VCPU_EMULATOR_H

#include "vmm/exits/exit.h"

/* Connect the vCPU's emulator with the vCPU; once. */
void vcpu_emulator_init(struct vcpu *v);
/* Give it the state that the guest is in; segments by and by. */
void vcpu_emulator_load(struct vcpu *v);
/* Take over what it did: `result` is its enum emulate_verdict, the rest stands in v->emulated. `address` is what the instruction accessed, for
 * the log. */
enum verdict vcpu_emulator_conclude(struct vcpu *v, int result, uint64_t address);
/* Queue the exception that ended an emulation. */
void vcpu_emulator_inject(struct vcpu *v, const struct emulate_result *r);

#endif

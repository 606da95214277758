/* Offsets for assembly files: the build turns each line marked -> into an equ of build/asm_offsets.inc. */
#include "vmm/vcpu/vcpu.h"

#define OFFSET(name, type, member) __asm__ volatile("\n->" #name " %c0" : : "i"(__builtin_offsetof(type, member)))

void asm_offsets(void);

void asm_offsets(void)
{
	OFFSET(VCPU_GPR, struct vcpu, gpr);
}

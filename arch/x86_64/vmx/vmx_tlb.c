#include "arch/x86_64/vmx/vmx.h"

#define INVVPID_SINGLE 1
#define INVVPID_ALL 2
#define INVEPT_SINGLE 1
#define INVEPT_ALL 2

struct invalidation {
	uint64_t what, address;
};

void vmx_flush(struct vcpu *v)
{
	struct invalidation d = { vmx_of(v)->vpid, 0 };
	/* Single-context where the CPU has it (bit 41 of the capabilities), else all contexts. */
	uint64_t type = vmx_controls.ept_vpid_capability_high & BIT(9) ? INVVPID_SINGLE : INVVPID_ALL;

	__asm__ volatile("invvpid %0, %1" : : "m"(d), "r"(type) : "cc", "memory");
}

void vmx_flush_ept(uint64_t eptp)
{
	struct invalidation d = { eptp, 0 };
	uint64_t type = vmx_controls.ept_vpid_capability_low & BIT(25) ? INVEPT_SINGLE : INVEPT_ALL;

	__asm__ volatile("invept %0, %1" : : "m"(d), "r"(type) : "cc", "memory");
}

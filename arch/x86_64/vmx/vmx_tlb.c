#include "arch/x86_64/vmx/vmx.h"

#define INVVPID_ADDRESS 0
#define INVVPID_SINGLE 1
#define INVVPID_ALL 2
#define INVEPT_ALL 2

struct invalidation {
	uint64_t what, address;
};

/* Without VPID every VM entry and exit flushes. */
static bool tagged(void)
{
	return vmx_controls.proc2 & PROC2_VPID;
}

void vmx_flush(struct vcpu *v)
{
	struct invalidation d = { vmx_of(v)->vpid, 0 };
	/* Single-context where the CPU has it (bit 41 of the capabilities), else all contexts. */
	uint64_t type = vmx_controls.ept_vpid_capability_high & BIT(9) ? INVVPID_SINGLE : INVVPID_ALL;

	if (tagged())
		__asm__ volatile("invvpid %0, %1" : : "m"(d), "r"(type) : "cc", "memory");
}

void vmx_flush_address(struct vcpu *v, uint64_t linear)
{
	struct invalidation d = { vmx_of(v)->vpid, linear };

	if (!tagged() || !(vmx_controls.ept_vpid_capability_high & BIT(8))) {
		vmx_flush(v);
		return;
	}
	__asm__ volatile("invvpid %0, %1" : : "m"(d), "r"((uint64_t)INVVPID_ADDRESS) : "cc", "memory");
}

void vmx_flush_all(void)
{
	struct invalidation d = { 0, 0 };
	uint64_t all_vpids = vmx_controls.ept_vpid_capability_high & BIT(10) ? INVVPID_ALL : 0;
	uint64_t all_eptps = vmx_controls.ept_vpid_capability_low & BIT(26) ? INVEPT_ALL : 0;

	if (all_vpids)
		__asm__ volatile("invvpid %0, %1" : : "m"(d), "r"(all_vpids) : "cc", "memory");
	if (all_eptps)
		__asm__ volatile("invept %0, %1" : : "m"(d), "r"(all_eptps) : "cc", "memory");
}

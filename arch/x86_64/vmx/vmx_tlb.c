/* Invalidation of cached translations: a vCPU's, or one address of them, by INVVPID, and everything that was cached before VMX was
 * entered, with the types that the CPU has. */
#include "arch/x86_64/vmx/vmx.h"


static inline void invvpid(const struct vmx_invalidation *d, uint64_t type)
{
	__asm__ volatile("invvpid %0, %1" : : "m"(*d), "r"(type) : "cc", "memory");
}

void vmx_flush(struct vcpu *v)
{
	if (vmx_controls.flush_type) /* without VPID every VM entry and exit flushes */
		invvpid(&vmx_of(v)->tag, vmx_controls.flush_type);
}

void vmx_flush_address(struct vcpu *v, uint64_t linear)
{
	struct vmx_invalidation *d = &vmx_of(v)->tag;

	if (__builtin_expect(!vmx_controls.flush_address, 0)) {
		vmx_flush(v);
		return;
	}
	d->address = linear;
	invvpid(d, INVVPID_ADDRESS);
}

void vmx_flush_all(void)
{
	struct vmx_invalidation d = { 0, 0 };
	uint64_t all_vpids = vmx_controls.ept_vpid_capability & VPID_CAP_ALL ? INVVPID_ALL : 0;
	uint64_t all_eptps = vmx_controls.ept_vpid_capability & EPT_CAP_INVEPT_ALL ? INVEPT_ALL : 0;

	if (all_vpids)
		invvpid(&d, all_vpids);
	if (all_eptps)
		__asm__ volatile("invept %0, %1" : : "m"(d), "r"(all_eptps) : "cc", "memory");
}

/* AMD-V's part of a VM: the permission maps of ports and MSRs. */
#include "arch/x86_64/features.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/string.h"
#include "lib/x86/msr.h"
#include "vmm/vm/arena.h"

/* MSRs that the guest uses directly: VMLOAD and VMSAVE switch them. */
static const uint32_t direct_msrs[] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_KERNEL_GS_BASE, MSR_FS_BASE, MSR_GS_BASE,
	MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};

#define IOPM_PAGES 3
#define MSRPM_PAGES 2

/* The MSR permission map is an allow-list: all ones, and two zeros (read, write) for each MSR that the guest may touch itself
 * (APM vol. 2, "MSR Intercepts"). */
static void allow_msr(uint8_t *map, uint32_t msr)
{
	unsigned bit = (msr & 0x1fff) * 2;

	map[(msr >= 0xc0000000 ? 0x800 : 0) + bit / 8] &= (uint8_t)~(3U << bit % 8);
}

void svm_plan_vm(struct arena_plan *plan, bool shadow)
{
	(void)shadow;
	arena_plan_alloc(plan, sizeof(struct svm_vm));
	arena_plan_pages(plan, IOPM_PAGES + MSRPM_PAGES);
}

int svm_vm_create(struct engine_vm *vm)
{
	struct svm_vm *s = vm_alloc(vm->vm, sizeof(*s));
	uint8_t *io = vm_alloc_pages(vm->vm, IOPM_PAGES);
	uint8_t *msr = vm_alloc_pages(vm->vm, MSRPM_PAGES);

	if (!s || !io || !msr)
		return ERR_NOMEM;
	memset(io, 0xff, (size_t)IOPM_PAGES * PAGE_SIZE); /* no port goes to the machine */
	memset(msr, 0xff, (size_t)MSRPM_PAGES * PAGE_SIZE);
	for (unsigned i = 0; i < ARRAY_SIZE(direct_msrs); i++)
		allow_msr(msr, direct_msrs[i]);
	if (!vm->shadow) /* VMRUN switches it with nested paging; else the guest's is kept without effect */
		allow_msr(msr, MSR_PAT);
	if (cpu_features.rdtscp)
		allow_msr(msr, MSR_TSC_AUX);
	s->iopm = vm_phys(vm->vm, io);
	s->msrpm = vm_phys(vm->vm, msr);
	vm->hw = s;
	return 0;
}

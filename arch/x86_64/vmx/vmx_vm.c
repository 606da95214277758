/* VT-x's part of a VM: the bitmaps of ports and MSRs, and the page at which accesses to the local APIC are noticed. */
#include "arch/x86_64/vmx/vmx.h"
#include "lib/string.h"
#include "lib/x86/apic.h"
#include "mm/page_table.h"
#include "vmm/vm/arena.h"

#define BITMAP_PAGES_IO 2
#define BITMAP_PAGES_MSR 2   /* one for each mode of the local APIC */
#define APIC_ACCESS_TABLES 2 /* no RAM is in its GiB: nested paging needs a directory and a table for the page */

/* Not with shadow paging: exits in the middle of a delivery are everyday there, and Bochs 2.7 then reports the event before as the one to
 * deliver again. Nothing but exits is lost. */
static bool delivers(bool shadow)
{
	return vmx_controls.apic_virtualization && !shadow;
}

bool vmx_hw_delivery(const struct engine_vm *vm)
{
	return delivers(vm->shadow);
}

void vmx_plan_vm(struct arena_plan *plan, bool shadow)
{
	arena_plan_alloc(plan, sizeof(struct vmx_vm));
	arena_plan_pages(plan, BITMAP_PAGES_IO + BITMAP_PAGES_MSR);
	if (delivers(shadow))
		arena_plan_pages(plan, 1 + APIC_ACCESS_TABLES);
}

int vmx_vm_create(struct engine_vm *vm)
{
	struct vmx_vm *x = vm_alloc(vm->vm, sizeof(*x));
	uint8_t *io = vm_alloc_pages(vm->vm, BITMAP_PAGES_IO);
	uint8_t *msr = vm_alloc_pages(vm->vm, BITMAP_PAGES_MSR);
	uint8_t *access;

	if (!x || !io || !msr)
		return ERR_NOMEM;
	memset(io, 0xff, (size_t)BITMAP_PAGES_IO * PAGE_SIZE); /* no port goes to the machine */
	vmx_fill_msr_bitmap(vm, msr);
	vmx_fill_x2apic_bitmap(vm, msr + PAGE_SIZE);
	x->io_bitmap_a = vm_phys(vm->vm, io);
	x->io_bitmap_b = x->io_bitmap_a + PAGE_SIZE;
	x->msr_bitmap = vm_phys(vm->vm, msr);
	x->msr_bitmap_x2apic = x->msr_bitmap + PAGE_SIZE;
	if (vmx_hw_delivery(vm)) {
		/* Accesses to this page are the local APIC's; its contents are never used. */
		access = vm_alloc_pages(vm->vm, 1);
		if (!access)
			return ERR_NOMEM;
		x->apic_access = vm_phys(vm->vm, access);
		if (page_table_map(vm->nested, LAPIC_BASE, x->apic_access, PAGE_SIZE, PT_READ | PT_WRITE))
			return ERR_NOMEM;
	}
	vm->hw = x;
	return 0;
}

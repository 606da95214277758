/* VT-x's part of a VM: the bitmaps of ports and MSRs, and the page at which accesses to the local APIC are noticed. */
#include "arch/x86_64/vmx/vmx.h"
#include "lib/string.h"
#include "lib/x86/apic.h"
#include "mm/page_table.h"
#include "vmm/vm/vm.h"

/* Not with shadow paging: exits in the middle of a delivery are everyday there, and Bochs 2.7 then reports the event before as the one to
 * deliver again. Nothing but exits is lost. */
bool vmx_hw_delivery(const struct vm *vm)
{
	return vmx_controls.apic_virtualization && !vm->shadow;
}

int vmx_vm_create(struct vm *vm)
{
	struct vmx_vm *x = vm_alloc(vm, sizeof(*x));
	uint8_t *io = vm_alloc_pages(vm, 2);
	uint8_t *msr = vm_alloc_pages(vm, 2);
	uint8_t *access;

	if (!x || !io || !msr)
		return ERR_NOMEM;
	memset(io, 0xff, 2UL * PAGE_SIZE); /* no port goes to the machine */
	vmx_fill_msr_bitmap(vm, msr);
	vmx_fill_x2apic_bitmap(vm, msr + PAGE_SIZE);
	x->io_bitmap_a = vm_phys(vm, io);
	x->io_bitmap_b = x->io_bitmap_a + PAGE_SIZE;
	x->msr_bitmap = vm_phys(vm, msr);
	x->msr_bitmap_x2apic = x->msr_bitmap + PAGE_SIZE;
	if (vmx_hw_delivery(vm)) {
		/* Accesses to this page are the local APIC's; its contents are never used. */
		access = vm_alloc_pages(vm, 1);
		if (!access)
			return ERR_NOMEM;
		x->apic_access = vm_phys(vm, access);
		if (page_table_map(&vm->nested, LAPIC_BASE, x->apic_access, PAGE_SIZE, PT_READ | PT_WRITE))
			return ERR_NOMEM;
	}
	vm->hw = x;
	return 0;
}

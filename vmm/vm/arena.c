/* A VM's arena: small allocations are cut from whole pages. */
#include "vmm/vm/arena.h"

#include "lib/log.h"
#include "vmm/vm/vm.h"

void *vm_alloc_pages(struct vm *vm, unsigned pages)
{
	void *p = pool_alloc(&vm->arena, pages);

	if (!p)
		log_line("vm %s: its control structures need more than %u KiB", vm->config.name, vm->arena.pages * 4);
	return p;
}

void *vm_alloc(struct vm *vm, uint32_t size)
{
	uint8_t *p;
	unsigned pages;

	size = ALIGN_UP(size, ARENA_ALIGN);
	pages = arena_cut(size, &vm->small_left);
	if (pages) {
		vm->small = vm_alloc_pages(vm, pages);
		if (!vm->small) {
			vm->small_left = 0;
			return NULL;
		}
	}
	p = vm->small;
	vm->small += size;
	return p;
}

uint64_t vm_phys(const struct vm *vm, const void *p)
{
	return pool_phys(&vm->arena, p);
}

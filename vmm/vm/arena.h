/* A VM's arena: the memory of its control structures, which only the VM's own address space maps. It is filled while the VM is built; its size
 * is known before, because everything that allocates from it says so by an arena_plan. */
#ifndef VMM_VM_ARENA_H
#define VMM_VM_ARENA_H

#include "lib/types.h"

struct vm;

/* Zeroed memory from the arena while the VM is built; vm_alloc's is aligned to 64 bytes. NULL, after a log line, where it is used up. */
void *vm_alloc(struct vm *vm, uint32_t size);
void *vm_alloc_pages(struct vm *vm, unsigned pages);
/* Physical address of something in the arena. */
uint64_t vm_phys(const struct vm *vm, const void *p);

/* How large an arena must be: the same allocations, in the same order, only counted. */
struct arena_plan {
	unsigned pages;      /* so far */
	uint32_t small_left; /* bytes that vm_alloc has left in its last page */
};

/* Whole pages for `size` bytes. */
static inline unsigned arena_pages(uint64_t size)
{
	return (unsigned)((size + PAGE_SIZE - 1) / PAGE_SIZE);
}

/* The fresh pages that vm_alloc takes for `size` bytes, a multiple of ARENA_ALIGN: 0 where the last page has room. *left is that room. */
#define ARENA_ALIGN 64U
static inline unsigned arena_cut(uint32_t size, uint32_t *left)
{
	unsigned pages = size > *left ? arena_pages(size) : 0;

	if (pages)
		*left = pages * PAGE_SIZE;
	*left -= size;
	return pages;
}

static inline void arena_plan_alloc(struct arena_plan *plan, uint32_t size)
{
	plan->pages += arena_cut(ALIGN_UP(size, ARENA_ALIGN), &plan->small_left);
}

static inline void arena_plan_pages(struct arena_plan *plan, unsigned pages)
{
	plan->pages += pages;
}

#endif

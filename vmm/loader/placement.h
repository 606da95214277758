/* Where a loader puts things: guest RAM that no other part has taken. */
#ifndef VMM_LOADER_PLACEMENT_H
#define VMM_LOADER_PLACEMENT_H

#include "lib/types.h"
#include "vmm/memory/guest_memory.h"

#define PLACEMENT_MAX 96
#define PLACEMENT_NONE UINT64_MAX

struct placement {
	const struct guest_memory *mem;
	unsigned count;
	struct {
		uint64_t start, end;
	} used[PLACEMENT_MAX];
};

/* All RAM is free but the first page (interrupt vectors, BDA) and everything from the EBDA to 1 MiB. */
void placement_init(struct placement *p, const struct guest_memory *mem);

/* Take [start, start+len). Returns 0, ERR_RANGE (not all RAM, or empty), ERR_BUSY (overlaps a part taken before) or ERR_NOMEM
 * (too many parts). */
int placement_take(struct placement *p, uint64_t start, uint64_t len);

/* Find and take `len` bytes in [min, max_end), aligned to `align` (a power of two), as low or as high as possible.
 * Returns the first byte's guest-physical address, or PLACEMENT_NONE. */
uint64_t placement_lowest(struct placement *p, uint64_t min, uint64_t max_end, uint64_t len, uint64_t align);
uint64_t placement_highest(struct placement *p, uint64_t min, uint64_t max_end, uint64_t len, uint64_t align);

#endif

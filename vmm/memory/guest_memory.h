/* A VM's RAM: the one place that turns guest-physical ranges into pointers. */
#ifndef VMM_MEMORY_GUEST_MEMORY_H
#define VMM_MEMORY_GUEST_MEMORY_H

#include "lib/types.h"

#define GUEST_REGIONS_MAX 8

struct guest_region {
	uint64_t gpa;  /* first guest-physical byte */
	uint64_t size; /* bytes */
	uint8_t *base; /* where Lamina sees it: the VM's window */
};

/* Regions are sorted by gpa and do not overlap. */
struct guest_memory {
	unsigned count;
	struct guest_region region[GUEST_REGIONS_MAX];
};

/* Pointer to the bytes [gpa, gpa+len), or NULL unless the whole range lies in one region (len 0 gives NULL too; no wrap is possible).
 * The memory belongs to a hostile guest and may change at any time: copy once, check the copy, use the copy. */
void *guest_ptr(const struct guest_memory *mem, uint64_t gpa, uint64_t len);

/* Copy `len` bytes out of or into guest memory. Returns 0, or ERR_RANGE (nothing copied) where the range is not all in one region. */
int guest_read(const struct guest_memory *mem, uint64_t gpa, void *dst, uint64_t len);
int guest_write(const struct guest_memory *mem, uint64_t gpa, const void *src, uint64_t len);

/* Add a region of `size` bytes while the VM is built. Returns 0, ERR_INVALID (it overlaps another, wraps or is empty) or ERR_NOMEM (there
 * are GUEST_REGIONS_MAX already). */
int guest_memory_add(struct guest_memory *mem, uint64_t gpa, uint64_t size, uint8_t *base);

#endif

/* The few RAM regions of a VM, sorted by address and searched one after the other. */
#include "vmm/memory/guest_memory.h"

#include "lib/string.h"

void *guest_ptr(const struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
	if (len == 0)
		return NULL;
	for (unsigned i = 0; i < mem->count; i++) {
		const struct guest_region *region = &mem->region[i];
		uint64_t offset = gpa - region->gpa; /* huge where gpa lies below the region */

		if (offset < region->size)
			return len <= region->size - offset ? region->base + offset : NULL;
	}
	return NULL;
}

int guest_read(const struct guest_memory *mem, uint64_t gpa, void *dst, uint64_t len)
{
	const void *src = guest_ptr(mem, gpa, len);

	if (!src)
		return ERR_RANGE;
	memcpy(dst, src, len);
	return 0;
}

int guest_write(const struct guest_memory *mem, uint64_t gpa, const void *src, uint64_t len)
{
	void *dst = guest_ptr(mem, gpa, len);

	if (!dst)
		return ERR_RANGE;
	memcpy(dst, src, len);
	return 0;
}

int guest_memory_add(struct guest_memory *mem, uint64_t gpa, uint64_t size, uint8_t *base)
{
	unsigned at = 0;

	if (!base || size == 0 || size > UINT64_MAX - gpa)
		return ERR_INVALID;
	while (at < mem->count && mem->region[at].gpa <= gpa)
		at++;
	if (at > 0 && gpa - mem->region[at - 1].gpa < mem->region[at - 1].size)
		return ERR_INVALID;
	if (at < mem->count && mem->region[at].gpa - gpa < size)
		return ERR_INVALID;
	if (mem->count == GUEST_REGIONS_MAX)
		return ERR_NOMEM;
	for (unsigned i = mem->count; i > at; i--)
		mem->region[i] = mem->region[i - 1];
	mem->region[at] = (struct guest_region){ .gpa = gpa, .size = size, .base = base };
	mem->count++;
	return 0;
}

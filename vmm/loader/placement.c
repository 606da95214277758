/* A list of the parts taken so far; a new part goes to the lowest or the highest gap between them that is large enough. */
#include "vmm/loader/placement.h"

#include "lib/x86/paging.h"
#include "vmm/memory/layout.h"

/* Guest-physical addresses stay below this, so that sums of an address, a length and an alignment cannot wrap. */

void placement_init(struct placement *p, const struct guest_memory *mem)
{
	p->mem = mem;
	p->count = 2;
	p->used[0].start = 0;
	p->used[0].end = PAGE_SIZE;
	p->used[1].start = LAYOUT_EBDA;
	p->used[1].end = LAYOUT_HOLE_END;
}

/* A taken part that overlaps [start, end), or a negative number. */
static int overlap(const struct placement *p, uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < p->count; i++)
		if (start < p->used[i].end && p->used[i].start < end)
			return (int)i;
	return -1;
}

int placement_take(struct placement *p, uint64_t start, uint64_t len)
{
	if (!guest_ptr(p->mem, start, len))
		return ERR_RANGE;
	if (overlap(p, start, start + len) >= 0)
		return ERR_BUSY;
	if (p->count == PLACEMENT_MAX)
		return ERR_NOMEM;
	p->used[p->count].start = start;
	p->used[p->count++].end = start + len;
	return 0;
}

static bool sane(uint64_t *max_end, uint64_t min, uint64_t len, uint64_t align)
{
	*max_end = MIN(*max_end, PHYS_LIMIT);
	return len && len <= PHYS_LIMIT && min <= PHYS_LIMIT && align && align <= PHYS_LIMIT;
}

uint64_t placement_lowest(struct placement *p, uint64_t min, uint64_t max_end, uint64_t len, uint64_t align)
{
	if (!sane(&max_end, min, len, align))
		return PLACEMENT_NONE;
	for (unsigned i = 0; i < p->mem->count; i++) {
		const struct guest_region *r = &p->mem->region[i];
		uint64_t end = MIN(r->gpa + r->size, max_end);
		uint64_t start = ALIGN_UP(MAX(r->gpa, min), align);

		while (start < end && len <= end - start) {
			int in_way = overlap(p, start, start + len);

			if (in_way < 0)
				return placement_take(p, start, len) ? PLACEMENT_NONE : start;
			start = ALIGN_UP(p->used[in_way].end, align);
		}
	}
	return PLACEMENT_NONE;
}

uint64_t placement_highest(struct placement *p, uint64_t min, uint64_t max_end, uint64_t len, uint64_t align)
{
	if (!sane(&max_end, min, len, align))
		return PLACEMENT_NONE;
	for (unsigned i = p->mem->count; i-- > 0;) {
		const struct guest_region *r = &p->mem->region[i];
		uint64_t first = MAX(r->gpa, min);
		uint64_t end = MIN(r->gpa + r->size, max_end);

		while (first < end && len <= end - first) {
			uint64_t start = ALIGN_DOWN(end - len, align);
			int in_way;

			if (start < first)
				break;
			in_way = overlap(p, start, start + len);
			if (in_way < 0)
				return placement_take(p, start, len) ? PLACEMENT_NONE : start;
			end = p->used[in_way].start;
		}
	}
	return PLACEMENT_NONE;
}

/* The sorted table of free extents: ranges are added, cut out and given back, and an allocation takes the place that breaks the fewest
 * aligned large blocks. */
#include "mm/frames.h"

#include "lib/log.h"
#include "lib/string.h"
#include "lib/x86/paging.h"

/* No x86-64 physical address is wider (SDM vol. 3, "4-Level Paging"); below it, sums of a base and a size cannot wrap. */

void frames_init(struct frames *frames)
{
	frames->count = 0;
	frames->free_bytes = 0;
}

static uint64_t extent_end(const struct frame_extent *extent)
{
	return extent->base + extent->size;
}

/* Index of the first extent that ends after `addr`; count where there is none. */
static unsigned find_after(const struct frames *frames, uint64_t addr)
{
	unsigned low = 0, high = frames->count;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (extent_end(&frames->extent[mid]) > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static void remove_extents(struct frames *frames, unsigned at, unsigned n)
{
	memmove(&frames->extent[at], &frames->extent[at + n], (frames->count - at - n) * sizeof(frames->extent[0]));
	frames->count -= n;
}

static int insert_extent(struct frames *frames, unsigned at, uint64_t base, uint64_t end)
{
	if (frames->count == FRAMES_EXTENTS_MAX)
		return ERR_NOMEM;
	memmove(&frames->extent[at + 1], &frames->extent[at], (frames->count - at) * sizeof(frames->extent[0]));
	frames->extent[at] = (struct frame_extent){ base, end - base };
	frames->count++;
	return 0;
}

/* Add [base, end), joining it with every extent that it overlaps or touches. */
static int add_range(struct frames *frames, uint64_t base, uint64_t end)
{
	unsigned first = find_after(frames, base - 1), last = first;
	uint64_t size = end - base, free_before = 0;

	while (last < frames->count && frames->extent[last].base <= end) {
		base = MIN(base, frames->extent[last].base);
		end = MAX(end, extent_end(&frames->extent[last]));
		free_before += frames->extent[last].size;
		last++;
	}
	if (first == last) {
		int err = insert_extent(frames, first, base, end);

		if (!err)
			frames->free_bytes += size;
		return err;
	}
	remove_extents(frames, first + 1, last - first - 1);
	frames->extent[first] = (struct frame_extent){ base, end - base };
	frames->free_bytes += end - base - free_before;
	return 0;
}

int frames_add(struct frames *frames, uint64_t base, uint64_t size)
{
	uint64_t end = base + size;

	if (end < base || end > PHYS_LIMIT)
		return ERR_INVALID;
	base = MAX(ALIGN_UP(base, PAGE_SIZE), (uint64_t)PAGE_SIZE);
	end = ALIGN_DOWN(end, PAGE_SIZE);
	if (base >= end)
		return 0;
	return add_range(frames, base, end);
}

/* Take [base, end), which lies inside extent `at`, out of it. */
static void cut_extent(struct frames *frames, unsigned at, uint64_t base, uint64_t end)
{
	struct frame_extent *extent = &frames->extent[at];
	uint64_t head = base - extent->base, tail = extent_end(extent) - end;

	frames->free_bytes -= end - base;
	if (!head && !tail) {
		remove_extents(frames, at, 1);
	} else if (!head) {
		*extent = (struct frame_extent){ end, tail };
	} else if (!tail || !insert_extent(frames, at + 1, end, end + tail)) {
		extent->size = head;
	} else if (head >= tail) {
		log_line("frames: table full, %lu bytes at 0x%lx given up", (unsigned long)tail, (unsigned long)end);
		frames->free_bytes -= tail;
		extent->size = head;
	} else {
		log_line("frames: table full, %lu bytes at 0x%lx given up", (unsigned long)head, (unsigned long)extent->base);
		frames->free_bytes -= head;
		*extent = (struct frame_extent){ end, tail };
	}
}

void frames_reserve(struct frames *frames, uint64_t base, uint64_t size)
{
	uint64_t end = base + size;

	if (!size)
		return;
	if (end < base || end > PHYS_LIMIT)
		end = PHYS_LIMIT;
	base = ALIGN_DOWN(base, PAGE_SIZE);
	end = ALIGN_UP(end, PAGE_SIZE);
	for (;;) {
		unsigned at = find_after(frames, base);

		if (at == frames->count || frames->extent[at].base >= end)
			return;
		cut_extent(frames, at, MAX(base, frames->extent[at].base), MIN(end, extent_end(&frames->extent[at])));
	}
}

/* How many whole aligned units [base, end) holds. */
static uint64_t whole_units(uint64_t base, uint64_t end, unsigned shift)
{
	uint64_t first = (base + BIT(shift) - 1) >> shift, last = end >> shift;

	return last > first ? last - first : 0;
}

/* The damage that taking [base, base+size) out of an extent does, compared field by field. */
struct damage {
	bool low;         /* it is memory below 1 MiB, which start-up code needs */
	uint64_t gib;     /* whole aligned 1 GiB pieces lost */
	uint64_t two_mib; /* whole aligned 2 MiB pieces lost */
	uint64_t base;    /* where it is: the higher, the better */
};

static struct damage damage_of(const struct frame_extent *extent, uint64_t base, uint64_t size)
{
	uint64_t end = extent_end(extent);

	return (struct damage){
		.low = base < MIB(1),
		.gib = whole_units(extent->base, end, 30) - whole_units(extent->base, base, 30) - whole_units(base + size, end, 30),
		.two_mib = whole_units(extent->base, end, 21) - whole_units(extent->base, base, 21) - whole_units(base + size, end, 21),
		.base = base,
	};
}

static bool better(const struct damage *a, const struct damage *b)
{
	if (a->low != b->low)
		return b->low;
	if (a->gib != b->gib)
		return a->gib < b->gib;
	if (a->two_mib != b->two_mib)
		return a->two_mib < b->two_mib;
	return a->base > b->base;
}

uint64_t frames_alloc(struct frames *frames, uint64_t size, uint64_t align, uint64_t below)
{
	struct damage best = { .base = 0 };
	unsigned best_at = 0;

	if (!size || size > PHYS_LIMIT || align > PHYS_LIMIT || (align & (align - 1)))
		return 0;
	size = ALIGN_UP(size, PAGE_SIZE);
	align = MAX(align, (uint64_t)PAGE_SIZE);
	for (unsigned at = 0; at < frames->count; at++) {
		const struct frame_extent *extent = &frames->extent[at];
		uint64_t limit = below ? MIN(below, extent_end(extent)) : extent_end(extent);
		/* The ends of places that are worth trying: the extent's end, the ends of the odd pieces before its first whole GiB and its first
		 * whole 2 MiB, and the end of a place at its start. */
		const uint64_t ends[] = {
			limit,
			MIN(limit, ALIGN_UP(extent->base, GIB(1))),
			MIN(limit, ALIGN_UP(extent->base, MIB(2))),
			MIN(limit, ALIGN_UP(extent->base, align) + size),
		};

		for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
			uint64_t base;
			struct damage damage;

			if (ends[i] < size)
				continue;
			base = ALIGN_DOWN(ends[i] - size, align);
			if (base < extent->base)
				continue;
			if (base > extent->base && base + size < extent_end(extent) && frames->count == FRAMES_EXTENTS_MAX)
				continue;
			damage = damage_of(extent, base, size);
			if (!best.base || better(&damage, &best)) {
				best = damage;
				best_at = at;
			}
		}
	}
	if (best.base)
		cut_extent(frames, best_at, best.base, best.base + size);
	return best.base;
}

int frames_free(struct frames *frames, uint64_t base, uint64_t size)
{
	uint64_t end = base + size;
	unsigned at;
	int err;

	if (!base || !size || (base & ~PAGE_MASK) || end < base || end > PHYS_LIMIT)
		goto invalid;
	end = ALIGN_UP(end, PAGE_SIZE);
	at = find_after(frames, base);
	if (at < frames->count && frames->extent[at].base < end)
		goto invalid;
	err = add_range(frames, base, end);
	if (err)
		log_line("frames: table full, %lu bytes at 0x%lx lost", (unsigned long)size, (unsigned long)base);
	return err;
invalid:
	log_line("frames: bad free of %lu bytes at 0x%lx", (unsigned long)size, (unsigned long)base);
	return ERR_INVALID;
}

uint64_t frames_free_bytes(const struct frames *frames)
{
	return frames->free_bytes;
}

uint64_t frames_largest(const struct frames *frames, uint64_t align)
{
	uint64_t largest = 0;

	if (!align || align > PHYS_LIMIT || (align & (align - 1)))
		return 0;
	for (unsigned at = 0; at < frames->count; at++) {
		uint64_t start = ALIGN_UP(frames->extent[at].base, align), end = extent_end(&frames->extent[at]);

		if (start < end)
			largest = MAX(largest, end - start);
	}
	return largest;
}

int frames_alloc_guest(struct frames *frames, uint64_t size, struct frame_piece *pieces, unsigned max, unsigned *count)
{
	static const uint64_t units[] = { GIB(1), MIB(2), PAGE_SIZE };
	uint64_t left = size;
	unsigned n = 0;

	*count = 0;
	if (!size || (size & ~PAGE_MASK))
		return ERR_INVALID;
	if (size > frames->free_bytes)
		return ERR_NOMEM;
	for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
		while (left >= units[i]) {
			/* Take all that is left in one run, at the best place for it; else take the largest run there is. */
			uint64_t run = ALIGN_DOWN(left, units[i]), base = frames_alloc(frames, run, units[i], 0);

			if (!base) {
				run = ALIGN_DOWN(MIN(frames_largest(frames, units[i]), run), units[i]);
				base = frames_alloc(frames, run, units[i], 0);
			}
			if (!base)
				break;
			if (n == max) {
				frames_free(frames, base, run);
				goto undo;
			}
			pieces[n++] = (struct frame_piece){ base, run };
			left -= run;
		}
	}
	if (!left) {
		*count = n;
		return 0;
	}
undo:
	while (n--)
		frames_free(frames, pieces[n].base, pieces[n].size);
	return ERR_NOMEM;
}

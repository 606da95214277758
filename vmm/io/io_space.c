/* A sorted table of ranges, with a hint for each group of addresses: the range that was found there last is tried before the search. */
#include "vmm/io/io_space.h"

/* The number of ranges that begin at or below `addr`: the only candidate is the one before. */
static unsigned ranges_from_below(const struct io_space *space, uint64_t addr)
{
	unsigned low = 0;
	unsigned high = space->count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (space->range[middle].base <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int io_space_add(struct io_space *space, uint64_t base, uint64_t size, const struct io_ops *ops, void *dev, struct spinlock *lock)
{
	unsigned at;

	/* The last byte of the address space stays free, so that base + size is always a number. */
	if (size == 0 || size > UINT64_MAX - base)
		return ERR_INVALID;
	at = ranges_from_below(space, base);
	if (at > 0 && base - space->range[at - 1].base < space->range[at - 1].size)
		return ERR_BUSY;
	if (at < space->count && space->range[at].base - base < size)
		return ERR_BUSY;
	if (space->count == IO_SPACE_MAX)
		return ERR_NOMEM;
	for (unsigned i = space->count; i > at; i--)
		space->range[i] = space->range[i - 1];
	space->range[at] = (struct io_range){ .base = base, .size = size, .ops = ops, .dev = dev, .lock = lock };
	space->count++;
	return 0;
}

static bool holds(const struct io_range *range, uint64_t addr, unsigned size)
{
	uint64_t offset = addr - range->base;

	return offset < range->size && offset + size <= range->size;
}

__attribute__((noinline)) static const struct io_range *search(struct io_space *space, uint64_t addr, unsigned size, uint8_t *hint)
{
	unsigned after = ranges_from_below(space, addr);

	if (after == 0 || !holds(&space->range[after - 1], addr, size))
		return NULL;
	*hint = (uint8_t)(after - 1);
	return &space->range[after - 1];
}

/* The range that holds the whole access, or NULL. Guests use few registers often: most accesses need no search. */
static inline __attribute__((always_inline)) const struct io_range *range_of(struct io_space *space, uint64_t addr, unsigned size)
{
	uint8_t *hint = &space->hint[(addr ^ addr >> 12) % IO_SPACE_HINTS];
	const struct io_range *range = &space->range[*hint];

	if (__builtin_expect(holds(range, addr, size), 1))
		return range;
	return search(space, addr, size, hint);
}

uint64_t io_space_read(struct io_space *space, uint64_t addr, unsigned size)
{
	const struct io_range *range = range_of(space, addr, size);
	uint64_t value;

	if (!range)
		return UINT64_MAX;
	if (!range->lock)
		return range->ops->read(range->dev, addr - range->base, size);
	spin_lock(range->lock);
	value = range->ops->read(range->dev, addr - range->base, size);
	spin_unlock(range->lock);
	return value;
}

void io_space_write(struct io_space *space, uint64_t addr, unsigned size, uint64_t value)
{
	const struct io_range *range = range_of(space, addr, size);

	if (!range)
		return;
	if (!range->lock) {
		range->ops->write(range->dev, addr - range->base, size, value);
		return;
	}
	spin_lock(range->lock);
	range->ops->write(range->dev, addr - range->base, size, value);
	spin_unlock(range->lock);
}

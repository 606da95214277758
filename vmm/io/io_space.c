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
	struct io_range range = { .base = base, .ops = ops, .dev = dev, .lock = lock };
	unsigned at;

	/* The last byte of the address space stays free, so that base + size is always a number. */
	if (size == 0 || size > UINT64_MAX - base)
		return ERR_INVALID;
	at = ranges_from_below(space, base);
	if (at > 0 && base - space->range[at - 1].base < space->range[at - 1].places[0])
		return ERR_BUSY;
	if (at < space->count && space->range[at].base - base < size)
		return ERR_BUSY;
	if (space->count == IO_SPACE_MAX)
		return ERR_NOMEM;
	for (unsigned i = space->count; i > at; i--)
		space->range[i] = space->range[i - 1];
	for (unsigned bytes = 1; bytes <= 8; bytes *= 2)
		if (bytes <= size && (!ops->widest || bytes <= ops->widest))
			range.places[IO_SIZE_INDEX(bytes)] = size - bytes + 1;
	space->range[at] = range;
	space->count++;
	return 0;
}

static bool takes(const struct io_range *range, uint64_t addr, unsigned size)
{
	return addr - range->base < range->places[IO_SIZE_INDEX(size)];
}

__attribute__((noinline)) static const struct io_range *search(struct io_space *space, uint64_t addr, unsigned size, uint8_t *hint)
{
	unsigned after = ranges_from_below(space, addr);

	if (after == 0 || !takes(&space->range[after - 1], addr, size))
		return NULL;
	*hint = (uint8_t)(after - 1);
	return &space->range[after - 1];
}

/* The range that takes the whole access, or NULL. Guests use few registers often: most accesses need no search. */
static inline __attribute__((always_inline)) const struct io_range *range_of(struct io_space *space, uint64_t addr, unsigned size)
{
	uint8_t *hint = &space->hint[(addr ^ addr >> 12) % IO_SPACE_HINTS];
	const struct io_range *range = &space->range[*hint];

	if (__builtin_expect(takes(range, addr, size), 1))
		return range;
	return search(space, addr, size, hint);
}

static inline __attribute__((always_inline)) uint64_t read_range(const struct io_range *range, uint64_t addr, unsigned size)
{
	uint64_t value;

	if (!range->lock)
		return range->ops->read(range->dev, addr - range->base, size);
	spin_lock(range->lock);
	value = range->ops->read(range->dev, addr - range->base, size);
	spin_unlock(range->lock);
	return value;
}

static inline __attribute__((always_inline)) void write_range(const struct io_range *range, uint64_t addr, unsigned size, uint64_t value)
{
	if (!range->lock) {
		range->ops->write(range->dev, addr - range->base, size, value);
		return;
	}
	spin_lock(range->lock);
	range->ops->write(range->dev, addr - range->base, size, value);
	spin_unlock(range->lock);
}

/* The range that takes the widest part of an access at `addr`, of at most `left` bytes; NULL: none takes even its first byte. */
static const struct io_range *range_of_part(struct io_space *space, uint64_t addr, unsigned left, unsigned *part)
{
	const struct io_range *range = NULL;

	for (*part = 4; *part > 1; *part /= 2)
		if (*part <= left && (range = range_of(space, addr, *part)))
			return range;
	return range_of(space, addr, 1);
}

/* No range takes the access, of more than a byte, whole. */
__attribute__((noinline)) static uint64_t read_parts(struct io_space *space, uint64_t addr, unsigned size)
{
	uint64_t value = UINT64_MAX;

	for (unsigned at = 0, part; at < size && at < 8; at += part) {
		const struct io_range *range = range_of_part(space, addr + at, size - at, &part);
		uint64_t mask = UINT64_MAX >> (64 - 8 * part);

		if (range)
			value &= ~(mask << 8 * at) | (read_range(range, addr + at, part) & mask) << 8 * at;
	}
	return value;
}

__attribute__((noinline)) static void write_parts(struct io_space *space, uint64_t addr, unsigned size, uint64_t value)
{
	for (unsigned at = 0, part; at < size && at < 8; at += part) {
		const struct io_range *range = range_of_part(space, addr + at, size - at, &part);

		if (range)
			write_range(range, addr + at, part, value >> 8 * at & (UINT64_MAX >> (64 - 8 * part)));
	}
}

uint64_t io_space_read(struct io_space *space, uint64_t addr, unsigned size)
{
	const struct io_range *range = range_of(space, addr, size);

	if (range)
		return read_range(range, addr, size);
	return size > 1 ? read_parts(space, addr, size) : UINT64_MAX;
}

void io_space_write(struct io_space *space, uint64_t addr, unsigned size, uint64_t value)
{
	const struct io_range *range = range_of(space, addr, size);

	if (range)
		write_range(range, addr, size, value);
	else if (size > 1)
		write_parts(space, addr, size, value);
}

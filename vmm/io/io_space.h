/* An I/O space: the ports, or the memory-mapped registers, of one VM. Filled while the VM is built, constant afterwards. */
#ifndef VMM_IO_IO_SPACE_H
#define VMM_IO_IO_SPACE_H

#include "lib/spinlock.h"
#include "lib/types.h"

#define IO_SPACE_MAX 32

/* `offset` is relative to the range, `size` is 1, 2, 4 or 8 bytes, and the access lies wholly inside the range.
 * A read's bits above `size` are ignored. `widest` is the widest access that the device decodes: a wider one comes in parts, as a PC's bus makes
 * them. 0: it takes all widths, and a width that means nothing there reads as all ones and drops writes. */
struct io_ops {
	uint64_t (*read)(void *dev, uint64_t offset, unsigned size);
	void (*write)(void *dev, uint64_t offset, unsigned size, uint64_t value);
	uint8_t widest;
};

/* An access's size as an index: 1, 2, 4 and 8 bytes are 0, 1, 2 and 4. */
#define IO_SIZE_INDEX(size) ((size) >> 1)
#define IO_SIZE_INDICES 5

struct io_range {
	uint64_t base;
	uint64_t places[IO_SIZE_INDICES]; /* by IO_SIZE_INDEX: an access of that size may begin at an offset below this; 0 where it is too wide */
	const struct io_ops *ops;
	void *dev;
	struct spinlock *lock; /* held around ops; NULL where the device needs none */
};

#define IO_SPACE_HINTS 64

struct io_space {
	unsigned count;
	uint8_t hint[IO_SPACE_HINTS]; /* where an address like this one was found last; any value is fine */
	struct io_range range[IO_SPACE_MAX]; /* sorted by base, no overlaps */
};

/* Claim [base, base+size). Returns 0, ERR_INVALID (empty, wraps), ERR_BUSY (overlaps) or ERR_NOMEM (table full). */
int io_space_add(struct io_space *space, uint64_t base, uint64_t size, const struct io_ops *ops, void *dev, struct spinlock *lock);

/* One access of 1, 2, 4 or 8 bytes. What no range takes whole is split into the widest accesses that are taken, each at its own address, the
 * lowest first. A byte that no range holds is unclaimed: it reads as all ones, and a write of it is dropped. */
uint64_t io_space_read(struct io_space *space, uint64_t addr, unsigned size);
void io_space_write(struct io_space *space, uint64_t addr, unsigned size, uint64_t value);

#endif

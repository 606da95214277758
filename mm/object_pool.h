/* Objects of one fixed size, cut out of pool pages. Pages, once taken, stay with their object pool. */
#ifndef MM_OBJECT_POOL_H
#define MM_OBJECT_POOL_H

#include "lib/spinlock.h"
#include "lib/types.h"
#include "mm/pool.h"

#define OBJECT_POOL_PAGES_MAX 64

struct object_pool {
	struct spinlock lock;
	struct pool *pool;
	const char *name;    /* for the log; a literal */
	unsigned size;       /* of one object's slot, bytes, a multiple of 16 */
	unsigned per_page;
	unsigned limit;      /* at most so many objects */
	unsigned made;       /* slots cut so far */
	unsigned used;       /* objects handed out */
	unsigned pages;
	void *free;          /* free list through the slots' first words */
	uint8_t *page[OBJECT_POOL_PAGES_MAX];
	uint64_t in_use[OBJECT_POOL_PAGES_MAX][4]; /* per page, a bit for each slot */
};

/* Objects of `size` bytes (1..PAGE_SIZE; aligned to 16), at most `limit` of them, from pages of `pool`. Takes no page yet.
 * Returns 0 or ERR_INVALID (size, or limit above what OBJECT_POOL_PAGES_MAX pages hold). */
int object_pool_init(struct object_pool *objects, struct pool *pool, const char *name, unsigned size, unsigned limit);

/* One object, zeroed; NULL at the limit or when the page pool is empty. */
void *object_pool_alloc(struct object_pool *objects);

/* Give one back; its contents are lost. Returns 0, or ERR_INVALID with a log line where it is not an object of this pool that
 * is in use (freed twice, foreign, a pointer into the middle); then nothing changes. */
int object_pool_free(struct object_pool *objects, void *object);

/* Objects handed out now. */
unsigned object_pool_used(struct object_pool *objects);

#endif

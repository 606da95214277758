/* The page pool's bitmap: the first free run that is long enough is taken. */
#include "mm/pool.h"

#include "lib/log.h"
#include "lib/string.h"

int pool_init(struct pool *pool, void *virt, uint64_t phys, unsigned pages)
{
	if (!pages || pages > POOL_PAGES_MAX || ((uintptr_t)virt & ~PAGE_MASK) || (phys & ~PAGE_MASK) ||
	    phys + (uint64_t)pages * PAGE_SIZE < phys)
		return ERR_INVALID;
	memset(pool, 0, sizeof(*pool));
	pool->base = virt;
	pool->phys = phys;
	pool->pages = pages;
	return 0;
}

static bool page_used(const struct pool *pool, unsigned page)
{
	return pool->bitmap[page / 64] & BIT(page % 64);
}

static void mark(struct pool *pool, unsigned first, unsigned pages, bool used)
{
	for (unsigned page = first; page < first + pages; page++) {
		if (used)
			pool->bitmap[page / 64] |= BIT(page % 64);
		else
			pool->bitmap[page / 64] &= ~BIT(page % 64);
	}
}

/* First page of a free run, or pool->pages. Also moves the hint to the first free page. */
static unsigned find_run(struct pool *pool, unsigned pages)
{
	unsigned page, run = 0;

	while (pool->hint < pool->pages && page_used(pool, pool->hint))
		pool->hint++;
	for (page = pool->hint; page < pool->pages; page++) {
		run = page_used(pool, page) ? 0 : run + 1;
		if (run == pages)
			return page + 1 - pages;
	}
	return pool->pages;
}

void *pool_alloc(struct pool *pool, unsigned pages)
{
	uint8_t *virt = NULL;
	unsigned first;

	if (!pages || pages > pool->pages)
		return NULL;
	spin_lock(&pool->lock);
	first = find_run(pool, pages);
	if (first < pool->pages) {
		mark(pool, first, pages, true);
		pool->used += pages;
		virt = pool->base + (size_t)first * PAGE_SIZE;
	}
	spin_unlock(&pool->lock);
	if (virt)
		memset(virt, 0, (size_t)pages * PAGE_SIZE);
	return virt;
}

/* Pages [first, first+pages) exist and all are in use. */
static bool all_used(const struct pool *pool, uint64_t first, unsigned pages)
{
	if (!pages || pages > pool->pages || first > pool->pages - pages)
		return false;
	for (unsigned page = (unsigned)first; page < first + pages; page++)
		if (!page_used(pool, page))
			return false;
	return true;
}

void pool_free(struct pool *pool, void *virt, unsigned pages)
{
	uint64_t offset = (uintptr_t)virt - (uintptr_t)pool->base;
	bool valid;

	if (!virt)
		return;
	spin_lock(&pool->lock);
	/* A pointer below the base gives an offset far too large. */
	valid = !(offset & ~PAGE_MASK) && all_used(pool, offset / PAGE_SIZE, pages);
	if (valid) {
		mark(pool, (unsigned)(offset / PAGE_SIZE), pages, false);
		pool->used -= pages;
		pool->hint = MIN(pool->hint, (unsigned)(offset / PAGE_SIZE));
	}
	spin_unlock(&pool->lock);
	if (!valid)
		log_line("pool: bad free of %u pages at %p", pages, virt);
}

uint64_t pool_phys(const struct pool *pool, const void *virt)
{
	uint64_t offset = (uintptr_t)virt - (uintptr_t)pool->base;

	return offset < (uint64_t)pool->pages * PAGE_SIZE ? pool->phys + offset : UINT64_MAX;
}

void *pool_virt(const struct pool *pool, uint64_t phys)
{
	uint64_t offset = phys - pool->phys;

	return offset < (uint64_t)pool->pages * PAGE_SIZE ? pool->base + offset : NULL;
}

unsigned pool_used_pages(struct pool *pool)
{
	unsigned used;

	spin_lock(&pool->lock);
	used = pool->used;
	spin_unlock(&pool->lock);
	return used;
}

void *pool_table_alloc(void *ctx, uint64_t *phys)
{
	void *virt = pool_alloc(ctx, 1);

	if (virt)
		*phys = pool_phys(ctx, virt);
	return virt;
}

void pool_table_free(void *ctx, void *virt, uint64_t phys)
{
	(void)phys;
	pool_free(ctx, virt, 1);
}

void *pool_table_virt(void *ctx, uint64_t phys)
{
	return pool_virt(ctx, phys);
}

/* The pool of pages: Lamina's own working memory, one region that is contiguous both physically and virtually, and mapped for good. Its
 * allocation and its counts are locked here. */
#ifndef MM_POOL_H
#define MM_POOL_H

#include "lib/spinlock.h"
#include "lib/types.h"

#define POOL_PAGES_MAX 8192

struct pool {
	struct spinlock lock;
	uint8_t *base;      /* where Lamina sees it */
	uint64_t phys;      /* its physical address */
	unsigned pages;     /* its size */
	unsigned used;      /* pages in use */
	unsigned hint;      /* all pages with lower numbers are in use */
	uint64_t bitmap[POOL_PAGES_MAX / 64]; /* a bit for each page: set where it is in use */
};

/* Lamina's own, mapped in every address space. */
extern struct pool lamina_pool;

/* Manage `pages` pages (1..POOL_PAGES_MAX) at `virt`, which lie at physical `phys`; both page-aligned. All become free.
 * Returns 0 or ERR_INVALID. */
int pool_init(struct pool *pool, void *virt, uint64_t phys, unsigned pages);

/* Allocate `pages` contiguous pages, zeroed. Returns where they are, or NULL when there is no such run. */
void *pool_alloc(struct pool *pool, unsigned pages);

/* Give pages back. A range that is not wholly in use (freed twice, foreign, unaligned) is logged and refused whole. NULL is ignored. */
void pool_free(struct pool *pool, void *virt, unsigned pages);

/* Physical address of a byte of the pool; UINT64_MAX where `virt` does not point into the pool. */
uint64_t pool_phys(const struct pool *pool, const void *virt);

/* Where Lamina sees the byte of the pool at physical address `phys`; NULL where it is not in the pool. */
void *pool_virt(const struct pool *pool, uint64_t phys);

/* Pages in use now. */
unsigned pool_used_pages(struct pool *pool);

/* The three callbacks that a struct page_table wants, over a pool (its ctx). */
void *pool_table_alloc(void *ctx, uint64_t *phys);
void pool_table_free(void *ctx, void *virt, uint64_t phys);
void *pool_table_virt(void *ctx, uint64_t phys);

#endif

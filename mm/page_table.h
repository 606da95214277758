/* The one engine for page tables that Lamina makes: four levels of 512 entries (lib/x86/paging.h counts them), and a policy that says what
 * an entry looks like.
 *
 * The engine flushes nothing: after page_table_unmap and page_table_protect the caller flushes TLBs or issues INVEPT, on every CPU
 * that uses the table; page_table_map only makes absent entries present, for which x86 needs no flush. Tables that an unmap emptied
 * are only retired, as a CPU may still walk them: page_table_release frees them, and belongs after that flush. Callers lock.
 *
 * va is a virtual address, or a guest-physical address where the table is a guest's nested one; pa is a physical address. */
#ifndef MM_PAGE_TABLE_H
#define MM_PAGE_TABLE_H

#include "lib/types.h"
#include "lib/x86/paging.h"

/* Attributes of a mapping. Memory type is write-back unless one of PT_UC, PT_WC is given. */
#define PT_READ 0x01U
#define PT_WRITE 0x02U
#define PT_EXEC 0x04U
#define PT_GLOBAL 0x08U
#define PT_UC 0x10U
#define PT_WC 0x20U

/* What the entries of one kind of table look like. All that is asked about an entry but `present` is asked of present entries. */
struct page_table_policy {
	const char *name;
	uint64_t (*leaf)(uint64_t pa, unsigned level, uint32_t attrs); /* the entry that maps a page at pa */
	uint64_t (*table)(uint64_t pa);                                /* the entry that leads to the table at pa */
	bool (*present)(uint64_t entry);
	bool (*is_leaf)(uint64_t entry, unsigned level);     /* it maps a page; else it leads to a table */
	uint64_t (*leaf_pa)(uint64_t entry, unsigned level); /* where the page is */
	uint64_t (*table_pa)(uint64_t entry);                /* where the table is */
	uint32_t (*attrs)(uint64_t entry, unsigned level);   /* a leaf's attributes, as `leaf` was given them */
	uint32_t attrs_allowed;   /* attributes that a mapping may have; others are refused */
	bool exec_only;           /* PT_EXEC without PT_READ can be expressed */
	bool canonical;           /* addresses are sign-extended from bit 47; else they end at 2^48 */
	unsigned max_leaf_level;  /* the largest leaf that the format can express */
};

/* x86-64 (SDM vol. 3, "4-Level Paging"): supervisor only. PAT as after reset, except that entry 4 is programmed to WC. */
extern const struct page_table_policy policy_host;
/* EPT (SDM vol. 3, "The Extended Page Table Mechanism"). */
extern const struct page_table_policy policy_ept;
/* NPT (APM vol. 2, "Nested Paging"): long-mode tables with the user bit in every entry; PAT as for policy_host. */
extern const struct page_table_policy policy_npt;

/* A table of tables. Everything but pa_limit is set by page_table_init() and kept by the engine. */
struct page_table {
	const struct page_table_policy *policy;
	uint64_t root;           /* physical address of the top table */
	unsigned max_leaf_level; /* the largest leaf to make: what the CPU supports */
	uint64_t pa_limit;       /* mapped physical addresses end here: 2^52 after init, to be set to 1 << MAXPHYADDR */
	void *ctx;
	void *(*alloc)(void *ctx, uint64_t *phys); /* one zeroed page and its physical address; NULL when none */
	void (*free)(void *ctx, void *virt, uint64_t phys);
	void *(*virt)(void *ctx, uint64_t phys);   /* where Lamina sees a page that alloc gave; NULL: it gave no such page */
	uint64_t leaf_count[PT_LEVEL_TOP]; /* leaves in tables of its own, by PT_LEVEL_ (there is no level 0) */
	uint64_t table_count;    /* tables of its own, the root included, retired ones not */
	uint64_t spare;          /* allocated, not linked: a chain through entry 0 (inside one call only) */
	uint64_t retired;        /* unlinked, not freed: another such chain, until page_table_release() */
	uint64_t shared[8];      /* top slots whose tables belong to another page table */
	uint64_t pinned[8];      /* top slots whose tables other page tables use too */
};

/* Prepare an empty table: allocates the root. max_leaf_level is PT_LEVEL_4K, _2M or _1G (cut to the policy's).
 * Returns 0, ERR_INVALID or ERR_NOMEM. */
int page_table_init(struct page_table *pt, const struct page_table_policy *policy, unsigned max_leaf_level, void *ctx,
		    void *(*alloc)(void *ctx, uint64_t *phys), void (*free)(void *ctx, void *virt, uint64_t phys),
		    void *(*virt)(void *ctx, uint64_t phys));

/* Free every table of its own, retired ones and the root included. No CPU may use it any more, and nobody share from it. */
void page_table_destroy(struct page_table *pt);

/* Map [va, va+size) to pa, with the biggest leaves that alignment and max_leaf_level allow. All three are page-aligned.
 * Returns 0; ERR_INVALID (alignment, size 0, attributes, a shared slot), ERR_RANGE (not canonical, past the width, wraps),
 * ERR_BUSY (something is mapped there) or ERR_NOMEM: then nothing has changed. */
int page_table_map(struct page_table *pt, uint64_t va, uint64_t pa, uint64_t size, uint32_t attrs);

/* Remove whatever is mapped in [va, va+size), splitting larger pages at its edges and retiring tables that become empty.
 * Returns 0; ERR_INVALID, ERR_RANGE as above, or ERR_NOMEM (no table for a split): then nothing has changed. */
int page_table_unmap(struct page_table *pt, uint64_t va, uint64_t size);

/* Give all of [va, va+size) new attributes, splitting larger pages at its edges. Small leaves are not joined again.
 * Returns 0; ERR_INVALID, ERR_RANGE, ERR_NOMEM as above, or ERR_NOENT (a hole in it): then nothing has changed. */
int page_table_protect(struct page_table *pt, uint64_t va, uint64_t size, uint32_t attrs);

/* Where va leads: its physical address (offset included), attributes and leaf level; each pointer may be NULL.
 * Returns 0, ERR_NOENT (nothing is mapped there) or ERR_RANGE (not an address of the table's). */
int page_table_lookup(const struct page_table *pt, uint64_t va, uint64_t *pa, uint32_t *attrs, unsigned *level);

/* One leaf of a walk. */
struct page_table_leaf {
	uint64_t va;
	uint64_t pa;
	uint64_t size;
	uint32_t attrs;
	unsigned level;
};

/* Call `each` for every leaf in order of va, shared slots included. It must not change the table. */
void page_table_walk(const struct page_table *pt, void (*each)(void *ctx, const struct page_table_leaf *leaf), void *ctx);

/* Let dst use src's tables for the top-level slots first..last (0..511; 256..511 is the upper half): both then see every later
 * change below those slots, which only src may make. Slots that are absent in src stay absent in dst: make them first with
 * page_table_reserve_top. Returns 0, ERR_INVALID (slots, different policies) or ERR_BUSY (dst has one of them; nothing changed). */
int page_table_share_top(struct page_table *dst, struct page_table *src, unsigned first_slot, unsigned last_slot);

/* Give each of the top-level slots first..last a table, empty if need be, and keep it for good. Returns 0, ERR_INVALID or ERR_NOMEM. */
int page_table_reserve_top(struct page_table *pt, unsigned first_slot, unsigned last_slot);

/* Free the retired tables. Call it after the flush. */
void page_table_release(struct page_table *pt);

#endif

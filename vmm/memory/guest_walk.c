/* Walks of the guest's page tables in each paging mode, by the rules of paging_rules.h. 64-bit guests whose tables lie in their last RAM
 * region have a quick walk of their own. */
#include "vmm/memory/guest_walk.h"

#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "vmm/memory/paging_rules.h"

#define LEVELS_MAX 5
#define RESTARTS_MAX 8 /* when an accessed or dirty flag cannot be set because the entry changed meanwhile */

/* The entries that lead to a page, from the top table down. */
struct path {
	unsigned count;
	void *entry[LEVELS_MAX];     /* where they are */
	uint64_t value[LEVELS_MAX];  /* what they were when they were read; the last one maps the page */
	uint64_t in_all;             /* AND of the values: PTE_W and PTE_U count */
	uint64_t in_any;             /* OR of the values: PTE_NX counts */
	uint64_t page;               /* guest-physical address of the page */
	uint64_t size;               /* its size in bytes */
};

/* One stage's result: 0, an ERR_ code, or FAULT with the PF_ bits that the entries decide. */
#define FAULT 0x100

/* Read the entries from a table at `level` on, whose guest-physical address is `table`. */
static int walk_tables(const struct guest_memory *mem, const struct guest_paging *paging, enum paging_format format, uint64_t table,
		       unsigned level, uint64_t linear, struct path *path)
{
	bool wide = format != PAGING_32BIT;
	uint64_t reserved = paging_reserved(format, paging->maxphyaddr, paging_has_nx(paging));

	path->count = 0;
	path->in_all = ~0ULL;
	path->in_any = 0;
	for (;;) {
		/* 32-bit paging has two levels of 1024 entries. */
		uint64_t index = wide ? page_table_slot(linear, level) : linear >> (level == 1 ? 12 : 22) & 0x3ff;
		void *at = guest_ptr(mem, table + index * (wide ? 8 : 4), wide ? 8 : 4);
		uint64_t entry;

		if (!at)
			return ERR_RANGE;
		entry = wide ? __atomic_load_n((uint64_t *)at, __ATOMIC_RELAXED) : __atomic_load_n((uint32_t *)at, __ATOMIC_RELAXED);
		if (!(entry & PTE_P))
			return FAULT;
		if (entry & reserved)
			return FAULT | PF_PRESENT | PF_RESERVED;
		path->entry[path->count] = at;
		path->value[path->count++] = entry;
		path->in_all &= entry;
		path->in_any |= entry;
		path->page = entry & PTE_ADDRESS;
		path->size = PAGE_SIZE;
		if (paging_maps_page(wide || (paging->cr4 & CR4_PSE), level, entry)) {
			if (level > 1 && !paging_large_page(wide, level, paging->maxphyaddr, entry, &path->page, &path->size))
				return FAULT | PF_PRESENT | PF_RESERVED;
			return 0;
		}
		table = entry & PTE_ADDRESS;
		level--;
	}
}

/* May this access use the page? Returns 0 or the page fault's cause. */
static int check_rights(const struct guest_paging *paging, const struct paging_access *access, const struct path *path)
{
	if (!paging_allows(paging, access, path->in_all, path->in_any))
		return FAULT | PF_PRESENT;
	if (!paging_key_allows(paging, access, path->in_all, path->value[path->count - 1]))
		return FAULT | PF_PRESENT | PF_PROTECTION_KEY;
	return 0;
}

/* Set the accessed flags on the way, and the page's dirty flag for a write. Returns false where an entry changed meanwhile. */
static bool set_accessed_dirty(const struct path *path, bool wide, bool write)
{
	for (unsigned i = 0; i < path->count; i++) {
		uint64_t old = path->value[i], new = paging_with_flags(old, i == path->count - 1, write);

		if (new != old && !paging_set_flags(path->entry[i], wide, old, new))
			return false;
	}
	return true;
}

static inline bool user_access(const struct guest_paging *paging, unsigned access)
{
	return (paging->cpl == 3 || (access & WALK_USER)) && !(access & WALK_IMPLICIT);
}

/* Any walk, step by step; returns as guest_walk(). */
static __attribute__((noinline)) int walk_any(const struct guest_memory *mem, const struct guest_paging *paging, uint64_t linear,
					      unsigned flags, uint64_t *gpa, uint32_t *pf_error, uint64_t *page_size)
{
	const struct paging_access access = {
		.write = flags & WALK_WRITE,
		.fetch = flags & WALK_EXEC,
		.user = user_access(paging, flags),
		.smap_lifts = paging->rflags_ac && !(flags & WALK_IMPLICIT),
	};
	enum paging_format format = paging_format(paging);
	unsigned bits = paging->cr4 & CR4_LA57 ? 57 : 48, level = 2;
	uint64_t table;
	struct path path;

	if (format != PAGING_LONG)
		linear &= 0xffffffff;
	switch (format) {
	case PAGING_OFF:
		*gpa = linear;
		if (page_size)
			*page_size = PAGE_SIZE;
		return 0;
	case PAGING_LONG:
		if (!paging_canonical(linear, bits))
			return ERR_INVALID;
		table = paging->cr3 & PTE_ADDRESS;
		level = bits == 57 ? 5 : 4;
		break;
	case PAGING_PAE:
		/* The CPU has checked the four entries when it loaded them. */
		if (!(paging->pdpte[linear >> 30] & PTE_P)) {
			if (pf_error)
				*pf_error = paging_fault_error(paging, &access, 0);
			return ERR_NOENT;
		}
		table = paging->pdpte[linear >> 30] & PTE_ADDRESS;
		break;
	default:
		table = paging->cr3 & 0xfffff000;
	}

	for (unsigned i = 0; i < RESTARTS_MAX; i++) {
		int cause = walk_tables(mem, paging, format, table, level, linear, &path);

		if (!cause)
			cause = check_rights(paging, &access, &path);
		if (cause > 0) {
			if (pf_error)
				*pf_error = paging_fault_error(paging, &access, (uint32_t)cause & ~FAULT);
			return ERR_NOENT;
		}
		if (cause)
			return cause;
		if (!(flags & WALK_SET_AD) || set_accessed_dirty(&path, format != PAGING_32BIT, access.write)) {
			*gpa = path.page | (linear & (path.size - 1));
			if (page_size)
				*page_size = path.size;
			return 0;
		}
	}
	return ERR_BUSY;
}

/* The 4-level walk of a 64-bit guest whose tables all lie in its last RAM region, as most guests' tables do: each exit for a device's
 * registers walks once. Entries are judged together at the end: an entry that is not present may lead anywhere, but not out of the
 * region. Returns false where anything is not as simple as expected; walk_any() then finds out what. */
static inline __attribute__((always_inline)) bool walk_quick(const struct guest_memory *mem, const struct guest_paging *paging,
							     uint64_t linear, unsigned access, uint64_t *gpa, uint64_t *page_size)
{
	uint64_t start, reach, entry, in_all, in_any, mask, need, forbidden, offset;
	const uint8_t *base;
	bool user = user_access(paging, access);

	if (!(paging->efer & EFER_LMA) || !(paging->cr0 & CR0_PG) || (paging->cr4 & (CR4_LA57 | CR4_PKE)) ||
	    !mem->count || !paging_canonical(linear, 48))
		return false;
	start = mem->region[mem->count - 1].gpa;
	reach = mem->region[mem->count - 1].size - 8; /* the last entry's offset */
	base = mem->region[mem->count - 1].base;
	if ((int64_t)reach < 0)
		return false;
	entry = paging->cr3;
	in_all = ~0ULL;
	in_any = 0;
#define ENTER(level) do { \
		offset = ((entry & PTE_ADDRESS) | (linear >> (page_table_leaf_shift(level) - 3) & 0xff8)) - start; \
		if (offset > reach) \
			return false; \
		entry = __atomic_load_n((const uint64_t *)(base + offset), __ATOMIC_RELAXED); \
		in_all &= entry; \
		in_any |= entry; \
	} while (0)
	ENTER(4);
	ENTER(3);
	if (in_any & PTE_PS)
		return false;
	ENTER(2);
	mask = MIB(2) - 1;
	if (entry & PTE_PS) {
		if (entry & paging_large_reserved(2))
			return false;
	} else {
		ENTER(1);
		mask = PAGE_SIZE - 1;
	}
#undef ENTER
	need = PTE_P | (access & WALK_WRITE ? PTE_W : 0) | (user ? PTE_U : 0) | (access & WALK_SET_AD ? PTE_A : 0);
	/* An instruction fetch must not find PTE_NX, whether it is reserved or forbids the fetch. */
	forbidden = paging_reserved(PAGING_LONG, paging->maxphyaddr, paging_has_nx(paging) && !(access & WALK_EXEC));
	if ((in_all & need) != need || (in_any & forbidden) ||
	    (!user && (in_all & PTE_U) && (paging->cr4 & (CR4_SMEP | CR4_SMAP))))
		return false;
	if ((access & WALK_SET_AD) && (access & WALK_WRITE) && !(entry & PTE_D))
		return false;
	*gpa = (entry & PTE_ADDRESS & ~mask) | (linear & mask);
	if (page_size)
		*page_size = mask + 1;
	return true;
}

int guest_walk(const struct guest_memory *mem, const struct guest_paging *paging, uint64_t linear, unsigned access, uint64_t *gpa,
	       uint32_t *pf_error, uint64_t *page_size)
{
	if (walk_quick(mem, paging, linear, access, gpa, page_size))
		return 0;
	return walk_any(mem, paging, linear, access, gpa, pf_error, page_size);
}

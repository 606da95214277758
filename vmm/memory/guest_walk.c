#include "vmm/memory/guest_walk.h"

#include "lib/x86/paging.h"
#include "lib/x86/registers.h"


#define LEVELS_MAX 5
#define RESTARTS_MAX 8 /* when an accessed or dirty flag cannot be set because the entry changed meanwhile */

/* What the walk found. */
struct leaf {
	uint64_t entry;   /* the one that maps the page */
	uint64_t all;     /* AND of all entries: PTE_W, PTE_U and PTE_A count */
	uint64_t any;     /* OR of all entries: PTE_NX counts */
	uint64_t page;    /* guest-physical address of the page */
	uint64_t mask;    /* its size - 1 */
};

/* The entries on the way, for setting their flags. */
struct path {
	void *entry[LEVELS_MAX];
	uint64_t value[LEVELS_MAX];
	unsigned count;
	unsigned entry_size; /* 4 or 8 bytes */
};

/* The result of one stage: 0, an ERR_ code, or a page fault with these bits (present, reserved) in its error code. */
#define FAULT 0x100

static int walk_32bit(const struct guest_memory *mem, const struct guest_paging *paging, uint32_t linear, struct leaf *leaf,
		      struct path *path)
{
	uint32_t *p, pde, pte;

	path->entry_size = 4;
	p = guest_ptr(mem, (paging->cr3 & 0xfffff000) + (linear >> 22) * 4ULL, 4);
	if (!p)
		return ERR_RANGE;
	pde = __atomic_load_n(p, __ATOMIC_RELAXED);
	path->entry[0] = p;
	path->value[0] = leaf->entry = leaf->all = pde;
	leaf->any = 0;
	path->count = 1;
	if (!(pde & PTE_P))
		return FAULT;
	if ((pde & PTE_PS) && (paging->cr4 & CR4_PSE)) {
		/* PSE-36: bits 20:13 are the address's bits 39:32 as far as the CPU has them, bit 21 is reserved. */
		unsigned width = MAX(MIN(paging->maxphyaddr, 40U), 32U);
		uint32_t reserved = BIT(21) | (0x1fe000U & ~((1U << (width - 32 + 13)) - 1));

		if (pde & reserved)
			return FAULT | PF_PRESENT | PF_RESERVED;
		leaf->page = (pde & 0xffc00000U) | (uint64_t)(pde & 0x1fe000) << 19;
		leaf->mask = MIB(4) - 1;
		return 0;
	}
	p = guest_ptr(mem, (pde & 0xfffff000) + ((linear >> 12) & 0x3ff) * 4ULL, 4);
	if (!p)
		return ERR_RANGE;
	pte = __atomic_load_n(p, __ATOMIC_RELAXED);
	path->entry[1] = p;
	path->value[1] = pte;
	path->count = 2;
	if (!(pte & PTE_P))
		return FAULT;
	leaf->entry = pte;
	leaf->all &= pte;
	leaf->page = pte & 0xfffff000;
	leaf->mask = PAGE_SIZE - 1;
	return 0;
}

/* PAE, 4-level and 5-level paging below the top: `shift` is that of the first table's index, `table` its address. */
static int walk_64bit(const struct guest_memory *mem, uint64_t table, unsigned shift, uint64_t linear, uint64_t reserved,
		      struct leaf *leaf, struct path *path)
{
	uint64_t all = ~0ULL, any = 0, e;

	path->entry_size = 8;
	path->count = 0;
	for (;;) {
		uint64_t *p = guest_ptr(mem, table + ((linear >> shift) & 0x1ff) * 8, 8);

		if (!p)
			return ERR_RANGE;
		e = __atomic_load_n(p, __ATOMIC_RELAXED);
		if (!(e & PTE_P))
			return FAULT;
		path->entry[path->count] = p;
		path->value[path->count++] = e;
		if (e & reserved)
			return FAULT | PF_PRESENT | PF_RESERVED;
		all &= e;
		any |= e;
		table = e & PTE_ADDRESS;
		if (shift == 12)
			break;
		if (e & PTE_PS) {
			uint64_t low = (BIT(shift) - 1) & ~(uint64_t)0x1fff; /* bit 12 is PAT in a large page's entry */

			/* A page map level has no large pages: its PS bit is reserved. */
			if (shift > 30 || (e & low))
				return FAULT | PF_PRESENT | PF_RESERVED;
			break;
		}
		shift -= 9;
	}
	leaf->entry = e;
	leaf->all = all;
	leaf->any = any;
	leaf->mask = BIT(shift) - 1;
	leaf->page = table & ~leaf->mask;
	return 0;
}

static inline bool user_access(const struct guest_paging *paging, unsigned access)
{
	return (paging->cpl == 3 || (access & WALK_USER)) && !(access & WALK_IMPLICIT);
}

static inline bool nx_enabled(const struct guest_paging *paging)
{
	return (paging->cr4 & CR4_PAE) && (paging->efer & EFER_NXE);
}

/* The bits that must be 0 in any entry of 4-level paging. */
static inline uint64_t reserved_bits(const struct guest_paging *paging, bool nxe)
{
	return (PTE_ADDRESS & ~(BIT(paging->maxphyaddr) - 1)) | (nxe ? 0 : PTE_NX);
}

/* May this access use the page? Returns 0 or the page fault's cause. */
static int check_rights(const struct guest_paging *paging, const struct leaf *leaf, unsigned access, bool user, bool nxe)
{
	bool user_page = leaf->all & PTE_U;

	if (user && !user_page)
		return FAULT | PF_PRESENT;
	if (access & WALK_EXEC) {
		if (nxe && (leaf->any & PTE_NX))
			return FAULT | PF_PRESENT;
		if (user_page && !user && (paging->cr4 & CR4_SMEP))
			return FAULT | PF_PRESENT;
		return 0;
	}
	if ((access & WALK_WRITE) && !(leaf->all & PTE_W) && (user || (paging->cr0 & CR0_WP)))
		return FAULT | PF_PRESENT;
	if (!user_page)
		return 0;
	if (!user && (paging->cr4 & CR4_SMAP) && (!paging->rflags_ac || (access & WALK_IMPLICIT)))
		return FAULT | PF_PRESENT;
	if ((paging->cr4 & CR4_PKE) && (paging->efer & EFER_LMA)) {
		unsigned key = paging->pkru >> (2 * PTE_PKEY(leaf->entry)) & 3;

		if ((key & 1) || ((key & 2) && (access & WALK_WRITE) && (user || (paging->cr0 & CR0_WP))))
			return FAULT | PF_PRESENT | PF_PROTECTION_KEY;
	}
	return 0;
}

static uint32_t error_code(const struct guest_paging *paging, unsigned cause, unsigned access, bool user, bool nxe)
{
	if (access & WALK_WRITE)
		cause |= PF_WRITE;
	if (user)
		cause |= PF_USER;
	if ((access & WALK_EXEC) && (nxe || (paging->cr4 & CR4_SMEP)))
		cause |= PF_FETCH;
	return cause;
}

/* Set the accessed flags on the way, and the page's dirty flag for a write. Returns false where an entry changed meanwhile. */
static bool set_accessed_dirty(const struct path *path, bool write)
{
	for (unsigned i = 0; i < path->count; i++) {
		uint64_t old = path->value[i], set = old | PTE_A;

		if (write && i == path->count - 1)
			set |= PTE_D;
		if (set == old)
			continue;
		if (path->entry_size == 8) {
			if (!__atomic_compare_exchange_n((uint64_t *)path->entry[i], &old, set, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
				return false;
		} else {
			uint32_t old32 = (uint32_t)old;

			if (!__atomic_compare_exchange_n((uint32_t *)path->entry[i], &old32, (uint32_t)set, false, __ATOMIC_SEQ_CST,
							 __ATOMIC_RELAXED))
				return false;
		}
	}
	return true;
}

/* Any walk, step by step; returns as guest_walk(). */
static __attribute__((noinline)) int walk_any(const struct guest_memory *mem, const struct guest_paging *paging, uint64_t linear,
					      unsigned access, uint64_t *gpa, uint32_t *pf_error, uint64_t *page_size)
{
	bool user = user_access(paging, access), nxe = nx_enabled(paging);
	uint64_t table = 0, reserved = 0;
	unsigned shift = 0;

	if (!(paging->cr0 & CR0_PG)) {
		*gpa = linear & 0xffffffff;
		if (page_size)
			*page_size = PAGE_SIZE;
		return 0;
	}
	if (paging->efer & EFER_LMA) {
		unsigned spare = paging->cr4 & CR4_LA57 ? 64 - 57 : 64 - 48;

		if ((uint64_t)((int64_t)(linear << spare) >> spare) != linear)
			return ERR_INVALID;
		shift = 55 - spare;
		table = paging->cr3 & PTE_ADDRESS;
		reserved = reserved_bits(paging, nxe);
	} else {
		linear &= 0xffffffff;
		if (paging->cr4 & CR4_PAE) {
			uint64_t pdpte = paging->pdpte[linear >> 30];

			if (!(pdpte & PTE_P)) {
				if (pf_error)
					*pf_error = error_code(paging, 0, access, user, nxe);
				return ERR_NOENT;
			}
			shift = 21;
			table = pdpte & PTE_ADDRESS;
			/* Unlike 4-level paging, PAE paging ignores no bit above the address. */
			reserved = reserved_bits(paging, nxe) | (~PTE_ADDRESS & ~PTE_NX & ~(uint64_t)(PAGE_SIZE - 1));
		}
	}

	for (unsigned i = 0; i < RESTARTS_MAX; i++) {
		struct leaf leaf;
		struct path path;
		int cause;

		if (shift)
			cause = walk_64bit(mem, table, shift, linear, reserved, &leaf, &path);
		else
			cause = walk_32bit(mem, paging, (uint32_t)linear, &leaf, &path);
		if (!cause)
			cause = check_rights(paging, &leaf, access, user, nxe);
		if (cause > 0) {
			if (pf_error)
				*pf_error = error_code(paging, (unsigned)cause & ~FAULT, access, user, nxe);
			return ERR_NOENT;
		}
		if (cause)
			return cause;
		if (!(access & WALK_SET_AD) || set_accessed_dirty(&path, access & WALK_WRITE)) {
			*gpa = leaf.page | (linear & leaf.mask);
			if (page_size)
				*page_size = leaf.mask + 1;
			return 0;
		}
	}
	return ERR_BUSY;
}

/* The 4-level walk of a 64-bit guest whose tables all lie in its last RAM region, which is that of most: each exit for a device's
 * registers walks once. Entries are judged together at the end: one that is not present may lead anywhere, but not out of the
 * region. Returns false where anything is not as simple as expected; walk_any() then finds out what. */
static inline __attribute__((always_inline)) bool walk_quick(const struct guest_memory *mem, const struct guest_paging *paging,
							     uint64_t linear, unsigned access, uint64_t *gpa, uint64_t *page_size)
{
	uint64_t start, reach, entry, all, any, mask, need, forbidden, offset;
	const uint8_t *base;
	bool user = user_access(paging, access);

	if (!(paging->efer & EFER_LMA) || !(paging->cr0 & CR0_PG) || (paging->cr4 & (CR4_LA57 | CR4_PKE)) ||
	    !mem->count || (uint64_t)((int64_t)(linear << 16) >> 16) != linear)
		return false;
	start = mem->region[mem->count - 1].gpa;
	reach = mem->region[mem->count - 1].size - 8; /* the last entry's offset */
	base = mem->region[mem->count - 1].base;
	if ((int64_t)reach < 0)
		return false;
	entry = paging->cr3;
	all = ~0ULL;
	any = 0;
#define ENTER(shift) do { \
		offset = ((entry & PTE_ADDRESS) | (linear >> ((shift) - 3) & 0xff8)) - start; \
		if (offset > reach) \
			return false; \
		entry = __atomic_load_n((const uint64_t *)(base + offset), __ATOMIC_RELAXED); \
		all &= entry; \
		any |= entry; \
	} while (0)
	ENTER(39);
	ENTER(30);
	if (any & PTE_PS)
		return false;
	ENTER(21);
	mask = MIB(2) - 1;
	if (entry & PTE_PS) {
		if (entry & mask & ~(uint64_t)0x1fff)
			return false;
	} else {
		ENTER(12);
		mask = PAGE_SIZE - 1;
	}
#undef ENTER
	need = PTE_P | (access & WALK_WRITE ? PTE_W : 0) | (user ? PTE_U : 0) | (access & WALK_SET_AD ? PTE_A : 0);
	forbidden = reserved_bits(paging, nx_enabled(paging) && !(access & WALK_EXEC));
	if ((all & need) != need || (any & forbidden) ||
	    (!user && (all & PTE_U) && (paging->cr4 & (CR4_SMEP | CR4_SMAP))))
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

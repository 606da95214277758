/* Inside the shadow MMU: its tables, their entries, and the lists that join them. Everything here wants the MMU's lock. */
#ifndef VMM_SHADOW_SHADOW_PAGE_H
#define VMM_SHADOW_SHADOW_PAGE_H

#include "lib/x86/paging.h"
#include "vmm/memory/paging_rules.h"
#include "vmm/shadow/shadow.h"

/* In shadow tables' entries only, ignored by the CPU: the entry is on a list. */
#define PTE_LISTED BIT(9)

/* A shadow table's role: all that it depends on besides the guest's table. A vCPU's role has the format and the bits from ROLE_WP0 to
 * ROLE_SMAP only. */
#define ROLE_LEVEL 7U              /* 1..4 */
#define ROLE_QUADRANT_SHIFT 3      /* which part of a 32-bit table of 1024 entries */
#define ROLE_QUADRANT (3U << 3)
#define ROLE_FORMAT_SHIFT 5        /* enum paging_format of the guest's table */
#define ROLE_FORMAT (3U << 5)
#define ROLE_DIRECT ((uint32_t)PAGING_OFF << 5)      /* maps guest-physical addresses from `gpa` on: a large page's pieces, or no paging */
#define ROLE_32BIT ((uint32_t)PAGING_32BIT << 5)
#define ROLE_PAE ((uint32_t)PAGING_PAE << 5)
#define ROLE_LONG ((uint32_t)PAGING_LONG << 5)
#define ROLE_WP0 (1U << 7)         /* CR0.WP = 0, which the hardware never runs with */
#define ROLE_NXE (1U << 8)
#define ROLE_PSE (1U << 9)         /* 32-bit paging only */
#define ROLE_SMEP (1U << 10)       /* ROLE_SMEP and ROLE_SMAP with ROLE_WP0 only: else the hardware does it all */
#define ROLE_SMAP (1U << 11)
#define ROLE_W (1U << 12)          /* ROLE_W and ROLE_U, the rights that the guest's entries above give: with ROLE_WP0 only, else both are set */
#define ROLE_U (1U << 13)
#define ROLE_CACHE_SHIFT 14        /* direct: PWT, PCD, PAT of the large page */
#define ROLE_G (1U << 17)          /* direct: it is global */
#define ROLE_VCPU (ROLE_FORMAT | ROLE_WP0 | ROLE_NXE | ROLE_PSE | ROLE_SMEP | ROLE_SMAP)

/* A place in a list: an entry's code (its page's number * 512 + slot + 1; 0: none), or, as `prev`, the list's head. */
struct shadow_link {
	uint32_t prev, next;
};

#define LINK_HEAD BIT(31)

struct shadow_page {
	uint64_t *table;            /* what the hardware walks */
	uint64_t table_phys;        /* its host-physical address */
	struct shadow_link *links;  /* for each entry its place in a list: of its frame's writable mappings, or of its child's parents */
	uint64_t *copy;             /* guest leaf tables: the guest's entry from which each present entry was made */
	void *guest;                /* first entry of the guest's table; NULL where there is none or it is not in RAM (read as all ones) */
	uint64_t gpa;               /* guest-physical address of the guest's table; direct: of the memory that is mapped */
	uint32_t role;
	uint32_t parents;           /* list of the entries that link to it */
	uint32_t next;              /* in its hash bucket, or among the free pages */
	uint32_t unsynced_prev, unsynced_next;
	uint16_t pins;              /* vCPUs that have it as root */
	uint8_t touched;            /* a bit for each 64 entries: some of them may be present */
	uint8_t writes_since_use;   /* emulated writes to an upper table since it last got a link or became a root */
	bool live;                  /* it is a table: in the hash */
	bool unsynced;              /* out of sync: the guest writes its table freely, and the shadow may differ from it until the next sync */
	bool used_since_reclaim;    /* the table was of use since reclaim last came by */
	bool filled_since_sync;     /* faults made entries since the table was last synced */
	bool emulate_writes;        /* a leaf table that gets few writes between two loads of CR3: each is emulated */
	uint8_t streak;             /* with emulate_writes: its writes in this epoch; else epochs in a row in which it went out of sync */
	uint32_t epoch;             /* mmu->epoch of its last write fault */
	uint8_t idle_syncs;         /* syncs in a row that found changes with no use of the table since the sync before */
};

/* What an element of mmu->frames holds: a list's head, and for single pages the two flags. Its index is called a frame. */
#define FRAME_TRACED BIT(31)   /* the page is a guest's table whose shadows are in sync: nothing may map it writable */
#define FRAME_SHADOWED BIT(30) /* the page is a guest's table that has a shadow */
#define FRAME_CODE ((uint32_t)(FRAME_SHADOWED - 1))

#define NO_FRAME UINT32_MAX /* no RAM, or not all of a block is RAM */

#define UNSYNCED_MAX 64  /* leaf tables that may be out of sync, as each flush point compares them all */
#define PAGES_RESERVE 16 /* pages that one fault may take: three for each of four levels, and some to spare */

static inline unsigned shadow_level(const struct shadow_page *sp)
{
	return sp->role & ROLE_LEVEL;
}

/* What the last fault in this half of the address space found, and whether it serves `linear` too. */
static inline struct shadow_last *shadow_last_of(struct shadow_vcpu *sv, uint64_t linear)
{
	return &sv->last[linear >> 63];
}

static inline bool shadow_last_fits(const struct shadow_vcpu *sv, const struct shadow_last *last, uint64_t linear)
{
	return linear >> 21 == last->block && last->root == sv->root_page && last->link_changes == sv->mmu->link_changes;
}

static inline bool shadow_is_direct(const struct shadow_page *sp)
{
	return !(sp->role & ROLE_FORMAT);
}

static inline bool shadow_is_leaf(const struct shadow_page *sp, uint64_t entry)
{
	return shadow_level(sp) == 1 || (entry & PTE_PS);
}

/* An entry's code in lists, and the table that the entry is in. */
static inline uint32_t shadow_code(const struct shadow_mmu *mmu, const struct shadow_page *sp, unsigned slot)
{
	return (uint32_t)(sp - mmu->pages) * PAGE_TABLE_ENTRIES + slot + 1;
}

static inline struct shadow_page *shadow_of_code(const struct shadow_mmu *mmu, uint32_t code)
{
	return &mmu->pages[(code - 1) / PAGE_TABLE_ENTRIES];
}

/* The table that a link leads to. */
static inline struct shadow_page *shadow_child(const struct shadow_mmu *mmu, uint64_t entry)
{
	return &mmu->pages[((entry & PTE_ADDRESS) - mmu->config.tables_phys) / PAGE_SIZE];
}

/* The same as an array of entries, for a walk that needs nothing else of the table. */
static inline const uint64_t *shadow_table(const struct shadow_mmu *mmu, uint64_t entry)
{
	return (const uint64_t *)((const uint8_t *)mmu->config.tables + ((entry & PTE_ADDRESS) - mmu->config.tables_phys));
}

/* A guest-physical range of a power of two that lies in RAM: where Lamina sees it, or NULL. */
static inline void *shadow_ram(const struct shadow_mmu *mmu, uint64_t gpa, uint64_t size)
{
	for (unsigned i = mmu->region_count; i-- > 0;) {
		uint64_t offset = gpa - mmu->region[i].gpa;

		if (offset < mmu->region[i].size)
			return size <= mmu->region[i].size - offset ? mmu->region[i].base + offset : NULL;
	}
	return NULL;
}

/* config.to_hpa(), which is asked once for a block: the VM's memory stays where it is. */
static inline bool shadow_to_hpa(struct shadow_mmu *mmu, uint64_t gpa, uint64_t *hpa, uint64_t *size)
{
	if (__builtin_expect((gpa & mmu->block.mask) != mmu->block.gpa || !mmu->block.mask, 0)) {
		if (!mmu->config.to_hpa(mmu->config.ctx, gpa, hpa, size))
			return false;
		mmu->block.mask = ~(*size - 1);
		mmu->block.gpa = gpa & mmu->block.mask;
		mmu->block.hpa = *hpa & mmu->block.mask;
		mmu->block.size = *size;
	}
	*hpa = mmu->block.hpa | (gpa & ~mmu->block.mask);
	*size = mmu->block.size;
	return true;
}

/* Index in mmu->frames of the page (level 1), the 2 MiB (level 2) or the 1 GiB (level 3) around gpa; NO_FRAME where it is not all in one
 * region of RAM. */
static inline uint32_t shadow_frame(const struct shadow_mmu *mmu, uint64_t gpa, unsigned level)
{
	uint64_t size = page_table_leaf_size(level), block = gpa & ~(size - 1);

	for (unsigned i = mmu->region_count; i-- > 0;) {
		uint64_t offset = block - mmu->region[i].gpa;

		if (offset < mmu->region[i].size) {
			if (mmu->region[i].size - offset < size)
				return NO_FRAME;
			return mmu->region[i].first[level - 1] +
			       (uint32_t)((block >> page_table_leaf_shift(level)) - (mmu->region[i].gpa >> page_table_leaf_shift(level)));
		}
	}
	return NO_FRAME;
}

static inline bool shadow_traced(const struct shadow_mmu *mmu, uint32_t frame)
{
	return frame != NO_FRAME && (mmu->frames[frame] & FRAME_TRACED);
}

/* The guest's entry behind a slot of a guest table's shadow. A 32-bit PDE stands behind two slots. */
static inline void *shadow_guest_entry(const struct shadow_page *sp, unsigned slot)
{
	if (!sp->guest)
		return NULL;
	if ((sp->role & ROLE_FORMAT) != ROLE_32BIT)
		return (uint64_t *)sp->guest + slot;
	return (uint32_t *)sp->guest + (shadow_level(sp) == 2 ? slot / 2 : slot);
}

/* The guest's entry as it is now. An entry outside RAM reads as an empty bus does: all ones. */
static inline uint64_t shadow_load(const void *entry, bool wide)
{
	if (!entry)
		return wide ? ~0ULL : ~0U;
	return wide ? __atomic_load_n((const uint64_t *)entry, __ATOMIC_ACQUIRE) : __atomic_load_n((const uint32_t *)entry, __ATOMIC_ACQUIRE);
}

static inline uint64_t shadow_guest_value(const struct shadow_page *sp, unsigned slot)
{
	return shadow_load(shadow_guest_entry(sp, slot), (sp->role & ROLE_FORMAT) != ROLE_32BIT);
}

/* Bits that must be 0 in any present entry of the guest's. */
static inline uint64_t shadow_reserved(const struct shadow_mmu *mmu, uint32_t role)
{
	return mmu->reserved[(role & ROLE_FORMAT) >> ROLE_FORMAT_SHIFT][!!(role & ROLE_NXE)];
}

/* Whether our tables may hold what this entry of the guest's says: it is present and accessed, and none of the bits is set that are reserved
 * in all entries. (Else the next access must fault, for the guest to be told or its flag to be set.) */
static inline bool shadow_usable(const struct shadow_mmu *mmu, const struct shadow_page *sp, uint64_t entry)
{
	return (entry & (PTE_P | PTE_A)) == (PTE_P | PTE_A) && !(entry & shadow_reserved(mmu, sp->role));
}

/* Whether a usable entry of the guest's in a table at this level leads to another table. */
static inline bool shadow_guest_link(uint32_t role, unsigned level, uint64_t entry)
{
	return !paging_maps_page((role & ROLE_FORMAT) != ROLE_32BIT || (role & ROLE_PSE), level, entry);
}

/* The shadow of a usable PTE of the guest's, without its address. `traced`: the page must not be written. `write`, which counts with
 * CR0.WP = 0 only: it is for a supervisor's write. A page whose dirty flag is clear stays read-only, so that its first write faults. */
static inline uint64_t shadow_leaf_flags(const struct shadow_page *sp, uint64_t entry, bool traced, bool write)
{
	uint64_t flags = PTE_P | PTE_A | PTE_D | (entry & (PTE_U | PTE_PWT | PTE_PCD | PTE_PAT | PTE_G | PTE_NX));
	bool writable = (entry & PTE_D) && !traced;

	if (__builtin_expect(!(sp->role & ROLE_WP0), 1))
		return flags | (writable ? entry & PTE_W : 0);
	if ((entry & PTE_W) && (sp->role & ROLE_W))
		return flags | (writable ? PTE_W : 0);
	if (!write || !writable)
		return flags;
	/* CR0.WP = 0 and a supervisor's write to a read-only page: the hardware runs with WP set, so the page is made writable and, until
	 * the user's next access faults, the supervisor's alone. Where SMEP would refuse fetches from a user's page, NX does. */
	if ((entry & PTE_U) && (sp->role & ROLE_U) && (sp->role & ROLE_SMEP))
		flags |= PTE_NX;
	return (flags & ~PTE_U) | PTE_W;
}

/* shadow_flush.c: ask for a flush of a vCPU's TLB (sv may be NULL), or of all, before they run again. */
void shadow_need_flush(struct shadow_vcpu *sv, enum shadow_flush kind);
void shadow_flush_everywhere(struct shadow_mmu *mmu, struct shadow_vcpu *self);

/* shadow_entry.c: change an entry, keeping the lists. `frame` is the index of the page or block that a leaf maps, at the leaf's level: a
 * writable leaf is put on its list. */
void shadow_set_leaf(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned slot, uint64_t entry, uint32_t frame);
void shadow_set_link(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned slot, struct shadow_page *child, uint64_t flags);
void shadow_zap(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned slot);
/* Whether a CPU has walked the first link to a table, most often the only one, since the last such question. */
bool shadow_take_used(struct shadow_mmu *mmu, const struct shadow_page *sp);
/* Take all write permission for a page of RAM away. Returns whether there was any. */
bool shadow_protect(struct shadow_mmu *mmu, uint64_t gpa);

/* shadow_page.c. Find or make the table that shadows the guest's at gpa in this role; making needs free pages (shadow_reserve). The table
 * counts as used. */
struct shadow_page *shadow_get(struct shadow_mmu *mmu, struct shadow_vcpu *sv, uint64_t gpa, uint32_t role);
/* The first table made from this guest page, and the next one; NULL at the end. */
struct shadow_page *shadow_first(const struct shadow_mmu *mmu, uint64_t gpa);
struct shadow_page *shadow_next(const struct shadow_mmu *mmu, const struct shadow_page *sp);
/* The table in this role, or NULL. */
struct shadow_page *shadow_find(const struct shadow_mmu *mmu, uint64_t gpa, uint32_t role);
/* Take a table out of use, with all links to it. Its pages are free at once; TLBs hear of it before one is used again. */
void shadow_drop(struct shadow_mmu *mmu, struct shadow_page *sp);
/* See that a fault finds enough free pages. May drop any table that is no vCPU's root. */
void shadow_reserve(struct shadow_mmu *mmu);

/* shadow_sync.c. Put a leaf table on the list of tables out of sync, or take it off. */
void shadow_unsync(struct shadow_mmu *mmu, struct shadow_page *sp);
void shadow_forget_unsynced(struct shadow_mmu *mmu, struct shadow_page *sp);
/* Bring the shadows of one guest page's tables, or all shadows, in sync, and trace the guest's. */
void shadow_sync_guest_page(struct shadow_mmu *mmu, struct shadow_vcpu *sv, uint64_t gpa);
void shadow_sync_all(struct shadow_mmu *mmu, struct shadow_vcpu *sv);
/* Compare one entry of a leaf table with the guest's and mend it. Returns whether it had changed. */
bool shadow_sync_entry(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned slot);
/* A write fault on a traced page: let the guest write to it freely, if that pays, and drop upper tables that are not in use. Returns
 * whether the guest may write now; else the write must be emulated. */
bool shadow_untrace(struct shadow_mmu *mmu, struct shadow_vcpu *sv, uint64_t gpa);

#endif

/* Page faults under shadow paging: the guest's tables are walked, and the shadow entries that are missing are made, or the fault is the
 * guest's own. */
#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "vmm/memory/paging_rules.h"
#include "vmm/shadow/shadow_page.h"

#define RESTARTS_MAX 8 /* when an accessed or dirty flag cannot be set because the entry changed meanwhile */

/* A fault being handled: the access, and what the guest's tables say. Arrays are by level. */
struct walk {
	struct shadow_vcpu *sv;
	uint64_t linear;
	struct paging_access access;
	bool wide;              /* the guest's entries have 8 bytes */
	uint32_t role;          /* the vCPU's */
	struct shadow_page *sp; /* the deepest shadow of a guest table on the way; in_all and in_any have the entries above it */
	unsigned leaf;          /* level of the guest's entry that maps the page */
	uint64_t in_all;        /* AND of the guest's entries on the way: PTE_W and PTE_U count */
	uint64_t in_any;        /* OR of them: PTE_NX counts */
	uint64_t gpa;           /* the access's */
	uint64_t entry[5];      /* the guest's entries from sp's level down, and where Lamina sees them (NULL: not in RAM) */
	void *at[5];
};

/* What walk_guest() returns where the guest's entries give an address; else the bits of the error code that they decide. */
#define NO_FAULT UINT32_MAX

/* Go down the shadow tables as far as they reach: their links are as the guest's entries say, accessed flags included. */
static void descend(struct walk *w, struct shadow_page *sp)
{
	const struct shadow_mmu *mmu = w->sv->mmu;
	uint64_t all = PTE_W | PTE_U, any = 0;

	for (;;) {
		unsigned level = shadow_level(sp);
		uint64_t entry = sp->table[page_table_slot(w->linear, level)];
		struct shadow_page *child;

		if (level == 1 || !entry || (entry & PTE_PS))
			break;
		child = shadow_child(mmu, entry);
		if (shadow_is_direct(child))
			break;
		all &= entry;
		any |= entry;
		sp = child;
	}
	/* With CR0.WP = 0 the links' W is not the guest's W: the role has that. */
	if (__builtin_expect(sp->role & ROLE_WP0, 0))
		all = (sp->role & ROLE_W ? PTE_W : 0) | (sp->role & ROLE_U ? PTE_U : 0);
	w->in_all = all;
	w->in_any = any;
	w->sp = sp;
	if (shadow_level(sp) == 1) {
		struct shadow_last *last = shadow_last_of(w->sv, w->linear);

		last->block = w->linear >> 21;
		last->link_changes = mmu->link_changes;
		last->in_all = all;
		last->in_any = any;
		last->root = w->sv->root_page;
		last->page = sp;
	}
}

/* Read the guest's own entries from there on. Returns a fault's cause or NO_FAULT. */
static inline uint32_t walk_guest(struct walk *w)
{
	const struct shadow_mmu *mmu = w->sv->mmu;
	struct shadow_page *sp = w->sp;
	unsigned level = shadow_level(sp);
	uint64_t reserved = shadow_reserved(mmu, w->role), entry, page, size;
	void *at = shadow_guest_entry(sp, page_table_slot(w->linear, level));

	for (;;) {
		entry = shadow_load(at, w->wide);
		if (!(entry & PTE_P))
			return 0;
		if (__builtin_expect((entry & reserved) != 0, 0))
			return PF_PRESENT | PF_RESERVED;
		w->entry[level] = entry;
		w->at[level] = at;
		w->in_all &= entry;
		w->in_any |= entry;
		if (paging_maps_page(w->wide || (w->role & ROLE_PSE), level, entry))
			break;
		level--;
		at = shadow_ram(mmu, (entry & PTE_ADDRESS) + (w->wide ? (uint64_t)page_table_slot(w->linear, level) * 8 : (w->linear >> 12 & 0x3ff) * 4), 4);
	}
	w->leaf = level;
	if (__builtin_expect(level == 1, 1)) {
		w->gpa = (entry & PTE_ADDRESS) | (w->linear & (PAGE_SIZE - 1));
		return NO_FAULT;
	}
	if (!paging_large_page(w->wide, level, mmu->maxphyaddr, entry, &page, &size))
		return PF_PRESENT | PF_RESERVED;
	w->gpa = page | (w->linear & (size - 1));
	return NO_FAULT;
}

/* The fault is the guest's own. */
static enum shadow_verdict reflect(const struct walk *w, uint32_t cause, struct shadow_fault *fault)
{
	fault->error = paging_fault_error(&w->sv->paging, &w->access, cause);
	w->sv->mmu->stats.reflected++;
	return SHADOW_REFLECT;
}

/* Set the accessed flags that are missing, and for a write the dirty flag. Returns false where an entry changed meanwhile. */
static inline bool set_accessed_dirty(struct walk *w)
{
	for (unsigned level = shadow_level(w->sp); level >= w->leaf; level--) {
		uint64_t old = w->entry[level], new = paging_with_flags(old, level == w->leaf, w->access.write);

		if (new == old)
			continue;
		if (!paging_set_flags(w->at[level], w->wide, old, new))
			return false;
		w->entry[level] = new;
	}
	return true;
}

/* A write to a page that is traced, before the last entry is made. Returns whether to go on and make the entry; else *verdict is final. */
static bool write_to_table(struct walk *w, struct shadow_fault *fault, enum shadow_verdict *verdict)
{
	struct shadow_mmu *mmu = w->sv->mmu;

	fault->gpa = w->gpa;
	if (!shadow_untrace(mmu, w->sv, w->gpa)) {
		mmu->stats.emulated++;
		*verdict = SHADOW_EMULATE;
		return false;
	}
	mmu->stats.unsynced++;
	*verdict = SHADOW_UNSYNCED;
	/* A table that was dropped may have been on the walk's way: then the fault comes again. */
	return w->sp->live;
}

/* Whether one entry at this level may map the block around gpa: the CPU has such pages, the host's memory there is contiguous (`size`), and
 * no page table lies in it that a write would have to be seen at. */
static bool large_possible(const struct shadow_mmu *mmu, uint64_t gpa, unsigned level, uint64_t size, bool writable)
{
	uint32_t block;

	if (size < page_table_leaf_size(level) || level > (mmu->config.pages_1g ? 3 : 2))
		return false;
	block = shadow_frame(mmu, gpa, level);
	return block != NO_FRAME && (!writable || !mmu->tables_in_block[block - mmu->first_block]);
}

/* Map a page below a direct table. */
static enum shadow_verdict fill_direct(struct walk *w, struct shadow_page *sp, uint64_t hpa, uint64_t size, struct shadow_fault *fault)
{
	struct shadow_mmu *mmu = w->sv->mmu;
	enum shadow_verdict verdict = SHADOW_RESOLVED;
	uint64_t cache = (sp->role >> ROLE_CACHE_SHIFT & 3) * PTE_PWT | (sp->role & ROLE_G ? PTE_G : 0);
	uint64_t pat = sp->role >> ROLE_CACHE_SHIFT & 4, entry;
	uint32_t frame;
	unsigned level, slot;

	for (;;) {
		level = shadow_level(sp);
		slot = page_table_slot(w->gpa, level);
		entry = sp->table[slot];
		if (level == 1)
			break;
		if (!entry || shadow_is_leaf(sp, entry)) {
			uint64_t mask = page_table_leaf_size(level) - 1;

			if (!(sp->role & ROLE_WP0) && large_possible(mmu, w->gpa, level, size, true)) {
				entry = (hpa & ~mask) | PTE_P | PTE_W | PTE_U | PTE_A | PTE_D | PTE_PS | cache | (pat ? PTE_PAT_LARGE : 0);
				shadow_set_leaf(mmu, sp, slot, entry, shadow_frame(mmu, w->gpa, level));
				return verdict;
			}
			shadow_set_link(mmu, sp, slot,
					shadow_get(mmu, w->sv, w->gpa & ~mask, (sp->role & ~ROLE_LEVEL) | (level - 1)),
					PTE_A | PTE_W | PTE_U);
			entry = sp->table[slot];
		}
		sp = shadow_child(mmu, entry);
		sp->used_since_reclaim = true;
	}
	frame = shadow_frame(mmu, w->gpa, 1);
	if (w->access.write && shadow_traced(mmu, frame) && !write_to_table(w, fault, &verdict))
		return verdict;
	/* Pieces of a large page: the link has the rights, but for the rights that CR0.WP = 0 gives. */
	entry = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D | cache | (pat ? PTE_PAT : 0);
	if (!(sp->role & ROLE_W)) {
		entry &= ~(w->access.write && !w->access.user ? PTE_U : PTE_W);
		if (w->access.write && !w->access.user && (sp->role & ROLE_SMEP) && (sp->role & ROLE_U))
			entry |= PTE_NX;
		else if (w->access.write && !w->access.user && !(sp->role & ROLE_U))
			entry |= PTE_U;
	}
	if (shadow_traced(mmu, frame))
		entry &= ~PTE_W;
	shadow_set_leaf(mmu, sp, slot, (hpa & PTE_ADDRESS) | entry, frame);
	return verdict;
}

/* The rights above a table as bits of its role, which has them only where CR0.WP is 0. */
static inline uint32_t role_rights(uint32_t role, uint64_t all)
{
	if (!(role & ROLE_WP0))
		return ROLE_W | ROLE_U;
	return (all & PTE_W ? ROLE_W : 0) | (all & PTE_U ? ROLE_U : 0);
}

/* A guest's large page: one entry where the host's memory and traced pages allow, else a table of pieces. */
static enum shadow_verdict fill_large(struct walk *w, struct shadow_page *sp, uint64_t rights, uint64_t hpa, uint64_t size,
				      struct shadow_fault *fault)
{
	struct shadow_mmu *mmu = w->sv->mmu;
	unsigned level = w->leaf, slot = page_table_slot(w->linear, level);
	uint64_t entry = w->entry[level], mask = page_table_leaf_size(level) - 1, old = sp->table[slot];
	uint64_t flags = PTE_A | (entry & (PTE_U | PTE_NX));
	struct shadow_page *child = NULL;
	uint32_t role;

	if (entry & PTE_D)
		flags |= w->role & ROLE_WP0 ? PTE_W : entry & PTE_W;
	if (!(w->role & ROLE_WP0) && (!old || shadow_is_leaf(sp, old)) && large_possible(mmu, w->gpa, level, size, flags & PTE_W)) {
		shadow_set_leaf(mmu, sp, slot,
				(hpa & ~mask) | flags | PTE_P | PTE_D | PTE_PS | (entry & (PTE_PWT | PTE_PCD | PTE_G | PTE_PAT_LARGE)),
				shadow_frame(mmu, w->gpa, level));
		return SHADOW_RESOLVED;
	}
	role = (w->role & (ROLE_WP0 | ROLE_SMEP | ROLE_SMAP)) | role_rights(w->role, rights) | (level - 1) |
	       (uint32_t)(entry >> 3 & 3) << ROLE_CACHE_SHIFT | (entry & PTE_PAT_LARGE ? 4U << ROLE_CACHE_SHIFT : 0) |
	       (entry & PTE_G ? ROLE_G : 0);
	if (old && !shadow_is_leaf(sp, old)) {
		child = shadow_child(mmu, old);
		child = child->role == role && child->gpa == (w->gpa & ~mask) ? child : NULL;
	}
	if (!child)
		child = shadow_get(mmu, w->sv, w->gpa & ~mask, role);
	shadow_set_link(mmu, sp, slot, child, flags);
	return fill_direct(w, child, hpa, size, fault);
}

/* The table that a guest's entry at `level` leads to. */
static struct shadow_page *get_child(struct walk *w, unsigned level, unsigned slot, uint64_t entry, uint64_t rights)
{
	uint32_t role = w->role | (level - 1) | role_rights(w->role, rights);

	if (!w->wide)
		role |= (slot & 1) << ROLE_QUADRANT_SHIFT;
	return shadow_get(w->sv->mmu, w->sv, entry & PTE_ADDRESS, role);
}

/* The access is allowed, and its flags are set: make the entries. */
static enum shadow_verdict fill(struct walk *w, struct shadow_fault *fault)
{
	struct shadow_mmu *mmu = w->sv->mmu;
	struct shadow_page *sp = w->sp;
	enum shadow_verdict verdict = SHADOW_RESOLVED;
	unsigned level = shadow_level(sp), slot;
	uint64_t hpa, size, entry, rights = w->in_all;
	uint32_t frame;
	bool is_traced;

	if (!shadow_to_hpa(mmu, w->gpa, &hpa, &size)) {
		fault->gpa = w->gpa;
		mmu->stats.mmio++;
		return SHADOW_MMIO;
	}
	if (__builtin_expect(level > w->leaf, 0)) {
		rights = (sp->role & ROLE_W ? PTE_W : 0) | (sp->role & ROLE_U ? PTE_U : 0);
		for (; level > w->leaf; level--) {
			struct shadow_page *child;

			slot = page_table_slot(w->linear, level);
			entry = w->entry[level];
			rights &= entry;
			child = get_child(w, level, slot, entry, rights);
			shadow_set_link(mmu, sp, slot, child,
					PTE_A | (entry & (PTE_U | PTE_NX)) | (w->role & ROLE_WP0 ? PTE_W : entry & PTE_W));
			child->used_since_reclaim = true;
			/* The child's guest page is traced only from now on: has the entry there changed since it was read? */
			if (shadow_load(w->at[level - 1], w->wide) != w->entry[level - 1])
				return verdict;
			sp = child;
		}
		w->sp = sp;
	}
	sp->used_since_reclaim = true;
	if (__builtin_expect((w->role & (ROLE_WP0 | ROLE_SMAP)) == (ROLE_WP0 | ROLE_SMAP), 0) && w->access.write && !w->access.user &&
	    !(w->in_all & PTE_W) && (w->in_all & PTE_U)) {
		/* No entry can let a supervisor write to a user's read-only page and still show SMAP that the page is a user's. */
		fault->gpa = w->gpa;
		mmu->stats.emulated++;
		return SHADOW_EMULATE;
	}
	if (__builtin_expect(w->leaf > 1, 0))
		return fill_large(w, sp, rights & w->entry[w->leaf], hpa, size, fault);
	frame = shadow_frame(mmu, w->gpa, 1);
	is_traced = shadow_traced(mmu, frame);
	if (__builtin_expect(is_traced && w->access.write, 0)) {
		if (!write_to_table(w, fault, &verdict))
			return verdict;
		is_traced = false;
	}
	slot = page_table_slot(w->linear, 1);
	entry = w->entry[1];
	sp->filled_since_sync = true;
	shadow_set_leaf(mmu, sp, slot, (hpa & PTE_ADDRESS) | shadow_leaf_flags(sp, entry, is_traced, w->access.write && !w->access.user), frame);
	sp->copy[slot] = entry;
	return verdict;
}

/* In legacy mode: the table behind one of the four PDPTEs. NULL where the guest's PDPTE is not present. */
static __attribute__((noinline)) struct shadow_page *fill_pdpte(struct walk *w, unsigned slot)
{
	struct shadow_vcpu *sv = w->sv;
	struct shadow_mmu *mmu = sv->mmu;
	uint32_t role = w->role | 2 | ROLE_W | ROLE_U;
	uint64_t gpa;

	switch (w->role & ROLE_FORMAT) {
	case ROLE_DIRECT:
		gpa = slot * GIB(1);
		break;
	case ROLE_32BIT:
		gpa = sv->paging.cr3 & 0xfffff000;
		role |= slot << ROLE_QUADRANT_SHIFT;
		break;
	default:
		if (!(sv->paging.pdpte[slot] & PTE_P))
			return NULL;
		gpa = sv->paging.pdpte[slot] & PTE_ADDRESS;
	}
	shadow_set_link(mmu, sv->pdpte_page, slot, shadow_get(mmu, sv, gpa, role), 0);
	return shadow_child(mmu, sv->pdpte_page->table[slot]);
}

/* What shadow_page_fault() does with the lock held. */
static enum shadow_verdict handle(struct walk *w, struct shadow_fault *fault)
{
	struct shadow_vcpu *sv = w->sv;
	struct shadow_mmu *mmu = sv->mmu;
	struct shadow_page *root = sv->root_page;
	struct shadow_last *last = shadow_last_of(sv, w->linear);

	if (shadow_last_fits(sv, last, w->linear)) {
		w->in_all = last->in_all;
		w->in_any = last->in_any;
		w->sp = last->page;
		goto walk;
	}
	if (root == sv->pdpte_page) {
		unsigned slot = (unsigned)(w->linear >> 30);

		root = root->table[slot] ? shadow_child(mmu, root->table[slot]) : fill_pdpte(w, slot);
		if (!root)
			return reflect(w, 0, fault);
		if (shadow_is_direct(root)) {
			uint64_t hpa, size;

			w->gpa = w->linear;
			w->sp = root;
			if (shadow_to_hpa(mmu, w->gpa, &hpa, &size))
				return fill_direct(w, root, hpa, size, fault);
			fault->gpa = w->gpa;
			mmu->stats.mmio++;
			return SHADOW_MMIO;
		}
	}
	descend(w, root);
walk:
	for (unsigned i = 0; i < RESTARTS_MAX; i++) {
		uint64_t all = w->in_all, any = w->in_any;
		uint32_t cause = walk_guest(w);

		if (cause != NO_FAULT)
			return reflect(w, cause, fault);
		if (!paging_allows(&sv->paging, &w->access, w->in_all, w->in_any))
			return reflect(w, PF_PRESENT, fault);
		if (set_accessed_dirty(w))
			return fill(w, fault);
		w->in_all = all;
		w->in_any = any;
	}
	return SHADOW_RESOLVED; /* the guest tries again */
}

enum shadow_verdict shadow_page_fault(struct shadow_vcpu *sv, uint64_t linear, uint32_t error, bool ac, struct shadow_fault *fault)
{
	struct walk w;
	enum shadow_verdict verdict;

	w.sv = sv;
	w.role = sv->role;
	w.linear = sv->root_page == sv->pdpte_page ? linear & 0xffffffff : linear;
	w.access.write = error & PF_WRITE;
	w.access.fetch = error & PF_FETCH;
	w.access.user = error & PF_USER;
	w.access.smap_lifts = ac;
	w.wide = (w.role & ROLE_FORMAT) != ROLE_32BIT;
	spin_lock(&sv->mmu->lock);
	shadow_reserve(sv->mmu);
	verdict = handle(&w, fault);
	if (verdict == SHADOW_RESOLVED)
		sv->mmu->stats.resolved++;
	spin_unlock(&sv->mmu->lock);
	return verdict;
}

#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "vmm/shadow/shadow_page.h"

/* What of CR4 the hardware itself heeds, so that a change of it is one for the TLB. */
#define CR4_TLB (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP)

static uint32_t role_of(const struct guest_paging *paging)
{
	uint32_t role;

	if (!(paging->cr0 & CR0_PG))
		return ROLE_DIRECT;
	if (paging->efer & EFER_LMA)
		role = ROLE_LONG;
	else if (paging->cr4 & CR4_PAE)
		role = ROLE_PAE;
	else
		role = ROLE_32BIT | (paging->cr4 & CR4_PSE ? ROLE_PSE : 0);
	if (role != ROLE_32BIT && !(role & ROLE_PSE) && (paging->efer & EFER_NXE))
		role |= ROLE_NXE;
	if (!(paging->cr0 & CR0_WP))
		role |= ROLE_WP0 | (paging->cr4 & CR4_SMEP ? ROLE_SMEP : 0) | (paging->cr4 & CR4_SMAP ? ROLE_SMAP : 0);
	return role;
}

static void set_maxphyaddr(struct shadow_mmu *mmu, unsigned maxphyaddr)
{
	uint64_t high = PTE_ADDRESS & ~(BIT(maxphyaddr) - 1);
	/* Unlike 4-level paging, PAE paging ignores no bit above the address. */
	uint64_t pae = high | (~PTE_ADDRESS & PAGE_MASK & ~PTE_NX);

	mmu->maxphyaddr = maxphyaddr;
	for (unsigned nxe = 0; nxe < 2; nxe++) {
		mmu->reserved[ROLE_LONG >> 5][nxe] = high | (nxe ? 0 : PTE_NX);
		mmu->reserved[ROLE_PAE >> 5][nxe] = pae | (nxe ? 0 : PTE_NX);
	}
}

/* Let the four PDPTEs lead to the tables that exist for the guest's; faults make the others. */
static void link_pdptes(struct shadow_vcpu *sv)
{
	struct shadow_mmu *mmu = sv->mmu;
	uint32_t role = sv->role | 2 | ROLE_W | ROLE_U;

	for (unsigned slot = 0; slot < 4; slot++) {
		struct shadow_page *sp = NULL;

		switch (sv->role & ROLE_FORMAT) {
		case ROLE_DIRECT:
			sp = shadow_find(mmu, slot * GIB(1), role);
			break;
		case ROLE_32BIT:
			sp = shadow_find(mmu, sv->paging.cr3 & 0xfffff000, role | slot << ROLE_QUADRANT_SHIFT);
			break;
		default:
			if (sv->paging.pdpte[slot] & PTE_P)
				sp = shadow_find(mmu, sv->paging.pdpte[slot] & PTE_ADDRESS, role);
		}
		if (!sp) {
			shadow_zap(mmu, sv->pae, slot);
			continue;
		}
		sp->used = true;
		shadow_set_link(mmu, sv->pae, slot, sp, 0);
	}
}

static inline __attribute__((always_inline)) void set_root(struct shadow_vcpu *sv)
{
	struct shadow_mmu *mmu = sv->mmu;
	struct shadow_page *old = sv->page, *root;
	uint64_t frame = sv->paging.cr3 & PTE_ADDRESS;
	uint32_t role = sv->role | 4 | ROLE_W | ROLE_U;

	if ((sv->role & ROLE_FORMAT) == ROLE_LONG) {
		/* Kernels with page-table isolation load two roots in turn. What was a root and is dropped is `live` no longer. */
		root = sv->previous;
		if (!root || root->frame != frame || root->role != role || !root->live)
			root = shadow_find(mmu, frame, role);
		if (root) {
			mmu->stats.cr3_cached++;
		} else {
			shadow_reserve(mmu);
			root = shadow_get(mmu, sv, frame, role);
			mmu->stats.cr3_new++;
		}
		root->used = true;
		root->writes = 0;
		root->pins++;
	} else {
		root = sv->pae;
		link_pdptes(sv);
		sv->last[0].root = sv->last[1].root = NULL;
		mmu->stats.cr3_cached++;
	}
	if (old != sv->pae)
		old->pins--;
	sv->previous = old;
	sv->page = root;
	sv->root = root->table_phys;
}

static bool same_pdptes(const uint64_t a[4], const uint64_t b[4])
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

/* CR3 written, or something else that makes the CPU forget what is not global. Returns what the TLB must forget. */
static inline __attribute__((always_inline)) enum shadow_flush load_root(struct shadow_vcpu *sv, uint64_t cr3, const uint64_t *pdpte)
{
	struct shadow_mmu *mmu = sv->mmu;
	bool same = !((sv->paging.cr3 ^ cr3) & PTE_ADDRESS) && (!pdpte || same_pdptes(sv->paging.pdpte, pdpte));

	sv->paging.cr3 = cr3;
	mmu->epoch++;
	if (mmu->unsynced)
		shadow_sync_all(mmu, sv);
	if (same) {
		mmu->stats.cr3_same++;
		if (sv->flushed_changes == mmu->changes)
			return SHADOW_FLUSH_NONE;
	} else {
		if (pdpte)
			for (unsigned i = 0; i < 4; i++)
				sv->paging.pdpte[i] = pdpte[i];
		set_root(sv);
	}
	sv->flushed_changes = mmu->changes;
	return SHADOW_FLUSH_NONGLOBAL;
}

static __attribute__((noinline)) int load_cr3_pae(struct shadow_vcpu *sv, uint64_t cr3)
{
	enum shadow_flush flush;
	uint64_t pdpte[4];

	if (shadow_read_pdptes(sv->mmu, cr3, sv->paging.maxphyaddr, pdpte))
		return ERR_INVALID;
	spin_lock(&sv->mmu->lock);
	flush = load_root(sv, cr3, pdpte);
	spin_unlock(&sv->mmu->lock);
	return (int)flush;
}

int shadow_load_cr3(struct shadow_vcpu *sv, uint64_t cr3)
{
	enum shadow_flush flush;

	if (__builtin_expect((sv->role & ROLE_FORMAT) == ROLE_PAE, 0))
		return load_cr3_pae(sv, cr3);
	if (__builtin_expect(!(sv->role & ROLE_FORMAT), 0)) {
		sv->paging.cr3 = cr3; /* no paging */
		return SHADOW_FLUSH_NONE;
	}
	spin_lock(&sv->mmu->lock);
	flush = load_root(sv, cr3, NULL);
	spin_unlock(&sv->mmu->lock);
	return (int)flush;
}

void shadow_set_paging(struct shadow_vcpu *sv, const struct guest_paging *paging)
{
	struct shadow_mmu *mmu = sv->mmu;
	uint32_t role = role_of(paging);
	bool pae = (role & ROLE_FORMAT) == ROLE_PAE, all, other;

	spin_lock(&mmu->lock);
	if (paging->maxphyaddr != mmu->maxphyaddr)
		set_maxphyaddr(mmu, paging->maxphyaddr);
	all = role != sv->role || ((paging->cr4 ^ sv->paging.cr4) & CR4_TLB);
	other = role != ROLE_DIRECT && (((paging->cr3 ^ sv->paging.cr3) & PTE_ADDRESS) || (pae && !same_pdptes(paging->pdpte, sv->paging.pdpte)));
	if (all) {
		if (mmu->unsynced)
			shadow_sync_all(mmu, sv);
		sv->paging = *paging;
		sv->role = role;
		set_root(sv);
		shadow_need_flush(sv, SHADOW_FLUSH_ALL);
	} else if (other) {
		shadow_need_flush(sv, load_root(sv, paging->cr3, pae ? paging->pdpte : NULL));
	}
	sv->paging = *paging;
	spin_unlock(&mmu->lock);
}

int shadow_read_pdptes(const struct shadow_mmu *mmu, uint64_t cr3, unsigned maxphyaddr, uint64_t pdpte[4])
{
	/* SDM vol. 3, "PDPTE Registers": bits 2:1, 8:5 and those above the address. */
	const uint64_t reserved = PDPTE_RESERVED_LOW | (~0ULL << maxphyaddr);
	const uint64_t *table = shadow_ram(mmu, cr3 & 0xffffffe0, 32);

	for (unsigned i = 0; i < 4; i++) {
		pdpte[i] = table ? __atomic_load_n(&table[i], __ATOMIC_RELAXED) : 0;
		if ((pdpte[i] & PTE_P) && (pdpte[i] & reserved))
			return ERR_INVALID;
	}
	return 0;
}

void shadow_flush_all(struct shadow_vcpu *sv)
{
	struct shadow_mmu *mmu = sv->mmu;

	spin_lock(&mmu->lock);
	if (mmu->unsynced)
		shadow_sync_all(mmu, sv);
	shadow_need_flush(sv, SHADOW_FLUSH_ALL);
	spin_unlock(&mmu->lock);
}

/* Bring the entry for `linear` in line with the guest's, if it stands in a leaf table that is out of sync. */
static inline void sync_address(struct shadow_vcpu *sv, uint64_t linear)
{
	struct shadow_mmu *mmu = sv->mmu;
	struct shadow_page *sp = sv->page;
	const struct shadow_last *last = shadow_last_of(sv, linear);
	unsigned slot = SLOT_OF(linear, 1);

	if (shadow_last_fits(sv, last, linear)) {
		sp = last->page;
	} else {
		const uint64_t *table = sp->table;
		uint64_t entry;

		for (unsigned shift = LEVEL_SHIFT(sp == sv->pae ? 3 : 4);; shift -= 9) {
			entry = table[linear >> shift & (ENTRIES - 1)];
			if (!entry || (entry & PTE_PS))
				return;
			if (shift == LEVEL_SHIFT(2))
				break;
			table = shadow_table(mmu, entry);
		}
		sp = shadow_child(mmu, entry);
	}
	if (sp->unsynced && sp->table[slot] && shadow_guest_value(sp, slot) != sp->copy[slot])
		(void)shadow_sync_entry(mmu, sp, slot);
}

enum shadow_flush shadow_invlpg(struct shadow_vcpu *sv, uint64_t linear)
{
	struct shadow_mmu *mmu = sv->mmu;
	enum shadow_flush flush = SHADOW_FLUSH_ADDRESS;

	if (sv->page == sv->pae)
		linear &= 0xffffffff;
	else if ((uint64_t)((int64_t)(linear << 16) >> 16) != linear)
		return SHADOW_FLUSH_NONE;
	spin_lock(&mmu->lock);
	mmu->stats.invlpg++;
	sync_address(sv, linear);
	/* One address does not stand for a large page that was mapped in pieces, nor for all the links that the CPU remembers. */
	if (sv->flushed_splits != mmu->splits) {
		sv->flushed_splits = mmu->splits;
		sv->flushed_changes = mmu->changes;
		flush = SHADOW_FLUSH_ALL;
	}
	spin_unlock(&mmu->lock);
	return flush;
}

uint64_t shadow_lookup(const struct shadow_vcpu *sv, uint64_t linear)
{
	const struct shadow_mmu *mmu = sv->mmu;
	const struct shadow_page *sp = sv->page;

	if (sp == sv->pae)
		return ~0ULL;
	for (unsigned level = 4;; level--) {
		uint64_t entry = __atomic_load_n(&sp->table[SLOT_OF(linear, level)], __ATOMIC_RELAXED), mask = LEVEL_SIZE(level) - 1;

		if (!(entry & PTE_P))
			return ~0ULL;
		if (level == 1 || (entry & PTE_PS))
			return (entry & PTE_ADDRESS & ~mask) | (linear & mask);
		/* The page may have become something else meanwhile: a copy of the guest's entries, say. */
		if ((entry & PTE_ADDRESS) - mmu->config.tables_phys >= (uint64_t)mmu->config.table_pages * PAGE_SIZE)
			return ~0ULL;
		sp = shadow_child(mmu, entry);
	}
}

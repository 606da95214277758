/* A vCPU's paging state: its role, its root, and what a load of CR3, a change of mode or INVLPG means for both and for the TLB. */
#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "vmm/memory/paging_rules.h"
#include "vmm/shadow/shadow_page.h"

/* The bits of CR4 that the hardware itself heeds, so that a change of them must reach the TLB. */
#define CR4_TLB (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP)

/* The part of a vCPU's paging state that its shadow tables depend on. */
static uint32_t role_of(const struct guest_paging *paging)
{
	enum paging_format format = paging_format(paging);
	uint32_t role = (uint32_t)format << ROLE_FORMAT_SHIFT;

	if (__builtin_expect(format == PAGING_OFF, 0))
		return ROLE_DIRECT;
	if (__builtin_expect(format == PAGING_32BIT, 0))
		role |= paging->cr4 & CR4_PSE ? ROLE_PSE : 0;
	else
		role |= paging->efer & EFER_NXE ? ROLE_NXE : 0;
	if (!(paging->cr0 & CR0_WP))
		role |= ROLE_WP0 | (paging->cr4 & CR4_SMEP ? ROLE_SMEP : 0) | (paging->cr4 & CR4_SMAP ? ROLE_SMAP : 0);
	return role;
}

/* noinline: it runs once, from a path that runs often */
static __attribute__((noinline)) void set_maxphyaddr(struct shadow_mmu *mmu, unsigned maxphyaddr)
{
	mmu->maxphyaddr = maxphyaddr;
	for (unsigned format = 0; format < ARRAY_SIZE(mmu->reserved); format++)
		for (unsigned nx = 0; nx < 2; nx++)
			mmu->reserved[format][nx] = paging_reserved((enum paging_format)format, maxphyaddr, nx);
}

/* Let the four PDPTEs lead to the shadow tables that exist for the guest's tables; faults make the others. */
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
			shadow_zap(mmu, sv->pdpte_page, slot);
			continue;
		}
		sp->used_since_reclaim = true;
		shadow_set_link(mmu, sv->pdpte_page, slot, sp, 0);
	}
}

/* Let the hardware run on the tables for sv->paging and sv->role. */
static inline __attribute__((always_inline)) void set_root(struct shadow_vcpu *sv)
{
	struct shadow_mmu *mmu = sv->mmu;
	struct shadow_page *old = sv->root_page, *root;
	uint64_t gpa = sv->paging.cr3 & PTE_ADDRESS;
	uint32_t role = sv->role | 4 | ROLE_W | ROLE_U;

	if ((sv->role & ROLE_FORMAT) == ROLE_LONG) {
		/* Kernels with page-table isolation load two roots in turn. A root that was dropped meanwhile is not `live` any more. */
		root = sv->previous_root;
		if (!root || root->gpa != gpa || root->role != role || !root->live)
			root = shadow_find(mmu, gpa, role);
		if (root) {
			mmu->stats.cr3_cached++;
		} else {
			shadow_reserve(mmu);
			root = shadow_get(mmu, sv, gpa, role);
			mmu->stats.cr3_new++;
		}
		root->used_since_reclaim = true;
		root->writes_since_use = 0;
		root->pins++;
	} else {
		root = sv->pdpte_page;
		link_pdptes(sv);
		sv->last[0].root = sv->last[1].root = NULL;
		mmu->stats.cr3_cached++;
	}
	if (old != sv->pdpte_page)
		old->pins--;
	sv->previous_root = old;
	sv->root_page = root;
	sv->root = root->table_phys;
}

static bool same_pdptes(const uint64_t a[4], const uint64_t b[4])
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

/* CR3 was written, or something else makes the CPU forget the translations that are not global. Returns what the TLB must forget. */
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
		if (sv->flushed_entry_changes == mmu->entry_changes)
			return SHADOW_FLUSH_NONE;
	} else {
		if (pdpte)
			for (unsigned i = 0; i < 4; i++)
				sv->paging.pdpte[i] = pdpte[i];
		set_root(sv);
	}
	sv->flushed_entry_changes = mmu->entry_changes;
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
	const uint64_t reserved = paging_pdpte_reserved(maxphyaddr);
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
	struct shadow_page *sp = sv->root_page;
	const struct shadow_last *last = shadow_last_of(sv, linear);
	unsigned slot = page_table_slot(linear, 1);

	if (shadow_last_fits(sv, last, linear)) {
		sp = last->page;
	} else {
		const uint64_t *table = sp->table;
		uint64_t entry;

		for (unsigned shift = page_table_leaf_shift(sp == sv->pdpte_page ? 3 : 4);; shift -= 9) {
			entry = table[linear >> shift & (PAGE_TABLE_ENTRIES - 1)];
			if (!entry || (entry & PTE_PS))
				return;
			if (shift == page_table_leaf_shift(2))
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

	if (sv->root_page == sv->pdpte_page)
		linear &= 0xffffffff;
	else if (!paging_canonical(linear, 48))
		return SHADOW_FLUSH_NONE;
	spin_lock(&mmu->lock);
	mmu->stats.invlpg++;
	sync_address(sv, linear);
	/* Forgetting one address is not enough for a large page that was mapped in pieces, nor for the links that the CPU remembers. */
	if (sv->flushed_upper_changes != mmu->upper_changes) {
		sv->flushed_upper_changes = mmu->upper_changes;
		sv->flushed_entry_changes = mmu->entry_changes;
		flush = SHADOW_FLUSH_ALL;
	}
	spin_unlock(&mmu->lock);
	return flush;
}

uint64_t shadow_lookup(const struct shadow_vcpu *sv, uint64_t linear)
{
	const struct shadow_mmu *mmu = sv->mmu;
	const struct shadow_page *sp = sv->root_page;

	if (sp == sv->pdpte_page)
		return ~0ULL;
	for (unsigned level = 4;; level--) {
		uint64_t entry = __atomic_load_n(&sp->table[page_table_slot(linear, level)], __ATOMIC_RELAXED), mask = page_table_leaf_size(level) - 1;

		if (!(entry & PTE_P))
			return ~0ULL;
		if (level == 1 || (entry & PTE_PS))
			return (entry & PTE_ADDRESS & ~mask) | (linear & mask);
		/* The table's page may have got another use meanwhile, as a copy of the guest's entries, say. */
		if ((entry & PTE_ADDRESS) - mmu->config.tables_phys >= (uint64_t)mmu->config.table_pages * PAGE_SIZE)
			return ~0ULL;
		sp = shadow_child(mmu, entry);
	}
}

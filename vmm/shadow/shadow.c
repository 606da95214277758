/* The shadow MMU's beginning: how its memory is divided, and the state in which it starts and to which a reset brings it back. */
#include "lib/x86/paging.h"
#include "vmm/shadow/shadow_page.h"

#include "lib/string.h"

/* How the book-keeping memory is divided. */
struct layout {
	uint64_t hash, frames, tables_in_block, size; /* offsets in bytes; the array of pages comes first */
	uint32_t first[GUEST_REGIONS_MAX][3];
	uint32_t first_block;
	unsigned hash_bits;
};

static bool plan(struct layout *layout, const struct guest_memory *mem, unsigned table_pages)
{
	uint64_t count = 0;

	layout->first_block = 0;
	for (unsigned level = 1; level <= 3; level++) {
		for (unsigned i = 0; i < mem->count; i++) {
			const struct guest_region *region = &mem->region[i];

			layout->first[i][level - 1] = (uint32_t)count;
			count += ((region->gpa + region->size - 1) >> page_table_leaf_shift(level)) - (region->gpa >> page_table_leaf_shift(level)) + 1;
		}
		if (level == 1)
			layout->first_block = (uint32_t)count;
	}
	if (count >= LINK_HEAD)
		return false;
	layout->hash_bits = 6;
	while (1U << layout->hash_bits < table_pages / 2)
		layout->hash_bits++;
	layout->hash = (uint64_t)table_pages * sizeof(struct shadow_page);
	layout->frames = layout->hash + (sizeof(uint32_t) << layout->hash_bits);
	layout->tables_in_block = layout->frames + count * sizeof(uint32_t);
	layout->size = layout->tables_in_block + (count - layout->first_block) * sizeof(uint32_t);
	return true;
}

uint64_t shadow_meta_size(const struct guest_memory *mem, unsigned table_pages, unsigned vcpus)
{
	struct layout layout;

	(void)vcpus;
	return plan(&layout, mem, table_pages) ? layout.size : 0;
}

/* All pages of tables are free but for the first ones, the vCPUs' PDPTEs. */
static void free_all(struct shadow_mmu *mmu)
{
	unsigned vcpus = mmu->config.vcpus, pages = mmu->config.table_pages;
	uint8_t *tables = mmu->config.tables;

	for (unsigned i = 0; i < pages; i++) {
		mmu->pages[i] = (struct shadow_page){
			.table = (uint64_t *)(tables + (uint64_t)i * PAGE_SIZE),
			.table_phys = mmu->config.tables_phys + (uint64_t)i * PAGE_SIZE,
			.next = i + 1,
		};
	}
	for (unsigned i = 0; i < vcpus; i++) {
		struct shadow_page *sp = &mmu->pages[i];

		memset(sp->table, 0, PAGE_SIZE);
		sp->role = 3;
		/* The CPU reads four entries of the page and no more: their links are behind them. */
		sp->links = (struct shadow_link *)(sp->table + 64);
	}
	mmu->free_pages = vcpus;
	mmu->free_count = pages - vcpus;
	mmu->reclaim_next = 0;
	mmu->unsynced = 0;
	mmu->unsynced_count = 0;
}

int shadow_init(struct shadow_mmu *mmu, const struct shadow_config *config)
{
	struct layout layout;
	uint8_t *meta = config->meta;
	uint64_t end = config->tables_phys + (uint64_t)config->table_pages * PAGE_SIZE;

	if (!config->vcpus || config->vcpus > SHADOW_VCPUS_MAX || config->table_pages > SHADOW_PAGES_MAX ||
	    config->table_pages < SHADOW_PAGES_MIN + 3 * config->vcpus || ((uintptr_t)config->tables & ~PAGE_MASK) ||
	    (config->tables_phys & ~PTE_ADDRESS) || end < config->tables_phys || !plan(&layout, config->mem, config->table_pages) ||
	    config->meta_size < layout.size || ((uintptr_t)meta & 63))
		return ERR_INVALID;
	if (config->tables_phys + (uint64_t)config->vcpus * PAGE_SIZE > GIB(4))
		return ERR_RANGE;
	memset(mmu, 0, sizeof(*mmu));
	mmu->config = *config;
	mmu->pages = (struct shadow_page *)meta;
	mmu->hash = (uint32_t *)(meta + layout.hash);
	mmu->hash_shift = 64 - layout.hash_bits;
	mmu->frames = (uint32_t *)(meta + layout.frames);
	mmu->tables_in_block = (uint32_t *)(meta + layout.tables_in_block);
	mmu->first_block = layout.first_block;
	mmu->region_count = config->mem->count;
	for (unsigned i = 0; i < mmu->region_count; i++) {
		mmu->region[i].gpa = config->mem->region[i].gpa;
		mmu->region[i].size = config->mem->region[i].size;
		mmu->region[i].base = config->mem->region[i].base;
		for (unsigned n = 0; n < 3; n++)
			mmu->region[i].first[n] = layout.first[i][n];
	}
	free_all(mmu);
	return 0;
}

/* As after power-up: no paging. */
static void start(struct shadow_vcpu *sv)
{
	sv->role = ROLE_DIRECT;
	sv->paging = (struct guest_paging){ .maxphyaddr = sv->mmu->maxphyaddr };
	sv->root_page = sv->pdpte_page;
	sv->last[0].root = sv->last[1].root = NULL;
	sv->previous_root = NULL;
	sv->root = sv->pdpte_page->table_phys;
	shadow_need_flush(sv, SHADOW_FLUSH_ALL);
}

int shadow_vcpu_init(struct shadow_vcpu *sv, struct shadow_mmu *mmu, unsigned index)
{
	if (index >= mmu->config.vcpus || mmu->vcpu[index])
		return ERR_INVALID;
	*sv = (struct shadow_vcpu){ .mmu = mmu, .index = index, .pdpte_page = &mmu->pages[index] };
	spin_lock(&mmu->lock);
	mmu->vcpu[index] = sv;
	start(sv);
	spin_unlock(&mmu->lock);
	return 0;
}

void shadow_reset(struct shadow_mmu *mmu)
{
	const struct guest_memory *mem = mmu->config.mem;
	struct layout layout;
	uint64_t used;

	spin_lock(&mmu->lock);
	plan(&layout, mem, mmu->config.table_pages);
	used = layout.size - layout.hash;
	memset(mmu->hash, 0, used);
	free_all(mmu);
	mmu->writable_unflushed = false;
	mmu->retired = false;
	mmu->entry_changes++;
	mmu->upper_changes++;
	for (unsigned i = 0; i < mmu->config.vcpus; i++)
		if (mmu->vcpu[i])
			start(mmu->vcpu[i]);
	spin_unlock(&mmu->lock);
}

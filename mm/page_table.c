/* Mapping, unmapping, splitting and walking of page tables of any format. A change runs twice: first to check it and to allocate every table
 * that it needs, then in earnest, when nothing can fail. */
#include "mm/page_table.h"

#include "lib/log.h"
#include "lib/x86/paging.h"

#define ADDRESS_BITS 48

static bool slot_bit(const uint64_t *bits, unsigned slot)
{
	return bits[slot / 64] & BIT(slot % 64);
}

static void set_slot_bit(uint64_t *bits, unsigned slot)
{
	bits[slot / 64] |= BIT(slot % 64);
}

/* Other CPUs may be walking the table: each entry changes in one store. */
static void set_entry(uint64_t *entry, uint64_t value)
{
	__atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

static uint64_t *table_at(const struct page_table *pt, uint64_t phys)
{
	uint64_t *table = pt->virt(pt->ctx, phys);

	if (!table)
		panic("%s page table: no table at 0x%lx", pt->policy->name, (unsigned long)phys);
	return table;
}

/* Chains of tables run through entry 0: a page's address has its low 12 bits clear, so no CPU that still walks a retired table through
 * its caches takes the link for a present entry. */
static void push(const struct page_table *pt, uint64_t *chain, uint64_t phys)
{
	set_entry(table_at(pt, phys), *chain);
	*chain = phys;
}

static uint64_t *pop(const struct page_table *pt, uint64_t *chain, uint64_t *phys)
{
	uint64_t *table;

	if (!*chain)
		return NULL;
	*phys = *chain;
	table = table_at(pt, *phys);
	*chain = table[0];
	table[0] = 0;
	return table;
}

static void free_chain(struct page_table *pt, uint64_t *chain)
{
	uint64_t *table, phys;

	while ((table = pop(pt, chain, &phys)))
		pt->free(pt->ctx, table, phys);
}

static int add_spare(struct page_table *pt)
{
	uint64_t phys;

	if (!pt->alloc(pt->ctx, &phys))
		return ERR_NOMEM;
	push(pt, &pt->spare, phys);
	return 0;
}

static uint64_t *take_spare(struct page_table *pt, uint64_t *phys)
{
	uint64_t *table = pop(pt, &pt->spare, phys);

	if (!table)
		panic("%s page table: planned too few tables", pt->policy->name);
	pt->table_count++;
	return table;
}

int page_table_init(struct page_table *pt, const struct page_table_policy *policy, unsigned max_leaf_level, void *ctx,
		    void *(*alloc)(void *ctx, uint64_t *phys), void (*free)(void *ctx, void *virt, uint64_t phys),
		    void *(*virt)(void *ctx, uint64_t phys))
{
	if (max_leaf_level < PT_LEVEL_4K || max_leaf_level > PT_LEVEL_1G)
		return ERR_INVALID;
	*pt = (struct page_table){
		.policy = policy,
		.max_leaf_level = MIN(max_leaf_level, policy->max_leaf_level),
		.pa_limit = PHYS_LIMIT,
		.ctx = ctx,
		.alloc = alloc,
		.free = free,
		.virt = virt,
		.table_count = 1,
	};
	return alloc(ctx, &pt->root) ? 0 : ERR_NOMEM;
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the table has levels */
static void destroy_table(struct page_table *pt, uint64_t phys, unsigned level)
{
	uint64_t *table = table_at(pt, phys);

	for (unsigned slot = 0; level > PT_LEVEL_4K && slot < PAGE_TABLE_ENTRIES; slot++) {
		if (level == PT_LEVEL_TOP && slot_bit(pt->shared, slot))
			continue;
		if (pt->policy->present(table[slot]) && !pt->policy->is_leaf(table[slot], level))
			destroy_table(pt, pt->policy->table_pa(table[slot]), level - 1);
	}
	pt->free(pt->ctx, table, phys);
}

void page_table_destroy(struct page_table *pt)
{
	page_table_release(pt);
	destroy_table(pt, pt->root, PT_LEVEL_TOP);
	pt->root = 0;
	pt->table_count = 0;
	for (unsigned level = 0; level < ARRAY_SIZE(pt->leaf_count); level++)
		pt->leaf_count[level] = 0;
}

static bool address_ok(const struct page_table *pt, uint64_t va)
{
	if (pt->policy->canonical)
		return (va >> (ADDRESS_BITS - 1)) == 0 || (va >> (ADDRESS_BITS - 1)) == BIT(64 - ADDRESS_BITS + 1) - 1;
	return va < BIT(ADDRESS_BITS);
}

/* Whether the engine may change [va, va+size). */
static int check_range(const struct page_table *pt, uint64_t va, uint64_t size)
{
	uint64_t last = va + size - 1;

	if (!size || ((va | size) & ~PAGE_MASK))
		return ERR_INVALID;
	/* Both ends in the same half, or the hole between the halves would lie inside. */
	if (last < va || !address_ok(pt, va) || !address_ok(pt, last) || (va >> 63) != (last >> 63))
		return ERR_RANGE;
	for (unsigned slot = page_table_slot(va, PT_LEVEL_TOP); slot <= page_table_slot(last, PT_LEVEL_TOP); slot++)
		if (slot_bit(pt->shared, slot))
			return ERR_INVALID;
	return 0;
}

static bool attrs_ok(const struct page_table *pt, uint32_t attrs)
{
	if ((attrs & ~pt->policy->attrs_allowed) || (attrs & (PT_UC | PT_WC)) == (PT_UC | PT_WC))
		return false;
	if (attrs & PT_READ)
		return true;
	return pt->policy->exec_only && (attrs & PT_EXEC) && !(attrs & PT_WRITE);
}

/* Map [va, last] below `table`. It runs twice: first to see that nothing is in the way and to allocate every table that will be needed,
 * with `table` NULL inside tables that do not exist yet; then, with `commit`, in earnest, when nothing can fail any more. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as the table has levels */
static int map_range(struct page_table *pt, uint64_t *table, unsigned level, uint64_t va, uint64_t last, uint64_t pa, uint32_t attrs,
		     bool commit)
{
	const struct page_table_policy *policy = pt->policy;
	uint64_t span = page_table_leaf_size(level);

	for (;;) {
		uint64_t end = MIN(va | (span - 1), last), phys;
		uint64_t *entry = table ? &table[page_table_slot(va, level)] : NULL;
		int err = 0;

		if (entry && policy->present(*entry)) {
			if (policy->is_leaf(*entry, level))
				return ERR_BUSY;
			err = map_range(pt, table_at(pt, policy->table_pa(*entry)), level - 1, va, end, pa, attrs, commit);
		} else if (level <= pt->max_leaf_level && end - va == span - 1 && !(pa & (span - 1))) {
			if (commit) {
				set_entry(entry, policy->leaf(pa, level, attrs));
				pt->leaf_count[level]++;
			}
		} else if (commit) {
			map_range(pt, take_spare(pt, &phys), level - 1, va, end, pa, attrs, true);
			set_entry(entry, policy->table(phys));
		} else {
			err = add_spare(pt);
			if (!err)
				err = map_range(pt, NULL, level - 1, va, end, pa, attrs, false);
		}
		if (err || end == last)
			return err;
		pa += end + 1 - va;
		va = end + 1;
	}
}

int page_table_map(struct page_table *pt, uint64_t va, uint64_t pa, uint64_t size, uint32_t attrs)
{
	int err = check_range(pt, va, size);

	if (err)
		return err;
	if ((pa & ~PAGE_MASK) || !attrs_ok(pt, attrs))
		return ERR_INVALID;
	if (pa + size < pa || pa + size > pt->pa_limit)
		return ERR_RANGE;
	err = map_range(pt, table_at(pt, pt->root), PT_LEVEL_TOP, va, va + size - 1, pa, attrs, false);
	if (!err)
		map_range(pt, table_at(pt, pt->root), PT_LEVEL_TOP, va, va + size - 1, pa, attrs, true);
	free_chain(pt, &pt->spare);
	return err;
}

static bool table_empty(const struct page_table *pt, const uint64_t *table)
{
	for (unsigned slot = 0; slot < PAGE_TABLE_ENTRIES; slot++)
		if (pt->policy->present(table[slot]))
			return false;
	return true;
}

/* Replace a leaf by a table of leaves one level down that map the same. */
static void split_leaf(struct page_table *pt, uint64_t *entry, unsigned level)
{
	const struct page_table_policy *policy = pt->policy;
	uint64_t phys, pa = policy->leaf_pa(*entry, level);
	uint32_t attrs = policy->attrs(*entry, level);
	uint64_t *table = take_spare(pt, &phys);

	for (unsigned slot = 0; slot < PAGE_TABLE_ENTRIES; slot++)
		table[slot] = policy->leaf(pa + slot * page_table_leaf_size(level - 1), level - 1, attrs);
	set_entry(entry, policy->table(phys));
	pt->leaf_count[level]--;
	pt->leaf_count[level - 1] += PAGE_TABLE_ENTRIES;
}

/* What to do with the leaves of a range: remove them, or give them attributes. */
struct edit {
	bool unmap;
	uint32_t attrs;
	bool commit;
};

static int edit_range(struct page_table *pt, const struct edit *edit, uint64_t *table, unsigned level, uint64_t va, uint64_t last);

/* The part [va, last] of a leaf that lies below `entry`; NULL stands for a leaf in a table that a split will make. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as the table has levels */
static int edit_leaf(struct page_table *pt, const struct edit *edit, uint64_t *entry, unsigned level, uint64_t va, uint64_t last)
{
	const struct page_table_policy *policy = pt->policy;

	if (last - va != page_table_leaf_size(level) - 1) {
		if (!edit->commit || !entry)
			return add_spare(pt) ? ERR_NOMEM : edit_range(pt, edit, NULL, level - 1, va, last);
		split_leaf(pt, entry, level);
		return edit_range(pt, edit, table_at(pt, policy->table_pa(*entry)), level - 1, va, last);
	}
	if (!edit->commit || !entry)
		return 0;
	if (edit->unmap) {
		set_entry(entry, 0);
		pt->leaf_count[level]--;
	} else {
		set_entry(entry, policy->leaf(policy->leaf_pa(*entry, level), level, edit->attrs));
	}
	return 0;
}

/* Edit [va, last] below `table`; like map_range it runs twice, and NULL is a table full of leaves that a split will make. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as the table has levels */
static int edit_range(struct page_table *pt, const struct edit *edit, uint64_t *table, unsigned level, uint64_t va, uint64_t last)
{
	const struct page_table_policy *policy = pt->policy;
	uint64_t span = page_table_leaf_size(level);

	for (;;) {
		uint64_t end = MIN(va | (span - 1), last), phys;
		uint64_t *entry = table ? &table[page_table_slot(va, level)] : NULL;
		int err = 0;

		if (!entry || (policy->present(*entry) && policy->is_leaf(*entry, level))) {
			err = edit_leaf(pt, edit, entry, level, va, end);
		} else if (policy->present(*entry)) {
			phys = policy->table_pa(*entry);
			err = edit_range(pt, edit, table_at(pt, phys), level - 1, va, end);
		} else if (!edit->unmap) {
			err = ERR_NOENT;
		}
		if (err)
			return err;
		/* A split by this very call may have left a table that is empty again, too: look at the entry anew. */
		if (entry && edit->commit && edit->unmap && policy->present(*entry) && !policy->is_leaf(*entry, level) &&
		    !(level == PT_LEVEL_TOP && slot_bit(pt->pinned, page_table_slot(va, level)))) {
			phys = policy->table_pa(*entry);
			if (table_empty(pt, table_at(pt, phys))) {
				set_entry(entry, 0);
				push(pt, &pt->retired, phys);
				pt->table_count--;
			}
		}
		if (end == last)
			return 0;
		va = end + 1;
	}
}

static int edit_table(struct page_table *pt, struct edit edit, uint64_t va, uint64_t size)
{
	uint64_t *root = table_at(pt, pt->root);
	int err = edit_range(pt, &edit, root, PT_LEVEL_TOP, va, va + size - 1);

	if (!err) {
		edit.commit = true;
		edit_range(pt, &edit, root, PT_LEVEL_TOP, va, va + size - 1);
	}
	free_chain(pt, &pt->spare);
	return err;
}

int page_table_unmap(struct page_table *pt, uint64_t va, uint64_t size)
{
	int err = check_range(pt, va, size);

	return err ? err : edit_table(pt, (struct edit){ .unmap = true }, va, size);
}

int page_table_protect(struct page_table *pt, uint64_t va, uint64_t size, uint32_t attrs)
{
	int err = check_range(pt, va, size);

	if (err)
		return err;
	return attrs_ok(pt, attrs) ? edit_table(pt, (struct edit){ .attrs = attrs }, va, size) : ERR_INVALID;
}

int page_table_lookup(const struct page_table *pt, uint64_t va, uint64_t *pa, uint32_t *attrs, unsigned *level)
{
	const struct page_table_policy *policy = pt->policy;
	uint64_t phys = pt->root;

	if (!address_ok(pt, va))
		return ERR_RANGE;
	for (unsigned at = PT_LEVEL_TOP; at >= PT_LEVEL_4K; at--) {
		uint64_t entry = __atomic_load_n(&table_at(pt, phys)[page_table_slot(va, at)], __ATOMIC_ACQUIRE);

		if (!policy->present(entry))
			return ERR_NOENT;
		if (!policy->is_leaf(entry, at)) {
			phys = policy->table_pa(entry);
			continue;
		}
		if (pa)
			*pa = policy->leaf_pa(entry, at) + (va & (page_table_leaf_size(at) - 1));
		if (attrs)
			*attrs = policy->attrs(entry, at);
		if (level)
			*level = at;
		return 0;
	}
	return ERR_NOENT;
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the table has levels */
static void walk_table(const struct page_table *pt, const uint64_t *table, unsigned level, uint64_t va,
		       void (*each)(void *ctx, const struct page_table_leaf *leaf), void *ctx)
{
	const struct page_table_policy *policy = pt->policy;

	for (unsigned slot = 0; slot < PAGE_TABLE_ENTRIES; slot++) {
		uint64_t entry = table[slot], at = va + slot * page_table_leaf_size(level);

		if (policy->canonical && (at & BIT(ADDRESS_BITS - 1)))
			at |= ~(BIT(ADDRESS_BITS) - 1);
		if (!policy->present(entry))
			continue;
		if (policy->is_leaf(entry, level)) {
			struct page_table_leaf leaf = {
				.va = at,
				.pa = policy->leaf_pa(entry, level),
				.size = page_table_leaf_size(level),
				.attrs = policy->attrs(entry, level),
				.level = level,
			};

			each(ctx, &leaf);
		} else {
			walk_table(pt, table_at(pt, policy->table_pa(entry)), level - 1, at, each, ctx);
		}
	}
}

void page_table_walk(const struct page_table *pt, void (*each)(void *ctx, const struct page_table_leaf *leaf), void *ctx)
{
	walk_table(pt, table_at(pt, pt->root), PT_LEVEL_TOP, 0, each, ctx);
}

int page_table_share_top(struct page_table *dst, struct page_table *src, unsigned first_slot, unsigned last_slot)
{
	uint64_t *to = table_at(dst, dst->root), *from = table_at(src, src->root);

	if (dst == src || dst->policy != src->policy || first_slot > last_slot || last_slot >= PAGE_TABLE_ENTRIES)
		return ERR_INVALID;
	for (unsigned slot = first_slot; slot <= last_slot; slot++)
		if (dst->policy->present(to[slot]))
			return ERR_BUSY;
	for (unsigned slot = first_slot; slot <= last_slot; slot++) {
		if (!src->policy->present(from[slot]))
			continue;
		set_slot_bit(src->pinned, slot);
		set_slot_bit(dst->shared, slot);
		set_entry(&to[slot], from[slot]);
	}
	return 0;
}

int page_table_reserve_top(struct page_table *pt, unsigned first_slot, unsigned last_slot)
{
	uint64_t *root = table_at(pt, pt->root), phys;

	if (first_slot > last_slot || last_slot >= PAGE_TABLE_ENTRIES)
		return ERR_INVALID;
	for (unsigned slot = first_slot; slot <= last_slot; slot++) {
		if (!pt->policy->present(root[slot])) {
			if (!pt->alloc(pt->ctx, &phys))
				return ERR_NOMEM;
			pt->table_count++;
			set_entry(&root[slot], pt->policy->table(phys));
		}
		set_slot_bit(pt->pinned, slot);
	}
	return 0;
}

void page_table_release(struct page_table *pt)
{
	free_chain(pt, &pt->retired);
}

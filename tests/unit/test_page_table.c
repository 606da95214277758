/* SOURCES: mm/page_table.c mm/policy_host.c mm/policy_ept.c mm/policy_npt.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "mm/page_table.h"
#include "tests/unit/fakes.h"

/* Memory for tables: page n of the table below is "physical" BASE + n pages. */
#define TABLES_MAX 8192
#define BASE 0x7000000000ULL

static uint64_t *page[TABLES_MAX];
static unsigned pages_live, next_page;
static long allocs_left = -1; /* -1: no limit */

static void *table_alloc(void *ctx, uint64_t *phys)
{
	assert_ptr_equal(ctx, page);
	if (!allocs_left)
		return NULL;
	if (allocs_left > 0)
		allocs_left--;
	for (unsigned i = 0; i < TABLES_MAX; i++) {
		unsigned n = next_page++ % TABLES_MAX;

		if (page[n])
			continue;
		page[n] = calloc(1, 4096);
		pages_live++;
		*phys = BASE + n * 4096ULL;
		return page[n];
	}
	return NULL;
}

static void *table_virt(void *ctx, uint64_t phys)
{
	assert_ptr_equal(ctx, page);
	assert_true(phys >= BASE && phys < BASE + TABLES_MAX * 4096ULL && phys % 4096 == 0);
	assert_non_null(page[(phys - BASE) / 4096]);
	return page[(phys - BASE) / 4096];
}

static void table_free(void *ctx, void *virt, uint64_t phys)
{
	assert_ptr_equal(table_virt(ctx, phys), virt);
	page[(phys - BASE) / 4096] = NULL;
	pages_live--;
	free(virt);
}

static struct page_table pt;

static void start(const struct page_table_policy *policy, unsigned max_leaf)
{
	fake_reset();
	allocs_left = -1;
	assert_int_equal(page_table_init(&pt, policy, max_leaf, page, table_alloc, table_free, table_virt), 0);
}

static void finish(void)
{
	allocs_left = -1;
	page_table_destroy(&pt);
	assert_int_equal(pages_live, 0);
	assert_int_equal(pt.root, 0);
}

static uint64_t entry_of(uint64_t va)
{
	uint64_t phys = pt.root;

	for (unsigned level = PT_LEVEL_TOP;; level--) {
		uint64_t entry = ((uint64_t *)table_virt(page, phys))[va >> (12 + 9 * (level - 1)) & 511];

		if (!pt.policy->present(entry) || pt.policy->is_leaf(entry, level))
			return entry;
		phys = pt.policy->table_pa(entry);
	}
}

/* ---- Formats, from the manual ---- */

static void test_host_entries(void **state)
{
	(void)state;
	start(&policy_host, PT_LEVEL_1G);
	assert_int_equal(page_table_map(&pt, 0x1000, 0x5000, 4096, PT_READ), 0);
	assert_int_equal(entry_of(0x1000), 0x8000000000005021);
	assert_int_equal(page_table_map(&pt, 0x2000, 0x6000, 4096, PT_READ | PT_WRITE | PT_GLOBAL), 0);
	assert_int_equal(entry_of(0x2000), 0x8000000000006163);
	assert_int_equal(page_table_map(&pt, 0x3000, 0x7000, 4096, PT_READ | PT_EXEC), 0);
	assert_int_equal(entry_of(0x3000), 0x7021);
	assert_int_equal(page_table_map(&pt, 0x4000, 0xfee00000, 4096, PT_READ | PT_WRITE | PT_UC), 0);
	assert_int_equal(entry_of(0x4000), 0x80000000fee0007b);
	assert_int_equal(page_table_map(&pt, 0x5000, 0xe0000000, 4096, PT_READ | PT_WRITE | PT_WC), 0);
	assert_int_equal(entry_of(0x5000), 0x80000000e00000e3);
	assert_int_equal(page_table_map(&pt, MIB(2), MIB(4), MIB(2), PT_READ | PT_WRITE | PT_WC), 0);
	assert_int_equal(entry_of(MIB(2)), 0x80000000004010e3);
	assert_int_equal(page_table_map(&pt, GIB(1), GIB(3), GIB(1), PT_READ | PT_EXEC), 0);
	assert_int_equal(entry_of(GIB(1)), 0xc00000a1);
	assert_int_equal(((uint64_t *)table_virt(page, pt.root))[0] & 0xfff, 0x23);
	assert_int_equal(page_table_map(&pt, 0x8000, 0x8000, 4096, PT_WRITE), ERR_INVALID);
	assert_int_equal(page_table_map(&pt, 0x8000, 0x8000, 4096, PT_EXEC), ERR_INVALID); /* needs READ in this format */
	finish();
}

static void test_ept_entries(void **state)
{
	(void)state;
	start(&policy_ept, PT_LEVEL_1G);
	assert_int_equal(page_table_map(&pt, 0x1000, 0x5000, 4096, PT_READ | PT_WRITE | PT_EXEC), 0);
	assert_int_equal(entry_of(0x1000), 0x5037);
	assert_int_equal(page_table_map(&pt, 0x2000, 0xfee00000, 4096, PT_READ | PT_WRITE | PT_UC), 0);
	assert_int_equal(entry_of(0x2000), 0xfee00003);
	assert_int_equal(page_table_map(&pt, MIB(2), MIB(8), MIB(2), PT_READ | PT_WC), 0);
	assert_int_equal(entry_of(MIB(2)), 0x800089);
	assert_int_equal(page_table_map(&pt, GIB(1), GIB(1), GIB(1), PT_READ | PT_WRITE | PT_EXEC), 0);
	assert_int_equal(entry_of(GIB(1)), 0x400000b7);
	assert_int_equal(page_table_map(&pt, 0x3000, 0x3000, 4096, PT_EXEC), 0);
	assert_int_equal(entry_of(0x3000), 0x3034);
	assert_int_equal(((uint64_t *)table_virt(page, pt.root))[0] & 0xfff, 7);
	assert_int_equal(page_table_map(&pt, 0x8000, 0x8000, 4096, PT_WRITE), ERR_INVALID);
	assert_int_equal(page_table_map(&pt, 0x8000, 0x8000, 4096, PT_WRITE | PT_EXEC), ERR_INVALID);
	assert_int_equal(page_table_map(&pt, 0x8000, 0x8000, 4096, PT_READ | PT_GLOBAL), ERR_INVALID);
	finish();
}

static void test_npt_entries(void **state)
{
	(void)state;
	start(&policy_npt, PT_LEVEL_1G);
	/* The user bit everywhere, and neither accessed nor dirty: those are the CPU's. */
	assert_int_equal(page_table_map(&pt, 0x1000, 0x5000, 4096, PT_READ | PT_WRITE | PT_EXEC), 0);
	assert_int_equal(entry_of(0x1000), 0x5007);
	assert_int_equal(page_table_map(&pt, 0x2000, 0xfee00000, 4096, PT_READ | PT_WRITE | PT_UC), 0);
	assert_int_equal(entry_of(0x2000), 0x80000000fee0001f);
	assert_int_equal(page_table_map(&pt, 0x3000, 0x6000, 4096, PT_READ | PT_EXEC | PT_WC), 0);
	assert_int_equal(entry_of(0x3000), 0x6085);
	assert_int_equal(page_table_map(&pt, MIB(2), MIB(8), MIB(2), PT_READ | PT_WC), 0);
	assert_int_equal(entry_of(MIB(2)), 0x8000000000801085);
	assert_int_equal(page_table_map(&pt, GIB(1), GIB(1), GIB(1), PT_READ | PT_WRITE | PT_EXEC), 0);
	assert_int_equal(entry_of(GIB(1)), 0x40000087);
	assert_int_equal(((uint64_t *)table_virt(page, pt.root))[0] & 0xfff, 7);
	assert_int_equal(page_table_map(&pt, 0x8000, 0x8000, 4096, PT_EXEC), ERR_INVALID); /* needs READ in this format */
	assert_int_equal(page_table_map(&pt, 0x8000, 0x8000, 4096, PT_READ | PT_GLOBAL), ERR_INVALID);
	assert_int_equal(page_table_map(&pt, 1ULL << 48, 0x8000, 4096, PT_READ), ERR_RANGE);
	finish();
}

/* ---- Limits ---- */

static void test_arguments(void **state)
{
	struct page_table other;

	(void)state;
	start(&policy_host, PT_LEVEL_1G);
	assert_int_equal(page_table_map(&pt, 0x1001, 0, 4096, PT_READ), ERR_INVALID);
	assert_int_equal(page_table_map(&pt, 0x1000, 1, 4096, PT_READ), ERR_INVALID);
	assert_int_equal(page_table_map(&pt, 0x1000, 0, 4095, PT_READ), ERR_INVALID);
	assert_int_equal(page_table_map(&pt, 0x1000, 0, 0, PT_READ), ERR_INVALID);
	assert_int_equal(page_table_map(&pt, 0x1000, 0, 4096, 0), ERR_INVALID);
	assert_int_equal(page_table_map(&pt, 0x1000, 0, 4096, PT_READ | PT_UC | PT_WC), ERR_INVALID);
	assert_int_equal(page_table_map(&pt, 0x1000, 0, 4096, PT_READ | 0x1000), ERR_INVALID);
	assert_int_equal(page_table_map(&pt, 0x800000000000, 0, 4096, PT_READ), ERR_RANGE);
	assert_int_equal(page_table_map(&pt, 0x7ffffffff000, 0, 8192, PT_READ), ERR_RANGE);
	assert_int_equal(page_table_map(&pt, 0xffff7ffffffff000, 0, 8192, PT_READ), ERR_RANGE);
	assert_int_equal(page_table_map(&pt, 0x7ffffffff000, 0, 0xffff000000002000, PT_READ), ERR_RANGE); /* both ends good, the hole inside */
	assert_int_equal(page_table_map(&pt, 0xfffffffffffff000, 0, 8192, PT_READ), ERR_RANGE);
	assert_int_equal(page_table_map(&pt, 0x1000, 0xffffffffff000, 8192, PT_READ), ERR_RANGE);
	assert_int_equal(page_table_map(&pt, 0x1000, 0xfffffffffffff000, 8192, PT_READ), ERR_RANGE);
	pt.pa_limit = 1ULL << 39;
	assert_int_equal(page_table_map(&pt, 0x1000, (1ULL << 39) - 4096, 8192, PT_READ), ERR_RANGE);
	assert_int_equal(page_table_map(&pt, 0x1000, (1ULL << 39) - 8192, 8192, PT_READ), 0);
	assert_int_equal(page_table_map(&pt, 0xfffffffffffff000, 0, 4096, PT_READ), 0); /* the very last page */
	assert_int_equal(page_table_lookup(&pt, UINT64_MAX, NULL, NULL, NULL), 0);
	assert_int_equal(page_table_lookup(&pt, 0x800000000000, NULL, NULL, NULL), ERR_RANGE);
	assert_int_equal(page_table_lookup(&pt, 0x3000, NULL, NULL, NULL), ERR_NOENT);
	assert_int_equal(page_table_unmap(&pt, 0x800000000000, 4096), ERR_RANGE);
	assert_int_equal(page_table_unmap(&pt, 0x7ffffffff000, 0xffff000000002000), ERR_RANGE);
	assert_int_equal(page_table_protect(&pt, 0x1000, 4096, PT_READ | PT_UC | PT_WC), ERR_INVALID);
	assert_int_equal(page_table_protect(&pt, 0x2000, 8192, PT_READ), ERR_NOENT);
	finish();
	start(&policy_ept, PT_LEVEL_1G);
	assert_int_equal(page_table_map(&pt, 0xffff800000000000, 0, 4096, PT_READ), ERR_RANGE);
	assert_int_equal(page_table_map(&pt, 0xfffffffff000, 0, 8192, PT_READ), ERR_RANGE);
	assert_int_equal(page_table_map(&pt, 0xfffffffff000, 0, 4096, PT_READ), 0);
	assert_int_equal(page_table_lookup(&pt, 1ULL << 48, NULL, NULL, NULL), ERR_RANGE);
	finish();
	assert_int_equal(page_table_init(&other, &policy_ept, 0, page, table_alloc, table_free, table_virt), ERR_INVALID);
	assert_int_equal(page_table_init(&other, &policy_ept, 4, page, table_alloc, table_free, table_virt), ERR_INVALID);
	allocs_left = 0;
	assert_int_equal(page_table_init(&other, &policy_ept, 1, page, table_alloc, table_free, table_virt), ERR_NOMEM);
}

static void test_leaf_sizes(void **state)
{
	unsigned level;

	(void)state;
	start(&policy_ept, PT_LEVEL_1G);
	/* Pages up to 2 MiB, 2 MiB up to 1 GiB, one GiB, and down again. */
	assert_int_equal(page_table_map(&pt, GIB(1) - MIB(4) - 0x2000, GIB(5) - MIB(4) - 0x2000, GIB(1) + MIB(10) + 0x5000, PT_READ), 0);
	assert_int_equal(page_table_lookup(&pt, GIB(1) - MIB(4) - 0x1000, NULL, NULL, &level), 0);
	assert_int_equal(level, PT_LEVEL_4K);
	assert_int_equal(page_table_lookup(&pt, GIB(1) - MIB(4), NULL, NULL, &level), 0);
	assert_int_equal(level, PT_LEVEL_2M);
	assert_int_equal(page_table_lookup(&pt, GIB(1), NULL, NULL, &level), 0);
	assert_int_equal(level, PT_LEVEL_1G);
	assert_int_equal(pt.leaf_count[3], 1);
	assert_int_equal(pt.leaf_count[2], 2 + 3);
	assert_int_equal(pt.leaf_count[1], 2 + 3);
	finish();
	/* A physical address that is not aligned alike forbids the large leaf. */
	start(&policy_ept, PT_LEVEL_1G);
	assert_int_equal(page_table_map(&pt, GIB(1), MIB(2), GIB(1), PT_READ), 0);
	assert_int_equal(pt.leaf_count[3], 0);
	assert_int_equal(pt.leaf_count[2], 512);
	finish();
	start(&policy_ept, PT_LEVEL_2M);
	assert_int_equal(page_table_map(&pt, GIB(1), GIB(1), GIB(1), PT_READ), 0);
	assert_int_equal(pt.leaf_count[2], 512);
	finish();
	start(&policy_ept, PT_LEVEL_4K);
	assert_int_equal(page_table_map(&pt, MIB(2), MIB(2), MIB(2), PT_READ), 0);
	assert_int_equal(pt.leaf_count[1], 512);
	finish();
}

/* ---- Retired tables ---- */

static void test_retired_until_release(void **state)
{
	uint64_t va = 0x123456789000, *table;
	unsigned live;

	(void)state;
	start(&policy_ept, PT_LEVEL_1G);
	assert_int_equal(page_table_map(&pt, va, 0x1000, 4096, PT_READ), 0);
	live = pages_live;
	assert_int_equal(live, 4);
	assert_int_equal(page_table_unmap(&pt, va, 4096), 0);
	assert_int_equal(pages_live, live); /* a CPU may still walk them */
	assert_int_equal(pt.table_count, 1);
	for (uint64_t at = pt.retired; at; at = table[0]) {
		table = table_virt(page, at);
		for (unsigned slot = 0; slot < 512; slot++) {
			assert_false(policy_ept.present(table[slot]));
			assert_false(policy_host.present(table[slot]));
		}
	}
	page_table_release(&pt);
	assert_int_equal(pages_live, 1);
	/* Unmapping what is not there needs nothing. */
	allocs_left = 0;
	assert_int_equal(page_table_unmap(&pt, 0, 1ULL << 48), 0);
	finish();
}

/* ---- Sharing ---- */

static void count_leaf(void *ctx, const struct page_table_leaf *leaf)
{
	(void)leaf;
	++*(unsigned *)ctx;
}

static void test_shared_half(void **state)
{
	const uint64_t kernel = 0xffffff8040000000, window = 0xffff900000000000;
	struct page_table vm;
	unsigned leaves = 0;
	uint64_t pa;

	(void)state;
	start(&policy_host, PT_LEVEL_2M);
	assert_int_equal(page_table_map(&pt, kernel, MIB(2), MIB(4), PT_READ | PT_EXEC), 0);
	assert_int_equal(page_table_reserve_top(&pt, 510, 511), 0);
	assert_int_equal(page_table_reserve_top(&pt, 510, 512), ERR_INVALID);
	assert_int_equal(page_table_init(&vm, &policy_host, PT_LEVEL_2M, page, table_alloc, table_free, table_virt), 0);
	assert_int_equal(page_table_share_top(&vm, &pt, 256, 512), ERR_INVALID);
	assert_int_equal(page_table_share_top(&vm, &pt, 511, 510), ERR_INVALID);
	assert_int_equal(page_table_share_top(&vm, &vm, 256, 511), ERR_INVALID);
	assert_int_equal(page_table_share_top(&vm, &pt, 256, 511), 0);
	assert_int_equal(page_table_share_top(&vm, &pt, 256, 511), ERR_BUSY);
	assert_int_equal(page_table_lookup(&vm, kernel + 0x3123, &pa, NULL, NULL), 0);
	assert_int_equal(pa, MIB(2) + 0x3123);
	/* The VM's own slots are its own, the shared ones are not. */
	assert_int_equal(page_table_map(&vm, window, GIB(1), MIB(2), PT_READ | PT_WRITE), 0);
	assert_int_equal(page_table_lookup(&pt, window, NULL, NULL, NULL), ERR_NOENT);
	assert_int_equal(page_table_map(&vm, kernel + MIB(8), 0, 4096, PT_READ), ERR_INVALID);
	assert_int_equal(page_table_unmap(&vm, kernel, 4096), ERR_INVALID);
	assert_int_equal(page_table_protect(&vm, kernel, 4096, PT_READ), ERR_INVALID);
	assert_int_equal(page_table_unmap(&vm, 0xffff800000000000, 0x800000000000), ERR_INVALID); /* reaches into them */
	/* What the owner changes later is seen by both, even after its last leaf there went and came. */
	assert_int_equal(page_table_map(&pt, 0xffffff0000000000, 0x9000, 4096, PT_READ), 0);
	assert_int_equal(page_table_lookup(&vm, 0xffffff0000000000, &pa, NULL, NULL), 0);
	assert_int_equal(page_table_unmap(&pt, kernel, MIB(4)), 0);
	page_table_release(&pt);
	assert_int_equal(page_table_lookup(&vm, kernel, NULL, NULL, NULL), ERR_NOENT);
	assert_int_equal(page_table_map(&pt, 0x1000, 0x9000, 4096, PT_READ), 0); /* takes the pages that were freed */
	assert_int_equal(page_table_map(&pt, kernel, MIB(6), 8192, PT_READ), 0);
	assert_int_equal(page_table_lookup(&vm, kernel + 4096, &pa, NULL, NULL), 0);
	assert_int_equal(pa, MIB(6) + 4096);
	page_table_walk(&vm, count_leaf, &leaves);
	assert_int_equal(leaves, 1 + 1 + 2);
	page_table_destroy(&vm);
	assert_int_equal(page_table_lookup(&pt, kernel, NULL, NULL, NULL), 0);
	finish();
}

/* ---- Against a flat model ---- */

#define MODEL_PAGES 0x80400U /* 2 GiB and 4 MiB */
#define MODEL_CHECKED 24     /* compare all of it every so many steps */

struct model_page {
	uint64_t pa;
	uint32_t attrs; /* 0: not mapped */
};

static struct model_page *model;
static uint64_t model_base;

/* Every leaf agrees with the model; counts what it saw. */
static struct { uint64_t pages, leaves[4], last; } seen;

static void check_leaf(void *ctx, const struct page_table_leaf *leaf)
{
	uint64_t first = (leaf->va - model_base) / 4096;

	(void)ctx;
	if (leaf->va < model_base || first + leaf->size / 4096 > MODEL_PAGES || (seen.pages && leaf->va <= seen.last) ||
	    leaf->va % leaf->size || leaf->pa % leaf->size || leaf->level > pt.max_leaf_level)
		fail_msg("leaf %lx", (unsigned long)leaf->va);
	for (uint64_t i = 0; i < leaf->size / 4096; i++)
		if (model[first + i].attrs != leaf->attrs || model[first + i].pa != leaf->pa + i * 4096)
			fail_msg("page %lx", (unsigned long)(leaf->va + i * 4096));
	seen.pages += leaf->size / 4096;
	seen.leaves[leaf->level]++;
	seen.last = leaf->va;
}

static void compare(void)
{
	uint64_t mapped = 0;

	for (unsigned i = 0; i < MODEL_PAGES; i++)
		mapped += model[i].attrs != 0;
	memset(&seen, 0, sizeof(seen));
	page_table_walk(&pt, check_leaf, NULL);
	assert_int_equal(seen.pages, mapped);
	for (unsigned level = 1; level < 4; level++)
		assert_int_equal(seen.leaves[level], pt.leaf_count[level]);
	assert_int_equal(pt.table_count, pages_live);
	assert_int_equal(pt.spare, 0);
	/* What is not present is nothing at all: no link of a chain is left behind. */
	for (unsigned n = 0; n < TABLES_MAX; n++)
		for (unsigned slot = 0; page[n] && slot < 512; slot++)
			assert_true(!page[n][slot] || pt.policy->present(page[n][slot]));
}

static void look_up_some(void)
{
	for (unsigned i = 0; i < 50; i++) {
		uint64_t n = (uint64_t)random() % MODEL_PAGES, offset = (uint64_t)random() % 4096, pa = 0;
		uint32_t attrs = 0;
		unsigned level;
		int err = page_table_lookup(&pt, model_base + n * 4096 + offset, &pa, &attrs, &level);

		assert_int_equal(err, model[n].attrs ? 0 : ERR_NOENT);
		assert_int_equal(attrs, model[n].attrs);
		if (!err)
			assert_int_equal(pa, model[n].pa + offset);
	}
}

static uint32_t random_attrs(void)
{
	static const uint32_t types[] = { 0, 0, PT_UC, PT_WC };
	uint32_t attrs = PT_READ | types[random() % 4];

	if (random() % 2)
		attrs |= PT_WRITE;
	if (random() % 2)
		attrs |= PT_EXEC;
	if (pt.policy == &policy_host && random() % 2)
		attrs |= PT_GLOBAL;
	if (pt.policy == &policy_ept && random() % 8 == 0)
		attrs = PT_EXEC;
	return attrs;
}

/* One random change of table and model; `limit` allocations may be made. Returns the engine's answer. */
static int random_step(void)
{
	static const uint64_t units[] = { 1, 1, 512, 512, 512 * 512 };
	uint64_t unit = units[random() % 5], first = (uint64_t)random() % MODEL_PAGES / unit * unit;
	uint64_t n = unit * (1 + (uint64_t)random() % (unit == 1 ? 2000 : unit == 512 ? 40 : 2)), pa, mapped = 0;
	uint32_t attrs = random_attrs();
	int err, expect = 0;

	if (random() % 6 == 0)
		first += (uint64_t)random() % 3;
	n = MIN(n, MODEL_PAGES - MIN(first, MODEL_PAGES - 1));
	first = MIN(first, MODEL_PAGES - n);
	for (uint64_t i = first; i < first + n; i++)
		mapped += model[i].attrs != 0;
	switch (random() % 5) {
	case 0: case 1: case 2:
		pa = ((uint64_t)random() << 8 ^ (uint64_t)random()) % (1ULL << 24) * 4096;
		if (random() % 4)
			pa = (ALIGN_DOWN(pa, GIB(1)) + (model_base + first * 4096) % GIB(1)); /* as aligned as va */
		err = page_table_map(&pt, model_base + first * 4096, pa, n * 4096, attrs);
		expect = mapped ? ERR_BUSY : 0;
		for (uint64_t i = 0; !err && i < n; i++)
			model[first + i] = (struct model_page){ pa + i * 4096, attrs };
		break;
	case 3:
		err = page_table_unmap(&pt, model_base + first * 4096, n * 4096);
		for (uint64_t i = 0; !err && i < n; i++)
			model[first + i] = (struct model_page){ 0, 0 };
		break;
	default:
		err = page_table_protect(&pt, model_base + first * 4096, n * 4096, attrs);
		expect = mapped < n ? ERR_NOENT : 0;
		for (uint64_t i = 0; !err && i < n; i++)
			model[first + i].attrs = attrs;
	}
	if (err == ERR_NOMEM)
		assert_int_equal(allocs_left, 0);
	else
		assert_int_equal(err, expect);
	return err;
}

static void history(const struct page_table_policy *policy, unsigned max_leaf, uint64_t base, unsigned seed, unsigned steps)
{
	unsigned failed = 0;

	start(policy, max_leaf);
	model = calloc(MODEL_PAGES, sizeof(*model));
	model_base = base;
	srandom(seed);
	for (unsigned step = 0; step < steps; step++) {
		/* Every other change may run out of memory at any of its allocations: then nothing may have changed. */
		allocs_left = random() % 2 ? random() % 4 : -1;
		failed += random_step() == ERR_NOMEM;
		allocs_left = -1;
		page_table_release(&pt);
		look_up_some();
		if (step % MODEL_CHECKED == 0)
			compare();
	}
	compare();
	assert_true(failed > steps / 50);
	/* With everything gone, so are all tables but the root. */
	assert_int_equal(page_table_unmap(&pt, base, MODEL_PAGES * 4096ULL), 0);
	page_table_release(&pt);
	assert_int_equal(pages_live, 1);
	for (unsigned level = 1; level < 4; level++)
		assert_int_equal(pt.leaf_count[level], 0);
	free(model);
	finish();
}

/* Across the border of two top-level slots, in both halves, and at both ends of the address space. */
static void test_history_host(void **state)
{
	(void)state;
	history(&policy_host, PT_LEVEL_1G, GIB(511), 11, 600);
	history(&policy_host, PT_LEVEL_2M, 0xffffff8000000000 - GIB(1), 12, 300);
	history(&policy_host, PT_LEVEL_4K, 0xffff800000000000, 13, 100);
	history(&policy_host, PT_LEVEL_1G, 0 - MODEL_PAGES * 4096ULL, 14, 300);
}

static void test_history_ept(void **state)
{
	(void)state;
	history(&policy_ept, PT_LEVEL_1G, 0, 21, 600);
	history(&policy_ept, PT_LEVEL_1G, (1ULL << 48) - MODEL_PAGES * 4096ULL, 22, 300);
	history(&policy_ept, PT_LEVEL_2M, GIB(511) + MIB(2), 23, 300);
}

static void test_history_npt(void **state)
{
	(void)state;
	history(&policy_npt, PT_LEVEL_1G, 0, 31, 600);
	history(&policy_npt, PT_LEVEL_2M, (1ULL << 48) - MODEL_PAGES * 4096ULL, 32, 300);
}

/* ---- Allocation failure at each step ---- */

struct digest {
	uint64_t sum;
};

static void digest_leaf(void *ctx, const struct page_table_leaf *leaf)
{
	struct digest *digest = ctx;

	digest->sum = digest->sum * 1000003 + leaf->va;
	digest->sum = digest->sum * 1000003 + leaf->pa;
	digest->sum = digest->sum * 1000003 + (leaf->attrs << 8 | leaf->level);
}

static uint64_t digest(void)
{
	struct digest d = { 1 };

	page_table_walk(&pt, digest_leaf, &d);
	return d.sum;
}

static int change(unsigned which)
{
	switch (which) {
	case 0: /* tables at all levels, on both sides of a top-level border */
		return page_table_map(&pt, 0x8000000000 - MIB(2) - 4096, MIB(2) - 4096, MIB(4) + 8192, PT_READ);
	case 1: /* splits at both edges */
		return page_table_unmap(&pt, GIB(1) + 0x5000, GIB(1));
	default:
		return page_table_protect(&pt, GIB(1) + 0x5000, GIB(1), PT_READ | PT_EXEC);
	}
}

static void test_failure_at_each_step(void **state)
{
	static const unsigned needed[] = { 5, 4, 4 };

	(void)state;
	for (unsigned which = 0; which < 3; which++) {
		unsigned n;

		for (n = 0;; n++) {
			uint64_t before;
			unsigned live;
			int err;

			start(&policy_ept, PT_LEVEL_1G);
			assert_int_equal(page_table_map(&pt, GIB(1), GIB(4), GIB(2), PT_READ | PT_WRITE), 0);
			before = digest();
			live = pages_live;
			allocs_left = n;
			err = change(which);
			if (err) {
				assert_int_equal(err, ERR_NOMEM);
				assert_int_equal(digest(), before);
				assert_int_equal(pages_live, live);
				assert_int_equal(pt.table_count, live);
				assert_int_equal(pt.retired, 0);
			}
			finish();
			if (!err)
				break;
			assert_true(n < 10);
		}
		assert_int_equal(n, needed[which]);
	}
}

static void test_busy_changes_nothing(void **state)
{
	uint64_t before;

	(void)state;
	start(&policy_host, PT_LEVEL_1G);
	assert_int_equal(page_table_map(&pt, GIB(2) + MIB(6), MIB(2), 4096, PT_READ), 0);
	before = digest();
	assert_int_equal(page_table_map(&pt, MIB(1), MIB(1), GIB(3), PT_READ), ERR_BUSY);
	assert_int_equal(page_table_map(&pt, GIB(2), GIB(2), GIB(1), PT_READ), ERR_BUSY);
	assert_int_equal(digest(), before);
	assert_int_equal(pages_live, 4);
	assert_int_equal(page_table_map(&pt, GIB(3), GIB(3), GIB(1), PT_READ), 0);
	assert_int_equal(page_table_map(&pt, GIB(3) + MIB(3), 0, 4096, PT_READ), ERR_BUSY);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host_entries),
		cmocka_unit_test(test_ept_entries),
		cmocka_unit_test(test_npt_entries),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_leaf_sizes),
		cmocka_unit_test(test_retired_until_release),
		cmocka_unit_test(test_shared_half),
		cmocka_unit_test(test_history_host),
		cmocka_unit_test(test_history_ept),
		cmocka_unit_test(test_history_npt),
		cmocka_unit_test(test_failure_at_each_step),
		cmocka_unit_test(test_busy_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

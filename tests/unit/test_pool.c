/* SOURCES: mm/pool.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "mm/pool.h"
#include "tests/unit/fakes.h"

#define PAGES 130
#define PHYS 0x12340000ULL

static _Alignas(4096) uint8_t memory[PAGES * 4096];
static struct pool pool;

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(memory, 0xa5, sizeof(memory));
	return pool_init(&pool, memory, PHYS, PAGES);
}

static void test_init_checks(void **state)
{
	(void)state;
	assert_int_equal(pool_init(&pool, memory, PHYS, 0), ERR_INVALID);
	assert_int_equal(pool_init(&pool, memory, PHYS, POOL_PAGES_MAX + 1), ERR_INVALID);
	assert_int_equal(pool_init(&pool, memory + 1, PHYS, 1), ERR_INVALID);
	assert_int_equal(pool_init(&pool, memory, PHYS + 8, 1), ERR_INVALID);
	assert_int_equal(pool_init(&pool, memory, 0xfffffffffffff000, 2), ERR_INVALID);
}

static void test_alloc_all(void **state)
{
	static const uint8_t zero[4096];

	(void)state;
	for (unsigned i = 0; i < PAGES; i++) {
		uint8_t *page = pool_alloc(&pool, 1);

		assert_ptr_equal(page, memory + i * 4096);
		assert_memory_equal(page, zero, 4096);
	}
	assert_null(pool_alloc(&pool, 1));
	assert_int_equal(pool_used_pages(&pool), PAGES);
	/* Room for three only where three lie together; what comes back is zeroed again. */
	memset(memory, 0xff, sizeof(memory));
	pool_free(&pool, memory + 5 * 4096, 2);
	pool_free(&pool, memory + 62 * 4096, 3); /* across a word of the bitmap */
	assert_ptr_equal(pool_alloc(&pool, 3), memory + 62 * 4096);
	assert_memory_equal(memory + 64 * 4096, zero, 4096);
	assert_int_equal(memory[65 * 4096], 0xff);
	assert_null(pool_alloc(&pool, 3));
	assert_ptr_equal(pool_alloc(&pool, 2), memory + 5 * 4096);
	assert_null(pool_alloc(&pool, 0));
	assert_null(pool_alloc(&pool, PAGES + 1));
}

static void test_bad_frees(void **state)
{
	uint8_t *a = pool_alloc(&pool, 4);

	(void)state;
	pool_free(&pool, NULL, 1);
	assert_int_equal(fake.log_len, 0);
	pool_free(&pool, a + 1, 1);
	pool_free(&pool, a, 5);            /* one page more than it had */
	pool_free(&pool, a, 0);
	pool_free(&pool, a, UINT32_MAX);
	pool_free(&pool, memory - 4096, 1);
	pool_free(&pool, memory + sizeof(memory), 1);
	pool_free(&pool, &pool, 1);
	assert_int_equal(pool_used_pages(&pool), 4);
	pool_free(&pool, a, 4);
	assert_int_equal(pool_used_pages(&pool), 0);
	fake_reset();
	pool_free(&pool, a, 4);
	assert_non_null(strstr(fake.log, "bad free of 4 pages"));
	assert_int_equal(pool_used_pages(&pool), 0);
}

static void test_addresses(void **state)
{
	uint64_t phys = 0;
	void *table;

	(void)state;
	assert_int_equal(pool_phys(&pool, memory + 5000), PHYS + 5000);
	assert_int_equal(pool_phys(&pool, memory + sizeof(memory)), UINT64_MAX);
	assert_int_equal(pool_phys(&pool, memory - 1), UINT64_MAX);
	assert_ptr_equal(pool_virt(&pool, PHYS + 5000), memory + 5000);
	assert_null(pool_virt(&pool, PHYS - 1));
	assert_null(pool_virt(&pool, PHYS + sizeof(memory)));
	table = pool_table_alloc(&pool, &phys);
	assert_int_equal(phys, pool_phys(&pool, table));
	assert_ptr_equal(pool_table_virt(&pool, phys), table);
	pool_table_free(&pool, table, phys);
	assert_int_equal(pool_used_pages(&pool), 0);
}

static void test_random(void **state)
{
	struct { uint8_t *at; unsigned pages; } held[PAGES] = { 0 };
	unsigned used = 0;

	(void)state;
	srandom(2);
	for (unsigned step = 0; step < 5000; step++) {
		unsigned slot = (unsigned)random() % PAGES, pages = 1 + (unsigned)random() % 9;

		if (held[slot].at) {
			for (unsigned i = 0; i < held[slot].pages * 4096; i += 64)
				assert_int_equal(held[slot].at[i], slot);
			pool_free(&pool, held[slot].at, held[slot].pages);
			used -= held[slot].pages;
			held[slot].at = NULL;
		} else if ((held[slot].at = pool_alloc(&pool, pages))) {
			held[slot].pages = pages;
			used += pages;
			memset(held[slot].at, (int)slot, pages * 4096);
		} else {
			assert_true(used + pages > PAGES / 8);
		}
		assert_int_equal(pool_used_pages(&pool), used);
	}
	assert_int_equal(fake.log_len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_init_checks, setup),
		cmocka_unit_test_setup(test_alloc_all, setup),
		cmocka_unit_test_setup(test_bad_frees, setup),
		cmocka_unit_test_setup(test_addresses, setup),
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: mm/object_pool.c mm/pool.c */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "mm/object_pool.h"
#include "tests/unit/fakes.h"

#define PAGES 8

static _Alignas(4096) uint8_t memory[PAGES * 4096];
static struct pool pool;
static struct object_pool objects;

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(memory, 0xa5, sizeof(memory));
	return pool_init(&pool, memory, 0x1000, PAGES);
}

static void test_init_checks(void **state)
{
	(void)state;
	assert_int_equal(object_pool_init(&objects, &pool, "x", 0, 1), ERR_INVALID);
	assert_int_equal(object_pool_init(&objects, &pool, "x", 4097, 1), ERR_INVALID);
	assert_int_equal(object_pool_init(&objects, &pool, "x", 100, 0), ERR_INVALID);
	assert_int_equal(object_pool_init(&objects, &pool, "x", 4096, OBJECT_POOL_PAGES_MAX + 1), ERR_INVALID);
	assert_int_equal(object_pool_init(&objects, &pool, "x", 4096, OBJECT_POOL_PAGES_MAX), 0);
	assert_int_equal(object_pool_init(&objects, &pool, "x", 1, OBJECT_POOL_PAGES_MAX * 256), 0);
	assert_int_equal(pool_used_pages(&pool), 0);
}

static void test_limit_and_reuse(void **state)
{
	static const uint8_t zero[112];
	uint8_t *object[80];

	(void)state;
	assert_int_equal(object_pool_init(&objects, &pool, "things", 100, 80), 0);
	for (unsigned i = 0; i < 80; i++) {
		object[i] = object_pool_alloc(&objects);
		assert_non_null(object[i]);
		assert_int_equal((uintptr_t)object[i] % 16, 0);
		assert_memory_equal(object[i], zero, 112);
		memset(object[i], (int)i + 1, 100);
	}
	for (unsigned i = 0; i < 80; i++)
		for (unsigned j = 0; j < 100; j++)
			assert_int_equal(object[i][j], i + 1);
	assert_null(object_pool_alloc(&objects));
	assert_int_equal(object_pool_used(&objects), 80);
	assert_int_equal(pool_used_pages(&pool), 3); /* 36 a page */
	assert_int_equal(object_pool_free(&objects, object[40]), 0);
	assert_int_equal(object_pool_free(&objects, object[3]), 0);
	assert_ptr_equal(object_pool_alloc(&objects), object[3]);
	assert_memory_equal(object[3], zero, 112);
	assert_ptr_equal(object_pool_alloc(&objects), object[40]);
	assert_null(object_pool_alloc(&objects));
	assert_int_equal(fake.log_len, 0);
}

static void test_bad_frees(void **state)
{
	uint8_t *a, *b;

	(void)state;
	assert_int_equal(object_pool_init(&objects, &pool, "things", 64, 80), 0);
	a = object_pool_alloc(&objects);
	b = object_pool_alloc(&objects);
	assert_int_equal(object_pool_free(&objects, NULL), ERR_INVALID);
	assert_int_equal(object_pool_free(&objects, a + 16), ERR_INVALID);
	assert_int_equal(object_pool_free(&objects, b + 64), ERR_INVALID); /* a slot that was never handed out */
	assert_int_equal(object_pool_free(&objects, memory + 4096), ERR_INVALID);
	assert_int_equal(object_pool_free(&objects, &pool), ERR_INVALID);
	assert_int_equal(object_pool_used(&objects), 2);
	assert_int_equal(object_pool_free(&objects, a), 0);
	fake_reset();
	assert_int_equal(object_pool_free(&objects, a), ERR_INVALID);
	assert_non_null(strstr(fake.log, "things: bad free"));
	/* The second free did not put it on the list twice. */
	assert_ptr_equal(object_pool_alloc(&objects), a);
	assert_ptr_not_equal(object_pool_alloc(&objects), a);
}

static void test_page_pool_empty(void **state)
{
	void *last = NULL, *object;
	unsigned n = 0;

	(void)state;
	assert_int_equal(object_pool_init(&objects, &pool, "pages", 4096, 64), 0);
	while ((object = object_pool_alloc(&objects))) {
		last = object;
		n++;
	}
	assert_int_equal(n, PAGES);
	assert_int_equal(object_pool_free(&objects, last), 0);
	assert_ptr_equal(object_pool_alloc(&objects), last);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_init_checks, setup),
		cmocka_unit_test_setup(test_limit_and_reuse, setup),
		cmocka_unit_test_setup(test_bad_frees, setup),
		cmocka_unit_test_setup(test_page_pool_empty, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

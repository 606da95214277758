/* SOURCES: vmm/memory/guest_memory.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "vmm/memory/guest_memory.h"

static uint8_t low[0x1000];
static uint8_t high[0x2000];
static struct guest_memory mem;

static int setup(void **state)
{
	(void)state;
	memset(&mem, 0, sizeof(mem));
	memset(low, 0, sizeof(low));
	memset(high, 0, sizeof(high));
	assert_int_equal(guest_memory_add(&mem, GIB(4), sizeof(high), high), 0);
	assert_int_equal(guest_memory_add(&mem, 0, sizeof(low), low), 0);
	return 0;
}

static void test_pointers(void **state)
{
	(void)state;
	assert_int_equal(mem.count, 2);
	assert_int_equal(mem.region[0].gpa, 0);
	assert_ptr_equal(guest_ptr(&mem, 0, 1), low);
	assert_ptr_equal(guest_ptr(&mem, 0, 0x1000), low);
	assert_ptr_equal(guest_ptr(&mem, 0xfff, 1), low + 0xfff);
	assert_ptr_equal(guest_ptr(&mem, GIB(4) + 0x1ff8, 8), high + 0x1ff8);

	assert_null(guest_ptr(&mem, 0, 0));
	assert_null(guest_ptr(&mem, 0, 0x1001));
	assert_null(guest_ptr(&mem, 0xfff, 2));
	assert_null(guest_ptr(&mem, 0x1000, 1));
	assert_null(guest_ptr(&mem, GIB(4) - 1, 1));
	assert_null(guest_ptr(&mem, GIB(4) - 1, 2));
	assert_null(guest_ptr(&mem, GIB(4) + 0x2000, 1));
	/* A sum that would wrap. */
	assert_null(guest_ptr(&mem, 0x10, UINT64_MAX));
	assert_null(guest_ptr(&mem, 0x10, UINT64_MAX - 0xf));
	assert_null(guest_ptr(&mem, UINT64_MAX, 1));
	assert_null(guest_ptr(&mem, UINT64_MAX, UINT64_MAX));
	assert_null(guest_ptr(&mem, GIB(4) + 1, UINT64_MAX - GIB(4)));
}

static void test_copies(void **state)
{
	uint8_t buf[16] = { 1, 2, 3 };
	uint8_t back[16] = { 0 };

	(void)state;
	assert_int_equal(guest_write(&mem, 0xff0, buf, 16), 0);
	assert_int_equal(low[0xff1], 2);
	assert_int_equal(guest_read(&mem, 0xff0, back, 16), 0);
	assert_memory_equal(buf, back, 16);
	/* Half inside: nothing is copied. */
	memset(back, 0x55, sizeof(back));
	assert_int_equal(guest_read(&mem, 0xff8, back, 16), ERR_RANGE);
	assert_int_equal(back[0], 0x55);
	low[0xff8] = 0x77;
	assert_int_equal(guest_write(&mem, 0xff8, back, 16), ERR_RANGE);
	assert_int_equal(low[0xff8], 0x77);
	assert_int_equal(guest_read(&mem, 0, back, 0), ERR_RANGE);
}

static void test_refused_regions(void **state)
{
	(void)state;
	assert_int_equal(guest_memory_add(&mem, 0x10000, 0, low), ERR_INVALID);
	assert_int_equal(guest_memory_add(&mem, 0x10000, 0x1000, NULL), ERR_INVALID);
	assert_int_equal(guest_memory_add(&mem, UINT64_MAX - 0xfff, 0x1001, low), ERR_INVALID);
	assert_int_equal(guest_memory_add(&mem, 0, 1, low), ERR_INVALID);
	assert_int_equal(guest_memory_add(&mem, 0xfff, 1, low), ERR_INVALID);
	assert_int_equal(guest_memory_add(&mem, GIB(4) - 1, 2, low), ERR_INVALID);
	assert_int_equal(guest_memory_add(&mem, 0x1000, GIB(8), low), ERR_INVALID);
	assert_int_equal(mem.count, 2);
	for (unsigned i = 0; i < GUEST_REGIONS_MAX - 2; i++)
		assert_int_equal(guest_memory_add(&mem, 0x1000 + i * 0x1000, 0x1000, low), 0);
	assert_int_equal(guest_memory_add(&mem, GIB(8), 0x1000, low), ERR_NOMEM);
	/* Neighbours stay separate: their host addresses need not follow each other. */
	assert_null(guest_ptr(&mem, 0xfff, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_pointers, setup),
		cmocka_unit_test_setup(test_copies, setup),
		cmocka_unit_test_setup(test_refused_regions, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

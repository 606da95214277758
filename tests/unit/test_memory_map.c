/* SOURCES: boot/boot_info.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "boot/boot_info.h"

static struct boot_info info;

static void add(uint64_t base, uint64_t length, uint32_t type)
{
	assert_int_equal(boot_info_add_memory(&info, base, length, type), 0);
	for (unsigned i = 1; i < info.memory_count; i++)
		assert_true(info.memory[i - 1].base + info.memory[i - 1].length <= info.memory[i].base);
}

/* 96 GiB with a hole below 4 GiB, reserved ranges above it, and ranges that contradict each other. */
static void test_large_map(void **state)
{
	(void)state;
	memset(&info, 0, sizeof(info));
	add(GIB(4), GIB(94), BOOT_MEMORY_USABLE);
	add(0, 0xa0000, BOOT_MEMORY_USABLE);
	add(MIB(1), GIB(2) - MIB(1), BOOT_MEMORY_USABLE);
	add(GIB(10), MIB(2), BOOT_MEMORY_RESERVED);
	add(GIB(80), GIB(1), 12345);
	add(GIB(96), GIB(4), BOOT_MEMORY_RESERVED);     /* past the end of the RAM as well */
	add(GIB(1024), GIB(512), BOOT_MEMORY_RESERVED); /* device registers */
	add(GIB(90), 0x1000, BOOT_MEMORY_BAD);
	assert_int_equal(boot_info_usable_bytes(&info), 0xa0000 + GIB(2) - MIB(1) + GIB(94) - MIB(2) - GIB(1) - GIB(2) - 0x1000);
	assert_int_equal(boot_info_usable_end(&info), GIB(96));
}

/* Firmware that reports its memory page by page, in any order: neighbours are joined, so that it needs few entries. */
static void test_many_pieces(void **state)
{
	(void)state;
	memset(&info, 0, sizeof(info));
	for (uint64_t i = 0; i < 400; i++)
		add(GIB(4) + (i * 7 % 400) * MIB(1), MIB(1), BOOT_MEMORY_USABLE);
	assert_int_equal(info.memory_count, 1);
	assert_int_equal(info.memory[0].length, MIB(400));
	/* As many holes as there is room for; one more is refused, and what is there stays in order. */
	memset(&info, 0, sizeof(info));
	for (uint64_t i = 0; i < BOOT_MEMORY_MAX; i++)
		add(i * MIB(2), MIB(1), BOOT_MEMORY_USABLE);
	assert_int_equal(boot_info_add_memory(&info, MIB(5000), MIB(1), BOOT_MEMORY_USABLE), ERR_NOMEM);
	assert_int_equal(info.memory_count, BOOT_MEMORY_MAX);
	assert_int_equal(boot_info_usable_bytes(&info), BOOT_MEMORY_MAX * MIB(1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_large_map),
		cmocka_unit_test(test_many_pieces),
	};

	return cmocka_run_group_tests_name("memory_map", tests, NULL, NULL);
}

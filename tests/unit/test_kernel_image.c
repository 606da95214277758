/* SOURCES: boot/efi/kernel_image.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "boot/efi/kernel_image.h"

#define LIMIT MIB(16)
#define FILE_SIZE 0x3000

/* An ELF file with two segments to load and one that is none. */
static uint8_t made[FILE_SIZE];
static struct kernel_image image;

static void put(unsigned at, uint64_t value, unsigned bytes)
{
	memcpy(made + at, &value, bytes);
}

static void program(unsigned i, uint32_t type, uint64_t offset, uint64_t address, uint64_t file_size, uint64_t memory_size)
{
	unsigned at = 64 + i * 56;

	put(at, type, 4);
	put(at + 8, offset, 8);
	put(at + 16, address + 0xffffffff80000000UL, 8);
	put(at + 24, address, 8);
	put(at + 32, file_size, 8);
	put(at + 40, memory_size, 8);
}

static int good(void **state)
{
	static const uint8_t ident[] = { 0x7f, 'E', 'L', 'F', 2, 1, 1 };

	(void)state;
	memset(made, 0, sizeof(made));
	memcpy(made, ident, sizeof(ident));
	put(16, 2, 2);
	put(18, 62, 2);
	put(24, 0x200040, 8);
	put(32, 64, 8);
	put(54, 56, 2);
	put(56, 3, 2);
	program(0, 1, 0x1000, 0x200000, 0x800, 0x800);
	program(1, 4, 0, 0, 0x100000, 0);
	program(2, 1, 0x2000, 0x201000, 0x1000, 0x5678);
	return 0;
}

/* Parse a copy of just this size, so that AddressSanitizer sees a byte read behind it. */
static const char *parse(uint64_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	const char *error;

	memcpy(copy, made, size);
	error = kernel_image_parse(copy, size, LIMIT, &image);
	free(copy);
	return error;
}

static void refused(const char *why)
{
	const char *error = parse(sizeof(made));

	assert_non_null(error);
	assert_string_equal(error, why);
	good(NULL);
}

static void test_good(void **state)
{
	(void)state;
	assert_null(parse(sizeof(made)));
	assert_int_equal(image.count, 2);
	assert_int_equal(image.entry, 0x200040);
	assert_int_equal(image.start, 0x200000);
	assert_int_equal(image.end, 0x207000);
	assert_int_equal(image.segment[1].offset, 0x2000);
	assert_int_equal(image.segment[1].file_size, 0x1000);
	assert_int_equal(image.segment[1].size, 0x5678);
	assert_int_equal(image.segment[1].address, 0x201000);
}

static void test_every_truncation(void **state)
{
	(void)state;
	for (uint64_t size = 0; size < sizeof(made); size++)
		assert_non_null(parse(size));
}

static void test_headers(void **state)
{
	static const char no_elf[] = "broken: it is not an ELF program for x86-64";
	static const char outside[] = "broken: its program headers are not inside the file";

	(void)state;
	made[4] = 1;
	refused(no_elf);
	put(18, 3, 2);
	refused(no_elf);
	put(16, 3, 2);
	refused(no_elf);
	put(54, 32, 2);
	refused(outside);
	put(32, UINT64_MAX - 100, 8);
	refused(outside);
	put(56, 0xffff, 2);
	refused(outside);
	put(24, 0x200800, 8);
	refused("broken: its entry point is in no segment");
	put(56, 0, 2);
	refused("broken: its entry point is in no segment");
}

static void test_segments(void **state)
{
	static const char place[] = "broken: a segment does not lie where the kernel has its place";

	(void)state;
	program(2, 1, 0x2000, 0x201000, 0x1000, 0xfff);
	refused("broken: a segment is larger in the file than in memory");
	program(2, 1, 0x2001, 0x201000, 0x1000, 0x1000);
	refused("broken: it ends inside a segment");
	program(2, 1, UINT64_MAX - 1, 0x201000, 0x1000, 0x1000);
	refused("broken: it ends inside a segment");
	program(2, 1, 0x2000, 0xff000, 0x1000, 0x1000);
	refused(place);
	program(2, 1, 0x2000, 0x201000, 0x1000, LIMIT - 0x201000 + 1);
	refused(place);
	program(2, 1, 0x2000, 0x201000, 0x1000, UINT64_MAX - 0x1000);
	refused(place);
	program(2, 1, 0x2000, 0x2007ff, 0x1000, 0x1000);
	refused("broken: two segments overlap");
	put(56, 12, 2);
	for (unsigned i = 1; i < 12; i++)
		program(i, 1, 0, 0x300000 + i * 0x1000, 0, 0x1000);
	refused("broken: it has too many segments");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_good, good),
		cmocka_unit_test_setup(test_every_truncation, good),
		cmocka_unit_test_setup(test_headers, good),
		cmocka_unit_test_setup(test_segments, good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: drivers/disk/ram_disk.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "drivers/disk/ram_disk.h"
#include "tests/unit/fakes.h"

#define SECTORS 16U

struct state {
	struct ram_disk disk;
	uint8_t *medium;
	unsigned done;
	int status;
};

static struct state s;

static void done(struct block_request *request, int status)
{
	assert_ptr_equal(request->owner, &s);
	s.done++;
	s.status = status;
}

static int setup(void **unused)
{
	(void)unused;
	fake_reset();
	memset(&s, 0, sizeof(s));
	s.medium = malloc(SECTORS * 512);
	for (unsigned i = 0; i < SECTORS * 512; i++)
		s.medium[i] = (uint8_t)(i / 512 + i);
	return ram_disk_init(&s.disk, "disk0.img", s.medium, SECTORS * 512, false);
}

static int teardown(void **unused)
{
	(void)unused;
	free(s.medium);
	return 0;
}

static int submit(enum block_op op, uint64_t sector, uint32_t sectors, const struct segment *segments, uint32_t count)
{
	struct block_request request = { .op = op, .sector = sector, .sectors = sectors, .segments = segments, .segment_count = count,
					 .done = done, .owner = &s };
	unsigned before = s.done;

	block_submit(&s.disk.block, &request);
	assert_int_equal(s.done, before + 1);
	return s.status;
}

static void test_describes_itself(void **unused)
{
	(void)unused;
	assert_int_equal(s.disk.block.sectors, SECTORS);
	assert_int_equal(s.disk.block.block_size, 512);
	assert_false(s.disk.block.read_only);
	assert_memory_equal(s.disk.block.id, "disk0.img\0\0\0\0\0\0\0\0\0\0\0", 20);
}

static void test_long_name_is_cut(void **unused)
{
	(void)unused;
	assert_int_equal(ram_disk_init(&s.disk, "a-name-that-is-longer-than-the-id", s.medium, 512, false), 0);
	assert_memory_equal(s.disk.block.id, "a-name-that-is-longer-than-the-id", 20);
}

static void test_reads_into_odd_segments(void **unused)
{
	uint8_t buffer[1024];
	struct segment segments[] = { { buffer, 1 }, { buffer + 1, 700 }, { buffer + 701, 323 } };

	(void)unused;
	assert_int_equal(submit(BLOCK_READ, 3, 2, segments, 3), 0);
	assert_memory_equal(buffer, s.medium + 3 * 512, 1024);
}

static void test_writes_the_last_sector(void **unused)
{
	uint8_t buffer[512];
	struct segment segment = { buffer, 512 };

	(void)unused;
	memset(buffer, 0xa5, sizeof(buffer));
	assert_int_equal(submit(BLOCK_WRITE, SECTORS - 1, 1, &segment, 1), 0);
	assert_memory_equal(s.medium + (SECTORS - 1) * 512, buffer, 512);
	assert_int_equal(s.medium[(SECTORS - 1) * 512 - 1], (uint8_t)(SECTORS - 2 + (SECTORS - 1) * 512 - 1));
	assert_int_equal(submit(BLOCK_FLUSH, 0, 0, NULL, 0), 0);
}

static void test_refuses_what_is_outside(void **unused)
{
	uint8_t buffer[1024];
	struct segment segment = { buffer, 1024 };

	(void)unused;
	assert_int_equal(submit(BLOCK_READ, SECTORS - 1, 2, &segment, 1), ERR_RANGE);
	assert_int_equal(submit(BLOCK_READ, UINT64_MAX, 2, &segment, 1), ERR_RANGE);
	assert_int_equal(submit(BLOCK_WRITE, SECTORS, 2, &segment, 1), ERR_RANGE);
}

static void test_refuses_what_does_not_add_up(void **unused)
{
	uint8_t buffer[1024];
	struct segment segment = { buffer, 1024 };

	(void)unused;
	assert_int_equal(submit(BLOCK_READ, 0, 1, &segment, 1), ERR_INVALID);
	assert_int_equal(submit(BLOCK_READ, 0, 3, &segment, 1), ERR_INVALID);
	assert_int_equal(submit(BLOCK_READ, 0, s.disk.block.max_sectors + 1, &segment, 1), ERR_INVALID);
	assert_int_equal(submit((enum block_op)77, 0, 2, &segment, 1), ERR_UNSUPPORTED);
}

static void test_read_only_disk_refuses_writes(void **unused)
{
	uint8_t buffer[512] = { 1 };
	struct segment segment = { buffer, 512 };

	(void)unused;
	assert_int_equal(ram_disk_init(&s.disk, "ro", s.medium, 512, true), 0);
	assert_int_equal(submit(BLOCK_WRITE, 0, 1, &segment, 1), ERR_INVALID);
	assert_int_equal(submit(BLOCK_READ, 0, 1, &segment, 1), 0);
}

static void test_refuses_a_tail_by_name(void **unused)
{
	struct ram_disk disk;

	(void)unused;
	assert_int_equal(ram_disk_init(&disk, "tail.img", s.medium, 512 + 100, false), ERR_INVALID);
	assert_non_null(strstr(fake.log, "tail.img"));
	assert_non_null(strstr(fake.log, "612"));
	assert_non_null(strstr(fake.log, "100 bytes too many"));
	assert_int_equal(ram_disk_init(&disk, "empty.img", s.medium, 0, false), ERR_INVALID);
	assert_non_null(strstr(fake.log, "empty.img"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_describes_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_name_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reads_into_odd_segments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writes_the_last_sector, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses_what_is_outside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses_what_does_not_add_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_only_disk_refuses_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses_a_tail_by_name, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

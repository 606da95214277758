/* SOURCES: drivers/disk/partitions.c drivers/disk/disk.c tests/unit/disk_machine.c drivers/pci/pci_host.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "drivers/disk/partitions.h"
#include "tests/unit/disk_machine.h"
#include "tests/unit/fakes.h"

#define BLOCKS 256U

static uint8_t medium[BLOCKS * 512 + 1024]; /* and room for a table that reaches beyond the end */

/* A disk that does what it is told when it is looked at. */
static struct disk *disk;
static struct spinlock lock;
static struct disk_range range;

static int ok(struct disk *d)
{
	(void)d;
	return 0;
}

static int encode(struct disk *d, struct disk_tag *tag, const struct disk_range *ranges, unsigned count)
{
	(void)d;
	(void)tag;
	assert_int_equal(count, 1);
	range = ranges[0];
	return 0;
}

static void start(struct disk *d, unsigned tag)
{
	void *memory = disk_machine_dma(range.phys, range.len);

	assert_non_null(memory);
	assert_true(d->tag[tag].block < BLOCKS && range.len == 512);
	memcpy(memory, medium + d->tag[tag].block * 512, 512);
}

static void nothing(struct disk *d)
{
	(void)d;
}

static void reap(struct disk *d)
{
	disk_finished(d, 0, 0);
}

static const struct disk_ops ops = { .open = ok, .encode = encode, .start = start, .commit = nothing, .reap = reap, .reset = ok };

static int setup(void **state)
{
	(void)state;
	disk_machine_reset();
	memset(medium, 0x77, sizeof(medium));
	disk = disk_new();
	assert_non_null(disk);
	memset(disk, 0, sizeof(*disk));
	disk->ops = &ops;
	disk->lock = &lock;
	disk->blocks = BLOCKS;
	disk->block_size = 512;
	disk->max_blocks = 8;
	disk_add(disk);
	return 0;
}

static void mbr_entry(unsigned block, unsigned n, uint8_t type, uint32_t first, uint32_t count)
{
	uint8_t *e = medium + block * 512 + 446 + 16 * n;

	memset(e, 0, 16);
	e[4] = type;
	memcpy(e + 8, &first, 4);
	memcpy(e + 12, &count, 4);
	medium[block * 512 + 510] = 0x55;
	medium[block * 512 + 511] = 0xaa;
}

static const char *last_why;

static void expect_partition(unsigned number, int err, uint64_t first, uint64_t blocks)
{
	uint64_t got_first = 0, got_blocks = 0;
	const char *why = NULL;

	assert_int_equal(partition_find(disk, number, &got_first, &got_blocks, &why), err);
	if (!err) {
		assert_int_equal(got_first, first);
		assert_int_equal(got_blocks, blocks);
	} else {
		assert_non_null(why);
	}
	last_why = why;
}

static void test_mbr(void **state)
{
	(void)state;
	expect_partition(1, ERR_INVALID, 0, 0); /* no table */
	memset(medium, 0, sizeof(medium));
	mbr_entry(0, 0, 0x83, 10, 20);
	mbr_entry(0, 1, 0x83, 250, 7);          /* beyond the end */
	mbr_entry(0, 2, 0x83, UINT32_MAX, UINT32_MAX);
	mbr_entry(0, 3, 0x05, 100, 100);
	mbr_entry(100, 0, 0x83, 1, 9);
	mbr_entry(100, 1, 0x05, 20, 10);
	mbr_entry(120, 0, 0x83, 2, 8);
	mbr_entry(120, 1, 0x05, 20, 10);        /* a loop */
	expect_partition(1, 0, 10, 20);
	expect_partition(2, ERR_INVALID, 0, 0);
	assert_string_equal(last_why, "the partition reaches beyond the disk");
	expect_partition(3, ERR_INVALID, 0, 0);
	expect_partition(4, ERR_NOENT, 0, 0);
	expect_partition(5, 0, 101, 9);
	expect_partition(6, 0, 122, 8);
	expect_partition(128, ERR_NOENT, 0, 0);
	expect_partition(0, ERR_NOENT, 0, 0);   /* they are numbered from 1 */
}

static uint32_t crc(const uint8_t *p, size_t n)
{
	uint32_t r = UINT32_MAX;

	while (n--) {
		r ^= *p++;
		for (int i = 0; i < 8; i++)
			r = r & 1 ? r >> 1 ^ 0xedb88320 : r >> 1;
	}
	return ~r;
}

static void gpt(unsigned at, unsigned entries_at, uint64_t first, uint64_t last)
{
	uint8_t *h = medium + at * 512, *e = medium + entries_at * 512;
	uint64_t here = at, there = entries_at;
	uint32_t size = 92, n = 8, entry = 128, sum;

	memset(e, 0, 1024);
	e[128] = 1;
	memcpy(e + 128 + 32, &first, 8);
	memcpy(e + 128 + 40, &last, 8);
	memset(h, 0, 512);
	memcpy(h, "EFI PART", 8);
	memcpy(h + 12, &size, 4);
	memcpy(h + 24, &here, 8);
	memcpy(h + 72, &there, 8);
	memcpy(h + 80, &n, 4);
	memcpy(h + 84, &entry, 4);
	sum = crc(e, 1024);
	memcpy(h + 88, &sum, 4);
	sum = crc(h, 92);
	memcpy(h + 16, &sum, 4);
}

static void test_gpt(void **state)
{
	(void)state;
	memset(medium, 0, sizeof(medium));
	mbr_entry(0, 0, 0xee, 1, UINT32_MAX);
	gpt(1, 2, 40, 99);
	gpt(BLOCKS - 1, BLOCKS - 3, 50, 59);
	expect_partition(2, 0, 40, 60);
	expect_partition(1, ERR_NOENT, 0, 0);
	expect_partition(9, ERR_NOENT, 0, 0);
	expect_partition(0, ERR_NOENT, 0, 0);
	medium[2 * 512 + 200] ^= 1;           /* an entry's byte: the first table's checksum is wrong */
	expect_partition(2, 0, 50, 10);
	assert_non_null(strstr(fake.log, "its first GPT is broken"));
	medium[(BLOCKS - 1) * 512 + 80] ^= 0xff;
	expect_partition(2, ERR_INVALID, 0, 0);
	gpt(1, 2, 40, BLOCKS);                  /* beyond the end */
	expect_partition(2, ERR_INVALID, 0, 0);
	gpt(1, 2, 40, UINT64_MAX);
	expect_partition(2, ERR_INVALID, 0, 0);
	gpt(1, 2, 40, 39);
	expect_partition(2, ERR_NOENT, 0, 0);
	gpt(1, BLOCKS - 1, 40, 50);             /* entries that reach beyond the disk */
	expect_partition(2, ERR_INVALID, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_mbr, setup),
		cmocka_unit_test_setup(test_gpt, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

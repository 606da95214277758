/* SOURCES: drivers/disk/partitions.c drivers/disk/disk.c tests/unit/disk_machine.c drivers/pci/pci_host.c */
/* TEST: 20000 runs of up to 1024 bytes */
/* Partition tables: the input is the partition's number, the disk's size and block size, and what stands in its first and last blocks as
 * (block, offset, length, bytes). A GPT's checksums are made right where a flag says so. */
#include "tests/fuzz/fuzz.h"

#include "drivers/disk/partitions.h"
#include "tests/unit/disk_machine.h"
#include "tests/unit/fakes.h"

#define NEAR 24U /* blocks at each end of the disk that hold something */
#define BLOCK_MAX 4096U

static uint8_t near[2 * NEAR][BLOCK_MAX];
static struct disk made, *const disk = &made;
static struct spinlock lock;
static struct disk_range range;

static int ok(struct disk *d)
{
	(void)d;
	return 0;
}

static int encode(struct disk *d, struct disk_tag *tag, const struct disk_range *ranges, unsigned count)
{
	(void)tag;
	FUZZ_CHECK(count == 1 && ranges[0].len == d->block_size);
	range = ranges[0];
	return 0;
}

/* NULL: zeroes. */
static uint8_t *block_at(uint64_t block)
{
	if (block < NEAR)
		return near[block];
	return disk->blocks - 1 - block < NEAR ? near[NEAR + (disk->blocks - 1 - block)] : NULL;
}

static void start(struct disk *d, unsigned tag)
{
	void *memory = disk_machine_dma(range.phys, range.len);
	uint8_t *block = block_at(d->tag[tag].block);

	FUZZ_CHECK(memory && d->tag[tag].block < d->blocks);
	if (block)
		memcpy(memory, block, range.len);
	else
		memset(memory, 0, range.len);
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

static uint32_t crc32(uint32_t crc, const uint8_t *bytes, size_t size)
{
	crc = ~crc;
	while (size--) {
		crc ^= *bytes++;
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320U : 0);
	}
	return ~crc;
}

static uint64_t field(const uint8_t *header, unsigned at, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, header + at, size);
	return value;
}

/* Make the GPT header of this block right: its place and its checksums (UEFI table 5.5). */
static void seal_gpt(uint64_t at)
{
	uint8_t *header = block_at(at);
	uint32_t size = (uint32_t)field(header, 12, 4), crc = 0;
	uint64_t block = field(header, 72, 8), left = field(header, 80, 4) * field(header, 84, 4);

	memcpy(header, "EFI PART", 8);
	memcpy(header + 24, &at, 8);
	if (left > 32 << 10 || size > disk->block_size || size < 92)
		return;
	for (; left && block_at(block) && block < disk->blocks; block++) {
		uint32_t n = (uint32_t)(left < disk->block_size ? left : disk->block_size);

		crc = crc32(crc, block_at(block), n);
		left -= n;
	}
	memcpy(header + 88, &crc, 4);
	memset(header + 16, 0, 4);
	crc = crc32(0, header, size);
	memcpy(header + 16, &crc, 4);
}

/* One disk for all inputs: its memory for DMA is never given back. */
static void begin(void)
{
	disk_machine_reset();
	disk->ops = &ops;
	disk->lock = &lock;
	disk->blocks = 1;
	disk->block_size = 512;
	disk->max_blocks = 8;
	disk_add(disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)take(&in, 1), number = how & 8 ? (unsigned)take(&in, 4) : (unsigned)take(&in, 1);
	uint64_t first = 0, blocks = 0;
	const char *why = NULL;

	if (!disk->ops)
		begin();
	memset(near, 0, sizeof(near));
	fake.log_len = 0;
	disk->blocks = take_number(&in) & ~BIT(63);
	disk->blocks += !disk->blocks;
	disk->block_size = how & 1 ? 4096 : 512;
	if (how & 2)
		memcpy(near[0] + 510, "\x55\xaa", 2);
	while (in.left) {
		uint8_t *block = near[take_below(&in, 2 * NEAR)];
		size_t at = take(&in, 2) % disk->block_size, n = take(&in, 1);

		n = MIN(MIN(n, in.left), disk->block_size - at);
		memcpy(block + at, in.at, n);
		in.at += n;
		in.left -= n;
	}
	if (how & 4 && disk->blocks > 2) {
		seal_gpt(1);
		seal_gpt(disk->blocks - 1);
	}
	if (!partition_find(disk, number, &first, &blocks, &why))
		FUZZ_CHECK(number && first && blocks && first < disk->blocks && blocks <= disk->blocks - first);
	else
		FUZZ_CHECK(why);
	FUZZ_CHECK(!lock.held);
	return 0;
}

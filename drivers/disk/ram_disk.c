/* A request is a copy between the segments and the disk's memory, and is done before submit returns. */
#include "drivers/disk/ram_disk.h"

#include "lib/log.h"
#include "lib/string.h"

/* 1 MiB: about what a core copies in 100 microseconds. */
#define MAX_SECTORS 2048U
#define MAX_SEGMENTS 1024U

static int check(const struct block_device *block, const struct block_request *request)
{
	uint64_t left = (uint64_t)request->sectors * BLOCK_SECTOR_SIZE;

	if (request->sectors > block->max_sectors || request->segment_count > block->max_segments)
		return ERR_INVALID;
	if (request->op == BLOCK_WRITE && block->read_only)
		return ERR_INVALID;
	if (request->sector > block->sectors || request->sectors > block->sectors - request->sector)
		return ERR_RANGE;
	for (unsigned i = 0; i < request->segment_count; i++) {
		if (request->segments[i].len > left)
			return ERR_INVALID;
		left -= request->segments[i].len;
	}
	return left ? ERR_INVALID : 0;
}

static int transfer(struct ram_disk *disk, const struct block_request *request)
{
	uint8_t *at;
	int err;

	if (request->op == BLOCK_FLUSH)
		return 0;
	if (request->op != BLOCK_READ && request->op != BLOCK_WRITE)
		return ERR_UNSUPPORTED;
	err = check(&disk->block, request);
	if (err)
		return err;
	at = disk->base + request->sector * BLOCK_SECTOR_SIZE;
	for (unsigned i = 0; i < request->segment_count; i++) {
		const struct segment *s = &request->segments[i];

		if (request->op == BLOCK_READ)
			memcpy(s->base, at, s->len);
		else
			memcpy(at, s->base, s->len);
		at += s->len;
	}
	return 0;
}

static void submit(struct block_device *device, struct block_request *request)
{
	request->done(request, transfer((struct ram_disk *)device, request));
}

static const struct block_ops ops = { .submit = submit };

_Static_assert(offsetof(struct ram_disk, block) == 0, "submit casts a block device to its RAM disk");

int ram_disk_init(struct ram_disk *disk, const char *name, void *base, uint64_t size, bool read_only)
{
	uint64_t tail = size % BLOCK_SECTOR_SIZE;

	if (size == 0) {
		log_line("disk %s: it is empty", name);
		return ERR_INVALID;
	}
	if (tail) {
		log_line("disk %s: its %llu bytes are no whole number of %u-byte sectors (%llu bytes too many)", name,
			 (unsigned long long)size, BLOCK_SECTOR_SIZE, (unsigned long long)tail);
		return ERR_INVALID;
	}
	memset(disk, 0, sizeof(*disk));
	disk->base = base;
	disk->block.ops = &ops;
	disk->block.sectors = size / BLOCK_SECTOR_SIZE;
	disk->block.block_size = BLOCK_SECTOR_SIZE;
	disk->block.max_sectors = MAX_SECTORS;
	disk->block.max_segments = MAX_SEGMENTS;
	disk->block.read_only = read_only;
	memcpy(disk->block.id, name, strnlen(name, BLOCK_ID_SIZE));
	return 0;
}

/* Partition tables are read from the disk block by block. GPT is believed only with its checksums right, from
 * its first or its second copy. */
#include "drivers/disk/partitions.h"

#include "drivers/host.h"
#include "lib/log.h"
#include "lib/string.h"

#define MBR_ENTRIES 446
#define MBR_SIGNATURE 510
#define MBR_PROTECTIVE 0xee
#define LOGICAL_MAX 128
#define GPT_ENTRIES_MAX 1024U
#define GPT_ENTRY_MIN 128U

struct PACKED mbr_entry {
	uint8_t status, chs_first[3], type, chs_last[3];
	uint32_t first, count;
};
_Static_assert(sizeof(struct mbr_entry) == 16, "UEFI table 5.2");

struct PACKED gpt_header {
	char signature[8];
	uint32_t revision, size, crc, reserved;
	uint64_t here, other, first_usable, last_usable;
	uint8_t guid[16];
	uint64_t entries_at;
	uint32_t entries, entry_size, entries_crc;
};
_Static_assert(sizeof(struct gpt_header) == 92, "UEFI table 5.5");

struct PACKED gpt_entry {
	uint8_t type[16], guid[16];
	uint64_t first, last;
};

/* One page, which holds a block of any disk. */
static uint8_t *page;
static uint64_t page_phys;

static int read_block(struct disk *disk, uint64_t block)
{
	if (!page)
		page = host_dma_alloc(1, &page_phys);
	return page ? disk_read_now(disk, block, 1, page_phys) : ERR_NOMEM;
}

/* CRC-32 of Ethernet, continued from `crc` (begin with 0). */
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

static bool is_type(uint8_t type, const char *types)
{
	return type && strchr(types, (char)type);
}

/* ---- MBR ---- */

static bool extended(uint8_t type)
{
	return is_type(type, "\x05\x0f\x85");
}

/* The table of the block at `at`. */
static bool read_mbr(struct disk *disk, uint64_t at, struct mbr_entry entry[4])
{
	if (read_block(disk, at) || page[MBR_SIGNATURE] != 0x55 || page[MBR_SIGNATURE + 1] != 0xaa)
		return false;
	memcpy(entry, page + MBR_ENTRIES, 4 * sizeof(entry[0]));
	return true;
}

/* A chain of tables: entry 0 is a partition, relative to its own table; entry 1 the next table, relative to the first one. */
static int find_logical(struct disk *disk, uint64_t start, unsigned number, uint64_t *first, uint64_t *blocks)
{
	struct mbr_entry entry[4];
	uint64_t at = start;

	for (unsigned n = 5; n < LOGICAL_MAX && read_mbr(disk, at, entry); n++) {
		if (n == number && entry[0].type) {
			*first = at + entry[0].first;
			*blocks = entry[0].count;
			return 0;
		}
		if (!extended(entry[1].type) || !entry[1].first)
			break;
		at = start + entry[1].first;
	}
	return ERR_NOENT;
}

static int find_mbr(struct disk *disk, const struct mbr_entry entry[4], unsigned number, uint64_t *first, uint64_t *blocks)
{
	if (number > 4) {
		for (unsigned i = 0; i < 4; i++)
			if (extended(entry[i].type))
				return find_logical(disk, entry[i].first, number, first, blocks);
		return ERR_NOENT;
	}
	if (!entry[number - 1].type || extended(entry[number - 1].type))
		return ERR_NOENT;
	*first = entry[number - 1].first;
	*blocks = entry[number - 1].count;
	return 0;
}

/* ---- GPT ---- */

static bool read_header(struct disk *disk, uint64_t at, struct gpt_header *header)
{
	uint32_t crc;

	if (read_block(disk, at))
		return false;
	memcpy(header, page, sizeof(*header));
	if (memcmp(header->signature, "EFI PART", 8) != 0 || header->size < sizeof(*header) || header->size > disk->block_size ||
	    header->here != at)
		return false;
	crc = header->crc;
	memset(page + offsetof(struct gpt_header, crc), 0, sizeof(crc));
	return crc32(0, page, header->size) == crc && header->entries <= GPT_ENTRIES_MAX && header->entry_size >= GPT_ENTRY_MIN &&
	       header->entry_size <= disk->block_size && (header->entry_size & (header->entry_size - 1)) == 0;
}

/* Read the whole array, for its checksum, and keep entry `number`. */
static bool read_entries(struct disk *disk, const struct gpt_header *header, unsigned number, struct gpt_entry *found)
{
	uint32_t left = header->entries * header->entry_size, crc = 0;
	uint64_t wanted = (uint64_t)(number - 1) * header->entry_size, at = 0;

	for (uint64_t block = header->entries_at; left; block++) {
		uint32_t n = MIN(left, disk->block_size);

		if (block < 2 || read_block(disk, block))
			return false;
		crc = crc32(crc, page, n);
		if (wanted >= at && wanted < at + n)
			memcpy(found, page + (wanted - at), sizeof(*found));
		at += n;
		left -= n;
	}
	return crc == header->entries_crc;
}

static int find_gpt(struct disk *disk, unsigned number, uint64_t *first, uint64_t *blocks, const char **why)
{
	const uint64_t places[] = { 1, disk->blocks - 1 };

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		static const uint8_t unused[16];
		struct gpt_header header;
		struct gpt_entry entry;

		memset(&entry, 0, sizeof(entry));
		if (!read_header(disk, places[i], &header) || !read_entries(disk, &header, number, &entry))
			continue;
		if (i)
			log_line("disk %s: its first GPT is broken, the second one is used", disk->name);
		*why = "no such partition in the GPT";
		if (number > header.entries || !memcmp(entry.type, unused, sizeof(unused)) || entry.last < entry.first)
			return ERR_NOENT;
		*first = entry.first;
		*blocks = entry.last - entry.first + 1;
		return 0;
	}
	*why = "its GPT is broken, and so is the second one";
	return ERR_INVALID;
}

int partition_find(struct disk *disk, unsigned number, uint64_t *first, uint64_t *blocks, const char **why)
{
	struct mbr_entry entry[4];
	int err;

	if (!number) {
		*why = "partitions are numbered from 1";
		return ERR_NOENT;
	}
	if (disk->blocks < 3 || !read_mbr(disk, 0, entry)) {
		*why = "no partition table, or it cannot be read";
		return ERR_INVALID;
	}
	if (entry[0].type == MBR_PROTECTIVE || entry[1].type == MBR_PROTECTIVE) {
		err = find_gpt(disk, number, first, blocks, why);
	} else {
		*why = "no such partition in the MBR";
		err = find_mbr(disk, entry, number, first, blocks);
	}
	if (!err && (!*first || !*blocks || *first >= disk->blocks || *blocks > disk->blocks - *first)) {
		*why = "the partition reaches beyond the disk";
		err = ERR_INVALID;
	}
	return err;
}

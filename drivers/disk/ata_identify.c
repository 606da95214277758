/* The answer to IDENTIFY DEVICE turned into a disk's size, name and abilities, and the command codes for a request, for both drivers of ATA
 * disks (AHCI and IDE). */
#include "drivers/disk/ata.h"

#include "lib/log.h"

#define WORD_SERIAL 10
#define WORD_MODEL 27
#define WORD_CAPABILITIES 49
#define WORD_SECTORS_28 60
#define WORD_COMMANDS_1 82
#define WORD_COMMANDS_2 83
#define WORD_ENABLED_1 85
#define WORD_SECTORS_48 100
#define WORD_SECTOR_SIZE 106
#define WORD_SECTOR_WORDS 117

static uint64_t number(const uint16_t *words, unsigned count)
{
	uint64_t value = 0;

	while (count--)
		value = value << 16 | words[count];
	return value;
}

bool ata_identified(struct disk *disk, const uint16_t words[256], bool *lba48)
{
	uint32_t size = 512;

	*lba48 = (words[WORD_COMMANDS_2] & 0xc400) == 0x4400;
	disk_text(disk->serial, sizeof(disk->serial), &words[WORD_SERIAL], 20, true);
	disk_text(disk->model, sizeof(disk->model), &words[WORD_MODEL], 40, true);
	if ((words[WORD_SECTOR_SIZE] & 0xd000) == 0x5000)
		size = (uint32_t)MIN(number(&words[WORD_SECTOR_WORDS], 2) * 2, 65536UL);
	disk->block_size = size;
	disk->blocks = *lba48 ? number(&words[WORD_SECTORS_48], 4) : number(&words[WORD_SECTORS_28], 2);
	disk->max_blocks = *lba48 ? (uint32_t)MIB(1) / MAX(size, BLOCK_SECTOR_SIZE) : 256;
	/* A write cache that is off may be on again after a reset (ATA8-ACS, "software settings preservation"): a flush too many does no
	 * harm. */
	disk->write_cache = (words[WORD_COMMANDS_1] | words[WORD_ENABLED_1]) & BIT(5);
	if ((words[WORD_CAPABILITIES] & 0x300) == 0x300 && size >= 512 && size <= 4096 && !(size & (size - 1)) && disk->blocks &&
	    disk->blocks < BIT(48))
		return true;
	log_line("disk %s: %s: without DMA and LBA, or with blocks of %u bytes: not supported", disk->name, disk->model, size);
	return false;
}

uint8_t ata_command(const struct disk_tag *tag, bool lba48)
{
	switch (tag->op) {
	case BLOCK_READ:
		return lba48 ? ATA_READ_DMA_EXT : ATA_READ_DMA;
	case BLOCK_WRITE:
		return lba48 ? ATA_WRITE_DMA_EXT : ATA_WRITE_DMA;
	case BLOCK_FLUSH:
	default:
		return lba48 ? ATA_FLUSH_EXT : ATA_FLUSH;
	}
}

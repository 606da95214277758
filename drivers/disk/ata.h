/* What ATA disks have in common, whoever talks to them: commands and IDENTIFY DEVICE (ATA8-ACS). */
#ifndef DRIVERS_DISK_ATA_H
#define DRIVERS_DISK_ATA_H

#include "drivers/disk/disk.h"

#define ATA_READ_DMA 0xc8U
#define ATA_WRITE_DMA 0xcaU
#define ATA_READ_DMA_EXT 0x25U
#define ATA_WRITE_DMA_EXT 0x35U
#define ATA_FLUSH 0xe7U
#define ATA_FLUSH_EXT 0xeaU
#define ATA_IDENTIFY 0xecU

#define ATA_BUSY 0x80U
#define ATA_FAULT 0x20U
#define ATA_REQUEST 0x08U
#define ATA_ERROR 0x01U

/* Fill in the disk from the 256 words of IDENTIFY DEVICE; *lba48 tells which commands it takes. Returns false, logged, where it is no
 * disk that DMA reaches. */
bool ata_identified(struct disk *disk, const uint16_t words[256], bool *lba48);

/* The command for what the tag is to do. */
uint8_t ata_command(const struct disk_tag *tag, bool lba48);

#endif

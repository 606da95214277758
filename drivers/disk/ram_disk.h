/* A disk in memory, such as a boot module: a block backend that is done at once. */
#ifndef DRIVERS_DISK_RAM_DISK_H
#define DRIVERS_DISK_RAM_DISK_H

#include "drivers/disk/block.h"

struct ram_disk {
	struct block_device block;
	uint8_t *base;
};

/* Make a disk of the `size` bytes at `base`, which stay the caller's; `name` goes to the log and, its first 20 bytes, to the id.
 * Returns 0, or ERR_INVALID (logged) where the size is 0 or no whole number of sectors. */
int ram_disk_init(struct ram_disk *disk, const char *name, void *base, uint64_t size, bool read_only);

#endif

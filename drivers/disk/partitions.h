/* Partition tables: GPT (UEFI 2.10, section 5.3) and MBR with logical partitions (section 5.2.1 and the old convention of chained tables). */
#ifndef DRIVERS_DISK_PARTITIONS_H
#define DRIVERS_DISK_PARTITIONS_H

#include "drivers/disk/disk.h"

/* Where partition `number` (as Linux numbers them: from 1; logical ones from 5) lies, in the disk's blocks. Every byte of the table is
 * checked: the result is within the disk. Returns 0, or ERR_IO, ERR_NOENT or ERR_INVALID with *why: a reason for the log. Before guests
 * run. */
int partition_find(struct disk *disk, unsigned number, uint64_t *first, uint64_t *blocks, const char **why);

#endif

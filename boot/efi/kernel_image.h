/* lamina.elf as a loader sees it (System V ABI, chapter 5: ELF-64 program headers): what is to be copied where. */
#ifndef BOOT_EFI_KERNEL_IMAGE_H
#define BOOT_EFI_KERNEL_IMAGE_H

#include "lib/types.h"

#define KERNEL_SEGMENTS_MAX 8

struct kernel_segment {
	uint32_t offset;     /* in the file */
	uint32_t file_size;  /* bytes to copy */
	uint32_t size;       /* bytes in memory: zeroes after file_size */
	uint32_t address;    /* physical */
};

struct kernel_image {
	unsigned count;
	struct kernel_segment segment[KERNEL_SEGMENTS_MAX];
	uint32_t entry;      /* physical: 32-bit protected mode without paging */
	uint32_t start, end; /* all of it in memory; page boundaries */
};

/* Read the headers of a file of `size` bytes. Every segment must lie between 1 MiB and `limit` (exclusive) and not overlap another.
 * Returns NULL, or what is wrong with it, to be read after its name. */
const char *kernel_image_parse(const void *file, uint64_t size, uint32_t limit, struct kernel_image *image);

#endif

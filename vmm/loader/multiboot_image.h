/* A Multiboot kernel's file: its header, and its segments on their way into guest memory. */
#ifndef VMM_LOADER_MULTIBOOT_IMAGE_H
#define VMM_LOADER_MULTIBOOT_IMAGE_H

#include "vmm/loader/loader.h"

struct multiboot_image {
	uint64_t entry; /* physical */
	uint64_t end;   /* of the highest segment */
};

/* Where the header is in the file: 4-byte aligned in the first 8 KiB, checksum right (Multiboot section 3.1). False: nowhere. */
bool multiboot_find_header(const struct loader_file *kernel, uint64_t *offset);

/* Put the kernel's segments into guest memory, by the header's addresses (flag 16) or the ELF32 program headers.
 * Returns 0, or ERR_INVALID with the reason in l->error. */
int multiboot_load_image(struct loader *l, struct multiboot_image *image);

#endif

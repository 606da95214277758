/* Multiboot2 boot information (Multiboot2 Specification version 2.0, section 3.6): a parser over a memory buffer. */
#ifndef BOOT_MULTIBOOT2_H
#define BOOT_MULTIBOOT2_H

#include "boot/boot_info.h"
#include "lib/types.h"

/* What EAX holds at entry (section 3.5). */
#define MULTIBOOT2_BOOT_MAGIC 0x36d76289U

/* Read the information at `info`, of which `mapped_size` bytes may be read, into *out (cleared first; kernel_start and kernel_end stay
 * 0). Returns 0, or ERR_INVALID or ERR_NOMEM with *error set to a sentence that says what is wrong (a literal).
 *
 * Refused: wrong sizes, truncated or missing tags, strings without an end or too long, a memory map without usable memory or with a
 * range that wraps, modules that end before they start or overlap. Tolerated: overlapping, empty or unsorted memory-map ranges, empty
 * modules, unknown tags, a tag given twice (the first counts; RSDP: the newer one), a framebuffer that makes no sense (then absent). */
int multiboot2_parse(const void *info, size_t mapped_size, struct boot_info *out, const char **error);

#endif

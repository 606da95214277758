/* The last step of lamina.efi: from long mode with the firmware's page tables to the kernel's 32-bit entry. */
#ifndef BOOT_EFI_HANDOFF_H
#define BOOT_EFI_HANDOFF_H

#include "boot/efi/kernel_image.h"
#include "lib/types.h"

/* A piece of the kernel: `copy` bytes are copied from one physical address to another, and `zero` bytes behind them cleared. */
struct handoff_segment {
	uint32_t to, from, copy, zero;
} PACKED;

/* What handoff.asm reads: it copies the kernel to its place with paging off, where none of the firmware's memory is needed any more. */
struct handoff {
	uint32_t entry;
	uint32_t magic;          /* EAX at the entry */
	uint32_t info;           /* EBX */
	uint32_t count;          /* of segments */
	struct handoff_segment segment[KERNEL_SEGMENTS_MAX];
} PACKED;

/* The code, which runs wherever it is copied to, and the place of its struct handoff in it. */
extern const uint8_t handoff_start[], handoff_data[], handoff_end[];

/* Run a copy at `code`, a page of executable memory below 4 GiB that is mapped one to one. */
NORETURN void handoff_run(uint64_t code);

#endif

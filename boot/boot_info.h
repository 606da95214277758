/* What the boot loader told us, in one form for every loader. All of it is copied: nothing points into the loader's memory. */
#ifndef BOOT_BOOT_INFO_H
#define BOOT_BOOT_INFO_H

#include "lib/types.h"

/* What EAX holds at entry when lamina.efi started the kernel; EBX is then the physical address of a struct boot_info below 4 GiB. */
#define BOOT_INFO_MAGIC 0x4c616d69U

#define BOOT_MEMORY_MAX 512
#define BOOT_MODULES_MAX 32
#define BOOT_MODULE_CMDLINE_SIZE 256
#define BOOT_CMDLINE_SIZE 1024
#define BOOT_LOADER_NAME_SIZE 64

/* The values of Multiboot2 and of e820. */
enum boot_memory_type {
	BOOT_MEMORY_USABLE = 1,
	BOOT_MEMORY_RESERVED = 2,
	BOOT_MEMORY_ACPI = 3, /* tables; usable once they are read */
	BOOT_MEMORY_NVS = 4,
	BOOT_MEMORY_BAD = 5,
};

struct boot_memory {
	uint64_t base;
	uint64_t length; /* bytes, never 0 */
	uint32_t type;   /* enum boot_memory_type */
};

struct boot_module {
	uint64_t start;
	uint64_t end;    /* first byte after it; equal to start where the file is empty */
	char cmdline[BOOT_MODULE_CMDLINE_SIZE]; /* what follows the file name in GRUB's `module2 FILE ...` */
};

/* A linear framebuffer of whole pixels. A screen in text mode is not described: VGA's is where it always was. */
struct boot_framebuffer {
	uint64_t address; /* physical; 0: there is none */
	uint32_t pitch;   /* bytes from one line to the next */
	uint32_t width, height; /* pixels */
	uint8_t bpp;      /* bits a pixel */
	uint8_t red_position, red_size; /* bits in a pixel, from bit 0 of a little-endian one */
	uint8_t green_position, green_size;
	uint8_t blue_position, blue_size;
};

struct boot_info {
	uint32_t size;           /* sizeof(struct boot_info) where it was filled in: tells a loader of another version */
	unsigned memory_count;
	struct boot_memory memory[BOOT_MEMORY_MAX]; /* sorted, disjoint; where entries overlapped, the less usable type won */
	unsigned module_count;
	struct boot_module module[BOOT_MODULES_MAX]; /* in the loader's order */
	char cmdline[BOOT_CMDLINE_SIZE];
	char loader_name[BOOT_LOADER_NAME_SIZE];
	uint64_t rsdp_address;   /* physical; 0 where the loader only gave a copy */
	unsigned rsdp_size;      /* of the copy: 0 (none), 20 (ACPI 1.0) or 36 */
	uint8_t rsdp[36];
	struct boot_framebuffer framebuffer;
	uint64_t efi_system_table; /* physical; 0 where the firmware is not UEFI */
	uint64_t smbios_address; /* of the entry point structure, physical; 0 where the loader did not look for it */
	uint64_t kernel_start;   /* Lamina's own image, physical; filled in by the entry code, not by the parser */
	uint64_t kernel_end;
};

/* Add one range to the memory map, keeping it sorted and disjoint: where ranges overlap, the less usable type wins (bad, reserved,
 * NVS, ACPI, usable, in this order); unknown types count as reserved. An empty range is ignored.
 * Returns 0, ERR_INVALID (wraps) or ERR_NOMEM (table full; the map then covers what came before, perhaps with a part of this range). */
int boot_info_add_memory(struct boot_info *info, uint64_t base, uint64_t length, uint32_t type);

/* Check what a loader filled in, whichever it was. Returns 0, or ERR_INVALID with *error set to a sentence (a literal) that says what is
 * wrong: another version's structure, a memory map without usable memory or not sorted and disjoint, modules that end before they start
 * or overlap, a text without an end. A framebuffer that makes no sense is removed. */
int boot_info_check(struct boot_info *info, const char **error);

/* Sum of the usable ranges, bytes. */
uint64_t boot_info_usable_bytes(const struct boot_info *info);

/* End of the highest usable range, 0 where there is none. */
uint64_t boot_info_usable_end(const struct boot_info *info);

#endif

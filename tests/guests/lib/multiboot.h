/* The Multiboot information that the loader left (Multiboot specification 0.6.96, section 3.3). */
#ifndef TESTS_GUESTS_LIB_MULTIBOOT_H
#define TESTS_GUESTS_LIB_MULTIBOOT_H

#include "lib/types.h"

#define MULTIBOOT_BOOT_MAGIC 0x2badb002U

struct PACKED multiboot_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper;
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr;
};
_Static_assert(sizeof(struct multiboot_info) == 52, "Multiboot specification, section 3.3");

struct PACKED multiboot_region {
	uint32_t size; /* of the rest */
	uint64_t base, length;
	uint32_t type; /* 1: RAM */
};
_Static_assert(sizeof(struct multiboot_region) == 24, "Multiboot specification, section 3.3");

extern uint32_t boot_magic, boot_info_address;
extern uint8_t image_end[];

#endif

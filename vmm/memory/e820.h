/* The guest's memory map, as the BIOS call INT 15h AX=E820h would tell it (ACPI 6.4 section 15.1). */
#ifndef VMM_MEMORY_E820_H
#define VMM_MEMORY_E820_H

#include "lib/types.h"
#include "vmm/memory/guest_memory.h"

enum e820_type {
	E820_RAM = 1,
	E820_RESERVED = 2,
};

struct e820_entry {
	uint64_t base;
	uint64_t size;
	uint32_t type;
} PACKED;
_Static_assert(sizeof(struct e820_entry) == 20, "Linux boot_params.e820_table and INT 15h");

/* Each region of RAM gives one entry, the cut that the first MiB makes one more, its two reserved areas and the APICs' pages two each. */
#define E820_MAX (GUEST_REGIONS_MAX + 5)

/* The map of a guest with this RAM, sorted by base. Returns the number of entries. */
unsigned e820_build(const struct guest_memory *mem, struct e820_entry map[E820_MAX]);

/* Guest-physical end of the RAM that begins at 1 MiB; 1 MiB where there is none. */
uint64_t e820_low_ram_end(const struct guest_memory *mem);

#endif

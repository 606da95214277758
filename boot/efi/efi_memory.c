/* Allocation of whole pages from the firmware, its memory map turned into Lamina's types, and the exit from the boot services. */
#include "boot/efi/efi_memory.h"

#include "lib/printf.h"
#include "lib/string.h"

#define ALLOCATIONS_MAX 96
#define LOW_TRIES 16
#define LEAVE_TRIES 8
#define MEMORY_WB 0x8ULL            /* UEFI 2.10 section 7.2.3, EFI_MEMORY_WB */
#define MEMORY_SPECIAL 0x40000ULL   /* EFI_MEMORY_SP: memory for a special purpose, not for general use */

static struct {
	EFI_PHYSICAL_ADDRESS address;
	UINTN pages;
} allocations[ALLOCATIONS_MAX];
static unsigned allocation_count;

/* The memory map's buffer: it may grow between two readings of the map, as allocating it changes the map. */
struct map {
	uint8_t *bytes;
	UINTN capacity, size, key, entry_size;
	UINT32 version;
};

uint64_t efi_alloc(uint64_t size, uint64_t limit, bool code)
{
	UINTN pages = (UINTN)((MAX(size, 1UL) + PAGE_SIZE - 1) / PAGE_SIZE);

	if (size > UINT64_MAX - PAGE_SIZE)
		return 0;
	/* Firmware hands memory out from the top. Where it does not, memory that lies too low is kept, so that the next try gets other
	 * memory. */
	for (unsigned i = 0; i < LOW_TRIES && allocation_count < ALLOCATIONS_MAX; i++) {
		EFI_PHYSICAL_ADDRESS address = limit ? limit - 1 : 0;

		if (EFI_ERROR(efi_system->BootServices->AllocatePages(limit ? AllocateMaxAddress : AllocateAnyPages,
								      code ? EfiLoaderCode : EfiLoaderData, pages, &address)))
			return 0;
		allocations[allocation_count].address = address;
		allocations[allocation_count++].pages = pages;
		if (address >= EFI_ALLOC_LOWEST)
			return address;
	}
	return 0;
}

void efi_free_all(void)
{
	while (allocation_count) {
		allocation_count--;
		efi_system->BootServices->FreePages(allocations[allocation_count].address, allocations[allocation_count].pages);
	}
}

/* UEFI 2.10 section 7.2, "Memory Type Usage after ExitBootServices()". */
static uint32_t type_after_exit(const EFI_MEMORY_DESCRIPTOR *entry)
{
	switch (entry->Type) {
	case EfiLoaderCode:
	case EfiLoaderData:
	case EfiBootServicesCode:
	case EfiBootServicesData:
	case EfiConventionalMemory:
		if ((entry->Attribute & (EFI_MEMORY_RUNTIME | MEMORY_SPECIAL)) || !(entry->Attribute & MEMORY_WB))
			return BOOT_MEMORY_RESERVED;
		return BOOT_MEMORY_USABLE;
	case EfiUnusableMemory:
		return BOOT_MEMORY_BAD;
	case EfiACPIReclaimMemory:
		return BOOT_MEMORY_ACPI;
	case EfiACPIMemoryNVS:
		return BOOT_MEMORY_NVS;
	default:
		return BOOT_MEMORY_RESERVED;
	}
}

static EFI_STATUS read_map(struct map *map)
{
	map->size = map->capacity;
	return efi_system->BootServices->GetMemoryMap(&map->size, (EFI_MEMORY_DESCRIPTOR *)map->bytes, &map->key, &map->entry_size,
						      &map->version);
}

static const char *convert(const struct map *map, struct boot_info *info)
{
	EFI_MEMORY_DESCRIPTOR entry;

	info->memory_count = 0;
	if (map->entry_size < sizeof(entry))
		return "the firmware's memory map has entries of a wrong size";
	for (UINTN at = 0; map->size - at >= map->entry_size; at += map->entry_size) {
		memcpy(&entry, map->bytes + at, sizeof(entry));
		if (entry.NumberOfPages > UINT64_MAX / PAGE_SIZE)
			return "a range of the firmware's memory map wraps around";
		switch (boot_info_add_memory(info, entry.PhysicalStart, entry.NumberOfPages * PAGE_SIZE, type_after_exit(&entry))) {
		case 0:
			break;
		case ERR_NOMEM:
			return "the firmware's memory map has too many ranges";
		default:
			return "a range of the firmware's memory map wraps around";
		}
	}
	return NULL;
}

/* Is [first, end) one usable range, or part of one? */
static const char *check_place(const struct boot_info *info, uint64_t first, uint64_t end)
{
	static char text[128];

	for (unsigned i = 0; i < info->memory_count; i++) {
		const struct boot_memory *range = &info->memory[i];

		if (range->type == BOOT_MEMORY_USABLE && range->base <= first && end <= range->base + range->length)
			return NULL;
	}
	snprintf(text, sizeof(text), "the firmware keeps memory for itself between %lx and %lx, where Lamina's kernel has its place", first, end);
	return text;
}

const char *efi_leave(EFI_HANDLE image, struct boot_info *info, uint64_t first, uint64_t end)
{
	EFI_BOOT_SERVICES *services = efi_system->BootServices;
	struct map map = { .bytes = NULL };
	EFI_STATUS status = read_map(&map);
	const char *error;

	/* After the first try to leave nothing can be allocated any more: leave room for a map that has become longer. */
	map.capacity = 2 * map.size + PAGE_SIZE;
	map.bytes = (uint8_t *)efi_alloc(map.capacity, 0, false);
	if (status != EFI_BUFFER_TOO_SMALL || !map.bytes)
		return "the firmware gives no memory map";
	for (unsigned i = 0; i < LEAVE_TRIES; i++) {
		if (EFI_ERROR(read_map(&map)))
			return "the firmware gives no memory map";
		error = convert(&map, info);
		if (!error)
			error = check_place(info, first, end);
		if (error)
			return error;
		status = services->ExitBootServices(image, map.key);
		if (!EFI_ERROR(status))
			return NULL;
		/* The map has changed since: an event of the firmware's own. */
		if (status != EFI_INVALID_PARAMETER)
			break;
	}
	return "the firmware does not leave its boot services";
}

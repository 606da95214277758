/* SOURCES: boot/efi/efi_memory.c boot/boot_info.c lib/printf.c */
/* LIBS: -isystem /usr/include/efi -isystem /usr/include/efi/x86_64 -DGNU_EFI_USE_MS_ABI -DEFI_FUNCTION_WRAPPER -fshort-wchar */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "boot/efi/efi_memory.h"

#define WB 8
#define MAP_MAX 8
#define ENTRY_SIZE 48   /* firmware's entries are larger than the specification's */
#define FIRST 0x200000
#define END 0x280000

EFI_SYSTEM_TABLE *efi_system;

/* The firmware. */
static EFI_SYSTEM_TABLE table;
static EFI_BOOT_SERVICES services;
static EFI_MEMORY_DESCRIPTOR map[MAP_MAX];
static unsigned map_count, reads, exits, changes, pages_allocated;
static uint64_t next_pages, last_pages;
static uint8_t memory[16 * PAGE_SIZE] __attribute__((aligned(4096)));
static EFI_STATUS exit_failure;
static struct boot_info info;

static EFI_STATUS EFIAPI get_memory_map(UINTN *size, EFI_MEMORY_DESCRIPTOR *to, UINTN *key, UINTN *entry_size, UINT32 *version)
{
	UINTN capacity = *size;

	*size = map_count * ENTRY_SIZE;
	*entry_size = ENTRY_SIZE;
	*version = EFI_MEMORY_DESCRIPTOR_VERSION;
	*key = 1000 + changes;
	if (capacity < *size)
		return EFI_BUFFER_TOO_SMALL;
	reads++;
	for (unsigned i = 0; i < map_count; i++)
		memcpy((uint8_t *)to + (size_t)i * ENTRY_SIZE, &map[i], sizeof(map[i]));
	return EFI_SUCCESS;
}

/* `changes_left` times, the map changes between its reading and the exit. */
static unsigned changes_left;
static EFI_STATUS EFIAPI exit_boot_services(EFI_HANDLE image, UINTN key)
{
	(void)image;
	exits++;
	if (exit_failure)
		return exit_failure;
	if (changes_left) {
		changes_left--;
		changes++;
	}
	return key == 1000 + changes ? EFI_SUCCESS : EFI_INVALID_PARAMETER;
}

static EFI_STATUS EFIAPI allocate_pages(EFI_ALLOCATE_TYPE type, EFI_MEMORY_TYPE kind, UINTN pages, EFI_PHYSICAL_ADDRESS *address)
{
	(void)kind;
	assert_true(type == AllocateAnyPages || *address == GIB(4) - 1);
	assert_int_equal(exits, 0);
	changes++;
	pages_allocated += (unsigned)pages;
	*address = next_pages;
	next_pages += pages * PAGE_SIZE;
	return next_pages > last_pages ? EFI_OUT_OF_RESOURCES : EFI_SUCCESS;
}

static EFI_STATUS EFIAPI free_pages(EFI_PHYSICAL_ADDRESS address, UINTN pages)
{
	(void)address;
	pages_allocated -= (unsigned)pages;
	return EFI_SUCCESS;
}

static void add(uint32_t type, uint64_t start, uint64_t end, uint64_t attributes)
{
	map[map_count++] = (EFI_MEMORY_DESCRIPTOR){ .Type = type, .PhysicalStart = start, .NumberOfPages = (end - start) / PAGE_SIZE, .Attribute = attributes };
}

static int boot(void **state)
{
	(void)state;
	efi_system = &table;
	services.FreePages = free_pages;
	table.BootServices = &services;
	efi_free_all();
	memset(&info, 0, sizeof(info));
	map_count = reads = exits = changes = changes_left = pages_allocated = 0;
	exit_failure = EFI_SUCCESS;
	next_pages = (uintptr_t)memory;
	last_pages = (uintptr_t)memory + sizeof(memory);
	services.GetMemoryMap = get_memory_map;
	services.ExitBootServices = exit_boot_services;
	services.AllocatePages = allocate_pages;
	add(EfiBootServicesCode, 0, 0xa0000, WB);
	add(EfiConventionalMemory, 0x100000, 0x240000, WB);
	add(EfiBootServicesData, 0x240000, 0x800000, WB);
	return 0;
}

static void test_types(void **state)
{
	static const struct { uint32_t efi; uint64_t attributes; uint32_t ours; } rows[] = {
		{ EfiLoaderCode, WB, BOOT_MEMORY_USABLE }, { EfiLoaderData, WB, BOOT_MEMORY_USABLE },
		{ EfiBootServicesCode, WB, BOOT_MEMORY_USABLE }, { EfiBootServicesData, WB, BOOT_MEMORY_USABLE },
		{ EfiConventionalMemory, WB, BOOT_MEMORY_USABLE }, { EfiConventionalMemory, 1, BOOT_MEMORY_RESERVED },
		{ EfiConventionalMemory, WB | 0x40000, BOOT_MEMORY_RESERVED }, { EfiBootServicesData, WB | EFI_MEMORY_RUNTIME, BOOT_MEMORY_RESERVED },
		{ EfiRuntimeServicesCode, WB, BOOT_MEMORY_RESERVED }, { EfiRuntimeServicesData, WB, BOOT_MEMORY_RESERVED },
		{ EfiReservedMemoryType, WB, BOOT_MEMORY_RESERVED }, { EfiMemoryMappedIO, WB, BOOT_MEMORY_RESERVED }, { 14, WB, BOOT_MEMORY_RESERVED },
		{ 0x80000000, WB, BOOT_MEMORY_RESERVED }, { EfiACPIReclaimMemory, WB, BOOT_MEMORY_ACPI }, { EfiACPIMemoryNVS, WB, BOOT_MEMORY_NVS },
		{ EfiUnusableMemory, WB, BOOT_MEMORY_BAD },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		boot(state);
		add(rows[i].efi, GIB(5), GIB(6), rows[i].attributes);
		assert_null(efi_leave(NULL, &info, FIRST, END));
		assert_int_equal(info.memory_count, 3);
		assert_int_equal(info.memory[1].length, 0x700000); /* free after the exit, and joined */
		assert_int_equal(info.memory[2].type, rows[i].ours);
		assert_int_equal(info.memory[2].length, GIB(1));
	}
}

static void test_the_map_changes(void **state)
{
	(void)state;
	changes_left = 3;
	assert_null(efi_leave(NULL, &info, FIRST, END));
	assert_int_equal(exits, 4);
	assert_int_equal(reads, 4);
	assert_int_equal(info.memory_count, 2);
}

static void test_it_never_leaves(void **state)
{
	(void)state;
	changes_left = 1000;
	assert_string_equal(efi_leave(NULL, &info, FIRST, END), "the firmware does not leave its boot services");
	assert_true(exits < 100);
	boot(state);
	exit_failure = EFI_UNSUPPORTED;
	assert_string_equal(efi_leave(NULL, &info, FIRST, END), "the firmware does not leave its boot services");
	assert_int_equal(exits, 1);
}

static void test_the_kernels_place(void **state)
{
	const char *error;

	map[2].Type = EfiRuntimeServicesData;
	error = efi_leave(NULL, &info, FIRST, END);
	assert_non_null(strstr(error, "between 200000 and 280000"));
	assert_int_equal(exits, 0);
	boot(state);
	map[2].Attribute |= EFI_MEMORY_RUNTIME;
	assert_non_null(efi_leave(NULL, &info, FIRST, END));
}

static void test_hostile_maps(void **state)
{
	add(EfiConventionalMemory, GIB(1), GIB(2), WB);
	map[3].NumberOfPages = UINT64_MAX;
	assert_string_equal(efi_leave(NULL, &info, FIRST, END), "a range of the firmware's memory map wraps around");
	boot(state);
	add(EfiConventionalMemory, UINT64_MAX - PAGE_SIZE + 1, UINT64_MAX, WB);
	map[3].NumberOfPages = 2;
	assert_string_equal(efi_leave(NULL, &info, FIRST, END), "a range of the firmware's memory map wraps around");
	assert_int_equal(exits, 0);
}

static void test_allocation(void **state)
{
	(void)state;
	next_pages = MIB(32);
	last_pages = GIB(1);
	assert_int_equal(efi_alloc(1, 0, false), MIB(32));
	assert_int_equal(efi_alloc(0, GIB(4), true), MIB(32) + PAGE_SIZE);
	assert_int_equal(efi_alloc(PAGE_SIZE + 1, GIB(4), false), MIB(32) + 2 * PAGE_SIZE);
	assert_int_equal(pages_allocated, 4);
	efi_free_all();
	assert_int_equal(pages_allocated, 0);
	/* Memory that is too low is passed over, as often as that is sensible. */
	next_pages = MIB(16) - 3 * PAGE_SIZE;
	assert_int_equal(efi_alloc(PAGE_SIZE, 0, false), MIB(16));
	next_pages = 0;
	assert_int_equal(efi_alloc(PAGE_SIZE, 0, false), 0);
	assert_int_equal(efi_alloc(UINT64_MAX, 0, false), 0);
	next_pages = GIB(1);
	assert_int_equal(efi_alloc(PAGE_SIZE, 0, false), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_types, boot),
		cmocka_unit_test_setup(test_the_map_changes, boot),
		cmocka_unit_test_setup(test_it_never_leaves, boot),
		cmocka_unit_test_setup(test_the_kernels_place, boot),
		cmocka_unit_test_setup(test_hostile_maps, boot),
		cmocka_unit_test_setup(test_allocation, boot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The memory map against the memory that is there. */
#include "lib/string.h"
#include "tests/guests/lib/acpi.h"
#include "tests/guests/lib/multiboot.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"
#include "tests/guests/lib/window.h"

#define REGIONS_MAX 64
#define IMAGE_START 0x100000U

static struct multiboot_region map[REGIONS_MAX];
static unsigned regions;

TEST(memory_map, "Memory map: magic, flags, regions that make sense")
{
	const struct multiboot_info *info = (const void *)(uint64_t)boot_info_address;
	const uint8_t *p;
	uint64_t total = 0;

	CHECK_EQUAL("EAX at the entry", boot_magic, MULTIBOOT_BOOT_MAGIC);
	CHECK((info->flags & 0x41) == 0x41, "flags %x lack the memory size or the map", info->flags);
	for (p = (const void *)(uint64_t)info->mmap_addr; p < (const uint8_t *)(uint64_t)info->mmap_addr + info->mmap_length;) {
		const struct multiboot_region *region = (const void *)p;

		CHECK(regions < REGIONS_MAX, "more than %u regions", REGIONS_MAX);
		map[regions++] = *region;
		p += region->size + 4;
	}
	CHECK(regions >= 2, "%u regions", regions);
	for (unsigned i = 0; i < regions; i++) {
		CHECK(map[i].base + map[i].length >= map[i].base, "region %u wraps", i);
		if (map[i].type != 1)
			continue;
		total += map[i].length;
		for (unsigned j = 0; j < regions; j++)
			CHECK(i == j || map[i].base + map[i].length <= map[j].base || map[j].base + map[j].length <= map[i].base,
			      "regions %u and %u overlap", i, j);
	}
	CHECK(total >= MIB(16), "%llu bytes of RAM in all", (unsigned long long)total);
	/* The upper memory of the old fields ends at the first hole. */
	for (unsigned i = 0; i < regions; i++) {
		if (map[i].type == 1 && map[i].base == MIB(1))
			CHECK(map[i].length / 1024 + 1024 >= info->mem_upper && map[i].length / 1024 <= info->mem_upper + 1024ULL,
			      "mem_upper is %u KiB, the region at 1 MiB has %llu", info->mem_upper, (unsigned long long)map[i].length / 1024);
	}
}

/* Pages that the guest uses itself, or that hold the firmware's data. */
static bool in_use(uint64_t page)
{
	return page < 0x1000 || (page >= 0x90000 && page < 0x100000) || (page >= IMAGE_START && page < (uint64_t)image_end) ||
	       page == (boot_info_address & PAGE_MASK);
}

static void each_page(void (*visit)(volatile uint64_t *page))
{
	for (unsigned i = 0; i < regions; i++) {
		if (map[i].type != 1)
			continue;
		for (uint64_t page = ALIGN_UP(map[i].base, 4096ULL);
		     page + 4096 <= map[i].base + map[i].length && page < GIB(4) && !test_failed(); page += 4096) {
			if (!in_use(page))
				visit((volatile uint64_t *)page);
		}
	}
}

static uint64_t pages_seen;

static void mark(volatile uint64_t *page)
{
	page[0] = (uint64_t)page ^ 0x5555aaaa00000000;
	page[511] = ~(uint64_t)page;
	pages_seen++;
}

static void verify(volatile uint64_t *page)
{
	uint64_t first = (uint64_t)page ^ 0x5555aaaa00000000, last = ~(uint64_t)page;

	if (page[0] != first)
		test_fail("page %llx: first word: wrote %llx, read %llx", (unsigned long long)(uint64_t)page, (unsigned long long)first,
			  (unsigned long long)page[0]);
	else if (page[511] != last)
		test_fail("page %llx: last word: wrote %llx, read %llx", (unsigned long long)(uint64_t)page, (unsigned long long)last,
			  (unsigned long long)page[511]);
}

TEST(ram, "RAM: each page's first and last word hold values of their own")
{
	pages_seen = 0;
	each_page(mark);
	each_page(verify);
	CHECK(pages_seen > 1000, "only %llu pages", (unsigned long long)pages_seen);
}

TEST(ram_high, "RAM above 4 GiB, through the window")
{
	volatile uint64_t *at = (volatile uint64_t *)window_page(0);
	unsigned seen = 0;

	for (unsigned i = 0; i < regions; i++) {
		if (map[i].type != 1 || map[i].base < GIB(4))
			continue;
		for (uint64_t offset = 0; offset + 4096 <= map[i].length; offset += MAX(map[i].length / 64 & PAGE_MASK, 4096ULL)) {
			window_map(0, (const void *)(map[i].base + offset), PTE_P | PTE_W);
			at[0] = offset;
			at[511] = ~offset;
			CHECK(at[0] == offset && at[511] == ~offset, "page %llx does not hold values", (unsigned long long)(map[i].base + offset));
			seen++;
		}
	}
	window_map(0, NULL, 0);
	if (!seen)
		SKIP("this machine has none");
}

static bool claimed(uint64_t page)
{
	for (unsigned i = 0; i < regions; i++) {
		if (page + 4096 > map[i].base && page < map[i].base + map[i].length)
			return true;
	}
	return false;
}

TEST(holes, "Holes: addresses that nothing claims read all ones, writes are dropped")
{
	static const uint64_t candidates[] = { 0xd0000000, 0xd0000ff8, 0xb0000000, 0x90000000, 0xfd800000, 0xfec80000 };

	for (unsigned i = 0; i < ARRAY_SIZE(candidates); i++) {
		volatile uint64_t *at = (volatile uint64_t *)candidates[i];

		if (claimed(candidates[i] & PAGE_MASK))
			continue;
		CHECK(at[0] == ~0ULL, "address %llx reads %llx", (unsigned long long)candidates[i], (unsigned long long)at[0]);
		at[0] = 0;
		CHECK(at[0] == ~0ULL, "address %llx reads %llx after a write", (unsigned long long)candidates[i], (unsigned long long)at[0]);
	}
	if (under_lamina()) { /* far above everything, at the end of what the address width allows */
		unsigned width = cpuid(0x80000008, 0).eax & 0xff;
		volatile uint64_t *at = (volatile uint64_t *)window_map(0, (const void *)((1ULL << width) - 4096), PTE_P | PTE_W);

		CHECK_EQUAL("the last page of the address space", at[511], ~0ULL);
		at[511] = 0;
		window_map(0, NULL, 0);
	}
}

TEST(alias, "Memory: two mappings of a page see each other, also across a page's end")
{
	static uint8_t pages[2][4096] __attribute__((aligned(4096)));
	uint8_t *one = window_map(0, pages[0], PTE_P | PTE_W), *two;

	window_map(1, pages[1], PTE_P | PTE_W);
	two = window_map(4, pages[1], PTE_P | PTE_W);
	window_map(5, pages[0], PTE_P | PTE_W);
	*(volatile uint64_t *)(one + 4092) = 0x1122334455667788;
	CHECK_EQUAL("the second page's start", *(volatile uint32_t *)two, 0x11223344);
	CHECK_EQUAL("the first page's end", *(volatile uint32_t *)(two + 0x1ffc), 0x55667788);
	window_map(0, pages, 0);
	window_map(1, pages, 0);
	window_map(4, pages, 0);
	window_map(5, pages, 0);
}

TEST(acpi_tables, "ACPI: root pointer and tables have right checksums and lengths")
{
	const struct acpi_rsdp *root = acpi_root();
	const struct acpi_header *table;
	const struct acpi_fadt *fadt;
	struct madt madt;

	CHECK(root, "no root pointer");
	CHECK_EQUAL("the root pointer's checksum", acpi_sum(root, 20), 0);
	if (root->revision >= 2)
		CHECK_EQUAL("the root pointer's extended checksum", acpi_sum(root, 36), 0);
	for (unsigned i = 0; (table = acpi_table(i)); i++) {
		CHECK(table->length >= sizeof(*table) && table->length < 0x100000, "table %.4s has length %u", table->signature, table->length);
		CHECK(acpi_sum(table, table->length) == 0, "table %.4s has a wrong checksum", table->signature);
	}
	fadt = acpi_find("FACP");
	CHECK(fadt, "no FADT");
	table = (const void *)(uint64_t)fadt->dsdt;
	CHECK(table && memcmp(table->signature, "DSDT", 4) == 0, "the FADT names no DSDT");
	CHECK(acpi_sum(table, table->length) == 0, "the DSDT has a wrong checksum");
	CHECK(fadt->pm1a_control && fadt->pm_timer, "the FADT lacks PM1a or the PM timer");
	CHECK(acpi_read_madt(&madt) == 0, "the MADT is missing or malformed");
	CHECK(madt.cpus >= 1, "the MADT names no CPU");
	CHECK_EQUAL("the local APIC's address", madt.local_apic, 0xfee00000);
	CHECK_EQUAL("the I/O APIC's address", madt.io_apic, 0xfec00000);
	CHECK_EQUAL("CPU 0's APIC ID", madt.apic_id[0], cpuid(1, 0).ebx >> 24);
}

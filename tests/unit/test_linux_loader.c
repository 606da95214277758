/* SOURCES: vmm/loader/loader.c vmm/loader/linux.c vmm/loader/multiboot.c vmm/loader/multiboot_image.c vmm/loader/placement.c vmm/memory/e820.c vmm/memory/guest_memory.c */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/loader/loader.h"
#include "vmm/memory/e820.h"
#include "vmm/memory/layout.h"

#define RAM MIB(32)
#define SETUP 1536
#define PAYLOAD 4096
#define IMAGE (SETUP + PAYLOAD)
#define BP LAYOUT_LINUX_BOOT_PARAMS

static struct guest_memory mem;
static uint8_t *ram;
static uint8_t image[IMAGE];
static struct loader_input in;
static struct guest_start start;
static char error[LOADER_ERROR_SIZE];

static void put(uint8_t *at, uint64_t value, unsigned size)
{
	memcpy(at, &value, size);
}

static uint64_t get(uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	assert_int_equal(guest_read(&mem, gpa, &value, size), 0);
	return value;
}

/* A bzImage of protocol 2.15 with a 64-bit entry, relocatable, preferring 16 MiB. */
static void make_image(void)
{
	memset(image, 0, sizeof(image));
	for (unsigned i = 0; i < PAYLOAD; i++)
		image[SETUP + i] = (uint8_t)(i * 7 + 1);
	put(image + 0x1f1, 2, 1);
	put(image + 0x1f4, PAYLOAD / 16, 4);
	put(image + 0x1fe, 0xaa55, 2);
	put(image + 0x200, 0x6aeb, 2);
	memcpy(image + 0x202, "HdrS", 4);
	put(image + 0x206, 0x20f, 2);
	put(image + 0x210, 0x5a, 1);
	put(image + 0x211, 1, 1);
	put(image + 0x214, 0x100000, 4);
	put(image + 0x22c, 0x7fffffff, 4);
	put(image + 0x230, 0x200000, 4);
	put(image + 0x234, 1, 1);
	put(image + 0x236, 0x3f, 2);
	put(image + 0x238, 2047, 4);
	put(image + 0x250, 0x1234, 8);
	put(image + 0x258, 0x1000000, 8);
	put(image + 0x260, 0x400000, 4);
	put(image + 0x264, 0xabcd, 4);
	put(image + 0x268, 0x5678, 4);
}

static int setup(void **state)
{
	(void)state;
	make_image();
	memset(&mem, 0, sizeof(mem));
	memset(&in, 0, sizeof(in));
	ram = calloc(1, RAM);
	in.mem = &mem;
	in.kernel = (struct loader_file){ .name = "vmlinuz", .data = image, .len = sizeof(image) };
	in.cmdline = "console=ttyS0";
	in.rsdp = 0xe0000;
	return guest_memory_add(&mem, 0, RAM, ram);
}

static int teardown(void **state)
{
	(void)state;
	free(ram);
	return 0;
}

static int load(void)
{
	int err = loader_load(&in, &start, error);

	assert_true(strnlen(error, sizeof(error)) < sizeof(error));
	assert_true(!err == !error[0]);
	return err;
}

static void expect_refusal(const char *part)
{
	assert_int_equal(load(), ERR_INVALID);
	if (!strstr(error, part))
		fail_msg("expected \"%s\" in \"%s\"", part, error);
}

/* Walk the page tables that CR3 names. */
static uint64_t translate(uint64_t va)
{
	uint64_t pml4e = get((start.cr3 & ~0xfffULL) + (va >> 39 & 511) * 8, 8);
	uint64_t pdpte = get((pml4e & ~0xfffULL) + (va >> 30 & 511) * 8, 8);
	uint64_t pde = get((pdpte & ~0xfffULL) + (va >> 21 & 511) * 8, 8);

	assert_int_equal(pml4e & 3, 3);
	assert_int_equal(pdpte & 0x83, 3);
	assert_int_equal(pde & 0x83, 0x83);
	return (pde & ~0x1fffffULL) + (va & 0x1fffff);
}

static void boots_64bit(void **state)
{
	(void)state;
	ram[BP + 0x1ef] = 0xff; /* the sentinel */
	ram[BP + 0x2cf] = 0xff;
	assert_int_equal(load(), 0);
	assert_int_equal(start.mode, GUEST_START_LONG);
	assert_int_equal(start.rip, 0x1000200);
	assert_int_equal(start.rsi, BP);
	assert_int_equal(start.cr0, 0x80000011);
	assert_int_equal(start.cr4, 0x20);
	assert_int_equal(start.efer, 0x500);
	assert_int_equal(start.cs, 0x10);
	assert_int_equal(start.ds, 0x18);
	assert_memory_equal(ram + 0x1000000, image + SETUP, PAYLOAD);

	assert_int_equal(get(start.gdt_base + 0x10, 8), 0x00af9b000000ffff);
	assert_int_equal(get(start.gdt_base + 0x18, 8), 0x00cf93000000ffff);
	assert_int_equal(start.gdt_limit, 31);
	for (uint64_t va = 0; va < GIB(4); va += MIB(2) - 4096)
		assert_int_equal(translate(va), va);
	assert_int_equal(get(start.cr3 + 8, 8), 0);

	assert_int_equal(get(BP + 0x1ef, 1), 0);
	assert_int_equal(get(BP + 0x2cf, 1), 0);
	assert_int_equal(get(BP + 0x206, 2), 0x20f);
	assert_int_equal(get(BP + 0x210, 1), 0xff);
	assert_int_equal(get(BP + 0x214, 4), 0x1000000);
	assert_int_equal(get(BP + 0x250, 8), 0);
	assert_int_equal(get(BP + 0x264, 4), 0xabcd);
	assert_int_equal(get(BP + 0x268, 4), 0x5678);
	assert_int_equal(get(BP + 0x070, 8), 0xe0000);
	assert_int_equal(get(BP + 0x218, 4), 0);
	assert_string_equal((char *)ram + get(BP + 0x228, 4), "console=ttyS0");

	assert_int_equal(get(0x400, 2), 0x3f8);
	assert_int_equal(get(0x40e, 2), 0x9fc0);
	assert_int_equal(get(0x413, 2), 639);
	assert_int_equal(get(0x9fc00, 1), 1);
}

static void memory_map(void **state)
{
	static const struct e820_entry expected[] = {
		{ 0, 0x9fc00, 1 }, { 0x9fc00, 0x400, 2 }, { 0xe0000, 0x20000, 2 }, { 0x100000, RAM - 0x100000, 1 },
		{ 0xfec00000, 0x1000, 2 }, { 0xfee00000, 0x1000, 2 }, { GIB(4), MIB(4), 1 },
	};
	uint8_t *high = calloc(1, MIB(4));

	(void)state;
	assert_int_equal(guest_memory_add(&mem, GIB(4), MIB(4), high), 0);
	assert_int_equal(load(), 0);
	assert_int_equal(get(BP + 0x1e8, 1), ARRAY_SIZE(expected));
	assert_memory_equal(ram + BP + 0x2d0, expected, sizeof(expected));
	assert_int_equal(e820_low_ram_end(&mem), RAM);
	free(high);
}

static void initrd_goes_high(void **state)
{
	uint8_t initrd[5000];
	uint8_t *high = calloc(1, MIB(4));
	uint64_t at;

	(void)state;
	memset(initrd, 0x77, sizeof(initrd));
	in.initrd = (struct loader_file){ .name = "initrd", .data = initrd, .len = sizeof(initrd) };
	assert_int_equal(load(), 0);
	at = get(BP + 0x218, 4);
	assert_int_equal(at, RAM - 8192);
	assert_int_equal(get(BP + 0x21c, 4), 5000);
	assert_memory_equal(ram + at, initrd, sizeof(initrd));

	/* Below initrd_addr_max, which names the last byte. */
	put(image + 0x236, 0x3d, 2);
	put(image + 0x22c, 0x17fffff, 4);
	assert_int_equal(load(), 0);
	assert_int_equal(get(BP + 0x218, 4), 0x1800000 - 8192);
	put(image + 0x22c, 0x1700000 + 5000 - 1, 4);
	assert_int_equal(load(), 0);
	assert_int_equal(get(BP + 0x218, 4), 0x1700000);
	put(image + 0x22c, 0x1700000 + 5000 - 2, 4);
	assert_int_equal(load(), 0);
	assert_int_equal(get(BP + 0x218, 4), 0x16ff000);
	/* Never on the kernel's run-time area (16 to 20 MiB here). */
	put(image + 0x22c, 0x13fffff, 4);
	assert_int_equal(load(), 0);
	assert_int_equal(get(BP + 0x218, 4), 0x1000000 - 8192);
	put(image + 0x22c, 0x100fff, 4);
	expect_refusal("initrd: the VM has no room");

	/* Above 4 GiB only where the kernel can. */
	assert_int_equal(guest_memory_add(&mem, GIB(4), MIB(4), high), 0);
	put(image + 0x22c, 0xffffffff, 4);
	assert_int_equal(load(), 0);
	assert_int_equal(get(BP + 0x218, 4), RAM - 8192);
	assert_int_equal(get(BP + 0x0c0, 4), 0);
	put(image + 0x236, 0x3f, 2);
	assert_int_equal(load(), 0);
	assert_int_equal(get(BP + 0x218, 4), MIB(4) - 8192);
	assert_int_equal(get(BP + 0x0c0, 4), 1);
	assert_memory_equal(high + MIB(4) - 8192, initrd, sizeof(initrd));
	free(high);
	mem.count = 1;

	in.initrd.len = 0;
	expect_refusal("initrd: the initrd is empty");
	in.initrd.len = RAM; /* refused before it is read */
	expect_refusal("no room for the initrd");
}

static void boots_32bit(void **state)
{
	static uint8_t initrd[5000];

	(void)state;
	put(image + 0x236, 0, 2);
	assert_int_equal(load(), 0);
	assert_int_equal(start.mode, GUEST_START_PROTECTED);
	assert_int_equal(start.rip, 0x1000000);
	assert_int_equal(start.rsi, BP);
	assert_int_equal(start.cr0, 0x11);
	assert_int_equal(start.cr3 | start.cr4 | start.efer, 0);
	assert_int_equal(get(start.gdt_base + 0x10, 8), 0x00cf9b000000ffff);
	assert_int_equal(get(start.gdt_base + 0x18, 8), 0x00cf93000000ffff);
	/* The initrd stays below what the kernel can reach, here as a 32-bit Debian kernel says it. */
	in.initrd = (struct loader_file){ .name = "initrd", .data = initrd, .len = sizeof(initrd) };
	put(image + 0x22c, 0x17fffff, 4);
	assert_int_equal(load(), 0);
	assert_int_equal(get(BP + 0x218, 4), 0x1800000 - 8192);

	/* xloadflags came with protocol 2.12. */
	put(image + 0x206, 0x20a, 2);
	put(image + 0x236, 1, 2);
	assert_int_equal(load(), 0);
	assert_int_equal(start.mode, GUEST_START_PROTECTED);
}

static void placement(void **state)
{
	(void)state;
	/* Not relocatable: at code32_start, with pref_address kept free. */
	put(image + 0x234, 0, 1);
	assert_int_equal(load(), 0);
	assert_int_equal(start.rip, 0x100200);
	put(image + 0x258, RAM - MIB(4) + 1, 8);
	expect_refusal("no memory where the kernel must run");
	put(image + 0x258, RAM - MIB(4), 8);
	assert_int_equal(load(), 0);
	put(image + 0x258, UINT64_MAX, 8);
	expect_refusal("below 4 GiB");
	put(image + 0x258, 0x8000, 8);
	expect_refusal("from 1 MiB on");
	put(image + 0x258, 0x1000000, 8);
	put(image + 0x214, 0x90000, 4);
	expect_refusal("from 1 MiB on");

	/* Relocatable: aligned elsewhere where the preferred place has no RAM. */
	make_image();
	put(image + 0x258, 0x1000001, 8);
	assert_int_equal(load(), 0);
	assert_int_equal(start.rip, 0x1200200);
	put(image + 0x260, RAM - 0x1200000 + 1, 4);
	expect_refusal("no room for the kernel");
	put(image + 0x260, 0xffffffff, 4);
	expect_refusal("no room for the kernel");
	put(image + 0x260, 0x400000, 4);
	put(image + 0x258, UINT64_MAX - 5, 8);
	expect_refusal("no room for the kernel");
	put(image + 0x258, 0, 8);
	assert_int_equal(load(), 0);
	assert_int_equal(start.rip, 0x200200);
	mem.count = 0;
	assert_int_equal(guest_memory_add(&mem, 0, MIB(17), ram), 0);
	assert_int_equal(guest_memory_add(&mem, MIB(17) + 4096, RAM - MIB(17) - 4096, ram + MIB(17) + 4096), 0);
	put(image + 0x258, 0x1000000, 8);
	assert_int_equal(load(), 0);
	assert_int_equal(start.rip, 0x1200200);
}

static void command_line(void **state)
{
	char text[300];

	(void)state;
	put(image + 0x238, 255, 4);
	memset(text, 'c', sizeof(text));
	text[255] = 0;
	in.cmdline = text;
	assert_int_equal(load(), 0);
	assert_string_equal((char *)ram + get(BP + 0x228, 4), text);
	text[255] = 'c';
	text[256] = 0;
	expect_refusal("256 characters: this kernel takes at most 255");
	put(image + 0x238, 0, 4);
	expect_refusal("at most 255");
	put(image + 0x238, 0xffffffff, 4);
	assert_int_equal(load(), 0);
	in.cmdline = NULL;
	assert_int_equal(load(), 0);
	assert_int_equal(get(get(BP + 0x228, 4), 1), 0);
}

static void wrong_headers(void **state)
{
	static const struct { unsigned at, size; uint64_t value; const char *reason; } wrong[] = {
		{ 0x206, 2, 0x209, "protocol 2.09 is too old" },
		{ 0x201, 1, 0x61, "header is shorter" },
		{ 0x211, 1, 0, "zImage" },
		{ 0x1f4, 4, 0, "cut short" },
		{ 0x1f4, 4, PAYLOAD / 16 + 1, "cut short" },
		{ 0x1f4, 4, 0xffffffff, "cut short" },
		{ 0x1f4, 4, 0x20, "only 512 bytes" },
		{ 0x1f1, 1, 0xff, "cut short" },
		{ 0x230, 4, 0, "no power of two" },
		{ 0x230, 4, 0x300000, "no power of two" },
		{ 0x230, 4, 0x80000000, "no room" },
		{ 0x1fe, 2, 0, "no kernel that can be loaded" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		make_image();
		put(image + wrong[i].at, wrong[i].value, wrong[i].size);
		expect_refusal(wrong[i].reason);
		assert_non_null(strstr(error, "vmlinuz: "));
	}
	make_image();
	in.modules = 1;
	in.module[0] = (struct loader_file){ .name = "extra", .data = image, .len = 1 };
	expect_refusal("extra: a module beside a Linux kernel");
	in.modules = 0;
	/* The image may end inside its last paragraph, or have a signature after it. */
	in.kernel.len = IMAGE - 15;
	assert_int_equal(load(), 0);
	in.kernel.len = IMAGE - 16;
	expect_refusal("cut short");
	in.kernel.len = IMAGE;
	put(image + 0x1f4, PAYLOAD / 16 - 8, 4);
	memset(ram, 0, RAM);
	assert_int_equal(load(), 0);
	assert_int_equal(get(0x1000000 + PAYLOAD - 128, 8), 0);
}

static void other_files(void **state)
{
	static const struct { const char *magic; const char *hint; } others[] = {
		{ "\x1f\x8b\x08", "gunzip" }, { "\xfd" "7zXZ", "unxz" }, { "\x28\xb5\x2f\xfd", "unzstd" }, { "BZh9", "bunzip2" },
		{ "\x7f" "ELF", "without a Multiboot header" }, { "MZ", "EFI program" }, { "hello", "no kernel that can be loaded" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		for (size_t len = 1; len <= strlen(others[i].magic); len++) {
			uint8_t *copy = malloc(len);

			memcpy(copy, others[i].magic, len);
			in.kernel.data = copy;
			in.kernel.len = len;
			expect_refusal(len == strlen(others[i].magic) ? others[i].hint : "vmlinuz: is ");
			free(copy);
		}
	}
	in.kernel.len = 0;
	expect_refusal("the file is empty");
	in.kernel.data = NULL;
	expect_refusal("the file is empty");
}

static void little_memory(void **state)
{
	static const uint64_t sizes[] = { 0x400, 0x4ff, 0x5000, 0x7800, 0x9fbff, 0x9fc00, 0xa0000, 0x100000, 0x13fffff };

	(void)state;
	mem.count = 0;
	expect_refusal("no memory");
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		mem.count = 0;
		guest_memory_add(&mem, 0, sizes[i], ram);
		expect_refusal("vmlinuz: ");
	}
	mem.count = 0;
	guest_memory_add(&mem, 0, 0x1400000, ram);
	assert_int_equal(load(), 0);
}

/* Every truncation is refused (beyond the last paragraph), and none is read past its end. */
static void truncations(void **state)
{
	(void)state;
	for (size_t len = 0; len < IMAGE; len++) {
		uint8_t *copy = malloc(len ? len : 1);

		memcpy(copy, image, len);
		in.kernel.data = copy;
		in.kernel.len = len;
		assert_int_equal(load(), len > IMAGE - 16 ? 0 : ERR_INVALID);
		free(copy);
	}
}

static void corrupt_headers(void **state)
{
	uint8_t *copy = malloc(IMAGE);
	uint8_t initrd[100] = { 0 };
	uint32_t seed = 7;
	unsigned loaded = 0;

	(void)state;
	in.initrd = (struct loader_file){ .name = "initrd", .data = initrd, .len = sizeof(initrd) };
	in.kernel.data = copy;
	for (unsigned round = 0; round < 20000; round++) {
		memcpy(copy, image, IMAGE);
		for (unsigned i = 0; i <= round % 4; i++) {
			seed = seed * 1664525 + 1013904223;
			copy[0x1f1 + (seed >> 8) % (0x270 - 0x1f1)] = (seed & 64) ? (uint8_t)(seed >> 24) : (seed & 128) ? 0xff : 0;
		}
		if (load())
			continue;
		loaded++;
		assert_non_null(guest_ptr(&mem, start.rip, 1));
		assert_true(start.rip >= 0x100000);
	}
	assert_in_range(loaded, 100, 19900);
	free(copy);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(boots_64bit), T(memory_map), T(initrd_goes_high), T(boots_32bit), T(placement), T(command_line), T(wrong_headers),
		T(other_files), T(little_memory), T(truncations), T(corrupt_headers),
	};

	return cmocka_run_group_tests_name("linux_loader", tests, NULL, NULL);
}

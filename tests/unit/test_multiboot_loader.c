/* SOURCES: vmm/loader/loader.c vmm/loader/linux.c vmm/loader/multiboot.c vmm/loader/multiboot_image.c vmm/loader/placement.c vmm/memory/e820.c vmm/memory/guest_memory.c */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/loader/loader.h"
#include "vmm/memory/layout.h"

#define RAM MIB(8)
#define IMAGE 1024
#define PH 52
#define HEADER 256 /* of Multiboot, in the file */

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

static void put_header(unsigned at, uint32_t flags)
{
	put(image + at, 0x1badb002, 4);
	put(image + at + 4, flags, 4);
	put(image + at + 8, -(0x1badb002 + flags), 4);
}

/* An ELF32 kernel linked at 3 GiB and loaded at 1 MiB: 512 bytes of text and data, then 256 bytes of zeros at 2 MiB. */
static void make_elf(void)
{
	memset(image, 0, sizeof(image));
	memcpy(image, "\x7f" "ELF\1\1\1", 7);
	put(image + 16, 2, 2);
	put(image + 18, 3, 2);
	put(image + 20, 1, 4);
	put(image + 24, 0xc0100010, 4);
	put(image + 28, PH, 4);
	put(image + 42, 32, 2);
	put(image + 44, 3, 2);

	put(image + PH, 1, 4);
	put(image + PH + 4, 256, 4);
	put(image + PH + 8, 0xc0100000, 4);
	put(image + PH + 12, 0x100000, 4);
	put(image + PH + 16, 512, 4);
	put(image + PH + 20, 600, 4);

	put(image + PH + 32, 4, 4); /* a note: not loaded */
	put(image + PH + 32 + 4, 0xffffff00, 4);
	put(image + PH + 32 + 16, 0xffffffff, 4);

	put(image + PH + 64, 1, 4);
	put(image + PH + 64 + 8, 0xc0200000, 4);
	put(image + PH + 64 + 12, 0x200000, 4);
	put(image + PH + 64 + 20, 256, 4);
	for (unsigned i = HEADER + 12; i < IMAGE; i++)
		image[i] = (uint8_t)(i * 3);
	put_header(HEADER, 3);
}

/* A flat kernel whose header says: the file's byte 128 goes to 0x100000, up to 0x100200; zeros up to 0x100300. */
static void make_flat(void)
{
	make_elf();
	memset(image, 0, 64);
	put_header(HEADER, 0x10003);
	put(image + HEADER + 12, 0x100080, 4);
	put(image + HEADER + 16, 0x100000, 4);
	put(image + HEADER + 20, 0x100200, 4);
	put(image + HEADER + 24, 0x100300, 4);
	put(image + HEADER + 28, 0x100020, 4);
}

static int setup(void **state)
{
	(void)state;
	make_elf();
	memset(&mem, 0, sizeof(mem));
	memset(&in, 0, sizeof(in));
	ram = malloc(RAM);
	memset(ram, 0xee, RAM);
	in.mem = &mem;
	in.kernel = (struct loader_file){ .name = "mach", .data = image, .len = sizeof(image) };
	in.cmdline = "console=com0";
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

static void elf_kernel(void **state)
{
	(void)state;
	assert_int_equal(load(), 0);
	assert_int_equal(start.mode, GUEST_START_PROTECTED);
	assert_int_equal(start.rip, 0x100010);
	assert_int_equal(start.rax, 0x2badb002);
	assert_int_equal(start.cr0, 0x11);
	assert_int_equal(start.cr3 | start.cr4 | start.efer | start.rsi, 0);
	assert_int_equal(get(start.gdt_base + start.cs, 8), 0x00cf9b000000ffff);
	assert_int_equal(get(start.gdt_base + start.ds, 8), 0x00cf93000000ffff);
	assert_memory_equal(ram + 0x100000, image + 256, 512);
	for (unsigned i = 512; i < 600; i++)
		assert_int_equal(ram[0x100000 + i], 0);
	assert_int_equal(ram[0x100000 + 600], 0xee);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(ram[0x200000 + i], 0);
	assert_int_equal(ram[0x200000 + 256], 0xee);

	uint64_t info = start.rbx;

	assert_true(info < 0xa0000);
	assert_int_equal(get(info, 4), 0x24d);
	assert_int_equal(get(info + 4, 4), 639);
	assert_int_equal(get(info + 8, 4), RAM / 1024 - 1024);
	assert_string_equal((char *)ram + get(info + 16, 4), "console=com0");
	assert_int_equal(get(info + 20, 4), 0);
	assert_string_equal((char *)ram + get(info + 64, 4), "Lamina");

	uint64_t map = get(info + 48, 4);

	assert_int_equal(get(info + 44, 4), 6 * 24);
	assert_int_equal(get(map, 4), 20);
	assert_int_equal(get(map + 4, 8), 0);
	assert_int_equal(get(map + 12, 8), 0x9fc00);
	assert_int_equal(get(map + 20, 4), 1);
	assert_int_equal(get(map + 3 * 24 + 4, 8), 0x100000);
	assert_int_equal(get(map + 3 * 24 + 12, 8), RAM - 0x100000);
}

/* Linkers put a segment of zeros alone anywhere in the file, even behind its end. */
static void zeros_behind_the_file(void **state)
{
	static const uint32_t offsets[] = { IMAGE, IMAGE + 1, 0x2000, 0xffffffff };

	(void)state;
	for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		put(image + PH + 64 + 4, offsets[i], 4);
		memset(ram, 0xee, RAM);
		if (load())
			fail_msg("offset %x: %s", offsets[i], error);
		for (unsigned n = 0; n < 256; n++)
			assert_int_equal(ram[0x200000 + n], 0);
		assert_int_equal(ram[0x200000 + 256], 0xee);
	}
	put(image + PH + 64 + 16, 1, 4);
	expect_refusal("does not fit");
}

static void modules(void **state)
{
	static uint8_t first[5000], second[1];
	uint64_t mods, start0, start1;

	(void)state;
	memset(first, 1, sizeof(first));
	second[0] = 2;
	in.modules = 2;
	in.module[0] = (struct loader_file){ .name = "ext2fs", .data = first, .len = sizeof(first), .string = "ext2fs --readonly ${x}" };
	in.module[1] = (struct loader_file){ .name = "exec", .data = second, .len = sizeof(second) };
	assert_int_equal(load(), 0);
	assert_int_equal(get(start.rbx + 20, 4), 2);
	mods = get(start.rbx + 24, 4);
	start0 = get(mods, 4);
	start1 = get(mods + 16, 4);
	assert_int_equal(start0, 0x201000);
	assert_int_equal(get(mods + 4, 4), start0 + sizeof(first));
	assert_int_equal(start1, 0x203000);
	assert_int_equal(get(mods + 20, 4), start1 + 1);
	assert_string_equal((char *)ram + get(mods + 8, 4), "ext2fs --readonly ${x}");
	assert_string_equal((char *)ram + get(mods + 24, 4), "exec");
	assert_memory_equal(ram + start0, first, sizeof(first));
	assert_int_equal(ram[start1], 2);

	in.module[1].len = 0;
	expect_refusal("exec: the module is empty");
	in.module[1].len = RAM; /* refused before it is read */
	expect_refusal("exec: the VM has no room for the module");
	in.modules = 0;
	in.initrd = in.module[0];
	expect_refusal("ext2fs: an initrd beside a Multiboot kernel");
}

static void flat_kernel(void **state)
{
	(void)state;
	make_flat();
	assert_int_equal(load(), 0);
	assert_int_equal(start.rip, 0x100020);
	assert_memory_equal(ram + 0x100000, image + 128, 512);
	assert_int_equal(get(0x100200, 4), 0);
	assert_int_equal(ram[0x1002ff], 0);
	assert_int_equal(ram[0x100300], 0xee);
	/* The rest of the file, no zeros. */
	put(image + HEADER + 20, 0, 4);
	put(image + HEADER + 24, 0, 4);
	memset(ram + MIB(1), 0xee, MIB(1));
	assert_int_equal(load(), 0);
	assert_memory_equal(ram + 0x100000, image + 128, IMAGE - 128);
	assert_int_equal(ram[0x100000 + IMAGE - 128], 0xee);
}

static void wrong_flat(void **state)
{
	static const struct { unsigned at; uint32_t value; const char *reason; } wrong[] = {
		{ 12, 0xfffff, "header_addr" }, { 12, 0x100101, "header_addr" }, { 12, 0xffffffff, "header_addr" },
		{ 16, 0, "header_addr" }, { 20, 0x100000, "not above" }, { 20, 0xfffff, "not above" }, { 20, 0x100381, "cut short" },
		{ 20, 0xffffffff, "cut short" }, { 24, 0x1001ff, "bss_end_addr" }, { 24, 0xffffffff, "no memory" },
		{ 28, 0xfffff, "entry point" }, { 28, 0x100300, "entry point" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		make_flat();
		put(image + HEADER + wrong[i].at, wrong[i].value, 4);
		expect_refusal(wrong[i].reason);
	}
}

static void wrong_elf(void **state)
{
	static const struct { unsigned at, size; uint64_t value; const char *reason; } wrong[] = {
		{ 0, 1, 'X', "no ELF file" }, { 4, 1, 2, "32-bit x86 ELF" }, { 5, 1, 2, "32-bit x86 ELF" }, { 16, 2, 3, "type 3" },
		{ 18, 2, 62, "machine 62" }, { 42, 2, 31, "program headers of 31" }, { 42, 2, 0xffff, "before its ELF program headers" },
		{ 28, 4, 0xffffffff, "before its ELF program headers" }, { 28, 4, IMAGE - 95, "before its ELF program headers" },
		{ 44, 2, 0, "0 ELF program headers" }, { 44, 2, 0xffff, "before its ELF program headers" },
		{ 24, 4, 0x100010, "lies in no segment" }, { 24, 4, 0xc0100000 + 600, "lies in no segment" },
		{ PH + 4, 4, 513, "does not fit" }, { PH + 4, 4, 0xffffffff, "does not fit" }, { PH + 16, 4, 601, "does not fit" },
		{ PH + 16, 4, 0xffffffff, "does not fit" }, { PH + 20, 4, 511, "does not fit" },
		{ PH + 20, 4, 0xffffffff, "no memory" }, { PH + 12, 4, 0xfffffff0, "no memory" }, { PH + 12, 4, RAM - 599, "no memory" },
		{ PH + 12, 4, 0xfff, "overlaps" }, { PH + 12, 4, 0xfffff, "overlaps" }, { PH + 12, 4, 0x2000ff, "overlaps" },
		{ PH + 12, 4, 0x9fc00 - 599, "overlaps" },
		{ HEADER + 4, 4, 0, NULL },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		make_elf();
		put(image + wrong[i].at, wrong[i].value, wrong[i].size);
		expect_refusal(wrong[i].reason ? wrong[i].reason : "without a Multiboot header");
		assert_non_null(strstr(error, "mach: "));
	}
}

static void header_rules(void **state)
{
	(void)state;
	put_header(HEADER, 7);
	expect_refusal("video mode");
	put_header(HEADER, 0x8003);
	expect_refusal("not provided");
	/* Flags from 17 up are optional and may be ignored. */
	put_header(HEADER, 0x80020003);
	assert_int_equal(load(), 0);
	/* Not aligned to 4 bytes: no header. */
	make_elf();
	memset(image + HEADER, 0, 12);
	put_header(HEADER + 2, 3);
	expect_refusal("without a Multiboot header");
}

static void header_in_8_kib(void **state)
{
	uint8_t *big = calloc(1, 16384);

	(void)state;
	for (unsigned at = 8192 - 16; at <= 8192; at += 4) {
		memcpy(big, image, IMAGE);
		memset(big + HEADER, 0, 16384 - HEADER);
		memcpy(big + at, image + HEADER, 12);
		in.kernel.data = big;
		in.kernel.len = 16384;
		if (at + 12 <= 8192)
			assert_int_equal(load(), 0);
		else
			expect_refusal("without a Multiboot header");
	}
	free(big);
}

/* A kernel that takes all of low memory: its boot information goes elsewhere. */
static void full_low_memory(void **state)
{
	(void)state;
	put(image + PH + 64 + 12, 0x1000, 4);
	put(image + PH + 64 + 20, 0x9fc00 - 0x1000, 4);
	assert_int_equal(load(), 0);
	assert_true(start.rbx > 0x200000 && start.rbx < RAM);
	assert_int_equal(get(start.rbx, 4), 0x24d);
	assert_int_equal(get(0x9fbff, 1), 0);
}

static void truncations(void **state)
{
	(void)state;
	for (unsigned flat = 0; flat < 2; flat++) {
		flat ? make_flat() : make_elf();
		for (size_t len = 0; len < IMAGE; len++) {
			uint8_t *copy = malloc(len ? len : 1);

			memcpy(copy, image, len);
			in.kernel.data = copy;
			in.kernel.len = len;
			assert_int_equal(load(), len >= (flat ? 640 : 768) ? 0 : ERR_INVALID);
			free(copy);
		}
	}
}

static void corrupt(void **state)
{
	uint8_t *copy = malloc(IMAGE);
	uint32_t seed = 3;
	unsigned loaded = 0;

	(void)state;
	in.kernel.data = copy;
	for (unsigned round = 0; round < 20000; round++) {
		if (round % 1000 == 0)
			round / 1000 % 2 ? make_flat() : make_elf();
		memcpy(copy, image, IMAGE);
		for (unsigned i = 0; i <= round % 4; i++) {
			unsigned at;

			seed = seed * 1664525 + 1013904223;
			at = (seed >> 8) % 180;
			at = at < 148 ? at : HEADER + 12 + (at - 148) % 20;
			copy[at] = (seed & 64) ? (uint8_t)(seed >> 24) : (seed & 128) ? 0xff : 0;
		}
		if (load())
			continue;
		loaded++;
		assert_non_null(guest_ptr(&mem, start.rip, 1));
		assert_non_null(guest_ptr(&mem, start.rbx, 116));
	}
	assert_in_range(loaded, 100, 19900);
	free(copy);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(elf_kernel), T(zeros_behind_the_file), T(modules), T(flat_kernel), T(wrong_flat), T(wrong_elf), T(header_rules),
		T(header_in_8_kib), T(full_low_memory), T(truncations), T(corrupt),
	};

	return cmocka_run_group_tests_name("multiboot_loader", tests, NULL, NULL);
}

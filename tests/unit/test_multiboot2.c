/* SOURCES: boot/multiboot2.c boot/boot_info.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "boot/multiboot2.h"
#include "tests/unit/fakes.h"

/* The information being made. */
static uint8_t made[65536];
static size_t made_size;
static struct boot_info info;
static const char *error;

static void put(const void *bytes, size_t size)
{
	assert_true(made_size + size <= sizeof(made));
	memcpy(made + made_size, bytes, size);
	made_size += size;
}

static void put32(uint32_t value)
{
	put(&value, 4);
}

static void put64(uint64_t value)
{
	put(&value, 8);
}

static void begin(void)
{
	memset(made, 0xee, sizeof(made));
	made_size = 0;
	put64(0);
}

static size_t tag_at;

static void tag(uint32_t type)
{
	while (made_size % 8)
		put("", 1);
	tag_at = made_size;
	put32(type);
	put32(0);
}

static void tag_end(void)
{
	uint32_t size = (uint32_t)(made_size - tag_at);

	memcpy(made + tag_at + 4, &size, 4);
}

static void string_tag(uint32_t type, const char *text)
{
	tag(type);
	put(text, strlen(text) + 1);
	tag_end();
}

static void module_tag(uint32_t start, uint32_t end, const char *text)
{
	tag(3);
	put32(start);
	put32(end);
	put(text, strlen(text) + 1);
	tag_end();
}

static void map_begin(void)
{
	tag(6);
	put32(24);
	put32(0);
}

static void map_entry(uint64_t base, uint64_t length, uint32_t type)
{
	put64(base);
	put64(length);
	put32(type);
	put32(0xdeadbeef);
}

static void simple_map(void)
{
	map_begin();
	map_entry(0, 0x9fc00, 1);
	map_entry(MIB(1), MIB(63), 1);
	tag_end();
}

static void finish(void)
{
	uint32_t total;

	tag(0);
	tag_end();
	total = (uint32_t)made_size;
	memcpy(made, &total, 4);
}

/* Parse an exact copy on the heap, so that the sanitizer sees any byte read outside it. */
static int parse_bytes(const void *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	int err;

	memcpy(copy, bytes, size);
	error = "unset";
	err = multiboot2_parse(copy, size, &info, &error);
	free(copy);
	if (err)
		assert_true(error && strlen(error) > 10);
	else
		assert_null(error);
	return err;
}

static void refused(const char *why)
{
	assert_int_not_equal(parse_bytes(made, made_size), 0);
	assert_string_equal(error, why);
}

static void full(void)
{
	static const uint8_t old_rsdp[20] = "RSD PTR old", new_rsdp[36] = "RSD PTR new";

	begin();
	string_tag(1, "log=serial quiet");
	string_tag(2, "GRUB 2.06");
	tag(99);
	put("abc", 3);
	tag_end();
	module_tag(0x200000, 0x200123, "lamina.cfg");
	module_tag(0x201000, 0x205000, "vmlinuz console=ttyS0");
	module_tag(0x205000, 0x205000, "");
	tag(4);
	put64(0);
	tag_end();
	map_begin();
	map_entry(MIB(1), GIB(3) - MIB(1), 1);
	map_entry(0x9fc00, 0x400, 2);
	map_entry(0, 0x9fc00, 1);
	map_entry(GIB(3) - 0x10000, 0x10000, 3);
	map_entry(GIB(4), 0, 1);
	tag_end();
	tag(8);
	put64(0xfd000000);
	put32(4096);
	put32(1024);
	put32(768);
	put("\x20\x01\x00\x00", 4);
	put("\x10\x08\x08\x08\x00\x08", 6);
	tag_end();
	tag(15);
	put(new_rsdp, 36);
	tag_end();
	tag(14);
	put(old_rsdp, 20);
	tag_end();
	finish();
}

static void test_full(void **state)
{
	(void)state;
	full();
	assert_int_equal(parse_bytes(made, made_size), 0);
	assert_string_equal(info.cmdline, "log=serial quiet");
	assert_string_equal(info.loader_name, "GRUB 2.06");
	assert_int_equal(info.module_count, 3);
	assert_int_equal(info.module[0].start, 0x200000);
	assert_int_equal(info.module[0].end, 0x200123);
	assert_string_equal(info.module[1].cmdline, "vmlinuz console=ttyS0");
	assert_string_equal(info.module[2].cmdline, "");
	assert_int_equal(info.memory_count, 4);
	assert_int_equal(info.memory[0].base, 0);
	assert_int_equal(info.memory[1].type, BOOT_MEMORY_RESERVED);
	assert_int_equal(info.memory[2].base, MIB(1));
	assert_int_equal(info.memory[2].length, GIB(3) - MIB(1) - 0x10000);
	assert_int_equal(info.memory[3].type, BOOT_MEMORY_ACPI);
	assert_int_equal(boot_info_usable_bytes(&info), 0x9fc00 + GIB(3) - MIB(1) - 0x10000);
	assert_int_equal(boot_info_usable_end(&info), GIB(3) - 0x10000);
	assert_int_equal(info.framebuffer.address, 0xfd000000);
	assert_int_equal(info.framebuffer.width, 1024);
	assert_int_equal(info.framebuffer.bpp, 32);
	assert_int_equal(info.framebuffer.red_position, 16);
	assert_int_equal(info.framebuffer.blue_size, 8);
	assert_int_equal(info.rsdp_size, 36);
	assert_memory_equal(info.rsdp, "RSD PTR new", 12);
	assert_int_equal(info.rsdp_address, 0);
}

/* Cut off at each byte, with and without an honest total size: never accepted, never read outside. */
static void test_truncated(void **state)
{
	static uint8_t cut[65536];

	(void)state;
	full();
	for (size_t size = 0; size < made_size; size++) {
		uint32_t total = (uint32_t)size;

		assert_int_not_equal(parse_bytes(made, size), 0);
		memcpy(cut, made, size);
		memcpy(cut, &total, size < 4 ? size : 4);
		assert_int_not_equal(parse_bytes(cut, size), 0);
	}
	/* More mapped than used is the usual case. */
	assert_int_equal(parse_bytes(made, made_size + 4096), 0);
}

static void test_sizes(void **state)
{
	uint32_t bad;

	(void)state;
	begin();
	simple_map();
	finish();
	bad = 7;
	memcpy(made + 12, &bad, 4);
	refused("a boot information tag is smaller than its header");
	bad = 0xfffffff9; /* rounding it up wraps 32 bits */
	memcpy(made + 12, &bad, 4);
	refused("a boot information tag is truncated");
	begin();
	put64(0);
	made[0] = 8;
	memset(made + 1, 0, 3);
	refused("the boot information is too short");
	begin();
	finish();
	refused("the boot loader gave no memory map");
	begin();
	map_begin();
	tag_end();
	finish();
	refused("the memory map has no usable memory");
	begin();
	tag(6);
	put32(16);
	put32(0);
	tag_end();
	finish();
	refused("the memory map's entry size is wrong");
	begin();
	tag(6);
	put32(0);
	put32(0);
	map_entry(0, MIB(1), 1);
	tag_end();
	finish();
	refused("the memory map's entry size is wrong");
	begin();
	tag(6);
	put32(28);
	put32(0);
	map_entry(0, MIB(1), 1);
	put32(0);
	tag_end();
	finish();
	refused("the memory map's entry size is wrong");
	begin();
	map_begin();
	map_entry(0, MIB(1), 1);
	put64(0);
	tag_end();
	finish();
	refused("the memory map ends inside an entry");
	begin();
	tag(6);
	put32(24);
	tag_end();
	finish();
	refused("the memory map's tag is too short");
	/* Larger entries of a later version. */
	begin();
	tag(6);
	put32(32);
	put32(1);
	map_entry(MIB(1), MIB(1), 1);
	put64(~0ULL);
	map_entry(MIB(4), MIB(1), 1);
	put64(~0ULL);
	tag_end();
	finish();
	assert_int_equal(parse_bytes(made, made_size), 0);
	assert_int_equal(info.memory_count, 2);
}

static void test_strings(void **state)
{
	static char text[2000];

	(void)state;
	begin();
	simple_map();
	tag(1);
	put("no end", 6);
	tag_end();
	finish();
	refused("the command line has no end");
	begin();
	tag(1); /* not even an empty one */
	tag_end();
	simple_map();
	finish();
	refused("the command line has no end");
	begin();
	tag(2);
	put("GRUB", 4);
	tag_end();
	finish();
	refused("the boot loader's name has no end");
	memset(text, 'x', 1024);
	begin();
	string_tag(1, text);
	finish();
	refused("the command line is longer than 1023 bytes");
	text[1023] = 0;
	begin();
	simple_map();
	string_tag(1, text);
	string_tag(1, "a second one does not count");
	string_tag(2, text); /* cut, not refused */
	finish();
	assert_int_equal(parse_bytes(made, made_size), 0);
	assert_int_equal(strlen(info.cmdline), 1023);
	assert_int_equal(strlen(info.loader_name), BOOT_LOADER_NAME_SIZE - 1);
	text[256] = 0;
	begin();
	module_tag(0, 1, text);
	finish();
	refused("a module's command line is longer than 255 bytes");
	text[255] = 0;
	begin();
	simple_map();
	module_tag(0, 1, text);
	finish();
	assert_int_equal(parse_bytes(made, made_size), 0);
	assert_int_equal(strlen(info.module[0].cmdline), 255);
	begin();
	tag(3);
	put64(0);
	tag_end();
	finish();
	refused("a module's command line has no end");
	begin();
	tag(3);
	put32(0);
	tag_end();
	finish();
	refused("a module tag is too short");
}

static void test_modules(void **state)
{
	(void)state;
	begin();
	simple_map();
	module_tag(0x2000, 0x1fff, "a");
	finish();
	refused("a module ends before it starts");
	begin();
	simple_map();
	module_tag(0x2000, 0x3000, "a");
	module_tag(0x2fff, 0x4000, "b");
	finish();
	refused("two modules overlap");
	begin();
	simple_map();
	module_tag(0x2000, 0x5000, "a");
	module_tag(0x3000, 0x4000, "b");
	finish();
	refused("two modules overlap");
	begin();
	simple_map();
	for (uint32_t i = 0; i < 32; i++)
		module_tag(0x100000 + i * 0x1000, 0x101000 + i * 0x1000, "m");
	finish();
	assert_int_equal(parse_bytes(made, made_size), 0);
	assert_int_equal(info.module_count, 32);
	made_size -= 8;
	module_tag(0, 1, "one too many");
	finish();
	refused("there are more than 32 modules");
}

static void test_map_wraps(void **state)
{
	(void)state;
	begin();
	map_begin();
	map_entry(0, MIB(1), 1);
	map_entry(0xfffffffffffff000, 0x2000, 2);
	tag_end();
	finish();
	refused("a range of the memory map wraps around");
	begin();
	map_begin();
	for (uint64_t i = 0; i < 513; i++)
		map_entry(i * 0x2000, 0x1000, 1);
	tag_end();
	finish();
	refused("the memory map has more than 512 ranges");
}

static void test_framebuffer(void **state)
{
	static const struct { uint64_t address; uint32_t pitch, width, height; uint8_t bpp, type; uint8_t rgb[6]; bool good; } cases[] = {
		{ 0xfd000000, 4096, 1024, 768, 32, 1, { 16, 8, 8, 8, 0, 8 }, true },
		{ 0xfd000000, 2048, 1024, 768, 16, 1, { 11, 5, 5, 6, 0, 5 }, true },
		{ 0xfd000000, 4096, 1024, 768, 32, 1, { 16, 8, 8, 8, 0, 0 }, false },
		{ 0xfd000000, 4096, 1024, 768, 32, 1, { 25, 8, 8, 8, 0, 8 }, false },
		{ 0xfd000000, 4096, 1024, 768, 32, 1, { 16, 8, 8, 255, 0, 8 }, false },
		{ 0xb8000, 160, 80, 25, 16, 2, { 16, 8, 8, 8, 0, 8 }, false },
		{ 0xfd000000, 1024, 1024, 768, 8, 0, { 16, 8, 8, 8, 0, 8 }, false },
		{ 0, 4096, 1024, 768, 32, 1, { 16, 8, 8, 8, 0, 8 }, false },
		{ 0xfd000000, 4095, 1024, 768, 32, 1, { 16, 8, 8, 8, 0, 8 }, false },
		{ 0xfd000000, 4096, 0xffffffff, 768, 32, 1, { 16, 8, 8, 8, 0, 8 }, false },
		{ 0xfd000000, 4096, 0, 768, 32, 1, { 16, 8, 8, 8, 0, 8 }, false },
		{ 0xfd000000, 4096, 1024, 0, 32, 1, { 16, 8, 8, 8, 0, 8 }, false },
		{ 0xfd000000, 4096, 1024, 768, 0, 1, { 16, 8, 8, 8, 0, 8 }, false },
		{ 0xfd000000, 4096, 1024, 768, 32, 3, { 16, 8, 8, 8, 0, 8 }, false },
		{ 0xffffffffffff0000, 4096, 1024, 768, 32, 1, { 16, 8, 8, 8, 0, 8 }, false },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		begin();
		simple_map();
		tag(8);
		put64(cases[i].address);
		put32(cases[i].pitch);
		put32(cases[i].width);
		put32(cases[i].height);
		put(&cases[i].bpp, 1);
		put(&cases[i].type, 1);
		put("\0", 2);
		put(cases[i].rgb, 6);
		tag_end();
		finish();
		assert_int_equal(parse_bytes(made, made_size), 0);
		assert_int_equal(info.framebuffer.address, cases[i].good ? cases[i].address : 0);
		assert_int_equal(info.framebuffer.red_size, cases[i].good ? cases[i].rgb[1] : 0);
	}
	/* Cut off before its colours. */
	begin();
	simple_map();
	tag(8);
	put64(0xfd000000);
	put32(4096);
	put32(1024);
	put32(768);
	put("\x20\x01\x00", 3);
	tag_end();
	finish();
	assert_int_equal(parse_bytes(made, made_size), 0);
	assert_int_equal(info.framebuffer.address, 0);
}

static void test_rsdp(void **state)
{
	(void)state;
	begin();
	simple_map();
	tag(14);
	put("RSD PTR 90123456789", 20);
	tag_end();
	finish();
	assert_int_equal(parse_bytes(made, made_size), 0);
	assert_int_equal(info.rsdp_size, 20);
	assert_memory_equal(info.rsdp, "RSD PTR 90123456789", 20);
	begin();
	simple_map();
	tag(15);
	put("RSD PTR 90123456789", 20);
	tag_end();
	finish();
	refused("an RSDP tag is too short");
}

/* Overlaps against a flat picture: the less usable type wins, whatever the order. */
static void test_overlaps(void **state)
{
	static const unsigned rank_of[] = { 3, 0, 3, 1, 2, 4, 3, 3 };
	static const unsigned type_of_rank[] = { 1, 3, 4, 2, 5 };

	(void)state;
	srandom(3);
	for (unsigned round = 0; round < 2000; round++) {
		int flat[64];
		unsigned at = 0;
		uint64_t last = 0, usable = 0;

		for (unsigned i = 0; i < 64; i++)
			flat[i] = -1;
		memset(&info, 0, sizeof(info));
		for (unsigned i = 0; i < 12; i++) {
			unsigned base = (unsigned)random() % 64, length = (unsigned)random() % (64 - base + 1), type = (unsigned)random() % 8;

			assert_int_equal(boot_info_add_memory(&info, base, length, type), 0);
			for (unsigned j = base; j < base + length; j++)
				flat[j] = MAX(flat[j], (int)rank_of[type]);
		}
		for (unsigned i = 0; i < info.memory_count; i++) {
			assert_true(i == 0 || info.memory[i].base >= last);
			assert_true(info.memory[i].length > 0);
			if (i && info.memory[i].base == last)
				assert_int_not_equal(info.memory[i].type, info.memory[i - 1].type);
			last = info.memory[i].base + info.memory[i].length;
			for (; at < info.memory[i].base; at++)
				assert_int_equal(flat[at], -1);
			for (; at < last; at++)
				assert_int_equal(info.memory[i].type, type_of_rank[flat[at]]);
		}
		for (; at < 64; at++)
			assert_int_equal(flat[at], -1);
		for (unsigned i = 0; i < 64; i++)
			usable += flat[i] == 0;
		assert_int_equal(boot_info_usable_bytes(&info), usable);
	}
	memset(&info, 0, sizeof(info));
	assert_int_equal(boot_info_add_memory(&info, 0, UINT64_MAX, 1), 0);
	assert_int_equal(boot_info_add_memory(&info, 0x1000, 0x1000, 2), 0);
	assert_int_equal(info.memory_count, 3);
	assert_int_equal(boot_info_usable_end(&info), UINT64_MAX);
	/* A full table refuses what would need another entry, and takes what needs none. */
	for (uint64_t i = info.memory_count; i + 1 < BOOT_MEMORY_MAX; i += 2)
		assert_int_equal(boot_info_add_memory(&info, i * 0x10000, 0x1000, 2), 0);
	while (info.memory_count < BOOT_MEMORY_MAX)
		assert_int_equal(boot_info_add_memory(&info, 0, 0x10, 2), 0);
	assert_int_equal(boot_info_add_memory(&info, GIB(1), 0x1000, 2), ERR_NOMEM);
	assert_int_equal(boot_info_add_memory(&info, 0x1800, 0x100, 1), 0);
	assert_int_equal(info.memory_count, BOOT_MEMORY_MAX);
}

static void test_random_bytes(void **state)
{
	static uint8_t hurt[65536];
	unsigned accepted = 0;

	(void)state;
	full();
	srandom(4);
	for (unsigned round = 0; round < 20000; round++) {
		memcpy(hurt, made, made_size);
		for (unsigned i = 1 + (unsigned)random() % 8; i; i--) {
			/* Half of the damage goes to the headers of tags, where sizes are. */
			size_t at = (size_t)random() % made_size;

			if (random() % 2)
				at &= ~(size_t)3;
			hurt[at] = (uint8_t)(random() % 2 ? random() : 1 << random() % 8);
		}
		accepted += parse_bytes(hurt, made_size) == 0;
		assert_true(info.module_count <= BOOT_MODULES_MAX && info.memory_count <= BOOT_MEMORY_MAX);
		assert_non_null(memchr(info.cmdline, 0, sizeof(info.cmdline)));
	}
	assert_true(accepted > 100 && accepted < 19900);
	for (unsigned round = 0; round < 5000; round++) {
		uint32_t total = 200;

		for (unsigned i = 0; i < 200; i++)
			hurt[i] = (uint8_t)(random() % 3 ? 0 : random() % 40);
		memcpy(hurt, &total, 4);
		parse_bytes(hurt, 200);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_modules),
		cmocka_unit_test(test_map_wraps),
		cmocka_unit_test(test_framebuffer),
		cmocka_unit_test(test_rsdp),
		cmocka_unit_test(test_overlaps),
		cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

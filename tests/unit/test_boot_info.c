/* SOURCES: boot/boot_info.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "boot/boot_info.h"

static struct boot_info info;
static const char *error;

static int good(void **state)
{
	(void)state;
	memset(&info, 0, sizeof(info));
	info.size = sizeof(info);
	info.memory_count = 2;
	info.memory[0] = (struct boot_memory){ 0, 0x9f000, BOOT_MEMORY_USABLE };
	info.memory[1] = (struct boot_memory){ 0x100000, GIB(1), BOOT_MEMORY_USABLE };
	info.module_count = 2;
	info.module[0] = (struct boot_module){ GIB(5), GIB(6), "big" };
	info.module[1] = (struct boot_module){ 0x2000000, 0x2001000, "small" };
	return 0;
}

static void refused(const char *why)
{
	assert_int_equal(boot_info_check(&info, &error), ERR_INVALID);
	assert_string_equal(error, why);
	good(NULL);
}

static void test_good(void **state)
{
	(void)state;
	assert_int_equal(boot_info_check(&info, &error), 0);
	assert_null(error);
	info.rsdp_size = 36;
	info.module[0].end = info.module[0].start;
	assert_int_equal(boot_info_check(&info, &error), 0);
}

static void test_size(void **state)
{
	(void)state;
	info.size -= 8;
	refused("it is for another version of Lamina: lamina.efi and lamina.elf must be of one build");
}

static void test_memory(void **state)
{
	static const char unsorted[] = "the memory map is not sorted, or a range of it is empty or wraps around";

	(void)state;
	info.memory_count = BOOT_MEMORY_MAX + 1;
	refused("the memory map has too many ranges");
	info.memory[1].length = 0;
	refused(unsorted);
	info.memory[1].length = UINT64_MAX;
	refused(unsorted);
	info.memory[1].base = 0x9e000;
	refused(unsorted);
	info.memory[0].base = GIB(2);
	refused(unsorted);
	info.memory[0].type = info.memory[1].type = BOOT_MEMORY_RESERVED;
	refused("the memory map has no usable memory");
	info.memory_count = 0;
	refused("the memory map has no usable memory");
}

static void test_modules(void **state)
{
	(void)state;
	info.module_count = BOOT_MODULES_MAX + 1;
	refused("there are more than 32 modules");
	info.module[1].end = info.module[1].start - 1;
	refused("a module ends before it starts");
	info.module[1].start = GIB(5) + 1;
	info.module[1].end = GIB(5) + 2;
	refused("two modules overlap");
	memset(info.module[1].cmdline, 'x', sizeof(info.module[1].cmdline));
	refused("a module's command line has no end");
}

static void test_texts(void **state)
{
	(void)state;
	memset(info.cmdline, 'x', sizeof(info.cmdline));
	refused("the command line has no end");
	memset(info.loader_name, 'x', sizeof(info.loader_name));
	refused("the boot loader's name has no end");
	info.rsdp_size = 37;
	refused("the RSDP has a wrong size");
}

static void set_framebuffer(void)
{
	info.framebuffer = (struct boot_framebuffer){ .address = 0xc0000000, .pitch = 3200, .width = 800, .height = 600,
		.bpp = 32, .red_position = 16, .red_size = 8, .green_position = 8, .green_size = 8, .blue_size = 8 };
}

static void test_framebuffer(void **state)
{
	(void)state;
	set_framebuffer();
	assert_int_equal(boot_info_check(&info, &error), 0);
	assert_int_equal(info.framebuffer.address, 0xc0000000);
	for (unsigned i = 0; i < 6; i++) {
		set_framebuffer();
		switch (i) {
		case 0: info.framebuffer.red_position = 25; break;
		case 1: info.framebuffer.blue_size = 0; break;
		case 2: info.framebuffer.pitch = 3199; break;
		case 3: info.framebuffer.address = UINT64_MAX - 4096; break;
		case 4: info.framebuffer.height = 0; break;
		default: info.framebuffer.bpp = 0; break;
		}
		assert_int_equal(boot_info_check(&info, &error), 0);
		assert_int_equal(info.framebuffer.address, 0);
		assert_int_equal(info.framebuffer.width, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_good, good),
		cmocka_unit_test_setup(test_size, good),
		cmocka_unit_test_setup(test_memory, good),
		cmocka_unit_test_setup(test_modules, good),
		cmocka_unit_test_setup(test_texts, good),
		cmocka_unit_test_setup(test_framebuffer, good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

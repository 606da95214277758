/* SOURCES: vmm/memory/guest_memory.c vmm/config/config.c vmm/config/config_key.c vmm/config/config_disk.c vmm/config/monitor_mode.c */
/* LIBS: -ffunction-sections -fdata-sections -Wl,--gc-sections */
#include "tests/unit/unit.h"

#include <stdio.h>

/* Who gets which boot module, and how. Of all else that builds a VM the linker takes nothing. */
#include "vmm/vm/vm_disks.c"
#include "vmm/vm/vm_files.c"

#define MAPPINGS_MAX 8

/* Each VM's address space, of which the modules count. */
struct mapping {
	const struct page_table *space;
	uint64_t va;
	uint32_t attrs;
};

static struct mapping mapping[MAPPINGS_MAX];
static unsigned mappings;
static struct vm vm[2];
static struct vm_file files[3];
static struct vm_resources resources;

int page_table_lookup(const struct page_table *pt, uint64_t va, uint64_t *pa, uint32_t *attrs, unsigned *level)
{
	for (unsigned i = 0; i < mappings; i++) {
		if (mapping[i].space != pt || mapping[i].va != va)
			continue;
		*pa = va - MODULES_BASE;
		if (attrs)
			*attrs = mapping[i].attrs;
		(void)level;
		return 0;
	}
	return ERR_NOENT;
}

int page_table_map(struct page_table *pt, uint64_t va, uint64_t pa, uint64_t size, uint32_t attrs)
{
	assert_int_equal(va, MODULES_BASE + pa);
	assert_int_equal(size % PAGE_SIZE, 0);
	assert_true(mappings < MAPPINGS_MAX);
	mapping[mappings++] = (struct mapping){ pt, va, attrs };
	return 0;
}

int ram_disk_init(struct ram_disk *disk, const char *name, void *data, uint64_t size, bool read_only)
{
	(void)disk;
	(void)name;
	(void)data;
	(void)size;
	(void)read_only;
	return 0;
}

static int setup(void **state)
{
	(void)state;
	mappings = 0;
	memset(vm, 0, sizeof(vm));
	files[0] = (struct vm_file){ .name = "kernel", .phys = 0x1000000, .size = 5000 };
	files[1] = (struct vm_file){ .name = "root.img", .phys = 0x2000000, .size = 8192 };
	files[2] = (struct vm_file){ .name = "ext2fs", .phys = 0x3000000, .size = 100 };
	resources = (struct vm_resources){ .files = files, .file_count = 3 };
	return 0;
}

static struct block_device *disk(unsigned n, unsigned index, const char *module, bool read_only)
{
	struct disk_config *config = &vm[n].config.disk[index];

	snprintf(config->module, sizeof(config->module), "%s", module);
	config->read_only = read_only;
	return module_disk(&vm[n], &resources, index);
}

static int kernel(unsigned n, const char *module)
{
	struct loader_file file = { .len = 0 };

	return find_file(&vm[n], &resources, "kernel", module, &file);
}

static void reading_is_shared(void **state)
{
	(void)state;
	assert_int_equal(kernel(0, "kernel"), 0);
	assert_int_equal(kernel(0, "kernel"), 0);
	assert_int_equal(kernel(1, "kernel"), 0);
	assert_non_null(disk(0, 0, "root.img", true));
	assert_non_null(disk(1, 0, "root.img", true));
	assert_non_null(disk(1, 1, "kernel", true));
	for (unsigned i = 0; i < mappings; i++)
		assert_int_equal(mapping[i].attrs, PT_READ);
}

/* Else one VM writes what another runs. */
static void no_disk_that_another_vm_reads(void **state)
{
	(void)state;
	assert_non_null(disk(0, 0, "kernel", false));
	assert_int_not_equal(kernel(1, "kernel"), 0);
	assert_null(disk(1, 0, "kernel", true));
}

static void no_disk_that_another_vm_has_read(void **state)
{
	(void)state;
	assert_int_equal(kernel(0, "kernel"), 0);
	assert_null(disk(1, 0, "kernel", false));
}

static void no_disk_of_two_writers(void **state)
{
	(void)state;
	assert_non_null(disk(0, 0, "root.img", false));
	assert_null(disk(1, 0, "root.img", false));
	assert_null(disk(0, 1, "root.img", false));
}

/* "the module is empty, or a disk too": a guest that writes its own kernel's file starts from something else after a reset. */
static void no_kernel_on_its_own_disk(void **state)
{
	(void)state;
	assert_non_null(disk(0, 0, "kernel", false));
	assert_int_not_equal(kernel(0, "kernel"), 0);
}

/* The configuration takes blanks and tabs for the end of a module's name. */
static void name_ends_at_any_blank(void **state)
{
	struct loader_file file = { .len = 0 };

	(void)state;
	assert_int_equal(find_file(&vm[0], &resources, "module0", "ext2fs --readonly", &file), 0);
	assert_int_equal(find_file(&vm[0], &resources, "module0", "ext2fs\t--readonly", &file), 0);
	assert_string_equal(file.name, "ext2fs");
	assert_string_equal(file.string, "ext2fs\t--readonly");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(reading_is_shared), T(no_disk_that_another_vm_reads), T(no_disk_that_another_vm_has_read), T(no_disk_of_two_writers),
		T(no_kernel_on_its_own_disk), T(name_ends_at_any_blank),
	};

	return cmocka_run_group_tests_name("vm_modules", tests, NULL, NULL);
}

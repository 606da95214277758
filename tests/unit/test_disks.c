/* SOURCES: drivers/disk/disks.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "drivers/disk/disk.h"
#include "drivers/host.h"
#include "drivers/pci/pci_host.h"
#include "tests/unit/fakes.h"

#define NVME 0x0100       /* device numbers that say whose controller a function is */
#define VIRTIO 0x1001
#define AHCI 0x0300
#define ATA 0x0400

static const struct acpi_info acpi;
static const struct pci_function functions[] = {
	{ .bdf = 0x0000, .vendor = 0x8086, .device = NVME, .class_code = 0x060000 },  /* a bridge */
	{ .bdf = 0x00f8, .vendor = 0x8086, .device = ATA, .class_code = 0x010180 },
	{ .bdf = 0x00fa, .vendor = 0x8086, .device = AHCI, .class_code = 0x010601 },
	{ .bdf = 0x0100, .vendor = 0x1234, .device = NVME, .class_code = 0x010802 },
	{ .bdf = 0x0208, .vendor = 0x1af4, .device = VIRTIO, .class_code = 0xff0000 },
	{ .bdf = 0x0210, .vendor = 0x1af4, .device = 0x1000, .class_code = 0x020000 }, /* a network card: no driver's */
	{ .bdf = 0x12fd, .vendor = 0x1000, .device = 0x0030, .class_code = 0x010000 }, /* SCSI: no driver's */
	{ .bdf = 0x0070, .vendor = 0x8086, .device = 0x467f, .class_code = 0x010400 }, /* VMD: its disks are hidden */
	{ .bdf = 0x00e0, .vendor = 0x8086, .device = 0xa340, .class_code = 0x060400 }, /* a bridge to another bus */
	{ .bdf = 0x1300, .vendor = 0x1000, .device = 0x0040, .class_code = 0x020000 }, /* not asked for */
};

static struct pci_function kept[16];
static unsigned kept_count, ecam_count, kept_room, asked;
static char found_by[64]; /* a letter for each driver that took a function */
static struct disk *first_disk;

void pci_host_scan(void (*found)(void *ctx, const struct pci_function *fn), void *ctx)
{
	for (unsigned i = 0; i < ARRAY_SIZE(functions); i++)
		found(ctx, &functions[i]);
}

void pci_host_use_ecam(struct pci_function *fn, const struct acpi_info *info)
{
	assert_ptr_equal(info, &acpi);
	assert_ptr_equal(fn, &kept[kept_count - 1]);
	ecam_count++;
}

/* Bridges, then each function that a driver is shown. */
static unsigned bridges_woken, woken, opened;

void pci_host_wake(const struct pci_function *fn)
{
	if (fn->class_code == 0x060400) {
		assert_ptr_equal(fn, &functions[8]);
		bridges_woken++;
		return;
	}
	assert_ptr_equal(fn, &kept[kept_count - 1]);
	woken++;
}

void pci_host_open_bridges(const struct pci_function *fn)
{
	assert_ptr_equal(fn, &kept[kept_count - 1]);
	assert_int_equal(woken, ++opened);
}

void *host_dma_alloc(unsigned pages, uint64_t *phys)
{
	assert_int_equal(pages, 1);
	*phys = 0x1000;
	return kept_count < kept_room ? &kept[kept_count++] : NULL;
}

struct disk *disk_at(unsigned n)
{
	assert_int_equal(n, 0);
	return first_disk;
}

static bool take(char letter, const struct pci_function *fn, unsigned device)
{
	/* The function is kept for the driver, and outlives the scan. */
	assert_ptr_equal(fn, &kept[kept_count - 1]);
	asked++;
	if (fn->device != device)
		return false;
	assert_true(strlen(found_by) + 2 < sizeof(found_by));
	found_by[strlen(found_by)] = letter;
	return true;
}

bool nvme_found(const struct pci_function *fn) { return take('n', fn, NVME); }
bool virtio_host_found(const struct pci_function *fn) { return take('v', fn, VIRTIO); }
bool ahci_found(const struct pci_function *fn) { return take('s', fn, AHCI); }
bool ata_found(const struct pci_function *fn) { return take('p', fn, ATA); }

static void prepare(unsigned room, struct disk *disk)
{
	fake_reset();
	memset(kept, 0, sizeof(kept));
	memset(found_by, 0, sizeof(found_by));
	kept_count = ecam_count = asked = bridges_woken = woken = opened = 0;
	kept_room = room;
	first_disk = disk;
}

static void test_a_disk_is_there(void **state)
{
	static struct disk disk;

	(void)state;
	prepare(ARRAY_SIZE(kept), &disk);
	disks_find(&acpi);
	assert_null(strstr(fake.log, "none found"));
}

static void test_no_memory(void **state)
{
	(void)state;
	prepare(1, NULL);
	disks_find(&acpi);
	assert_string_equal(found_by, "p");
	assert_int_equal(ecam_count, 1);
}

static void test_find(void **state)
{
	(void)state;
	prepare(ARRAY_SIZE(kept), NULL);
	disks_find(&acpi);
	assert_string_equal(found_by, "psnv");
	/* Mass storage and virtio's devices alone are shown to drivers, until one takes them. */
	assert_int_equal(kept_count, 7);
	assert_int_equal(ecam_count, 7);
	assert_int_equal(woken, 7);
	assert_int_equal(opened, 7);
	assert_int_equal(bridges_woken, 1);
	assert_int_equal(asked, 4 + 3 + 1 + 2 + 4 + 4 + 4);
	for (unsigned i = 0, at = 0; i < ARRAY_SIZE(functions); i++)
		if (i != 0 && i != 8 && i != 9)
			assert_memory_equal(&kept[at++], &functions[i], sizeof(functions[i]));
	assert_non_null(strstr(fake.log, "pci 12:1f.5: no driver for mass storage 010000 (1000:0030)\n"));
	assert_null(strstr(fake.log, "pci 13"));
	assert_non_null(strstr(fake.log, "pci 00:0e.0: Intel RST or VMD hides the disks behind it: switch RST/VMD off in the firmware set-up\n"));
	assert_null(strstr(fake.log, "(8086:467f)"));
	assert_non_null(strstr(fake.log, "disk: none found\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_a_disk_is_there),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

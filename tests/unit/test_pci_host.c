/* SOURCES: drivers/pci/pci_host.c drivers/disk/disk.c tests/unit/disk_machine.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "drivers/host.h"
#include "tests/unit/disk_machine.h"
#include "tests/unit/fakes.h"

#define CAP 0x50U
#define TABLE 0x800U  /* of the MSI-X entries, in BAR 0 */
#define VECTORS 4U

static const struct pci_function fn = { .bdf = 0 };
static uint32_t table[VECTORS][4];
static unsigned writes_enabled; /* writes to the table while its vectors could be used */

static uint32_t get(unsigned at, unsigned size)
{
	uint32_t value = 0;

	memcpy(&value, model.config + at, size);
	return value;
}

static uint32_t model_read(unsigned offset, unsigned size)
{
	(void)size;
	assert_in_range(offset, TABLE, TABLE + sizeof(table) - 4);
	return table[(offset - TABLE) / 16][offset / 4 % 4];
}

static void model_write(unsigned offset, unsigned size, uint32_t value)
{
	assert_int_equal(size, 4);
	assert_in_range(offset, TABLE, TABLE + sizeof(table) - 4);
	writes_enabled += (get(CAP + 2, 2) & 0xc000) != 0xc000;
	table[(offset - TABLE) / 16][offset / 4 % 4] = value;
}

static int setup(void **state)
{
	(void)state;
	disk_machine_reset();
	disk_machine_function("\x34\x12\x78\x56", "\x01\x00\x00\x01");
	model.config[6] = 0x10;
	model.config[0x34] = 0x43; /* the low two bits do not count */
	model.config[0x40] = 9;    /* a capability before the one that is looked for */
	model.config[0x41] = CAP | 2;
	model.read = model_read;
	model.write = model_write;
	memset(table, 0xa5, sizeof(table));
	writes_enabled = 0;
	return 0;
}

static void capability(uint8_t id, uint16_t control)
{
	memset(model.config + CAP, 0xee, 0x18);
	model.config[CAP] = id;
	model.config[CAP + 1] = 0;
	memcpy(model.config + CAP + 2, &control, 2);
}

static unsigned seen;
static void see(void *ctx, const struct pci_function *function)
{
	assert_ptr_equal(ctx, &seen);
	assert_int_equal(function->bdf, 0);
	assert_int_equal(function->vendor, 0x1234);
	assert_int_equal(function->device, 0x5678);
	assert_int_equal(function->class_code, 0x010000);
	seen++;
}

static void test_scan(void **state)
{
	(void)state;
	seen = 0;
	pci_host_scan(see, &seen);
	assert_int_equal(seen, 1);
	memset(model.config, 0, 4);
	pci_host_scan(see, &seen);
	assert_int_equal(seen, 1);
}

static void test_enable(void **state)
{
	(void)state;
	pci_host_enable(&fn, false);
	assert_int_equal(get(4, 2), 0x407);
	pci_host_enable(&fn, true);
	assert_int_equal(get(4, 2), 0x007);
	pci_host_disable(&fn);
	assert_int_equal(get(4, 2), 0x003);
}

static void test_bars(void **state)
{
	struct pci_bar bar;
	uint32_t value;

	(void)state;
	memset(model.config + 0x10, 0, 24);
	disk_machine_bar(0, 0x2000, 0x1000);
	pci_host_enable(&fn, false);
	assert_int_equal(pci_host_bar(&fn, 0, &bar), 0);
	assert_false(bar.io);
	assert_int_equal(bar.address, MODEL_REGISTERS + 0x2000);
	assert_int_equal(bar.size, 0x1000);
	assert_int_equal(get(4, 2), 0x407); /* decoding is on again */
	/* 64 bits. */
	value = (uint32_t)MODEL_REGISTERS | 4;
	memcpy(model.config + 0x18, &value, 4);
	disk_machine_bar(3, 0, 0);
	value = 7;
	memcpy(model.config + 0x1c, &value, 4);
	disk_machine_bar(2, 0, 0x4000);
	value = (uint32_t)MODEL_REGISTERS | 4;
	memcpy(model.config + 0x18, &value, 4);
	assert_int_equal(pci_host_bar(&fn, 2, &bar), 0);
	assert_int_equal(bar.address, 7UL << 32 | MODEL_REGISTERS);
	/* Ports. */
	disk_machine_bar(5, 0, 0x20);
	value = 0xc001;
	memcpy(model.config + 0x24, &value, 4);
	assert_int_equal(pci_host_bar(&fn, 5, &bar), 0);
	assert_true(bar.io);
	assert_int_equal(bar.address, 0xc000);
	assert_int_equal(bar.size, 0x20);
	assert_null(pci_host_map(&fn, 5, 0x20));
	assert_non_null(strstr(fake.log, "pci 00:00.0: BAR 5 is not 32 bytes of memory"));
	/* None there, none by that number, and a bridge, whose registers mean something else. */
	assert_int_equal(pci_host_bar(&fn, 1, &bar), ERR_NOENT);
	assert_int_equal(pci_host_bar(&fn, PCI_BARS, &bar), ERR_NOENT);
	model.config[0xe] = 1;
	assert_int_equal(pci_host_bar(&fn, 0, &bar), ERR_NOENT);
	model.config[0xe] = 0x80;
	assert_int_equal(pci_host_bar(&fn, 0, &bar), 0);
	/* All of it can be mapped, and no more. */
	assert_ptr_equal(pci_host_map(&fn, 0, 0x1000), (volatile uint8_t *)(MODEL_REGISTERS + 0x2000));
	assert_null(pci_host_map(&fn, 0, 0x1001));
}

static void test_capabilities(void **state)
{
	(void)state;
	capability(5, 0x80);
	assert_int_equal(pci_host_capability(&fn, 9, 0), 0x40);
	assert_int_equal(pci_host_capability(&fn, 5, 0), CAP);
	assert_int_equal(pci_host_capability(&fn, 9, CAP), 0);
	assert_int_equal(pci_host_capability(&fn, 7, 0), 0);
	/* A list that is a loop has an end all the same; one that leaves its place, too. */
	model.config[CAP + 1] = 0x40;
	assert_int_equal(pci_host_capability(&fn, 7, 0), 0);
	model.config[CAP + 1] = 0x3c;
	model.config[0x3c] = 7;
	assert_int_equal(pci_host_capability(&fn, 7, 0), 0);
	model.config[6] = 0;
	assert_int_equal(pci_host_capability(&fn, 5, 0), 0);
}

/* A function in D3 loses its header on the way to D0. */
static uint64_t woken_at;

static void lose_header(unsigned reg, unsigned size, uint32_t value)
{
	assert_true(fake.now >= woken_at + 100000 || !woken_at); /* 100 ms */
	if (reg != CAP + 4)
		return;
	assert_int_equal(size, 2);
	assert_int_equal(value, 0x0100); /* D0, PME as it was, no event cleared */
	memset(model.config + 4, 0, 2);
	memset(model.config + 0x0c, 0, 4);
	memset(model.config + 0x28, 0, 0x40 - 0x28);
	woken_at = fake.now;
}

static void test_wake(void **state)
{
	(void)state;
	capability(1, 3);
	model.config[CAP + 4] = 3;
	model.config[CAP + 5] = 0x81;
	model.config[4] = 6;
	model.config[0x0c] = 0x10;
	model.config[0x3c] = 11;
	woken_at = 0;
	model.config_written = lose_header;
	pci_host_wake(&fn);
	assert_true(woken_at);
	assert_int_equal(get(4, 2), 6);
	assert_int_equal(get(0x0c, 1), 0x10);
	assert_int_equal(get(0x34, 1), 0x43);
	assert_int_equal(get(0x3c, 1), 11);
	assert_int_equal(get(CAP + 4, 2), 0x0100);
	assert_non_null(strstr(fake.log, "pci 00:00.0: it was in power state D3: now in D0\n"));
}

static void expect_no_write(unsigned reg, unsigned size, uint32_t value)
{
	(void)reg, (void)size, (void)value;
	fail();
}

static void test_awake(void **state)
{
	(void)state;
	model.config_written = expect_no_write;
	pci_host_wake(&fn); /* without the capability */
	capability(1, 3);
	model.config[CAP + 4] = 0x08;
	model.config[CAP + 5] = 0x80;
	pci_host_wake(&fn);
	assert_int_equal(fake.log_len, 0);
}

/* The disk is on bus 3; 0:1.0 leads to buses 2 to 4, 2:1.0 to 3. */
static void prepare_bridges(void)
{
	static const struct { uint8_t secondary, subordinate; } buses[] = { { 2, 4 }, { 3, 3 } };

	fake_reset();
	for (unsigned i = 0; i < 2; i++) {
		memset(model.bridge[i], 0, 256);
		memcpy(model.bridge[i], "\x86\x80\x01\x02\x02\x00", 6);
		model.bridge[i][0x0e] = i ? 0x81 : 1; /* of several functions, too */
		model.bridge[i][0x19] = buses[i].secondary;
		model.bridge[i][0x1a] = buses[i].subordinate;
	}
}

static void test_bridges(void **state)
{
	static const struct { uint16_t bdf; bool opened[2]; } cases[] = {
		{ 0x0000, { false, false } }, { 0x0100, { false, false } }, { 0x0200, { true, false } }, { 0x0300, { true, true } },
		{ 0x0408, { true, false } }, { 0x0500, { false, false } },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		prepare_bridges();
		pci_host_open_bridges(&(struct pci_function){ .bdf = cases[i].bdf });
		for (unsigned n = 0; n < 2; n++)
			assert_int_equal(model.bridge[n][4], cases[i].opened[n] ? 6 : 2);
		assert_int_equal(strstr(fake.log, "pci 00:01.0: a bridge above a disk passed no DMA on: now it does\n") != NULL, cases[i].opened[0]);
		assert_int_equal(strstr(fake.log, "pci 02:01.0: a bridge above a disk") != NULL, cases[i].opened[1]);
	}
	/* Open already, or no bridge at all. */
	prepare_bridges();
	model.bridge[0][4] = 4;
	model.bridge[1][0x0e] = 0;
	pci_host_open_bridges(&(struct pci_function){ .bdf = 0x0300 });
	assert_int_equal(model.bridge[0][4], 4);
	assert_int_equal(model.bridge[1][4], 2);
	assert_int_equal(fake.log_len, 0);
}

static void test_msi(void **state)
{
	struct pci_msi msi;

	(void)state;
	assert_int_equal(pci_msi_init(&msi, &fn), ERR_NOENT);
	/* With 64-bit addresses, and several messages, of which one is used. */
	capability(5, 0x01fa);
	assert_int_equal(pci_msi_init(&msi, &fn), 0);
	assert_false(msi.msix);
	assert_int_equal(msi.vectors, 1);
	pci_msi_set(&msi, 1, 0x1, 0x1);
	assert_int_equal(get(CAP + 4, 4), 0xeeeeeeee);
	pci_msi_set(&msi, 0, 0x12fee01000, 0x4041);
	assert_int_equal(get(CAP + 4, 4), 0xfee01000);
	assert_int_equal(get(CAP + 8, 4), 0x12);
	assert_int_equal(get(CAP + 12, 4), 0xeeee4041);
	assert_int_equal(get(CAP + 2, 2), 0x018b);
	assert_int_equal(get(0x48, 4), 0);
	/* With 32-bit addresses the data comes right behind. */
	capability(5, 0x0000);
	assert_int_equal(pci_msi_init(&msi, &fn), 0);
	pci_msi_set(&msi, 0, 0xfee02000, 0x42);
	assert_int_equal(get(CAP + 4, 4), 0xfee02000);
	assert_int_equal(get(CAP + 8, 4), 0xeeee0042);
	assert_int_equal(get(CAP + 12, 4), 0xeeeeeeee);
	assert_int_equal(get(CAP + 2, 2), 0x0001);
	pci_msi_mask(&msi, 0, true);
	assert_int_equal(get(CAP + 2, 2), 0x0001);
}

static void test_msix(void **state)
{
	uint32_t where = TABLE;
	struct pci_msi msi;

	(void)state;
	disk_machine_bar(0, 0, 0x1000);
	capability(0x11, VECTORS - 1);
	memcpy(model.config + CAP + 4, &where, 4);
	assert_int_equal(pci_msi_init(&msi, &fn), 0);
	assert_true(msi.msix);
	assert_int_equal(msi.vectors, VECTORS);
	/* All vectors were masked, one by one, before the function was let. */
	assert_int_equal(writes_enabled, 0);
	assert_int_equal(get(CAP + 2, 2), 0x8000 | (VECTORS - 1));
	for (unsigned i = 0; i < VECTORS; i++)
		assert_int_equal(table[i][3], 1);
	pci_msi_set(&msi, VECTORS - 1, 0x12fee01000, 0x41);
	assert_int_equal(table[VECTORS - 1][0], 0xfee01000);
	assert_int_equal(table[VECTORS - 1][1], 0x12);
	assert_int_equal(table[VECTORS - 1][2], 0x41);
	assert_int_equal(table[VECTORS - 1][3], 0);
	assert_int_equal(table[0][3], 1);
	pci_msi_mask(&msi, VECTORS - 1, true);
	assert_int_equal(table[VECTORS - 1][3], 1);
	pci_msi_mask(&msi, VECTORS - 1, false);
	assert_int_equal(table[VECTORS - 1][3], 0);
	pci_msi_set(&msi, VECTORS, 0, 0);
	pci_msi_mask(&msi, VECTORS, true);
	/* A table that ends with its BAR is fine; one that reaches beyond it, or lies where there is no memory, is none. */
	where = 0x1000 - sizeof(table);
	for (unsigned i = 0; i < 3; i++) {
		disk_machine_bar(0, TABLE - (0x1000 - (uint32_t)sizeof(table)), 0x1000);
		capability(0x11, VECTORS - 1);
		memcpy(model.config + CAP + 4, &where, 4);
		assert_int_equal(pci_msi_init(&msi, &fn), i ? ERR_NOENT : 0);
		where = i ? 0x2000 : where + 8;
	}
	where = TABLE | 1; /* BAR 1 is not there */
	memcpy(model.config + CAP + 4, &where, 4);
	assert_int_equal(pci_msi_init(&msi, &fn), ERR_NOENT);
}

static void test_ecam(void **state)
{
	struct acpi_info acpi = { .mcfg_count = 3, .mcfg = { { .base = MODEL_REGISTERS, .segment = 1, .last_bus = 255 },
							     { .base = MODEL_REGISTERS, .first_bus = 1, .last_bus = 255 },
							     { .base = MODEL_REGISTERS + TABLE, .first_bus = 0, .last_bus = 0 } } };
	struct pci_function function = fn;

	(void)state;
	/* Believed only where it shows the function that the ports show. */
	pci_host_use_ecam(&function, &acpi);
	assert_null(function.ecam);
	table[0][0] = get(0, 4);
	pci_host_use_ecam(&function, &acpi);
	assert_ptr_equal(function.ecam, (volatile uint8_t *)(MODEL_REGISTERS + TABLE));
	table[0][1] = 0x12345678;
	assert_int_equal(pci_host_read32(&function, 4), 0x12345678);
	assert_int_equal(pci_host_read16(&function, 6), 0x1234);
	assert_int_equal(pci_host_read8(&function, 5), 0x56);
	/* No table covers the bus. */
	function = fn;
	acpi.mcfg_count = 2;
	pci_host_use_ecam(&function, &acpi);
	assert_null(function.ecam);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_scan, setup),
		cmocka_unit_test_setup(test_enable, setup),
		cmocka_unit_test_setup(test_bars, setup),
		cmocka_unit_test_setup(test_capabilities, setup),
		cmocka_unit_test_setup(test_wake, setup),
		cmocka_unit_test_setup(test_awake, setup),
		cmocka_unit_test_setup(test_bridges, setup),
		cmocka_unit_test_setup(test_msi, setup),
		cmocka_unit_test_setup(test_msix, setup),
		cmocka_unit_test_setup(test_ecam, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

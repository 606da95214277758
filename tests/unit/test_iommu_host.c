/* SOURCES: drivers/iommu_host.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "drivers/host.h"
#include "drivers/iommu_host.h"
#include "drivers/mmio.h"
#include "tests/unit/fakes.h"

#define VTD_BASE 0xfed90000UL
#define AMD_BASE 0xfd200000UL
#define ROOT_PHYS 0x5000UL

/* Two units behind their registers: what a command asks for is so a little later. A look at a register takes a microsecond. */
static uint32_t registers[2][0x1000];
static struct acpi_info acpi;
static uint32_t deaf;        /* bits of VT-d's status or AMD's control that no command changes */
static uint32_t off_order[8]; /* bits that VT-d's commands took away, in order */
static unsigned offs, writes;
static bool protection_stays, nothing_mapped, queue_stops, log_runs_on;

volatile void *host_map_registers(uint64_t phys, uint64_t size)
{
	assert_true(phys == VTD_BASE || phys == AMD_BASE);
	assert_true(size <= sizeof(registers[0]));
	return nothing_mapped ? NULL : registers[phys == AMD_BASE];
}

void *host_dma_alloc(unsigned pages, uint64_t *phys)
{
	static uint8_t page[4096];

	assert_int_equal(pages, 1);
	*phys = ROOT_PHYS;
	return page;
}

static uint32_t *reg(unsigned unit, unsigned offset)
{
	return &registers[unit][offset / 4];
}

static unsigned place(const volatile void *at, unsigned *unit)
{
	uintptr_t offset = (uintptr_t)at - (uintptr_t)registers;

	assert_true(offset < sizeof(registers));
	*unit = offset >= sizeof(registers[0]);
	return (unsigned)(offset % sizeof(registers[0]));
}

uint32_t mmio_read32(const volatile void *at)
{
	unsigned unit, offset = place(at, &unit);

	fake.now += 1000;
	if (!unit && offset == 0x80 && !queue_stops && *reg(0, 0x80) != *reg(0, 0x88))
		*reg(0, 0x80) += 0x10; /* the queue is worked off */
	return *reg(unit, offset);
}

static void vtd_command(uint32_t command)
{
	uint32_t status = *reg(0, 0x1c), changed = (command ^ status) & 0x96000000U;

	assert_true((changed & (changed - 1)) == 0); /* section 11.4.4.1: one change at a time */
	if (command & 0x40000000) {
		assert_int_equal(changed, 0);
		*reg(0, 0x1c) |= 0x40000000;
	}
	if (changed & status && offs < ARRAY_SIZE(off_order))
		off_order[offs++] = changed;
	if (changed == 0x04000000)
		assert_true(queue_stops || *reg(0, 0x80) == *reg(0, 0x88));
	*reg(0, 0x1c) ^= changed & ~deaf;
}

void mmio_write32(volatile void *at, uint32_t value)
{
	unsigned unit, offset = place(at, &unit);

	writes++;
	if (unit) {
		assert_int_equal(offset, 0x18);
		/* The event log and the commands end while the unit is on. */
		assert_true(value & 1 || !(*reg(1, 0x2020) & 0x198) || log_runs_on);
		*reg(1, 0x18) = (value & ~deaf) | (*reg(1, 0x18) & deaf);
		if (!log_runs_on)
			*reg(1, 0x2020) = (value & 4 ? 8 : 0) | (value & 0x1000 ? 16 : 0);
	} else if (offset == 0x18) {
		vtd_command(value);
	} else if (offset == 0x64) {
		*reg(0, 0x64) = protection_stays ? (value | 1) : (value & 0x80000000) | value >> 31;
	} else {
		assert_true(offset == 0x20 || offset == 0x24);
		*reg(0, offset) = value;
	}
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(registers, 0, sizeof(registers));
	memset(&acpi, 0, sizeof(acpi));
	deaf = offs = writes = 0;
	protection_stays = nothing_mapped = queue_stops = log_runs_on = false;
	return 0;
}

static void add(uint64_t address, bool amd)
{
	acpi.iommu[acpi.iommu_count++] = (struct acpi_iommu){ .address = address, .amd = amd };
	if (!amd) {
		*reg(0, 0x08) = 0x60; /* protected memory, low and high */
		*reg(0, 0x64) = 0;
	}
}

static bool logged(const char *text)
{
	return strstr(fake.log, text);
}

static void test_none(void **state)
{
	(void)state;
	iommu_host_off(&acpi);
	assert_int_equal(fake.log_len, 0);
}

static void test_found_off(void **state)
{
	(void)state;
	add(VTD_BASE, false);
	add(AMD_BASE, true);
	iommu_host_off(&acpi);
	assert_int_equal(writes, 0);
	assert_true(logged("iommu: 2 unit(s) were off already"));
	assert_false(logged("left on"));
}

static void test_vtd_on(void **state)
{
	(void)state;
	add(VTD_BASE, false);
	*reg(0, 0x1c) = 0xc7000000; /* translation and its table, the queue, interrupt remapping and its table */
	*reg(0, 0x64) = 0x80000001;
	*reg(0, 0x88) = 0x200;      /* commands wait in the queue */
	iommu_host_off(&acpi);
	assert_int_equal(*reg(0, 0x1c) & 0x96000000U, 0);
	assert_int_equal(*reg(0, 0x64), 0);
	assert_int_equal(offs, 3);
	assert_int_equal(off_order[0], 0x80000000);
	assert_int_equal(off_order[1], 0x02000000);
	assert_int_equal(off_order[2], 0x04000000);
	assert_true(logged("iommu: the VT-d unit at fed90000 was left on by the firmware; DMA translation, interrupt remapping, its queues, "
			   "protected memory, now off"));
	assert_false(logged("already"));
}

/* Each part alone, and what the log calls it. */
static void test_vtd_parts(void **state)
{
	static const struct { uint32_t status, protected; const char *said; } cases[] = {
		{ 0x80000000, 0, "firmware; DMA translation, now off" },
		{ 0x02000000, 0, "firmware; interrupt remapping, now off" },
		{ 0x04000000, 0, "firmware; its queues, now off" },
		{ 0, 0x80000000, "firmware; protected memory, now off" },
		{ 0, 1, "firmware; protected memory, now off" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(NULL);
		add(VTD_BASE, false);
		*reg(0, 0x1c) = cases[i].status;
		*reg(0, 0x64) = cases[i].protected;
		iommu_host_off(&acpi);
		assert_true(logged(cases[i].said));
		assert_int_equal(*reg(0, 0x1c) | *reg(0, 0x64), 0);
	}
}

/* Without protected memory its register is reserved. */
static void test_vtd_without_protected_memory(void **state)
{
	(void)state;
	add(VTD_BASE, false);
	*reg(0, 0x08) = 0;
	*reg(0, 0x64) = 0x80000001;
	iommu_host_off(&acpi);
	assert_int_equal(writes, 0);
	assert_true(logged("1 unit(s) were off already"));
}

static void test_vtd_deaf(void **state)
{
	(void)state;
	add(VTD_BASE, false);
	add(AMD_BASE, true);
	*reg(0, 0x1c) = 0x86000000;
	*reg(0, 0x88) = 0x10;
	queue_stops = true; /* nor does its queue get empty */
	deaf = 0x80000000;
	iommu_host_off(&acpi);
	assert_int_equal(*reg(0, 0x1c), 0x80000000);
	assert_true(logged("the VT-d unit at fed90000 was left on by the firmware; DMA translation, which cannot be switched off: disks' DMA may fault"));
	assert_true(logged("1 unit(s) were off already")); /* it went on */
	assert_in_range(fake.now, 200 * 1000000UL, 210 * 1000000UL);
	setup(NULL);
	add(VTD_BASE, false);
	*reg(0, 0x64) = 0x80000001;
	protection_stays = true;
	iommu_host_off(&acpi);
	assert_true(logged("protected memory, which cannot be switched off"));
	assert_in_range(fake.now, 100 * 1000000UL, 110 * 1000000UL);
}

static void test_absent(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		setup(NULL);
		add(VTD_BASE, false);
		add(AMD_BASE, true);
		memset(registers, 0xff, sizeof(registers));
		nothing_mapped = i;
		iommu_host_off(&acpi);
		assert_int_equal(writes, 0);
		assert_true(logged("iommu: the VT-d unit at fed90000 does not answer: if it is on, disks' DMA may fault"));
		assert_true(logged("iommu: the AMD unit at fd200000 does not answer"));
		assert_false(logged("already"));
	}
}

static void test_amd_on(void **state)
{
	(void)state;
	add(AMD_BASE, true);
	*reg(1, 0x18) = 0x1001 | 4 | 8 | 0x400; /* on, commands, event log and its interrupt; coherent reads */
	*reg(1, 0x2020) = 0x18;
	iommu_host_off(&acpi);
	assert_int_equal(*reg(1, 0x18), 0x400);
	assert_int_equal(*reg(1, 0x2020), 0);
	assert_int_equal(writes, 2);
	assert_true(logged("iommu: the AMD unit at fd200000 was left on by the firmware; DMA translation, interrupt remapping, its queues, now off"));
	setup(NULL);
	add(AMD_BASE, true);
	*reg(1, 0x18) = 1;
	iommu_host_off(&acpi);
	assert_int_equal(*reg(1, 0x18), 0);
	assert_true(logged("firmware; DMA translation, interrupt remapping, now off"));
}

static void test_amd_deaf(void **state)
{
	(void)state;
	add(AMD_BASE, true);
	*reg(1, 0x18) = 5;
	*reg(1, 0x2020) = 8;
	deaf = 1;
	log_runs_on = true;
	iommu_host_off(&acpi);
	assert_true(logged("DMA translation, interrupt remapping, its queues, which cannot be switched off: disks' DMA may fault"));
	assert_in_range(fake.now, 200 * 1000000UL, 210 * 1000000UL);
}

/* The tests' firmware, and that it is undone. */
static void test_block(void **state)
{
	(void)state;
	add(VTD_BASE, false);
	add(AMD_BASE, true);
	iommu_host_block(&acpi);
	assert_int_equal(*reg(0, 0x1c), 0xc0000000);
	assert_int_equal(*reg(0, 0x20), ROOT_PHYS);
	assert_int_equal(*reg(0, 0x24), 0);
	assert_int_equal(*reg(1, 0x18), 0);
	iommu_host_off(&acpi);
	assert_int_equal(*reg(0, 0x1c) & 0x80000000, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_none, setup),
		cmocka_unit_test_setup(test_found_off, setup),
		cmocka_unit_test_setup(test_vtd_on, setup),
		cmocka_unit_test_setup(test_vtd_parts, setup),
		cmocka_unit_test_setup(test_vtd_without_protected_memory, setup),
		cmocka_unit_test_setup(test_vtd_deaf, setup),
		cmocka_unit_test_setup(test_absent, setup),
		cmocka_unit_test_setup(test_amd_on, setup),
		cmocka_unit_test_setup(test_amd_deaf, setup),
		cmocka_unit_test_setup(test_block, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

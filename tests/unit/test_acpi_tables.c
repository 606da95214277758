/* SOURCES: vmm/devices/acpi_tables.c vmm/memory/guest_memory.c build/vmm/devices/dsdt.c */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/devices/acpi_tables.h"
#include "vmm/memory/layout.h"

static struct guest_memory mem;
static uint8_t *ram;

static int setup(void **state)
{
	(void)state;
	memset(&mem, 0, sizeof(mem));
	ram = malloc(MIB(1));
	memset(ram, 0xaa, MIB(1));
	return guest_memory_add(&mem, 0, MIB(1), ram);
}

static int teardown(void **state)
{
	(void)state;
	free(ram);
	return 0;
}

static uint64_t get(uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	assert_true(gpa >= LAYOUT_ACPI && gpa + size <= LAYOUT_ACPI_END);
	memcpy(&value, ram + gpa, size);
	return value;
}

static uint8_t sum(uint64_t gpa, uint64_t len)
{
	uint8_t s = 0;

	assert_true(gpa >= LAYOUT_ACPI && gpa + len <= LAYOUT_ACPI_END);
	while (len--)
		s = (uint8_t)(s + ram[gpa++]);
	return s;
}

static bool is(uint64_t gpa, const char *signature)
{
	return !memcmp(ram + gpa, signature, strlen(signature));
}

/* Follow the RSDP as an operating system does. Returns the address of the table, found alike by XSDT and RSDT. */
static uint64_t find_table(uint64_t rsdp, const char *signature)
{
	uint64_t xsdt = get(rsdp + 24, 8), rsdt = get(rsdp + 16, 4), found = 0;

	assert_true(is(xsdt, "XSDT") && is(rsdt, "RSDT"));
	assert_int_equal(sum(xsdt, get(xsdt + 4, 4)), 0);
	assert_int_equal(sum(rsdt, get(rsdt + 4, 4)), 0);
	for (uint64_t i = 0; i < (get(xsdt + 4, 4) - 36) / 8; i++) {
		uint64_t table = get(xsdt + 36 + i * 8, 8);

		assert_int_equal(get(rsdt + 36 + i * 4, 4), table);
		assert_int_equal(sum(table, get(table + 4, 4)), 0);
		if (is(table, signature))
			found = table;
	}
	assert_int_not_equal(found, 0);
	return found;
}

static uint64_t build(unsigned vcpus)
{
	uint64_t rsdp = 0;

	assert_int_equal(acpi_tables_build(&mem, vcpus, &rsdp), 0);
	assert_int_equal(rsdp % 16, 0);
	assert_true(is(rsdp, "RSD PTR "));
	assert_int_equal(get(rsdp + 15, 1), 2);
	assert_int_equal(get(rsdp + 20, 4), 36);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	return rsdp;
}

static void fixed_description(void **state)
{
	uint64_t fadt = find_table(build(1), "FACP");
	uint64_t dsdt = get(fadt + 40, 4), facs = get(fadt + 36, 4);

	(void)state;
	assert_int_equal(get(fadt + 4, 4), 276);
	assert_int_equal(get(fadt + 8, 1), 6);
	assert_int_equal(get(fadt + 46, 2), 9);
	assert_int_equal(get(fadt + 48, 4), 0);
	assert_int_equal(get(fadt + 56, 4), 0x600);
	assert_int_equal(get(fadt + 64, 4), 0x604);
	assert_int_equal(get(fadt + 76, 4), 0x608);
	assert_int_equal(get(fadt + 88, 4), 0x04000204);
	assert_int_equal(get(fadt + 108, 1), 0x32);
	assert_int_equal(get(fadt + 109, 2), 7);
	assert_int_equal(get(fadt + 112, 4), BIT(0) | BIT(2) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(10));
	assert_int_equal(get(fadt + 116, 4), 0x01000801);
	assert_int_equal(get(fadt + 120, 8), 0xcf9);
	assert_int_equal(get(fadt + 128, 1), 6);
	assert_int_equal(get(fadt + 140, 8), dsdt);
	assert_int_equal(get(fadt + 148 + 4, 8), 0x600);
	assert_int_equal(get(fadt + 172 + 4, 8), 0x604);
	assert_int_equal(get(fadt + 208 + 4, 8), 0x608);

	assert_true(is(dsdt, "DSDT"));
	assert_int_equal(sum(dsdt, get(dsdt + 4, 4)), 0);
	assert_int_equal(get(dsdt + 8, 1), 2);
	assert_true(is(facs, "FACS"));
	assert_int_equal(facs % 64, 0);
	assert_int_equal(get(facs + 4, 4), 64);
}

static void interrupt_description(void **state)
{
	static const unsigned counts[] = { 1, 2, 64, 254, 255, 256, 300, ACPI_TABLES_VCPUS_MAX };

	(void)state;
	for (unsigned c = 0; c < ARRAY_SIZE(counts); c++) {
		uint64_t madt = find_table(build(counts[c]), "APIC");
		uint64_t at = madt + 44, end = madt + get(madt + 4, 4);
		unsigned lapics = 0, x2apics = 0, ioapics = 0, overrides = 0, nmis = 0, x2apic_nmis = 0;

		assert_int_equal(get(madt + 36, 4), 0xfee00000);
		assert_int_equal(get(madt + 40, 4), 1);
		for (; at < end; at += get(at + 1, 1)) {
			assert_true(get(at + 1, 1) >= 6);
			switch (get(at, 1)) {
			case 0:
				assert_int_equal(get(at + 2, 1), lapics);
				assert_int_equal(get(at + 3, 1), lapics++);
				assert_int_equal(get(at + 4, 4), 1);
				break;
			case 1:
				ioapics++;
				assert_int_equal(get(at + 4, 4), 0xfec00000);
				assert_int_equal(get(at + 8, 4), 0);
				break;
			case 2:
				overrides++;
				if (get(at + 3, 1) == 0) {
					assert_int_equal(get(at + 4, 4), 2);
					assert_int_equal(get(at + 8, 2), 0);
				} else {
					assert_int_equal(get(at + 3, 1), 9);
					assert_int_equal(get(at + 4, 4), 9);
					assert_int_equal(get(at + 8, 2), 0x0d);
				}
				break;
			case 4:
				nmis++;
				assert_int_equal(get(at + 2, 1), 0xff);
				assert_int_equal(get(at + 5, 1), 1);
				break;
			case 9:
				assert_int_equal(get(at + 4, 4), 255 + x2apics);
				assert_int_equal(get(at + 8, 4), 1);
				assert_int_equal(get(at + 12, 4), 255 + x2apics++);
				break;
			case 10:
				x2apic_nmis++;
				assert_int_equal(get(at + 8, 1), 1);
				break;
			default:
				fail();
			}
		}
		assert_int_equal(at, end);
		assert_int_equal(lapics, MIN(counts[c], 255U));
		assert_int_equal(x2apics, counts[c] - lapics);
		assert_int_equal(x2apic_nmis, x2apics > 0);
		assert_int_equal(ioapics, 1);
		assert_int_equal(overrides, 2);
		assert_int_equal(nmis, 1);
	}
}

static void stays_in_its_area(void **state)
{
	(void)state;
	build(ACPI_TABLES_VCPUS_MAX);
	for (uint64_t i = 0; i < LAYOUT_ACPI; i++)
		assert_int_equal(ram[i], 0xaa);
}

static void same_twice(void **state)
{
	uint8_t *copy = malloc(MIB(1));

	(void)state;
	build(3);
	memcpy(copy, ram, MIB(1));
	build(3);
	assert_memory_equal(copy, ram, MIB(1));
	free(copy);
}

static void refused(void **state)
{
	struct guest_memory none = { 0 };
	uint64_t rsdp;

	(void)state;
	assert_int_equal(acpi_tables_build(&mem, 0, &rsdp), ERR_INVALID);
	assert_int_equal(acpi_tables_build(&mem, ACPI_TABLES_VCPUS_MAX + 1, &rsdp), ERR_INVALID);
	assert_int_equal(acpi_tables_build(&none, 1, &rsdp), ERR_RANGE);
	/* Memory that ends inside the tables, at every length. */
	for (uint64_t end = 0; end < 8192; end += 7) {
		struct guest_memory less = { 0 };

		guest_memory_add(&less, 0, LAYOUT_ACPI + end, ram);
		if (acpi_tables_build(&less, 64, &rsdp))
			continue;
		assert_true(end > 3000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(fixed_description, setup, teardown),
		cmocka_unit_test_setup_teardown(interrupt_description, setup, teardown),
		cmocka_unit_test_setup_teardown(stays_in_its_area, setup, teardown),
		cmocka_unit_test_setup_teardown(same_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(refused, setup, teardown),
	};

	return cmocka_run_group_tests_name("acpi_tables", tests, NULL, NULL);
}

/* SOURCES: drivers/acpi/acpi.c drivers/acpi/acpi_madt.c drivers/acpi/acpi_fadt.c drivers/acpi/acpi_iommu.c drivers/acpi/acpi_s5.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/acpi_fixture.h"

static void madt(const void *entries, size_t size)
{
	uint32_t body[2] = { 0xfee00000, 1 };

	table(0xa000, "APIC");
	add_bytes(body, 8);
	add_bytes(entries, size);
	seal(last_area());
}

static void test_madt(void **state)
{
	static const uint8_t entries[] = {
		0, 8, 1, 0, 1, 0, 0, 0,                         /* CPU 0 */
		0, 8, 2, 2, 1, 0, 0, 0,                         /* CPU 2 */
		0, 8, 3, 4, 0, 0, 0, 0,                         /* neither enabled nor able to be */
		0, 8, 4, 6, 2, 0, 0, 0,                         /* online-capable */
		0, 8, 5, 0xff, 1, 0, 0, 0,                      /* an empty socket */
		9, 16, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, /* CPU 2 again, as x2APIC */
		9, 16, 0, 0, 0x34, 0x12, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0,
		1, 12, 5, 0, 0, 0, 0xc0, 0xfe, 24, 0, 0, 0,
		2, 10, 0, 0, 2, 0, 0, 0, 0, 0,
		2, 10, 0, 9, 9, 0, 0, 0, 13, 0,
		2, 10, 1, 9, 9, 0, 0, 0, 13, 0,                 /* not of ISA */
		3, 8, 5, 0, 30, 0, 0, 0,
		4, 6, 0xff, 5, 0, 1,
		10, 12, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
		0x7f, 3, 0,                                     /* of no known type */
		5, 12, 0, 0, 0, 0, 0xe1, 0xfe, 1, 0, 0, 0,
	};
	uint16_t flags;

	(void)state;
	madt(entries, sizeof(entries));
	assert_int_equal(read_areas(), 0);
	assert_true(info.madt_present && info.pc_at_compatible);
	assert_int_equal(info.local_apic_address, 0x1fee10000);
	assert_int_equal(info.cpu_count, 4);
	assert_true(info.cpu[0].enabled);
	assert_int_equal(info.cpu[1].apic_id, 2);
	assert_int_equal(info.cpu[1].uid, 2);
	assert_int_equal(info.cpu[2].apic_id, 6);
	assert_true(info.cpu[2].online_capable && !info.cpu[2].enabled);
	assert_int_equal(info.cpu[3].apic_id, 0x1234);
	assert_int_equal(info.cpu[3].uid, 7);
	assert_int_equal(info.io_apic_count, 1);
	assert_int_equal(info.io_apic[0].address, 0xfec00000);
	assert_int_equal(info.io_apic[0].gsi_base, 24);
	assert_int_equal(info.override_count, 2);
	assert_int_equal(acpi_irq_to_gsi(&info, 0, &flags), 2);
	assert_int_equal(flags, 0);
	assert_int_equal(acpi_irq_to_gsi(&info, 9, &flags), 9);
	assert_int_equal(flags, 13);
	assert_int_equal(acpi_irq_to_gsi(&info, 4, &flags), 4);
	assert_int_equal(flags, 0);
	assert_int_equal(info.nmi_source_count, 1);
	assert_int_equal(info.nmi_source[0].gsi, 30);
	assert_int_equal(info.local_nmi_count, 2);
	assert_int_equal(info.local_nmi[0].uid, UINT32_MAX);
	assert_int_equal(info.local_nmi[0].lint, 1);
	assert_int_equal(info.local_nmi[0].flags, 5);
	assert_int_equal(info.local_nmi[1].uid, 7);
}

static void test_madt_broken(void **state)
{
	static const uint8_t zero_length[] = { 0, 8, 1, 0, 1, 0, 0, 0, 0, 0, 0, 8, 2, 2, 1, 0, 0, 0 };
	static const uint8_t too_long[] = { 0, 8, 1, 0, 1, 0, 0, 0, 0, 9, 2, 2, 1, 0, 0, 0 };
	static const uint8_t too_short[] = { 0, 7, 1, 0, 1, 0, 0, 0, 8, 2, 2, 1, 0, 0, 0 };
	static const uint8_t stub[] = { 0, 8, 1, 0, 1, 0, 0, 0, 0 };
	static uint8_t many[520 * 16];

	(void)state;
	madt(zero_length, sizeof(zero_length));
	read_areas();
	assert_int_equal(info.cpu_count, 1);
	assert_non_null(strstr(fake.log, "APIC: entry of type 0 at offset 52 has length 0"));
	setup(NULL);
	madt(too_long, sizeof(too_long));
	read_areas();
	assert_int_equal(info.cpu_count, 1);
	assert_non_null(strstr(fake.log, "has length 9"));
	setup(NULL);
	madt(too_short, sizeof(too_short));
	read_areas();
	assert_int_equal(info.cpu_count, 1);
	assert_int_equal(info.cpu[0].apic_id, 2);
	assert_non_null(strstr(fake.log, "1 entries too short"));
	setup(NULL);
	madt(stub, sizeof(stub));
	read_areas();
	assert_int_equal(info.cpu_count, 1);
	setup(NULL);
	table(0xa000, "APIC");
	add_bytes("1234567", 7);
	seal(last_area());
	read_areas();
	assert_false(info.madt_present);
	assert_non_null(strstr(fake.log, "APIC: too short"));
	/* More CPUs than there is room for, and the second of two tables. */
	setup(NULL);
	for (unsigned i = 0; i < 520; i++) {
		uint32_t x2apic[4] = { 9 | 16 << 8, i + 1000, 1, i };

		memcpy(many + i * 16, x2apic, 16);
	}
	madt(many, sizeof(many));
	read_areas();
	assert_int_equal(info.cpu_count, ACPI_CPUS_MAX);
	assert_non_null(strstr(fake.log, "8 entries too many"));
	setup(NULL);
	for (unsigned i = 0; i < 600; i++)
		memcpy(many + i * 8, (uint8_t[]){ 1, 12, 0, 0, 0, 0, 0, 0 }, 8);
	madt(many, 600 * 8); /* I/O APICs that overlap each other: length 12 every 8 bytes */
	read_areas();
	assert_int_equal(info.cpu_count, 0);
}

/* 300 CPUs as firmware lists them: the first 255 as local APICs and again as x2APICs, the others as x2APICs; some are switched off. */
static void test_madt_of_a_large_machine(void **state)
{
	static uint8_t entries[255 * 8 + 300 * 16];
	size_t size = 0;
	unsigned enabled = 0;

	(void)state;
	for (unsigned i = 0; i < 255; i++, size += 8)
		memcpy(entries + size, (uint8_t[]){ 0, 8, (uint8_t)i, (uint8_t)i, i % 10 ? 1 : 0, 0, 0, 0 }, 8);
	for (unsigned i = 0; i < 300; i++, size += 16) {
		uint32_t x2apic[4] = { 9 | 16 << 8, i, i % 10 ? 1 : i % 20 ? 2 : 0, i };

		memcpy(entries + size, x2apic, 16);
	}
	madt(entries, size);
	assert_int_equal(read_areas(), 0);
	assert_int_equal(info.cpu_count, 285); /* online-capable ones included */
	assert_int_equal(info.cpu_disabled, 26 + 15);
	for (unsigned i = 0; i < info.cpu_count; i++) {
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(info.cpu[i].apic_id, info.cpu[j].apic_id);
		enabled += info.cpu[i].enabled;
		assert_true(info.cpu[i].enabled == (info.cpu[i].apic_id % 10 != 0));
		assert_true(info.cpu[i].enabled != info.cpu[i].online_capable);
	}
	assert_int_equal(enabled, 270);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_madt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_madt_broken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_madt_of_a_large_machine, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

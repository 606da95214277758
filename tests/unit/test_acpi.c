/* SOURCES: drivers/acpi/acpi.c drivers/acpi/acpi_madt.c drivers/acpi/acpi_fadt.c drivers/acpi/acpi_iommu.c drivers/acpi/acpi_s5.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/acpi_fixture.h"

static void test_rsdp(void **state)
{
	const uint64_t none = 0x3000;

	(void)state;
	assert_int_equal(acpi_read(&info, NULL, 36, map), ERR_NOENT);
	assert_int_equal(acpi_read(&info, &rsdp, 19, map), ERR_NOENT);
	assert_int_equal(acpi_read(&info, &rsdp, 36, map), ERR_INVALID); /* no root table anywhere */
	assert_false(info.present);
	assert_int_equal(info.local_apic_address, 0xfee00000);
	xsdt(1, &none);
	assert_int_equal(acpi_read(&info, &rsdp, 36, map), 0);
	assert_true(info.present);
	assert_int_equal(info.table_count, 0);
	assert_string_equal(info.oem_id, "LAMIN?");
	rsdp.checksum++;
	assert_int_equal(acpi_read(&info, &rsdp, 36, map), ERR_INVALID);
	seal_rsdp();
	rsdp.signature[0] = 'r';
	assert_int_equal(acpi_read(&info, &rsdp, 36, map), ERR_INVALID);
	assert_non_null(strstr(fake.log, "RSDP has a wrong signature"));
}

static void test_xsdt_falls_back_to_rsdt(void **state)
{
	const uint64_t xentry = 0x3000;
	const uint32_t entry = 0x4000;

	(void)state;
	table(0x3000, "ABCD");
	seal(last_area());
	table(0x4000, "EFGH");
	seal(last_area());
	xsdt(1, &xentry);
	table(0x2000, "RSDT");
	add_bytes(&entry, 4);
	seal(last_area());
	assert_int_equal(acpi_read(&info, &rsdp, 36, map), 0);
	assert_string_equal(info.table[0].signature, "ABCD");
	/* Only 20 bytes of the RSDP; ACPI 1.0; a wrong extended checksum; a broken XSDT: the RSDT counts. */
	assert_int_equal(acpi_read(&info, &rsdp, 20, map), 0);
	assert_string_equal(info.table[0].signature, "EFGH");
	rsdp.extended_checksum++;
	assert_int_equal(acpi_read(&info, &rsdp, 36, map), 0);
	assert_string_equal(info.table[0].signature, "EFGH");
	rsdp.revision = 0;
	seal_rsdp();
	assert_int_equal(acpi_read(&info, &rsdp, 36, map), 0);
	assert_string_equal(info.table[0].signature, "EFGH");
	rsdp.revision = 2;
	seal_rsdp();
	area[2].bytes[36]++;
	fake_reset();
	assert_int_equal(acpi_read(&info, &rsdp, 36, map), 0);
	assert_string_equal(info.table[0].signature, "EFGH");
	assert_non_null(strstr(fake.log, "XSDT at 0x1000 (44 bytes) has a wrong checksum, ignored"));
	area[3].bytes[36]++;
	assert_int_equal(acpi_read(&info, &rsdp, 36, map), ERR_INVALID);
}

static void test_self_reference(void **state)
{
	uint64_t entries[] = { 0x1000, 0, 0x3000, 0x3000, 0x1000 };

	(void)state;
	table(0x3000, "ABCD");
	seal(last_area());
	xsdt(5, entries);
	assert_int_equal(acpi_read(&info, &rsdp, 36, map), 0);
	assert_int_equal(info.table_count, 1);
	assert_non_null(strstr(fake.log, "XSDT lists itself"));
	/* Listing only itself is no root table. */
	setup(NULL);
	xsdt(1, entries);
	assert_int_equal(acpi_read(&info, &rsdp, 36, map), ERR_INVALID);
}

static void test_broken_tables(void **state)
{
	uint32_t length;

	(void)state;
	table(0x3000, "SHRT");
	seal(last_area());
	length = 35;
	memcpy(last_area()->bytes + 4, &length, 4);
	table(0x4000, "LONG");
	seal(last_area());
	length = 0xffffffff;
	memcpy(last_area()->bytes + 4, &length, 4);
	table(0x5000, "BEYO"); /* longer than what can be mapped */
	seal(last_area());
	length = 1000;
	memcpy(last_area()->bytes + 4, &length, 4);
	table(0x6000, "SUMM");
	seal(last_area());
	last_area()->bytes[20]++;
	table(0x7000, "\x01" "\xff" "OK");
	seal(last_area());
	table(0xfffffffffffffff0, "WRAP");
	seal(last_area());
	table(0x8000, "GOOD");
	seal(last_area());
	assert_int_equal(read_areas(), 0);
	assert_int_equal(info.table_count, 2);
	assert_string_equal(info.table[0].signature, "?\?OK");
	assert_string_equal(info.table[1].signature, "GOOD");
	assert_non_null(strstr(fake.log, "SHRT at 0x3000 (35 bytes) is shorter than its header"));
	assert_non_null(strstr(fake.log, "LONG at 0x4000 (4294967295 bytes) has an impossible length"));
	assert_non_null(strstr(fake.log, "BEYO at 0x5000 (1000 bytes) cannot be read"));
	assert_non_null(strstr(fake.log, "SUMM at 0x6000 (36 bytes) has a wrong checksum"));
	assert_non_null(strstr(fake.log, "table at 0xfffffffffffffff0 cannot be read"));
	assert_non_null(acpi_find_table(&info, "GOOD", 0));
	assert_null(acpi_find_table(&info, "GOOD", 1));
	assert_null(acpi_find_table(&info, "SUMM", 0));
}

static void test_many_tables(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		table(0x100000 + i * 0x1000, "SSDT");
		seal(last_area());
	}
	assert_int_equal(read_areas(), 0);
	assert_int_equal(info.table_count, ACPI_TABLES_MAX);
	assert_non_null(strstr(fake.log, "XSDT lists 200 tables, only 128 are read"));
	assert_int_equal(acpi_find_table(&info, "SSDT", 127)->address, 0x100000 + 127 * 0x1000);
}

static void test_find_rsdp(void **state)
{
	uint8_t *space = calloc(1, 100);

	(void)state;
	assert_int_equal(acpi_find_rsdp(space, 100), ERR_NOENT);
	assert_int_equal(acpi_find_rsdp(space, 0), ERR_NOENT);
	memcpy(space + 40, &rsdp, 36); /* not at a multiple of 16 */
	assert_int_equal(acpi_find_rsdp(space, 100), ERR_NOENT);
	memcpy(space + 48, &rsdp, 36);
	assert_int_equal(acpi_find_rsdp(space, 100), 48);
	assert_int_equal(acpi_find_rsdp(space, 67), ERR_NOENT);
	assert_int_equal(acpi_find_rsdp(space, 68), 48);
	space[60]++;
	assert_int_equal(acpi_find_rsdp(space, 100), ERR_NOENT);
	free(space);
}

static void test_hpet_mcfg_dmar_spcr(void **state)
{
	static const struct { uint32_t id; struct acpi_gas gas; uint8_t rest[4]; } PACKED hpet = {
		0x8086a201, { 0, 64, 0, 0, 0xfed00000 }, { 0 }
	};
	static const struct { uint64_t reserved; struct mcfg_allocation a[3]; } PACKED mcfg = {
		0, { { 0xb0000000, 0, 0, 255, 0 }, { 0xc0000000, 1, 9, 8, 0 }, { 0xd0000000, 2, 16, 31, 0 } }
	};
	static const struct { uint8_t type, reserved[3]; struct acpi_gas gas; uint8_t rest[28]; } PACKED spcr = {
		0, { 0 }, { 1, 8, 0, 1, 0x3f8 }, { 0 }
	};

	(void)state;
	table(0x3000, "HPET");
	add_bytes(&hpet, sizeof(hpet));
	seal(last_area());
	table(0x4000, "MCFG");
	add_bytes(&mcfg, sizeof(mcfg));
	add_bytes("tail", 4);
	seal(last_area());
	table(0x5000, "SPCR");
	add_bytes(&spcr, sizeof(spcr));
	seal(last_area());
	table(0x6000, "DMAR");
	add_bytes("0123456789ab", 12);
	seal(last_area());
	read_areas();
	assert_true(info.hpet.present);
	assert_int_equal(info.hpet.address, 0xfed00000);
	assert_int_equal(info.mcfg_count, 2);
	assert_int_equal(info.mcfg[0].base, 0xb0000000);
	assert_int_equal(info.mcfg[0].last_bus, 255);
	assert_int_equal(info.mcfg[1].segment, 2);
	assert_int_equal(info.mcfg[1].first_bus, 16);
	assert_true(info.spcr_present);
	assert_int_equal(info.spcr.address, 0x3f8);
	assert_true(info.dmar_present);
	assert_int_equal(info.dmar_address, 0x6000);
	assert_int_equal(info.dmar_length, 48);
	/* Bodies that are missing. */
	setup(NULL);
	table(0x3000, "HPET");
	seal(last_area());
	table(0x4000, "MCFG");
	seal(last_area());
	table(0x5000, "SPCR");
	seal(last_area());
	read_areas();
	assert_false(info.hpet.present || info.mcfg_count || info.spcr_present || info.dmar_present);
	assert_non_null(strstr(fake.log, "HPET: too short"));
	assert_non_null(strstr(fake.log, "MCFG: too short"));
	assert_non_null(strstr(fake.log, "SPCR: too short"));
}

static void test_spcr(void **state)
{
	static const struct { uint8_t code; uint32_t baud; } speeds[] = {
		{ 0, 0 }, { 1, 0 }, { 3, 9600 }, { 4, 19200 }, { 5, 0 }, { 6, 57600 }, { 7, 115200 }, { 8, 0 }, { 255, 0 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(speeds); i++) {
		struct { uint8_t type, reserved[3]; struct acpi_gas gas; uint8_t interrupt, irq; uint32_t gsi; uint8_t baud, rest[21]; } PACKED spcr = {
			0x12, { 0 }, { 0, 32, 0, 3, 0xfe034000 }, 2, 0xff, 0x25, speeds[i].code, { 0 }
		};

		setup(NULL);
		table(0x5000, "SPCR");
		add_bytes(&spcr, sizeof(spcr));
		seal(last_area());
		read_areas();
		assert_true(info.spcr_present && info.spcr_gsi_present && !info.spcr_irq_present);
		assert_int_equal(info.spcr_type, 0x12);
		assert_int_equal(info.spcr.space, ACPI_SPACE_MEMORY);
		assert_int_equal(info.spcr.access_size, 3);
		assert_int_equal(info.spcr_gsi, 0x25);
		assert_int_equal(info.spcr_baud, speeds[i].baud);
	}
}

static void test_dmar(void **state)
{
	(void)state;
	for (uint8_t flags = 0; flags < 4; flags++) {
		setup(NULL);
		table(0x6000, "DMAR");
		add_bytes((uint8_t[]){ 38, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 12);
		seal(last_area());
		read_areas();
		assert_true(info.dmar_present);
		assert_int_equal(info.dmar_x2apic_opt_out, flags >> 1);
	}
	setup(NULL);
	table(0x6000, "DMAR");
	seal(last_area());
	read_areas();
	assert_true(info.dmar_present && !info.dmar_x2apic_opt_out);
}

static void add_drhd(uint16_t type, uint16_t length, uint16_t segment, uint64_t address)
{
	struct dmar_drhd drhd = { .type = type, .length = length, .segment = segment, .address = address };
	uint8_t scope[0x40] = { 0 };

	add_bytes(&drhd, sizeof(drhd));
	if (length > sizeof(drhd) && length <= sizeof(drhd) + sizeof(scope))
		add_bytes(scope, length - sizeof(drhd));
}

static void dmar_header(void)
{
	setup(NULL);
	table(0x6000, "DMAR");
	add_bytes((uint8_t[12]){ 38 }, 12);
}

static void test_dmar_units(void **state)
{
	(void)state;
	dmar_header();
	add_drhd(DMAR_DRHD, 24, 0, 0xfed90000);
	add_drhd(1, 32, 0, 0x7a000000); /* reserved memory: no unit */
	add_bytes((uint8_t[]){ 2, 0, 8, 0, 1, 0, 0, 0 }, 8); /* all root ports: the shortest structure */
	add_drhd(DMAR_DRHD, 16, 1, 0x1fed91000);
	add_drhd(DMAR_DRHD, 16, 0, 0xfed90000); /* again */
	add_drhd(DMAR_DRHD, 16, 0, 0);
	add_drhd(DMAR_DRHD, 16, 0, 0xfed92008); /* no page's */
	seal(last_area());
	read_areas();
	assert_int_equal(info.iommu_count, 2);
	assert_int_equal(info.iommu[0].address, 0xfed90000);
	assert_false(info.iommu[0].amd);
	assert_int_equal(info.iommu[1].address, 0x1fed91000);
	assert_int_equal(info.iommu[1].segment, 1);
	assert_non_null(strstr(fake.log, "ACPI: DMAR: 2 of its structures make no sense, ignored"));
}

/* What follows a structure whose length is wrong cannot be found: what came before counts. */
static void test_dmar_hostile_lengths(void **state)
{
	static const uint16_t lengths[] = { 0, 1, 3, 4, 15, 17, 0xffff };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		dmar_header();
		add_drhd(DMAR_DRHD, 16, 0, 0xfed90000);
		add_drhd(DMAR_DRHD, 16, 0, 0xfed91000);
		/* Of the last structure only its first 16 bytes are there. */
		add_bytes(&(struct dmar_drhd){ .type = DMAR_DRHD, .length = lengths[i], .address = 0xfed92000 }, sizeof(struct dmar_drhd));
		seal(last_area());
		read_areas();
		assert_int_equal(info.iommu_count, 2);
		assert_non_null(strstr(fake.log, "ACPI: DMAR: 1 of its structures make no sense, ignored"));
	}
}

static void test_more_units_than_fit(void **state)
{
	(void)state;
	dmar_header();
	for (unsigned i = 0; i < ACPI_IOMMUS_MAX + 3; i++)
		add_drhd(DMAR_DRHD, 16, 0, 0xfed00000 + i * 0x1000UL);
	seal(last_area());
	read_areas();
	assert_int_equal(info.iommu_count, ACPI_IOMMUS_MAX);
	assert_non_null(strstr(fake.log, "ACPI: DMAR: 3 of its structures make no sense, ignored"));
}

static void add_ivhd(uint8_t type, uint16_t length, uint64_t address)
{
	struct ivrs_ivhd ivhd = { .type = type, .length = length, .address = address, .segment = 2 };
	uint8_t devices[0x40] = { 0 };

	add_bytes(&ivhd, sizeof(ivhd));
	if (length > sizeof(ivhd) && length <= sizeof(ivhd) + sizeof(devices))
		add_bytes(devices, length - sizeof(ivhd));
}

static void test_ivrs_units(void **state)
{
	static const uint16_t lengths[] = { 0, 3, 17, 19, 0xffff };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		setup(NULL);
		table(0x6000, "IVRS");
		add_bytes((uint8_t[12]){ 0 }, 12);
		add_ivhd(IVRS_IVHD_10, 36, 0xfd200000);
		add_ivhd(0x20, 32, 0x1000);             /* reserved memory: no unit */
		add_ivhd(IVRS_IVHD_11, 44, 0xfd200000); /* the same unit */
		add_ivhd(IVRS_IVHD_40, 40, 0xfd280000);
		add_bytes(&(struct ivrs_ivhd){ .type = IVRS_IVHD_10, .length = lengths[i], .address = 0xfd300000 }, sizeof(struct ivrs_ivhd));
		seal(last_area());
		read_areas();
		assert_true(info.ivrs_present);
		assert_int_equal(info.iommu_count, 2);
		assert_int_equal(info.iommu[0].address, 0xfd200000);
		assert_int_equal(info.iommu[0].segment, 2);
		assert_int_equal(info.iommu[1].address, 0xfd280000);
		assert_true(info.iommu[0].amd && info.iommu[1].amd);
		assert_non_null(strstr(fake.log, "ACPI: IVRS: 1 of its structures make no sense, ignored"));
	}
}

/* Each table cut off at every length, with a right checksum. */
static void test_truncated(void **state)
{
	static const char *const signatures[] = { "APIC", "FACP", "HPET", "MCFG", "SPCR", "DMAR", "IVRS", "SSDT" };
	uint8_t body[300];

	(void)state;
	for (unsigned i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i % 16 == 9 ? 16 : i % 5);
	for (unsigned i = 0; i < ARRAY_SIZE(signatures); i++) {
		for (unsigned size = 0; size <= sizeof(body); size++) {
			setup(NULL);
			table(0x3000, signatures[i]);
			add_bytes(body, size);
			seal(last_area());
			assert_int_equal(read_areas(), 0);
			assert_int_equal(info.table_count, 1);
		}
	}
}

/* Damaged tables with right checksums: nothing crashes, nothing is read outside, all counts stay in their tables. */
static void test_random_bytes(void **state)
{
	static const char *const signatures[] = { "APIC", "FACP", "HPET", "MCFG", "SPCR", "DSDT", "DMAR", "IVRS", "SSDT" };
	static uint8_t bytes[2000];

	(void)state;
	srandom(6);
	for (unsigned round = 0; round < 3000; round++) {
		setup(NULL);
		for (unsigned i = 0; i < ARRAY_SIZE(signatures); i++) {
			size_t size = (size_t)random() % (round % 4 ? 300 : sizeof(bytes));

			for (size_t j = 0; j < size; j++)
				bytes[j] = (uint8_t)(random() % 3 ? random() % 16 : random());
			table(0x3000 + i * 0x1000, signatures[i]);
			add_bytes(bytes, size);
			seal(last_area());
			if (random() % 8 == 0)
				last_area()->bytes[random() % 36] = (uint8_t)random();
		}
		if (random() % 2) {
			uint32_t dsdt_at = 0x8000; /* the sixth area */

			memcpy(area[1].bytes + 40, &dsdt_at, 4);
			if (area[1].size >= 116)
				seal(&area[1]);
		}
		read_areas();
		assert_true(info.cpu_count <= ACPI_CPUS_MAX && info.io_apic_count <= ACPI_IO_APICS_MAX);
		assert_true(info.override_count <= ACPI_OVERRIDES_MAX && info.local_nmi_count <= ACPI_LOCAL_NMIS_MAX);
		assert_true(info.mcfg_count <= ACPI_MCFG_MAX && info.table_count <= ACPI_TABLES_MAX);
		assert_true(maps < 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rsdp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_xsdt_falls_back_to_rsdt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_self_reference, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_find_rsdp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hpet_mcfg_dmar_spcr, setup, teardown),
		cmocka_unit_test_setup_teardown(test_spcr, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dmar, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dmar_units, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dmar_hostile_lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_units_than_fit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ivrs_units, setup, teardown),
		cmocka_unit_test_setup_teardown(test_truncated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random_bytes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: drivers/acpi.c drivers/acpi_madt.c drivers/acpi_fadt.c drivers/acpi_s5.c */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "drivers/acpi_tables.h"
#include "tests/unit/fakes.h"

/* Physical memory: tables at chosen addresses. */
#define AREAS_MAX 300
static struct area { uint64_t phys; uint32_t size; uint8_t bytes[9000]; } area[AREAS_MAX];
static unsigned areas;
static unsigned maps;
static void *mapped; /* the last mapping: gone at the next */
static struct acpi_info info;
static struct acpi_rsdp rsdp;

/* A fresh copy of exactly the bytes asked for, so that the sanitizer sees every other access. */
static const void *map(uint64_t phys, uint64_t len)
{
	free(mapped);
	mapped = NULL;
	maps++;
	for (unsigned i = 0; i < areas; i++) {
		if (phys != area[i].phys || len > area[i].size)
			continue;
		mapped = malloc(len);
		memcpy(mapped, area[i].bytes, len);
		break;
	}
	return mapped;
}

static void sum_up(void *bytes, size_t size, uint8_t *checksum)
{
	uint8_t sum = 0;

	*checksum = 0;
	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + ((uint8_t *)bytes)[i]);
	*checksum = (uint8_t)-sum;
}

static struct area *last_area(void)
{
	return &area[areas - 1];
}

static void add_bytes(const void *bytes, size_t size)
{
	assert_true(last_area()->size + size <= sizeof(area[0].bytes));
	memcpy(last_area()->bytes + last_area()->size, bytes, size);
	last_area()->size += (uint32_t)size;
}

static void seal(struct area *a)
{
	struct acpi_header *header = (void *)a->bytes;

	header->length = a->size;
	sum_up(a->bytes, a->size, &header->checksum);
}

/* Begin a table; add_bytes() its body, then seal(). */
static void table(uint64_t phys, const char *signature)
{
	struct acpi_header header = { .revision = 1, .oem_id = "LAMINA" };

	memcpy(header.signature, signature, 4);
	assert_true(areas < AREAS_MAX);
	area[areas++] = (struct area){ .phys = phys };
	add_bytes(&header, sizeof(header));
}

static void seal_rsdp(void)
{
	sum_up(&rsdp, 20, &rsdp.checksum);
	sum_up(&rsdp, 36, &rsdp.extended_checksum);
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	areas = 0;
	maps = 0;
	rsdp = (struct acpi_rsdp){
		.signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
		.oem_id = "LAMIN",
		.revision = 2,
		.length = 36,
		.xsdt_address = 0x1000,
		.rsdt_address = 0x2000,
	};
	seal_rsdp();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(mapped);
	mapped = NULL;
	return 0;
}

static void xsdt(unsigned count, const uint64_t *entries)
{
	table(0x1000, "XSDT");
	add_bytes(entries, count * 8);
	seal(last_area());
}

/* The RSDP and the XSDT with the tables that stand in the areas already. */
static int read_areas(void)
{
	uint64_t entries[AREAS_MAX];

	for (unsigned i = 0; i < areas; i++)
		entries[i] = area[i].phys;
	xsdt(areas, entries);
	return acpi_read(&info, &rsdp, sizeof(rsdp), map);
}

static void madt(const void *entries, size_t size)
{
	uint32_t body[2] = { 0xfee00000, 1 };

	table(0xa000, "APIC");
	add_bytes(body, 8);
	add_bytes(entries, size);
	seal(last_area());
}

static void fadt(const struct acpi_fadt *body, size_t length)
{
	table(0xb000, "FACP");
	add_bytes((const uint8_t *)body + sizeof(struct acpi_header), length - sizeof(struct acpi_header));
	seal(last_area());
}

static const uint8_t s5_aml[] = { 0x10, 0x05, 0x08, 0x5c, '_', 'S', '5', '_', 0x12, 0x08, 0x04, 0x0a, 0x05, 0x0a, 0x06, 0x00, 0x00 };

static void dsdt(uint64_t phys, const void *aml, size_t size)
{
	table(phys, "DSDT");
	add_bytes(aml, size);
	seal(last_area());
}

/* ---- RSDP and root tables ---- */

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

/* ---- MADT ---- */

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

/* ---- FADT ---- */

static const struct acpi_fadt simple_fadt = {
	.dsdt = 0xd000,
	.sci_int = 9,
	.smi_cmd = 0xb2,
	.acpi_enable = 0xf1,
	.pm1a_evt_blk = 0xb000,
	.pm1a_cnt_blk = 0xb004,
	.pm_tmr_blk = 0xb008,
	.pm1_evt_len = 4,
	.pm1_cnt_len = 2,
	.pm_tmr_len = 4,
	.flags = 0x4c5,
	.reset_reg = { 1, 8, 0, 1, 0xcf9 },
	.reset_value = 6,
};

static void test_fadt_acpi1(void **state)
{
	(void)state;
	fadt(&simple_fadt, 116);
	read_areas();
	assert_true(info.fadt_present);
	assert_int_equal(info.sci_irq, 9);
	assert_int_equal(info.smi_command, 0xb2);
	assert_int_equal(info.acpi_enable, 0xf1);
	assert_true(info.pm_timer.present);
	assert_int_equal(info.pm_timer.space, ACPI_SPACE_IO);
	assert_int_equal(info.pm_timer.address, 0xb008);
	assert_int_equal(info.pm_timer.bit_width, 32);
	assert_false(info.pm_timer_32bit);
	assert_int_equal(info.pm1a_control.address, 0xb004);
	assert_int_equal(info.pm1a_event.bit_width, 32);
	assert_false(info.pm1b_control.present);
	assert_false(info.reset.present); /* the flag says so, but the table ends before the register */
	assert_false(info.s5_present);    /* its DSDT is not there */
	assert_int_equal(info.dsdt_address, 0);
}

static void test_fadt_acpi2(void **state)
{
	struct acpi_fadt f = simple_fadt;

	(void)state;
	f.flags |= ACPI_FADT_TMR_VAL_EXT;
	f.x_dsdt = 0xe000;
	f.x_pm_tmr_blk = (struct acpi_gas){ 0, 32, 0, 3, 0xfed80000 };
	f.x_pm1a_cnt_blk = (struct acpi_gas){ 1, 16, 0, 2, 0x10004 }; /* no such port: the old field counts */
	f.x_pm1b_cnt_blk = (struct acpi_gas){ 1, 16, 0, 2, 0xc004 };
	fadt(&f, 244);
	dsdt(0xe000, s5_aml, sizeof(s5_aml));
	dsdt(0xd000, "wrong", 5);
	assert_int_equal(read_areas(), 0);
	assert_true(info.pm_timer_32bit);
	assert_int_equal(info.pm_timer.space, ACPI_SPACE_MEMORY);
	assert_int_equal(info.pm_timer.address, 0xfed80000);
	assert_int_equal(info.pm1a_control.address, 0xb004);
	assert_int_equal(info.pm1b_control.address, 0xc004);
	assert_true(info.reset.present);
	assert_int_equal(info.reset.address, 0xcf9);
	assert_int_equal(info.reset_value, 6);
	assert_int_equal(info.dsdt_address, 0xe000);
	assert_true(info.s5_present);
	assert_int_equal(info.slp_typa, 5);
	assert_int_equal(info.slp_typb, 6);
	assert_false(info.sleep_control.present);
	/* Without the flag there is no reset register, whatever the field says. */
	setup(NULL);
	f.flags &= ~(uint32_t)ACPI_FADT_RESET_REG_SUP;
	fadt(&f, 243); /* and a table that is cut off loses its extended blocks */
	read_areas();
	assert_false(info.reset.present);
	assert_int_equal(info.pm_timer.address, 0xb008);
	setup(NULL);
	f.flags |= ACPI_FADT_RESET_REG_SUP;
	fadt(&f, 128); /* the register, but not its value */
	read_areas();
	assert_false(info.reset.present);
	setup(NULL);
	fadt(&f, 115);
	read_areas();
	assert_false(info.fadt_present);
	assert_non_null(strstr(fake.log, "FACP: too short (115 bytes)"));
}

static void test_fadt_odd(void **state)
{
	struct acpi_fadt f = simple_fadt;

	(void)state;
	f.flags |= ACPI_FADT_HW_REDUCED;
	f.sleep_control_reg = (struct acpi_gas){ 0, 8, 0, 1, 0xfed00000 };
	fadt(&f, sizeof(f));
	read_areas();
	assert_false(info.pm_timer.present || info.pm1a_control.present);
	assert_true(info.sleep_control.present);
	setup(NULL);
	f = simple_fadt;
	f.pm_tmr_len = 0;
	f.pm1a_cnt_blk = 0x12345678;
	f.smi_cmd = 0x10000;
	f.reset_reg.space = 0x7f;
	f.dsdt = 0;
	fadt(&f, 132);
	read_areas();
	assert_false(info.pm_timer.present || info.pm1a_control.present || info.reset.present);
	assert_int_equal(info.smi_command, 0);
	assert_int_equal(info.dsdt_address, 0);
}

/* ---- \_S5 ---- */

static bool s5(const void *bytes, size_t size, unsigned *a, unsigned *b)
{
	uint8_t *copy = malloc(size ? size : 1), typa = 0xee, typb = 0xee;
	bool found;

	memcpy(copy, bytes, size);
	found = acpi_find_s5(copy, size, &typa, &typb);
	free(copy);
	*a = typa;
	*b = typb;
	return found;
}

#define S5(...) s5((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), &a, &b)

static void test_s5_forms(void **state)
{
	unsigned a, b;

	(void)state;
	assert_true(S5(8, '_', 'S', '5', '_', 0x12, 6, 4, 0, 0, 0, 0));
	assert_int_equal(a << 4 | b, 0);
	assert_true(S5(8, '\\', '_', 'S', '5', '_', 0x12, 6, 4, 1, 0, 0, 0));
	assert_int_equal(a << 4 | b, 0x10);
	assert_true(S5(8, '_', 'S', '5', '_', 0x12, 4, 2, 1, 1));
	assert_true(S5(8, '_', 'S', '5', '_', 0x12, 0x40, 0, 8, '_', 'S', '5', '_', 0x12, 4, 2, 1, 1)); /* the second one is whole */
	assert_true(S5(8, '_', 'S', '5', '_', 0x12, 0x4b, 0, 4, 0x0b, 7, 0, 0x0c, 5, 0, 0, 0)); /* two bytes of length, word, dword */
	assert_int_equal(a << 4 | b, 0x75);
	assert_true(S5(8, '_', 'S', '5', '_', 0x12, 5, 1, 0x0b, 3, 2)); /* both in one */
	assert_int_equal(a << 4 | b, 0x32);
	/* Not it. */
	assert_false(S5(8, '_', 'S', '4', '_', 0x12, 6, 4, 0, 0, 0, 0));
	assert_false(S5('_', 'S', '5', '_', 0x12, 6, 4, 0, 0, 0, 0));
	assert_false(S5(8, '_', 'S', '5', '_', 0x11, 6, 4, 0, 0, 0, 0));      /* a buffer */
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 6, 4, 0x0a, 8, 0, 0));   /* 8 is no SLP_TYP */
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 6, 4, 0xff, 0, 0, 0));   /* Ones */
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 6, 0, 0, 0, 0, 0));      /* no elements */
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 3, 4, 0, 0, 0, 0));      /* the package ends after the first */
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 7, 4, 0, 0, 0, 0));      /* it ends after the table */
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 0, 4, 0, 0, 0, 0));
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 0x76, 0, 4, 0, 0, 0, 0)); /* reserved bits of PkgLength */
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 0xcf, 0xff, 0xff, 0xff, 4, 0, 0));
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 5, 4, 0, 0x0b, 0, 0));   /* a word that leaves the package */
}

static void test_s5_truncated_and_random(void **state)
{
	unsigned a, b, found = 0;
	uint8_t bytes[64];

	(void)state;
	for (size_t size = 0; size <= sizeof(s5_aml); size++)
		assert_int_equal(s5(s5_aml, size, &a, &b), size == sizeof(s5_aml));
	srandom(5);
	for (unsigned round = 0; round < 20000; round++) {
		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)random();
		memcpy(bytes + random() % 44, s5_aml, sizeof(s5_aml));
		for (unsigned i = 0; i < 4; i++)
			bytes[random() % sizeof(bytes)] = (uint8_t)random();
		if (s5(bytes, (size_t)random() % (sizeof(bytes) + 1), &a, &b)) {
			assert_true(a < 8 && b < 8);
			found++;
		}
	}
	assert_true(found > 100);
}

/* ---- The small tables ---- */

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

static void test_s5_outside_the_dsdt(void **state)
{
	static const uint8_t other[] = { 0x08, '_', 'S', '5', '_', 0x12, 0x05, 0x02, 0x01, 0x0a, 0x03 };
	static const uint8_t nothing[] = { 0x10, 0x05, 0x00 };

	(void)state;
	fadt(&simple_fadt, 116);
	table(0x6000, "SSDT");
	add_bytes(other, sizeof(other));
	seal(last_area());
	dsdt(0xd000, nothing, sizeof(nothing));
	read_areas();
	assert_true(info.s5_present);
	assert_int_equal(info.slp_typa, 1);
	assert_int_equal(info.slp_typb, 3);
	/* The DSDT's counts where both have one. */
	setup(NULL);
	fadt(&simple_fadt, 116);
	table(0x6000, "SSDT");
	add_bytes(other, sizeof(other));
	seal(last_area());
	dsdt(0xd000, s5_aml, sizeof(s5_aml));
	read_areas();
	assert_int_equal(info.slp_typa, 5);
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

/* Each table cut off at every length, with a right checksum. */
static void test_truncated(void **state)
{
	static const char *const signatures[] = { "APIC", "FACP", "HPET", "MCFG", "SPCR", "DMAR", "SSDT" };
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
	static const char *const signatures[] = { "APIC", "FACP", "HPET", "MCFG", "SPCR", "DSDT", "DMAR", "SSDT" };
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
		cmocka_unit_test_setup_teardown(test_madt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_madt_broken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fadt_acpi1, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fadt_acpi2, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fadt_odd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_s5_forms, setup, teardown),
		cmocka_unit_test_setup_teardown(test_s5_truncated_and_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hpet_mcfg_dmar_spcr, setup, teardown),
		cmocka_unit_test_setup_teardown(test_madt_of_a_large_machine, setup, teardown),
		cmocka_unit_test_setup_teardown(test_spcr, setup, teardown),
		cmocka_unit_test_setup_teardown(test_s5_outside_the_dsdt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dmar, setup, teardown),
		cmocka_unit_test_setup_teardown(test_truncated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random_bytes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

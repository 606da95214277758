/* SOURCES: drivers/acpi/acpi.c drivers/acpi/acpi_madt.c drivers/acpi/acpi_fadt.c drivers/acpi/acpi_iommu.c drivers/acpi/acpi_s5.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/acpi_fixture.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fadt_acpi1, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fadt_acpi2, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fadt_odd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_s5_forms, setup, teardown),
		cmocka_unit_test_setup_teardown(test_s5_truncated_and_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_s5_outside_the_dsdt, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

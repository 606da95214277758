/* SOURCES: drivers/ioapic_host.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "drivers/ioapic_host.h"
#include "drivers/mmio.h"

#define SELECT 0x00
#define WINDOW 0x10

/* The I/O APIC: its registers, behind the index and the window. */
static uint32_t registers[256], selected;
static uint32_t written[64]; /* the registers that were written, in order */
static unsigned written_count;
static uint8_t window_page[4096];

uint32_t mmio_read32(const volatile void *at)
{
	assert_int_equal((const volatile uint8_t *)at - window_page, WINDOW);
	return registers[selected];
}

void mmio_write32(volatile void *at, uint32_t value)
{
	if ((volatile uint8_t *)at == window_page + SELECT) {
		assert_true(value < ARRAY_SIZE(registers));
		selected = value;
		return;
	}
	assert_int_equal((volatile uint8_t *)at - window_page, WINDOW);
	assert_true(written_count < ARRAY_SIZE(written));
	written[written_count++] = selected;
	registers[selected] = value;
}

static int setup(void **state)
{
	(void)state;
	memset(registers, 0xa5, sizeof(registers));
	registers[1] = 0x00170020; /* version 0x20, last entry 23 */
	selected = written_count = 0;
	return 0;
}

static void test_pins(void **state)
{
	(void)state;
	assert_int_equal(ioapic_host_pins(window_page), 24);
	registers[1] = 0xff00ff11;
	assert_int_equal(ioapic_host_pins(window_page), 1);
	registers[1] = 0x00770020;
	assert_int_equal(ioapic_host_pins(window_page), 120);
	assert_int_equal(written_count, 0);
}

static void test_mask_all(void **state)
{
	(void)state;
	assert_int_equal(ioapic_host_mask_all(window_page), 24);
	assert_int_equal(written_count, 24);
	for (unsigned pin = 0; pin < 24; pin++) {
		assert_int_equal(written[pin], 0x10 + 2 * pin);
		assert_int_equal(registers[0x10 + 2 * pin], 0x00010000);
	}
	assert_int_equal(registers[0x10 + 48], 0xa5a5a5a5);
}

/* The MADT's flags (ACPI, "MPS INTI Flags"): polarity in bits 0 and 1, trigger mode in bits 2 and 3; 3 is low and level. */
static void test_route(void **state)
{
	static const struct { uint16_t flags; uint32_t low; } cases[] = {
		{ 0x0, 0x00000041 }, { 0x5, 0x00000041 }, { 0x3, 0x00002041 }, { 0xc, 0x00008041 }, { 0xf, 0x0000a041 },
		{ 0x1, 0x00000041 }, { 0x2, 0x00000041 }, { 0x4, 0x00000041 }, { 0x8, 0x00000041 }, { 0xfff0, 0x00000041 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(NULL);
		ioapic_host_route(window_page, 23, 0x41, 0xc3, cases[i].flags);
		assert_int_equal(registers[0x10 + 46], cases[i].low);
		assert_int_equal(registers[0x10 + 47], 0xc3000000);
		/* The destination stands before the pin is unmasked. */
		assert_int_equal(written_count, 2);
		assert_int_equal(written[0], 0x10 + 47);
		assert_int_equal(written[1], 0x10 + 46);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_pins, setup),
		cmocka_unit_test_setup(test_mask_all, setup),
		cmocka_unit_test_setup(test_route, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: vmm/devices/ioapic.c vmm/io/io_space.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/hostile_io.h"
#include "vmm/devices/ioapic.h"

static struct io_space mmio;
static struct spinlock irq_lock;
static struct ioapic ioapic;

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&mmio, 0, sizeof(mmio));
	memset(&ioapic, 0xaa, sizeof(ioapic));
	assert_int_equal(ioapic_init(&ioapic, NULL, &mmio, &irq_lock), 0);
	return 0;
}

static void put(uint8_t index, uint32_t value)
{
	io_space_write(&mmio, IOAPIC_BASE, 4, index);
	io_space_write(&mmio, IOAPIC_BASE + 0x10, 4, value);
}

static uint32_t get(uint8_t index)
{
	io_space_write(&mmio, IOAPIC_BASE, 4, index);
	assert_int_equal(io_space_read(&mmio, IOAPIC_BASE, 4), index);
	return (uint32_t)io_space_read(&mmio, IOAPIC_BASE + 0x10, 4);
}

static void redirect(unsigned pin, uint64_t entry)
{
	put((uint8_t)(0x11 + 2 * pin), (uint32_t)(entry >> 32));
	put((uint8_t)(0x10 + 2 * pin), (uint32_t)entry);
}

static const struct apic_message *last(void)
{
	return &fake.message[(fake.message_count - 1) % FAKE_MAX];
}

static void test_registers(void **state)
{
	(void)state;
	assert_int_equal(get(0x01), 0x00170020);
	assert_int_equal(get(0x00), 0);
	put(0x00, 0xffffffff);
	assert_int_equal(get(0x00), 0x0f000000);
	assert_int_equal(get(0x02), 0x0f000000);
	put(0x01, 0);
	assert_int_equal(get(0x01), 0x00170020);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		assert_int_equal(get((uint8_t)(0x10 + 2 * pin)), 0x10000);
		assert_int_equal(get((uint8_t)(0x11 + 2 * pin)), 0);
	}
	redirect(23, UINT64_MAX);
	assert_int_equal(get(0x3e), 0x0001afff);
	assert_int_equal(get(0x3f), 0xff000000);
	/* Behind the last register. */
	put(0x40, UINT32_MAX);
	put(0xff, UINT32_MAX);
	put(0x0f, UINT32_MAX);
	assert_int_equal(get(0x40), 0);
	assert_int_equal(get(0xff), 0);
	assert_int_equal(get(0x0f), 0);
	/* Widths. */
	io_space_write(&mmio, IOAPIC_BASE, 1, 0x01);
	assert_int_equal(io_space_read(&mmio, IOAPIC_BASE + 0x10, 4), 0x00170020);
	assert_true(io_space_read(&mmio, IOAPIC_BASE + 0x10, 2) == UINT64_MAX);
	assert_true(io_space_read(&mmio, IOAPIC_BASE + 0x10, 8) == UINT64_MAX);
	assert_true(io_space_read(&mmio, IOAPIC_BASE + 0x12, 4) == UINT64_MAX);
	assert_true(io_space_read(&mmio, IOAPIC_BASE + 0x40, 4) == UINT64_MAX);
	io_space_write(&mmio, IOAPIC_BASE, 8, 0x00);
	assert_int_equal(io_space_read(&mmio, IOAPIC_BASE, 4), 0x01);
	ioapic_reset(&ioapic);
	assert_int_equal(get(0x00), 0);
	assert_int_equal(get(0x3e), 0x10000);
}

static void test_edge(void **state)
{
	(void)state;
	redirect(4, 0x0300000000000000 | 0x34);
	ioapic_set_irq(&ioapic, 4, true);
	assert_int_equal(fake.message_count, 1);
	assert_int_equal(last()->vector, 0x34);
	assert_int_equal(last()->destination, 3);
	assert_int_equal(last()->delivery_mode, 0);
	assert_false(last()->logical);
	assert_false(last()->level);
	assert_true(last()->assert);
	ioapic_set_irq(&ioapic, 4, true);
	assert_int_equal(fake.message_count, 1);
	ioapic_set_irq(&ioapic, 4, false);
	ioapic_set_irq(&ioapic, 4, true);
	assert_int_equal(fake.message_count, 2);
	ioapic_eoi(&ioapic, 0x34); /* means nothing to an edge */
	assert_int_equal(fake.message_count, 2);
	/* An edge while masked is lost. */
	ioapic_set_irq(&ioapic, 4, false);
	redirect(4, 0x10034);
	ioapic_set_irq(&ioapic, 4, true);
	redirect(4, 0x00034);
	assert_int_equal(fake.message_count, 2);
	ioapic_set_irq(&ioapic, 24, true);
	ioapic_set_irq(&ioapic, 0xffffffff, true);
	assert_int_equal(fake.message_count, 2);
}

static void test_level(void **state)
{
	(void)state;
	redirect(9, 0xff00000000000000 | 0xa939); /* level, active low, logical, lowest priority */
	ioapic_set_irq(&ioapic, 9, true);
	assert_int_equal(fake.message_count, 1);
	assert_true(last()->level);
	assert_true(last()->logical);
	assert_int_equal(last()->delivery_mode, 1);
	assert_int_equal(last()->destination, 0xff);
	assert_int_equal(get(0x22), 0xe939); /* remote IRR */
	/* Not again before EOI, even if it falls and rises. */
	ioapic_set_irq(&ioapic, 9, false);
	ioapic_set_irq(&ioapic, 9, true);
	assert_int_equal(fake.message_count, 1);
	ioapic_eoi(&ioapic, 0x38);
	assert_int_equal(fake.message_count, 1);
	ioapic_eoi(&ioapic, 0x39);
	assert_int_equal(fake.message_count, 2);
	assert_int_equal(get(0x22), 0xe939);
	ioapic_set_irq(&ioapic, 9, false);
	io_space_write(&mmio, IOAPIC_BASE + 0x40, 4, 0x39); /* the EOI register */
	assert_int_equal(fake.message_count, 2);
	assert_int_equal(get(0x22), 0xa939);
	/* Masked, raised, unmasked: sent then. */
	redirect(9, 0x18039);
	ioapic_set_irq(&ioapic, 9, true);
	assert_int_equal(fake.message_count, 2);
	redirect(9, 0x08039);
	assert_int_equal(fake.message_count, 3);
	/* Masked at EOI: remote IRR goes, nothing is sent. */
	redirect(9, 0x18039);
	assert_int_equal(get(0x22), 0x1c039);
	ioapic_eoi(&ioapic, 0x39);
	assert_int_equal(get(0x22), 0x18039);
	assert_int_equal(fake.message_count, 3);
	/* Switching to edge and back clears remote IRR, as drivers without an EOI register do. */
	redirect(9, 0x08039);
	assert_int_equal(fake.message_count, 4);
	redirect(9, 0x10039);
	redirect(9, 0x18039);
	assert_int_equal(get(0x22), 0x18039);
}

static void test_shared_vector(void **state)
{
	(void)state;
	redirect(10, 0x8050);
	redirect(11, 0x8050);
	ioapic_set_irq(&ioapic, 10, true);
	ioapic_set_irq(&ioapic, 11, true);
	assert_int_equal(fake.message_count, 2);
	ioapic_set_irq(&ioapic, 10, false);
	ioapic_eoi(&ioapic, 0x50);
	assert_int_equal(fake.message_count, 3);
	assert_int_equal(get(0x24), 0x8050);
	assert_int_equal(get(0x26), 0xc050);
}

static void test_delivery_modes(void **state)
{
	static const struct { uint32_t entry; bool sent; } modes[] = {
		{ 0x8000, true }, { 0x8100, true }, { 0x8200, true }, { 0x8300, false },
		{ 0x8400, true }, { 0x8500, true }, { 0x8600, false }, { 0x8700, true },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		unsigned before = fake.message_count;

		redirect(i, modes[i].entry | 0x60);
		ioapic_set_irq(&ioapic, i, true);
		assert_int_equal(fake.message_count - before, modes[i].sent);
		if (modes[i].sent) {
			assert_int_equal(last()->delivery_mode, i);
			assert_int_equal(last()->level, i <= 1); /* the others are edges whatever the bit says */
		}
		/* Only fixed and lowest priority wait for an EOI. */
		assert_int_equal(get((uint8_t)(0x10 + 2 * i)) & 0x4000, i <= 1 ? 0x4000 : 0);
	}
}

static void check_entries(void)
{
	static unsigned n;

	n++;
	ioapic_set_irq(&ioapic, n % 29, n / 29 % 3 != 0);
	ioapic_eoi(&ioapic, (uint8_t)n);
	if (fake.message_count) {
		assert_true(last()->delivery_mode != 3 && last()->delivery_mode != 6);
		assert_true(!last()->level || last()->delivery_mode <= 1);
	}
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		assert_int_equal(ioapic.redirection[pin] & 0x00fffffffffe5000, 0);
}

static void test_hostile(void **state)
{
	(void)state;
	hostile_io(&mmio, IOAPIC_BASE, 0x50, 20000, 0, check_entries);
	hostile_io(&mmio, IOAPIC_BASE, PAGE_SIZE, 2000, 0, check_entries);
	for (unsigned index = 0; index < 256; index++) {
		put((uint8_t)index, 0x5a5a0000 | index);
		get((uint8_t)index);
		check_entries();
	}
	assert_int_equal(irq_lock.held, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_registers, setup),
		cmocka_unit_test_setup(test_edge, setup),
		cmocka_unit_test_setup(test_level, setup),
		cmocka_unit_test_setup(test_shared_vector, setup),
		cmocka_unit_test_setup(test_delivery_modes, setup),
		cmocka_unit_test_setup(test_hostile, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

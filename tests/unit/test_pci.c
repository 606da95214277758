/* SOURCES: vmm/devices/pci.c vmm/io/io_space.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/fakes.h"
#include "vmm/devices/pci.h"

struct device {
	struct pci_device pci;
	uint64_t last_offset;
	uint64_t last_value;
	unsigned last_size;
	unsigned reads, writes, resets, readings, writtens;
};

static struct io_space pio, mmio;
static struct pci pci;
static struct device dev, other;
static uint8_t cf9;

static uint64_t bar_read(void *ctx, uint64_t offset, unsigned size)
{
	struct device *d = ctx;

	assert_int_equal(d->pci.lock.held, 1);
	assert_int_equal(pci.lock.held, 0);
	d->reads++;
	d->last_offset = offset;
	d->last_size = size;
	return 0x1122334455667788;
}

static void bar_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
	struct device *d = ctx;

	assert_int_equal(d->pci.lock.held, 1);
	d->writes++;
	d->last_offset = offset;
	d->last_size = size;
	d->last_value = value;
}

static const struct io_ops bar_ops = { .read = bar_read, .write = bar_write };

static void reading(struct pci_device *d, unsigned offset, unsigned size)
{
	assert_true(offset + size <= 256);
	((struct device *)d)->readings++;
}

static void written(struct pci_device *d, unsigned offset, unsigned size)
{
	assert_true(offset + size <= 256);
	((struct device *)d)->writtens++;
}

static void was_reset(struct pci_device *d)
{
	((struct device *)d)->resets++;
}

static const struct pci_device_ops ops = { reading, written, was_reset };

static uint8_t cf9_read(void *ctx)
{
	return *(uint8_t *)ctx;
}

static void cf9_write(void *ctx, uint8_t value)
{
	*(uint8_t *)ctx = value;
}

static uint32_t config_read(unsigned slot, unsigned reg, unsigned size)
{
	io_space_write(&pio, 0xcf8, 4, 0x80000000U | slot << 11 | (reg & 0xfc));
	return (uint32_t)(io_space_read(&pio, 0xcfc + (reg & 3), size) & (size == 4 ? 0xffffffffU : (1U << (8 * size)) - 1));
}

static void config_write(unsigned slot, unsigned reg, unsigned size, uint32_t value)
{
	io_space_write(&pio, 0xcf8, 4, 0x80000000U | slot << 11 | (reg & 0xfc));
	io_space_write(&pio, 0xcfc + (reg & 3), size, value);
}

static void build(struct device *d)
{
	memset(d, 0, sizeof(*d));
	pci_device_init(&d->pci, NULL, &ops, 0x1234, 0x5678, 0x010203, 9);
	pci_device_pin_a(&d->pci);
	pci_device_bar(&d->pci, 0, 0x8000, false, &bar_ops, d);
	pci_device_bar(&d->pci, 2, 0x100000, true, &bar_ops, d);
}

static int setup(void **unused)
{
	(void)unused;
	fake_reset();
	memset(&pio, 0, sizeof(pio));
	memset(&mmio, 0, sizeof(mmio));
	cf9 = 0x0e;
	assert_int_equal(pci_init(&pci, NULL, &pio, &mmio), 0);
	build(&dev);
	build(&other);
	assert_int_equal(pci_add(&pci, &dev.pci, 3), 0);
	assert_int_equal(pci_add(&pci, &other.pci, 7), 0);
	return 0;
}

static void test_mechanism_one_is_found(void **unused)
{
	(void)unused;
	/* as Linux probes it */
	io_space_write(&pio, 0xcfb, 1, 1);
	io_space_write(&pio, 0xcf8, 4, 0x80000000);
	assert_int_equal(io_space_read(&pio, 0xcf8, 4), 0x80000000);
	assert_int_equal(io_space_read(&pio, 0xcf8, 2), UINT64_MAX);
	assert_int_equal(io_space_read(&pio, 0xcf8, 1), UINT64_MAX);
	io_space_write(&pio, 0xcf8, 2, 0x1234);
	assert_int_equal(io_space_read(&pio, 0xcf8, 4), 0x80000000);
}

static void test_host_bridge_and_absent_devices(void **unused)
{
	(void)unused;
	assert_int_equal(config_read(0, 0, 4), 0x12378086);
	assert_int_equal(config_read(0, 0x0a, 2), 0x0600);
	assert_int_equal(config_read(0, 0x0e, 1), 0);
	for (unsigned slot = 1; slot < 32; slot++)
		assert_int_equal(config_read(slot, 0, 4), slot == 3 || slot == 7 ? 0x56781234 : 0xffffffff);
	config_write(9, 4, 4, 0xffffffff);
}

static void test_other_buses_functions_and_disabled_are_absent(void **unused)
{
	static const uint32_t address[] = { 0x00001800, 0x80011800, 0x80ff1800, 0x80001900, 0x80001f00 };

	(void)unused;
	for (unsigned i = 0; i < ARRAY_SIZE(address); i++) {
		io_space_write(&pio, 0xcf8, 4, address[i]);
		assert_int_equal(io_space_read(&pio, 0xcfc, 4), UINT64_MAX);
		io_space_write(&pio, 0xcfc, 4, 0);
	}
	assert_int_equal(config_read(3, 0, 4), 0x56781234);
	assert_int_equal(dev.readings, 1);
	assert_int_equal(dev.writtens, 0);
}

static void test_widths(void **unused)
{
	(void)unused;
	assert_int_equal(config_read(3, 0, 1), 0x34);
	assert_int_equal(config_read(3, 1, 1), 0x12);
	assert_int_equal(config_read(3, 1, 2), 0x7812);
	assert_int_equal(config_read(3, 2, 2), 0x5678);
	assert_int_equal(config_read(3, 8, 4), 0x01020309);
	/* across an end of the register: the bytes beyond are nobody's */
	assert_int_equal(io_space_read(&pio, 0xcff, 2) & 0xffff, 0xff01);
	assert_int_equal(io_space_read(&pio, 0xcfe, 4) & 0xffffffff, 0xffff0102);
	assert_int_equal(io_space_read(&pio, 0xcfb, 2) & 0xffff, 0x09ff);
}

static void test_cf9_reaches_its_hook(void **unused)
{
	(void)unused;
	assert_int_equal(io_space_read(&pio, 0xcf9, 1), UINT64_MAX);
	io_space_write(&pio, 0xcf9, 1, 6);
	pci.cf9_read = cf9_read;
	pci.cf9_write = cf9_write;
	pci.cf9_ctx = &cf9;
	assert_int_equal(io_space_read(&pio, 0xcf9, 1), 0x0e);
	io_space_write(&pio, 0xcf8, 4, 0x80000600);
	io_space_write(&pio, 0xcf9, 2, 6);
	io_space_write(&pio, 0xcfa, 1, 6);
	assert_int_equal(io_space_read(&pio, 0xcf9, 2), UINT64_MAX);
	assert_int_equal(cf9, 0x0e);
	io_space_write(&pio, 0xcf9, 1, 6);
	assert_int_equal(cf9, 6);
	assert_int_equal(io_space_read(&pio, 0xcf8, 4), 0x80000600);
}

static void test_header_is_read_only_where_it_should(void **unused)
{
	(void)unused;
	for (unsigned reg = 0; reg < 256; reg += 4)
		config_write(3, reg, 4, 0xffffffff);
	assert_int_equal(config_read(3, 0, 4), 0x56781234);
	assert_int_equal(config_read(3, 4, 2), 0x0406);
	assert_int_equal(config_read(3, 6, 2), 0);
	assert_int_equal(config_read(3, 8, 4), 0x01020309);
	assert_int_equal(config_read(3, 0x30, 4), 0);
	assert_int_equal(config_read(3, 0x3c, 4), 0x01ff);
	config_write(3, 0x3c, 4, 0);
	assert_int_equal(config_read(3, 0x3c, 4), 0x0100);
	assert_int_equal(config_read(3, 0x40, 4), 0);
}

static void test_bars_are_assigned_and_sized(void **unused)
{
	(void)unused;
	assert_int_equal(config_read(3, 4, 2), 2);
	assert_int_equal(config_read(3, 0x10, 4), 0xc0000000);
	assert_int_equal(config_read(3, 0x18, 4), 0xc0100004);
	assert_int_equal(config_read(3, 0x1c, 4), 0);
	assert_int_equal(config_read(7, 0x10, 4), 0xc0200000);
	assert_int_equal(config_read(7, 0x18, 4), 0xc0300004);
	for (unsigned reg = 0x10; reg < 0x28; reg += 4)
		config_write(3, reg, 4, 0xffffffff);
	assert_int_equal(config_read(3, 0x10, 4), 0xffff8000);
	assert_int_equal(config_read(3, 0x14, 4), 0);
	assert_int_equal(config_read(3, 0x18, 4), 0xfff00004);
	assert_int_equal(config_read(3, 0x1c, 4), 0xffffffff);
	assert_int_equal(config_read(3, 0x20, 4), 0);
}

static void test_mmio_follows_the_bars(void **unused)
{
	(void)unused;
	assert_int_equal(io_space_read(&mmio, 0xc0000010, 4), 0x1122334455667788);
	assert_int_equal(dev.last_offset, 0x10);
	assert_int_equal(dev.last_size, 4);
	io_space_write(&mmio, 0xc0107ff8, 8, 42);
	assert_int_equal(dev.last_offset, 0x7ff8);
	assert_int_equal(dev.last_value, 42);

	config_write(3, 0x10, 4, 0xd0000000);
	assert_int_equal(io_space_read(&mmio, 0xc0000010, 4), UINT64_MAX);
	assert_int_equal(io_space_read(&mmio, 0xd0007fff, 1), 0x1122334455667788);
	assert_int_equal(dev.last_offset, 0x7fff);
	assert_int_equal(io_space_read(&mmio, 0xd0008000, 1), UINT64_MAX);
	assert_int_equal(io_space_read(&mmio, 0xd0007ffe, 4), UINT64_MAX);

	/* out of the window: nowhere, also the 64-bit one above 4 GiB, also half inside */
	config_write(3, 0x10, 4, 0x1000);
	config_write(3, 0x1c, 4, 1);
	assert_int_equal(io_space_read(&mmio, 0xc0100000, 4), UINT64_MAX);
	config_write(3, 0x10, 4, 0xfebf8000);
	assert_int_equal(io_space_read(&mmio, 0xfebffffc, 4), 0x1122334455667788);
	config_write(3, 0x10, 4, 0xfec00000);
	assert_int_equal(io_space_read(&mmio, 0xfebffffc, 4), UINT64_MAX);
	config_write(3, 0x10, 4, 0xfffff000);
	assert_int_equal(io_space_read(&mmio, 0xfffff000, 4), UINT64_MAX);
}

static void test_large_bar_must_fit_whole(void **unused)
{
	struct device large;

	(void)unused;
	build(&large);
	pci_device_bar(&large.pci, 4, 0x1000000, false, &bar_ops, &large);
	assert_int_equal(pci_add(&pci, &large.pci, 9), 0);
	assert_int_equal(config_read(9, 0x20, 4), 0xc1000000);
	config_write(9, 0x20, 4, 0xfd000000);
	assert_int_equal(io_space_read(&mmio, 0xfdfffffc, 4), 0x1122334455667788);
	config_write(9, 0x20, 4, 0xfe000000);
	assert_int_equal(io_space_read(&mmio, 0xfe000000, 4), UINT64_MAX);
}

static void test_memory_enable(void **unused)
{
	(void)unused;
	assert_int_equal(io_space_read(&mmio, 0xc0000000, 4), 0x1122334455667788);
	config_write(3, 4, 1, 0);
	assert_int_equal(io_space_read(&mmio, 0xc0000000, 4), UINT64_MAX);
	assert_int_equal(io_space_read(&mmio, 0xc0200000, 4), 0x1122334455667788);
	config_write(3, 4, 2, 2);
	assert_int_equal(io_space_read(&mmio, 0xc0000000, 4), 0x1122334455667788);
}

static void test_overlapping_bars_do_no_harm(void **unused)
{
	(void)unused;
	config_write(7, 0x10, 4, 0xc0000000);
	io_space_read(&mmio, 0xc0000000, 4);
	assert_int_equal(dev.reads + other.reads, 1);
	config_write(3, 4, 2, 0);
	io_space_read(&mmio, 0xc0000000, 4);
	assert_int_equal(other.reads, 1);
}

static void test_intx(void **unused)
{
	(void)unused;
	assert_int_equal(pci_device_gsi(&dev.pci), 19);
	assert_int_equal(pci_device_gsi(&other.pci), 19);
	pci_device_intx(&dev.pci, true);
	assert_true(fake.irq[19]);
	assert_int_equal(config_read(3, 6, 2), 8);
	/* shared */
	pci_device_intx(&other.pci, true);
	pci_device_intx(&dev.pci, false);
	assert_true(fake.irq[19]);
	pci_device_intx(&other.pci, false);
	assert_false(fake.irq[19]);
	assert_int_equal(fake.irq_rises[19], 1);
	/* disabled: the status stays */
	pci_device_intx(&dev.pci, true);
	config_write(3, 4, 2, 0x402);
	assert_false(fake.irq[19]);
	assert_int_equal(config_read(3, 6, 2), 8);
	config_write(3, 4, 2, 2);
	assert_true(fake.irq[19]);
	pci_device_msi_enabled(&dev.pci, true);
	assert_false(fake.irq[19]);
	pci_device_msi_enabled(&dev.pci, false);
	assert_true(fake.irq[19]);
}

static void test_reset_restores_everything(void **unused)
{
	(void)unused;
	for (unsigned reg = 0; reg < 256; reg += 4)
		config_write(3, reg, 4, 0xffffffff);
	config_write(3, 4, 2, 2);
	pci_device_intx(&dev.pci, true);
	pci_reset(&pci);
	assert_int_equal(dev.resets, 2);
	assert_false(fake.irq[19]);
	assert_int_equal(io_space_read(&pio, 0xcf8, 4), 0);
	assert_int_equal(config_read(3, 4, 4), 2);
	assert_int_equal(config_read(3, 0x3c, 2), 0x01ff);
	test_bars_are_assigned_and_sized(NULL);
}

static void test_capabilities_are_linked(void **unused)
{
	struct device d;

	(void)unused;
	build(&d);
	assert_int_equal(pci_device_capability(&d.pci, 9, 17), 0x40);
	assert_int_equal(pci_device_capability(&d.pci, 0x11, 12), 0x54);
	assert_int_equal(d.pci.config[0x34], 0x40);
	assert_int_equal(d.pci.config[0x41], 0x54);
	assert_int_equal(d.pci.config[0x55], 0);
	assert_int_equal(d.pci.config[6], 0x10);
	assert_int_equal(pci_device_capability(&d.pci, 9, 200), 0);
}

static void test_add_refuses(void **unused)
{
	struct device d;

	(void)unused;
	build(&d);
	assert_int_equal(pci_add(&pci, &d.pci, 32), ERR_RANGE);
	assert_int_equal(pci_add(&pci, &d.pci, 0), ERR_BUSY);
	pci_device_bar(&d.pci, 4, 0x40000000, false, &bar_ops, &d);
	assert_int_equal(pci_add(&pci, &d.pci, 5), ERR_NOMEM);
	pci_device_bar(&d.pci, 4, 0x20000000, false, &bar_ops, &d);
	assert_int_equal(pci_add(&pci, &d.pci, 5), ERR_NOMEM);
	assert_int_equal(config_read(5, 0, 4), 0xffffffff);
	/* a full I/O space */
	assert_int_equal(pci_init(&pci, NULL, &pio, &mmio), ERR_BUSY);
}

static void test_fuzz(void **unused)
{
	uint64_t x = 0x9e3779b97f4a7c15;

	(void)unused;
	for (unsigned i = 0; i < 200000; i++) {
		unsigned size;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		size = 1U << (x >> 40 & 3);
		switch (x & 7) {
		case 0:
			io_space_write(&pio, 0xcf8, 4, 0x80000000 | (x >> 8 & 0x38fc));
			break;
		case 1:
		case 2:
			io_space_write(&pio, 0xcfc + (x >> 8 & 3), size, x >> 16);
			break;
		case 3:
			io_space_read(&pio, 0xcf8 + (x >> 8 & 7), size);
			break;
		case 4:
			io_space_write(&mmio, PCI_MMIO_BASE + (x >> 8) % PCI_MMIO_SIZE, size, x);
			break;
		case 5:
			io_space_read(&mmio, PCI_MMIO_BASE + (x >> 8 & 0x3fffff), size);
			break;
		case 6:
			pci_device_intx(x & 8 ? &dev.pci : &other.pci, x & 16);
			break;
		default:
			io_space_write(&pio, 0xcf8 + (x >> 8 & 7), size, x >> 16);
			break;
		}
		assert_true(dev.last_offset < 0x100000);
		assert_int_equal(pci.lock.held | dev.pci.lock.held | other.pci.lock.held, 0);
	}
	pci_reset(&pci);
	assert_int_equal(config_read(3, 0x10, 4), 0xc0000000);
	assert_int_equal(config_read(0, 0, 4), 0x12378086);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_mechanism_one_is_found, setup),
		cmocka_unit_test_setup(test_host_bridge_and_absent_devices, setup),
		cmocka_unit_test_setup(test_other_buses_functions_and_disabled_are_absent, setup),
		cmocka_unit_test_setup(test_widths, setup),
		cmocka_unit_test_setup(test_cf9_reaches_its_hook, setup),
		cmocka_unit_test_setup(test_header_is_read_only_where_it_should, setup),
		cmocka_unit_test_setup(test_bars_are_assigned_and_sized, setup),
		cmocka_unit_test_setup(test_mmio_follows_the_bars, setup),
		cmocka_unit_test_setup(test_large_bar_must_fit_whole, setup),
		cmocka_unit_test_setup(test_memory_enable, setup),
		cmocka_unit_test_setup(test_overlapping_bars_do_no_harm, setup),
		cmocka_unit_test_setup(test_intx, setup),
		cmocka_unit_test_setup(test_reset_restores_everything, setup),
		cmocka_unit_test_setup(test_capabilities_are_linked, setup),
		cmocka_unit_test_setup(test_add_refuses, setup),
		cmocka_unit_test_setup(test_fuzz, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

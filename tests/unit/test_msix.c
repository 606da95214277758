/* SOURCES: vmm/devices/msix.c vmm/devices/pci.c vmm/io/io_space.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/fakes.h"
#include "vmm/devices/msix.h"

#define VECTORS 3U
#define CAPABILITY 0x40U

static struct io_space pio, mmio;
static struct pci pci;
static struct pci_device dev;
static struct msix msix;

static void written(struct pci_device *d, unsigned offset, unsigned size)
{
	(void)d;
	(void)offset;
	(void)size;
	msix_update(&msix);
}

static const struct pci_device_ops ops = { .config_written = written };

static void config_write(unsigned reg, unsigned size, uint32_t value)
{
	io_space_write(&pio, 0xcf8, 4, 0x80000800U | (reg & 0xfc));
	io_space_write(&pio, 0xcfc + (reg & 3), size, value);
}

static uint32_t config_read(unsigned reg)
{
	io_space_write(&pio, 0xcf8, 4, 0x80000800U | reg);
	return (uint32_t)io_space_read(&pio, 0xcfc, 4);
}

static int setup(void **unused)
{
	(void)unused;
	fake_reset();
	memset(&pio, 0, sizeof(pio));
	memset(&mmio, 0, sizeof(mmio));
	assert_int_equal(pci_init(&pci, NULL, &pio, &mmio), 0);
	pci_device_init(&dev, NULL, &ops, 1, 2, 0x018000, 0);
	assert_int_equal(msix_init(&msix, &dev, 2, 0x4000, 0x5000, VECTORS), 0);
	assert_int_equal(pci_add(&pci, &dev, 1), 0);
	for (unsigned i = 0; i < VECTORS; i++) {
		msix_table_write(&msix, i * 16, 4, 0xfee00000 + 0x1000 * i);
		msix_table_write(&msix, i * 16 + 4, 4, 0);
		msix_table_write(&msix, i * 16 + 8, 4, 0x40 + i);
		msix_table_write(&msix, i * 16 + 12, 4, 0);
	}
	config_write(PCI_COMMAND, 2, 6);
	config_write(CAPABILITY + 2, 2, 0x8000);
	return 0;
}

static void test_capability(void **unused)
{
	(void)unused;
	assert_int_equal(config_read(CAPABILITY), 0x80020011);
	assert_int_equal(config_read(CAPABILITY + 4), 0x4002);
	assert_int_equal(config_read(CAPABILITY + 8), 0x5002);
	config_write(CAPABILITY + 2, 2, 0xffff);
	assert_int_equal(config_read(CAPABILITY), 0xc0020011);
	config_write(CAPABILITY + 4, 4, 0xffffffff);
	assert_int_equal(config_read(CAPABILITY + 4), 0x4002);
}

static void test_sends(void **unused)
{
	(void)unused;
	msix_signal(&msix, 1);
	assert_int_equal(fake.msi_count, 1);
	assert_int_equal(fake.msi[0].address, 0xfee01000);
	assert_int_equal(fake.msi[0].data, 0x41);
	msix_signal(&msix, VECTORS);
	msix_signal(&msix, 0xffff);
	assert_int_equal(fake.msi_count, 1);
	assert_int_equal(msix_pba_read(&msix, 0, 8), 0);
}

static void test_vector_mask(void **unused)
{
	(void)unused;
	msix_table_write(&msix, 16 + 12, 4, 1);
	msix_signal(&msix, 1);
	msix_signal(&msix, 1);
	assert_int_equal(fake.msi_count, 0);
	assert_int_equal(msix_pba_read(&msix, 0, 8), 2);
	assert_int_equal(msix_pba_read(&msix, 0, 4), 2);
	/* the message may be changed while it is masked */
	msix_table_write(&msix, 16 + 8, 4, 0x99);
	assert_int_equal(fake.msi_count, 0);
	msix_table_write(&msix, 16 + 12, 4, 0);
	assert_int_equal(fake.msi_count, 1);
	assert_int_equal(fake.msi[0].data, 0x99);
	assert_int_equal(msix_pba_read(&msix, 0, 8), 0);
}

static void test_function_mask(void **unused)
{
	(void)unused;
	config_write(CAPABILITY + 2, 2, 0xc000);
	msix_signal(&msix, 0);
	msix_signal(&msix, 2);
	assert_int_equal(fake.msi_count, 0);
	assert_int_equal(msix_pba_read(&msix, 0, 8), 5);
	msix_table_write(&msix, 12, 4, 1);
	config_write(CAPABILITY + 3, 1, 0x80);
	assert_int_equal(fake.msi_count, 1);
	assert_int_equal(fake.msi[0].data, 0x42);
	assert_int_equal(msix_pba_read(&msix, 0, 8), 1);
	msix_clear_pending(&msix);
	msix_table_write(&msix, 12, 4, 0);
	assert_int_equal(fake.msi_count, 1);
}

static void test_bus_master(void **unused)
{
	(void)unused;
	config_write(PCI_COMMAND, 2, 2);
	msix_signal(&msix, 0);
	assert_int_equal(fake.msi_count, 0);
	config_write(PCI_COMMAND, 2, 6);
	assert_int_equal(fake.msi_count, 1);
}

static void test_disabled(void **unused)
{
	(void)unused;
	config_write(CAPABILITY + 2, 2, 0);
	assert_false(msix.enabled);
	msix_signal(&msix, 0);
	config_write(CAPABILITY + 2, 2, 0x8000);
	assert_int_equal(fake.msi_count, 0);
}

static void test_silences_intx(void **unused)
{
	(void)unused;
	pci_device_intx(&dev, true);
	assert_false(fake.irq[17]);
	config_write(CAPABILITY + 2, 2, 0);
	assert_true(fake.irq[17]);
}

static void test_reset(void **unused)
{
	(void)unused;
	msix_reset(&msix);
	assert_int_equal(config_read(CAPABILITY), 0x00020011);
	for (unsigned i = 0; i < VECTORS; i++)
		assert_int_equal(msix_table_read(&msix, i * 16 + 12, 4), 1);
	assert_int_equal(msix_table_read(&msix, 0, 8), 0);
}

static void test_widths_and_bounds(void **unused)
{
	(void)unused;
	assert_int_equal(msix_table_read(&msix, 16, 8), 0xfee01000);
	assert_int_equal(msix_table_read(&msix, 24, 8), 0x41);
	msix_table_write(&msix, 16, 8, 0x1fee01007);
	assert_int_equal(msix_table_read(&msix, 16, 8), 0x1fee01004);
	msix_table_write(&msix, 24, 8, 0xffffffff00000077);
	assert_int_equal(msix_table_read(&msix, 28, 4), 1);
	for (unsigned offset = 0; offset < 0x1000; offset++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			bool fits = (size == 4 || size == 8) && offset % size == 0 && offset + size <= VECTORS * 16;
			bool pba = (size == 4 || size == 8) && offset % size == 0 && offset + size <= 8;

			assert_int_equal(msix_table_read(&msix, offset, size) == UINT64_MAX, !fits);
			assert_int_equal(msix_pba_read(&msix, offset, size) == UINT64_MAX, !pba);
			if (!fits)
				msix_table_write(&msix, offset, size, 0xaaaaaaaaaaaaaaaa);
		}
	}
	for (unsigned i = VECTORS; i < MSIX_VECTORS_MAX; i++)
		assert_int_equal(msix.table[i].data, 0);
	assert_int_equal(msix_table_read(&msix, 8, 4), 0x40);
	assert_int_equal(msix_table_read(&msix, UINT64_MAX - 3, 4), UINT64_MAX);
}

static void test_init_refuses(void **unused)
{
	struct msix m;

	(void)unused;
	assert_int_equal(msix_init(&m, &dev, 0, 0, 0, 0), ERR_RANGE);
	assert_int_equal(msix_init(&m, &dev, 0, 0, 0, MSIX_VECTORS_MAX + 1), ERR_RANGE);
	while (pci_device_capability(&dev, 9, 12))
		;
	assert_int_equal(msix_init(&m, &dev, 0, 0, 0, 1), ERR_NOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_capability, setup),
		cmocka_unit_test_setup(test_sends, setup),
		cmocka_unit_test_setup(test_vector_mask, setup),
		cmocka_unit_test_setup(test_function_mask, setup),
		cmocka_unit_test_setup(test_bus_master, setup),
		cmocka_unit_test_setup(test_disabled, setup),
		cmocka_unit_test_setup(test_silences_intx, setup),
		cmocka_unit_test_setup(test_reset, setup),
		cmocka_unit_test_setup(test_widths_and_bounds, setup),
		cmocka_unit_test_setup(test_init_refuses, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

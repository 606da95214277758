/* SOURCES: tests/unit/virtio_driver.c vmm/devices/virtio_pci.c vmm/devices/virtio_ring.c vmm/devices/virtio_blk.c vmm/devices/msix.c vmm/devices/pci.c vmm/io/io_space.c vmm/memory/guest_memory.c drivers/disk/ram_disk.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/fakes.h"
#include "tests/unit/virtio_driver.h"

#define STARTED (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK)

static int setup(void **unused)
{
	(void)unused;
	machine_build(2, false, false);
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	machine_free();
	return 0;
}

static unsigned find_cap(uint8_t type)
{
	for (unsigned at = config_read(PCI_CAPABILITIES, 1) & 0xff, n = 0; at && n < 16; at = config_read(at + 1, 1) & 0xff, n++)
		if ((config_read(at, 1) & 0xff) == 9 && (config_read(at + 3, 1) & 0xff) == type)
			return at;
	fail();
	return 0;
}

static void test_identity(void **unused)
{
	(void)unused;
	assert_int_equal(config_read(PCI_VENDOR_ID, 4), 0x10421af4);
	assert_int_equal(config_read(PCI_REVISION, 4), 0x01800001);
	assert_int_equal(config_read(PCI_SUBSYSTEM_VENDOR, 4), 0x00401af4);
	assert_int_equal(config_read(PCI_BAR0, 4), BAR);
	assert_int_equal(config_read(PCI_INTERRUPT_PIN, 1) & 0xff, 1);
	assert_int_equal(config_read(PCI_STATUS, 2) & 0x10, 0x10);
}

static void test_capabilities(void **unused)
{
	static const struct { uint8_t type; uint32_t offset, length, cap_len; } caps[] = {
		{ VIRTIO_PCI_CAP_COMMON_CFG, 0x0000, 56, 16 },
		{ VIRTIO_PCI_CAP_NOTIFY_CFG, 0x3000, 8, 20 },
		{ VIRTIO_PCI_CAP_ISR_CFG, 0x1000, 1, 16 },
		{ VIRTIO_PCI_CAP_DEVICE_CFG, 0x2000, 36, 16 },
	};

	(void)unused;
	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++) {
		unsigned at = find_cap(caps[i].type);

		assert_int_equal(config_read(at + 2, 1) & 0xff, caps[i].cap_len);
		assert_int_equal(config_read(at + 4, 4), 0);
		assert_int_equal(config_read(at + 8, 4), caps[i].offset);
		assert_int_equal(config_read(at + 12, 4), caps[i].length);
		config_write(at + 8, 4, 0xffffffff);
		assert_int_equal(config_read(at + 8, 4), caps[i].offset);
	}
	assert_int_equal(config_read(find_cap(VIRTIO_PCI_CAP_NOTIFY_CFG) + 16, 4), 4);
}

static void test_features(void **unused)
{
	(void)unused;
	assert_int_equal(bar_read(COMMON(device_feature), 4), 1U << 28 | 1U << 29 | 1U << 2 | 1U << 6 | 1U << 9 | 1U << 12);
	bar_write(COMMON(device_feature_select), 4, 1);
	assert_int_equal(bar_read(COMMON(device_feature), 4), 1);
	bar_write(COMMON(device_feature_select), 4, 2);
	assert_int_equal(bar_read(COMMON(device_feature), 4), 0);
	bar_write(COMMON(driver_feature_select), 4, 7);
	bar_write(COMMON(driver_feature), 4, 0xffffffff);
	assert_int_equal(bar_read(COMMON(driver_feature), 4), 0);
	features_write(0x0000000512345678);
	bar_write(COMMON(driver_feature_select), 4, 0);
	assert_int_equal(bar_read(COMMON(driver_feature), 4), 0x12345678);
	bar_write(COMMON(driver_feature_select), 4, 1);
	assert_int_equal(bar_read(COMMON(driver_feature), 4), 5);
}

static void negotiate(uint64_t features, bool accepted)
{
	status_write(0);
	assert_int_equal(status_read(), 0);
	status_write(1);
	status_write(3);
	features_write(features);
	status_write(11);
	assert_int_equal(status_read(), accepted ? 11 : 3);
	status_write(15);
	assert_int_equal(status_read(), accepted ? 15 : 3);
}

static void test_features_ok(void **unused)
{
	(void)unused;
	negotiate(0, false);
	negotiate(BIT(28) | BIT(29), false);
	negotiate(BIT(32) | BIT(33), false);
	negotiate(BIT(32) | BIT(13), false);
	negotiate(BIT(32) | BIT(40), false);
	negotiate(BIT(32) | BIT(5), false);
	negotiate(BIT(32), true);
	/* fixed from then on */
	features_write(BIT(32) | BIT(28));
	assert_int_equal(m.blk.virtio.driver_features, BIT(32));
	negotiate(ALL_FEATURES, true);
}

static void test_status_bits_only_add_up(void **unused)
{
	(void)unused;
	status_write(0x40);
	assert_int_equal(status_read(), 0);
	status_write(1);
	status_write(2);
	assert_int_equal(status_read(), 3);
	status_write(0x83);
	assert_int_equal(status_read(), 0x83);
	status_write(1);
	assert_int_equal(status_read(), 0x83);
	status_write(0);
	assert_int_equal(status_read(), 0);
}

static void test_queue_fields(void **unused)
{
	(void)unused;
	assert_int_equal(bar_read(COMMON(num_queues), 2), 2);
	for (unsigned q = 0; q < 2; q++) {
		bar_write(COMMON(queue_select), 2, q);
		assert_int_equal(bar_read(COMMON(queue_select), 2), q);
		assert_int_equal(bar_read(COMMON(queue_size), 2), 128);
		assert_int_equal(bar_read(COMMON(queue_notify_off), 2), q);
		assert_int_equal(bar_read(COMMON(queue_msix_vector), 2), 0xffff);
		assert_int_equal(bar_read(COMMON(queue_enable), 2), 0);
	}
	queue_place(1, 0x1122334455667788, 0x99aabbccddeeff00, 0x123456789abcdef0);
	assert_int_equal(bar_read(COMMON(queue_desc), 4), 0x55667788);
	assert_int_equal(bar_read(COMMON(queue_desc) + 4, 4), 0x11223344);
	assert_int_equal(bar_read(COMMON(queue_driver) + 4, 4), 0x99aabbcc);
	assert_int_equal(bar_read(COMMON(queue_device), 4), 0x9abcdef0);
	bar_write(COMMON(queue_select), 2, 0);
	assert_int_equal(bar_read(COMMON(queue_desc), 4), 0);
}

static void test_queue_select_out_of_range(void **unused)
{
	static const uint16_t select[] = { 2, 4, 0x7fff, 0xffff };

	(void)unused;
	for (unsigned i = 0; i < ARRAY_SIZE(select); i++) {
		bar_write(COMMON(queue_select), 2, select[i]);
		bar_write(COMMON(queue_size), 2, 64);
		bar_write(COMMON(queue_msix_vector), 2, 0);
		bar_write(COMMON(queue_desc), 4, 0x1000);
		bar_write(COMMON(queue_enable), 2, 1);
		assert_int_equal(bar_read(COMMON(queue_select), 2), select[i]);
		assert_int_equal(bar_read(COMMON(queue_size), 2), 0);
		assert_int_equal(bar_read(COMMON(queue_enable), 2), 0);
		assert_int_equal(bar_read(COMMON(queue_msix_vector), 2), 0xffff);
		assert_int_equal(bar_read(COMMON(queue_desc), 4), 0);
		assert_int_equal(bar_read(COMMON(queue_notify_off), 2), 0);
	}
	assert_int_equal(status_read(), 0);
	assert_int_equal(m.blk.virtio.queue[2].size, 0);
	assert_int_equal(m.blk.virtio.queue[2].desc, 0);
}

static void test_queue_size_rules(void **unused)
{
	static const uint16_t bad[] = { 0, 3, 127, 129, 256, 0x8000, 0xffff };

	(void)unused;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		bar_write(COMMON(queue_size), 2, bad[i]);
		assert_int_equal(bar_read(COMMON(queue_size), 2), 128);
	}
	bar_write(COMMON(queue_size), 2, 1);
	assert_int_equal(bar_read(COMMON(queue_size), 2), 1);
	driver_start(ALL_FEATURES, 16, false);
	bar_write(COMMON(queue_select), 2, 0);
	bar_write(COMMON(queue_size), 2, 32);
	bar_write(COMMON(queue_desc), 4, 0);
	bar_write(COMMON(queue_enable), 2, 0);
	assert_int_equal(bar_read(COMMON(queue_size), 2), 16);
	assert_int_equal(bar_read(COMMON(queue_desc), 4), DESC_AT(0));
	assert_int_equal(bar_read(COMMON(queue_enable), 2), 1);
}

static void test_vectors(void **unused)
{
	(void)unused;
	for (unsigned v = 0; v < 3; v++) {
		bar_write(COMMON(config_msix_vector), 2, v);
		bar_write(COMMON(queue_msix_vector), 2, v);
		assert_int_equal(bar_read(COMMON(config_msix_vector), 2), v);
		assert_int_equal(bar_read(COMMON(queue_msix_vector), 2), v);
	}
	bar_write(COMMON(config_msix_vector), 2, 3);
	bar_write(COMMON(queue_msix_vector), 2, 0xfffe);
	assert_int_equal(bar_read(COMMON(config_msix_vector), 2), 0xffff);
	assert_int_equal(bar_read(COMMON(queue_msix_vector), 2), 0xffff);
}

static void enable_with(uint64_t desc, uint64_t avail, uint64_t used, bool works)
{
	negotiate(ALL_FEATURES, true);
	queue_place(1, desc, avail, used);
	bar_write(COMMON(queue_enable), 2, 1);
	assert_int_equal(bar_read(COMMON(queue_enable), 2), works);
	assert_int_equal(status_read(), works ? 15 : 15 | VIRTIO_STATUS_NEEDS_RESET);
}

static void test_enable_with_bad_rings(void **unused)
{
	(void)unused;
	enable_with(0, 0, 0, false);
	enable_with(RAM_SIZE, AVAIL_AT(1), USED_AT(1), false);
	enable_with(DESC_AT(1), RAM_SIZE - 2, USED_AT(1), false);
	enable_with(DESC_AT(1), AVAIL_AT(1), UINT64_MAX - 3, false);
	enable_with(DESC_AT(1) + 1, AVAIL_AT(1), USED_AT(1), false);
	enable_with(DESC_AT(1), AVAIL_AT(1), USED_AT(1), true);
	/* before the features are settled: no effect */
	status_write(0);
	queue_place(1, DESC_AT(1), AVAIL_AT(1), USED_AT(1));
	bar_write(COMMON(queue_enable), 2, 1);
	assert_int_equal(bar_read(COMMON(queue_enable), 2), 0);
}

static void test_needs_reset_interrupts(void **unused)
{
	(void)unused;
	driver_start(ALL_FEATURES, 16, false);
	offer(0, 16);
	kick(0);
	assert_int_equal(status_read(), STARTED | VIRTIO_STATUS_NEEDS_RESET);
	assert_true(fake.irq[GSI]);
	assert_int_equal(bar_read(VIRTIO_PCI_ISR, 1), VIRTIO_ISR_CONFIG);
	assert_false(fake.irq[GSI]);
	assert_int_equal(bar_read(VIRTIO_PCI_ISR, 1), 0);

	driver_start(ALL_FEATURES, 16, true);
	assert_int_equal(status_read(), STARTED);
	offer(1, 0xffff);
	kick(1);
	assert_int_equal(status_read(), STARTED | VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(fake.msi_count, 1);
	assert_int_equal(fake.msi[0].data, 0x50);
	/* once only; and nothing runs until the reset */
	kick(1);
	kick(0);
	assert_int_equal(fake.msi_count, 1);
	assert_false(fake.irq[GSI]);
}

static void test_isr_widths(void **unused)
{
	(void)unused;
	driver_start(ALL_FEATURES, 16, false);
	offer(0, 16);
	kick(0);
	assert_int_equal(bar_read(VIRTIO_PCI_ISR, 4), UINT64_MAX);
	assert_int_equal(bar_read(VIRTIO_PCI_ISR + 1, 1), UINT64_MAX);
	bar_write(VIRTIO_PCI_ISR, 1, 0);
	assert_true(fake.irq[GSI]);
	status_write(0);
	assert_false(fake.irq[GSI]);
	assert_int_equal(bar_read(VIRTIO_PCI_ISR, 1), 0);
}

static void test_every_width_and_offset(void **unused)
{
	static const uint8_t width[56] = {
		[0] = 4, [4] = 4, [8] = 4, [12] = 4, [16] = 2, [18] = 2, [20] = 1, [21] = 1, [22] = 2, [24] = 2, [26] = 2, [28] = 2,
		[30] = 2, [32] = 4, [36] = 4, [40] = 4, [44] = 4, [48] = 4, [52] = 4,
	};

	(void)unused;
	for (unsigned offset = 0; offset < 0x1000; offset++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			bool address = offset == 32 || offset == 40 || offset == 48; /* of a queue's parts: whole, or each half */
			bool field = offset < 56 && (width[offset] == size || (address && size == 8));

			assert_int_equal(bar_read(offset, size) != UINT64_MAX, field);
			if (!field)
				bar_write(offset, size, 0xa5a5a5a5a5a5a5a5);
		}
	}
	assert_int_equal(status_read(), 0);
	assert_int_equal(bar_read(COMMON(queue_size), 2), 128);
	for (unsigned offset = 0; offset < VIRTIO_PCI_BAR_SIZE; offset++)
		for (unsigned size = 1; size <= 8; size *= 2)
			bar_read(offset, size);
	/* the device configuration takes any width, and no write */
	for (unsigned offset = 0; offset < 0x1000; offset++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			uint64_t value = 0;
			bool inside = offset + size <= 36;

			if (inside)
				memcpy(&value, (uint8_t *)&m.blk.config + offset, size);
			bar_write(VIRTIO_PCI_DEVICE + offset, size, 0xa5a5a5a5a5a5a5a5);
			assert_int_equal(bar_read(VIRTIO_PCI_DEVICE + offset, size), inside ? value : UINT64_MAX);
		}
	}
	for (unsigned offset = 0; offset < 256; offset++)
		for (unsigned size = 1; size <= 4; size *= 2)
			config_read(offset, size);
}

static void access(uint32_t offset, uint32_t length)
{
	unsigned at = find_cap(VIRTIO_PCI_CAP_PCI_CFG);

	config_write(at + 8, 4, offset);
	config_write(at + 12, 4, length);
}

static void test_configuration_access(void **unused)
{
	unsigned at = find_cap(VIRTIO_PCI_CAP_PCI_CFG);

	(void)unused;
	config_write(PCI_COMMAND, 2, 0); /* works without memory decoding */
	access(COMMON(queue_size), 2);
	assert_int_equal(config_read(at + 16, 2), 128);
	config_write(at + 16, 2, 64);
	access(COMMON(device_status), 1);
	config_write(at + 16, 1, 3);
	access(COMMON(device_feature_select), 4);
	config_write(at + 16, 4, 1);
	access(COMMON(device_feature), 4);
	assert_int_equal(config_read(at + 16, 4), 1);
	config_write(PCI_COMMAND, 2, 6);
	assert_int_equal(bar_read(COMMON(queue_size), 2), 64);
	assert_int_equal(status_read(), 3);
	/* what the driver must not do has no effect */
	access(COMMON(device_status), 3);
	config_write(at + 16, 4, 0);
	access(COMMON(device_status), 0);
	config_write(at + 16, 4, 0);
	access(COMMON(device_feature_select) + 2, 4);
	config_write(at + 16, 4, 0);
	access(VIRTIO_PCI_DEVICE + 33, 2);
	assert_int_equal(config_read(at + 16, 4), 0);
	access(VIRTIO_PCI_DEVICE + 34, 2);
	assert_int_equal(config_read(at + 16, 4), 2);
	/* The last register of each width can be reached, where nothing answers; beyond it nothing is done. */
	for (unsigned length = 1; length <= 4; length *= 2) {
		access(VIRTIO_PCI_BAR_SIZE - length, length);
		config_write(at + 16, 4, 0);
		assert_int_equal(config_read(at + 16, 4), 0xffffffff);
		access(VIRTIO_PCI_BAR_SIZE, length);
		config_write(at + 16, 4, 0);
		assert_int_equal(config_read(at + 16, 4), 0);
		access(0xfffffffc, length);
		config_write(at + 16, 4, 0);
		assert_int_equal(config_read(at + 16, 4), 0);
	}
	access(COMMON(device_status), 1);
	config_write(at + 4, 1, 1);
	config_write(at + 16, 1, 0);
	config_write(at + 4, 1, 0);
	assert_int_equal(status_read(), 3);
	config_write(at + 16, 1, 0);
	assert_int_equal(status_read(), 0);
}

static void test_notification_through_configuration_access(void **unused)
{
	unsigned at = find_cap(VIRTIO_PCI_CAP_PCI_CFG);

	(void)unused;
	driver_start(ALL_FEATURES, 16, false);
	put_header(0x20000, VIRTIO_BLK_T_FLUSH, 0);
	set_desc(DESC_AT(1), 0, 0x20000, 16, VIRTQ_DESC_F_NEXT, 1);
	set_desc(DESC_AT(1), 1, 0x20010, 1, VIRTQ_DESC_F_WRITE, 0);
	offer(1, 0);
	access(VIRTIO_PCI_NOTIFY + 4, 2);
	config_write(at + 16, 2, 1);
	assert_int_equal(used_idx(1), 1);
}

static void check_notify(unsigned width)
{
	driver_start(ALL_FEATURES, 16, false);
	offer(0, 16); /* would be a breach */
	bar_write(VIRTIO_PCI_NOTIFY, 8, 0);
	bar_write(VIRTIO_PCI_NOTIFY + 1, 2, 0);
	bar_write(VIRTIO_PCI_NOTIFY + 1, 1, 0);
	bar_write(VIRTIO_PCI_NOTIFY + 8, 2, 0);
	bar_write(VIRTIO_PCI_NOTIFY + 0xffe, 2, 0);
	assert_int_equal(status_read(), STARTED);
	bar_write(VIRTIO_PCI_NOTIFY, width, 0);
	assert_int_equal(status_read(), STARTED | VIRTIO_STATUS_NEEDS_RESET);
}

static void test_notify_by_a_byte(void **unused) { (void)unused; check_notify(1); }
static void test_notify_by_a_word(void **unused) { (void)unused; check_notify(2); }
static void test_notify_by_a_double_word(void **unused) { (void)unused; check_notify(4); }

static void test_queue_addresses_by_one_access(void **unused)
{
	static const struct { unsigned offset; uint64_t value; } part[] = {
		{ COMMON(queue_desc), 0x1122334455667780 }, { COMMON(queue_driver), 0x2233445566778890 },
		{ COMMON(queue_device), 0x33445566778899a0 },
	};

	(void)unused;
	for (unsigned i = 0; i < ARRAY_SIZE(part); i++)
		bar_write(part[i].offset, 8, part[i].value);
	for (unsigned i = 0; i < ARRAY_SIZE(part); i++) {
		assert_int_equal(bar_read(part[i].offset, 8), part[i].value);
		assert_int_equal(bar_read(part[i].offset, 4) & 0xffffffff, part[i].value & 0xffffffff);
		assert_int_equal(bar_read(part[i].offset + 4, 4) & 0xffffffff, part[i].value >> 32);
	}
}

static void test_nothing_before_driver_ok_or_without_bus_master(void **unused)
{
	(void)unused;
	negotiate(ALL_FEATURES, true);
	status_write(0);
	status_write(3);
	features_write(ALL_FEATURES);
	status_write(11);
	m.queue_size = 128;
	queue_place(0, DESC_AT(0), AVAIL_AT(0), USED_AT(0));
	bar_write(COMMON(queue_enable), 2, 1);
	put_header(0x20000, VIRTIO_BLK_T_FLUSH, 0);
	set_desc(DESC_AT(0), 0, 0x20000, 16, VIRTQ_DESC_F_NEXT, 1);
	set_desc(DESC_AT(0), 1, 0x20010, 1, VIRTQ_DESC_F_WRITE, 0);
	offer(0, 0);
	kick(0);
	assert_int_equal(used_idx(0), 0);
	status_write(15);
	assert_int_equal(used_idx(0), 0);
	kick(0);
	assert_int_equal(used_idx(0), 0);
	/* both conditions met: what waited is served, though not announced again */
	config_write(PCI_COMMAND, 2, 6);
	assert_int_equal(used_idx(0), 1);
	/* A further bit of the status is no notification. */
	offer(0, 0);
	status_write(0x8f);
	assert_int_equal(used_idx(0), 1);
	kick(0);
	assert_int_equal(used_idx(0), 2);
}

static void test_reset(void **unused)
{
	(void)unused;
	driver_start(ALL_FEATURES, 16, true);
	status_write(0);
	assert_int_equal(status_read(), 0);
	assert_int_equal(bar_read(COMMON(config_msix_vector), 2), 0xffff);
	for (unsigned q = 0; q < 2; q++) {
		bar_write(COMMON(queue_select), 2, q);
		assert_int_equal(bar_read(COMMON(queue_enable), 2), 0);
		assert_int_equal(bar_read(COMMON(queue_size), 2), 128);
		assert_int_equal(bar_read(COMMON(queue_desc), 4), 0);
		assert_int_equal(bar_read(COMMON(queue_msix_vector), 2), 0xffff);
	}
	bar_write(COMMON(driver_feature_select), 4, 1);
	assert_int_equal(bar_read(COMMON(driver_feature), 4), 0);
	/* MSI-X belongs to PCI and stays */
	assert_int_equal(config_read(MSIX_CAP + 2, 2), 0x8002);
	assert_int_equal(bar_read(VIRTIO_PCI_MSIX_TABLE + 8, 4), 0x50);
	/* the machine's reset takes it, too */
	driver_start(ALL_FEATURES, 16, true);
	pci_reset(&m.pci);
	assert_int_equal(config_read(MSIX_CAP + 2, 2), 2);
	assert_int_equal(status_read(), 0);
	assert_int_equal(bar_read(VIRTIO_PCI_MSIX_TABLE + 8, 4), 0);
	driver_start(ALL_FEATURES, 16, true);
	virtio_blk_reset(&m.blk);
	assert_int_equal(status_read(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_identity, setup, teardown),
		cmocka_unit_test_setup_teardown(test_capabilities, setup, teardown),
		cmocka_unit_test_setup_teardown(test_features, setup, teardown),
		cmocka_unit_test_setup_teardown(test_features_ok, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status_bits_only_add_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue_fields, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue_select_out_of_range, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue_size_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vectors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_enable_with_bad_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_needs_reset_interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_isr_widths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_width_and_offset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_configuration_access, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notification_through_configuration_access, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notify_by_a_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notify_by_a_word, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notify_by_a_double_word, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue_addresses_by_one_access, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_before_driver_ok_or_without_bus_master, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

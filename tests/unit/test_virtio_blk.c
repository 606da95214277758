/* SOURCES: tests/unit/virtio_driver.c vmm/devices/virtio_pci.c vmm/devices/virtio_ring.c vmm/devices/virtio_blk.c vmm/devices/msix.c vmm/devices/pci.c vmm/io/io_space.c vmm/memory/guest_memory.c drivers/disk/ram_disk.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/virtio_blk_fixture.h"

static void test_configuration(void **unused)
{
	(void)unused;
	assert_int_equal(bar_read(VIRTIO_PCI_DEVICE, 8), DISK_SECTORS);
	assert_int_equal(bar_read(VIRTIO_PCI_DEVICE + 12, 4), 126);
	assert_int_equal(bar_read(VIRTIO_PCI_DEVICE + 20, 4), 512);
	assert_int_equal(bar_read(VIRTIO_PCI_DEVICE + 34, 2), 2);
}

static void test_reads_and_writes(void **unused)
{
	(void)unused;
	fake.memory_written = 0;
	assert_int_equal(request(VIRTIO_BLK_T_IN, 5, 1024), VIRTIO_BLK_S_OK);
	/* What the device wrote, the shadow MMU is told: data, status, used ring. */
	assert_int_equal(fake.memory_written, 1024 + 1 + virtio_ring_used_bytes(&m.blk.virtio.queue[0].ring));
	assert_int_equal(last_used_len(0), 1025);
	assert_memory_equal(m.ram + DATA_AT, m.medium + 5 * 512, 1024);
	memset(m.ram + DATA_AT, 0x3c, 512);
	assert_int_equal(request(VIRTIO_BLK_T_OUT, DISK_SECTORS - 1, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(last_used_len(0), 1);
	assert_memory_equal(m.medium + (DISK_SECTORS - 1) * 512, m.ram + DATA_AT, 512);
	assert_int_equal(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(last_used_len(0), 1);
	assert_int_equal(request(VIRTIO_BLK_T_IN, DISK_SECTORS, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(fake.timers ? fake.timers->deadline : TIME_NEVER, TIME_NEVER);
}

static void test_id(void **unused)
{
	(void)unused;
	memset(m.ram + DATA_AT, UNTOUCHED, 64);
	assert_int_equal(request(VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	assert_memory_equal(m.ram + DATA_AT, "unit-test-disk\0\0\0\0\0\0", 20);
	assert_int_equal(m.ram[DATA_AT + 20], UNTOUCHED);
	assert_int_equal(last_used_len(0), 21);
	assert_int_equal(request(VIRTIO_BLK_T_GET_ID, 0, 64), VIRTIO_BLK_S_OK);
	assert_int_equal(m.ram[DATA_AT + 20], UNTOUCHED);
	memset(m.ram + DATA_AT, UNTOUCHED, 64);
	assert_int_equal(request(VIRTIO_BLK_T_GET_ID, 0, 4), VIRTIO_BLK_S_OK);
	assert_memory_equal(m.ram + DATA_AT, "unit\xee", 5);
	assert_int_equal(request(VIRTIO_BLK_T_GET_ID, 0, 0), VIRTIO_BLK_S_OK);
}

static void test_unsupported_types(void **unused)
{
	static const uint32_t types[] = { 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 0x80000000, 0xffffffff };

	(void)unused;
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		assert_int_equal(request(types[i], 0, 512), VIRTIO_BLK_S_UNSUPP);
		assert_int_equal(last_used_len(0), 1);
	}
}

static void test_out_of_range(void **unused)
{
	uint8_t before[DISK_SECTORS * 512];

	(void)unused;
	memcpy(before, m.medium, sizeof(before));
	for (uint32_t type = VIRTIO_BLK_T_IN; type <= VIRTIO_BLK_T_OUT; type++) {
		assert_int_equal(request(type, DISK_SECTORS, 512), VIRTIO_BLK_S_IOERR);
		assert_int_equal(request(type, DISK_SECTORS - 1, 1024), VIRTIO_BLK_S_IOERR);
		assert_int_equal(request(type, UINT64_MAX, 512), VIRTIO_BLK_S_IOERR);
		assert_int_equal(request(type, UINT64_MAX / 512 + 1, 512), VIRTIO_BLK_S_IOERR);
		assert_int_equal(request(type, 0, 100), VIRTIO_BLK_S_IOERR);
		assert_int_equal(request(type, 0, 513), VIRTIO_BLK_S_IOERR);
		assert_int_equal(request(type, 0, 0x18000), VIRTIO_BLK_S_IOERR);
	}
	assert_memory_equal(before, m.medium, sizeof(before));
}

static void test_any_framing(void **unused)
{
	(void)unused;
	/* the header in three pieces, the last with the data; the status byte behind the data of a read */
	put_header(HEADER_AT, VIRTIO_BLK_T_OUT, 9);
	memset(m.ram + HEADER_AT + 16, 0x77, 512);
	set_desc(DESC_AT(0), 0, HEADER_AT, 3, NEXT, 1);
	set_desc(DESC_AT(0), 1, HEADER_AT + 3, 5, NEXT, 2);
	set_desc(DESC_AT(0), 2, HEADER_AT + 8, 8 + 200, NEXT, 3);
	set_desc(DESC_AT(0), 3, HEADER_AT + 216, 312, NEXT, 4);
	set_desc(DESC_AT(0), 4, STATUS_AT + 0x800, 1, WRITE, 0);
	offer(0, 0);
	kick(0);
	assert_int_equal(m.ram[STATUS_AT + 0x800], VIRTIO_BLK_S_OK);
	assert_int_equal(m.medium[9 * 512 - 1] == 0x77, 0);
	assert_int_equal(m.medium[9 * 512], 0x77);
	assert_int_equal(m.medium[9 * 512 + 511], 0x77);

	put_header(HEADER_AT, VIRTIO_BLK_T_IN, 9);
	set_desc(DESC_AT(0), 0, HEADER_AT, 16, NEXT, 1);
	set_desc(DESC_AT(0), 1, DATA_AT, 500, NEXT | WRITE, 2);
	set_desc(DESC_AT(0), 2, DATA_AT + 500, 13, WRITE, 0);
	m.ram[DATA_AT + 512] = UNTOUCHED;
	offer(0, 0);
	kick(0);
	assert_int_equal(m.ram[DATA_AT + 512], VIRTIO_BLK_S_OK);
	assert_memory_equal(m.ram + DATA_AT, m.medium + 9 * 512, 512);
	assert_int_equal(last_used_len(0), 513);
}

static void test_indirect(void **unused)
{
	(void)unused;
	build(TABLE_AT, 0, VIRTIO_BLK_T_IN, 2, 1536, 0);
	set_desc(DESC_AT(0), 100, TABLE_AT, 48, INDIRECT, 0);
	offer(0, 100);
	kick(0);
	assert_int_equal(m.ram[STATUS_AT], VIRTIO_BLK_S_OK);
	assert_int_equal(last_used_id(0), 100);
	assert_memory_equal(m.ram + DATA_AT, m.medium + 1024, 1536);
}

static void test_as_many_segments_as_offered(void **unused)
{
	(void)unused;
	put_header(HEADER_AT, VIRTIO_BLK_T_IN, 0);
	set_desc(TABLE_AT, 0, HEADER_AT, 16, NEXT, 1);
	for (unsigned i = 1; i <= 126; i++)
		set_desc(TABLE_AT, i, DATA_AT + 128 * i, 128, NEXT | WRITE, (uint16_t)(i + 1));
	/* 126 * 128 is 31.5 sectors */
	set_desc(TABLE_AT, 126, DATA_AT + 128 * 126, 384, NEXT | WRITE, 127);
	set_desc(TABLE_AT, 127, STATUS_AT, 1, WRITE, 0);
	set_desc(DESC_AT(0), 0, TABLE_AT, 128 * 16, INDIRECT, 0);
	offer(0, 0);
	kick(0);
	assert_int_equal(m.ram[STATUS_AT], VIRTIO_BLK_S_OK);
	assert_memory_equal(m.ram + DATA_AT + 128, m.medium, 32 * 512);
}

static void test_status_cannot_be_reached(void **unused)
{
	(void)unused;
	/* nothing writable at all */
	put_header(HEADER_AT, VIRTIO_BLK_T_OUT, 0);
	set_desc(DESC_AT(0), 0, HEADER_AT, 16, NEXT, 1);
	set_desc(DESC_AT(0), 1, DATA_AT, 512, 0, 0);
	offer(0, 0);
	expect_breach();
	/* the device works again after a reset */
	driver_start(ALL_FEATURES, 128, false);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

static void test_wrong_headers_and_buffers(void **unused)
{
	(void)unused;
	/* no header; half a header */
	set_desc(DESC_AT(0), 0, STATUS_AT, 1, WRITE, 0);
	m.ram[STATUS_AT] = UNTOUCHED;
	offer(0, 0);
	kick(0);
	assert_int_equal(m.ram[STATUS_AT], VIRTIO_BLK_S_IOERR);
	set_desc(DESC_AT(0), 0, HEADER_AT, 15, NEXT, 1);
	set_desc(DESC_AT(0), 1, STATUS_AT, 1, WRITE, 0);
	m.ram[STATUS_AT] = UNTOUCHED;
	offer(0, 0);
	kick(0);
	assert_int_equal(m.ram[STATUS_AT], VIRTIO_BLK_S_IOERR);
	/* a read into a buffer that the device may only read */
	put_header(HEADER_AT, VIRTIO_BLK_T_IN, 0);
	memset(m.ram + DATA_AT, UNTOUCHED, 512);
	set_desc(DESC_AT(0), 0, HEADER_AT, 16, NEXT, 1);
	set_desc(DESC_AT(0), 1, DATA_AT, 512, NEXT, 2);
	set_desc(DESC_AT(0), 2, STATUS_AT, 1, WRITE, 0);
	m.ram[STATUS_AT] = UNTOUCHED;
	offer(0, 0);
	kick(0);
	assert_int_equal(m.ram[STATUS_AT], VIRTIO_BLK_S_IOERR);
	assert_int_equal(m.ram[DATA_AT], UNTOUCHED);
	/* a write from one that it should write */
	put_header(HEADER_AT, VIRTIO_BLK_T_OUT, 0);
	set_desc(DESC_AT(0), 1, DATA_AT, 512, NEXT | WRITE, 2);
	m.ram[STATUS_AT] = UNTOUCHED;
	offer(0, 0);
	kick(0);
	assert_int_equal(m.ram[STATUS_AT], VIRTIO_BLK_S_IOERR);
	assert_int_equal(m.medium[0], 0);
	assert_int_equal(status_read(), STARTED);
}

static void test_hostile_rings(void **unused)
{
	(void)unused;
	for (unsigned i = 0; i < 9; i++) {
		driver_start(ALL_FEATURES, 128, false);
		build(DESC_AT(0), 0, VIRTIO_BLK_T_IN, 0, 512, 0);
		offer(0, 0);
		switch (i) {
		case 0: /* head out of range */
			put16(AVAIL_AT(0) + 4, 128);
			break;
		case 1: /* a loop */
			set_desc(DESC_AT(0), 1, DATA_AT, 512, NEXT | WRITE, 1);
			break;
		case 2: /* outside of memory */
			set_desc(DESC_AT(0), 1, RAM_SIZE - 511, 512, NEXT | WRITE, 2);
			break;
		case 3: /* wraps */
			set_desc(DESC_AT(0), 1, UINT64_MAX - 255, 512, NEXT | WRITE, 2);
			break;
		case 4: /* huge */
			set_desc(DESC_AT(0), 1, DATA_AT, 0xfffffe00, NEXT | WRITE, 2);
			break;
		case 5: /* empty */
			set_desc(DESC_AT(0), 1, DATA_AT, 0, NEXT | WRITE, 2);
			break;
		case 6: /* indirect within indirect */
			set_desc(TABLE_AT, 0, TABLE_AT, 16, INDIRECT, 0);
			set_desc(DESC_AT(0), 0, TABLE_AT, 16, INDIRECT, 0);
			break;
		case 7: /* the available index jumps */
			put16(AVAIL_AT(0) + 2, 129);
			break;
		default: /* the status byte outside of memory */
			set_desc(DESC_AT(0), 2, RAM_SIZE, 1, WRITE, 0);
			break;
		}
		expect_breach();
		assert_int_equal(bar_read(VIRTIO_PCI_ISR, 1), VIRTIO_ISR_CONFIG);
	}
}

static void test_read_only_disk(void **unused)
{
	(void)unused;
	machine_free();
	machine_build(1, false, true);
	assert_int_equal(bar_read(COMMON(device_feature), 4) & BIT(VIRTIO_BLK_F_RO), BIT(VIRTIO_BLK_F_RO));
	driver_start(ALL_FEATURES | BIT(VIRTIO_BLK_F_RO), 128, false);
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
}

static void test_intx(void **unused)
{
	(void)unused;
	driver_start(PLAIN_FEATURES, 128, false);
	request(VIRTIO_BLK_T_IN, 0, 512);
	assert_true(fake.irq[GSI]);
	request(VIRTIO_BLK_T_IN, 0, 512);
	assert_int_equal(fake.irq_rises[GSI], 1);
	assert_int_equal(bar_read(VIRTIO_PCI_ISR, 1), VIRTIO_ISR_QUEUE);
	assert_false(fake.irq[GSI]);
	put16(AVAIL_AT(0), VIRTQ_AVAIL_F_NO_INTERRUPT);
	request(VIRTIO_BLK_T_IN, 0, 512);
	assert_false(fake.irq[GSI]);
	assert_int_equal(fake.msi_count, 0);
}

static void test_msix_and_event_index(void **unused)
{
	(void)unused;
	driver_start(ALL_FEATURES, 128, true);
	put16(AVAIL_AT(0) + 4 + 2 * 128, 1); /* when the second is done */
	request(VIRTIO_BLK_T_IN, 0, 512);
	assert_int_equal(fake.msi_count, 0);
	request(VIRTIO_BLK_T_IN, 0, 512);
	assert_int_equal(fake.msi_count, 1);
	assert_int_equal(fake.msi[0].data, 0x51);
	/* the device wants to hear of the next */
	assert_int_equal(get16(USED_AT(0) + 4 + 8 * 128), 2);
	/* the other queue has its own vector; without one it is silent */
	build(DESC_AT(1), 0, VIRTIO_BLK_T_FLUSH, 0, 0, 0);
	offer(1, 0);
	kick(1);
	assert_int_equal(fake.msi_count, 2);
	assert_int_equal(fake.msi[1].data, 0x52);
	bar_write(COMMON(queue_select), 2, 1);
	bar_write(COMMON(queue_msix_vector), 2, 0xffff);
	put16(AVAIL_AT(1) + 4 + 2 * 128, 1);
	offer(1, 0);
	kick(1);
	assert_int_equal(used_idx(1), 2);
	assert_int_equal(fake.msi_count, 2);
	assert_false(fake.irq[GSI]);
}

static void test_one_interrupt_for_a_batch(void **unused)
{
	(void)unused;
	driver_start(PLAIN_FEATURES, 128, true);
	for (unsigned i = 0; i < 20; i++) {
		build(DESC_AT(0), 3 * i, VIRTIO_BLK_T_IN, 0, 512, i);
		offer(0, (uint16_t)(3 * i));
	}
	kick(0);
	assert_int_equal(used_idx(0), 20);
	assert_int_equal(fake.msi_count, 1);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(m.ram[STATUS_AT + i], VIRTIO_BLK_S_OK);
}

static void test_bad_requests_never_reach_the_backend(void **unused)
{
	(void)unused;
	test_out_of_range(NULL);
	assert_int_equal(m.slow.count, 0);
	machine_free();
	machine_build(1, true, true);
	driver_start(ALL_FEATURES, 128, false);
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(m.slow.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_configuration, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reads_and_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_id, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unsupported_types, setup, teardown),
		cmocka_unit_test_setup_teardown(test_out_of_range, setup, teardown),
		cmocka_unit_test_setup_teardown(test_any_framing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_indirect, setup, teardown),
		cmocka_unit_test_setup_teardown(test_as_many_segments_as_offered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status_cannot_be_reached, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_headers_and_buffers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_only_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_intx, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msix_and_event_index, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_interrupt_for_a_batch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_requests_never_reach_the_backend, setup_slow, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

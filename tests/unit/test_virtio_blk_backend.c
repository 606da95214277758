/* SOURCES: tests/unit/virtio_driver.c vmm/devices/virtio_pci.c vmm/devices/virtio_ring.c vmm/devices/virtio_blk.c vmm/devices/msix.c vmm/devices/pci.c vmm/io/io_space.c vmm/memory/guest_memory.c drivers/disk/ram_disk.c */
/* Requests on their way through the backend: in parts, one after another, slowly, and overtaken by a reset. */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/virtio_blk_fixture.h"

static void test_large_requests_go_in_parts(void **unused)
{
	static const uint32_t limits[] = { 8, 9, 13, 40, 63 };

	(void)unused;
	for (unsigned i = 0; i < ARRAY_SIZE(limits); i++) {
		m.disk.block.max_sectors = limits[i];
		memset(m.ram + DATA_AT, 0, DISK_SECTORS * 512);
		/* three data segments whose borders are no sectors' */
		put_header(HEADER_AT, VIRTIO_BLK_T_IN, 0);
		set_desc(DESC_AT(0), 0, HEADER_AT, 16, NEXT, 1);
		set_desc(DESC_AT(0), 1, DATA_AT, 4096, NEXT | WRITE, 2);
		set_desc(DESC_AT(0), 2, DATA_AT + 4096, 10001, NEXT | WRITE, 3);
		set_desc(DESC_AT(0), 3, DATA_AT + 14097, DISK_SECTORS * 512 - 14097, NEXT | WRITE, 4);
		set_desc(DESC_AT(0), 4, STATUS_AT, 1, WRITE, 0);
		m.ram[STATUS_AT] = UNTOUCHED;
		offer(0, 0);
		kick(0);
		assert_int_equal(m.ram[STATUS_AT], VIRTIO_BLK_S_OK);
		assert_int_equal(last_used_len(0), DISK_SECTORS * 512 + 1);
		assert_memory_equal(m.ram + DATA_AT, m.medium, DISK_SECTORS * 512);
	}
	assert_int_equal(used_idx(0), ARRAY_SIZE(limits));
}

static void test_a_notify_does_a_bounded_share(void **unused)
{
	(void)unused;
	for (unsigned i = 0; i < 128; i++) {
		build(TABLE_AT, 0, VIRTIO_BLK_T_IN, 0, DISK_SECTORS * 512, 0);
		set_desc(DESC_AT(0), i, TABLE_AT, 48, INDIRECT, 0);
		offer(0, (uint16_t)i);
	}
	m.blk.backend->max_sectors = 2048;
	fake.now = 1000;
	kick(0);
	/* 128 times 64 sectors are the whole share: the look for more is left to the timer */
	assert_int_equal(used_idx(0), 128);
	assert_int_equal(m.blk.timer.deadline, 1000);
	offer(0, 0);
	for (unsigned i = 0; i < 256; i++) /* as one REP STOS can */
		kick(0);
	assert_int_equal(used_idx(0), 128);
	fake_advance_to(1000);
	assert_int_equal(used_idx(0), 129);
	assert_int_equal(m.blk.timer.deadline, TIME_NEVER);
	/* a late call after a reset finds nothing to do */
	m.blk.timer.fire(m.blk.timer.ctx);
	status_write(0);
	m.blk.timer.fire(m.blk.timer.ctx);
	assert_int_equal(status_read(), 0);
}

static unsigned refills;

/* While the device works, another vCPU offers more and more. */
static void refill_submit(struct block_device *device, struct block_request *req)
{
	refills++;
	offer(0, 4);
	m.slow.block.ops = device->ops;
	block_submit(&m.disk.block, req);
}

static void test_endless_refill_is_bounded(void **unused)
{
	static const struct block_ops refill_ops = { .submit = refill_submit };

	(void)unused;
	m.slow.block.ops = &refill_ops;
	driver_start(PLAIN_FEATURES, 16, false);
	build(DESC_AT(0), 4, VIRTIO_BLK_T_IN, 0, 512, 0);
	offer(0, 4);
	kick(0);
	assert_true(refills <= 17);
	assert_int_equal(used_idx(0), refills);
	assert_int_equal(get16(USED_AT(0)), VIRTQ_USED_F_NO_NOTIFY);
	assert_true(fake.irq[GSI]);
	assert_int_equal(m.blk.timer.deadline, fake.now);
	status_write(0);
	assert_int_equal(m.blk.timer.deadline, TIME_NEVER);
}

static void test_slow_disk(void **unused)
{
	(void)unused;
	driver_start(PLAIN_FEATURES, 128, false);
	for (unsigned i = 0; i < 6; i++) {
		build(DESC_AT(0), 3 * i, VIRTIO_BLK_T_IN, i, 512, i);
		offer(0, (uint16_t)(3 * i));
		kick(0); /* the header is at one place: take it before it is overwritten */
	}
	/* two queues, eight slots: four are under way */
	assert_int_equal(m.slow.count, 4);
	assert_int_equal(virtio_blk_in_flight(&m.blk), 4);
	assert_int_equal(used_idx(0), 0);
	assert_false(fake.irq[GSI]);
	/* out of order, one fails */
	slow_complete(2, 0);
	assert_int_equal(used_idx(0), 1);
	assert_int_equal(last_used_id(0), 6);
	assert_memory_equal(m.ram + DATA_AT, m.medium + 2 * 512, 512);
	assert_true(fake.irq[GSI]);
	assert_int_equal(m.slow.count, 4); /* the fifth took the place */
	slow_complete(0, ERR_IO);
	assert_int_equal(m.ram[STATUS_AT], VIRTIO_BLK_S_IOERR);
	assert_int_equal(m.ram[STATUS_AT + 6], VIRTIO_BLK_S_OK);
	while (m.slow.count)
		slow_complete(0, 0);
	assert_int_equal(used_idx(0), 6);
	assert_int_equal(get16(USED_AT(0)), 0); /* listens again */
	assert_int_equal(virtio_blk_in_flight(&m.blk), 0);
}

static void test_slow_disk_in_parts(void **unused)
{
	(void)unused;
	m.slow.block.max_sectors = 24;
	build(DESC_AT(0), 0, VIRTIO_BLK_T_IN, 0, 64 * 512, 0);
	offer(0, 0);
	kick(0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(m.slow.count, 1);
		assert_int_equal(m.slow.held[0]->sector, 24 * i);
		assert_int_equal(m.slow.held[0]->sectors, i < 2 ? 24 : 16);
		assert_int_equal(used_idx(0), 0);
		slow_complete(0, 0);
	}
	assert_int_equal(m.slow.count, 0);
	assert_int_equal(m.ram[STATUS_AT], VIRTIO_BLK_S_OK);
	assert_memory_equal(m.ram + DATA_AT, m.medium, 64 * 512);
	/* an error in the middle ends it */
	offer(0, 0);
	kick(0);
	slow_complete(0, ERR_IO);
	assert_int_equal(m.slow.count, 0);
	assert_int_equal(m.ram[STATUS_AT], VIRTIO_BLK_S_IOERR);
	assert_int_equal(last_used_len(0), 1);
}

/* A backend that reports many ends at once: the device goes on when it has reported them all. */
static void test_batches(void **unused)
{
	(void)unused;
	m.slow.block.max_sectors = 24;
	build(DESC_AT(0), 0, VIRTIO_BLK_T_IN, 0, 64 * 512, 0);
	offer(0, 0);
	kick(0);
	m.slow.block.in_batch = true;
	slow_complete(0, 0);
	assert_int_equal(m.slow.count, 0);
	m.slow.block.in_batch = false;
	m.slow.block.batch_done(m.slow.block.user);
	assert_int_equal(m.slow.count, 1);
	assert_int_equal(m.slow.held[0]->sector, 24);
	/* A reset in between ends the request for good: a driver that starts again has nothing under way. */
	m.slow.block.in_batch = true;
	slow_complete(0, 0);
	m.slow.block.in_batch = false;
	status_write(0);
	assert_int_equal(status_read(), 0);
	m.slow.block.batch_done(m.slow.block.user); /* the queue does not run */
	assert_int_equal(m.slow.count, 0);
	driver_start(ALL_FEATURES, 128, false);
	kick(0);
	assert_int_equal(m.slow.count, 0);
	assert_int_equal(used_idx(0), 0);
	assert_int_equal(m.ram[STATUS_AT], UNTOUCHED);
}

static unsigned resets;

/* Another vCPU resets the device while this one is in the backend, and may start it again before this one comes back. */
static void reset_submit(struct block_device *device, struct block_request *req)
{
	(void)device;
	resets++;
	status_write(0);
	assert_int_equal(status_read(), STARTED);
	block_submit(&m.disk.block, req);
	assert_int_equal(status_read(), 0);
	if (resets == 1) {
		driver_start(ALL_FEATURES, 128, false);
		m.blk.core_at_queue[0] = true; /* and is at work on the queue */
	}
}

static void test_reset_during_a_submit(void **unused)
{
	static const struct block_ops reset_ops = { .submit = reset_submit };

	(void)unused;
	resets = 2;
	m.slow.block.ops = &reset_ops;
	build(DESC_AT(0), 0, VIRTIO_BLK_T_IN, 0, 512, 0);
	offer(0, 0);
	offer(0, 0);
	kick(0); /* reset, not started again: the rings are gone */
	assert_int_equal(resets, 3);
	assert_int_equal(used_idx(0), 0);
	resets = 0;
	driver_start(ALL_FEATURES, 128, false);
	build(DESC_AT(0), 0, VIRTIO_BLK_T_IN, 0, 512, 0);
	offer(0, 0);
	kick(0); /* started again: the new rings are empty */
	assert_int_equal(resets, 1);
	assert_true(m.blk.core_at_queue[0]); /* left to the other */
	assert_int_equal(used_idx(0), 0);
	assert_int_equal(m.ram[STATUS_AT], UNTOUCHED);
	m.slow.block.ops = m.disk.block.ops;
	assert_int_equal(virtio_blk_in_flight(&m.blk), 0);
}

static void test_durable_without_flush(void **unused)
{
	(void)unused;
	driver_start(BIT(VIRTIO_F_VERSION_1), 128, false);
	build(DESC_AT(0), 0, VIRTIO_BLK_T_OUT, 0, 512, 0);
	offer(0, 0);
	kick(0);
	assert_true(m.slow.held[0]->durable);
	slow_complete(0, 0);
	driver_start(PLAIN_FEATURES, 128, false);
	build(DESC_AT(0), 0, VIRTIO_BLK_T_OUT, 0, 512, 0);
	offer(0, 0);
	kick(0);
	assert_false(m.slow.held[0]->durable);
	slow_complete(0, 0);
}

static void test_reset_waits_for_what_is_under_way(void **unused)
{
	uint8_t rings[0x4000];

	(void)unused;
	for (unsigned i = 0; i < 2; i++) {
		build(DESC_AT(0), 0, VIRTIO_BLK_T_IN, 0, 512, i);
		offer(0, 0);
		kick(0);
	}
	assert_int_equal(m.slow.count, 2);
	status_write(0);
	assert_int_equal(status_read(), STARTED); /* not over */
	/* a driver that does not wait gets nowhere */
	status_write(1);
	features_write(ALL_FEATURES);
	queue_place(0, DESC_AT(0), AVAIL_AT(0), USED_AT(0));
	bar_write(COMMON(queue_enable), 2, 1);
	assert_int_equal(bar_read(COMMON(queue_enable), 2), 0);
	kick(0);
	assert_int_equal(status_read(), STARTED);
	memcpy(rings, m.ram + DESC_AT(0), sizeof(rings));
	slow_complete(0, 0);
	assert_int_equal(status_read(), STARTED);
	/* the machine's reset meets the same orphan */
	pci_reset(&m.pci);
	assert_int_equal(virtio_blk_in_flight(&m.blk), 1);
	slow_complete(0, 0);
	assert_int_equal(virtio_blk_in_flight(&m.blk), 0);
	assert_int_equal(status_read(), 0);
	assert_memory_equal(rings, m.ram + DESC_AT(0), sizeof(rings));
	assert_int_equal(m.ram[STATUS_AT], UNTOUCHED);
	assert_false(fake.irq[GSI]);
	driver_start(ALL_FEATURES, 128, false);
	build(DESC_AT(0), 4, VIRTIO_BLK_T_IN, 0, 512, 0);
	offer(0, 4);
	kick(0);
	slow_complete(0, 0);
	assert_int_equal(m.ram[STATUS_AT], VIRTIO_BLK_S_OK);
}

static void test_completion_on_a_broken_device(void **unused)
{
	(void)unused;
	build(DESC_AT(0), 0, VIRTIO_BLK_T_IN, 0, 512, 0);
	offer(0, 0);
	kick(0);
	offer(1, 128);
	kick(1);
	assert_int_equal(status_read(), STARTED | VIRTIO_STATUS_NEEDS_RESET);
	slow_complete(0, 0);
	assert_int_equal(used_idx(0), 0);
	assert_int_equal(m.ram[STATUS_AT], UNTOUCHED);
	status_write(0);
	assert_int_equal(status_read(), 0);
}

static void test_queue_count_is_brought_into_range(void **unused)
{
	(void)unused;
	for (unsigned queues = 0; queues < 9; queues += 3) {
		machine_free();
		machine_build(queues, false, false);
		assert_int_equal(bar_read(COMMON(num_queues), 2), queues == 0 ? 1 : queues == 3 ? 3 : 4);
		driver_start(ALL_FEATURES, 128, true);
		assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_large_requests_go_in_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_notify_does_a_bounded_share, setup, teardown),
		cmocka_unit_test_setup_teardown(test_endless_refill_is_bounded, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_slow_disk, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_slow_disk_in_parts, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_batches, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_reset_during_a_submit, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_durable_without_flush, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_reset_waits_for_what_is_under_way, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_completion_on_a_broken_device, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_queue_count_is_brought_into_range, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

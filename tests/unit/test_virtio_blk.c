/* SOURCES: tests/unit/virtio_driver.c vmm/devices/virtio_pci.c vmm/devices/virtio_ring.c vmm/devices/virtio_blk.c vmm/devices/msix.c vmm/devices/pci.c vmm/io_space.c vmm/guest_memory.c drivers/ram_disk.c */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "tests/unit/fakes.h"
#include "tests/unit/virtio_driver.h"

#define STARTED (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK)

#define HEADER_AT 0x20000U
#define STATUS_AT 0x20100U
#define TABLE_AT 0x20200U
#define DATA_AT 0x28000U
#define UNTOUCHED 0xeeU

#define NEXT VIRTQ_DESC_F_NEXT
#define WRITE VIRTQ_DESC_F_WRITE
#define INDIRECT VIRTQ_DESC_F_INDIRECT

static int setup(void **unused)
{
	(void)unused;
	machine_build(2, false, false);
	driver_start(ALL_FEATURES, 128, false);
	return 0;
}

static int setup_slow(void **unused)
{
	(void)unused;
	machine_build(2, true, false);
	driver_start(ALL_FEATURES, 128, false);
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	assert_int_equal(m.blk.virtio.pci.lock.held | m.pci.lock.held, 0);
	machine_free();
	return 0;
}

/* Descriptors for a request with `data` bytes at DATA_AT, from index `at` of a table; the status byte is at STATUS_AT + n. */
static void build(uint64_t table, unsigned at, uint32_t type, uint64_t sector, uint32_t data, unsigned n)
{
	uint16_t data_flags = NEXT | (type == VIRTIO_BLK_T_OUT ? 0 : WRITE);

	put_header(HEADER_AT, type, sector);
	m.ram[STATUS_AT + n] = UNTOUCHED;
	set_desc(table, at, HEADER_AT, 16, NEXT, (uint16_t)(at + (data ? 1 : 2)));
	if (data)
		set_desc(table, at + 1, DATA_AT, data, data_flags, (uint16_t)(at + 2));
	set_desc(table, at + 2, STATUS_AT + n, 1, WRITE, 0);
}

/* Carry out one request on queue 0. Returns the status byte. */
static uint8_t request(uint32_t type, uint64_t sector, uint32_t data)
{
	uint16_t before = used_idx(0);

	build(DESC_AT(0), 4, type, sector, data, 0);
	offer(0, 4);
	kick(0);
	assert_int_equal((uint16_t)(used_idx(0) - before), 1);
	assert_int_equal(last_used_id(0), 4);
	assert_int_equal(status_read(), STARTED);
	return m.ram[STATUS_AT];
}

static void expect_breach(void)
{
	uint16_t before = used_idx(0);

	kick(0);
	assert_int_equal(status_read(), STARTED | VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(used_idx(0), before);
}

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
	assert_int_equal(request(VIRTIO_BLK_T_IN, 5, 1024), VIRTIO_BLK_S_OK);
	assert_int_equal(fake.memory_written, 1024); /* what the device wrote, the shadow MMU is told */
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
		m.blk.busy[0] = true; /* and is at work on the queue */
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
	assert_true(m.blk.busy[0]); /* left to the other */
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

#define THREAD_ROUNDS 20000U

static void *kick_for_long(void *queue)
{
	for (unsigned i = 0; i < THREAD_ROUNDS; i++)
		kick(*(unsigned *)queue);
	return NULL;
}

/* Two cores notify two queues whose rings never run dry, while a third resets and starts the device. */
static void test_cores_at_once(void **unused)
{
	unsigned queues[2] = { 0, 1 };
	pthread_t threads[2];

	(void)unused;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, kick_for_long, &queues[i]), 0);
	for (unsigned i = 0; i < 300; i++) {
		status_write(0);
		while (status_read())
			;
		driver_start(ALL_FEATURES, 128, true);
		for (unsigned q = 0; q < 2; q++) {
			build(DESC_AT(q), 0, VIRTIO_BLK_T_IN, 0, 32 * 512, 0);
			for (unsigned n = 0; n < 100; n++)
				offer(q, 0);
		}
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	kick(0);
	kick(1);
	fake_advance_to(1);
	fake_advance_to(2);
	assert_int_equal(virtio_blk_in_flight(&m.blk), 0);
	assert_int_equal(used_idx(0), 100);
	assert_int_equal(used_idx(1), 100);
	assert_int_equal(m.ram[STATUS_AT], VIRTIO_BLK_S_OK);
}

#define SPARING_ROUNDS 400000U

static pthread_mutex_t ring_mutex = PTHREAD_MUTEX_INITIALIZER;

/* A driver that notifies only where the event index asks for it. Whatever it keeps quiet about, the core that is at work has to see. */
static void *offer_sparingly(void *failed)
{
	for (unsigned i = 0; i < SPARING_ROUNDS; i++) {
		unsigned tries = 0;
		uint16_t idx, event;

		pthread_mutex_lock(&ring_mutex);
		while ((uint16_t)(get16(AVAIL_AT(0) + 2) - used_idx(0)) >= 3) {
			pthread_mutex_unlock(&ring_mutex);
			if (++tries == 10000000) {
				*(bool *)failed = true;
				return NULL;
			}
			m.blk.timer.fire(m.blk.timer.ctx);
			pthread_mutex_lock(&ring_mutex);
		}
		idx = get16(AVAIL_AT(0) + 2);
		__atomic_store_n((uint16_t *)(m.ram + AVAIL_AT(0) + 2), (uint16_t)(idx + 1), __ATOMIC_SEQ_CST);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		event = __atomic_load_n((uint16_t *)(m.ram + USED_AT(0) + 4 + 8 * 128), __ATOMIC_RELAXED);
		pthread_mutex_unlock(&ring_mutex);
		if (event == idx)
			kick(0);
	}
	return NULL;
}

static void test_no_notification_is_lost(void **unused)
{
	pthread_t thread;
	bool failed[2] = { false, false };

	(void)unused;
	build(DESC_AT(0), 0, VIRTIO_BLK_T_FLUSH, 0, 0, 0); /* all heads are 0 */
	kick(0);
	assert_int_equal(pthread_create(&thread, NULL, offer_sparingly, &failed[0]), 0);
	offer_sparingly(&failed[1]);
	pthread_join(thread, NULL);
	m.blk.timer.fire(m.blk.timer.ctx);
	assert_false(failed[0] || failed[1]);
	assert_int_equal(used_idx(0), (uint16_t)(2 * SPARING_ROUNDS));
}

static uint64_t random_state;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Anything a driver can do, in any order, with rings that are often nearly right. */
static void fuzz(unsigned steps)
{
	for (unsigned i = 0; i < steps; i++) {
		uint64_t x = next_random();
		unsigned q = x >> 8 & 1;
		unsigned size = 1U << (x >> 10 & 3);

		switch (x & 15) {
		case 0:
			driver_start(x & 16 ? ALL_FEATURES : PLAIN_FEATURES, 1U << (x >> 16 & 7), x & 32);
			break;
		case 1:
			bar_write((x >> 16 & 63) + (x & 64 ? 0x2000 : 0), size, x >> 32);
			break;
		case 2:
			bar_write((unsigned)(x >> 16) % VIRTIO_PCI_BAR_SIZE, size, x >> 32);
			break;
		case 3:
			bar_read((unsigned)(x >> 16) % VIRTIO_PCI_BAR_SIZE, size);
			break;
		case 4:
			config_write(x >> 16 & 0xff, size > 4 ? 4 : size, (uint32_t)(x >> 32));
			break;
		case 5:
			config_read(x >> 16 & 0xff, size > 4 ? 4 : size);
			break;
		case 6:
			m.ram[DESC_AT(q) + (x >> 16) % 0x3000] = (uint8_t)(x >> 40);
			break;
		case 7:
			m.ram[HEADER_AT + (x >> 16 & 0x3ff)] = (uint8_t)(x >> 40);
			break;
		case 8:
			if (m.slow.count)
				slow_complete((unsigned)(x >> 16) % m.slow.count, x & 32 ? ERR_IO : 0);
			break;
		case 9:
			fake_advance_to(fake.now + 1);
			break;
		case 10:
			if (!(x >> 16 & 63))
				pci_reset(&m.pci);
			break;
		default:
			build(x & 16 ? DESC_AT(q) : TABLE_AT, 0, x >> 16 & 1, x >> 20 & 63, 512 * (x >> 28 & 7), 0);
			if (!(x & 16))
				set_desc(DESC_AT(q), 0, TABLE_AT, 48, INDIRECT, 0);
			offer(q, 0);
			kick(q);
			break;
		}
		assert_int_equal(m.blk.virtio.pci.lock.held | m.pci.lock.held, 0);
		assert_int_equal(m.blk.in_flight, m.slow.count);
	}
	while (m.slow.count)
		slow_complete(0, 0);
	pci_reset(&m.pci);
	assert_int_equal(status_read(), 0);
}

static void test_fuzz(void **unused)
{
	(void)unused;
	random_state = 0x2545f4914f6cdd1d;
	fuzz(150000);
	driver_start(ALL_FEATURES, 128, false);
	assert_int_equal(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
}

static void test_fuzz_slow(void **unused)
{
	(void)unused;
	random_state = 0x9e3779b97f4a7c15;
	m.slow.block.max_sectors = 8;
	fuzz(150000);
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
		cmocka_unit_test_setup_teardown(test_large_requests_go_in_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_notify_does_a_bounded_share, setup, teardown),
		cmocka_unit_test_setup_teardown(test_endless_refill_is_bounded, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_slow_disk, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_slow_disk_in_parts, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_bad_requests_never_reach_the_backend, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_reset_during_a_submit, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_durable_without_flush, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_reset_waits_for_what_is_under_way, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_completion_on_a_broken_device, setup_slow, teardown),
		cmocka_unit_test_setup_teardown(test_queue_count_is_brought_into_range, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cores_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_notification_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fuzz, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fuzz_slow, setup_slow, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

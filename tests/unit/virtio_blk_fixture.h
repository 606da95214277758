/* A started virtio-blk disk and the driver's requests, for the test_virtio_blk*.c files. */
#ifndef TESTS_UNIT_VIRTIO_BLK_FIXTURE_H
#define TESTS_UNIT_VIRTIO_BLK_FIXTURE_H

#include "tests/unit/unit.h"

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

static inline int setup(void **unused)
{
	(void)unused;
	machine_build(2, false, false);
	driver_start(ALL_FEATURES, 128, false);
	return 0;
}

static inline int setup_slow(void **unused)
{
	(void)unused;
	machine_build(2, true, false);
	driver_start(ALL_FEATURES, 128, false);
	return 0;
}

static inline int teardown(void **unused)
{
	(void)unused;
	assert_int_equal(m.blk.virtio.pci.lock.held | m.pci.lock.held, 0);
	machine_free();
	return 0;
}

/* Descriptors for a request with `data` bytes at DATA_AT, from index `at` of a table; the status byte is at STATUS_AT + n. */
static inline void build(uint64_t table, unsigned at, uint32_t type, uint64_t sector, uint32_t data, unsigned n)
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
static inline uint8_t request(uint32_t type, uint64_t sector, uint32_t data)
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

static inline void expect_breach(void)
{
	uint16_t before = used_idx(0);

	kick(0);
	assert_int_equal(status_read(), STARTED | VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(used_idx(0), before);
}

#endif

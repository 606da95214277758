/* SOURCES: tests/unit/virtio_driver.c vmm/devices/virtio_pci.c vmm/devices/virtio_ring.c vmm/devices/virtio_blk.c vmm/devices/msix.c vmm/devices/pci.c vmm/io/io_space.c vmm/memory/guest_memory.c drivers/disk/ram_disk.c */
/* Several cores at one disk, and anything that a driver can do in any order. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <string.h>

#include "tests/unit/virtio_blk_fixture.h"

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
		cmocka_unit_test_setup_teardown(test_cores_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_notification_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fuzz, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fuzz_slow, setup_slow, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

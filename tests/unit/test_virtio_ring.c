/* SOURCES: vmm/devices/virtio_ring.c vmm/memory/guest_memory.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/devices/virtio_ring.h"

#define RAM 0x10000U
#define SIZE 8U
#define DESC 0x1000U
#define AVAIL 0x2000U
#define USED 0x3000U
#define TABLE 0x4008U /* an indirect table needs no alignment */
#define BOTH (BIT(VIRTIO_F_RING_INDIRECT_DESC) | BIT(VIRTIO_F_RING_EVENT_IDX))

static uint8_t *ram;
static struct guest_memory mem;
static struct virtio_ring ring;
static struct virtio_chain chain;

static void set_desc(uint32_t table, unsigned index, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	struct virtq_desc desc = { addr, len, flags, next };

	memcpy(ram + table + index * sizeof(desc), &desc, sizeof(desc));
}

static void put16(uint32_t at, uint16_t value)
{
	memcpy(ram + at, &value, 2);
}

static uint16_t get16(uint32_t at)
{
	uint16_t value;

	memcpy(&value, ram + at, 2);
	return value;
}

static void offer(uint16_t head)
{
	uint16_t idx = get16(AVAIL + 2);

	put16(AVAIL + 4 + 2 * (idx % SIZE), head);
	put16(AVAIL + 2, (uint16_t)(idx + 1));
}

static void enable(uint64_t features)
{
	assert_int_equal(virtio_ring_enable(&ring, &mem, SIZE, DESC, AVAIL, USED, features), 0);
}

static int setup(void **unused)
{
	(void)unused;
	ram = aligned_alloc(4096, RAM);
	memset(ram, 0, RAM);
	memset(&mem, 0, sizeof(mem));
	assert_int_equal(guest_memory_add(&mem, 0, RAM, ram), 0);
	enable(BOTH);
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	free(ram);
	return 0;
}

static void breach(void)
{
	uint16_t before = ring.last_avail;

	assert_int_equal(virtio_ring_pop(&ring, &chain), ERR_INVALID);
	assert_int_equal(ring.last_avail, before);
}

static void test_enable_checks(void **unused)
{
	static const struct { unsigned size; uint64_t desc, avail, used; int err; } cases[] = {
		{ 0, DESC, AVAIL, USED, ERR_INVALID },
		{ 3, DESC, AVAIL, USED, ERR_INVALID },
		{ 256, DESC, AVAIL, USED, ERR_INVALID },
		{ 8, DESC + 8, AVAIL, USED, ERR_INVALID },
		{ 8, DESC, AVAIL + 1, USED, ERR_INVALID },
		{ 8, DESC, AVAIL, USED + 2, ERR_INVALID },
		{ 8, 0, 0, 0, ERR_INVALID },
		{ 8, RAM, AVAIL, USED, ERR_RANGE },
		{ 8, RAM - 112, AVAIL, USED, ERR_RANGE },
		{ 8, DESC, RAM - 20, USED, ERR_RANGE },
		{ 8, DESC, AVAIL, RAM - 68, ERR_RANGE },
		{ 8, UINT64_MAX - 15, AVAIL, USED, ERR_RANGE },
		{ 8, DESC, UINT64_MAX - 1, USED, ERR_RANGE },
		{ 8, DESC, AVAIL, UINT64_MAX - 3, ERR_RANGE },
		{ 8, RAM - 128, AVAIL, USED, 0 },
		{ 8, DESC, RAM - 22, USED, 0 },
		{ 8, DESC, AVAIL, RAM - 72, 0 },
		{ 1, DESC, AVAIL, USED, 0 },
		{ 128, DESC, AVAIL, USED, 0 },
	};

	(void)unused;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(virtio_ring_enable(&ring, &mem, cases[i].size, cases[i].desc, cases[i].avail, cases[i].used, BOTH),
				 cases[i].err);
		assert_int_equal(virtio_ring_enabled(&ring), cases[i].err == 0);
	}
}

static void test_pops_a_chain(void **unused)
{
	(void)unused;
	assert_int_equal(virtio_ring_pop(&ring, &chain), 0);
	set_desc(DESC, 5, 0x8000, 16, VIRTQ_DESC_F_NEXT, 2);
	set_desc(DESC, 2, 0x9001, 512, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE, 0);
	set_desc(DESC, 0, 0xa000, 1, VIRTQ_DESC_F_WRITE, 99);
	offer(5);
	assert_int_equal(virtio_ring_pop(&ring, &chain), 1);
	assert_int_equal(chain.head, 5);
	assert_int_equal(chain.readable, 1);
	assert_int_equal(chain.writable, 2);
	assert_int_equal(chain.readable_bytes, 16);
	assert_int_equal(chain.writable_bytes, 513);
	assert_ptr_equal(chain.segment[0].base, ram + 0x8000);
	assert_ptr_equal(chain.segment[1].base, ram + 0x9001);
	assert_int_equal(chain.segment[1].len, 512);
	assert_int_equal(virtio_ring_pop(&ring, &chain), 0);
}

static void test_pops_an_indirect_chain(void **unused)
{
	(void)unused;
	/* zero or more normal ones, then one indirect, whose WRITE flag means nothing */
	set_desc(DESC, 1, 0x8000, 16, VIRTQ_DESC_F_NEXT, 3);
	set_desc(DESC, 3, TABLE, 3 * 16, VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_WRITE, 0);
	set_desc(TABLE, 0, 0x9000, 4, VIRTQ_DESC_F_NEXT, 2);
	set_desc(TABLE, 2, 0xa000, 1, VIRTQ_DESC_F_WRITE, 0);
	offer(1);
	assert_int_equal(virtio_ring_pop(&ring, &chain), 1);
	assert_int_equal(chain.head, 1);
	assert_int_equal(chain.readable, 2);
	assert_int_equal(chain.writable, 1);
}

static void test_longest_indirect_chain(void **unused)
{
	(void)unused;
	for (unsigned i = 0; i < 129; i++)
		set_desc(TABLE, i, 0x8000 + i, 1, i < 127 ? VIRTQ_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	set_desc(DESC, 0, TABLE, 129 * 16, VIRTQ_DESC_F_INDIRECT, 0);
	offer(0);
	assert_int_equal(virtio_ring_pop(&ring, &chain), 1);
	assert_int_equal(chain.readable, 128);
	set_desc(TABLE, 127, 0x8000, 1, VIRTQ_DESC_F_NEXT, 128);
	offer(0);
	breach();
	/* 127 direct ones would do, but with 128 more that is too many segments */
	set_desc(TABLE, 127, 0x8000, 1, 0, 0);
	set_desc(DESC, 0, 0x8000, 1, VIRTQ_DESC_F_NEXT, 1);
	set_desc(DESC, 1, TABLE, 128 * 16, VIRTQ_DESC_F_INDIRECT, 0);
	breach();
}

static void test_indices_wrap(void **unused)
{
	(void)unused;
	set_desc(DESC, 0, 0x8000, 1, 0, 0);
	for (unsigned i = 0; i < 70000; i++) {
		offer(0);
		assert_int_equal(virtio_ring_pop(&ring, &chain), 1);
		virtio_ring_push(&ring, 0, i);
		assert_int_equal(get16(USED + 2), (uint16_t)(i + 1));
		assert_int_equal(get16(USED + 4 + 8 * (i % SIZE) + 4), (uint16_t)i);
	}
	assert_int_equal(virtio_ring_pop(&ring, &chain), 0);
}

static void test_loops(void **unused)
{
	(void)unused;
	set_desc(DESC, 0, 0x8000, 1, VIRTQ_DESC_F_NEXT, 0);
	offer(0);
	breach();
	for (unsigned i = 0; i < SIZE; i++)
		set_desc(DESC, i, 0x8000, 1, VIRTQ_DESC_F_NEXT, (uint16_t)((i + 1) % SIZE));
	breach();
	set_desc(DESC, SIZE - 1, 0x8000, 1, 0, 0);
	assert_int_equal(virtio_ring_pop(&ring, &chain), 1);
	assert_int_equal(chain.readable, SIZE);
	set_desc(DESC, 0, TABLE, 32, VIRTQ_DESC_F_INDIRECT, 0);
	set_desc(TABLE, 0, 0x8000, 1, VIRTQ_DESC_F_NEXT, 1);
	set_desc(TABLE, 1, 0x8000, 1, VIRTQ_DESC_F_NEXT, 0);
	offer(0);
	breach();
}

static void test_bad_indices(void **unused)
{
	(void)unused;
	for (unsigned i = 0; i < 2; i++) { /* what lies behind the tables looks well */
		set_desc(DESC, SIZE + i, 0x8000, 1, 0, 0);
		set_desc(TABLE, 1 + i, 0x8000, 1, 0, 0);
	}
	offer(SIZE);
	breach();
	put16(AVAIL + 4, 0xffff);
	breach();
	put16(AVAIL + 4, 0);
	set_desc(DESC, 0, 0x8000, 1, VIRTQ_DESC_F_NEXT, SIZE);
	breach();
	set_desc(DESC, 0, TABLE, 16, VIRTQ_DESC_F_INDIRECT, 0);
	set_desc(TABLE, 0, 0x8000, 1, VIRTQ_DESC_F_NEXT, 1);
	breach();
}

static void test_bad_addresses_and_lengths(void **unused)
{
	static const struct { uint64_t addr; uint32_t len; } cases[] = {
		{ RAM, 1 }, { RAM - 1, 2 }, { UINT64_MAX, 1 }, { UINT64_MAX, 2 }, { 0x8000, 0xffffffff }, { 0x8000, 0 },
		{ 0x8000000000000000, 16 }, { 0xfffffffffffff000, 0x1001 },
	};

	(void)unused;
	offer(0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		set_desc(DESC, 0, cases[i].addr, cases[i].len, 0, 0);
		breach();
		set_desc(DESC, 0, cases[i].addr, cases[i].len, VIRTQ_DESC_F_WRITE, 0);
		breach();
		set_desc(DESC, 0, cases[i].addr, cases[i].len & ~15U, VIRTQ_DESC_F_INDIRECT, 0);
		breach();
	}
	set_desc(DESC, 0, RAM - 1, 1, 0, 0);
	assert_int_equal(virtio_ring_pop(&ring, &chain), 1);
}

static void test_bad_indirect_tables(void **unused)
{
	(void)unused;
	offer(0);
	set_desc(TABLE, 0, 0x8000, 1, 0, 0);
	set_desc(DESC, 0, TABLE, 24, VIRTQ_DESC_F_INDIRECT, 0);
	breach();
	set_desc(DESC, 0, TABLE, 16, VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_NEXT, 1);
	breach();
	set_desc(DESC, 0, TABLE, 16, VIRTQ_DESC_F_INDIRECT, 0);
	set_desc(TABLE, 0, TABLE, 16, VIRTQ_DESC_F_INDIRECT, 0);
	breach();
	set_desc(TABLE, 0, 0x8000, 1, 0, 0);
	ring.indirect = false;
	breach();
	ring.indirect = true;
	assert_int_equal(virtio_ring_pop(&ring, &chain), 1);
}

static void test_reads_come_first(void **unused)
{
	(void)unused;
	set_desc(DESC, 0, 0x8000, 1, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE, 1);
	set_desc(DESC, 1, 0x8000, 1, 0, 0);
	offer(0);
	breach();
}

static void test_total_below_four_gib(void **unused)
{
	(void)unused;
	/* a guest with much memory: nothing of it is touched */
	mem.region[0].size = GIB(8);
	set_desc(DESC, 0, 0, 0xffffffff, VIRTQ_DESC_F_NEXT, 1);
	set_desc(DESC, 1, 0, 1, 0, 0);
	offer(0);
	breach();
	set_desc(DESC, 0, 0, 0xfffffffe, VIRTQ_DESC_F_NEXT, 1);
	assert_int_equal(virtio_ring_pop(&ring, &chain), 1);
	mem.region[0].size = RAM;
}

static void test_available_index_jumps(void **unused)
{
	(void)unused;
	set_desc(DESC, 0, 0x8000, 1, 0, 0);
	put16(AVAIL + 2, SIZE + 1);
	breach();
	put16(AVAIL + 2, 0xffff);
	breach();
	put16(AVAIL + 2, SIZE);
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(virtio_ring_pop(&ring, &chain), 1);
	put16(AVAIL + 2, SIZE - 1);
	breach();
}

static void test_interrupt_flag(void **unused)
{
	(void)unused;
	enable(0);
	assert_false(virtio_ring_should_signal(&ring));
	virtio_ring_push(&ring, 3, 7);
	assert_true(virtio_ring_should_signal(&ring));
	assert_false(virtio_ring_should_signal(&ring));
	put16(AVAIL, VIRTQ_AVAIL_F_NO_INTERRUPT);
	virtio_ring_push(&ring, 3, 7);
	assert_false(virtio_ring_should_signal(&ring));
}

static void test_interrupt_event(void **unused)
{
	(void)unused;
	put16(AVAIL, VIRTQ_AVAIL_F_NO_INTERRUPT); /* ignored with the event index */
	put16(AVAIL + 4 + 2 * SIZE, 2);
	virtio_ring_push(&ring, 0, 0);
	assert_false(virtio_ring_should_signal(&ring));
	virtio_ring_push(&ring, 0, 0);
	assert_false(virtio_ring_should_signal(&ring));
	virtio_ring_push(&ring, 0, 0);
	assert_true(virtio_ring_should_signal(&ring));
	virtio_ring_push(&ring, 0, 0);
	assert_false(virtio_ring_should_signal(&ring));
	/* several at once, the event among them */
	put16(AVAIL + 4 + 2 * SIZE, 5);
	for (unsigned i = 0; i < 4; i++)
		virtio_ring_push(&ring, 0, 0);
	assert_true(virtio_ring_should_signal(&ring));
	/* across the wrap of the index */
	ring.used_idx = ring.signalled = 0xfffe;
	put16(AVAIL + 4 + 2 * SIZE, 0xffff);
	virtio_ring_push(&ring, 0, 0);
	assert_false(virtio_ring_should_signal(&ring));
	virtio_ring_push(&ring, 0, 0);
	assert_int_equal(ring.used_idx, 0);
	assert_true(virtio_ring_should_signal(&ring));
}

static void test_notification_suppression(void **unused)
{
	(void)unused;
	set_desc(DESC, 0, 0x8000, 1, 0, 0);
	offer(0);
	virtio_ring_notify_off(&ring);
	assert_true(virtio_ring_notify_on(&ring));
	assert_int_equal(virtio_ring_pop(&ring, &chain), 1);
	assert_false(virtio_ring_notify_on(&ring));
	assert_int_equal(get16(USED + 4 + 8 * SIZE), 1);
	assert_int_equal(get16(USED), 0);

	put16(AVAIL + 2, 0);
	enable(0);
	virtio_ring_notify_off(&ring);
	assert_int_equal(get16(USED), VIRTQ_USED_F_NO_NOTIFY);
	assert_false(virtio_ring_notify_on(&ring));
	assert_int_equal(get16(USED), 0);
}

static void test_fuzz(void **unused)
{
	uint64_t x = 88172645463325252;

	(void)unused;
	for (unsigned round = 0; round < 100000; round++) {
		uint8_t *at;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		/* a plausible chain, then one byte of descriptors, table or available ring broken */
		set_desc(DESC, 0, 0x8000, 16, VIRTQ_DESC_F_NEXT, 1);
		set_desc(DESC, 1, TABLE, 64, VIRTQ_DESC_F_INDIRECT, 0);
		for (unsigned i = 0; i < 4; i++)
			set_desc(TABLE, i, 0x9000, 512, (uint16_t)(VIRTQ_DESC_F_WRITE | (i < 3)), (uint16_t)(i + 1));
		at = ram + (x & 1 ? DESC : x & 2 ? TABLE : AVAIL) + (x >> 8) % 64;
		*at = (uint8_t)(x >> 32);
		enable((x >> 40 & 3) << 28);
		if (virtio_ring_pop(&ring, &chain) == 1) {
			uint64_t total = 0;

			assert_true(chain.readable + chain.writable <= VIRTIO_RING_SIZE_MAX);
			for (unsigned i = 0; i < (unsigned)chain.readable + chain.writable; i++) {
				assert_true(chain.segment[i].base >= ram);
				assert_true(chain.segment[i].base + chain.segment[i].len <= ram + RAM);
				total += chain.segment[i].len;
			}
			assert_int_equal(total, chain.readable_bytes + chain.writable_bytes);
			virtio_ring_push(&ring, chain.head, 1);
			virtio_ring_should_signal(&ring);
		}
		*at = 0;
		put16(AVAIL + 2, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_enable_checks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pops_a_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pops_an_indirect_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_longest_indirect_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_indices_wrap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loops, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_indices, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_addresses_and_lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_indirect_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reads_come_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_total_below_four_gib, setup, teardown),
		cmocka_unit_test_setup_teardown(test_available_index_jumps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupt_flag, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupt_event, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notification_suppression, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fuzz, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

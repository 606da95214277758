/* SOURCES: vmm/io/vm_disk.c vmm/io/vm_disk_create.c vmm/io/vm_disk_polling.c drivers/disk/disk.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/vm_disk_fixture.h"

static void test_reads_and_writes(void **state)
{
	(void)state;
	submit(0, BLOCK_READ, 7, memory, 8192);
	assert_int_equal(user[0].done, 0);
	interrupt();
	assert_int_equal(wakes, 1);
	assert_int_equal(user[0].done, 1);
	assert_int_equal(user[0].status, 0);
	assert_memory_equal(memory, c.medium + 7 * 512, 8192);
	memset(memory, 0x5a, 512);
	submit(0, BLOCK_WRITE, BLOCKS - 1, memory, 512);
	interrupt();
	assert_int_equal(user[0].status, 0);
	assert_memory_equal(memory, c.medium + sizeof(c.medium) - 512, 512);
	submit(0, BLOCK_FLUSH, 0, NULL, 0);
	interrupt();
	assert_int_equal(user[0].done, 1);
	assert_int_equal(user[0].status, 0);
	/* Without a write cache there is nothing to flush. */
	disk->write_cache = false;
	c.order_count = 0;
	submit(0, BLOCK_FLUSH, 0, NULL, 0);
	assert_int_equal(user[0].done, 1);
	assert_int_equal(user[0].status, 0);
	assert_int_equal(c.order_count, 0);
}

static void test_wrong_requests(void **state)
{
	const struct { enum block_op op; uint64_t sector; uint32_t bytes; int status; } wrong[] = {
		{ BLOCK_READ, BLOCKS, 512, ERR_RANGE },
		{ BLOCK_READ, BLOCKS - 1, 1024, ERR_RANGE },
		{ BLOCK_READ, UINT64_MAX, 512, ERR_RANGE },
		{ BLOCK_WRITE, UINT64_MAX - 1, 1024, ERR_RANGE },
		{ BLOCK_READ, 0, 513, ERR_INVALID },       /* the segment is longer than the sectors */
		{ BLOCK_READ, 0, 257 * 512, ERR_INVALID }, /* more than the disk takes at once */
		{ (enum block_op)7, 0, 512, ERR_UNSUPPORTED },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		submit(i, wrong[i].op, wrong[i].sector, memory, wrong[i].bytes);
		assert_int_equal(user[i].done, 1);
		assert_int_equal(user[i].status, wrong[i].status);
	}
	d->block.read_only = true;
	submit(0, BLOCK_WRITE, 0, memory, 512);
	assert_int_equal(user[0].status, ERR_INVALID);
	assert_int_equal(c.order_count, 0);
}

static void test_part_of_a_disk(void **state)
{
	const struct disk_config parts[] = { { .disk = "fake:0", .part = 2 }, { .disk = "fake:0", .offset = PART_FIRST * 512, .length = 512 } };
	const struct { struct disk_config config; int err; } refused[] = {
		{ { .disk = "fake:1" }, ERR_NOENT },
		{ { .disk = "fake:0", .part = 3 }, ERR_INVALID },
		{ { .disk = "fake:0", .offset = 1, .length = 512 }, ERR_INVALID },
		{ { .disk = "fake:0", .offset = 512, .length = 513 }, ERR_INVALID },
		{ { .disk = "fake:0", .offset = 512, .length = BLOCKS * 512 }, ERR_INVALID },
		{ { .disk = "fake:0", .offset = BLOCKS * 512, .length = 512 }, ERR_INVALID },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		teardown(NULL);
		assert_int_equal(setup_disk(&parts[i]), 0);
		assert_int_equal(d->block.block_size, 512);
		assert_int_equal(d->block.sectors, i ? 1 : BLOCKS - PART_FIRST);
		submit(0, BLOCK_READ, 0, memory, 512);
		interrupt();
		assert_int_equal(c.order[0], PART_FIRST);
		assert_memory_equal(memory, c.medium + PART_FIRST * 512, 512);
		submit(0, BLOCK_READ, i ? 1 : BLOCKS - PART_FIRST, memory, 512);
		assert_int_equal(user[0].status, ERR_RANGE);
	}
	/* Read-only where either of them says so. */
	for (unsigned i = 0; i < 4; i++) {
		struct disk_config config = parts[0];

		config.read_only = i & 1;
		teardown(NULL);
		assert_int_equal(setup_disk(&config), 0);
		assert_int_equal(d->block.read_only, i & 1);
		disk->read_only = i & 2;
		disk->client_count = 0; /* it is free again */
		assert_int_equal(vm_disk_init(d, vm, 0, &config), 0);
		assert_int_equal(d->block.read_only, i != 0);
	}
	teardown(NULL);
	assert_int_equal(setup_disk(&parts[1]), 0);
	/* It is this VM's already. */
	assert_int_not_equal(vm_disk_init(d, vm, 1, &parts[0]), 0);
	assert_log("belongs to vm test already");
	for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
		teardown(NULL);
		assert_int_equal(setup_disk(&refused[i].config), refused[i].err);
		assert_log("disk0 = \"fake:");
	}
}

/* Memory that the controller cannot reach: piece by piece through the buffer, one request at a time. */
static void test_buffer(void **state)
{
	uint32_t size = 40 * 1024;

	(void)state;
	submit(0, BLOCK_READ, 3, memory + 1, size);
	submit(1, BLOCK_WRITE, 500, memory + 1, 1024);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(user[0].done, 0);
		interrupt();
	}
	assert_int_equal(user[0].done, 1);
	assert_int_equal(user[0].status, 0);
	assert_memory_equal(memory + 1, c.medium + 3 * 512, size);
	interrupt();
	assert_int_equal(user[1].done, 1);
	assert_memory_equal(memory + 1, c.medium + 500 * 512, 1024);
	d->copied = 0;
	/* An error of a piece is the request's. */
	c.stuck = 3 + VM_DISK_BUFFER_PAGES * 8;
	submit(0, BLOCK_READ, 3, memory + 1, size);
	interrupt();
	seconds(3 * (TIMEOUT_S + 2));
	assert_int_equal(user[0].done, 1);
	assert_int_equal(user[0].status, ERR_IO);
	submit(0, BLOCK_READ, 100, memory + 1, 512);
	interrupt();
	assert_int_equal(user[0].status, 0);
	submit(0, BLOCK_READ, 100, memory, 512);
	interrupt();
	vm_disk_print_statistics(d);
	assert_log("vm test: disk0: 3 reads and writes, 2 of them copied, because");
}

/* The buffer's pieces and the segments begin and end at different places. */
static void test_buffer_and_segments(void **state)
{
	static const uint32_t lengths[] = { 1, 511, 16384, 3, 20000, 509, 3 * 512 + 1, 10000, 4 * 512 + 7 };
	struct segment segment[ARRAY_SIZE(lengths)];
	uint32_t bytes = 0, at = 0;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		segment[i] = (struct segment){ .base = memory + 1 + bytes + 64 * i, .len = lengths[i] };
		bytes += lengths[i];
	}
	segment[ARRAY_SIZE(lengths) - 1].len += -bytes % 512;
	bytes += -bytes % 512;
	for (unsigned write = 0; write < 2; write++) {
		struct user *u = &user[0];

		u->done = 0;
		u->request = (struct block_request){ .op = write ? BLOCK_WRITE : BLOCK_READ, .sector = 17, .sectors = bytes / 512,
						     .segments = segment, .segment_count = ARRAY_SIZE(segment), .done = done, .owner = u };
		if (write)
			for (uint32_t i = 0; i < 1 << 17; i++)
				memory[i] = (uint8_t)(i * 31 + i / 256);
		block_submit(&d->block, &u->request);
		block_commit(&d->block);
		for (unsigned i = 0; i < 10 && !u->done; i++)
			interrupt();
		assert_int_equal(u->done, 1);
		assert_int_equal(u->status, 0);
		at = 17 * 512;
		for (unsigned i = 0; i < ARRAY_SIZE(segment); i++) {
			assert_memory_equal(segment[i].base, c.medium + at, segment[i].len);
			at += segment[i].len;
		}
	}
}

/* More requests than tags: all end once, in the order that they came in. */
static void test_tags(void **state)
{
	(void)state;
	for (unsigned i = 0; i < REQUESTS; i++)
		submit(i, BLOCK_READ, i, memory + 512UL * i, 512);
	assert_int_equal(c.order_count, DISK_TAGS);
	for (unsigned i = 0; i < REQUESTS / DISK_TAGS; i++)
		interrupt();
	assert_int_equal(c.order_count, REQUESTS);
	assert_int_equal(c.most, DISK_TAGS);
	for (unsigned i = 0; i < REQUESTS; i++) {
		assert_int_equal(c.order[i], i);
		assert_int_equal(user[i].done, 1);
		assert_int_equal(user[i].status, 0);
	}
	assert_memory_equal(memory, c.medium, 512UL * REQUESTS);
}

/* The first `count` requests have. */
static void expect_failed(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(user[i].done, 1);
		assert_int_equal(user[i].status, ERR_IO);
	}
}

/* One command that never ends: it is tried DISK_TRIES times, with a reset and a line each, then fails; the others do not. */
static void test_time_out(void **state)
{
	(void)state;
	c.stuck = 9;
	c.holds = true;
	submit(0, BLOCK_READ, 9, memory, 512);
	submit(1, BLOCK_READ, 10, memory + 512, 512);
	seconds(TIMEOUT_S - 1);
	assert_int_equal(c.resets, 0);
	seconds(2);
	assert_int_equal(c.resets, 1);
	assert_log("disk fake:0: time-out of a read at block 9, try 1 of 3: reset");
	c.holds = false;
	seconds(2);
	assert_int_equal(user[1].done, 1);
	assert_int_equal(user[1].status, 0);
	assert_int_equal(user[0].done, 0);
	seconds(3 * TIMEOUT_S);
	assert_log("try 2 of 3");
	assert_log("try 3 of 3");
	assert_int_equal(c.resets, DISK_TRIES);
	assert_int_equal(user[0].done, 1);
	assert_int_equal(user[0].status, ERR_IO);
	/* The disk lives on. */
	submit(0, BLOCK_READ, 11, memory, 512);
	interrupt();
	assert_int_equal(user[0].status, 0);
}

/* An interrupt that is lost: the timer finds what has ended. */
static void test_lost_interrupt(void **state)
{
	(void)state;
	submit(0, BLOCK_READ, 1, memory, 512);
	seconds(2);
	assert_int_equal(user[0].done, 1);
	assert_int_equal(user[0].status, 0);
	assert_int_equal(c.resets, 0);
}

/* A disk without an interrupt is looked at 4000 times a second as long as it has something to do; another one once a second. */
/* And again: from then on the disk is looked at often. */
static void test_all_interrupts_are_lost(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		submit(0, BLOCK_READ, 0, memory, 512);
		seconds(2);
		assert_int_equal(user[0].done, 1);
	}
	assert_true(disk->has_no_interrupt);
	assert_log("disk fake:0: requests end without their interrupt: it is polled from now on");
	submit(0, BLOCK_READ, 0, memory, 512);
	fake_advance_to(fake.now + fake.hz / 1000);
	assert_int_equal(user[0].done, 1);
}

static void test_periods(void **state)
{
	uint64_t checked;

	(void)state;
	submit(0, BLOCK_READ, 1, memory, 512);
	assert_int_equal(d->timer.deadline, fake.now + fake.hz);
	fake_advance_to(d->timer.deadline);
	assert_int_equal(user[0].done, 1);
	assert_int_equal(d->timer.deadline, TIME_NEVER);
	checked = fake.now; /* for time-outs too, once a second */
	assert_int_equal(d->timeouts_checked_at, checked);
	disk->has_no_interrupt = true;
	c.holds = true;
	submit(0, BLOCK_READ, 1, memory, 512);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(d->timer.deadline, fake.now + fake.hz / 4000);
		fake_advance_to(d->timer.deadline);
	}
	assert_int_equal(d->timeouts_checked_at, checked);
	assert_int_equal(user[0].done, 0);
	c.holds = false;
	fake_advance_to(d->timer.deadline);
	assert_int_equal(user[0].done, 1);
	assert_int_equal(d->timer.deadline, TIME_NEVER);
	disk->has_no_interrupt = false;
	c.holds = true;
	submit(0, BLOCK_READ, 1, memory, 512);
	fake_advance_to(d->timer.deadline);
	assert_int_equal(d->timer.deadline, fake.now + fake.hz);
}

static void test_reset_fails(void **state)
{
	(void)state;
	c.holds = true;
	c.reset_result = ERR_IO;
	for (unsigned i = 0; i < REQUESTS; i++)
		submit(i, BLOCK_READ, i, memory, 512);
	seconds(TIMEOUT_S + 2);
	assert_log("everything on it fails from now on");
	expect_failed(REQUESTS);
	submit(0, BLOCK_READ, 0, memory, 512);
	assert_int_equal(user[0].status, ERR_IO);
	assert_int_equal(c.resets, 1);
}

/* The VM ends with requests under way: none is when vm_disk_drain returns, and none writes to memory later. */
static void test_drain(void **state)
{
	(void)state;
	c.holds = true;
	for (unsigned i = 0; i < REQUESTS; i++)
		submit(i, BLOCK_READ, i, memory, 512);
	vm_disk_drain(d);
	assert_log("32 requests have not ended within 2 s: aborted");
	expect_failed(REQUESTS);
	assert_int_equal(c.committed, 0);
	assert_int_equal(disk->active, 0);
	c.holds = false;
	submit(0, BLOCK_READ, 0, memory, 512);
	vm_disk_drain(d);
	assert_int_equal(user[0].status, 0);
}

/* The VM ends while the next piece of a copied request waits for a tag: this request fails, too. */
static void test_drain_with_a_piece_that_waits(void **state)
{
	const struct disk_range range = { (uintptr_t)memory, 512 };
	struct disk_job job = { .op = BLOCK_READ, .block = 0, .blocks = 1, .ranges = &range, .count = 1 };
	const struct disk_config upper = { .disk = "fake:0", .part = 2 };
	const char *name = NULL;

	(void)state;
	free(disk->lock);
	assert_int_equal(setup_disk(&upper), 0);
	assert_int_equal(disk_claim(disk, "other", 0, 512, &name), 1);
	submit(0, BLOCK_READ, 0, memory + 1, VM_DISK_BUFFER_PAGES * 4096 + 512);
	reap(disk);
	/* The other VM's command is stuck, and a reset tries it alone: until that has ended, no new command is taken. */
	c.stuck = job.block;
	assert_int_equal(disk_submit(disk, 1, &job), 0);
	disk_commit(disk);
	fake.now += (TIMEOUT_S + 1) * fake.hz;
	disk_poll(disk, true);
	vm_disk_collect(d);
	assert_int_equal(user[0].done, 0);
	assert_true(d->piece_waits);
	drained_by = fake.now + 5 * fake.hz;
	vm_disk_drain(d);
	drained_by = 0;
	expect_failed(1);
	assert_null(d->buffered);
	assert_false(d->piece_waits);
}

/* Until it is polled. */
static void keep_busy(void)
{
	for (unsigned rounds = 0; !d->block.batch_is_due && rounds < 100; rounds++) {
		fake.now += fake.hz / 20000;
		for (unsigned i = 0; i < 8; i++)
			submit(i, BLOCK_READ, i, memory + 512UL * i, 512);
		interrupt();
	}
	assert_true(d->block.batch_is_due);
}

/* A busy disk is polled without interrupts, until it is busy no more. */
static void test_polling(void **state)
{
	(void)state;
	keep_busy();
	assert_true(c.masked);
	assert_int_equal(disk->polling_clients, 1);
	wakes = batches = 0;
	for (unsigned i = 0; i < 100; i++) {
		for (unsigned n = 0; n < 16; n++)
			submit(n, BLOCK_READ, n, memory + 512UL * n, 512);
		fake_advance_to(MAX(d->timer.deadline, fake.now));
		for (unsigned n = 0; n < 16; n++)
			assert_int_equal(user[n].done, 1);
	}
	assert_true(d->block.batch_is_due);
	assert_true(batches >= 100);
	seconds(1);
	assert_false(d->block.batch_is_due);
	assert_false(c.masked);
	assert_int_equal(disk->polling_clients, 0);
	assert_int_equal(d->timer.deadline, TIME_NEVER);
	/* One request now and then is no reason to poll. */
	for (unsigned i = 0; i < 20; i++) {
		submit(0, BLOCK_READ, 0, memory, 512);
		interrupt();
		seconds(1);
	}
	assert_false(d->block.batch_is_due);
	assert_int_equal(c.masks, 2);
}

/* Time-outs while polling, and the end of the VM then. */
static void test_polling_time_out(void **state)
{
	(void)state;
	keep_busy();
	c.holds = true;
	for (unsigned i = 0; i < 8; i++)
		submit(i, BLOCK_READ, 20 + i, memory, 512);
	seconds(TIMEOUT_S + 2);
	assert_int_equal(c.resets, 1);
	vm_disk_drain(d);
	expect_failed(8);
	assert_false(c.masked);
	assert_int_equal(disk->polling_clients, 0);
}

/* Two VMs share a disk and a core. One's command is stuck and tried again alone; the other VM ends meanwhile, with a request that waits. */
static void test_drain_while_retrying(void **state)
{
	const struct disk_config upper = { .disk = "fake:0", .part = 2 };
	const struct disk_range range = { (uintptr_t)memory, 512 };
	const struct disk_job job = { .op = BLOCK_READ, .block = 0, .blocks = 1, .ranges = &range, .count = 1 };
	const char *name = NULL;

	(void)state;
	free(disk->lock);
	assert_int_equal(setup_disk(&upper), 0);
	assert_int_equal(disk_claim(disk, "other", 0, 512, &name), 1);
	c.stuck = 0;
	assert_int_equal(disk_submit(disk, 1, &job), 0);
	disk_commit(disk);
	fake.now += (TIMEOUT_S + 1) * fake.hz;
	disk_poll(disk, true); /* the other VM's timer: a reset, its command is tried alone */
	assert_int_equal(c.resets, 1);
	submit(0, BLOCK_READ, 7, memory, 512);
	assert_int_equal(user[0].done, 0);
	drained_by = fake.now + 5 * fake.hz;
	vm_disk_drain(d);
	drained_by = 0;
	expect_failed(1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_drain_while_retrying, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reads_and_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_part_of_a_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_buffer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_buffer_and_segments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tags, setup, teardown),
		cmocka_unit_test_setup_teardown(test_time_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_interrupts_are_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_periods, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drain_with_a_piece_that_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_polling, setup, teardown),
		cmocka_unit_test_setup_teardown(test_polling_time_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: vmm/io/vm_disk.c vmm/io/vm_disk_create.c vmm/io/vm_disk_polling.c drivers/disk/disk.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "drivers/disk/partitions.h"
#include "drivers/host.h"
#include "mm/page_table.h"
#include "tests/unit/fakes.h"
#include "vmm/interface/core.h"
#include "vmm/io/vm_disk.h"
#include "vmm/vcpu/vcpu.h"
#include "vmm/vm/vm.h"

#define BLOCKS 1024U
#define TIMEOUT_S 10
#define REQUESTS 64U
#define PART_FIRST 512U

/* The disk: commands end when `reap` is called, but those that `stuck` names by their block. */
static struct {
	uint8_t medium[BLOCKS * 512];
	struct { struct disk_range range[VM_DISK_RANGES]; unsigned count; } transfer[DISK_TAGS];
	uint32_t started, committed; /* bits of tags */
	uint64_t stuck;              /* a block whose command never ends */
	bool holds;                  /* no command ends for now */
	int reset_result;
	unsigned resets, masks, most; /* masks: how often interrupts were masked or unmasked */
	bool masked;
	unsigned order_count;
	uint64_t order[256];         /* the blocks of the commands, as they were started */
} c;

static struct vm *vm;
static struct vcpu cpu;
static struct vm_handle handle;
static struct sched_slot slot;
static struct vm_disk *d;
static struct disk *disk;
static unsigned wakes, batches;
static uint8_t *memory; /* the guest's; its physical addresses are the same */

static struct user {
	struct block_request request;
	struct segment segment[2];
	unsigned done;
	int status;
} user[REQUESTS];

/* ---- The disk ---- */

static int open_disk(struct disk *unused) { (void)unused; return 0; }

static int encode(struct disk *of, struct disk_tag *tag, const struct disk_range *ranges, unsigned count)
{
	unsigned n = (unsigned)(tag - of->tag);

	uint64_t bytes = 0;

	for (unsigned i = 0; i < count; i++) {
		bytes += ranges[i].len;
		if (ranges[i].phys % 4 || ranges[i].len % 512)
			return ERR_INVALID;
	}
	assert_int_equal(bytes, tag->blocks * 512UL);
	memcpy(c.transfer[n].range, ranges, count * sizeof(*ranges));
	c.transfer[n].count = count;
	return 0;
}

static void start(struct disk *of, unsigned n)
{
	c.started |= 1U << n;
	c.order[c.order_count++ % ARRAY_SIZE(c.order)] = of->tag[n].block;
	c.most = MAX(c.most, of->active);
}

static void commit(struct disk *of) { (void)of; c.committed |= c.started; }

static void transfer(const struct disk_tag *tag, unsigned n)
{
	uint8_t *at = c.medium + tag->block * 512;

	for (unsigned i = 0; tag->op != BLOCK_FLUSH && i < c.transfer[n].count; i++) {
		const struct disk_range *range = &c.transfer[n].range[i];
		uint8_t *p = (uint8_t *)(uintptr_t)range->phys;

		assert_true(at + range->len <= c.medium + sizeof(c.medium));
		memcpy(tag->op == BLOCK_READ ? p : at, tag->op == BLOCK_READ ? at : p, range->len);
		at += range->len;
	}
}

static void reap(struct disk *of)
{
	for (unsigned n = 0; n < of->tag_count && !c.holds; n++) {
		if (!(c.committed & 1U << n) || of->tag[n].block == c.stuck)
			continue;
		c.started &= ~(1U << n);
		c.committed &= ~(1U << n);
		transfer(&of->tag[n], n);
		assert_true(disk_finished(of, n, 0));
	}
}

static int reset(struct disk *of)
{
	(void)of;
	c.resets++;
	c.started = c.committed = 0;
	return c.reset_result;
}

static void mask_interrupts(struct disk *of, bool on) { (void)of; c.masked = on; c.masks++; }

static const struct disk_ops disk_ops = { .open = open_disk, .encode = encode, .start = start, .commit = commit, .reap = reap,
					  .reset = reset, .mask_interrupts = mask_interrupts };

/* ---- The VM ---- */

int page_table_lookup(const struct page_table *pt, uint64_t va, uint64_t *pa, uint32_t *attrs, unsigned *level)
{
	(void)pt;
	(void)attrs;
	*pa = va;
	*level = 1;
	return 0;
}

/* Memory of the machine lasts for ever. */
void *host_dma_alloc(unsigned count, uint64_t *phys)
{
	static _Alignas(4096) uint8_t arena[2048 * 4096];
	static unsigned used;
	void *pages = arena + used * 4096UL;

	used += count;
	*phys = (uintptr_t)pages;
	return used <= sizeof(arena) / 4096 ? memset(pages, 0, count * 4096UL) : NULL;
}

void *vm_alloc_pages(struct vm *of, unsigned count)
{
	uint64_t phys;

	(void)of;
	return host_dma_alloc(count, &phys);
}
uint64_t vm_phys(const struct vm *of, const void *p) { (void)of; return (uintptr_t)p; }

int partition_find(struct disk *of, unsigned number, uint64_t *first, uint64_t *blocks, const char **why)
{
	(void)of;
	*first = PART_FIRST;
	*blocks = BLOCKS - PART_FIRST;
	*why = "no such partition";
	return number == 2 ? 0 : ERR_NOENT;
}

bool vm_guest_waits(const struct vm *of) { return of->vcpu[0]->state != VCPU_RUNNING; }

void sched_wake(struct sched_slot *s) { assert_ptr_equal(s, &slot); wakes++; }

static uint64_t drained_by; /* 0: does not matter */

void core_pause(void)
{
	if (drained_by && fake.now > drained_by)
		fail_msg("still draining");
	fake.now += fake.hz / 1000;
}

/* ---- Requests ---- */

static void done(struct block_request *request, int status)
{
	struct user *u = request->owner;

	u->done++;
	u->status = status;
}

static void batch_done(void *unused)
{
	(void)unused;
	batches++;
}

static void submit(unsigned n, enum block_op op, uint64_t sector, uint8_t *data, uint32_t bytes)
{
	struct user *u = &user[n];

	u->segment[0] = (struct segment){ .base = data, .len = bytes };
	u->segment[1] = (struct segment){ .base = memory, .len = 512 }; /* not the request's */
	u->request = (struct block_request){ .op = op, .sector = sector, .sectors = bytes / 512, .segments = u->segment,
					     .segment_count = bytes != 0, .done = done, .owner = u,
					     .next = (struct block_request *)(uintptr_t)0x5a5a };
	u->done = 0;
	block_submit(&d->block, &u->request);
	block_commit(&d->block);
}

/* The disk's interrupt, and vCPU 0's look at what it brought. */
static void interrupt(void)
{
	if (disk->active)
		reap(disk);
	vm_disk_collect(d);
}

static void seconds(unsigned n)
{
	fake_advance_to(fake.now + n * fake.hz);
}

static int setup_disk(const struct disk_config *config)
{
	int err;

	fake_reset();
	fake.hz = 1000000;
	disks_forget();
	memset(&c, 0, sizeof(c));
	memset(user, 0, sizeof(user));
	c.stuck = UINT64_MAX;
	wakes = batches = 0;
	fake.now = 100 * fake.hz;
	disk = disk_new();
	strcpy(disk->name, "fake:0");
	disk->ops = &disk_ops;
	disk->controller = &c;
	disk->lock = calloc(1, sizeof(struct spinlock));
	disk->blocks = BLOCKS;
	disk->block_size = 512;
	disk->max_blocks = 256;
	disk->timeout_s = TIMEOUT_S;
	disk->write_cache = true;
	disk_add(disk);
	for (size_t i = 0; i < sizeof(c.medium); i++)
		c.medium[i] = (uint8_t)(i / 512 + i);
	memset(vm, 0, sizeof(*vm));
	strcpy(vm->config.name, "test");
	cpu.state = VCPU_HALTED;
	vm->vcpu[0] = &cpu;
	vm->vcpu_count = 1;
	handle.first = &slot;
	vm->handle = &handle;
	memset(d, 0, sizeof(*d));
	err = vm_disk_init(d, vm, 0, config);
	if (err)
		return err;
	d->block.batch_done = batch_done;
	vm_disk_placed(d);
	return 0;
}

static int setup(void **state)
{
	const struct disk_config config = { .disk = "fake:0" };

	(void)state;
	vm = vm ? vm : calloc(1, sizeof(*vm));
	d = d ? d : calloc(1, sizeof(*d));
	memory = memory ? memory : aligned_alloc(4096, 1 << 20);
	return setup_disk(&config);
}

static int teardown(void **state)
{
	(void)state;
	free(disk->lock);
	return 0;
}

static void assert_log(const char *text)
{
	if (!strstr(fake.log, text))
		fail_msg("no \"%s\" in the log:\n%s", text, fake.log);
}

/* ---- Tests ---- */

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
		submit(0, BLOCK_READ, 0, memory, 512);
		interrupt();
		assert_int_equal(c.order[0], PART_FIRST);
		assert_memory_equal(memory, c.medium + PART_FIRST * 512, 512);
		submit(0, BLOCK_READ, i ? 1 : BLOCKS - PART_FIRST, memory, 512);
		assert_int_equal(user[0].status, ERR_RANGE);
	}
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
static void test_periods(void **state)
{
	(void)state;
	submit(0, BLOCK_READ, 1, memory, 512);
	assert_int_equal(d->timer.deadline, fake.now + fake.hz);
	fake_advance_to(d->timer.deadline);
	assert_int_equal(user[0].done, 1);
	assert_int_equal(d->timer.deadline, TIME_NEVER);
	disk->has_no_interrupt = true;
	c.holds = true;
	submit(0, BLOCK_READ, 1, memory, 512);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(d->timer.deadline, fake.now + fake.hz / 4000);
		fake_advance_to(d->timer.deadline);
	}
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
		cmocka_unit_test_setup_teardown(test_periods, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drain_with_a_piece_that_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_polling, setup, teardown),
		cmocka_unit_test_setup_teardown(test_polling_time_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A VM's disk over a disk that the test controls: commands end when `reap` is called, and the guest's requests are the user's. */
#ifndef TESTS_UNIT_VM_DISK_FIXTURE_H
#define TESTS_UNIT_VM_DISK_FIXTURE_H

#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "drivers/disk/partitions.h"
#include "drivers/host.h"
#include "mm/page_table.h"
#include "tests/unit/fakes.h"
#include "vmm/interface/core.h"
#include "vmm/io/vm_disk.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/vcpu.h"
#include "vmm/vm/arena.h"
#include "vmm/vm/registry.h"
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

static inline int open_disk(struct disk *unused) { (void)unused; return 0; }

static inline int encode(struct disk *of, struct disk_tag *tag, const struct disk_range *ranges, unsigned count)
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

static inline void start(struct disk *of, unsigned n)
{
	c.started |= 1U << n;
	c.order[c.order_count++ % ARRAY_SIZE(c.order)] = of->tag[n].block;
	c.most = MAX(c.most, of->active);
}

static inline void commit(struct disk *of) { (void)of; c.committed |= c.started; }

static inline void transfer(const struct disk_tag *tag, unsigned n)
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

static inline void reap(struct disk *of)
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

static inline int reset(struct disk *of)
{
	(void)of;
	c.resets++;
	c.started = c.committed = 0;
	return c.reset_result;
}

static inline void mask_interrupts(struct disk *of, bool on) { (void)of; c.masked = on; c.masks++; }

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

static inline void done(struct block_request *request, int status)
{
	struct user *u = request->owner;

	u->done++;
	u->status = status;
}

static inline void batch_done(void *unused)
{
	(void)unused;
	batches++;
}

static inline void submit(unsigned n, enum block_op op, uint64_t sector, uint8_t *data, uint32_t bytes)
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
static inline void interrupt(void)
{
	if (disk->active)
		reap(disk);
	vm_disk_collect(d);
}

static inline void seconds(unsigned n)
{
	fake_advance_to(fake.now + n * fake.hz);
}

static inline int setup_disk(const struct disk_config *config)
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
	handle.boot_slot = &slot;
	vm->handle = &handle;
	memset(d, 0, sizeof(*d));
	err = vm_disk_init(d, vm, 0, config);
	if (err)
		return err;
	d->block.batch_done = batch_done;
	vm_disk_placed(d);
	return 0;
}

static inline int setup(void **state)
{
	const struct disk_config config = { .disk = "fake:0" };

	(void)state;
	vm = vm ? vm : calloc(1, sizeof(*vm));
	d = d ? d : calloc(1, sizeof(*d));
	memory = memory ? memory : aligned_alloc(4096, 1 << 20);
	return setup_disk(&config);
}

static inline int teardown(void **state)
{
	(void)state;
	free(disk->lock);
	return 0;
}

static inline void assert_log(const char *text)
{
	if (!strstr(fake.log, text))
		fail_msg("no \"%s\" in the log:\n%s", text, fake.log);
}

#endif

/* SOURCES: drivers/disk/disk.c drivers/pci/pci_host.c tests/unit/disk_machine.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/disk_machine.h"
#include "tests/unit/fakes.h"

/* Time-outs: what disks have in common, over a driver whose disk ends commands when it is told to. Each command is of one block, whose
 * number says how it goes. */
#define BLOCKS 1000U
#define STUCK(n) (900U + (n)) /* blocks that the disk never ends */
#define SECOND 1000000UL      /* in the fakes' ticks */

static struct {
	uint32_t has;          /* the disk's commands */
	uint32_t to_start;
	uint64_t busy_until;   /* it takes `pace` for each, one after the other */
	uint64_t pace;
	unsigned resets, most; /* most: commands that it had at once since the last reset */
	bool mute, broken;     /* it ends nothing; it does not come back from a reset */
} d;

static struct disk *disk;

static int opened(struct disk *of)
{
	(void)of;
	return 0;
}

static int encode(struct disk *of, struct disk_tag *tag, const struct disk_range *ranges, unsigned count)
{
	(void)of, (void)tag, (void)ranges, (void)count;
	return 0;
}

static void start(struct disk *of, unsigned tag)
{
	(void)of;
	assert_false((d.has | d.to_start) & 1U << tag);
	d.to_start |= 1U << tag;
}

static void commit(struct disk *of)
{
	unsigned count;

	(void)of;
	d.has |= d.to_start;
	d.to_start = 0;
	count = (unsigned)__builtin_popcount(d.has);
	if (count > d.most)
		d.most = count;
}

static void reap(struct disk *of)
{
	for (unsigned i = 0; i < of->tag_count && !d.mute; i++) {
		if (!(d.has & 1U << i) || of->tag[i].block >= STUCK(0) || fake.now < d.busy_until)
			continue;
		d.has &= ~(1U << i);
		d.busy_until = d.pace ? fake.now + d.pace : 0;
		assert_true(disk_finished(of, i, 0));
	}
}

static int reset(struct disk *of)
{
	(void)of;
	d.has = d.to_start = d.most = 0;
	d.busy_until = d.pace ? fake.now + d.pace : 0;
	d.resets++;
	return d.broken ? ERR_IO : 0;
}

static const struct disk_ops ops = { .open = opened, .encode = encode, .start = start, .commit = commit, .reap = reap, .reset = reset };

/* Two VMs' parts of it, as clients 0 and 1. */
static int setup(void **state)
{
	static struct spinlock lock;
	const char *other;

	(void)state;
	disk_machine_reset();
	memset(&d, 0, sizeof(d));
	memset(&lock, 0, sizeof(lock));
	disk = disk_new();
	assert_non_null(disk);
	memcpy(disk->name, "fake:0", 7);
	disk->ops = &ops;
	disk->controller = &d;
	disk->lock = &lock;
	disk->blocks = BLOCKS;
	disk->block_size = 512;
	disk->max_blocks = 1;
	disk_add(disk);
	assert_int_equal(disk_claim(disk, "a", 0, 10, &other), 0);
	assert_int_equal(disk_claim(disk, "b", 10, BLOCKS - 10, &other), 1);
	return 0;
}

static int submit(unsigned client, uint64_t block)
{
	static const struct disk_range range = { 0x1000, 512 };
	const struct disk_job job = { .op = BLOCK_WRITE, .block = block, .blocks = 1, .ranges = &range, .count = 1, .owner = (void *)block };
	int err = disk_submit(disk, client, &job);

	disk_commit(disk);
	return err;
}

/* Look at the disk for so many seconds, as clients do. */
static void wait(unsigned seconds)
{
	for (unsigned i = 0; i < 10 * seconds; i++) {
		fake.now += SECOND / 10;
		disk_poll(disk, true);
	}
}

/* How many of a client's commands ended well, and as a mask of blocks from STUCK(0) on which ones failed (bit 31: another). */
static unsigned collect(unsigned client, uint32_t *failed)
{
	unsigned well = 0;
	void *owner;
	int status;

	*failed = 0;
	while (disk_collect(disk, client, &owner, &status)) {
		uint64_t block = (uint64_t)(uintptr_t)owner;

		if (!status)
			well++;
		else
			*failed |= block < STUCK(0) ? 1U << 31 : 1U << (block - STUCK(0));
	}
	return well;
}

/* ---- The tests ---- */

/* Only what is stuck fails, wherever it stands among the others, and the disk works on. */
static void test_one_is_stuck(void **state)
{
	uint32_t failed;

	(void)state;
	for (unsigned at = 0; at < 8; at++) {
		d.mute = true; /* nothing ends before the first time-out */
		d.resets = 0;
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(submit(1, i == at ? STUCK(at) : 100 + i), 0);
		wait(disk->timeout_s - 1);
		assert_int_equal(d.resets, 0);
		wait(2);
		assert_int_equal(d.resets, 1);
		d.mute = false;
		wait(5 * disk->timeout_s);
		assert_int_equal(collect(1, &failed), 7);
		assert_int_equal(failed, 1U << at);
		assert_int_equal(d.resets, DISK_TRIES);
		assert_int_equal(disk->active, 0);
		assert_int_equal(submit(1, 100), 0);
		wait(1);
		assert_int_equal(collect(1, &failed), 1);
	}
	assert_non_null(strstr(fake.log, "disk fake:0: time-out of a write at block 900, try 3 of 3: reset"));
}

/* Several that are stuck, of both clients, take no innocent one with them. */
static void test_several_are_stuck(void **state)
{
	uint32_t failed;

	(void)state;
	d.mute = true;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(submit(1, STUCK(i)), 0);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(submit(0, i), 0);
		assert_int_equal(submit(1, 100 + i), 0);
	}
	wait(disk->timeout_s + 1);
	d.mute = false;
	wait(20 * disk->timeout_s);
	assert_int_equal(collect(0, &failed), 6);
	assert_int_equal(failed, 0);
	assert_int_equal(collect(1, &failed), 6);
	assert_int_equal(failed, 0xf);
}

/* After a reset each is tried by itself, and nothing new comes between; then all is as before. */
static void test_one_by_one(void **state)
{
	uint32_t failed;

	(void)state;
	d.mute = true;
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(submit(1, 100 + i), 0);
	assert_int_equal(d.most, 8);
	wait(disk->timeout_s + 1);
	assert_int_equal(d.resets, 1);
	assert_int_equal(submit(1, 200), ERR_BUSY);
	assert_int_equal(submit(0, 0), ERR_BUSY);
	/* The disk says that it has ended one that it does not have. */
	assert_int_equal(__builtin_popcount(d.has), 1);
	assert_false(disk_finished(disk, (unsigned)__builtin_ctz(~d.has & 0xff), 0));
	d.mute = false;
	wait(1);
	assert_int_equal(collect(1, &failed), 8);
	assert_int_equal(d.most, 1);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(submit(1, 100 + i), 0);
	assert_int_equal(d.most, 8);
	wait(1);
	assert_int_equal(collect(1, &failed), 8);
	assert_int_equal(d.resets, 1);
}

/* A slow disk, with more before it than it can do within one command's time: all is done in the end. */
static void test_slow(void **state)
{
	uint32_t failed;

	(void)state;
	d.pace = disk->timeout_s * SECOND / 2;
	d.busy_until = d.pace;
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(submit(1, 100 + i), 0);
	wait(16 * disk->timeout_s);
	assert_int_equal(collect(1, &failed), 16);
	assert_int_equal(failed, 0);
	assert_int_equal(d.resets, 1);
}

/* A disk that answers nothing any more: all ends after DISK_SILENCE time-outs, not each after its own. What comes later is tried anew. */
static void test_silence(void **state)
{
	uint32_t failed;

	(void)state;
	d.mute = true;
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(submit(1, 100 + i), 0);
	wait(DISK_SILENCE * disk->timeout_s + 1);
	assert_int_equal(d.resets, DISK_SILENCE);
	assert_int_equal(collect(1, &failed), 0);
	assert_int_equal(failed, 1U << 31);
	assert_int_equal(disk->active, 0);
	assert_non_null(strstr(fake.log, "disk fake:0: 6 time-outs in a row"));
	d.mute = false;
	assert_int_equal(submit(1, 100), 0);
	wait(1);
	assert_int_equal(collect(1, &failed), 1);
	assert_int_equal(failed, 0);
}

/* A client that ends takes its own commands away only, in the middle of a recovery too. */
static void test_abort(void **state)
{
	uint32_t failed;

	(void)state;
	for (unsigned recovery = 0; recovery < 2; recovery++) {
		d.mute = true;
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(submit(0, i), 0);
			assert_int_equal(submit(1, 100 + i), 0);
		}
		if (recovery)
			wait(disk->timeout_s + 1);
		disk_abort(disk, 1);
		assert_int_equal(collect(1, &failed), 0);
		assert_int_equal(failed, 1U << 31);
		assert_int_equal(disk->active, 4);
		d.mute = false;
		wait(1);
		assert_int_equal(collect(0, &failed), 4);
		assert_int_equal(failed, 0);
		assert_int_equal(submit(1, 100), 0);
		wait(1);
		assert_int_equal(collect(1, &failed), 1);
	}
}

/* A controller that does not come back: all fails, at once and from then on. */
static void test_broken(void **state)
{
	uint32_t failed;

	(void)state;
	d.mute = d.broken = true;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(submit(1, 100 + i), 0);
	wait(disk->timeout_s + 1);
	assert_int_equal(collect(1, &failed), 0);
	assert_int_equal(failed, 1U << 31);
	assert_int_equal(disk->active, 0);
	assert_int_equal(submit(1, 100), ERR_IO);
	assert_int_equal(d.resets, 1);
}

/* A text that fills its field, or is longer, is cut so that its NUL fits. */
/* A second later the client's timer looks. */
static void watch(bool late)
{
	fake.now += SECOND;
	disk_watch(disk, late);
}

static void interrupt(void)
{
	disk->ops->reap(disk);
}

/* Two commands that ended without their interrupt: the disk is polled from then on, which is said once. */
static void test_interrupts_are_lost(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(disk->has_no_interrupt, i >= 2);
		assert_int_equal(submit(0, 1), 0);
		watch(true);
	}
	assert_non_null(strstr(fake.log, "disk fake:0: requests end without their interrupt: it is polled from now on\n"));
	assert_ptr_equal(strstr(fake.log, "it is polled"), strrchr(fake.log, ':') + 2);
}

/* Interrupts that come, however late the timer looks, and looks that find nothing. */
static void test_interrupts_come(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(submit(0, 1), 0);
		watch(true); /* just before the interrupt */
		assert_int_equal(submit(1, 11), 0);
		interrupt();
		watch(true);
		/* Collected: free again. */
		for (unsigned client = 0; client < 2; client++) {
			void *owner;
			int status;

			assert_true(disk_collect(disk, client, &owner, &status));
		}
	}
	assert_false(disk->has_no_interrupt);
}

/* Looks that are no evidence: those in between, those of clients that poll, those of somebody who does not wait for an interrupt. */
static void test_looks_without_evidence(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(submit(0, 1), 0);
		watch(false);
		assert_int_equal(submit(1, 11), 0);
		fake.now += SECOND;
		disk_poll(disk, true);
	}
	disk->polling_clients = 1;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(submit(0, 1), 0);
		watch(true);
	}
	assert_false(disk->has_no_interrupt);
	disk->polling_clients = 0;
	/* Nothing ends: a command that is stuck is the time-out's. */
	assert_int_equal(submit(1, STUCK(0)), 0);
	for (unsigned i = 0; i < 4; i++)
		watch(true);
	assert_false(disk->has_no_interrupt);
	assert_int_equal(disk->missed, 0);
}

static void test_text(void **state)
{
	char text[8];

	(void)state;
	for (size_t len = 0; len <= 12; len++) {
		memset(text, '#', sizeof(text));
		disk_text(text, 5, "abcdefghijkl", len, false);
		assert_int_equal(strlen(text), MIN(len, 4U));
		assert_memory_equal(text, "abcd", MIN(len, 4U));
		assert_memory_equal(text + 5, "###", 3);
	}
	disk_text(text, 8, "  a \x1f~\x7f  ", 9, false);
	assert_string_equal(text, "a ?~?");
	disk_text(text, 8, "ab\0cd", 5, false);
	assert_string_equal(text, "ab");
	disk_text(text, 8, "badcfe", 6, true);
	assert_string_equal(text, "abcdef");
	disk_text(text, 8, "    ", 4, false);
	assert_string_equal(text, "");
}

/* A client's name that is as long as its field, too. */
static void test_client_name(void **state)
{
	char name[sizeof(disk->client[0].name) + 9];
	const char *other = NULL;

	(void)state;
	for (size_t len = sizeof(disk->client[0].name) - 2; len < sizeof(name); len++) {
		setup(NULL);
		memset(&disk->client, 0, sizeof(disk->client));
		disk->client_count = 0;
		memset(name, 'v', len);
		name[len] = 0;
		assert_int_equal(disk_claim(disk, name, 0, 10, &other), 0);
		assert_int_equal(strlen(disk->client[0].name), MIN(len, sizeof(disk->client[0].name) - 1));
		assert_int_equal(disk_claim(disk, "next", 9, 1, &other), ERR_BUSY);
		assert_ptr_equal(other, disk->client[0].name);
		assert_int_equal(disk_claim(disk, "next", 10, 1, &other), 1);
	}
}

/* So many clients there may be, and no more. */
static void test_clients_max(void **state)
{
	const char *other = NULL;

	(void)state;
	for (unsigned n = disk->client_count; n <= DISK_CLIENTS_MAX; n++) {
		/* b's part is made free again, one block after the other. */
		disk->client[1].blocks = 0;
		assert_int_equal(disk_claim(disk, "c", 10 + n, 1, &other), n < DISK_CLIENTS_MAX ? (int)n : ERR_NOMEM);
		assert_int_equal(disk->share, disk->tag_count / MIN(n + 1, DISK_CLIENTS_MAX));
	}
	assert_int_equal(disk_claim(disk, "c", BLOCKS, 1, &other), ERR_RANGE);
	assert_int_equal(disk_claim(disk, "c", BLOCKS - 1, 2, &other), ERR_RANGE);
	assert_int_equal(disk_claim(disk, "c", 0, 0, &other), ERR_RANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_one_is_stuck, setup),
		cmocka_unit_test_setup(test_several_are_stuck, setup),
		cmocka_unit_test_setup(test_one_by_one, setup),
		cmocka_unit_test_setup(test_slow, setup),
		cmocka_unit_test_setup(test_silence, setup),
		cmocka_unit_test_setup(test_abort, setup),
		cmocka_unit_test_setup(test_broken, setup),
		cmocka_unit_test_setup(test_text, setup),
		cmocka_unit_test_setup(test_interrupts_are_lost, setup),
		cmocka_unit_test_setup(test_interrupts_come, setup),
		cmocka_unit_test_setup(test_looks_without_evidence, setup),
		cmocka_unit_test_setup(test_client_name, setup),
		cmocka_unit_test_setup(test_clients_max, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: drivers/disk/nvme.c drivers/disk/disk.c drivers/pci/pci_host.c tests/unit/disk_machine.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "drivers/disk/nvme.h"
#include "drivers/host.h"
#include "tests/unit/disk_machine.h"
#include "tests/unit/fakes.h"

#define BLOCKS 256U
#define QUEUES 5U

/* A controller with one namespace. */
static struct {
	uint8_t medium[BLOCKS * 512];
	uint32_t cc, csts, aqa;
	uint64_t asq, acq;
	struct {
		uint64_t sq, cq;
		unsigned size, sq_head, cq_head, cq_tail, phase;
	} queue[QUEUES];
	unsigned resets, flushes, reads, writes;
	/* What goes wrong. */
	unsigned fail_next;     /* commands that end with an error */
	unsigned lose_next;     /* commands that never end */
	bool never_ready, wrong_cid;
	unsigned metadata, mdts;
	unsigned mqes;             /* the longest queue, less one; 0: 63 */
	unsigned more_namespaces;  /* besides the first */
	uint32_t granted;          /* the answer to Number of Queues: completion and submission queues, each less one */
	uint16_t last_cid;
} c;

static void complete(unsigned q, const struct nvme_command *command, uint16_t status)
{
	struct nvme_completion done = { .result = q ? 0 : c.granted, .cid = command->cid, .status = (uint16_t)(status << 1 | c.queue[q].phase) };
	struct nvme_completion *cq = disk_machine_dma(c.queue[q].cq, c.queue[q].size * sizeof(done));

	assert_non_null(cq);
	/* The driver has said what it has taken: there is room. */
	assert_int_not_equal((c.queue[q].cq_tail + 1) % c.queue[q].size, c.queue[q].cq_head);
	if (c.wrong_cid && q) {
		done.cid = (uint16_t)(command->cid + 7);
		cq[c.queue[q].cq_tail] = done;
		if (++c.queue[q].cq_tail == c.queue[q].size) {
			c.queue[q].cq_tail = 0;
			c.queue[q].phase ^= 1;
		}
		done = (struct nvme_completion){ .cid = command->cid, .status = (uint16_t)(status << 1 | c.queue[q].phase) };
	}
	cq[c.queue[q].cq_tail] = done;
	if (++c.queue[q].cq_tail == c.queue[q].size) {
		c.queue[q].cq_tail = 0;
		c.queue[q].phase ^= 1;
	}
}

static void identify(const struct nvme_command *command)
{
	uint8_t *page = disk_machine_dma(command->prp1, 4096);
	uint64_t blocks = BLOCKS;
	uint32_t namespaces = 1 + c.more_namespaces, format = 9U << 16 | c.metadata;

	assert_non_null(page);
	memset(page, 0, 4096);
	if (command->cdw10 == NVME_IDENTIFY_CONTROLLER) {
		memcpy(page + NVME_ID_SERIAL, "  SER-1/2            ", 20);
		memcpy(page + NVME_ID_MODEL, "A model\x01of a disk                         ", 40);
		memcpy(page + NVME_ID_NAMESPACES, &namespaces, 4);
		page[NVME_ID_VWC] = 1;
		page[NVME_ID_MDTS] = (uint8_t)c.mdts;
	} else if (command->cdw10 == NVME_IDENTIFY_ACTIVE) {
		for (uint32_t nsid = 1; nsid <= namespaces; nsid++)
			memcpy(page + 4 * (nsid - 1), &nsid, 4);
	} else {
		memcpy(page + NVME_NS_SIZE, &blocks, 8);
		memcpy(page + NVME_NS_FORMATS, &format, 4);
	}
}

static void admin(const struct nvme_command *command)
{
	unsigned q = command->cdw10 & 0xffff;

	switch (command->opcode) {
	case NVME_ADMIN_IDENTIFY:
		identify(command);
		break;
	case NVME_ADMIN_CREATE_CQ:
		assert_in_range(q, 1, QUEUES - 1);
		c.queue[q].cq = command->prp1;
		c.queue[q].cq_tail = c.queue[q].cq_head = 0;
		c.queue[q].phase = 1;
		c.queue[q].size = (command->cdw10 >> 16) + 1;
		break;
	case NVME_ADMIN_CREATE_SQ:
		c.queue[q].sq = command->prp1;
		c.queue[q].size = (command->cdw10 >> 16) + 1;
		c.queue[q].sq_head = 0;
		break;
	default:
		break;
	}
	complete(0, command, 0);
}

/* The pages of a transfer, in order, as section 4.3 has it. */
static void transfer(const struct nvme_command *command)
{
	uint64_t at = command->prp1, block = (uint64_t)command->cdw11 << 32 | command->cdw10;
	uint32_t left = ((command->cdw12 & 0xffff) + 1) * 512;
	uint8_t *medium = c.medium + block * 512;
	const uint64_t *list = NULL;

	assert_true(block * 512 + left <= BLOCKS * 512);
	for (unsigned n = 0; left; n++) {
		uint32_t size = (uint32_t)(4096 - at % 4096);
		uint8_t *memory;

		size = size < left ? size : left;
		memory = disk_machine_dma(at, size);
		assert_non_null(memory);
		if (command->opcode == NVME_READ)
			memcpy(memory, medium, size);
		else
			memcpy(medium, memory, size);
		medium += size;
		left -= size;
		if (!left)
			break;
		if (!n && left <= 4096) {
			at = command->prp2;
		} else {
			if (!list) {
				assert_int_equal(command->prp2 % 8, 0);
				list = disk_machine_dma(command->prp2, 8);
				assert_non_null(list);
			}
			at = *list++;
		}
		assert_int_equal(at % 4096, 0);
	}
}

static void io(unsigned q, const struct nvme_command *command)
{
	c.last_cid = command->cid;
	if (c.lose_next) {
		c.lose_next--;
		return;
	}
	if (c.fail_next) {
		c.fail_next--;
		complete(q, command, 0x281);
		return;
	}
	assert_int_equal(command->nsid, q);
	c.flushes += command->opcode == NVME_FLUSH;
	c.reads += command->opcode == NVME_READ;
	c.writes += command->opcode == NVME_WRITE;
	if (command->opcode != NVME_FLUSH)
		transfer(command);
	complete(q, command, 0);
}

static void doorbell(unsigned q, uint32_t tail)
{
	while (c.queue[q].sq_head != tail) {
		struct nvme_command command;
		const struct nvme_command *sq = disk_machine_dma(c.queue[q].sq, c.queue[q].size * sizeof(command));

		assert_non_null(sq);
		assert_true(tail < c.queue[q].size);
		command = sq[c.queue[q].sq_head];
		c.queue[q].sq_head = (c.queue[q].sq_head + 1) % c.queue[q].size;
		if (q)
			io(q, &command);
		else
			admin(&command);
	}
}

static uint32_t model_read(unsigned offset, unsigned size)
{
	assert_int_equal(size, 4);
	switch (offset) {
	case NVME_CAP:
		return 2U << 24 | (c.mqes ? c.mqes : 63);
	case NVME_CAP + 4:
		return 0;
	case NVME_VS:
		return 0x10400;
	case NVME_CC:
		return c.cc;
	case NVME_CSTS:
		return c.csts;
	default:
		return 0;
	}
}

static void model_write(unsigned offset, unsigned size, uint32_t value)
{
	assert_int_equal(size, 4);
	if (offset >= NVME_DOORBELLS) {
		unsigned n = (offset - NVME_DOORBELLS) / 4;

		assert_true(c.csts & 1);
		if (n % 2 == 0)
			doorbell(n / 2, value);
		else
			c.queue[n / 2].cq_head = value;
		return;
	}
	if (offset == NVME_CC) {
		c.resets += c.cc & 1 && !(value & 1);
		c.cc = value;
		c.csts = value & 1 && !c.never_ready;
		c.queue[0] = (__typeof__(c.queue[0])){ .sq = c.asq, .cq = c.acq, .size = (c.aqa & 0xfff) + 1, .phase = 1 };
	} else if (offset == NVME_AQA) {
		c.aqa = value;
	} else if (offset == NVME_ASQ || offset == NVME_ASQ + 4) {
		disk_machine_half(&c.asq, offset, value);
	} else if (offset == NVME_ACQ || offset == NVME_ACQ + 4) {
		disk_machine_half(&c.acq, offset, value);
	}
}

static int setup(void **state)
{
	(void)state;
	disk_machine_reset();
	memset(&c, 0, sizeof(c));
	disk_machine_medium(c.medium, sizeof(c.medium));
	model.read = model_read;
	model.write = model_write;
	disk_machine_function("\x36\x1b\x10\x00", "\x00\x02\x08\x01");
	model.config[6] = 0x10;
	model.config[0x34] = 0x40;
	model.config[0x40] = 5; /* MSI, 64-bit */
	model.config[0x42] = 0x80;
	disk_machine_bar(0, 0, 0x4000);
	return 0;
}

static struct disk *start(void)
{
	return disk_machine_start(nvme_found);
}

static void test_found(void **state)
{
	struct disk *disk = start();

	(void)state;
	assert_non_null(disk);
	assert_string_equal(disk->model, "A model?of a disk");
	assert_string_equal(disk->serial, "SER-1/2");
	assert_int_equal(disk->blocks, BLOCKS);
	assert_ptr_equal(disk_by_name("serial:SER-1/2"), disk);
	assert_null(disk_by_name("serial:"));
	assert_null(disk_by_name("nvme:0n2"));
	assert_true(model.config[4] & 4); /* bus master */
}

static void test_read_write_flush(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	uint64_t phys;
	uint8_t *memory = host_dma_alloc(8, &phys);

	(void)state;
	assert_int_equal(client, 0);
	/* One, two and many pages; an offset in the first one; pieces that are whole pages. */
	for (unsigned blocks = 1; blocks <= 40; blocks++) {
		const struct disk_range range = { phys + 512 * (blocks % 8), blocks * 512 };

		memset(memory, 0, 8 * 4096);
		assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, blocks, blocks, &range, 1), 0);
		assert_memory_equal(memory + 512 * (blocks % 8), c.medium + blocks * 512, blocks * 512);
	}
	const struct disk_range pieces[] = { { phys + 8192 + 3584, 512 }, { phys, 4096 }, { phys + 4096, 512 } };

	memset(memory, 0x5a, 8 * 4096);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_WRITE, 100, 10, pieces, 3), 0);
	for (unsigned i = 0; i < 10 * 512; i++)
		assert_int_equal(c.medium[100 * 512 + i], 0x5a);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(c.flushes, 1);
}

static void test_memory_that_cannot_be_reached(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	uint64_t phys;
	const struct disk_range odd = { 0, 512 };
	struct disk_range pieces[2];

	(void)state;
	host_dma_alloc(2, &phys);
	pieces[0] = (struct disk_range){ phys, 512 }; /* ends within a page, and is not the last */
	pieces[1] = (struct disk_range){ phys + 4096, 512 };
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 2, pieces, 2), ERR_INVALID);
	pieces[0] = (struct disk_range){ phys + 2, odd.len };
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, pieces, 1), ERR_INVALID);
	assert_int_equal(disk->active, 0);
}

static void test_durable_write_is_flushed(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk), status = 1;
	struct disk_range range = disk_machine_sector();
	struct disk_job job = { .op = BLOCK_WRITE, .durable = true, .block = 5, .blocks = 1, .ranges = &range, .count = 1 };
	void *owner;

	(void)state;
	assert_int_equal(disk_submit(disk, (unsigned)client, &job), 0);
	disk_commit(disk);
	disk_machine_interrupt();
	disk_machine_interrupt();
	assert_true(disk_collect(disk, (unsigned)client, &owner, &status));
	assert_int_equal(status, 0);
	assert_int_equal(c.writes, 1);
	assert_int_equal(c.flushes, 1);
}

static void test_errors_are_reported(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	struct disk_range range = disk_machine_sector();

	(void)state;
	c.fail_next = 1;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), ERR_IO);
	c.fail_next = 1;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_FLUSH, 0, 0, NULL, 0), ERR_IO);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), 0);
	assert_int_equal(c.resets, 0);
}

static void test_lost_command_is_tried_again(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	struct disk_range range = disk_machine_sector();

	(void)state;
	c.lose_next = DISK_TRIES - 1;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), 0);
	assert_int_equal(c.resets, DISK_TRIES - 1);
	assert_non_null(strstr(fake.log, "time-out of a read at block 0"));
	c.lose_next = DISK_TRIES;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_WRITE, 0, 1, &range, 1), ERR_IO);
	assert_int_equal(c.writes, 0);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), 0);
}

static void test_controller_that_does_not_come_back(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	struct disk_range range = disk_machine_sector();

	(void)state;
	c.lose_next = 1;
	c.never_ready = true;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_WRITE, 0, 1, &range, 1), ERR_IO);
	assert_true(disk->dead);
	assert_false(model.config[4] & 4); /* it does no DMA any more */
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), ERR_IO);
}

static void test_completions_that_make_no_sense(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	struct disk_range range = disk_machine_sector();

	(void)state;
	c.wrong_cid = true;
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), 0);
	assert_non_null(strstr(fake.log, "which is not under way"));
}

static void test_abort(void **state)
{
	struct disk *disk = start();
	const char *other = NULL;
	int a = disk_claim(disk, "a", 0, 100, &other), b = disk_claim(disk, "b", 100, 100, &other), status = 1;
	struct disk_range range = disk_machine_sector();
	struct disk_job job = { .op = BLOCK_READ, .blocks = 1, .ranges = &range, .count = 1 };
	void *owner;

	(void)state;
	assert_int_equal(disk_claim(disk, "c", 99, 1, &other), ERR_BUSY);
	assert_string_equal(other, "a");
	assert_int_equal(disk_claim(disk, "c", 199, 100, &other), ERR_RANGE);
	assert_int_equal(disk_claim(disk, "c", 0, 0, &other), ERR_RANGE);
	assert_int_equal(disk_submit(disk, (unsigned)b, &job), 0);
	assert_int_equal(disk_submit(disk, (unsigned)a, &job), 0);
	c.lose_next = 2;
	disk_commit(disk);
	/* The other's is lost once more, and again with each time-out but the last: the abort was no fault of its own. */
	c.lose_next = DISK_TRIES - 1;
	disk_abort(disk, (unsigned)a);
	assert_int_equal(c.resets, 1);
	assert_true(disk_collect(disk, (unsigned)a, &owner, &status));
	assert_int_equal(status, ERR_IO);
	for (unsigned i = 1; i < DISK_TRIES; i++) {
		assert_false(disk_collect(disk, (unsigned)b, &owner, &status));
		fake.now += 60 * time_hz();
		disk_poll(disk, true);
	}
	assert_int_equal(c.resets, DISK_TRIES);
	disk_machine_interrupt();
	assert_true(disk_collect(disk, (unsigned)b, &owner, &status)); /* the other's was begun anew */
	assert_int_equal(status, 0);
	assert_int_equal(disk->active, 0);
}

static void test_all_tags(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	unsigned ended;

	(void)state;
	for (unsigned round = 0; round < 10; round++) {
		assert_int_equal(disk_machine_many(disk, client, 1, &ended), DISK_TAGS);
		assert_int_equal(ended, DISK_TAGS);
	}
}

/* A queue has one entry more than commands under way, and no more entries than the controller can take. */
static void test_short_queues(void **state)
{
	for (unsigned mqes = 1; mqes < 100; mqes += 3) {
		struct disk *disk;
		unsigned ended, count;
		int client;

		setup(state);
		c.mqes = mqes;
		disk = start();
		assert_non_null(disk);
		client = disk_machine_claim(disk);
		assert_int_equal(client, 0);
		assert_in_range(c.queue[1].size, 2, mqes + 1);
		assert_int_equal(disk->tag_count, MIN(mqes, DISK_TAGS));
		count = disk_machine_many(disk, client, 1, &ended);
		assert_int_equal(count, MIN(mqes, DISK_TAGS));
		assert_int_equal(ended, count);
	}
}

/* One who never stops asking leaves the others their share of the commands. */
static void test_clients_share_the_tags(void **state)
{
	struct disk *disk = start();
	const char *other = NULL;
	int a = disk_claim(disk, "a", 0, 100, &other), b = disk_claim(disk, "b", 100, 100, &other), status;
	struct disk_range range = disk_machine_sector();
	struct disk_job job = { .op = BLOCK_READ, .blocks = 1, .ranges = &range, .count = 1 };
	int n;
	void *owner;

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		n = 0;
		while (!disk_submit(disk, (unsigned)a, &job))
			n++;
		assert_int_equal(n, (int)DISK_TAGS / 2);
		n = 0;
		while (!disk_submit(disk, (unsigned)b, &job))
			n++;
		assert_int_equal(n, (int)DISK_TAGS / 2);
		disk_commit(disk);
		disk_machine_interrupt();
		/* What has ended counts until it is collected. */
		assert_int_equal(disk_submit(disk, (unsigned)a, &job), ERR_BUSY);
		while (disk_collect(disk, (unsigned)a, &owner, &status) || disk_collect(disk, (unsigned)b, &owner, &status))
			n--;
		assert_int_equal(n, -(int)(DISK_TAGS / 2));
	}
	/* Not more clients than commands. */
	disk->tag_count = 2;
	assert_int_equal(disk_claim(disk, "c", 200, 10, &other), ERR_NOMEM);
}

/* Each namespace in use takes a pair of queues: of these there are as many as the controller grants of the scarcer kind. */
static void test_namespaces(void **state)
{
	static const struct { uint32_t granted; unsigned usable; } cases[] = {
		{ 0x00000000, 1 }, { 0x00010002, 2 }, { 0x00020001, 2 }, { 0x00000003, 1 }, { 0x00030000, 1 }, { 0x00030003, 4 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct disk_range range;

		setup(state);
		c.more_namespaces = 3;
		c.granted = cases[i].granted;
		assert_non_null(start());
		assert_null(disk_at(4));
		range = disk_machine_sector();
		for (unsigned n = 0; n < 4; n++) {
			struct disk *disk = disk_at(n);
			int client = disk_machine_claim(disk);

			assert_int_equal(client, n < cases[i].usable ? 0 : ERR_NOMEM);
			if (!client)
				assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, n, 1, &range, 1), 0);
		}
	}
}

static void test_refusals(void **state)
{
	(void)state;
	c.metadata = 8;
	assert_null(start());
	assert_non_null(strstr(fake.log, "8 bytes of metadata: not supported"));
	setup(state);
	c.never_ready = true;
	assert_null(start());
	assert_non_null(strstr(fake.log, "does not become ready"));
	assert_false(model.config[4] & 4);
	setup(state);
	disk_machine_bar(0, 0, 0x1000); /* too small for doorbells */
	assert_null(start());
	assert_non_null(strstr(fake.log, "BAR 0 is not"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_found, setup),
		cmocka_unit_test_setup(test_read_write_flush, setup),
		cmocka_unit_test_setup(test_memory_that_cannot_be_reached, setup),
		cmocka_unit_test_setup(test_durable_write_is_flushed, setup),
		cmocka_unit_test_setup(test_errors_are_reported, setup),
		cmocka_unit_test_setup(test_lost_command_is_tried_again, setup),
		cmocka_unit_test_setup(test_controller_that_does_not_come_back, setup),
		cmocka_unit_test_setup(test_completions_that_make_no_sense, setup),
		cmocka_unit_test_setup(test_abort, setup),
		cmocka_unit_test_setup(test_all_tags, setup),
		cmocka_unit_test_setup(test_short_queues, setup),
		cmocka_unit_test_setup(test_clients_share_the_tags, setup),
		cmocka_unit_test_setup(test_namespaces, setup),
		cmocka_unit_test_setup(test_refusals, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

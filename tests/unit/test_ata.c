/* SOURCES: drivers/disk/ata.c drivers/disk/ata_identify.c drivers/disk/disk.c drivers/pci/pci_host.c tests/unit/disk_machine.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "drivers/disk/ata.h"
#include "drivers/host.h"
#include "tests/unit/disk_machine.h"
#include "tests/unit/fakes.h"

#define SECTORS 128U
#define MASTER 0xc000U

/* The first channel of a PIIX with a disk as device 0, which has 48-bit addresses or not. */
static struct {
	uint8_t medium[SECTORS * 512];
	uint8_t reg[8], high[8], status, master_command, master_status, device;
	uint32_t prd;
	unsigned word, resets, flushes, transfers, pieces, fail, lose;
	uint64_t bad; /* a sector that cannot be read; 0: none */
	bool interrupt, hung, two, first_hangs; /* two: a second disk; first_hangs: at each transfer, until a reset */
	uint16_t words[256];
} p;

/* Returns the status at its end. */
static uint8_t transfer(uint8_t command)
{
	bool ext = command == ATA_READ_DMA_EXT || command == ATA_WRITE_DMA_EXT;
	bool read = command == ATA_READ_DMA || command == ATA_READ_DMA_EXT;
	uint64_t block = p.reg[3] | p.reg[4] << 8 | p.reg[5] << 16 | (ext ? (uint32_t)p.high[3] << 24 : (p.reg[6] & 0xfU) << 24);
	uint32_t left = (ext ? p.reg[2] | p.high[2] << 8 : p.reg[2] ? p.reg[2] : 256) * 512U;
	uint8_t *medium = p.medium + block * 512;

	p.transfers++;
	assert_true(block * 512 + left <= sizeof(p.medium));
	assert_int_equal(!!(p.master_command & 8), read);
	for (unsigned i = 0; left; i++) {
		struct {
			uint32_t at;
			uint16_t count, flags;
		} prd;
		uint8_t *memory;

		p.pieces++;
		memcpy(&prd, disk_machine_dma(p.prd + 8 * i, 8), 8);
		memory = disk_machine_dma(prd.at, prd.count ? prd.count : 65536);
		assert_non_null(memory);
		assert_true((prd.at & 0xffff) + (prd.count ? prd.count : 65536U) <= 65536);
		if (read)
			memcpy(memory, medium, prd.count);
		else
			memcpy(medium, memory, prd.count);
		medium += prd.count;
		left -= prd.count;
		assert_int_equal(!!(prd.flags & 0x8000), !left);
	}
	return p.bad && p.bad >= block && p.bad * 512 < (uint64_t)(medium - p.medium) ? 0x51 : 0x50;
}

static void end(uint8_t status)
{
	p.status = status;
	p.master_status |= 4;
	p.interrupt = true;
}

static void dma(void)
{
	if (!p.device && p.first_hangs) {
		p.status = 0xd0;
		return;
	}
	if (p.lose) {
		p.lose--;
		p.status = 0xd0;
		return;
	}
	if (p.fail) {
		p.fail--;
		end(0x51);
		return;
	}
	end(transfer(p.reg[7]));
}

static void command(uint8_t value)
{
	p.reg[7] = value;
	switch (value) {
	case ATA_IDENTIFY:
		p.word = 0;
		p.status = 0x58;
		break;
	case ATA_FLUSH:
	case ATA_FLUSH_EXT:
		p.flushes++;
		end(0x50);
		break;
	default:
		break; /* the bus master begins it */
	}
}

static uint32_t in(uint16_t port, unsigned size)
{
	(void)size;
	if (port == 0x1f0) {
		assert_true(p.word < 256);
		if (p.word == 255)
			p.status = 0x50;
		return p.words[p.word++];
	}
	if (port == 0x1f7 || port == 0x3f6) {
		if (p.device && !p.two)
			return 0;
		if (port == 0x1f7)
			p.interrupt = false;
		return p.hung ? 0x80 : p.status;
	}
	if (port == MASTER + 2)
		return p.master_status;
	return 0xff;
}

static void out(uint16_t port, unsigned size, uint32_t value)
{
	(void)size;
	if (port >= 0x1f2 && port <= 0x1f5) {
		p.high[port - 0x1f0] = p.reg[port - 0x1f0];
		p.reg[port - 0x1f0] = (uint8_t)value;
	} else if (port == 0x1f6) {
		p.reg[6] = (uint8_t)value;
		p.device = value >> 4 & 1;
	} else if (port == 0x1f7 && (!p.device || p.two)) {
		command((uint8_t)value);
	} else if (port == 0x3f6 && value & 4) {
		p.resets++;
		p.status = 0x50;
		p.device = 0;
	} else if (port == MASTER) {
		p.master_command = (uint8_t)value;
		if (value & 1)
			dma();
	} else if (port == MASTER + 2) {
		p.master_status &= (uint8_t)~value;
	} else if (port == MASTER + 4) {
		p.prd = value;
	}
}

static int setup(void **state)
{
	uint32_t bar = MASTER | 1;

	(void)state;
	disk_machine_reset();
	memset(&p, 0, sizeof(p));
	disk_machine_medium(p.medium, sizeof(p.medium));
	p.status = 0x50;
	/* Words 10 to 19 and 27 to 46: serial number and model, the first character of each word in its high byte. */
	for (unsigned i = 0; i < 10; i++)
		p.words[10 + i] = (uint16_t)("ABCDEFGHIJKLMNOPQRST"[2 * i] << 8 | "ABCDEFGHIJKLMNOPQRST"[2 * i + 1]);
	for (unsigned i = 0; i < 20; i++)
		p.words[27 + i] = (uint16_t)("model of forty characters, to the last!!"[2 * i] << 8 |
					     "model of forty characters, to the last!!"[2 * i + 1]);
	p.words[49] = 0x300;
	p.words[60] = SECTORS;
	p.words[83] = 0x4400;
	p.words[85] = 0x20;
	p.words[100] = SECTORS;
	model.in = in;
	model.out = out;
	disk_machine_function("\x86\x80\x10\x70", "\x00\x80\x01\x01");
	disk_machine_bar(4, 0, 16);
	memcpy(model.config + 0x20, &bar, 4);
	return 0;
}

static struct disk *start(void)
{
	return disk_machine_start(ata_found);
}

static void read_write_flush(void)
{
	struct disk *disk = start();
	int client;
	uint64_t phys;
	uint8_t *memory = host_dma_alloc(36, &phys);
	/* One piece crosses a boundary of 64 KiB. */
	uint64_t edge = (phys + 0x10000) & ~0xffffUL;
	const struct disk_range pieces[] = { { edge - 1024, 2048 }, { phys, 512 } }, odd = { phys + 1, 512 }, high = { GIB(4), 512 };

	assert_non_null(disk);
	assert_memory_equal(disk->name, "ata:", 4); /* the number counts controllers, those of earlier tests too */
	assert_string_equal(disk->serial, "ABCDEFGHIJKLMNOPQRST");
	assert_string_equal(disk->model, "model of forty characters, to the last!!");
	assert_null(disk_at(1));
	client = disk_machine_claim(disk);
	assert_int_equal(client, 0);
	assert_false(disk->has_no_interrupt);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 7, 5, pieces, 2), 0);
	assert_memory_equal(memory + (edge - 1024 - phys), p.medium + 7 * 512, 2048);
	assert_memory_equal(memory, p.medium + 11 * 512, 512);
	memset(memory, 0x33, 512);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_WRITE, 100, 1, &pieces[1], 1), 0);
	assert_memory_equal(p.medium + 100 * 512, memory, 512);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(p.flushes, 1);
	assert_null(strstr(fake.log, "not ready for a command"));
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 7, 1, &odd, 1), ERR_INVALID);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 7, 1, &high, 1), ERR_INVALID);
}

static void test_48_bits(void **state)
{
	(void)state;
	read_write_flush();
}

static void test_28_bits(void **state)
{
	(void)state;
	p.words[83] = 0x4000;
	read_write_flush();
}

static void test_faults(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	struct disk_range range = disk_machine_sector();

	(void)state;
	p.fail = 1;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_WRITE, 0, 1, &range, 1), ERR_IO);
	p.lose = DISK_TRIES - 1;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), 0);
	assert_int_equal(p.resets, DISK_TRIES - 1);
	p.lose = DISK_TRIES;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), ERR_IO);
	p.hung = true;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), ERR_IO);
	assert_non_null(strstr(fake.log, "not ready for a command"));
	assert_true(disk->dead);
}

/* More commands than the channel carries out at once. */
static void test_many(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	unsigned ended;

	(void)state;
	assert_int_equal(disk_machine_many(disk, client, DISK_TAGS, &ended), DISK_TAGS);
	assert_int_equal(ended, DISK_TAGS);
}

/* What waits together and lies together goes together; what fails together is tried one by one. */
static void test_joined(void **state)
{
	static const uint64_t blocks[] = { 40, 10, 12, 14, 50, 16, 8 }; /* two blocks each: 40 is first; 10 to 17 and 8 are neighbours */
	struct disk *disk = start();
	int client = disk_machine_claim(disk), status;
	unsigned ended = 0, failed = 0;
	struct disk_range range = { 0, 1024 };
	struct disk_job job = { .op = BLOCK_READ, .blocks = 2, .ranges = &range, .count = 1 };
	uint8_t *memory = host_dma_alloc(2, &range.phys);
	uint64_t phys = range.phys;
	void *owner;

	for (unsigned pass = 0; pass < 2; pass++) {
		memset(memory, 0, 7 * 1024UL);
		p.transfers = p.pieces = ended = failed = 0;
		p.bad = pass ? 15 : 0;
		for (unsigned i = 0; i < 7; i++) {
			range.phys = phys + 1024UL * i;
			job.block = blocks[i];
			job.owner = (void *)&blocks[i];
			assert_int_equal(disk_submit(disk, (unsigned)client, &job), 0);
		}
		disk_commit(disk);
		for (unsigned i = 0; i < 20; i++)
			disk_machine_interrupt();
		while (disk_collect(disk, (unsigned)client, &owner, &status)) {
			unsigned i = (unsigned)((uint64_t *)owner - blocks);

			ended++;
			failed += status != 0;
			assert_int_equal(status, pass && blocks[i] == 14 ? ERR_IO : 0);
			if (!status)
				assert_memory_equal(memory + 1024UL * i, p.medium + blocks[i] * 512, 1024);
		}
		assert_int_equal(ended, 7);
		assert_int_equal(failed, pass);
		/* 40; 10, 12, 14 and 16; 50; 8. With the bad one, those four once more, each by itself. */
		assert_int_equal(p.transfers, pass ? 8 : 4);
		assert_int_equal(p.pieces, pass ? 9 : 5); /* the memory of 10, 12 and 14 is one piece */
	}
	/* A command that gets lost takes nobody with it: after the reset each has its own. */
	p.bad = 0;
	p.lose = 1;
	p.transfers = 0;
	for (unsigned i = 1; i < 4; i++) {
		range.phys = phys + 1024UL * i;
		job.block = blocks[i];
		assert_int_equal(disk_submit(disk, (unsigned)client, &job), 0);
	}
	disk_commit(disk);
	fake.now += 60 * time_hz();
	for (unsigned i = 0; i < 10; i++)
		disk_poll(disk, true);
	for (ended = 0; disk_collect(disk, (unsigned)client, &owner, &status); ended++)
		assert_int_equal(status, 0);
	assert_int_equal(ended, 3);
	assert_int_equal(p.transfers, 3);
	(void)state;
}

static void test_refusals(void **state)
{
	(void)state;
	p.status = 0xff;
	assert_null(start());
	setup(state);
	p.words[49] = 0;
	assert_null(start());
	setup(state);
	model.config[9] = 0;
	assert_null(start());
	assert_non_null(strstr(fake.log, "has no bus master"));
}

/* IRQ 14 and 15 of Intel's chips obey the command register's bit 10, as INTA# does (ata_piix.c: PIIX_FLAG_CHECKINTR). */
static void test_interrupt_not_disabled(void **state)
{
	(void)state;
	assert_non_null(start());
	assert_int_equal(disk_machine_claim(disk_at(0)), 0);
	assert_false(disk_at(0)->has_no_interrupt);
	assert_false(model.config[5] & 4);
}

/* The first disk of a channel hangs; the second one's commands, which only wait for it, are not at fault. */
static void test_neighbour(void **state)
{
	struct disk *first, *second;
	struct disk_range range, other_range;
	struct disk_job job = { .op = BLOCK_READ, .blocks = 1, .count = 1 };
	int a, b, status;
	void *owner;

	(void)state;
	p.two = true;
	first = start();
	second = disk_at(1);
	assert_non_null(second);
	a = disk_machine_claim(first);
	b = disk_machine_claim(second);
	range = disk_machine_sector();
	other_range = disk_machine_sector();
	p.first_hangs = true;
	job.ranges = &range;
	assert_int_equal(disk_submit(first, (unsigned)a, &job), 0);
	disk_commit(first);
	job.ranges = &other_range;
	assert_int_equal(disk_submit(second, (unsigned)b, &job), 0);
	disk_commit(second);
	for (unsigned n = 0; n < 200; n++) {
		disk_machine_interrupt();
		if (disk_collect(second, (unsigned)b, &owner, &status)) {
			assert_int_equal(status, 0);
			return;
		}
		fake.now += fake.hz;
		disk_poll(first, true);
		disk_poll(second, true);
	}
	fail();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_interrupt_not_disabled, setup),
		cmocka_unit_test_setup(test_neighbour, setup),
		cmocka_unit_test_setup(test_48_bits, setup),
		cmocka_unit_test_setup(test_28_bits, setup),
		cmocka_unit_test_setup(test_faults, setup),
		cmocka_unit_test_setup(test_many, setup),
		cmocka_unit_test_setup(test_joined, setup),
		cmocka_unit_test_setup(test_refusals, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: drivers/disk/ahci.c drivers/disk/ata_identify.c drivers/disk/disk.c drivers/pci/pci_host.c tests/unit/disk_machine.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "drivers/disk/ata.h"
#include "drivers/host.h"
#include "tests/unit/disk_machine.h"
#include "tests/unit/fakes.h"

#define SECTORS 128U

/* A controller with a disk at port 1 of two. */
static struct {
	uint8_t medium[SECTORS * 512];
	uint64_t clb, fb;
	uint32_t is, ie, cmd, tfd, sctl, ci, hba_is;
	unsigned resets, flushes, fail, lose;
	uint64_t fail_block;     /* a transfer that begins there fails; 0: none */
	bool dead;               /* the link does not come back */
	bool engine_stuck;
	uint64_t busy_until;     /* after a COMRESET the disk is busy for `recovers` microseconds */
	uint64_t recovers;
	bool cold;               /* the firmware left it alone: decoding off, not spun up, no FIS taken yet */
	uint64_t spun_up_at;
	uint32_t remapped;       /* bits of the remapping's capability: NVMe disks behind the controller */
	bool cache, cache_loses; /* the disk's write cache is on; writes since the last flush */
	uint16_t words[256];
} a;

static void carry_out(unsigned slot)
{
	struct {
		uint16_t flags, prds;
		uint32_t done;
		uint64_t table;
		uint32_t reserved[4];
	} header;
	const uint8_t *table;
	uint64_t block;
	uint8_t command, *medium;

	memcpy(&header, (uint8_t *)disk_machine_dma(a.clb, 1024) + 32 * slot, 32);
	assert_int_equal(header.flags & 0x1f, 5);
	table = disk_machine_dma(header.table, 0x80 + 16UL * header.prds);
	assert_non_null(table);
	assert_int_equal(table[0], 0x27);
	assert_int_equal(table[1], 0x80);
	command = table[2];
	if (a.lose && command != ATA_IDENTIFY) {
		a.lose--;
		return;
	}
	block = table[4] | table[5] << 8 | table[6] << 16 | (uint64_t)table[8] << 24;
	if ((a.fail || (a.fail_block && block == a.fail_block)) && command != ATA_IDENTIFY) {
		a.fail -= a.fail != 0;
		a.tfd = 0x41;
		a.is |= 1U << 30;
		a.cmd = (a.cmd & ~0x1f00U) | slot << 8;
		a.hba_is |= 2;
		return;
	}
	medium = a.medium + block * 512;
	a.flushes += command == ATA_FLUSH_EXT;
	a.cache_loses = command == ATA_FLUSH_EXT ? false : a.cache_loses || (a.cache && command == ATA_WRITE_DMA_EXT);
	for (unsigned i = 0; i < header.prds; i++) {
		uint64_t at;
		uint32_t size, reserved;
		uint8_t *memory;

		memcpy(&at, table + 0x80 + 16 * i, 8);
		memcpy(&reserved, table + 0x80 + 16 * i + 8, 4);
		assert_int_equal(reserved, 0);
		memcpy(&size, table + 0x80 + 16 * i + 12, 4);
		size++;
		memory = disk_machine_dma(at, size);
		assert_non_null(memory);
		if (command == ATA_IDENTIFY) {
			memcpy(memory, a.words, 512);
			break;
		}
		assert_true(medium + size <= a.medium + sizeof(a.medium));
		assert_int_equal(!!(header.flags & 0x40), command == ATA_WRITE_DMA_EXT);
		if (command == ATA_READ_DMA_EXT)
			memcpy(memory, medium, size);
		else
			memcpy(medium, memory, size);
		medium += size;
	}
	a.tfd = 0x50;
	a.ci &= ~(1U << slot);
	a.is |= 1;
	a.hba_is |= 2;
}

static uint32_t model_read(unsigned offset, unsigned size)
{
	(void)size;
	if (!(model.config[4] & 2))
		return UINT32_MAX; /* no memory decoding: nobody answers */
	if (offset >= 0x100 && offset < 0x180)
		return 0; /* port 0: nobody */
	if (a.cold && offset == 0x1a8) /* section 3.3.10: 10 ms from spin-up to the link */
		return a.cmd & 2 && fake.now > a.spun_up_at + 10000 ? 0x123 : 0;
	if (a.cold && offset == 0x1a4) /* section 3.3.9: from the first D2H FIS, which is taken only with FRE on */
		return a.cmd & 0x10 && fake.now > a.spun_up_at + 10000 ? 0x101 : UINT32_MAX;
	if (a.cold && offset == 0x00)
		return 1U << 31 | 1U << 27 | 31U << 8 | 1;
	switch (offset) {
	case 0xa4:
		return a.remapped != 0;
	case 0x800:
		return a.remapped;
	case 0x880:
	case 0x900:
		return 0x010802;
	case 0x980:
		return 0x010601; /* of another kind */
	case 0x00:
		return 1U << 31 | 31U << 8 | 1;
	case 0x08:
		return a.hba_is;
	case 0x0c:
		return 3;
	case 0x190:
		return a.is;
	case 0x198:
		return a.cmd;
	case 0x1a0:
		return fake.now < a.busy_until ? 0x80 : a.tfd;
	case 0x1a4:
		return 0x101;
	case 0x1a8:
		return a.dead ? 0 : 0x123;
	case 0x1ac:
		return a.sctl;
	case 0x1b8:
		return a.ci;
	default:
		return 0;
	}
}

static void model_write(unsigned offset, unsigned size, uint32_t value)
{
	(void)size;
	switch (offset) {
	case 0x08:
		a.hba_is &= ~value;
		break;
	case 0x180:
	case 0x184:
		disk_machine_half(&a.clb, offset, value);
		break;
	case 0x190:
		a.is &= ~value;
		break;
	case 0x194:
		a.ie = value;
		break;
	case 0x198:
		if (value & 2 && !(a.cmd & 2))
			a.spun_up_at = fake.now;
		a.cmd = (value & ~0xc000U) | (value & 1 ? 0x8000 : 0) | (value & 0x10 ? 0x4000 : 0) | (a.cmd & 0x1f00);
		if (a.engine_stuck)
			a.cmd |= 0x8000;
		else if (!(value & 1))
			a.ci = 0;
		break;
	case 0x1ac:
		if (!(a.sctl & 0xf) && value & 0xf) {
			a.resets++;
			a.busy_until = fake.now + a.recovers;
			a.tfd = 0x50;
			a.cache = true; /* ATA8-ACS: the power-on default, where settings are not preserved over COMRESET */
		}
		a.sctl = value;
		break;
	case 0x1b8:
		assert_true(a.cmd & 1);
		a.ci |= value;
		for (unsigned slot = 0; slot < 32 && !(a.is & 1U << 30); slot++)
			if (a.ci & 1U << slot)
				carry_out(slot);
		break;
	default:
		break;
	}
}

static void text(unsigned word, const char *s, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		((uint8_t *)&a.words[word])[i ^ 1] = (uint8_t)(*s ? *s++ : ' ');
}

static int setup(void **state)
{
	(void)state;
	disk_machine_reset();
	memset(&a, 0, sizeof(a));
	disk_machine_medium(a.medium, sizeof(a.medium));
	a.tfd = 0x50;
	a.words[49] = 0x300;
	a.words[83] = 0x4400;
	a.words[85] = 0x20;
	a.words[100] = SECTORS;
	text(10, "   WD-ABC 7", 20);
	text(27, "Model", 40);
	model.read = model_read;
	model.write = model_write;
	disk_machine_function("\x86\x80\x22\x29", "\x02\x01\x06\x01");
	disk_machine_bar(5, 0, 0x1000);
	model.config[4] = 6;
	return 0;
}

static struct disk *start(void)
{
	return disk_machine_start(ahci_found);
}

static void test_read_write_flush(void **state)
{
	struct disk *disk = start();
	int client;
	uint64_t phys;
	uint8_t *memory = host_dma_alloc(4, &phys);
	const struct disk_range pieces[] = { { phys + 2, 510 }, { phys + 4096, 1026 } }, odd = { phys + 1, 512 };

	(void)state;
	assert_non_null(disk);
	assert_string_equal(disk->serial, "WD-ABC 7");
	assert_string_equal(disk->model, "Model");
	client = disk_machine_claim(disk);
	assert_int_equal(client, 0);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 7, 3, pieces, 2), 0);
	assert_memory_equal(memory + 2, a.medium + 7 * 512, 510);
	assert_memory_equal(memory + 4096, a.medium + 7 * 512 + 510, 1026);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 7, 1, &odd, 1), ERR_INVALID);
	memset(memory, 0x22, 3 * 4096);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_WRITE, 20, 3, pieces, 2), 0);
	for (unsigned i = 0; i < 3 * 512; i++)
		assert_int_equal(a.medium[20 * 512 + i], 0x22);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(a.flushes, 1);
}

/* The command at fault fails, those that wait behind it are carried out. */
static void test_error_among_others(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk), status, failed = 0, well = 0;
	struct disk_range range = disk_machine_sector();
	struct disk_job job = { .op = BLOCK_READ, .blocks = 1, .ranges = &range, .count = 1 };
	void *owner;

	(void)state;
	a.fail = 1;
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(disk_submit(disk, (unsigned)client, &job), 0);
	disk_commit(disk);
	disk_machine_interrupt();
	disk_poll(disk, false);
	disk_poll(disk, false);
	while (disk_collect(disk, (unsigned)client, &owner, &status))
		*(status ? &failed : &well) += 1;
	assert_int_equal(failed, 1);
	assert_int_equal(well, 9);
	assert_int_equal(disk->active, 0);
}

static void test_faults(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	struct disk_range range = disk_machine_sector();

	(void)state;
	a.fail = 1;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_WRITE, 0, 1, &range, 1), ERR_IO);
	a.lose = DISK_TRIES - 1;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), 0);
	assert_int_equal(a.resets, DISK_TRIES - 1);
	a.lose = DISK_TRIES;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), ERR_IO);
	assert_false(disk->dead);
	a.lose = 1;
	a.engine_stuck = a.dead = true;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), ERR_IO);
	assert_true(disk->dead);
	assert_false(model.config[4] & 4);
}

/* The link comes back, but the port goes on: it must not write to memory that its commands had. */
static void test_port_that_does_not_stop(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	struct disk_range range = disk_machine_sector();

	(void)state;
	a.lose = 1;
	a.engine_stuck = true;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), ERR_IO);
	assert_true(disk->dead);
	assert_false(model.config[4] & 4);
}

/* A port that stops at an error and does not come to rest is waited for once, and left to the time-out then. */
static void test_error_that_stays(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	struct disk_range range = disk_machine_sector();
	struct disk_job job = { .op = BLOCK_READ, .blocks = 1, .ranges = &range, .count = 1 };
	uint64_t before;

	(void)state;
	a.fail = 1;
	a.engine_stuck = true;
	assert_int_equal(disk_submit(disk, (unsigned)client, &job), 0);
	disk_commit(disk);
	disk_poll(disk, false);
	before = fake.now;
	for (unsigned i = 0; i < 10; i++)
		disk_poll(disk, false);
	assert_true(fake.now - before < fake.hz / 10);
	assert_int_equal(disk->active, 1);
}

/* A durable write has ended and is to be flushed when the command behind it fails: the flush begins anew like all others. */
static void test_error_behind_a_durable_write(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk), status, failed = 0, well = 0;
	struct disk_range range = disk_machine_sector();
	struct disk_job write = { .op = BLOCK_WRITE, .durable = true, .blocks = 1, .ranges = &range, .count = 1 };
	struct disk_job read = { .op = BLOCK_READ, .block = SECTORS - 1, .blocks = 1, .ranges = &range, .count = 1 };
	uint64_t before = fake.now;
	void *owner;

	(void)state;
	assert_int_equal(disk_submit(disk, (unsigned)client, &write), 0);
	assert_int_equal(disk_submit(disk, (unsigned)client, &read), 0);
	a.fail_block = SECTORS - 1;
	disk_commit(disk);
	disk_poll(disk, false);
	disk_poll(disk, false);
	while (disk_collect(disk, (unsigned)client, &owner, &status))
		*(status ? &failed : &well) += 1;
	assert_int_equal(failed, 1);
	assert_int_equal(well, 1);
	assert_int_equal(a.flushes, 1);
	assert_int_equal(disk->active, 0);
	assert_true(fake.now - before < fake.hz); /* nobody has waited for a time-out */
}

static void test_refusals(void **state)
{
	(void)state;
	a.words[49] = 0;
	assert_null(start());
	assert_non_null(strstr(fake.log, "without DMA and LBA"));
	setup(state);
	a.words[106] = 0x5000;
	a.words[117] = 300;
	assert_null(start());
	setup(state);
	a.words[100] = 0;
	assert_null(start());
	setup(state);
	disk_machine_bar(5, 0, 0x180); /* no room for its second port */
	assert_null(start());
	assert_non_null(strstr(fake.log, "BAR 5 is not"));
	setup(state);
	a.tfd = 0x80; /* for ever busy */
	assert_null(start());
	assert_non_null(strstr(fake.log, "does not become ready"));
}

/* UEFI that did not start a driver for the controller: memory decoding is off. Intel's BAR is 2 KiB. */
static void test_decoding_off(void **state)
{
	(void)state;
	model.config[4] = 0;
	disk_machine_bar(5, 0, 0x800);
	assert_non_null(start());
}

/* ... and the port was never started: staggered spin-up, no signature yet. */
static void test_cold_port(void **state)
{
	(void)state;
	a.cold = true;
	assert_non_null(start());
}

/* Intel's RAID mode: another class, the same registers. BAR 4 is of ports there. */
static void test_raid_mode(void **state)
{
	(void)state;
	disk_machine_function("\x86\x80\x22\x28", "\x02\x00\x04\x01");
	model.config[0x20] = 0x61;
	model.config[0x21] = 0xf0;
	assert_non_null(start());
	assert_null(strstr(fake.log, "hidden"));
}

/* VMD has the class of RAID too. Its BAR 4 is of memory with 64 bits, whose upper half is no BAR 5. */
static void test_vmd(void **state)
{
	static const struct pci_function vmd = { .vendor = 0x8086, .device = 0x467f, .class_code = 0x010400 },
					 other = { .vendor = 0x1000, .device = 0x0411, .class_code = 0x010400 };

	(void)state;
	model.config[0x20] = 0x04;
	assert_false(ahci_found(&vmd));
	/* Nor are other makers' RAID controllers AHCI, whatever their BARs are; nor Intel's without BAR 5. */
	model.config[0x20] = 0x61;
	assert_false(ahci_found(&other));
	memset(model.config + 0x24, 0, 4);
	assert_false(ahci_found(&vmd));
	assert_null(disk_at(0));
}

/* Intel's RST hides NVMe disks behind the SATA controller, which works all the same. */
static void test_remapped(void **state)
{
	static const struct { uint32_t cap, size; const char *ids, *said; } cases[] = {
		{ 3, 0x80000, "\x86\x80\x22\x29", "pci 00:00.0: 2 NVMe disk(s) are hidden behind this SATA controller: switch RST/VMD off in the firmware" },
		{ 6, 0x80000, "\x86\x80\x22\x29", "pci 00:00.0: 1 NVMe disk(s) are hidden" }, /* the third is of another kind */
		{ 4, 0x80000, "\x86\x80\x22\x29", NULL },
		{ 0, 0x80000, "\x86\x80\x22\x29", NULL },
		{ 3, 0x1000, "\x86\x80\x22\x29", NULL },
		{ 3, 0x80000, "\x22\x10\x22\x29", NULL },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(state);
		disk_machine_function(cases[i].ids, "\x02\x01\x06\x01");
		disk_machine_bar(5, 0, cases[i].size);
		a.remapped = cases[i].cap;
		assert_non_null(start());
		if (cases[i].said)
			assert_non_null(strstr(fake.log, cases[i].said));
		else
			assert_null(strstr(fake.log, "hidden"));
	}
}

/* ATI's SB600 claims what it does not do right: 64 bits, MSI, 256 sectors. */
static void test_sb600(void **state)
{
	const struct disk_range above = { GIB(4), 512 };
	struct disk *disk;
	int client;

	for (unsigned i = 0; i < 2; i++) {
		setup(state);
		disk_machine_function(i ? "\x02\x10\x80\x43" : "\x02\x10\x90\x43", "\x02\x01\x06\x01");
		a.words[83] = 0; /* without LBA48 a disk takes 256 */
		a.words[60] = SECTORS;
		model.config[6] = 0x10;
		model.config[0x34] = 0x50;
		model.config[0x50] = 5; /* MSI */
		model.config[0x51] = 0;
		disk = start();
		assert_non_null(disk);
		assert_int_equal(disk->max_blocks, i ? 255 : 256);
		assert_int_equal(disk->has_no_interrupt, i);
		client = disk_machine_claim(disk);
		assert_int_equal(disk_submit(disk, (unsigned)client, &(struct disk_job){ .op = BLOCK_READ, .blocks = 1, .ranges = &above, .count = 1 }),
				 i ? ERR_INVALID : 0);
		assert_int_equal(model.config[0x52] & 1, !i);
	}
}

/* Logical sectors larger than 256 words, of 0 words. */
static void test_no_sector_size(void **state)
{
	(void)state;
	a.words[106] = 0x5000;
	a.words[117] = a.words[118] = 0;
	assert_null(start());
}

/* The firmware had the write cache switched off (word 82: there is one; word 85: it is off). A time-out's COMRESET brings it back. */
static void test_write_cache_after_reset(void **state)
{
	struct disk *disk;
	struct disk_range range;
	int client;

	(void)state;
	a.words[82] = 0x20;
	a.words[85] = 0;
	disk = start();
	client = disk_machine_claim(disk);
	range = disk_machine_sector();
	a.lose = 1;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), 0);
	assert_true(a.cache);
	/* vm_disk.c: start() reports BLOCK_FLUSH done at once where !disk->write_cache. */
	assert_int_equal(disk_machine_run(disk, client, BLOCK_WRITE, 0, 1, &range, 1), 0);
	if (disk->write_cache)
		assert_int_equal(disk_machine_run(disk, client, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_false(a.cache_loses);
}

/* A disk that needs 12 s after a reset, as one that spins up again does. */
static void test_slow_after_reset(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	struct disk_range range = disk_machine_sector();

	(void)state;
	a.lose = 1;
	a.recovers = 12 * 1000000;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), 0);
	assert_false(disk->dead);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_read_write_flush, setup),
		cmocka_unit_test_setup(test_error_among_others, setup),
		cmocka_unit_test_setup(test_faults, setup),
		cmocka_unit_test_setup(test_port_that_does_not_stop, setup),
		cmocka_unit_test_setup(test_error_that_stays, setup),
		cmocka_unit_test_setup(test_error_behind_a_durable_write, setup),
		cmocka_unit_test_setup(test_refusals, setup),
		cmocka_unit_test_setup(test_decoding_off, setup),
		cmocka_unit_test_setup(test_cold_port, setup),
		cmocka_unit_test_setup(test_write_cache_after_reset, setup),
		cmocka_unit_test_setup(test_slow_after_reset, setup),
		cmocka_unit_test_setup(test_no_sector_size, setup),
		cmocka_unit_test_setup(test_raid_mode, setup),
		cmocka_unit_test_setup(test_vmd, setup),
		cmocka_unit_test_setup(test_remapped, setup),
		cmocka_unit_test_setup(test_sb600, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

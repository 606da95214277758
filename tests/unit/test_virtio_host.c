/* SOURCES: drivers/disk/virtio_host.c drivers/disk/disk.c drivers/pci/pci_host.c tests/unit/disk_machine.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "drivers/host.h"
#include "tests/unit/disk_machine.h"
#include "tests/unit/fakes.h"

#define SECTORS 128U
#define NOTIFY 0x3000U
#define CONFIG 0x2000U

/* A modern virtio-blk device. */
static struct {
	uint8_t medium[SECTORS * 512];
	uint64_t features, driver;
	uint32_t select;
	uint8_t status;
	uint16_t size, avail_idx, used_idx;
	uint64_t desc, avail, used;
	unsigned resets, requests, flushes;
	uint32_t wrong_id, lose, fail;
	bool empty;          /* no sectors */
	bool stuck;          /* a reset does not end */
	uint16_t notify_off;
} d;

struct chain_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static void push(uint32_t id)
{
	uint8_t *used = disk_machine_dma(d.used, 4 + 8 * d.size);
	uint32_t elem[2] = { id, 0 };

	assert_non_null(used);
	memcpy(used + 4 + 8 * (d.used_idx % d.size), elem, 8);
	d.used_idx++;
	memcpy(used + 2, &d.used_idx, 2);
}

static void carry_out(uint16_t head)
{
	const struct chain_desc *ring = disk_machine_dma(d.desc, 16 * d.size), *table;
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header;
	unsigned n;
	uint8_t *status, *medium;

	assert_true(head < d.size);
	assert_int_equal(ring[head].flags, 4);
	n = ring[head].len / 16;
	table = disk_machine_dma(ring[head].addr, ring[head].len);
	assert_non_null(table);
	assert_int_equal(table[0].len, 16);
	memcpy(&header, disk_machine_dma(table[0].addr, 16), 16);
	assert_int_equal(table[n - 1].len, 1);
	status = disk_machine_dma(table[n - 1].addr, 1);
	d.requests++;
	if (d.lose && header.type != 8) {
		d.lose--;
		return;
	}
	if (d.wrong_id) {
		push(d.wrong_id);
		d.wrong_id = 0;
	}
	*status = d.fail && header.type != 8;
	d.fail -= *status;
	medium = d.medium + header.sector * 512;
	for (unsigned i = 1; i + 1 < n && !*status; i++) {
		uint8_t *memory = disk_machine_dma(table[i].addr, table[i].len);

		assert_non_null(memory);
		assert_int_equal(table[i - 1].next, i);
		if (header.type == 8) {
			memcpy(memory, "a serial number", 16);
			break;
		}
		assert_true(medium + table[i].len <= d.medium + sizeof(d.medium));
		if (header.type == 0)
			memcpy(memory, medium, table[i].len);
		else
			memcpy(medium, memory, table[i].len);
		medium += table[i].len;
	}
	d.flushes += header.type == 4;
	push(head);
}

static uint32_t model_read(unsigned offset, unsigned size)
{
	(void)size;
	switch (offset) {
	case 0x04:
		return (uint32_t)(d.features >> 32 * (d.select & 1));
	case 0x14:
		return d.stuck ? 0x80 : d.status;
	case 0x18:
		return 256;
	case 0x1e:
		return d.notify_off;
	case CONFIG:
		return d.empty ? 0 : SECTORS;
	case CONFIG + 0x14:
		return 512;
	default:
		return 0;
	}
}

static void model_write(unsigned offset, unsigned size, uint32_t value)
{
	(void)size;
	if (offset == NOTIFY + 4U * d.notify_off) {
		const uint16_t *avail = disk_machine_dma(d.avail, 4 + 2 * d.size);

		assert_true(d.status & 4);
		while (d.avail_idx != avail[1])
			carry_out(avail[2 + d.avail_idx++ % d.size]);
	} else if (offset == 0x00 || offset == 0x08) {
		d.select = value;
	} else if (offset == 0x0c) {
		disk_machine_half(&d.driver, d.select * 4, value);
	} else if (offset == 0x14) {
		d.status = (uint8_t)value;
		if (!value) {
			d.resets++;
			d.avail_idx = d.used_idx = 0;
		}
		if (value & 8 && d.driver & ~d.features)
			d.status &= 0xf7;
	} else if (offset == 0x18) {
		d.size = (uint16_t)value;
	} else if (offset >= 0x20 && offset < 0x28) {
		disk_machine_half(&d.desc, offset, value);
	} else if (offset >= 0x28 && offset < 0x30) {
		disk_machine_half(&d.avail, offset, value);
	} else if (offset >= 0x30 && offset < 0x38) {
		disk_machine_half(&d.used, offset, value);
	}
}

static void capability(unsigned at, unsigned next, uint8_t type, uint32_t offset, uint32_t length)
{
	uint8_t *c = model.config + at;

	c[0] = 9;
	c[1] = (uint8_t)next;
	c[2] = 20;
	c[3] = type;
	c[4] = 0;
	memcpy(c + 8, &offset, 4);
	memcpy(c + 12, &length, 4);
}

static int setup(void **state)
{
	uint32_t multiplier = 4;

	(void)state;
	disk_machine_reset();
	memset(&d, 0, sizeof(d));
	disk_machine_medium(d.medium, sizeof(d.medium));
	d.notify_off = 1;
	d.features = BIT(32) | BIT(28) | BIT(9) | BIT(6);
	model.read = model_read;
	model.write = model_write;
	disk_machine_function("\xf4\x1a\x42\x10", "\x01\x00\x00\x01");
	model.config[6] = 0x10;
	model.config[0x34] = 0x40;
	capability(0x40, 0x60, 1, 0, 0x1000);
	capability(0x60, 0x80, 2, NOTIFY, 0x1000);
	memcpy(model.config + 0x60 + 16, &multiplier, 4);
	capability(0x80, 0, 4, CONFIG, 0x1000);
	disk_machine_bar(0, 0, 0x4000);
	return 0;
}

static struct disk *start(void)
{
	return disk_machine_start(virtio_host_found);
}

static void test_read_write_flush(void **state)
{
	struct disk *disk = start();
	int client;
	uint64_t phys;
	uint8_t *memory = host_dma_alloc(4, &phys);
	/* Any lengths, at any place. */
	const struct disk_range pieces[] = { { phys + 1, 511 }, { phys + 4096, 1025 } };

	(void)state;
	assert_non_null(disk);
	assert_string_equal(disk->serial, "a serial number");
	assert_memory_equal(disk->name, "virtio:", 7); /* the number counts controllers, those of earlier tests too */
	assert_ptr_equal(disk_by_name(disk->name), disk);
	assert_true(disk->has_no_interrupt);
	assert_int_equal(disk->blocks, SECTORS);
	assert_int_equal(model.config[4] & 7, 7); /* I/O, memory, bus master */
	assert_int_equal(model.config[5] & 4, 4); /* no INTx, which nobody handles */
	client = disk_machine_claim(disk);
	assert_int_equal(client, 0);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 7, 3, pieces, 2), 0);
	assert_memory_equal(memory + 1, d.medium + 7 * 512, 511);
	assert_memory_equal(memory + 4096, d.medium + 7 * 512 + 511, 1025);
	memset(memory, 0x11, 3 * 4096);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_WRITE, 20, 3, pieces, 2), 0);
	for (unsigned i = 0; i < 3 * 512; i++)
		assert_int_equal(d.medium[20 * 512 + i], 0x11);
	assert_int_equal(disk_machine_run(disk, client, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(d.flushes, 1);
}

/* A disk that cannot be written to says so. */
static void test_read_only(void **state)
{
	struct disk *disk = start();

	assert_false(disk->read_only);
	assert_true(disk->write_cache);
	setup(state);
	d.features |= BIT(5);
	disk = start();
	assert_true(disk->read_only);
	assert_true(d.driver == (BIT(32) | BIT(28) | BIT(9) | BIT(6) | BIT(5)));
	setup(state);
	d.features &= ~BIT(9);
	disk = start();
	assert_false(disk->write_cache);
	/* What the driver does not know it does not take. */
	setup(state);
	d.features |= BIT(2) | BIT(12) | BIT(33) | BIT(34);
	disk = start();
	assert_non_null(disk);
	assert_true(d.driver == (BIT(32) | BIT(28) | BIT(9) | BIT(6) | BIT(2) | BIT(33)));
}

static void test_faults(void **state)
{
	struct disk *disk = start();
	int client = disk_machine_claim(disk);
	struct disk_range range = disk_machine_sector();

	(void)state;
	d.fail = 1;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), ERR_IO);
	for (unsigned i = 0; i < 100; i++) {
		d.wrong_id = i % 2 ? 31 : 0x10000;
		assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), 0);
	}
	assert_non_null(strstr(fake.log, "which is not under way"));
	d.resets = 0;
	d.lose = 1;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), 0);
	assert_int_equal(d.resets, 1);
	d.lose = DISK_TRIES;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), ERR_IO);
	d.lose = 1;
	d.stuck = true;
	assert_int_equal(disk_machine_run(disk, client, BLOCK_READ, 0, 1, &range, 1), ERR_IO);
	assert_true(disk->dead);
	assert_false(model.config[4] & 4);
}

static void test_refusals(void **state)
{
	(void)state;
	d.features &= ~BIT(28);
	assert_null(start());
	assert_non_null(strstr(fake.log, "it lacks indirect descriptors"));
	setup(state);
	model.config[0x63] = 9; /* no place for notices */
	assert_null(start());
	assert_non_null(strstr(fake.log, "not a modern device"));
	setup(state);
	capability(0x80, 0x40, 4, 0x7ffff000, 0x1000); /* outside its BAR, and the list is a loop */
	assert_null(start());
	setup(state);
	d.notify_off = 0x400; /* behind the place for notices */
	assert_null(start());
	assert_non_null(strstr(fake.log, "outside of their place"));
	setup(state);
	d.notify_off = 0x3ff; /* just inside */
	assert_non_null(start());
	setup(state);
	d.empty = true;
	assert_null(start());
	assert_non_null(strstr(fake.log, "0 sectors"));
	assert_false(model.config[4] & 4);
	setup(state);
	d.stuck = true;
	assert_null(start());
	assert_non_null(strstr(fake.log, "does not become ready"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_read_write_flush, setup),
		cmocka_unit_test_setup(test_read_only, setup),
		cmocka_unit_test_setup(test_faults, setup),
		cmocka_unit_test_setup(test_refusals, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

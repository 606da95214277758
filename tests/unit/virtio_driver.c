#include "tests/unit/virtio_driver.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/fakes.h"

struct machine m;

static void slow_submit(struct block_device *device, struct block_request *request)
{
	struct slow_disk *slow = (struct slow_disk *)device;

	if (slow->count == ARRAY_SIZE(slow->held))
		abort();
	slow->held[slow->count++] = request;
}

static const struct block_ops slow_ops = { .submit = slow_submit };

static int forced;

static void (*real_done)(struct block_request *request, int status);

static void pass_on(struct block_request *request, int status)
{
	request->done = real_done;
	request->done(request, forced ? forced : status);
}

void slow_complete(unsigned n, int forced_error)
{
	struct block_request *request = m.slow.held[n];

	memmove(&m.slow.held[n], &m.slow.held[n + 1], (m.slow.count - n - 1) * sizeof(m.slow.held[0]));
	m.slow.count--;
	forced = forced_error;
	real_done = request->done;
	request->done = pass_on;
	block_submit(&m.disk.block, request);
}

void machine_build(unsigned queues, bool slow, bool read_only)
{
	fake_reset();
	memset(&m, 0, sizeof(m));
	m.ram = aligned_alloc(4096, RAM_SIZE);
	m.medium = malloc(DISK_SECTORS * 512);
	memset(m.ram, 0, RAM_SIZE);
	for (unsigned i = 0; i < DISK_SECTORS * 512; i++)
		m.medium[i] = (uint8_t)(i * 7 + i / 512);
	if (guest_memory_add(&m.mem, 0, RAM_SIZE, m.ram) || pci_init(&m.pci, NULL, &m.pio, &m.mmio) ||
	    ram_disk_init(&m.disk, "unit-test-disk", m.medium, DISK_SECTORS * 512, read_only))
		abort();
	m.slow.block = m.disk.block;
	m.slow.block.ops = &slow_ops;
	if (virtio_blk_init(&m.blk, NULL, &m.mem, &m.pci, SLOT,
			    &(struct virtio_blk_parts){ slow ? &m.slow.block : &m.disk.block, queues, m.slots, VIRTIO_BLK_SLOTS }))
		abort();
}

void machine_free(void)
{
	free(m.ram);
	free(m.medium);
}

uint32_t config_read(unsigned reg, unsigned size)
{
	io_space_write(&m.pio, 0xcf8, 4, 0x80000000U | SLOT << 11 | (reg & 0xfc));
	return (uint32_t)io_space_read(&m.pio, 0xcfc + (reg & 3), size);
}

void config_write(unsigned reg, unsigned size, uint32_t value)
{
	io_space_write(&m.pio, 0xcf8, 4, 0x80000000U | SLOT << 11 | (reg & 0xfc));
	io_space_write(&m.pio, 0xcfc + (reg & 3), size, value);
}

uint64_t bar_read(unsigned offset, unsigned size)
{
	return io_space_read(&m.mmio, BAR + offset, size);
}

void bar_write(unsigned offset, unsigned size, uint64_t value)
{
	io_space_write(&m.mmio, BAR + offset, size, value);
}

uint8_t status_read(void)
{
	return (uint8_t)bar_read(COMMON(device_status), 1);
}

void status_write(uint8_t status)
{
	bar_write(COMMON(device_status), 1, status);
}

void features_write(uint64_t features)
{
	for (unsigned i = 0; i < 2; i++) {
		bar_write(COMMON(driver_feature_select), 4, i);
		bar_write(COMMON(driver_feature), 4, (uint32_t)(features >> (32 * i)));
	}
}

static void write64(unsigned offset, uint64_t value)
{
	bar_write(offset, 4, (uint32_t)value);
	bar_write(offset + 4, 4, value >> 32);
}

void queue_place(unsigned queue, uint64_t desc, uint64_t avail, uint64_t used)
{
	bar_write(COMMON(queue_select), 2, queue);
	write64(COMMON(queue_desc), desc);
	write64(COMMON(queue_driver), avail);
	write64(COMMON(queue_device), used);
}

static void enable_msix(void)
{
	for (unsigned i = 0; i < m.blk.virtio.msix.vectors; i++) {
		bar_write(VIRTIO_PCI_MSIX_TABLE + 16 * i, 8, 0xfee00000);
		bar_write(VIRTIO_PCI_MSIX_TABLE + 16 * i + 8, 8, 0x50 + i);
	}
	config_write(MSIX_CAP + 2, 2, 0x8000);
}

void driver_start(uint64_t features, unsigned queue_size, bool msix)
{
	config_write(PCI_BAR0, 4, BAR);
	config_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	status_write(0);
	status_write(VIRTIO_STATUS_ACKNOWLEDGE);
	status_write(VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	features_write(features);
	status_write(VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK);
	if (msix) {
		enable_msix();
		bar_write(COMMON(config_msix_vector), 2, 0);
	}
	m.queue_size = queue_size;
	for (unsigned q = 0; q < m.blk.virtio.queue_count; q++) {
		memset(m.ram + DESC_AT(q), 0, 0x4000);
		queue_place(q, DESC_AT(q), AVAIL_AT(q), USED_AT(q));
		bar_write(COMMON(queue_size), 2, queue_size);
		if (msix)
			bar_write(COMMON(queue_msix_vector), 2, q + 1);
		bar_write(COMMON(queue_enable), 2, 1);
	}
	status_write(VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
}

void set_desc(uint64_t table, unsigned index, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	struct virtq_desc desc = { addr, len, flags, next };

	memcpy(m.ram + table + index * sizeof(desc), &desc, sizeof(desc));
}

void put16(uint64_t at, uint16_t value)
{
	memcpy(m.ram + at, &value, 2);
}

uint16_t get16(uint64_t at)
{
	uint16_t value;

	memcpy(&value, m.ram + at, 2);
	return value;
}

void offer(unsigned queue, uint16_t head)
{
	uint16_t idx = get16(AVAIL_AT(queue) + 2);

	put16(AVAIL_AT(queue) + 4 + 2 * (idx % m.queue_size), head);
	put16(AVAIL_AT(queue) + 2, (uint16_t)(idx + 1));
}

void kick(unsigned queue)
{
	bar_write(VIRTIO_PCI_NOTIFY + VIRTIO_PCI_NOTIFY_MULTIPLIER * queue, 2, queue);
}

uint16_t used_idx(unsigned queue)
{
	return get16(USED_AT(queue) + 2);
}

static uint32_t last_used(unsigned queue, unsigned field)
{
	uint32_t value;

	memcpy(&value, m.ram + USED_AT(queue) + 4 + 8 * ((used_idx(queue) - 1U) % m.queue_size) + field, 4);
	return value;
}

uint32_t last_used_len(unsigned queue)
{
	return last_used(queue, 4);
}

uint32_t last_used_id(unsigned queue)
{
	return last_used(queue, 0);
}

void put_header(uint64_t at, uint32_t type, uint64_t sector)
{
	struct virtio_blk_header header = { .type = type, .sector = sector };

	memcpy(m.ram + at, &header, sizeof(header));
}

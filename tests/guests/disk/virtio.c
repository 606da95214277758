#include "tests/guests/disk/virtio.h"

#include "lib/string.h"
#include "tests/guests/lib/clock.h"
#include "tests/guests/lib/pci.h"

struct disk disk;
struct queue queues[QUEUES];
struct blk_header disk_header;
volatile uint8_t disk_answer;

uint16_t common16(unsigned offset)
{
	return *(volatile uint16_t *)(disk.common + offset);
}

uint32_t common32(unsigned offset)
{
	return *(volatile uint32_t *)(disk.common + offset);
}

uint8_t disk_status(void)
{
	return disk.common[COMMON_STATUS];
}

void set_common8(unsigned offset, uint8_t value)
{
	disk.common[offset] = value;
}

void set_common16(unsigned offset, uint16_t value)
{
	*(volatile uint16_t *)(disk.common + offset) = value;
}

void set_common32(unsigned offset, uint32_t value)
{
	*(volatile uint32_t *)(disk.common + offset) = value;
}

void set_common64(unsigned offset, uint64_t value)
{
	set_common32(offset, (uint32_t)value);
	set_common32(offset + 4, (uint32_t)(value >> 32));
}

static volatile uint8_t *bar(unsigned index, uint32_t offset)
{
	uint64_t base = pci_read32(disk.slot, 0x10 + 4 * index);

	if ((base & 7) == 4)
		base |= (uint64_t)pci_read32(disk.slot, 0x14 + 4 * index) << 32;
	return (volatile uint8_t *)((base & ~0xfULL) + offset);
}

static void look_at_capability(unsigned at)
{
	uint8_t id = pci_read8(disk.slot, at);
	volatile uint8_t *where;

	if (id == 0x11) {
		uint32_t table = pci_read32(disk.slot, at + 4), pending = pci_read32(disk.slot, at + 8);

		disk.msix = at;
		disk.msix_table = (volatile uint32_t *)bar(table & 7, table & ~7U);
		disk.msix_pending = (volatile uint32_t *)bar(pending & 7, pending & ~7U);
	}
	if (id != 9)
		return;
	where = bar(pci_read8(disk.slot, at + 4), pci_read32(disk.slot, at + 8));
	switch (pci_read8(disk.slot, at + 3)) {
	case 1:
		disk.common = where;
		break;
	case 2:
		disk.notify = where;
		disk.notify_multiplier = pci_read32(disk.slot, at + 16);
		break;
	case 3:
		disk.isr = where;
		break;
	case 4:
		disk.config = where;
		break;
	}
}

void disk_find(void)
{
	for (disk.slot = 0; disk.slot < 32; disk.slot++) {
		if (pci_read32(disk.slot, 0) == 0x10421af4)
			break;
	}
	if (disk.slot == 32)
		return;
	pci_write16(disk.slot, PCI_COMMAND, 0x0006); /* memory, bus master */
	for (uint8_t at = pci_read8(disk.slot, PCI_CAPABILITIES), i = 0; at && i < 48; at = pci_read8(disk.slot, at + 1U), i++)
		look_at_capability(at);
	disk.found = disk.common && disk.notify && disk.isr && disk.config;
}

bool disk_reset(void)
{
	set_common8(COMMON_STATUS, 0);
	return WAIT_FOR(disk_status() == 0, 1000);
}

bool disk_negotiate(uint64_t features)
{
	if (!disk_reset())
		return false;
	set_common8(COMMON_STATUS, STATUS_ACKNOWLEDGE);
	set_common8(COMMON_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	set_common32(COMMON_DEVICE_FEATURE_SELECT, 1);
	disk.features = (uint64_t)common32(COMMON_DEVICE_FEATURE) << 32;
	set_common32(COMMON_DEVICE_FEATURE_SELECT, 0);
	disk.features |= common32(COMMON_DEVICE_FEATURE);
	for (unsigned i = 0; i < 2; i++) {
		set_common32(COMMON_DRIVER_FEATURE_SELECT, i);
		set_common32(COMMON_DRIVER_FEATURE, (uint32_t)(features >> 32 * i));
	}
	set_common8(COMMON_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
	return disk_status() & STATUS_FEATURES_OK;
}

void disk_queue(unsigned index, uint16_t vector)
{
	struct queue *queue = &queues[index];

	memset(queue, 0, sizeof(*queue));
	set_common16(COMMON_QUEUE_SELECT, (uint16_t)index);
	set_common16(COMMON_QUEUE_SIZE, QUEUE_ENTRIES);
	set_common16(COMMON_QUEUE_VECTOR, vector);
	set_common64(COMMON_QUEUE_DESC, (uint64_t)queue->desc);
	set_common64(COMMON_QUEUE_DRIVER, (uint64_t)queue->avail);
	set_common64(COMMON_QUEUE_DEVICE, (uint64_t)queue->used);
	set_common16(COMMON_QUEUE_ENABLE, 1);
}

void disk_driver_ok(void)
{
	set_common8(COMMON_STATUS, disk_status() | STATUS_DRIVER_OK);
}

bool disk_open(uint64_t features)
{
	if (!disk_negotiate(features | F_VERSION_1))
		return false;
	disk_queue(0, NO_VECTOR);
	disk_driver_ok();
	return true;
}

void queue_put(unsigned index, uint16_t head)
{
	volatile uint16_t *avail = queues[index].avail;

	avail[2 + avail[1] % QUEUE_ENTRIES] = head;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	avail[1]++;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void queue_notify(unsigned index)
{
	uint16_t offset;

	set_common16(COMMON_QUEUE_SELECT, (uint16_t)index);
	offset = common16(COMMON_QUEUE_NOTIFY_OFF);
	*(volatile uint16_t *)(disk.notify + offset * disk.notify_multiplier) = (uint16_t)index;
}

bool queue_wait(unsigned index)
{
	struct queue *queue = &queues[index];

	if (!WAIT_FOR((uint16_t)(queue->used[0] >> 16) != queue->seen, 1000))
		return false;
	queue->seen++;
	return true;
}

static volatile uint32_t *answer(unsigned index)
{
	return &queues[index].used[1 + 2 * ((uint16_t)(queues[index].seen - 1) % QUEUE_ENTRIES)];
}

uint32_t queue_answer_id(unsigned index)
{
	return answer(index)[0];
}

uint32_t queue_answer_length(unsigned index)
{
	return answer(index)[1];
}

void disk_lay_out(unsigned index, uint32_t type, uint64_t sector, void *data, uint32_t length)
{
	struct desc *desc = queues[index].desc;
	uint16_t status = length ? 2 : 1;

	disk_header = (struct blk_header){ .type = type, .sector = sector };
	disk_answer = BLK_PENDING;
	desc[0] = (struct desc){ (uint64_t)&disk_header, sizeof(disk_header), DESC_NEXT, 1 };
	if (length)
		desc[1] = (struct desc){ (uint64_t)data, length, (uint16_t)(DESC_NEXT | (type == BLK_OUT ? 0 : DESC_WRITE)), 2 };
	desc[status] = (struct desc){ (uint64_t)&disk_answer, 1, DESC_WRITE, 0 };
}

uint8_t disk_request(unsigned index, uint32_t type, uint64_t sector, void *data, uint32_t length)
{
	disk_lay_out(index, type, sector, data, length);
	queue_put(index, 0);
	queue_notify(index);
	return queue_wait(index) ? disk_answer : BLK_PENDING;
}

bool disk_works(void)
{
	static uint8_t sector[512];

	return disk_open(0) && disk_request(0, BLK_IN, 0, sector, sizeof(sector)) == BLK_OK;
}

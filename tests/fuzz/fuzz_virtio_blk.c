/* SOURCES: tests/unit/virtio_driver.c vmm/devices/virtio_pci.c vmm/devices/virtio_ring.c vmm/devices/virtio_blk.c vmm/devices/msix.c vmm/devices/pci.c vmm/io/io_space.c vmm/memory/guest_memory.c drivers/disk/ram_disk.c */
/* TEST: 2500 runs of up to 512 bytes */
/* A virtio disk behind PCI: the input is what the driver does to configuration space, registers and rings, when the backend is done, and
 * how time goes on. */
#include "tests/fuzz/fuzz.h"

#include "tests/unit/fakes.h"
#include "tests/unit/virtio_driver.h"

static const unsigned parts[] = { 0, VIRTIO_PCI_ISR, VIRTIO_PCI_NOTIFY, VIRTIO_PCI_DEVICE, VIRTIO_PCI_MSIX_TABLE, VIRTIO_PCI_MSIX_PBA };

static unsigned take_size(struct input *in)
{
	return 1U << take_below(in, 4);
}

static void registers(struct input *in)
{
	unsigned part = parts[take_below(in, ARRAY_SIZE(parts))], how = (unsigned)take(in, 1), bytes = 1U << (how & 3);
	unsigned offset = part + (how & 4 ? (unsigned)take(in, 1) : (how >> 3) * bytes);

	if (how & 4 && in->left && in->at[0] & 1)
		bar_read(offset, bytes);
	else
		bar_write(offset, bytes, take(in, bytes));
}

static void configuration(struct input *in)
{
	unsigned reg = (unsigned)take(in, 1), bytes = take_size(in);

	bytes = bytes > 4 ? 4 : bytes;
	if (take(in, 1) & 1)
		(void)config_read(reg, bytes);
	else
		config_write(reg, bytes, (uint32_t)take(in, bytes));
}

/* A whole request, right but for what the next writes do to it. */
static void request(struct input *in)
{
	unsigned queue = take_below(in, 2), head = take_below(in, 64), segments = take_below(in, 5), where = (unsigned)take(in, 1);
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, 77 };
	uint32_t type = types[take_below(in, ARRAY_SIZE(types))], bytes = (uint32_t)take_number(in);
	uint64_t table = where & 1 ? DESC_AT(queue) : 0x10000 + (where & 0xf0) * 16;

	put_header(0x20000 + 16 * head, type, take(in, 1));
	set_desc(table, head, 0x20000 + 16 * head, 16, VIRTQ_DESC_F_NEXT, (uint16_t)(head + 1));
	for (unsigned i = 0; i < segments; i++)
		set_desc(table, head + 1 + i, 0x28000 + (take(in, 1) << 9), i + 1 < segments ? 512 : bytes,
			 VIRTQ_DESC_F_NEXT | (type == VIRTIO_BLK_T_OUT ? 0 : VIRTQ_DESC_F_WRITE), (uint16_t)(head + 2 + i));
	set_desc(table, head + 1 + segments, 0x21000 + head, 1, VIRTQ_DESC_F_WRITE, 0);
	if (!(where & 1))
		set_desc(DESC_AT(queue), head, table + 16 * head, 16 * (segments + 2), VIRTQ_DESC_F_INDIRECT, 0);
	offer(queue, (uint16_t)head);
	if (where & 2)
		kick(queue);
}

static void memory(struct input *in)
{
	uint64_t at = take(in, 3) % (RAM_SIZE - 8);
	unsigned bytes = take_size(in);
	uint64_t value = take(in, bytes);

	memcpy(m.ram + at, &value, bytes);
}

static void descriptor(struct input *in)
{
	unsigned queue = take_below(in, 2), index = take_below(in, 128);
	uint64_t at = (uint64_t)take(in, 1) << 10 | (take(in, 1) & 1 ? 1UL << 40 : 0);
	uint32_t len = (uint32_t)take_number(in);
	uint16_t flags = (uint16_t)take(in, 1);

	set_desc(DESC_AT(queue), index, at, len, flags, (uint16_t)take(in, 1));
}

static void step(struct input *in)
{
	unsigned what = (unsigned)take(in, 1);

	switch (what & 15) {
	case 0: case 1:
		registers(in);
		break;
	case 2:
		configuration(in);
		break;
	case 3: case 4: case 5:
		request(in);
		break;
	case 6:
		memory(in);
		break;
	case 7:
		descriptor(in);
		break;
	case 8: case 9:
		offer(what >> 4 & 1, (uint16_t)take(in, 1));
		break;
	case 10:
		kick(what >> 4 & 1);
		break;
	case 11: case 12:
		if (m.slow.count)
			slow_complete(take_below(in, m.slow.count), what & 0x80 ? ERR_IO : 0);
		break;
	case 13:
		fake_advance_to(fake.now + (1ULL << (what >> 4 << 1)));
		break;
	case 14:
		if (what & 0x10)
			driver_start(take(in, 1) & 1 ? ALL_FEATURES : PLAIN_FEATURES, 1U << take_below(in, 9), what & 0x20);
		else
			status_write((uint8_t)take(in, 1));
		break;
	default:
		if (what == 0xff)
			pci_reset(&m.pci);
		else if (what == 0xef)
			virtio_blk_reset(&m.blk);
		break;
	}
	FUZZ_CHECK(!m.blk.virtio.pci.lock.held && !m.pci.lock.held);
	FUZZ_CHECK(m.blk.in_flight <= VIRTIO_BLK_SLOTS);
	FUZZ_CHECK(m.blk.in_flight == m.slow.count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)take(&in, 1);

	machine_build(1 + (how & 1), how & 2, how & 4);
	driver_start(how & 8 ? ALL_FEATURES : PLAIN_FEATURES, 1U << (how >> 5), how & 0x10);
	while (in.left)
		step(&in);
	/* What is under way ends, whatever has become of the device. */
	while (m.slow.count)
		slow_complete(0, 0);
	FUZZ_CHECK(!virtio_blk_in_flight(&m.blk));
	machine_free();
	return 0;
}

/* virtio-blk as a proper driver uses it. */
#include "tests/guests/disk/virtio.h"

#include "lib/string.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/clock.h"
#include "tests/guests/lib/pci.h"
#include "tests/guests/lib/trap.h"

static uint8_t buffer[65536] __attribute__((aligned(4096)));
static uint8_t second[65536] __attribute__((aligned(4096)));

static uint64_t capacity(void)
{
	return *(volatile uint32_t *)disk.config | (uint64_t)*(volatile uint32_t *)(disk.config + 4) << 32;
}

static void fill(uint8_t *data, uint32_t length, uint32_t seed)
{
	for (uint32_t i = 0; i < length; i++)
		data[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
}

TEST(found, "Disk: found on PCI, its structures, class and revision")
{
	disk_find();
	NEED_DISK();
	CHECK(pci_read8(disk.slot, 8) >= 1, "revision %u of a modern device", pci_read8(disk.slot, 8));
	CHECK(pci_read8(disk.slot, 0xb) == 1, "class %x", pci_read8(disk.slot, 0xb));
	CHECK(disk.msix, "no MSI-X capability");
	CHECK(disk_reset(), "status does not become 0 by a reset");
	CHECK(common16(COMMON_NUM_QUEUES) >= 1, "no queue");
}

TEST(features, "Disk: negotiation")
{
	NEED_DISK();
	CHECK(disk_negotiate(F_VERSION_1), "VERSION_1 alone is not accepted");
	CHECK(disk.features & F_VERSION_1, "offered features %llx lack VERSION_1", (unsigned long long)disk.features);
	set_common32(COMMON_DEVICE_FEATURE_SELECT, 2);
	if (under_lamina()) {
		CHECK_EQUAL("features 64 to 95", common32(COMMON_DEVICE_FEATURE), 0);
		CHECK(!disk_negotiate(0), "a driver without VERSION_1 is accepted");
		CHECK(!disk_negotiate(F_VERSION_1 | BIT(60)), "a feature that was not offered is accepted");
	}
	CHECK(disk_negotiate(disk.features & (F_VERSION_1 | F_BLK_FLUSH | F_INDIRECT)), "features that were offered are not accepted");
}

TEST(registers, "Disk: queue registers")
{
	uint16_t size;

	NEED_DISK();
	CHECK(disk_negotiate(F_VERSION_1), "negotiation failed");
	set_common16(COMMON_QUEUE_SELECT, 0);
	size = common16(COMMON_QUEUE_SIZE);
	CHECK(size >= QUEUE_ENTRIES && (size & (size - 1)) == 0, "queue size %u", size);
	set_common64(COMMON_QUEUE_DESC, 0x123456789000);
	CHECK_EQUAL("descriptor area, low", common32(COMMON_QUEUE_DESC), 0x56789000);
	CHECK_EQUAL("descriptor area, high", common32(COMMON_QUEUE_DESC + 4), 0x1234);
	set_common16(COMMON_QUEUE_SELECT, 999);
	CHECK_EQUAL("size of queue 999", common16(COMMON_QUEUE_SIZE), 0);
	set_common16(COMMON_QUEUE_ENABLE, 1);
	*(volatile uint16_t *)disk.notify = 0; /* not enabled: no harm */
	CHECK(!(disk_status() & STATUS_NEEDS_RESET), "a queue that is not there breaks the device");
	CHECK_EQUAL("status", disk_status(), STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
}

TEST(config, "Disk: configuration in all widths")
{
	uint64_t sectors;

	NEED_DISK();
	sectors = capacity();
	CHECK(sectors >= 256, "%llu sectors are too few for these tests", (unsigned long long)sectors);
	for (unsigned i = 0; i < 8; i++)
		CHECK_EQUAL("a byte of the capacity", disk.config[i], sectors >> 8 * i & 0xff);
	CHECK_EQUAL("16 bits of the capacity", *(volatile uint16_t *)disk.config, sectors & 0xffff);
	if (disk.features & BIT(6))
		CHECK_EQUAL("block size", *(volatile uint32_t *)(disk.config + 20) & 511, 0);
}

TEST(read_write, "Disk: what was written is read back")
{
	NEED_DISK();
	CHECK(disk_open(0), "the device does not open");
	fill(buffer, sizeof(buffer), 1);
	CHECK_EQUAL("status of a write of 64 KiB", disk_request(0, BLK_OUT, 8, buffer, sizeof(buffer)), BLK_OK);
	CHECK(queue_answer_length(0) <= 1, "a write reports %u bytes written into buffers", queue_answer_length(0));
	memset(second, 0, sizeof(second));
	CHECK_EQUAL("status of a read of 64 KiB", disk_request(0, BLK_IN, 8, second, sizeof(second)), BLK_OK);
	CHECK_EQUAL("length of the answer", queue_answer_length(0), sizeof(second) + 1);
	CHECK(memcmp(buffer, second, sizeof(buffer)) == 0, "the data differ");
	CHECK_EQUAL("status of a read of the third sector", disk_request(0, BLK_IN, 10, second, 512), BLK_OK);
	CHECK(memcmp(buffer + 1024, second, 512) == 0, "the third sector differs");
	CHECK_EQUAL("status of a read of the last sector", disk_request(0, BLK_IN, capacity() - 1, second, 512), BLK_OK);
}

TEST(scattered, "Disk: a request in many pieces, header and data in odd places")
{
	struct desc *desc = queues[0].desc;
	static uint8_t header[64];
	struct blk_header value = { .type = BLK_IN, .sector = 8 };
	uint32_t at = 0;

	NEED_DISK();
	CHECK(disk_open(0), "the device does not open");
	fill(buffer, 4096, 2);
	CHECK_EQUAL("status of the write", disk_request(0, BLK_OUT, 8, buffer, 4096), BLK_OK);
	/* The header in three pieces, the data in pieces of odd lengths at odd places, the status at the end of a piece of data. */
	memcpy(header + 1, &value, 5);
	memcpy(header + 11, (uint8_t *)&value + 5, 1);
	memcpy(header + 33, (uint8_t *)&value + 6, 10);
	desc[0] = (struct desc){ (uint64_t)header + 1, 5, DESC_NEXT, 5 };
	desc[5] = (struct desc){ (uint64_t)header + 11, 1, DESC_NEXT, 4 };
	desc[4] = (struct desc){ (uint64_t)header + 33, 10, DESC_NEXT, 6 };
	memset(second, 0, 4100);
	for (uint16_t i = 6; i < 12; i++) {
		uint32_t length = i == 11 ? 4096 - at : 101U * i + 1;

		desc[i] = (struct desc){ (uint64_t)second + 1 + at, length, DESC_NEXT | DESC_WRITE, (uint16_t)(i + 1) };
		at += length;
	}
	disk_answer = BLK_PENDING;
	desc[12] = (struct desc){ (uint64_t)&disk_answer, 1, DESC_WRITE, 0 };
	queue_put(0, 0);
	queue_notify(0);
	CHECK(queue_wait(0), "no answer");
	CHECK_EQUAL("status", disk_answer, BLK_OK);
	CHECK(memcmp(buffer, second + 1, 4096) == 0, "the data differ");
	CHECK(second[0] == 0 && second[4097] == 0, "bytes around the buffer changed");
}

TEST(bad_requests, "Disk: requests that it refuses, one by one")
{
	NEED_DISK();
	CHECK(disk_open(0), "the device does not open");
	CHECK_EQUAL("a read past the end", disk_request(0, BLK_IN, capacity(), buffer, 512), BLK_IOERR);
	CHECK_EQUAL("a read across the end", disk_request(0, BLK_IN, capacity() - 1, buffer, 1024), BLK_IOERR);
	CHECK_EQUAL("a write past the end", disk_request(0, BLK_OUT, capacity(), buffer, 512), BLK_IOERR);
	CHECK_EQUAL("sector 2^64 - 1", disk_request(0, BLK_IN, ~0ULL, buffer, 512), BLK_IOERR);
	CHECK_EQUAL("sector 2^55", disk_request(0, BLK_OUT, 1ULL << 55, buffer, 512), BLK_IOERR);
	CHECK_EQUAL("half a sector", disk_request(0, BLK_IN, 0, buffer, 256), BLK_IOERR);
	CHECK_EQUAL("an unknown type", disk_request(0, 0xdeadbeee, 0, buffer, 512), BLK_UNSUPP);
	if (!(disk.features & BIT(13)))
		CHECK_EQUAL("discard, which was not offered", disk_request(0, BLK_DISCARD, 0, buffer, 16), BLK_UNSUPP);
	CHECK(!(disk_status() & STATUS_NEEDS_RESET), "the device asks for a reset");
	CHECK_EQUAL("a read afterwards", disk_request(0, BLK_IN, 0, buffer, 512), BLK_OK);
}

TEST(flush_and_id, "Disk: FLUSH and GET_ID")
{
	NEED_DISK();
	CHECK(disk_negotiate(F_VERSION_1 | (disk.features & F_BLK_FLUSH)), "negotiation failed");
	disk_queue(0, NO_VECTOR);
	disk_driver_ok();
	if (disk.features & F_BLK_FLUSH)
		CHECK_EQUAL("FLUSH", disk_request(0, BLK_FLUSH, 0, NULL, 0), BLK_OK);
	memset(buffer, 0xff, 64);
	CHECK_EQUAL("GET_ID", disk_request(0, BLK_GET_ID, 0, buffer, 20), BLK_OK);
	CHECK_EQUAL("the byte behind the ID's buffer", buffer[20], 0xff);
	for (unsigned i = 0; i < 20 && buffer[i]; i++)
		CHECK(buffer[i] >= 0x20 && buffer[i] < 0x7f, "character %u of the ID is %x", i, buffer[i]);
}

TEST(wrap, "Disk: a thousand requests, the ring wraps")
{
	NEED_DISK();
	CHECK(disk_open(0), "the device does not open");
	for (unsigned i = 0; i < 1000; i++) {
		CHECK(disk_request(0, BLK_IN, i % 64, buffer, 512) == BLK_OK, "request %u failed with %x", i, disk_answer);
		CHECK_EQUAL("the head that came back", queue_answer_id(0), 0);
	}
}

TEST(batch, "Disk: several requests by one notification")
{
	static struct blk_header headers[5];
	static volatile uint8_t answers[5];
	unsigned seen = 0;

	NEED_DISK();
	CHECK(disk_open(0), "the device does not open");
	for (uint16_t i = 0; i < 5; i++) {
		struct desc *desc = &queues[0].desc[3 * i];

		headers[i] = (struct blk_header){ .type = BLK_IN, .sector = i };
		answers[i] = BLK_PENDING;
		desc[0] = (struct desc){ (uint64_t)&headers[i], 16, DESC_NEXT, (uint16_t)(3 * i + 1) };
		desc[1] = (struct desc){ (uint64_t)buffer + 512U * i, 512, DESC_NEXT | DESC_WRITE, (uint16_t)(3 * i + 2) };
		desc[2] = (struct desc){ (uint64_t)&answers[i], 1, DESC_WRITE, 0 };
		queue_put(0, (uint16_t)(3 * i));
	}
	queue_notify(0);
	for (unsigned i = 0; i < 5; i++) {
		CHECK(queue_wait(0), "%u answers instead of 5", i);
		seen |= 1U << queue_answer_id(0) / 3;
	}
	CHECK_EQUAL("heads that came back", seen, 0x1f);
	for (unsigned i = 0; i < 5; i++)
		CHECK_EQUAL("status", answers[i], BLK_OK);
}

TEST(indirect, "Disk: an indirect table")
{
	static struct desc table[20];
	struct desc *desc = queues[0].desc;

	NEED_DISK();
	if (!(disk.features & F_INDIRECT))
		SKIP("not offered");
	CHECK(disk_open(F_INDIRECT), "the device does not open");
	fill(buffer, 8192, 3);
	disk_lay_out(0, BLK_OUT, 16, buffer, 8192);
	table[0] = (struct desc){ (uint64_t)&disk_header, 16, DESC_NEXT, 1 };
	for (uint16_t i = 1; i <= 16; i++)
		table[i] = (struct desc){ (uint64_t)buffer + 512U * (i - 1U), 512, DESC_NEXT, (uint16_t)(i + 1) };
	table[17] = (struct desc){ (uint64_t)&disk_answer, 1, DESC_WRITE, 0 };
	desc[7] = (struct desc){ (uint64_t)table, 18 * 16, DESC_INDIRECT, 0 };
	queue_put(0, 7);
	queue_notify(0);
	CHECK(queue_wait(0), "no answer");
	CHECK_EQUAL("status", disk_answer, BLK_OK);
	CHECK_EQUAL("the head that came back", queue_answer_id(0), 7);
	CHECK_EQUAL("reading back", disk_request(0, BLK_IN, 16, second, 8192), BLK_OK);
	CHECK(memcmp(buffer, second, 8192) == 0, "the data differ");
}

/* ---- Interrupts ---- */

static volatile unsigned interrupts[4];
static volatile unsigned isr_bits;

static void on_msix(struct trap_frame *frame)
{
	interrupts[frame->vector & 3]++;
	apic_eoi();
}

static void on_intx(struct trap_frame *frame)
{
	(void)frame;
	interrupts[0]++;
	isr_bits |= *disk.isr; /* reading it lowers the line */
	apic_eoi();
}

static void clear_interrupts(void)
{
	for (unsigned i = 0; i < 4; i++)
		interrupts[i] = 0;
	isr_bits = 0;
}

static void msix_entry(unsigned index, unsigned vector, bool masked)
{
	disk.msix_table[4 * index] = 0xfee00000U | apic_id() << 12;
	disk.msix_table[4 * index + 1] = 0;
	disk.msix_table[4 * index + 2] = vector;
	disk.msix_table[4 * index + 3] = masked;
}

static void msix_enable(bool enable)
{
	pci_write16(disk.slot, disk.msix + 2, enable ? 0x8000 : 0);
}

TEST(msix, "Disk: MSI-X, its mask and pending bits")
{
	NEED_DISK();
	apic_init(false);
	for (unsigned i = 0; i < 4; i++)
		trap_handle(0x64 + i, on_msix);
	CHECK(disk_negotiate(F_VERSION_1), "negotiation failed");
	msix_entry(0, 0x64, false);
	msix_entry(1, 0x65, false);
	msix_enable(true);
	set_common16(COMMON_CONFIG_VECTOR, 0);
	CHECK_EQUAL("the configuration vector", common16(COMMON_CONFIG_VECTOR), 0);
	set_common16(COMMON_CONFIG_VECTOR, 0x7ff);
	CHECK_EQUAL("a vector beyond the table", common16(COMMON_CONFIG_VECTOR), NO_VECTOR);
	disk_queue(0, 1);
	CHECK_EQUAL("the queue's vector", common16(COMMON_QUEUE_VECTOR), 1);
	disk_driver_ok();
	clear_interrupts();
	irq_enable();
	CHECK_EQUAL("a read", disk_request(0, BLK_IN, 0, buffer, 512), BLK_OK);
	CHECK(WAIT_FOR(interrupts[1] == 1, 100), "%u interrupts by vector 1", interrupts[1]);
	CHECK_EQUAL("interrupts by vector 0", interrupts[0], 0);
	/* Masked: pending until unmasked. */
	msix_entry(1, 0x65, true);
	CHECK_EQUAL("a read while masked", disk_request(0, BLK_IN, 0, buffer, 512), BLK_OK);
	delay_us(100);
	CHECK_EQUAL("interrupts while masked", interrupts[1], 1);
	CHECK(disk.msix_pending[0] & 2, "pending bits %x", disk.msix_pending[0]);
	disk.msix_table[7] = 0;
	CHECK(WAIT_FOR(interrupts[1] == 2, 100), "no interrupt when unmasked");
	CHECK(!(disk.msix_pending[0] & 2), "still pending");
	/* The function mask. */
	pci_write16(disk.slot, disk.msix + 2, 0xc000);
	CHECK_EQUAL("a read under the function mask", disk_request(0, BLK_IN, 0, buffer, 512), BLK_OK);
	delay_us(100);
	CHECK_EQUAL("interrupts under the function mask", interrupts[1], 2);
	msix_enable(true);
	CHECK(WAIT_FOR(interrupts[1] == 3, 100), "no interrupt after the function mask");
	/* The driver's wish for none. */
	queues[0].avail[0] = 1;
	CHECK_EQUAL("a read without an interrupt", disk_request(0, BLK_IN, 0, buffer, 512), BLK_OK);
	delay_us(100);
	CHECK_EQUAL("interrupts that were not wanted", interrupts[1], 3);
	irq_disable();
	msix_enable(false);
}

TEST(event_index, "Disk: the event index holds interrupts back")
{
	NEED_DISK();
	if (!(disk.features & F_EVENT_IDX))
		SKIP("not offered");
	CHECK(disk_negotiate(F_VERSION_1 | F_EVENT_IDX), "negotiation failed");
	msix_entry(1, 0x65, false);
	msix_enable(true);
	disk_queue(0, 1);
	disk_driver_ok();
	clear_interrupts();
	irq_enable();
	queues[0].avail[2 + QUEUE_ENTRIES] = 2; /* used event: tell me when index 2 was used */
	for (unsigned i = 0, first = 0; i < 5; i++) {
		CHECK_EQUAL("a read", disk_request(0, BLK_IN, 0, buffer, 512), BLK_OK);
		delay_us(50);
		if (i == 0) /* a device may signal its first buffer in any case, as QEMU does */
			first = interrupts[1];
		CHECK(interrupts[1] == first + (i >= 2), "after request %u: %u interrupts", i, interrupts[1]);
	}
	irq_disable();
	msix_enable(false);
}

TEST(intx, "Disk: INTx by level, the interrupt status register")
{
	unsigned pin, line;

	NEED_DISK();
	line = pci_read8(disk.slot, PCI_INTERRUPT_LINE);
	pin = under_lamina() ? 16 + disk.slot % 4 : line;
	msix_enable(false);
	CHECK(disk_open(0), "the device does not open");
	clear_interrupts();
	trap_handle(0x68, on_intx);
	ioapic_set_entry(pin, (uint64_t)apic_id() << 56 | IOAPIC_LEVEL | (under_lamina() ? IOAPIC_ACTIVE_LOW : 0) | 0x68);
	irq_enable();
	CHECK_EQUAL("a read", disk_request(0, BLK_IN, 0, buffer, 512), BLK_OK);
	CHECK(WAIT_FOR(interrupts[0] == 1, 100), "%u interrupts at pin %u", interrupts[0], pin);
	CHECK_EQUAL("the interrupt status", isr_bits, 1);
	CHECK_EQUAL("the interrupt status, read again", *disk.isr, 0);
	CHECK_EQUAL("another read", disk_request(0, BLK_IN, 0, buffer, 512), BLK_OK);
	CHECK(WAIT_FOR(interrupts[0] == 2, 100), "no second interrupt");
	/* Interrupt Disable in the command register. */
	pci_write16(disk.slot, PCI_COMMAND, 0x0406);
	CHECK_EQUAL("a read with INTx disabled", disk_request(0, BLK_IN, 0, buffer, 512), BLK_OK);
	delay_us(100);
	CHECK_EQUAL("interrupts with INTx disabled", interrupts[0], 2);
	CHECK(pci_read16(disk.slot, PCI_STATUS) & 8, "the status register does not show the interrupt");
	pci_write16(disk.slot, PCI_COMMAND, 0x0006);
	CHECK(WAIT_FOR(interrupts[0] == 3, 100), "no interrupt when INTx was enabled again");
	irq_disable();
	ioapic_set_entry(pin, IOAPIC_MASKED);
}

TEST(many_queues, "Disk: several queues, each with its vector")
{
	unsigned count;

	NEED_DISK();
	count = common16(COMMON_NUM_QUEUES);
	if (count < 2 || !(disk.features & F_BLK_MQ))
		SKIP("one queue");
	count = MIN(count, QUEUES);
	CHECK(disk_negotiate(F_VERSION_1 | F_BLK_MQ), "negotiation failed");
	msix_enable(true);
	for (unsigned i = 0; i < count; i++) {
		msix_entry(i, 0x64 + i, false);
		disk_queue(i, (uint16_t)i);
	}
	disk_driver_ok();
	clear_interrupts();
	irq_enable();
	for (unsigned i = 0; i < count; i++) {
		CHECK_EQUAL("a read", disk_request(i, BLK_IN, i, buffer, 512), BLK_OK);
		CHECK(WAIT_FOR(interrupts[i] == 1, 100), "queue %u: no interrupt", i);
	}
	irq_disable();
	msix_enable(false);
}

TEST(bus_master, "Disk: no memory access without the bus-master bit")
{
	NEED_DISK();
	if (!under_lamina())
		SKIP("not under Lamina");
	CHECK(disk_open(0), "the device does not open");
	pci_write16(disk.slot, PCI_COMMAND, 0x0002);
	disk_lay_out(0, BLK_IN, 0, buffer, 512);
	queue_put(0, 0);
	queue_notify(0);
	delay_us(1000);
	CHECK_EQUAL("status without bus master", disk_answer, BLK_PENDING);
	pci_write16(disk.slot, PCI_COMMAND, 0x0006);
	queue_notify(0);
	CHECK(queue_wait(0), "no answer with bus master");
	CHECK_EQUAL("status", disk_answer, BLK_OK);
}

TEST(reset_midway, "Disk: a reset with requests under way, many times")
{
	NEED_DISK();
	for (unsigned i = 0; i < 20; i++) {
		CHECK(disk_open(0), "round %u: the device does not open", i);
		disk_lay_out(0, BLK_IN, 0, buffer, 32768);
		queue_put(0, 0);
		queue_notify(0);
		CHECK(disk_reset(), "round %u: the reset does not end", i);
	}
	CHECK(disk_works(), "the device does not work afterwards");
}

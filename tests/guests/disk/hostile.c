/* A driver that breaks the rules: the device must ask for a reset (or refuse the one request), and work after the reset. Its memory
 * accesses must stay inside of the guest's RAM: were they not, Lamina itself would break. */
#include "tests/guests/disk/virtio.h"

#include "lib/string.h"
#include "tests/guests/lib/clock.h"
#include "tests/guests/lib/trap.h"

static uint8_t data[4096] __attribute__((aligned(4096)));
static struct desc table[256] __attribute__((aligned(4096)));

/* Each prepares descriptors and the available ring of queue 0; the runner notifies and looks. */

static struct desc *lay_out(void)
{
	disk_lay_out(0, BLK_IN, 0, data, 512);
	return queues[0].desc;
}

static void loop_to_self(void)
{
	lay_out()[1].next = 1;
	queue_put(0, 0);
}

static void loop_to_head(void)
{
	struct desc *desc = lay_out();

	desc[2].flags |= DESC_NEXT;
	desc[2].next = 1;
	queue_put(0, 0);
}

static void next_out_of_range(void)
{
	lay_out()[1].next = QUEUE_ENTRIES;
	queue_put(0, 0);
}

static void next_far_out_of_range(void)
{
	lay_out()[0].next = 0xffff;
	queue_put(0, 0);
}

static void head_out_of_range(void)
{
	lay_out();
	queue_put(0, QUEUE_ENTRIES);
}

static void head_far_out_of_range(void)
{
	lay_out();
	queue_put(0, 0xffff);
}

static void address_beyond(void)
{
	lay_out()[1].addr = 0x8000000000;
	queue_put(0, 0);
}

static void address_in_hole(void)
{
	lay_out()[1].addr = 0xd0000000;
	queue_put(0, 0);
}

static void address_of_apic(void)
{
	lay_out()[1].addr = 0xfee00000;
	queue_put(0, 0);
}

static void address_of_own_registers(void)
{
	lay_out()[1].addr = (uint64_t)disk.common;
	queue_put(0, 0);
}

static void address_wraps(void)
{
	lay_out()[1].addr = 0xffffffffffffff00;
	queue_put(0, 0);
}

static void header_beyond(void)
{
	lay_out()[0].addr = 0x4000000000;
	queue_put(0, 0);
}

static void status_beyond(void)
{
	lay_out()[2].addr = 0xffffffffffffffff;
	queue_put(0, 0);
}

static void length_huge(void)
{
	lay_out()[1].len = 0xffffffff;
	queue_put(0, 0);
}

static void lengths_overflow(void)
{
	struct desc *desc = lay_out();

	for (uint16_t i = 1; i < QUEUE_ENTRIES - 1; i++)
		desc[i] = (struct desc){ (uint64_t)data, 0xfffff000, DESC_NEXT | DESC_WRITE, (uint16_t)(i + 1) };
	desc[QUEUE_ENTRIES - 1] = (struct desc){ (uint64_t)&disk_answer, 1, DESC_WRITE, 0 };
	queue_put(0, 0);
}

static void readable_after_writable(void)
{
	struct desc *desc = lay_out();

	desc[0].flags |= DESC_WRITE;
	desc[1].flags &= (uint16_t)~DESC_WRITE;
	queue_put(0, 0);
}

static void nothing_writable(void)
{
	struct desc *desc = lay_out();

	desc[1].flags &= (uint16_t)~DESC_WRITE;
	desc[2].flags &= (uint16_t)~DESC_WRITE;
	queue_put(0, 0);
}

static void index_jumps(void)
{
	lay_out();
	queues[0].avail[1] = QUEUE_ENTRIES + 1;
}

static void index_jumps_back(void)
{
	lay_out();
	queues[0].avail[1] = 0xffff;
}

static void indirect_in_indirect(void)
{
	lay_out();
	table[0] = (struct desc){ (uint64_t)table, 32, DESC_INDIRECT, 0 };
	queues[0].desc[5] = (struct desc){ (uint64_t)table, 32, DESC_INDIRECT, 0 };
	queue_put(0, 5);
}

static void indirect_with_next(void)
{
	lay_out();
	memcpy(table, queues[0].desc, 48);
	queues[0].desc[5] = (struct desc){ (uint64_t)table, 48, DESC_INDIRECT | DESC_NEXT, 0 };
	queue_put(0, 5);
}

static void indirect_length_odd(void)
{
	lay_out();
	memcpy(table, queues[0].desc, 48);
	queues[0].desc[5] = (struct desc){ (uint64_t)table, 47, DESC_INDIRECT, 0 };
	queue_put(0, 5);
}

static void indirect_empty(void)
{
	lay_out();
	queues[0].desc[5] = (struct desc){ (uint64_t)table, 0, DESC_INDIRECT, 0 };
	queue_put(0, 5);
}

static void indirect_beyond(void)
{
	lay_out();
	queues[0].desc[5] = (struct desc){ 0xd0000000, 48, DESC_INDIRECT, 0 };
	queue_put(0, 5);
}

static void indirect_huge(void)
{
	lay_out();
	queues[0].desc[5] = (struct desc){ (uint64_t)table, 0xfffffff0, DESC_INDIRECT, 0 };
	queue_put(0, 5);
}

static void indirect_next_out(void)
{
	lay_out();
	memcpy(table, queues[0].desc, 48);
	table[1].next = 3;
	queues[0].desc[5] = (struct desc){ (uint64_t)table, 48, DESC_INDIRECT, 0 };
	queue_put(0, 5);
}

static void indirect_loop(void)
{
	lay_out();
	memcpy(table, queues[0].desc, 48);
	table[2].flags |= DESC_NEXT;
	table[2].next = 1;
	queues[0].desc[5] = (struct desc){ (uint64_t)table, 48, DESC_INDIRECT, 0 };
	queue_put(0, 5);
}

static const struct attack {
	const char *name;
	void (*prepare)(void);
	bool lamina_only; /* QEMU lets it pass */
} attacks[] = {
	{ "a descriptor whose next is itself", loop_to_self, false },
	{ "a chain that comes back to its middle", loop_to_head, false },
	{ "next just out of range", next_out_of_range, false },
	{ "next 0xffff", next_far_out_of_range, false },
	{ "head just out of range", head_out_of_range, false },
	{ "head 0xffff", head_far_out_of_range, false },
	{ "an address above the RAM", address_beyond, true },
	{ "an address in a hole", address_in_hole, true },
	{ "the local APIC's address", address_of_apic, true },
	{ "the device's own registers", address_of_own_registers, true },
	{ "an address that wraps", address_wraps, true },
	{ "a header above the RAM", header_beyond, true },
	{ "a status byte at the end of the address space", status_beyond, true },
	{ "length 0xffffffff", length_huge, true },
	{ "lengths whose sum overflows", lengths_overflow, true },
	{ "readable after writable", readable_after_writable, false },
	{ "nothing writable", nothing_writable, false },
	{ "an index beyond the queue's size", index_jumps, false },
	{ "an index that goes back", index_jumps_back, false },
	{ "an indirect table in an indirect table", indirect_in_indirect, false },
	{ "an indirect descriptor with next", indirect_with_next, true },
	{ "an indirect table of 47 bytes", indirect_length_odd, false },
	{ "an empty indirect table", indirect_empty, false },
	{ "an indirect table in a hole", indirect_beyond, true },
	{ "an indirect table of 4 GiB", indirect_huge, true },
	{ "next out of the indirect table", indirect_next_out, false },
	{ "a loop in an indirect table", indirect_loop, false },
};

TEST(hostile, "Hostile rings: each makes the device ask for a reset, and it works after that")
{
	NEED_DISK();
	for (unsigned i = 0; i < ARRAY_SIZE(attacks); i++) {
		if (attacks[i].lamina_only && !under_lamina())
			continue;
		CHECK(disk_open(disk.features & F_INDIRECT), "before \"%s\": the device does not open", attacks[i].name);
		attacks[i].prepare();
		queue_notify(0);
		CHECK(WAIT_FOR(disk_status() & STATUS_NEEDS_RESET, 1000), "%s: status %x instead of NEEDS_RESET", attacks[i].name,
		      disk_status());
		queue_notify(0); /* a broken device stays quiet */
		CHECK(disk_works(), "%s: the device does not work after a reset", attacks[i].name);
	}
}

TEST(hostile_without_indirect, "Hostile rings: an indirect table that was not negotiated")
{
	NEED_DISK();
	if (!under_lamina())
		SKIP("not under Lamina");
	CHECK(disk_open(0), "the device does not open");
	lay_out();
	memcpy(table, queues[0].desc, 48);
	queues[0].desc[5] = (struct desc){ (uint64_t)table, 48, DESC_INDIRECT, 0 };
	queue_put(0, 5);
	queue_notify(0);
	CHECK(WAIT_FOR(disk_status() & STATUS_NEEDS_RESET, 1000), "status %x instead of NEEDS_RESET", disk_status());
	CHECK(disk_works(), "the device does not work after a reset");
}

TEST(hostile_queues, "Hostile rings: queues outside of RAM or not aligned")
{
	static const struct { const char *name; uint64_t desc, avail, used; } cases[] = {
		{ "descriptors in a hole", 0xd0000000, 0, 0 },
		{ "descriptors above the RAM", 0x4000000000, 0, 0 },
		{ "descriptors at the end of the address space", 0xfffffffffffffff0, 0, 0 },
		{ "descriptors not aligned", 0x200008, 0, 0 },
		{ "available ring in a hole", 0, 0xd0000000, 0 },
		{ "available ring not aligned", 0, 0x200001, 0 },
		{ "used ring in a hole", 0, 0, 0xd0000000 },
		{ "used ring at the local APIC", 0, 0, 0xfee00000 },
		{ "used ring not aligned", 0, 0, 0x200002 },
	};

	NEED_DISK();
	if (!under_lamina())
		SKIP("not under Lamina");
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		CHECK(disk_negotiate(F_VERSION_1), "%s: negotiation failed", cases[i].name);
		memset(&queues[0], 0, sizeof(queues[0]));
		set_common16(COMMON_QUEUE_SELECT, 0);
		set_common16(COMMON_QUEUE_SIZE, QUEUE_ENTRIES);
		set_common64(COMMON_QUEUE_DESC, cases[i].desc ? cases[i].desc : (uint64_t)queues[0].desc);
		set_common64(COMMON_QUEUE_DRIVER, cases[i].avail ? cases[i].avail : (uint64_t)queues[0].avail);
		set_common64(COMMON_QUEUE_DEVICE, cases[i].used ? cases[i].used : (uint64_t)queues[0].used);
		set_common16(COMMON_QUEUE_ENABLE, 1);
		disk_driver_ok();
		queue_notify(0);
		CHECK(disk_status() & STATUS_NEEDS_RESET, "%s: status %x instead of NEEDS_RESET", cases[i].name, disk_status());
		CHECK(disk_works(), "%s: the device does not work after a reset", cases[i].name);
	}
}

TEST(hostile_requests, "Hostile requests: short headers, zero lengths, all at once")
{
	struct desc *desc;

	NEED_DISK();
	for (uint32_t length = 0; length < 16; length += 5) {
		CHECK(disk_open(0), "the device does not open");
		lay_out()[0].len = length;
		queue_put(0, 0);
		queue_notify(0);
		CHECK(WAIT_FOR((disk_status() & STATUS_NEEDS_RESET) || disk_answer != BLK_PENDING, 1000), "a header of %u bytes: no answer", length);
		CHECK(disk_answer != BLK_OK, "a header of %u bytes was accepted", length);
	}
	CHECK(disk_open(0), "the device does not open");
	desc = lay_out();
	desc[1].len = 0;
	queue_put(0, 0);
	queue_notify(0);
	delay_us(1000);
	/* The used ring on top of the descriptors, the data on top of the rings: whatever comes of it, the device lives. */
	CHECK(disk_negotiate(F_VERSION_1), "negotiation failed");
	disk_queue(0, NO_VECTOR);
	CHECK(disk_negotiate(F_VERSION_1), "negotiation failed");
	memset(&queues[0], 0, sizeof(queues[0]));
	set_common16(COMMON_QUEUE_SELECT, 0);
	set_common16(COMMON_QUEUE_SIZE, QUEUE_ENTRIES);
	set_common64(COMMON_QUEUE_DESC, (uint64_t)queues[0].desc);
	set_common64(COMMON_QUEUE_DRIVER, (uint64_t)queues[0].avail);
	set_common64(COMMON_QUEUE_DEVICE, (uint64_t)queues[0].desc);
	set_common16(COMMON_QUEUE_ENABLE, 1);
	disk_driver_ok();
	desc = lay_out();
	desc[1].addr = (uint64_t)&queues[0];
	desc[1].len = sizeof(queues[0]) & ~511U;
	queue_put(0, 0);
	for (unsigned i = 0; i < 20; i++)
		queue_notify(0);
	CHECK(disk_works(), "the device does not work after a reset");
}

/* IDE disks on controllers of the PIIX kind: bus-master DMA, one command at a time a channel, PIO for identification only. Requests that have
 * waited for their turn and lie one behind the other on the disk go as one command. Sources: ATA/ATAPI-6, and Programming Interface for Bus
 * Master IDE Controller 1.0. */
#include "drivers/disk/ata.h"

#include "drivers/disk/disk.h"
#include "drivers/host.h"
#include "drivers/pci/pci_host.h"
#include "drivers/port_io.h"
#include "lib/log.h"
#include "lib/printf.h"
#include "lib/string.h"

#define CLASS_IDE 0x0101U
#define CHANNEL_NATIVE(n) (1U << 2 * (n)) /* interface byte: by the BARs, else the PC's old ports */
#define INTERFACE_MASTER 0x80U
#define BAR_MASTER 4

/* Ports of a channel, from its first one on */
enum { DATA = 0, COUNT = 2, LBA_LOW = 3, LBA_MIDDLE = 4, LBA_HIGH = 5, DEVICE = 6, STATUS = 7, COMMAND = 7 };
/* Ports of its bus master */
enum { MASTER_COMMAND = 0, MASTER_STATUS = 2, MASTER_TABLE = 4 };
#define MASTER_START 0x01U
#define MASTER_TO_MEMORY 0x08U
#define MASTER_ERROR 0x02U
#define MASTER_INTERRUPT 0x04U
#define CONTROL_NO_INTERRUPT 0x02U
#define CONTROL_RESET 0x04U

#define READY_MS 31000U
#define IDENTIFY_MS 2000U

struct prd {
	uint32_t address;
	uint16_t count; /* 0: 64 KiB */
	uint16_t flags;
};
_Static_assert(sizeof(struct prd) == 8, "Bus Master IDE, section 1.2");

#define PRDS (DISK_TABLE_SIZE / sizeof(struct prd))
_Static_assert(DISK_TABLE_SIZE == PAGE_SIZE, "a channel's own table is a page");
#define PRD_LAST 0x8000U
#define PRD_BYTES KIB(64)

struct channel {
	const struct pci_function *fn;
	uint16_t base, control, master;
	uint8_t irq;               /* 0: the channel has neither of the old IRQs, 14 and 15 */
	int vector;
	struct spinlock lock;
	struct disk *disk[2];
	bool lba48[2];
	uint32_t waiting[2];       /* tags of each disk that wait for their turn */
	uint32_t not_joined[2];    /* tags that must not share a command with another tag */
	uint32_t arrival[2][DISK_TAGS]; /* number of the arrival of each waiting tag: the lowest is the oldest */
	uint32_t arrivals;
	uint32_t issued_tags;      /* the tags of the command that is under way, 0: none */
	uint8_t issued_device;     /* the device of that command */
	uint8_t next_device;       /* the device whose turn is next */
	struct prd *table;         /* of a command with several tags */
	uint64_t table_phys;
};

static unsigned controllers;

static uint32_t read_alternate(void *ctx)
{
	return port_read8(((struct channel *)ctx)->control);
}

/* 400 ns: four reads of the status. */
static void wait_400ns(struct channel *c)
{
	for (unsigned i = 0; i < 4; i++)
		read_alternate(c);
}

static int select(struct channel *c, unsigned device, uint8_t bits)
{
	if (disk_wait(read_alternate, c, ATA_BUSY | ATA_REQUEST, 0, 20))
		return ERR_IO;
	port_write8((uint16_t)(c->base + DEVICE), (uint8_t)(0xa0 | device << 4 | bits));
	wait_400ns(c);
	return disk_wait(read_alternate, c, ATA_BUSY | ATA_REQUEST, 0, 20);
}

static void put_registers(struct channel *c, uint64_t block, uint32_t blocks)
{
	port_write8((uint16_t)(c->base + COUNT), (uint8_t)blocks);
	port_write8((uint16_t)(c->base + LBA_LOW), (uint8_t)block);
	port_write8((uint16_t)(c->base + LBA_MIDDLE), (uint8_t)(block >> 8));
	port_write8((uint16_t)(c->base + LBA_HIGH), (uint8_t)(block >> 16));
}

/* ---- Commands ---- */

static int encode(struct disk *disk, struct disk_tag *tag, const struct disk_range *ranges, unsigned count)
{
	struct prd *prd = (struct prd *)(void *)tag->table;
	unsigned n = 0;

	(void)disk;
	for (unsigned i = 0; i < count; i++) {
		uint64_t at = ranges[i].phys, end = at + ranges[i].len;

		if (at % 2 || end % 2 || end > GIB(4))
			return ERR_INVALID;
		while (at < end) {
			/* No piece crosses a boundary of 64 KiB. */
			uint64_t stop = MIN(end, ALIGN_DOWN(at, PRD_BYTES) + PRD_BYTES);

			if (n == PRDS)
				return ERR_INVALID;
			prd[n++] = (struct prd){ (uint32_t)at, (uint16_t)(stop - at), 0 };
			at = stop;
		}
	}
	prd[n - 1].flags = PRD_LAST;
	tag->ranges = n;
	return 0;
}

static int issue(struct channel *c, unsigned device, const struct disk_tag *tag)
{
	bool lba48 = c->lba48[device], data = tag->op != BLOCK_FLUSH;
	uint8_t direction = tag->op == BLOCK_READ ? MASTER_TO_MEMORY : 0;

	if (select(c, device, (uint8_t)(0x40 | (lba48 || !data ? 0 : tag->block >> 24 & 0xf))))
		return ERR_IO;
	port_write8((uint16_t)(c->master + MASTER_STATUS), MASTER_ERROR | MASTER_INTERRUPT);
	if (data) {
		port_write8((uint16_t)(c->master + MASTER_COMMAND), direction);
		port_write32((uint16_t)(c->master + MASTER_TABLE), (uint32_t)tag->table_phys);
		if (lba48)
			put_registers(c, tag->block >> 24, tag->blocks >> 8);
		put_registers(c, tag->block, tag->blocks);
	}
	port_write8((uint16_t)(c->base + COMMAND), ata_command(tag, lba48));
	if (data)
		port_write8((uint16_t)(c->master + MASTER_COMMAND), direction | MASTER_START);
	return 0;
}

/* The tag that has waited longest. */
static unsigned oldest(const struct channel *c, unsigned device)
{
	unsigned found = (unsigned)__builtin_ctz(c->waiting[device]);

	for (uint32_t left = c->waiting[device]; left; left &= left - 1) {
		unsigned tag = (unsigned)__builtin_ctz(left);

		if ((int32_t)(c->arrival[device][tag] - c->arrival[device][found]) < 0)
			found = tag;
	}
	return found;
}

/* Is `next` the memory behind `last`, within the same 64 KiB? */
static bool contiguous(const struct prd *last, const struct prd *next)
{
	return last->count && next->count && last->address + last->count == next->address && next->address % PRD_BYTES;
}

/* Put a tag's memory behind the memory that the command has already. */
static void append(struct channel *c, struct disk_tag *whole, const struct disk_tag *tag)
{
	const struct prd *from = (const struct prd *)(const void *)tag->table;

	for (uint32_t i = 0; i < tag->ranges; i++) {
		struct prd *last = whole->ranges ? &c->table[whole->ranges - 1] : NULL;

		if (last && contiguous(last, &from[i]))
			last->count = (uint16_t)(last->count + from[i].count); /* 0 is 64 KiB */
		else
			c->table[whole->ranges++] = from[i];
	}
	whole->blocks += tag->blocks;
}

/* A tag in `left` whose blocks follow the command's last block, or NULL. */
static const struct disk_tag *follower(const struct disk *disk, const struct disk_tag *whole, uint32_t left)
{
	for (; left; left &= left - 1) {
		const struct disk_tag *tag = &disk->tag[__builtin_ctz(left)];

		if (tag->op == whole->op && tag->block == whole->block + whole->blocks && whole->blocks + tag->blocks <= disk->max_blocks &&
		    whole->ranges + tag->ranges <= PRDS)
			return tag;
	}
	return NULL;
}

/* Make the command that begins with tag `first` and goes on with the waiting tags whose blocks follow. Returns the command's tags. */
static uint32_t join(struct channel *c, unsigned device, unsigned first, struct disk_tag *whole)
{
	const struct disk *disk = c->disk[device];
	uint32_t tags = 1U << first, left = c->waiting[device] & ~c->not_joined[device] & ~tags;
	const struct disk_tag *next;

	*whole = disk->tag[first];
	if (whole->op == BLOCK_FLUSH || c->not_joined[device] & tags || !follower(disk, whole, left))
		return tags;
	whole->table_phys = c->table_phys;
	whole->ranges = whole->blocks = 0;
	append(c, whole, &disk->tag[first]);
	while ((next = follower(disk, whole, left))) {
		append(c, whole, next);
		tags |= 1U << (next - disk->tag);
		left &= ~tags;
	}
	for (uint32_t i = 0; i < whole->ranges; i++)
		c->table[i].flags = i + 1 < whole->ranges ? 0 : PRD_LAST;
	return tags;
}

/* Begin with the next command of either disk, if the channel is free. */
static void issue_next(struct channel *c)
{
	for (unsigned tries = 0; !c->issued_tags && tries < 2; tries++) {
		unsigned device = c->next_device;
		struct disk_tag whole;

		c->next_device ^= 1;
		if (!c->waiting[device])
			continue;
		c->issued_tags = join(c, device, oldest(c, device), &whole);
		c->issued_device = (uint8_t)device;
		c->waiting[device] &= ~c->issued_tags;
		for (uint32_t left = c->issued_tags; left; left &= left - 1)
			disk_command_begins(c->disk[device], &c->disk[device]->tag[__builtin_ctz(left)]);
		/* If the disk does not take the command, the command's time-out resets the channel. */
		if (issue(c, device, &whole))
			log_line("disk %s: it is not ready for a command", c->disk[device]->name);
	}
}

static unsigned device_of(const struct disk *disk)
{
	return (unsigned)(uintptr_t)disk->unit;
}

static void start(struct disk *disk, unsigned number)
{
	struct channel *c = disk->controller;
	unsigned device = device_of(disk);

	c->waiting[device] |= 1U << number;
	disk->tag[number].deadline = TIME_NEVER; /* until its turn comes: the time of the commands before it does not count against it */
	c->arrival[device][number] = c->arrivals++;
	c->not_joined[device] &= ~(1U << number);
}

static void commit(struct disk *disk)
{
	issue_next(disk->controller);
}

/* The command of these tags has ended. If it failed and has several tags, it is not known which of them failed: then each is tried by
 * itself. */
static void finish(struct channel *c, uint32_t tags, bool failed)
{
	struct disk *disk = c->disk[c->issued_device];

	if (failed && tags & (tags - 1)) {
		c->waiting[c->issued_device] |= tags;
		c->not_joined[c->issued_device] |= tags;
		return;
	}
	for (; tags; tags &= tags - 1)
		disk_finished(disk, (unsigned)__builtin_ctz(tags), failed ? ERR_IO : 0);
}

static void reap_channel(struct channel *c)
{
	uint8_t master, status;
	uint32_t tags = c->issued_tags;

	if (!tags)
		return;
	master = port_read8((uint16_t)(c->master + MASTER_STATUS));
	if (c->disk[c->issued_device]->tag[__builtin_ctz(tags)].op != BLOCK_FLUSH && !(master & (MASTER_INTERRUPT | MASTER_ERROR)))
		return;
	if (read_alternate(c) & ATA_BUSY)
		return;
	port_write8((uint16_t)(c->master + MASTER_COMMAND), 0);
	status = port_read8((uint16_t)(c->base + STATUS)); /* reading the status ends the interrupt */
	port_write8((uint16_t)(c->master + MASTER_STATUS), MASTER_ERROR | MASTER_INTERRUPT);
	c->issued_tags = 0;
	finish(c, tags, master & MASTER_ERROR || status & (ATA_ERROR | ATA_FAULT | ATA_REQUEST));
	issue_next(c);
}

static void reap(struct disk *disk)
{
	reap_channel(disk->controller);
}

static void interrupt(void *ctx)
{
	struct channel *c = ctx;

	spin_lock(&c->lock);
	if (!c->issued_tags)
		(void)port_read8((uint16_t)(c->base + STATUS));
	reap_channel(c);
	spin_unlock(&c->lock);
}

static void pause_us(struct channel *c, unsigned us)
{
	uint64_t until = time_now() + time_hz() / 1000000 * us;

	while (time_now() < until)
		(void)read_alternate(c);
}

/* ATA/ATAPI-6, section 9.2: software reset. The bus master is stopped first. */
static int reset(struct disk *disk)
{
	struct channel *c = disk->controller;

	port_write8((uint16_t)(c->master + MASTER_COMMAND), 0);
	c->issued_tags = 0;
	c->waiting[0] = c->waiting[1] = 0;
	port_write8(c->control, CONTROL_RESET);
	pause_us(c, 10);
	port_write8(c->control, c->vector < 0 ? CONTROL_NO_INTERRUPT : 0);
	pause_us(c, 2000);
	return disk_wait(read_alternate, c, ATA_BUSY, 0, READY_MS);
}

static int open(struct disk *disk)
{
	struct channel *c = disk->controller;

	if (c->irq && c->vector < 0) {
		c->vector = host_interrupt(interrupt, c);
		if (c->vector >= 0 && host_route_isa(c->irq, (uint8_t)c->vector))
			c->vector = -1;
	}
	port_write8(c->control, c->vector < 0 ? CONTROL_NO_INTERRUPT : 0);
	disk->has_no_interrupt = c->vector < 0;
	return 0;
}

static const struct disk_ops ops = { .open = open, .encode = encode, .start = start, .commit = commit, .reap = reap, .reset = reset };

/* ---- Finding them ---- */

/* Returns false where there is no such device, or a packet device (ATAPI). */
static bool identify(struct channel *c, unsigned device, uint16_t words[256])
{
	uint8_t status;

	port_write8((uint16_t)(c->base + DEVICE), (uint8_t)(0xa0 | device << 4));
	wait_400ns(c);
	status = (uint8_t)read_alternate(c);
	if (status == 0xff || status == 0 || disk_wait(read_alternate, c, ATA_BUSY, 0, IDENTIFY_MS))
		return false;
	put_registers(c, 0, 0);
	port_write8((uint16_t)(c->base + COMMAND), ATA_IDENTIFY);
	wait_400ns(c);
	if (!read_alternate(c) || disk_wait(read_alternate, c, ATA_BUSY, 0, IDENTIFY_MS))
		return false;
	status = port_read8((uint16_t)(c->base + STATUS));
	if (status & ATA_ERROR || !(status & ATA_REQUEST))
		return false;
	for (unsigned i = 0; i < 256; i++)
		words[i] = port_read16((uint16_t)(c->base + DATA));
	return true;
}

static void find_channel(struct channel *c, unsigned number)
{
	uint16_t words[256];

	c->vector = -1;
	port_write8(c->control, CONTROL_NO_INTERRUPT);
	for (unsigned device = 0; device < 2; device++) {
		struct disk *disk;

		if (!identify(c, device, words))
			continue;
		disk = disk_new();
		if (!disk)
			return;
		snprintf(disk->name, sizeof(disk->name), "ata:%u", number + device);
		if (!ata_identified(disk, words, &c->lba48[device]))
			continue;
		disk->ops = &ops;
		disk->controller = c;
		disk->unit = (void *)(uintptr_t)device;
		disk->lock = &c->lock;
		disk->single_command = true;
		c->disk[device] = disk;
		disk_add(disk);
	}
}

/* The channel's ports. Returns false where it has none. */
static bool find_ports(struct channel *c, unsigned n)
{
	struct pci_bar command, control;

	if (!(c->fn->class_code & CHANNEL_NATIVE(n))) {
		c->base = n ? 0x170 : 0x1f0;
		c->control = n ? 0x376 : 0x3f6;
		c->irq = n ? 15 : 14;
		return true;
	}
	if (pci_host_bar(c->fn, 2 * n, &command) || pci_host_bar(c->fn, 2 * n + 1, &control) || !command.io || !control.io)
		return false;
	c->base = (uint16_t)command.address;
	c->control = (uint16_t)(control.address + 2);
	return true;
}

bool ata_found(const struct pci_function *fn)
{
	struct pci_bar master;
	struct channel *channels;
	uint64_t phys;

	if (fn->class_code >> 8 != CLASS_IDE)
		return false;
	if (!(fn->class_code & INTERFACE_MASTER) || pci_host_bar(fn, BAR_MASTER, &master) || !master.io) {
		log_line("ata: the controller %04x:%04x has no bus master", fn->vendor, fn->device);
		return true;
	}
	channels = host_dma_alloc(1, &phys);
	if (!channels)
		return true;
	/* The bit that disables INTA# disables IRQ 14 and 15 as well on Intel's chips. */
	pci_host_enable(fn, (fn->class_code & 5) != 5);
	for (unsigned n = 0; n < 2; n++) {
		channels[n].fn = fn;
		channels[n].table = host_dma_alloc(1, &channels[n].table_phys);
		if (!channels[n].table)
			break;
		channels[n].master = (uint16_t)(master.address + 8UL * n);
		if (find_ports(&channels[n], n))
			find_channel(&channels[n], 4 * controllers + 2 * n);
	}
	controllers++;
	return true;
}

/* SATA disks on AHCI controllers: 32 command slots a port, one after the other. Source: Serial ATA AHCI 1.3.1; section numbers are of
 * that. */
#include "drivers/disk/ata.h"
#include "drivers/disk/disk.h"
#include "drivers/host.h"
#include "drivers/mmio.h"
#include "drivers/pci/pci_host.h"
#include "lib/log.h"
#include "lib/printf.h"
#include "lib/string.h"

#define CLASS_AHCI 0x010601U
#define ATI 0x1002U
#define SB600 0x4380U
#define SB600_BLOCKS 255U
#define BAR_AHCI 5
#define REGISTERS_SIZE 0x1100U
#define PORTS 32U
#define SLOTS 32U

/* Section 3.1: the controller */
#define HBA_CAP 0x00U
#define HBA_GHC 0x04U
#define HBA_IS 0x08U
#define HBA_PI 0x0cU
#define HBA_CAP2 0x24U
#define HBA_BOHC 0x28U
#define CAP_64BIT BIT(31)
#define CAP_STAGGERED BIT(27)
#define CAP2_HANDOFF BIT(0)
#define BOHC_BIOS BIT(0)
#define BOHC_OS BIT(1)
#define GHC_AHCI BIT(31)
#define GHC_INTERRUPTS BIT(1)

/* Intel's Rapid Storage Technology: NVMe disks behind the SATA controller's registers (as Linux has it, ahci-remap.h) */
#define REMAP_SIZE 0x80000U /* of a BAR that has them */
#define REMAP_VSCAP 0xa4U
#define REMAP_CAP 0x800U
#define REMAP_CLASS(n) (0x880U + 0x80U * (n))
#define REMAP_DISKS 3U

/* Section 3.3: a port */
#define PORT(n) (0x100U + 0x80U * (n))
#define PX_CLB 0x00U
#define PX_FB 0x08U
#define PX_IS 0x10U
#define PX_IE 0x14U
#define PX_CMD 0x18U
#define PX_TFD 0x20U
#define PX_SIG 0x24U
#define PX_SSTS 0x28U
#define PX_SCTL 0x2cU
#define PX_SERR 0x30U
#define PX_CI 0x38U
#define CMD_START BIT(0)
#define CMD_SPIN_UP BIT(1)
#define CMD_FIS BIT(4)
#define CMD_FIS_RUNNING BIT(14)
#define CMD_RUNNING BIT(15)
#define IS_ERRORS 0x78000000U       /* task file, host bus, interface: what stops the port */
#define IS_WANTED (IS_ERRORS | 0xfU) /* and what a finished command raises */
#define SSTS_SEEN 1U     /* but no communication yet */
#define SSTS_DETECTED 3U
#define SIG_DISK 0x00000101U

#define STOP_MS 500U
#define SPIN_UP_MS 30U
#define LINK_MS 1000U
#define READY_MS 31000U
#define IDENTIFY_MS 5000U

struct command_header {
	uint16_t flags;   /* 4:0 length of the FIS in words, 6 write */
	uint16_t prds;
	uint32_t done;    /* bytes */
	uint64_t table;
	uint32_t reserved[4];
};
_Static_assert(sizeof(struct command_header) == 32, "section 4.2.2");

struct prd {
	uint64_t address;
	uint32_t reserved, count; /* count - 1 */
};
_Static_assert(sizeof(struct prd) == 16, "section 4.2.3.3");

#define PRDS ((DISK_TABLE_SIZE - 0x80U) / 16U)
#define PRD_BYTES MIB(4)

struct command_table {
	uint8_t fis[0x80];
	struct prd prd[PRDS];
};
_Static_assert(sizeof(struct command_table) == DISK_TABLE_SIZE, "a tag's table");

struct ahci;

struct port {
	struct ahci *ahci;
	volatile uint8_t *registers;
	struct command_header *list; /* 1 KiB, then the received FIS; then, in a page of its own, the first identification */
	uint64_t list_phys;
	struct spinlock lock;
	struct disk *disk;
	uint32_t issued;             /* slots that the port has */
	uint32_t to_issue;
	bool lba48;
};

struct ahci {
	const struct pci_function *fn;
	volatile uint8_t *registers;
	bool addresses_64bit;        /* the controller reaches all memory */
	struct pci_msi msi;
	bool has_msi;
	int vector;
	struct port port[PORTS];
};
_Static_assert(sizeof(struct ahci) <= PAGE_SIZE, "it has a page");

static unsigned ports_found;

/* ---- A port ---- */

static uint32_t read_command(void *ctx)
{
	return mmio_read32(((struct port *)ctx)->registers + PX_CMD);
}

static uint32_t read_link(void *ctx)
{
	return mmio_read32(((struct port *)ctx)->registers + PX_SSTS);
}

static uint32_t read_task(void *ctx)
{
	return mmio_read32(((struct port *)ctx)->registers + PX_TFD);
}

static uint32_t read_issued(void *ctx)
{
	return mmio_read32(((struct port *)ctx)->registers + PX_CI);
}

/* Section 10.3.2: afterwards the port does no DMA. */
static int stop(struct port *p)
{
	uint32_t command = read_command(p);

	mmio_write32(p->registers + PX_CMD, command & ~(uint32_t)CMD_START);
	if (disk_wait(read_command, p, CMD_RUNNING, 0, STOP_MS))
		return ERR_IO;
	mmio_write32(p->registers + PX_CMD, command & ~(uint32_t)(CMD_START | CMD_FIS));
	return disk_wait(read_command, p, CMD_FIS_RUNNING, 0, STOP_MS);
}

/* Section 10.3.1. */
static int begin(struct port *p)
{
	mmio_write64(p->registers + PX_CLB, p->list_phys);
	mmio_write64(p->registers + PX_FB, p->list_phys + 0x400);
	mmio_write32(p->registers + PX_SERR, UINT32_MAX);
	mmio_write32(p->registers + PX_IS, UINT32_MAX);
	mmio_write32(p->registers + PX_CMD, read_command(p) | (uint32_t)CMD_FIS);
	if (disk_wait(read_task, p, ATA_BUSY | ATA_REQUEST, 0, READY_MS))
		return ERR_IO;
	mmio_write32(p->registers + PX_CMD, read_command(p) | (uint32_t)(CMD_FIS | CMD_START));
	p->issued = 0;
	return 0;
}

/* Section 10.4.2: a COMRESET. */
static int reset_link(struct port *p)
{
	uint64_t until = time_now() + time_hz() / 500;

	mmio_write32(p->registers + PX_SCTL, (mmio_read32(p->registers + PX_SCTL) & ~0xfU) | 1);
	while (time_now() < until) /* for more than 1 ms */
		(void)read_link(p);
	mmio_write32(p->registers + PX_SCTL, mmio_read32(p->registers + PX_SCTL) & ~0xfU);
	return disk_wait(read_link, p, 0xf, SSTS_DETECTED, LINK_MS);
}

static void fill_fis(uint8_t *fis, uint8_t command, uint64_t block, uint32_t blocks, bool lba48)
{
	memset(fis, 0, 20);
	fis[0] = 0x27; /* host to device */
	fis[1] = 0x80; /* a command */
	fis[2] = command;
	fis[4] = (uint8_t)block;
	fis[5] = (uint8_t)(block >> 8);
	fis[6] = (uint8_t)(block >> 16);
	fis[7] = (uint8_t)(0x40 | (lba48 ? 0 : block >> 24 & 0xf));
	if (lba48) {
		fis[8] = (uint8_t)(block >> 24);
		fis[9] = (uint8_t)(block >> 32);
		fis[10] = (uint8_t)(block >> 40);
		fis[13] = (uint8_t)(blocks >> 8);
	}
	fis[12] = (uint8_t)blocks; /* 256 of the short commands is 0 */
}

/* ---- Commands ---- */

static int encode(struct disk *disk, struct disk_tag *tag, const struct disk_range *ranges, unsigned count)
{
	const struct port *p = disk->controller;
	struct command_table *table = (struct command_table *)(void *)tag->table;
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		uint64_t at = ranges[i].phys, end = at + ranges[i].len;

		if (at % 2 || end % 2 || (!p->ahci->addresses_64bit && end > GIB(4)))
			return ERR_INVALID;
		while (at < end) {
			uint32_t size = (uint32_t)MIN(end - at, PRD_BYTES);

			if (n == PRDS)
				return ERR_INVALID;
			table->prd[n++] = (struct prd){ at, 0, size - 1 };
			at += size;
		}
	}
	tag->ranges = n;
	return 0;
}

static void start(struct disk *disk, unsigned number)
{
	struct port *p = disk->controller;
	struct disk_tag *tag = &disk->tag[number];
	bool data = tag->op != BLOCK_FLUSH;

	fill_fis(tag->table, ata_command(tag, p->lba48), data ? tag->block : 0, data ? tag->blocks : 0, p->lba48);
	p->list[number] = (struct command_header){
		.flags = (uint16_t)(5 | (tag->op == BLOCK_WRITE ? BIT(6) : 0)),
		.prds = (uint16_t)(data ? tag->ranges : 0),
		.table = tag->table_phys,
	};
	p->to_issue |= 1U << number;
}

static void commit(struct disk *disk)
{
	struct port *p = disk->controller;

	if (!p->to_issue)
		return;
	p->issued |= p->to_issue;
	mmio_write32(p->registers + PX_CI, p->to_issue);
	p->to_issue = 0;
}

/* The port has stopped at an error (section 6.2.2): the command that it was executing has failed, the others begin anew. */
static void recover(struct disk *disk, struct port *p, uint32_t left)
{
	uint32_t at = read_command(p) >> 8 & 0x1f;

	log_line("disk %s: error in slot %u: interrupt status %x, task file %x", disk->name, at, mmio_read32(p->registers + PX_IS), read_task(p));
	if (stop(p) || ((read_task(p) & (ATA_BUSY | ATA_REQUEST)) && reset_link(p)) || begin(p)) {
		/* Its commands' time-outs find the port. Until then nobody waits here for it again. */
		mmio_write32(p->registers + PX_IS, UINT32_MAX);
		p->issued = left;
		return;
	}
	if (left & 1U << at)
		disk_finished(disk, at, ERR_IO);
	left &= ~(1U << at);
	for (unsigned i = 0; i < disk->tag_count; i++)
		if (left & 1U << i)
			start(disk, i);
	commit(disk);
}

static void reap(struct disk *disk)
{
	struct port *p = disk->controller;
	uint32_t status = mmio_read32(p->registers + PX_IS);
	uint32_t left, ended;

	mmio_write32(p->registers + PX_IS, status & ~IS_ERRORS);
	left = read_issued(p) & p->issued;
	ended = p->issued & ~left;
	p->issued = left;
	for (unsigned i = 0; ended && i < disk->tag_count; i++, ended >>= 1)
		if (ended & 1)
			disk_finished(disk, i, 0);
	/* p->issued also has the flushes that ended durable writes have begun meanwhile. */
	if (status & IS_ERRORS)
		recover(disk, p, p->issued);
}

static void interrupt(void *ctx)
{
	struct ahci *a = ctx;
	uint32_t pending = mmio_read32(a->registers + HBA_IS);

	for (unsigned i = 0; i < PORTS; i++) {
		struct port *p = &a->port[i];

		if (!(pending & 1U << i) || !p->disk || !p->disk->opened)
			continue;
		spin_lock(&p->lock);
		reap(p->disk);
		spin_unlock(&p->lock);
	}
	mmio_write32(a->registers + HBA_IS, pending);
}

static int reset(struct disk *disk)
{
	struct port *p = disk->controller;
	bool linked;

	p->to_issue = 0;
	stop(p); /* if it can; else the link's reset stops the port */
	linked = !reset_link(p);
	/* A port that does not stop must not go on with DMA: then the whole controller loses its bus. */
	if (stop(p)) {
		pci_host_disable(p->ahci->fn);
		return ERR_IO;
	}
	return linked ? begin(p) : ERR_IO;
}

static void route(struct disk *disk, unsigned core)
{
	struct ahci *a = ((struct port *)disk->controller)->ahci;
	uint64_t address;
	uint32_t data;

	if (a->has_msi && !host_message((uint8_t)a->vector, core, &address, &data))
		pci_msi_set(&a->msi, 0, address, data);
}

static void mask_interrupts(struct disk *disk, bool on)
{
	struct port *p = disk->controller;

	if (p->ahci->has_msi)
		mmio_write32(p->registers + PX_IE, on ? 0 : IS_WANTED);
}

static int open(struct disk *disk)
{
	struct port *p = disk->controller;

	route(disk, 0);
	mmio_write32(p->registers + PX_IS, UINT32_MAX);
	mmio_write32(p->ahci->registers + HBA_IS, UINT32_MAX);
	if (p->ahci->has_msi) {
		mmio_write32(p->registers + PX_IE, IS_WANTED);
		mmio_write32(p->ahci->registers + HBA_GHC, (uint32_t)(GHC_AHCI | GHC_INTERRUPTS));
	}
	return 0;
}

static const struct disk_ops ops = { .open = open, .encode = encode, .start = start, .commit = commit, .reap = reap, .reset = reset,
				     .mask_interrupts = mask_interrupts, .route = route };

/* ---- Finding them ---- */

/* It claims to reach 64 bits, to signal by messages, and to take 256 sectors at once: it does none of them right. */
static bool sb600(const struct pci_function *fn)
{
	return fn->vendor == ATI && fn->device == SB600;
}

/* Slot 0, polled; the second page holds the command's table and, behind the first PRD, the answer. */
static bool identify(struct port *p)
{
	struct command_table *table = (struct command_table *)(void *)((uint8_t *)p->list + PAGE_SIZE);

	fill_fis(table->fis, ATA_IDENTIFY, 0, 0, false);
	table->prd[0] = (struct prd){ p->list_phys + PAGE_SIZE + 512, 0, 511 };
	p->list[0] = (struct command_header){ .flags = 5, .prds = 1, .table = p->list_phys + PAGE_SIZE };
	mmio_write32(p->registers + PX_CI, 1);
	return !disk_wait(read_issued, p, 1, 0, IDENTIFY_MS) && !(read_task(p) & ATA_ERROR);
}

/* Is there something at the port? With staggered spin-up Lamina may have to wake the disk (section 10.1.1); then the link shows it within
 * 10 ms. */
static bool link_is_up(struct port *p, bool staggered)
{
	if (staggered && !(read_command(p) & CMD_SPIN_UP)) {
		mmio_write32(p->registers + PX_CMD, read_command(p) | (uint32_t)CMD_SPIN_UP);
		disk_wait(read_link, p, 0xf, SSTS_DETECTED, SPIN_UP_MS);
	}
	return (read_link(p) & 0xf) == SSTS_DETECTED ||
	       ((read_link(p) & 0xf) == SSTS_SEEN && !disk_wait(read_link, p, 0xf, SSTS_DETECTED, LINK_MS));
}

static void find_port(struct ahci *a, unsigned index)
{
	struct port *p = &a->port[index];
	uint16_t words[256];
	struct disk *disk;

	p->ahci = a;
	p->registers = a->registers + PORT(index);
	mmio_write32(p->registers + PX_IE, 0);
	if (!link_is_up(p, mmio_read32(a->registers + HBA_CAP) & CAP_STAGGERED))
		return;
	p->list = host_dma_alloc(2, &p->list_phys);
	if (!p->list)
		return;
	/* The signature comes with the first FIS, which needs the receive on. */
	if (stop(p) || begin(p)) {
		log_line("disk ahci:%u: it does not become ready", ports_found + index);
		stop(p);
		return;
	}
	disk = mmio_read32(p->registers + PX_SIG) == SIG_DISK ? disk_new() : NULL;
	if (!disk) {
		stop(p);
		return;
	}
	snprintf(disk->name, sizeof(disk->name), "ahci:%u", ports_found + index);
	if (!identify(p)) {
		log_line("disk %s: it does not identify itself", disk->name);
		stop(p);
		return;
	}
	memcpy(words, (uint8_t *)p->list + PAGE_SIZE + 512, sizeof(words));
	if (!ata_identified(disk, words, &p->lba48))
		return;
	disk->ops = &ops;
	disk->controller = p;
	disk->lock = &p->lock;
	disk->tag_count = MIN((mmio_read32(a->registers + HBA_CAP) >> 8 & 0x1f) + 1, SLOTS);
	disk->timeout_s = 15; /* a command's time includes the commands that wait in front of it */
	disk->has_no_interrupt = !a->has_msi;
	if (sb600(a->fn))
		disk->max_blocks = MIN(disk->max_blocks, SB600_BLOCKS);
	p->disk = disk;
	disk_add(disk);
}

static uint32_t read_handoff(void *ctx)
{
	return mmio_read32(((struct ahci *)ctx)->registers + HBA_BOHC);
}

/* The firmware's RAID mode changes an Intel controller's class, not its registers. But VMD has that class too, and other BARs: its BAR 4 is of
 * memory with 64 bits, so that there is no BAR 5. */
static bool intel_raid(const struct pci_function *fn)
{
	struct pci_bar bar;

	if (fn->vendor != PCI_VENDOR_INTEL || fn->class_code >> 8 != PCI_CLASS_RAID)
		return false;
	return pci_host_read32(fn, PCI_BAR0 + 4 * (BAR_AHCI - 1)) & PCI_BAR_IO && !pci_host_bar(fn, BAR_AHCI, &bar) && !bar.io;
}

static void report_remapped(const struct ahci *a)
{
	volatile uint8_t *registers = NULL;
	unsigned count = 0;
	struct pci_bar bar;

	if (a->fn->vendor == PCI_VENDOR_INTEL && !pci_host_bar(a->fn, BAR_AHCI, &bar) && bar.size >= REMAP_SIZE)
		registers = pci_host_map(a->fn, BAR_AHCI, REMAP_CLASS(REMAP_DISKS));
	if (!registers || !(mmio_read32(registers + REMAP_VSCAP) & 1))
		return;
	for (unsigned i = 0; i < REMAP_DISKS; i++)
		count += mmio_read32(registers + REMAP_CAP) >> i & 1 && mmio_read32(registers + REMAP_CLASS(i)) == PCI_CLASS_NVME;
	if (count)
		log_line("pci %02x:%02x.%u: %u NVMe disk(s) are hidden behind this SATA controller: switch RST/VMD off in the firmware set-up",
			 a->fn->bdf >> 8, a->fn->bdf >> 3 & 31, a->fn->bdf & 7, count);
}

bool ahci_found(const struct pci_function *fn)
{
	struct ahci *a;
	uint64_t phys;
	uint32_t ports;

	if (fn->class_code != CLASS_AHCI && !intel_raid(fn))
		return false;
	a = host_dma_alloc(1, &phys);
	if (!a)
		return true;
	a->fn = fn;
	a->registers = pci_host_map(fn, BAR_AHCI, 0x100);
	if (!a->registers)
		return true;
	/* Firmware need not have switched it on; and before GHC.AE no other register may be touched (section 3.1.2). */
	pci_host_enable(fn, false);
	mmio_write32(a->registers + HBA_GHC, (uint32_t)GHC_AHCI);
	ports = mmio_read32(a->registers + HBA_PI);
	a->registers = pci_host_map(fn, BAR_AHCI, PORT(ports ? 32U - (unsigned)__builtin_clz(ports) : 0U));
	if (!a->registers)
		return true;
	/* Section 10.6.3: the firmware gives it up. */
	if (mmio_read32(a->registers + HBA_CAP2) & CAP2_HANDOFF) {
		mmio_write32(a->registers + HBA_BOHC, read_handoff(a) | (uint32_t)BOHC_OS);
		disk_wait(read_handoff, a, BOHC_BIOS, 0, 2000);
	}
	report_remapped(a);
	a->addresses_64bit = mmio_read32(a->registers + HBA_CAP) & CAP_64BIT && !sb600(fn);
	a->has_msi = !sb600(fn) && !pci_msi_init(&a->msi, fn);
	a->vector = a->has_msi ? host_interrupt(interrupt, a) : -1;
	a->has_msi = a->vector >= 0;
	for (unsigned i = 0; i < PORTS; i++)
		if (ports & 1U << i)
			find_port(a, i);
	ports_found += PORTS;
	return true;
}

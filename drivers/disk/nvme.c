/* NVMe disks: a pair of queues and an interrupt for each namespace that is used. Source: NVM Express Base Specification 1.4. */
#include "drivers/disk/nvme.h"

#include "drivers/disk/disk.h"
#include "drivers/host.h"
#include "drivers/mmio.h"
#include "drivers/pci/pci_host.h"
#include "lib/log.h"
#include "lib/printf.h"
#include "lib/string.h"

#define REGISTERS_SIZE 0x2000U
#define ADMIN_ENTRIES 16U
#define IO_ENTRIES 64U        /* a page of commands; DISK_TAGS of them are under way at most, so it is never full */
#define QUEUES_MAX 8U         /* namespaces in use, of one controller */
#define ADMIN_MS 5000U
#define MAX_TRANSFER MIB(1)
#define PRP_ENTRIES (DISK_TABLE_SIZE / 8)
#define PHASE 1U
#define FUA BIT(30)

_Static_assert(DISK_TAGS < IO_ENTRIES, "a queue holds every tag");

struct queue {
	struct nvme_command *sq;
	struct nvme_completion *cq;
	uint64_t sq_phys, cq_phys;
	volatile uint8_t *sq_doorbell, *cq_doorbell;
	uint16_t id, entries, tail, head, rung;
	uint8_t phase;
	uint32_t nsid;
	struct disk *disk;
};

struct nvme {
	const struct pci_function *fn;
	volatile uint8_t *registers;
	unsigned number;
	uint32_t doorbell_stride;
	uint32_t ready_ms;
	uint16_t entries_max;
	uint32_t max_transfer;   /* bytes */
	unsigned queues_granted;
	uint16_t next_cid;
	bool erred;              /* a completion made no sense */
	uint8_t *page;           /* for what admin commands return */
	uint64_t page_phys;
	struct pci_msi msi;
	bool has_msi;
	int vector;
	struct spinlock lock;
	struct queue admin;
	unsigned queues;
	struct queue io[QUEUES_MAX];
};
_Static_assert(sizeof(struct nvme) <= PAGE_SIZE, "it has a page");

static unsigned controllers;

static uint32_t read_status(void *ctx)
{
	const struct nvme *nvme = ctx;

	return mmio_read32(nvme->registers + NVME_CSTS);
}

static int make_queue(struct nvme *nvme, struct queue *q, unsigned id, unsigned entries)
{
	if (!q->sq) {
		q->sq = host_dma_alloc(1, &q->sq_phys);
		q->cq = host_dma_alloc(1, &q->cq_phys);
		if (!q->sq || !q->cq)
			return ERR_NOMEM;
	}
	q->id = (uint16_t)id;
	q->entries = (uint16_t)entries;
	q->sq_doorbell = nvme->registers + NVME_DOORBELLS + (size_t)(2 * id) * nvme->doorbell_stride;
	q->cq_doorbell = q->sq_doorbell + nvme->doorbell_stride;
	return 0;
}

/* As a controller that was just reset sees it. */
static void empty_queue(struct queue *q)
{
	memset(q->cq, 0, PAGE_SIZE);
	q->tail = q->head = q->rung = 0;
	q->phase = PHASE;
}

static void put(struct queue *q, const struct nvme_command *command)
{
	q->sq[q->tail] = *command;
	q->tail = (uint16_t)(q->tail + 1 == q->entries ? 0 : q->tail + 1);
}

static void ring(struct queue *q)
{
	if (q->rung == q->tail)
		return;
	q->rung = q->tail;
	mmio_write32(q->sq_doorbell, q->tail);
}

/* The next completion, copied. Returns false where there is none. */
static bool take(struct queue *q, struct nvme_completion *c)
{
	const struct nvme_completion *entry = &q->cq[q->head];

	if ((__atomic_load_n(&entry->status, __ATOMIC_ACQUIRE) & PHASE) != q->phase)
		return false;
	*c = *entry;
	if (++q->head == q->entries) {
		q->head = 0;
		q->phase ^= PHASE;
	}
	return true;
}

/* ---- Admin commands: one at a time, polled ---- */

static int admin(struct nvme *nvme, struct nvme_command *command, uint32_t *result)
{
	struct queue *q = &nvme->admin;
	uint64_t end = time_now() + time_hz() / 1000 * ADMIN_MS;
	struct nvme_completion c;

	command->cid = nvme->next_cid++;
	put(q, command);
	ring(q);
	while (time_now() < end) {
		if (!take(q, &c)) {
			host_relax();
			continue;
		}
		mmio_write32(q->cq_doorbell, q->head);
		if (c.cid != command->cid)
			continue;
		if (result)
			*result = c.result;
		return c.status >> 1 ? ERR_IO : 0;
	}
	return ERR_IO;
}

static int identify(struct nvme *nvme, uint32_t what, uint32_t nsid)
{
	struct nvme_command command = { .opcode = NVME_ADMIN_IDENTIFY, .nsid = nsid, .prp1 = nvme->page_phys, .cdw10 = what };

	return admin(nvme, &command, NULL);
}

static int create_queues(struct nvme *nvme, const struct queue *q)
{
	uint32_t size = (q->entries - 1U) << 16 | q->id;
	uint32_t vector = nvme->msi.msix ? MIN((uint32_t)q->id, nvme->msi.vectors - 1) : 0;
	struct nvme_command cq = { .opcode = NVME_ADMIN_CREATE_CQ, .prp1 = q->cq_phys, .cdw10 = size,
				   .cdw11 = 1 | (nvme->has_msi ? 2 | vector << 16 : 0) };
	struct nvme_command sq = { .opcode = NVME_ADMIN_CREATE_SQ, .prp1 = q->sq_phys, .cdw10 = size, .cdw11 = 1 | (uint32_t)q->id << 16 };

	return admin(nvme, &cq, NULL) || admin(nvme, &sq, NULL) ? ERR_IO : 0;
}

/* Section 7.6.1: off, the admin queues, on. */
static int enable(struct nvme *nvme)
{
	struct queue *q = &nvme->admin;
	struct nvme_command queues = { .opcode = NVME_ADMIN_SET_FEATURES, .cdw10 = NVME_FEATURE_QUEUES,
				       .cdw11 = (QUEUES_MAX - 1) << 16 | (QUEUES_MAX - 1) };
	uint32_t granted;

	mmio_write32(nvme->registers + NVME_CC, 0);
	if (disk_wait(read_status, nvme, NVME_CSTS_READY, 0, nvme->ready_ms))
		return ERR_IO;
	empty_queue(q);
	for (unsigned i = 0; i < nvme->queues; i++)
		empty_queue(&nvme->io[i]);
	nvme->erred = false;
	mmio_write32(nvme->registers + NVME_AQA, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
	mmio_write64(nvme->registers + NVME_ASQ, q->sq_phys);
	mmio_write64(nvme->registers + NVME_ACQ, q->cq_phys);
	mmio_write32(nvme->registers + NVME_CC, (uint32_t)NVME_CC_ENABLE | NVME_CC_QUEUE_ENTRIES);
	if (disk_wait(read_status, nvme, NVME_CSTS_READY, NVME_CSTS_READY, nvme->ready_ms) ||
	    mmio_read32(nvme->registers + NVME_CSTS) & NVME_CSTS_FATAL)
		return ERR_IO;
	if (admin(nvme, &queues, &granted))
		return ERR_IO;
	nvme->queues_granted = MIN((granted & 0xffff) + 1, (granted >> 16) + 1);
	for (unsigned i = 0; i < nvme->queues; i++)
		if (create_queues(nvme, &nvme->io[i]))
			return ERR_IO;
	return 0;
}

/* ---- Commands of a namespace ---- */

static void reap(struct disk *disk)
{
	struct queue *q = disk->unit;
	struct nvme *nvme = disk->controller;
	struct nvme_completion c;
	unsigned n = 0;

	/* At most a queue full of completions: an honest controller never has more at once. */
	while (n < q->entries && take(q, &c)) {
		n++;
		if (!disk_finished(disk, c.cid, c.status >> 1 ? ERR_IO : 0) && !nvme->erred) {
			nvme->erred = true;
			log_line("disk %s: the controller ended command %u, which is not under way", disk->name, c.cid);
		}
	}
	if (n)
		mmio_write32(q->cq_doorbell, q->head);
}

static void interrupt(void *ctx)
{
	struct nvme *nvme = ctx;

	spin_lock(&nvme->lock);
	for (unsigned i = 0; i < nvme->queues; i++)
		reap(nvme->io[i].disk);
	spin_unlock(&nvme->lock);
}

static void route(struct disk *disk, unsigned core)
{
	struct nvme *nvme = disk->controller;
	const struct queue *q = disk->unit;
	uint64_t address;
	uint32_t data;

	if (nvme->has_msi && !host_message((uint8_t)nvme->vector, core, &address, &data))
		pci_msi_set(&nvme->msi, nvme->msi.msix ? MIN((uint32_t)q->id, nvme->msi.vectors - 1) : 0, address, data);
}

static void mask_interrupts(struct disk *disk, bool on)
{
	struct nvme *nvme = disk->controller;

	/* A queue can be masked only if it has a vector of its own. Where the queues share one, or have MSI, whose mask is the whole
	 * controller's, nothing is masked. */
	if (nvme->msi.msix && nvme->msi.vectors > QUEUES_MAX)
		pci_msi_mask(&nvme->msi, ((const struct queue *)disk->unit)->id, on);
}

static int open(struct disk *disk)
{
	struct nvme *nvme = disk->controller;
	uint32_t nsid = (uint32_t)(uintptr_t)disk->unit;
	struct queue *q;
	int err = ERR_NOMEM;

	if (nvme->queues == MIN(QUEUES_MAX, nvme->queues_granted)) {
		log_line("disk %s: the controller has queues for %u namespaces only", disk->name, nvme->queues);
		return ERR_NOMEM;
	}
	q = &nvme->io[nvme->queues];
	if (!make_queue(nvme, q, nvme->queues + 1, MIN(IO_ENTRIES, nvme->entries_max))) {
		empty_queue(q);
		q->nsid = nsid;
		q->disk = disk;
		disk->unit = q;
		disk->has_no_interrupt = !nvme->has_msi;
		route(disk, 0);
		err = create_queues(nvme, q);
		nvme->queues += !err;
	}
	if (err)
		log_line("disk %s: its queues could not be made", disk->name);
	return err;
}

/* Section 4.3: page by page; only the first piece may begin, and only the last end, within a page. The table is the list of all pages:
 * its first entry is PRP1, and PRP2 points behind that. */
static int encode(struct disk *disk, struct disk_tag *tag, const struct disk_range *ranges, unsigned count)
{
	uint64_t *list = (uint64_t *)(void *)tag->table;
	unsigned n = 0;

	(void)disk;
	for (unsigned i = 0; i < count; i++) {
		uint64_t at = ranges[i].phys, end = at + ranges[i].len;

		if (at % 4 || (i && at % PAGE_SIZE) || (i + 1 < count && end % PAGE_SIZE))
			return ERR_INVALID;
		for (; at < end; at = ALIGN_DOWN(at, (uint64_t)PAGE_SIZE) + PAGE_SIZE) {
			if (n == PRP_ENTRIES)
				return ERR_INVALID;
			list[n++] = at;
		}
	}
	tag->ranges = n;
	return 0;
}

static void start(struct disk *disk, unsigned number)
{
	const struct disk_tag *tag = &disk->tag[number];
	const uint64_t *list = (const uint64_t *)(const void *)tag->table;
	struct queue *q = disk->unit;
	struct nvme_command command = { .opcode = NVME_FLUSH, .cid = (uint16_t)number, .nsid = q->nsid };

	if (tag->op != BLOCK_FLUSH) {
		command.opcode = tag->op == BLOCK_READ ? NVME_READ : NVME_WRITE;
		command.prp1 = list[0];
		command.prp2 = tag->ranges == 2 ? list[1] : tag->ranges > 2 ? tag->table_phys + 8 : 0;
		command.cdw10 = (uint32_t)tag->block;
		command.cdw11 = (uint32_t)(tag->block >> 32);
		command.cdw12 = tag->blocks - 1;
	}
	put(q, &command);
}

static void commit(struct disk *disk)
{
	ring(disk->unit);
}

static int reset(struct disk *disk)
{
	struct nvme *nvme = disk->controller;
	int err = enable(nvme);

	/* A controller that does not come back must not go on with DMA either. */
	if (err)
		pci_host_disable(nvme->fn);
	return err;
}

/* Section 7.6.2. */
static void shutdown(struct disk *disk)
{
	struct nvme *nvme = disk->controller;
	uint32_t cc = mmio_read32(nvme->registers + NVME_CC);

	if (disk->opened && !disk->dead && !(cc & NVME_CC_SHUTDOWN)) {
		mmio_write32(nvme->registers + NVME_CC, cc | NVME_CC_SHUTDOWN);
		disk_wait(read_status, nvme, NVME_CSTS_SHUTDOWN_MASK, NVME_CSTS_SHUTDOWN_DONE, ADMIN_MS);
	}
}

static const struct disk_ops ops = { .open = open, .encode = encode, .start = start, .commit = commit, .reap = reap, .reset = reset,
				     .mask_interrupts = mask_interrupts, .route = route, .shutdown = shutdown };

/* ---- Finding them ---- */

static void add_namespace(struct nvme *nvme, uint32_t nsid, const char *model, const char *serial, bool write_cache)
{
	const uint8_t *ns = nvme->page;
	uint8_t format_index;
	uint64_t blocks;
	uint32_t format;
	unsigned shift;
	struct disk *disk;

	if (identify(nvme, NVME_IDENTIFY_NAMESPACE, nsid))
		return;
	memcpy(&blocks, ns + NVME_NS_SIZE, sizeof(blocks));
	format_index = ns[NVME_NS_FORMAT] & 0xf;
	memcpy(&format, ns + NVME_NS_FORMATS + 4UL * format_index, sizeof(format));
	shift = format >> 16 & 0xff;
	if (!blocks)
		return;
	if (shift < 9 || shift > 12 || format & 0xffff || blocks > UINT64_MAX >> shift) {
		log_line("disk nvme:%un%u: blocks of 2^%u bytes with %u bytes of metadata: not supported", nvme->number, nsid, shift, format & 0xffff);
		return;
	}
	disk = disk_new();
	if (!disk)
		return;
	snprintf(disk->name, sizeof(disk->name), "nvme:%un%u", nvme->number, nsid);
	memcpy(disk->model, model, sizeof(disk->model));
	memcpy(disk->serial, serial, sizeof(disk->serial));
	disk->ops = &ops;
	disk->controller = nvme;
	disk->unit = (void *)(uintptr_t)nsid; /* until it is opened */
	disk->lock = &nvme->lock;
	disk->blocks = blocks;
	disk->block_size = 1U << shift;
	disk->max_blocks = nvme->max_transfer >> shift;
	disk->tag_count = MIN(DISK_TAGS, nvme->entries_max - 1U);
	disk->write_cache = write_cache;
	disk->read_only = ns[NVME_NS_ATTRIBUTES] & 1;
	disk_add(disk);
}

static void find_namespaces(struct nvme *nvme)
{
	char model[DISK_MODEL_SIZE], serial[DISK_SERIAL_SIZE];
	uint32_t namespaces, list[DISKS_MAX];
	bool write_cache;
	uint8_t mdts;

	if (identify(nvme, NVME_IDENTIFY_CONTROLLER, 0)) {
		log_line("nvme %u: it does not identify itself", nvme->number);
		return;
	}
	memset(model, 0, sizeof(model));
	memset(serial, 0, sizeof(serial));
	disk_text(serial, sizeof(serial), nvme->page + NVME_ID_SERIAL, 20, false);
	disk_text(model, sizeof(model), nvme->page + NVME_ID_MODEL, 40, false);
	memcpy(&namespaces, nvme->page + NVME_ID_NAMESPACES, sizeof(namespaces));
	write_cache = nvme->page[NVME_ID_VWC] & 1;
	mdts = nvme->page[NVME_ID_MDTS];
	nvme->max_transfer = mdts && mdts < 8 ? PAGE_SIZE << mdts : MAX_TRANSFER;
	/* The list of active namespaces came with version 1.1; before, they are numbered from 1. */
	if (mmio_read32(nvme->registers + NVME_VS) < 0x10100 || identify(nvme, NVME_IDENTIFY_ACTIVE, 0))
		for (unsigned i = 0; i < DISKS_MAX; i++)
			list[i] = i < namespaces ? i + 1 : 0;
	else
		memcpy(list, nvme->page, sizeof(list));
	for (unsigned i = 0; i < DISKS_MAX && list[i]; i++)
		add_namespace(nvme, list[i], model, serial, write_cache);
}

bool nvme_found(const struct pci_function *fn)
{
	struct nvme *nvme;
	uint64_t phys, cap;

	if (fn->class_code != PCI_CLASS_NVME)
		return false;
	nvme = host_dma_alloc(1, &phys);
	if (!nvme)
		return true;
	nvme->number = controllers++;
	nvme->fn = fn;
	nvme->page = host_dma_alloc(1, &nvme->page_phys);
	nvme->registers = pci_host_map(fn, 0, REGISTERS_SIZE);
	if (!nvme->registers || !nvme->page)
		return true;
	pci_host_enable(fn, false);
	cap = mmio_read64(nvme->registers + NVME_CAP);
	nvme->doorbell_stride = 4U << (cap >> 32 & 0xf);
	nvme->ready_ms = (uint32_t)(cap >> 24 & 0xff) * 500 + 500;
	nvme->entries_max = (uint16_t)MIN((cap & 0xffff) + 1, (uint64_t)IO_ENTRIES);
	if (cap >> 48 & 0xf || nvme->doorbell_stride > 64 || !(cap & 0xffff)) {
		log_line("nvme %u: pages of 4 KiB, or its doorbells, are not as this driver needs them (CAP %lx)", nvme->number, (unsigned long)cap);
		return true;
	}
	nvme->has_msi = !pci_msi_init(&nvme->msi, fn);
	nvme->vector = nvme->has_msi ? host_interrupt(interrupt, nvme) : -1;
	nvme->has_msi = nvme->vector >= 0;
	if (make_queue(nvme, &nvme->admin, 0, ADMIN_ENTRIES) || enable(nvme)) {
		log_line("nvme %u: the controller does not become ready", nvme->number);
		pci_host_disable(fn);
		return true;
	}
	find_namespaces(nvme);
	return true;
}

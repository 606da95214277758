/* virtio-blk disks of an outer hypervisor's: modern devices on PCI, one queue, each request in an indirect table. Source: virtio 1.2. */
#include "drivers/disk/disk.h"
#include "drivers/host.h"
#include "drivers/mmio.h"
#include "drivers/pci/pci_host.h"
#include "lib/log.h"
#include "lib/pci.h"
#include "lib/printf.h"
#include "lib/string.h"

#define VENDOR 0x1af4U
#define DEVICE_MODERN 0x1042U
#define DEVICE_TRANSITIONAL 0x1001U
#define NO_VECTOR 0xffffU
#define QUEUE_SIZE 64U         /* a table for each tag; so the ring is never full */
#define RESET_MS 1000U
#define MAX_SECTORS 2048U

/* Common configuration (section 4.1.4.3) */
enum { DEVICE_FEATURE_SELECT = 0x00, DEVICE_FEATURE = 0x04, DRIVER_FEATURE_SELECT = 0x08, DRIVER_FEATURE = 0x0c, QUEUES = 0x12,
       DEVICE_STATUS = 0x14, QUEUE_SELECT = 0x16, QUEUE_LENGTH = 0x18, QUEUE_VECTOR = 0x1a, QUEUE_ENABLE = 0x1c,
       QUEUE_NOTIFY_OFF = 0x1e, QUEUE_DESC = 0x20, QUEUE_DRIVER = 0x28, QUEUE_DEVICE = 0x30, COMMON_SIZE = 0x38 };

enum { STATUS_ACKNOWLEDGE = 1, STATUS_DRIVER = 2, STATUS_DRIVER_OK = 4, STATUS_FEATURES_OK = 8 };

enum { F_SEG_MAX = 2, F_RO = 5, F_BLK_SIZE = 6, F_FLUSH = 9, F_INDIRECT = 28, F_VERSION_1 = 32, F_ACCESS_PLATFORM = 33 };

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8 };

/* Device configuration (section 5.2.4) */
enum { CONFIG_CAPACITY = 0x00, CONFIG_SEG_MAX = 0x0c, CONFIG_BLK_SIZE = 0x14, CONFIG_SIZE = 0x18 };

#define DESC_NEXT 1U
#define DESC_WRITE 2U
#define DESC_INDIRECT 4U
#define NO_NOTIFY 1U
#define NO_INTERRUPT 1U

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
_Static_assert(sizeof(struct desc) == 16, "section 2.7.5");

struct avail {
	uint16_t flags, idx, ring[QUEUE_SIZE];
};

struct used {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} ring[QUEUE_SIZE];
};

struct rings {
	struct desc desc[QUEUE_SIZE];
	struct avail avail;
	struct used used __attribute__((aligned(64)));
};
_Static_assert(sizeof(struct rings) <= PAGE_SIZE, "they have a page");

/* A tag's table: descriptors, and behind them the header and the status byte that the first and the last descriptor point to. */
#define RANGES_MAX 250U

struct table {
	struct desc desc[RANGES_MAX + 2];
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header;
	uint8_t status;
};
_Static_assert(sizeof(struct table) <= DISK_TABLE_SIZE, "a tag's table");

struct virtio {
	const struct pci_function *fn;
	volatile uint8_t *common, *device, *notify;
	uint32_t notify_multiplier, notify_size;
	uint64_t features;
	struct pci_msi msi;
	bool has_msi, erred;
	int vector;
	struct spinlock lock;
	struct rings *rings;
	uint64_t rings_phys;
	uint16_t used_idx, notified_idx;  /* used elements seen; available index at the last notification of the device */
	struct disk *disk;
};

static unsigned count;

static uint32_t read_device_status(void *ctx)
{
	return mmio_read8(((struct virtio *)ctx)->common + DEVICE_STATUS);
}

static uint64_t device_features(struct virtio *v)
{
	uint64_t low;

	mmio_write32(v->common + DEVICE_FEATURE_SELECT, 0);
	low = mmio_read32(v->common + DEVICE_FEATURE);
	mmio_write32(v->common + DEVICE_FEATURE_SELECT, 1);
	return (uint64_t)mmio_read32(v->common + DEVICE_FEATURE) << 32 | low;
}

/* Section 3.1.1. */
static int bring_up(struct virtio *v)
{
	const uint64_t needed = BIT(F_INDIRECT) | BIT(F_VERSION_1);
	uint8_t status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;

	mmio_write8(v->common + DEVICE_STATUS, 0);
	if (disk_wait(read_device_status, v, 0xff, 0, RESET_MS))
		return ERR_IO;
	mmio_write8(v->common + DEVICE_STATUS, STATUS_ACKNOWLEDGE);
	mmio_write8(v->common + DEVICE_STATUS, status);
	v->features = device_features(v) & (needed | BIT(F_SEG_MAX) | BIT(F_RO) | BIT(F_BLK_SIZE) | BIT(F_FLUSH) | BIT(F_ACCESS_PLATFORM));
	if ((v->features & needed) != needed)
		return ERR_UNSUPPORTED;
	mmio_write32(v->common + DRIVER_FEATURE_SELECT, 0);
	mmio_write32(v->common + DRIVER_FEATURE, (uint32_t)v->features);
	mmio_write32(v->common + DRIVER_FEATURE_SELECT, 1);
	mmio_write32(v->common + DRIVER_FEATURE, (uint32_t)(v->features >> 32));
	status |= STATUS_FEATURES_OK;
	mmio_write8(v->common + DEVICE_STATUS, status);
	if (!(read_device_status(v) & STATUS_FEATURES_OK))
		return ERR_UNSUPPORTED;
	mmio_write16(v->common + QUEUE_SELECT, 0);
	if (mmio_read16(v->common + QUEUE_LENGTH) < QUEUE_SIZE)
		return ERR_UNSUPPORTED;
	memset(v->rings, 0, PAGE_SIZE);
	v->used_idx = v->notified_idx = 0;
	v->erred = false;
	mmio_write16(v->common + QUEUE_LENGTH, QUEUE_SIZE);
	mmio_write16(v->common + QUEUE_VECTOR, v->has_msi ? 0 : NO_VECTOR);
	mmio_write64(v->common + QUEUE_DESC, v->rings_phys + offsetof(struct rings, desc));
	mmio_write64(v->common + QUEUE_DRIVER, v->rings_phys + offsetof(struct rings, avail));
	mmio_write64(v->common + QUEUE_DEVICE, v->rings_phys + offsetof(struct rings, used));
	mmio_write16(v->common + QUEUE_ENABLE, 1);
	mmio_write8(v->common + DEVICE_STATUS, status | STATUS_DRIVER_OK);
	return 0;
}

/* ---- Requests ---- */

static uint64_t header_phys(uint64_t table)
{
	return table + offsetof(struct table, header);
}

/* Put the descriptors of header and status byte around the `n` descriptors of the transfer, which are there already. */
static void enclose(struct table *t, uint64_t phys, uint32_t type, uint64_t sector, unsigned n)
{
	t->header.type = type;
	t->header.reserved = 0;
	t->header.sector = sector;
	t->status = 0xff;
	t->desc[0] = (struct desc){ header_phys(phys), sizeof(t->header), DESC_NEXT, 1 };
	t->desc[n + 1] = (struct desc){ phys + offsetof(struct table, status), 1, DESC_WRITE, 0 };
}

/* Descriptor `index` of the ring becomes the table of n + 2 descriptors. */
static void offer(struct virtio *v, unsigned index, uint64_t table, unsigned n)
{
	struct avail *avail = &v->rings->avail;

	v->rings->desc[index] = (struct desc){ table, (n + 2) * (uint32_t)sizeof(struct desc), DESC_INDIRECT, 0 };
	avail->ring[avail->idx % QUEUE_SIZE] = (uint16_t)index;
	__atomic_store_n(&avail->idx, (uint16_t)(avail->idx + 1), __ATOMIC_RELEASE);
}

static void tell(struct virtio *v)
{
	if (v->notified_idx == v->rings->avail.idx)
		return;
	v->notified_idx = v->rings->avail.idx;
	/* The index is out before the device's wish is read (section 2.7.13.4.1). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(__atomic_load_n(&v->rings->used.flags, __ATOMIC_RELAXED) & NO_NOTIFY))
		mmio_write16(v->notify, 0);
}

static int encode(struct disk *disk, struct disk_tag *tag, const struct disk_range *ranges, unsigned n)
{
	struct table *t = (struct table *)(void *)tag->table;

	(void)disk;
	if (n > RANGES_MAX)
		return ERR_INVALID;
	for (unsigned i = 0; i < n; i++)
		t->desc[i + 1] = (struct desc){ ranges[i].phys, ranges[i].len,
						(uint16_t)(DESC_NEXT | (tag->op == BLOCK_READ ? DESC_WRITE : 0)), (uint16_t)(i + 2) };
	tag->ranges = n;
	return 0;
}

static void start(struct disk *disk, unsigned number)
{
	static const uint32_t types[] = { [BLOCK_READ] = T_IN, [BLOCK_WRITE] = T_OUT, [BLOCK_FLUSH] = T_FLUSH };
	struct disk_tag *tag = &disk->tag[number];
	unsigned n = tag->op == BLOCK_FLUSH ? 0 : tag->ranges;
	uint64_t sector = tag->op == BLOCK_FLUSH ? 0 : tag->block * (disk->block_size / BLOCK_SECTOR_SIZE);

	enclose((struct table *)(void *)tag->table, tag->table_phys, types[tag->op], sector, n);
	offer(disk->controller, number, tag->table_phys, n);
}

static void commit(struct disk *disk)
{
	tell(disk->controller);
}

static void reap(struct disk *disk)
{
	struct virtio *v = disk->controller;
	struct used *used = &v->rings->used;

	for (unsigned n = 0; n < QUEUE_SIZE && v->used_idx != __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE); n++) {
		uint32_t id = used->ring[v->used_idx++ % QUEUE_SIZE].id;
		uint8_t status = id < disk->tag_count ? ((const struct table *)(const void *)disk->tag[id].table)->status : 0xff;

		if (!disk_finished(disk, id, status ? ERR_IO : 0) && !v->erred) {
			v->erred = true;
			log_line("disk %s: the device ended request %u, which is not under way", disk->name, id);
		}
	}
}

static void interrupt(void *ctx)
{
	struct virtio *v = ctx;

	spin_lock(&v->lock);
	if (v->disk->opened)
		reap(v->disk);
	spin_unlock(&v->lock);
}

static int reset(struct disk *disk)
{
	struct virtio *v = disk->controller;
	int err = bring_up(v);

	if (err)
		pci_host_disable(v->fn);
	return err;
}

static void route(struct disk *disk, unsigned core)
{
	struct virtio *v = disk->controller;
	uint64_t address;
	uint32_t data;

	if (v->has_msi && !host_message((uint8_t)v->vector, core, &address, &data))
		pci_msi_set(&v->msi, 0, address, data);
}

static void mask_interrupts(struct disk *disk, bool on)
{
	struct virtio *v = disk->controller;

	__atomic_store_n(&v->rings->avail.flags, on ? NO_INTERRUPT : 0, __ATOMIC_RELAXED);
	/* The wish is out before the used index is read (section 2.7.7.1). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static int open(struct disk *disk)
{
	route(disk, 0);
	return 0;
}

static const struct disk_ops ops = { .open = open, .encode = encode, .start = start, .commit = commit, .reap = reap, .reset = reset,
				     .mask_interrupts = mask_interrupts, .route = route };

/* ---- Finding them ---- */

/* Section 5.2.6.1; the page is for the table and, behind it, the answer. */
static void get_serial(struct virtio *v, struct disk *disk)
{
	uint64_t phys, end = time_now() + time_hz();
	uint8_t *page = host_dma_alloc(2, &phys);
	struct table *t = (struct table *)(void *)page;

	if (!page)
		return;
	t->desc[1] = (struct desc){ phys + PAGE_SIZE, BLOCK_ID_SIZE, DESC_NEXT | DESC_WRITE, 2 };
	enclose(t, phys, T_GET_ID, 0, 1);
	v->rings->avail.flags = NO_INTERRUPT;
	offer(v, 0, phys, 1);
	tell(v);
	while (__atomic_load_n(&v->rings->used.idx, __ATOMIC_ACQUIRE) == v->used_idx && time_now() < end)
		host_relax();
	if (__atomic_load_n(&v->rings->used.idx, __ATOMIC_ACQUIRE) != v->used_idx && !t->status)
		disk_text(disk->serial, sizeof(disk->serial), page + PAGE_SIZE, BLOCK_ID_SIZE, false);
	/* The device is reset before its next use: whatever became of that request, it is over then. */
	v->rings->avail.flags = 0;
}

/* Section 4.1.4: the structures that this driver uses. */
static bool map_structures(struct virtio *v)
{
	uint8_t at = pci_host_capability(v->fn, PCI_CAP_VENDOR, 0);

	for (unsigned n = 0; at && n < 16; n++) {
		uint8_t type = pci_host_read8(v->fn, at + 3U), bar = pci_host_read8(v->fn, at + 4U);
		uint32_t offset = pci_host_read32(v->fn, at + 8U);
		/* How many bytes of each structure are used. */
		uint32_t size = type == 1 ? COMMON_SIZE : type == 4 ? CONFIG_SIZE : 2;
		volatile uint8_t **where = type == 1 ? &v->common : type == 2 ? &v->notify : type == 4 ? &v->device : NULL;
		uint8_t next = pci_host_read8(v->fn, at + 1U) & 0xfc;

		if (where && !*where && pci_host_read32(v->fn, at + 12U) >= size && offset < GIB(1)) {
			volatile uint8_t *base;

			if (type == 2) {
				v->notify_multiplier = pci_host_read32(v->fn, at + 16U);
				size = v->notify_size = pci_host_read32(v->fn, at + 12U);
			}
			base = size <= MIB(1) ? pci_host_map(v->fn, bar, (uint64_t)offset + size) : NULL;
			*where = base ? base + offset : NULL;
		}
		at = next >= PCI_HEADER_END ? pci_host_capability(v->fn, PCI_CAP_VENDOR, next) : 0;
	}
	return v->common && v->notify && v->device;
}

static void add(struct virtio *v, unsigned number)
{
	struct disk *disk = disk_new();
	uint32_t size = BLOCK_SECTOR_SIZE;

	if (!disk)
		return;
	v->disk = disk;
	snprintf(disk->name, sizeof(disk->name), "virtio:%u", number);
	memcpy(disk->model, "virtio-blk", sizeof("virtio-blk"));
	if (v->features & BIT(F_BLK_SIZE))
		size = mmio_read32(v->device + CONFIG_BLK_SIZE);
	if (size < 512 || size > 4096 || (size & (size - 1)))
		size = BLOCK_SECTOR_SIZE;
	disk->ops = &ops;
	disk->controller = v;
	disk->lock = &v->lock;
	disk->block_size = size;
	disk->blocks = mmio_read64(v->device + CONFIG_CAPACITY) / (size / BLOCK_SECTOR_SIZE);
	disk->max_blocks = MAX_SECTORS / (size / BLOCK_SECTOR_SIZE);
	disk->write_cache = v->features & BIT(F_FLUSH);
	disk->read_only = v->features & BIT(F_RO);
	disk->has_no_interrupt = !v->has_msi;
	get_serial(v, disk);
	if (bring_up(v)) {
		log_line("virtio %u: it does not become ready a second time", number);
	} else if (!disk->blocks || disk->blocks >= BIT(55)) {
		log_line("virtio %u: a disk of %lu sectors", number, (unsigned long)disk->blocks * (size / BLOCK_SECTOR_SIZE));
	} else {
		disk_add(disk);
		return;
	}
	pci_host_disable(v->fn);
}

bool virtio_host_found(const struct pci_function *fn)
{
	struct virtio *v;
	uint64_t phys, notify;
	int err;

	if (fn->vendor != VENDOR || (fn->device != DEVICE_MODERN && fn->device != DEVICE_TRANSITIONAL))
		return false;
	v = host_dma_alloc(1, &phys);
	if (!v)
		return true;
	v->fn = fn;
	v->rings = host_dma_alloc(1, &v->rings_phys);
	if (!v->rings)
		return true;
	if (!map_structures(v)) {
		log_line("virtio %u: not a modern device: its structures are not on PCI", count++);
		return true;
	}
	pci_host_enable(fn, false);
	v->has_msi = !pci_msi_init(&v->msi, fn) && v->msi.msix;
	v->vector = v->has_msi ? host_interrupt(interrupt, v) : -1;
	v->has_msi = v->vector >= 0;
	err = bring_up(v);
	notify = err ? 0 : (uint64_t)mmio_read16(v->common + QUEUE_NOTIFY_OFF) * v->notify_multiplier;
	if (!err && notify + 2 <= v->notify_size) {
		v->notify += notify;
		add(v, count);
	} else {
		log_line("virtio %u: %s", count,
			 !err ? "its queue's notices go outside of their place" :
			 err == ERR_UNSUPPORTED ? "it lacks indirect descriptors, version 1 or a queue of 64" : "it does not become ready");
		pci_host_disable(fn);
	}
	count++;
	return true;
}

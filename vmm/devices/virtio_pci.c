/* The virtio registers in BAR 0 and the capability for access through configuration space; what they mean for the queues, the device's
 * status and its interrupts. */
#include "vmm/devices/virtio_pci.h"

#include "lib/pci.h"
#include "lib/string.h"

#define REVISION 1
#define SUBSYSTEM_ID 0x40 /* section 4.1.2.1: 0x40 or higher for a device that is not transitional */

#define ALL_ONES UINT64_MAX

/* ---- Interrupts ---- */

static void interrupt(struct virtio_pci *virtio, uint16_t vector, uint8_t isr)
{
	if (virtio->msix.enabled) {
		msix_signal(&virtio->msix, vector); /* NO_VECTOR is none that exists */
		return;
	}
	virtio->isr |= isr;
	pci_device_intx(&virtio->pci, true);
}

void virtio_pci_signal_queue(struct virtio_pci *virtio, unsigned queue)
{
	interrupt(virtio, virtio->queue[queue].vector, VIRTIO_ISR_QUEUE);
}

void virtio_pci_needs_reset(struct virtio_pci *virtio)
{
	if (virtio->status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	virtio->status |= VIRTIO_STATUS_NEEDS_RESET;
	if (virtio->status & VIRTIO_STATUS_DRIVER_OK)
		interrupt(virtio, virtio->config_vector, VIRTIO_ISR_CONFIG);
}

bool virtio_pci_queue_runs(const struct virtio_pci *virtio, unsigned queue)
{
	return (virtio->status & (VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET)) == VIRTIO_STATUS_DRIVER_OK &&
	       !virtio->resetting && virtio_ring_enabled(&virtio->queue[queue].ring) && pci_device_is_master(&virtio->pci);
}

static void notify(struct virtio_pci *virtio, unsigned queue)
{
	if (queue < virtio->queue_count && virtio_pci_queue_runs(virtio, queue))
		virtio->ops->notify(virtio, queue);
}

static void notify_all(struct virtio_pci *virtio)
{
	for (unsigned i = 0; i < virtio->queue_count; i++)
		notify(virtio, i);
}

/* ---- Reset ---- */

/* Everything but the status, which the driver polls. */
static void clear(struct virtio_pci *virtio)
{
	virtio->driver_features = 0;
	virtio->device_feature_select = 0;
	virtio->driver_feature_select = 0;
	virtio->queue_select = 0;
	virtio->config_vector = VIRTIO_MSI_NO_VECTOR;
	virtio->isr = 0;
	for (unsigned i = 0; i < virtio->queue_count; i++)
		virtio->queue[i] = (struct virtio_queue){ .size = VIRTIO_RING_SIZE_MAX, .vector = VIRTIO_MSI_NO_VECTOR };
	msix_clear_pending(&virtio->msix);
	pci_device_intx(&virtio->pci, false);
}

static void reset(struct virtio_pci *virtio)
{
	clear(virtio);
	virtio->resetting = !virtio->ops->reset(virtio);
	if (!virtio->resetting)
		virtio->status = 0;
}

void virtio_pci_reset_done(struct virtio_pci *virtio)
{
	if (!virtio->resetting)
		return;
	virtio->resetting = false;
	virtio->status = 0;
}

void virtio_pci_reset(struct virtio_pci *virtio)
{
	msix_reset(&virtio->msix);
	reset(virtio);
}

/* ---- Common configuration (section 4.1.4.3) ---- */

static uint64_t low_or_high(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

/* Each field has one width (section 4.1.3.1); the halves of the 64-bit fields are fields of their own, and drivers use both. */
#define FIELD(name, size) ((unsigned)offsetof(struct virtio_pci_common_cfg, name) << 4 | (size))
#define HIGH(name) ((unsigned)(offsetof(struct virtio_pci_common_cfg, name) + 4) << 4 | 4U)

static uint64_t queue_read(const struct virtio_pci *virtio, unsigned field)
{
	/* A queue that is not there: size 0 says so (section 4.1.5.1.3). */
	static const struct virtio_queue none = { .vector = VIRTIO_MSI_NO_VECTOR };
	unsigned select = virtio->queue_select;
	bool exists = select < virtio->queue_count;
	const struct virtio_queue *queue = exists ? &virtio->queue[select] : &none;

	switch (field) {
	case FIELD(queue_size, 2):
		return queue->size;
	case FIELD(queue_msix_vector, 2):
		return queue->vector;
	case FIELD(queue_enable, 2):
		return virtio_ring_enabled(&queue->ring);
	case FIELD(queue_notify_off, 2):
		return exists ? select : 0;
	case FIELD(queue_desc, 8):
		return queue->desc;
	case FIELD(queue_desc, 4):
		return (uint32_t)queue->desc;
	case HIGH(queue_desc):
		return queue->desc >> 32;
	case FIELD(queue_driver, 8):
		return queue->driver;
	case FIELD(queue_driver, 4):
		return (uint32_t)queue->driver;
	case HIGH(queue_driver):
		return queue->driver >> 32;
	case FIELD(queue_device, 8):
		return queue->device;
	case FIELD(queue_device, 4):
		return (uint32_t)queue->device;
	case HIGH(queue_device):
		return queue->device >> 32;
	default:
		return ALL_ONES;
	}
}

static uint64_t common_read(const struct virtio_pci *virtio, uint64_t offset, unsigned size)
{
	unsigned field = (unsigned)offset << 4 | size;

	switch (field) {
	case FIELD(device_feature_select, 4):
		return virtio->device_feature_select;
	case FIELD(device_feature, 4):
		return low_or_high(virtio->device_features, virtio->device_feature_select);
	case FIELD(driver_feature_select, 4):
		return virtio->driver_feature_select;
	case FIELD(driver_feature, 4):
		return low_or_high(virtio->driver_features, virtio->driver_feature_select);
	case FIELD(config_msix_vector, 2):
		return virtio->config_vector;
	case FIELD(num_queues, 2):
		return virtio->queue_count;
	case FIELD(device_status, 1):
		return virtio->status;
	case FIELD(config_generation, 1):
		return 0;
	case FIELD(queue_select, 2):
		return virtio->queue_select;
	default:
		return queue_read(virtio, field);
	}
}

static uint16_t checked_vector(const struct virtio_pci *virtio, uint16_t vector)
{
	return vector < virtio->msix.vectors ? vector : VIRTIO_MSI_NO_VECTOR;
}

static void write_driver_feature(struct virtio_pci *virtio, uint32_t value)
{
	unsigned shift = 32 * (virtio->driver_feature_select & 1);

	if (virtio->driver_feature_select > 1 || (virtio->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	virtio->driver_features = (virtio->driver_features & ~(0xffffffffULL << shift)) | (uint64_t)value << shift;
}

static bool features_acceptable(const struct virtio_pci *virtio)
{
	return !(virtio->driver_features & ~virtio->device_features) && (virtio->driver_features & BIT(VIRTIO_F_VERSION_1));
}

/* Bits only add up until a reset (section 2.1.1); FEATURES_OK and DRIVER_OK need what comes before them (section 3.1.1). */
static void write_status(struct virtio_pci *virtio, uint8_t value)
{
	uint8_t status = virtio->status;

	if (value == 0) {
		reset(virtio);
		return;
	}
	status |= value & (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FAILED);
	if ((value & VIRTIO_STATUS_FEATURES_OK) && features_acceptable(virtio))
		status |= VIRTIO_STATUS_FEATURES_OK;
	if ((value & VIRTIO_STATUS_DRIVER_OK) && (status & VIRTIO_STATUS_FEATURES_OK))
		status |= VIRTIO_STATUS_DRIVER_OK;
	if (status == virtio->status)
		return;
	value = status & (uint8_t)~virtio->status;
	virtio->status = status;
	if (value & VIRTIO_STATUS_DRIVER_OK)
		notify_all(virtio); /* buffers may wait since before, unannounced */
}

static void enable_queue(struct virtio_pci *virtio, struct virtio_queue *queue)
{
	/* The rings' layout depends on the features, so they come first. */
	if (!(virtio->status & VIRTIO_STATUS_FEATURES_OK) || (virtio->status & VIRTIO_STATUS_NEEDS_RESET))
		return;
	if (virtio_ring_enable(&queue->ring, virtio->mem, queue->size, queue->desc, queue->driver, queue->device,
			       virtio->driver_features))
		virtio_pci_needs_reset(virtio);
}

static void set_low(uint64_t *field, uint64_t value)
{
	*field = (*field & ~0xffffffffULL) | (uint32_t)value;
}

static void set_high(uint64_t *field, uint64_t value)
{
	*field = (uint32_t)*field | (uint64_t)(uint32_t)value << 32;
}

static void queue_write(struct virtio_pci *virtio, unsigned field, uint64_t value)
{
	uint16_t value16 = (uint16_t)value;
	struct virtio_queue *queue;

	if (virtio->queue_select >= virtio->queue_count)
		return;
	queue = &virtio->queue[virtio->queue_select];
	if (field == FIELD(queue_msix_vector, 2)) {
		queue->vector = checked_vector(virtio, value16);
		return;
	}
	if (virtio_ring_enabled(&queue->ring))
		return; /* the rest is fixed now (section 4.1.4.3.2) */
	switch (field) {
	case FIELD(queue_size, 2):
		if (value16 && value16 <= VIRTIO_RING_SIZE_MAX && !(value16 & (value16 - 1)))
			queue->size = value16;
		break;
	case FIELD(queue_enable, 2):
		if (value16 == 1)
			enable_queue(virtio, queue);
		break;
	case FIELD(queue_desc, 8):
		queue->desc = value;
		break;
	case FIELD(queue_desc, 4):
		set_low(&queue->desc, value);
		break;
	case HIGH(queue_desc):
		set_high(&queue->desc, value);
		break;
	case FIELD(queue_driver, 8):
		queue->driver = value;
		break;
	case FIELD(queue_driver, 4):
		set_low(&queue->driver, value);
		break;
	case HIGH(queue_driver):
		set_high(&queue->driver, value);
		break;
	case FIELD(queue_device, 8):
		queue->device = value;
		break;
	case FIELD(queue_device, 4):
		set_low(&queue->device, value);
		break;
	case HIGH(queue_device):
		set_high(&queue->device, value);
		break;
	default:
		break;
	}
}

static void common_write(struct virtio_pci *virtio, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned field = (unsigned)offset << 4 | size;

	if (virtio->resetting)
		return; /* the driver has to wait for status 0 (section 4.1.4.3.2) */
	switch (field) {
	case FIELD(device_feature_select, 4):
		virtio->device_feature_select = (uint32_t)value;
		break;
	case FIELD(driver_feature_select, 4):
		virtio->driver_feature_select = (uint32_t)value;
		break;
	case FIELD(driver_feature, 4):
		write_driver_feature(virtio, (uint32_t)value);
		break;
	case FIELD(config_msix_vector, 2):
		virtio->config_vector = checked_vector(virtio, (uint16_t)value);
		break;
	case FIELD(device_status, 1):
		write_status(virtio, (uint8_t)value);
		break;
	case FIELD(queue_select, 2):
		virtio->queue_select = (uint16_t)value;
		break;
	default:
		queue_write(virtio, field, value);
		break;
	}
}

/* ---- BAR 0 ---- */

/* Reading clears it and the interrupt (section 4.1.4.5). */
static uint64_t isr_read(struct virtio_pci *virtio, uint64_t offset, unsigned size)
{
	uint8_t isr = virtio->isr;

	if (offset != 0 || size != 1)
		return ALL_ONES;
	virtio->isr = 0;
	pci_device_intx(&virtio->pci, false);
	return isr;
}

static uint64_t config_read(const struct virtio_pci *virtio, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	if (offset >= virtio->config_len || size > virtio->config_len - offset)
		return ALL_ONES;
	memcpy(&value, (const uint8_t *)virtio->config + offset, size);
	return value;
}

static uint64_t bar_read(void *ctx, uint64_t offset, unsigned size)
{
	struct virtio_pci *virtio = ctx;
	uint64_t within = offset & (PAGE_SIZE - 1);

	switch (offset & ~(uint64_t)(PAGE_SIZE - 1)) {
	case VIRTIO_PCI_ISR:
		return isr_read(virtio, within, size);
	case VIRTIO_PCI_COMMON:
		return common_read(virtio, within, size);
	case VIRTIO_PCI_DEVICE:
		return config_read(virtio, within, size);
	case VIRTIO_PCI_MSIX_TABLE:
		return msix_table_read(&virtio->msix, within, size);
	case VIRTIO_PCI_MSIX_PBA:
		return msix_pba_read(&virtio->msix, within, size);
	default:
		return ALL_ONES;
	}
}

static void bar_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio_pci *virtio = ctx;
	uint64_t within = offset & (PAGE_SIZE - 1);

	switch (offset & ~(uint64_t)(PAGE_SIZE - 1)) {
	case VIRTIO_PCI_NOTIFY:
		/* Where it is written says which queue. 16 bits (section 4.1.5.2); there are drivers that write 8 or 32. */
		if (size <= 4 && within % VIRTIO_PCI_NOTIFY_MULTIPLIER == 0)
			notify(virtio, (unsigned)within / VIRTIO_PCI_NOTIFY_MULTIPLIER);
		break;
	case VIRTIO_PCI_COMMON:
		common_write(virtio, within, size, value);
		break;
	case VIRTIO_PCI_MSIX_TABLE:
		msix_table_write(&virtio->msix, within, size, value);
		break;
	default:
		break;
	}
}

static const struct io_ops bar_ops = { .read = bar_read, .write = bar_write };

/* ---- Configuration space ---- */

/* struct virtio_pci_cfg_cap (section 4.1.4.9): a virtio_pci_cap, then the data. */
#define ACCESS_BAR ((unsigned)offsetof(struct virtio_pci_cap, bar))
#define ACCESS_OFFSET ((unsigned)offsetof(struct virtio_pci_cap, offset))
#define ACCESS_LENGTH ((unsigned)offsetof(struct virtio_pci_cap, length))
#define ACCESS_DATA ((unsigned)sizeof(struct virtio_pci_cap))

/* The access that the capability's fields describe, if the driver keeps to section 4.1.4.9.2. */
static bool access_valid(const struct virtio_pci *virtio, uint32_t *offset, uint32_t *length)
{
	*offset = pci_config32(&virtio->pci, virtio->access_cap + ACCESS_OFFSET);
	*length = pci_config32(&virtio->pci, virtio->access_cap + ACCESS_LENGTH);
	if (virtio->pci.config[virtio->access_cap + ACCESS_BAR] != 0)
		return false;
	if (*length != 1 && *length != 2 && *length != 4)
		return false;
	return *offset % *length == 0 && *offset <= VIRTIO_PCI_BAR_SIZE - *length;
}

static bool touches(unsigned offset, unsigned size, unsigned field, unsigned field_size)
{
	return offset < field + field_size && offset + size > field;
}

static void config_reading(struct pci_device *device, unsigned offset, unsigned size)
{
	struct virtio_pci *virtio = (struct virtio_pci *)device;
	uint32_t at, length;

	if (!touches(offset, size, virtio->access_cap + ACCESS_DATA, 4) || !access_valid(virtio, &at, &length))
		return;
	pci_config_set32(device, virtio->access_cap + ACCESS_DATA, (uint32_t)bar_read(virtio, at, length));
}

static void config_written(struct pci_device *device, unsigned offset, unsigned size)
{
	struct virtio_pci *virtio = (struct virtio_pci *)device;
	uint32_t at, length, data;

	if (touches(offset, size, virtio->access_cap + ACCESS_DATA, 4)) {
		data = pci_config32(device, virtio->access_cap + ACCESS_DATA);
		if (access_valid(virtio, &at, &length))
			bar_write(virtio, at, length, length == 4 ? data : data & ((1U << (8 * length)) - 1));
		return;
	}
	msix_update(&virtio->msix);
	if (offset == PCI_COMMAND)
		notify_all(virtio); /* chains may have waited for the bus-master bit */
}

static void config_reset(struct pci_device *device)
{
	virtio_pci_reset((struct virtio_pci *)device);
}

static const struct pci_device_ops pci_ops = {
	.config_reading = config_reading,
	.config_written = config_written,
	.reset = config_reset,
};

_Static_assert(offsetof(struct virtio_pci, pci) == 0, "the PCI device is cast to its virtio device");

/* Returns the capability's offset; configuration space has room for all of them. */
static unsigned add_cap(struct virtio_pci *virtio, uint8_t type, uint32_t offset, uint32_t length, unsigned cap_len)
{
	unsigned at = pci_device_capability(&virtio->pci, PCI_CAP_VENDOR, cap_len);
	uint8_t *config = virtio->pci.config + at;

	config[offsetof(struct virtio_pci_cap, cap_len)] = (uint8_t)cap_len;
	config[offsetof(struct virtio_pci_cap, cfg_type)] = type;
	pci_config_set32(&virtio->pci, at + offsetof(struct virtio_pci_cap, offset), offset);
	pci_config_set32(&virtio->pci, at + offsetof(struct virtio_pci_cap, length), length);
	return at;
}

static void add_caps(struct virtio_pci *virtio)
{
	const unsigned plain = sizeof(struct virtio_pci_cap);
	unsigned at;

	add_cap(virtio, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON, sizeof(struct virtio_pci_common_cfg), plain);
	at = add_cap(virtio, VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_PCI_NOTIFY, virtio->queue_count * VIRTIO_PCI_NOTIFY_MULTIPLIER, plain + 4);
	pci_config_set32(&virtio->pci, at + plain, VIRTIO_PCI_NOTIFY_MULTIPLIER);
	add_cap(virtio, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_ISR, 1, plain);
	add_cap(virtio, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_DEVICE, virtio->config_len, plain);

	at = add_cap(virtio, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, plain + 4);
	virtio->access_cap = at;
	virtio->pci.writable[at + ACCESS_BAR] = 0xff;
	for (unsigned i = ACCESS_OFFSET; i < ACCESS_DATA + 4; i++)
		virtio->pci.writable[at + i] = 0xff;
}

int virtio_pci_init(struct virtio_pci *virtio, struct vm *vm, const struct guest_memory *mem, struct pci *pci, unsigned slot,
		    const struct virtio_pci_type *type, uint64_t features, unsigned queues, const void *config, unsigned config_len)
{
	int err;

	memset(virtio, 0, sizeof(*virtio));
	if (queues == 0 || queues > VIRTIO_QUEUES_MAX)
		return ERR_RANGE;
	virtio->mem = mem;
	virtio->ops = type->ops;
	virtio->queue_count = queues;
	virtio->config = config;
	virtio->config_len = config_len;
	virtio->device_features = features | BIT(VIRTIO_F_VERSION_1);
	pci_device_init(&virtio->pci, vm, &pci_ops, VIRTIO_PCI_VENDOR, VIRTIO_PCI_DEVICE_BASE + type->type, type->class_code, REVISION);
	pci_config_set16(&virtio->pci, PCI_SUBSYSTEM_VENDOR, VIRTIO_PCI_VENDOR);
	pci_config_set16(&virtio->pci, PCI_SUBSYSTEM_ID, SUBSYSTEM_ID);
	pci_device_pin_a(&virtio->pci);
	pci_device_bar(&virtio->pci, 0, VIRTIO_PCI_BAR_SIZE, false, &bar_ops, virtio);
	err = msix_init(&virtio->msix, &virtio->pci, 0, VIRTIO_PCI_MSIX_TABLE, VIRTIO_PCI_MSIX_PBA, queues + 1);
	if (err)
		return err;
	add_caps(virtio);
	return pci_add(pci, &virtio->pci, slot);
}

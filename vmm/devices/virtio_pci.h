/* The virtio transport over PCI: a modern device (virtio 1.2, section 4.1) with MSI-X and INTx. A device type, such as virtio-blk,
 * puts one in its own structure and adds what its queues do. */
#ifndef VMM_DEVICES_VIRTIO_PCI_H
#define VMM_DEVICES_VIRTIO_PCI_H

#include "lib/types.h"
#include "vmm/devices/msix.h"
#include "vmm/devices/pci.h"
#include "vmm/devices/virtio_ring.h"
#include "vmm/memory/guest_memory.h"

#define VIRTIO_PCI_VENDOR 0x1af4
#define VIRTIO_PCI_DEVICE_BASE 0x1040 /* plus the device type */

#define VIRTIO_QUEUES_MAX 4U
#define VIRTIO_F_VERSION_1 32

/* device_status (section 2.1) */
#define VIRTIO_STATUS_ACKNOWLEDGE 1U
#define VIRTIO_STATUS_DRIVER 2U
#define VIRTIO_STATUS_DRIVER_OK 4U
#define VIRTIO_STATUS_FEATURES_OK 8U
#define VIRTIO_STATUS_NEEDS_RESET 64U
#define VIRTIO_STATUS_FAILED 128U

#define VIRTIO_MSI_NO_VECTOR 0xffffU

#define VIRTIO_ISR_QUEUE 1U
#define VIRTIO_ISR_CONFIG 2U

/* BAR 0, one page a structure. */
#define VIRTIO_PCI_BAR_SIZE 0x8000U
#define VIRTIO_PCI_COMMON 0x0000U
#define VIRTIO_PCI_ISR 0x1000U
#define VIRTIO_PCI_DEVICE 0x2000U
#define VIRTIO_PCI_NOTIFY 0x3000U
#define VIRTIO_PCI_MSIX_TABLE 0x4000U
#define VIRTIO_PCI_MSIX_PBA 0x5000U
#define VIRTIO_PCI_NOTIFY_MULTIPLIER 4U

/* cfg_type of the vendor capabilities (section 4.1.4) */
#define VIRTIO_PCI_CAP_COMMON_CFG 1
#define VIRTIO_PCI_CAP_NOTIFY_CFG 2
#define VIRTIO_PCI_CAP_ISR_CFG 3
#define VIRTIO_PCI_CAP_DEVICE_CFG 4
#define VIRTIO_PCI_CAP_PCI_CFG 5

/* Section 4.1.4.3, up to the fields of features that are not offered (NOTIF_CONFIG_DATA, RING_RESET). */
struct virtio_pci_common_cfg {
	uint32_t device_feature_select;
	uint32_t device_feature;
	uint32_t driver_feature_select;
	uint32_t driver_feature;
	uint16_t config_msix_vector;
	uint16_t num_queues;
	uint8_t device_status;
	uint8_t config_generation;
	uint16_t queue_select;
	uint16_t queue_size;
	uint16_t queue_msix_vector;
	uint16_t queue_enable;
	uint16_t queue_notify_off;
	uint64_t queue_desc;
	uint64_t queue_driver;
	uint64_t queue_device;
};
_Static_assert(sizeof(struct virtio_pci_common_cfg) == 56 && offsetof(struct virtio_pci_common_cfg, device_status) == 20 &&
	       offsetof(struct virtio_pci_common_cfg, queue_notify_off) == 30 && offsetof(struct virtio_pci_common_cfg, queue_desc) == 32,
	       "virtio 1.2, section 4.1.4.3");

/* Section 4.1.4 */
struct virtio_pci_cap {
	uint8_t cap_vndr;
	uint8_t cap_next;
	uint8_t cap_len;
	uint8_t cfg_type;
	uint8_t bar;
	uint8_t id;
	uint8_t padding[2];
	uint32_t offset;
	uint32_t length;
};
_Static_assert(sizeof(struct virtio_pci_cap) == 16 && offsetof(struct virtio_pci_cap, offset) == 8, "virtio 1.2, section 4.1.4");

struct virtio_pci;

/* What a device type provides; called with the device's lock held. */
struct virtio_device_ops {
	/* The driver asks that the device looks at an enabled queue. May drop and retake the lock. */
	void (*notify)(struct virtio_pci *virtio, unsigned queue);
	/* Drop all work; the rings are gone. Returns false where requests are still under way in guest memory: the device calls
	 * virtio_pci_reset_done() when the last one has ended, and the driver sees the reset end only then. */
	bool (*reset)(struct virtio_pci *virtio);
};

struct virtio_queue {
	struct virtio_ring ring;
	uint16_t size;   /* queue_size */
	uint16_t vector; /* queue_msix_vector */
	uint64_t desc;   /* guest-physical addresses, as the driver wrote them */
	uint64_t driver;
	uint64_t device;
};

struct virtio_pci {
	struct pci_device pci; /* its lock is the device's lock */
	struct msix msix;
	const struct guest_memory *mem;
	const struct virtio_device_ops *ops;
	const void *config;    /* the device-specific configuration: read-only and constant, so its generation stays 0 */
	unsigned config_len;
	unsigned queue_count;
	unsigned access_cap;   /* offset of the PCI configuration access capability */
	uint64_t device_features;
	uint64_t driver_features;
	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint16_t queue_select;
	uint16_t config_vector;
	uint8_t status;
	uint8_t isr;
	bool resetting;        /* status 0 was written, but requests are still under way */
	struct virtio_queue queue[VIRTIO_QUEUES_MAX];
};

/* What a device type says of itself. */
struct virtio_pci_type {
	uint16_t type;         /* section 5 */
	uint32_t class_code;   /* PCI */
	const struct virtio_device_ops *ops;
};

/* Build the device and plug it in. `features`: the device type's own and the rings'; VERSION_1 is added. Returns 0, ERR_RANGE (1 to
 * VIRTIO_QUEUES_MAX queues), or msix_init()'s or pci_add()'s error. */
int virtio_pci_init(struct virtio_pci *virtio, struct vm *vm, const struct guest_memory *mem, struct pci *pci, unsigned slot,
		    const struct virtio_pci_type *type, uint64_t features, unsigned queues, const void *config, unsigned config_len);

/* The machine's reset, as pci_reset() does it to each device: the virtio device and its MSI-X. */
void virtio_pci_reset(struct virtio_pci *virtio);

/* The last request that a reset waited for has ended. */
void virtio_pci_reset_done(struct virtio_pci *virtio);

/* May the queue be worked on? (DRIVER_OK, no NEEDS_RESET, enabled, bus master) */
bool virtio_pci_queue_runs(const struct virtio_pci *virtio, unsigned queue);

/* Interrupt: used buffers in `queue` (section 2.7.7; the caller asks virtio_ring_should_signal() first). */
void virtio_pci_signal_queue(struct virtio_pci *virtio, unsigned queue);

/* The driver broke the rules: DEVICE_NEEDS_RESET, with a configuration change interrupt (section 2.1.2). No queue runs any more. */
void virtio_pci_needs_reset(struct virtio_pci *virtio);

#endif

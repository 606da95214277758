/* virtio-blk: a disk for the guest, on any block backend. Source: virtio 1.2, section 5.2.
 *
 * Locks: the device's own lock (its PCI device's) guards all of this; it is dropped while the backend is called. */
#ifndef VMM_DEVICES_VIRTIO_BLK_H
#define VMM_DEVICES_VIRTIO_BLK_H

#include "drivers/disk/block.h"
#include "lib/types.h"
#include "vmm/devices/virtio_pci.h"
#include "vmm/interface/platform.h"

#define VIRTIO_BLK_TYPE 2

/* Feature bits (section 5.2.3) */
#define VIRTIO_BLK_F_SEG_MAX 2
#define VIRTIO_BLK_F_RO 5
#define VIRTIO_BLK_F_BLK_SIZE 6
#define VIRTIO_BLK_F_FLUSH 9
#define VIRTIO_BLK_F_MQ 12

/* Request types and status values (section 5.2.6) */
#define VIRTIO_BLK_T_IN 0U
#define VIRTIO_BLK_T_OUT 1U
#define VIRTIO_BLK_T_FLUSH 4U
#define VIRTIO_BLK_T_GET_ID 8U
#define VIRTIO_BLK_S_OK 0U
#define VIRTIO_BLK_S_IOERR 1U
#define VIRTIO_BLK_S_UNSUPP 2U

/* Section 5.2.4, as far as the offered features reach. */
struct virtio_blk_config {
	uint64_t capacity;
	uint32_t size_max;
	uint32_t seg_max;
	uint8_t geometry[4];
	uint32_t blk_size;
	uint8_t topology[8];
	uint8_t writeback;
	uint8_t unused0;
	uint16_t num_queues;
} PACKED;
_Static_assert(sizeof(struct virtio_blk_config) == 36 && offsetof(struct virtio_blk_config, seg_max) == 12 &&
	       offsetof(struct virtio_blk_config, blk_size) == 20 && offsetof(struct virtio_blk_config, writeback) == 32 &&
	       offsetof(struct virtio_blk_config, num_queues) == 34, "virtio 1.2, section 5.2.4");

/* The fixed part of a request (section 5.2.6) */
struct virtio_blk_header {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
};
_Static_assert(sizeof(struct virtio_blk_header) == 16 && offsetof(struct virtio_blk_header, sector) == 8, "virtio 1.2, section 5.2.6");

/* Requests under way at once in one device whose backend finishes each at once; the device's queues share them out evenly. */
#define VIRTIO_BLK_SLOTS 8U

enum virtio_blk_slot_state {
	VIRTIO_BLK_FREE,
	VIRTIO_BLK_READY,     /* a part of it waits to be submitted */
	VIRTIO_BLK_SUBMITTED, /* a part of it is with the backend */
};

struct virtio_blk;

/* One request of the guest, carried out in parts of at most the backend's max_sectors. */
struct virtio_blk_slot {
	enum virtio_blk_slot_state state;
	unsigned queue;
	uint32_t generation;          /* of the device when it was taken */
	struct virtio_blk *blk;
	uint8_t *status;              /* the guest's status byte */
	uint32_t written;             /* bytes to report when all goes well */
	uint32_t sectors_left;        /* after the part that is submitted */
	struct segment *next;         /* the first segment of the next part */
	uint32_t segments_left;       /* from there on */
	uint32_t cut;                 /* bytes of the submitted part's last segment that belong to the next part */
	struct block_request request; /* the part */
	struct virtio_chain chain;
};

struct virtio_blk {
	struct virtio_pci virtio;
	struct block_device *backend;
	struct virtio_blk_config config;
	uint32_t generation;          /* counts resets */
	unsigned in_flight;           /* submitted slots, those of earlier generations too */
	unsigned slots_per_queue;
	uint32_t deferred_queues;     /* a bit for each queue that the timer is to go on with */
	bool core_at_queue[VIRTIO_QUEUES_MAX]; /* a core is at work on the queue */
	struct vtimer timer;
	unsigned slots;
	struct virtio_blk_slot *slot;
};

/* What a virtual disk is built from. */
struct virtio_blk_parts {
	struct block_device *backend;  /* stays the caller's and must outlive the disk, as must the slots */
	unsigned queues;               /* 1 to VIRTIO_QUEUES_MAX; other numbers are brought into that range */
	struct virtio_blk_slot *slot;  /* requests that can be under way at once: at least as many as queues */
	unsigned slots;
};

/* Build the disk and plug it in. Returns 0, or pci_add()'s error. */
int virtio_blk_init(struct virtio_blk *blk, struct vm *vm, const struct guest_memory *mem, struct pci *pci, unsigned slot,
		    const struct virtio_blk_parts *parts);

/* The machine's reset of this device alone; pci_reset() includes it. Requests under way are orphaned: their ends reach no guest. */
void virtio_blk_reset(struct virtio_blk *blk);

/* How many requests the backend still has, orphans included. Until it is 0 the backend may write to guest memory: before that memory
 * is cleared, loaded anew or given away, wait for it. */
unsigned virtio_blk_in_flight(struct virtio_blk *blk);

#endif

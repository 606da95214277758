/* Split virtqueues, the device's side. Source: virtio 1.2, section 2.7.
 *
 * The rings lie in the memory of a hostile guest: each field is read once, checked, then used. A breach of the driver's duties is
 * ERR_INVALID; the device then needs a reset and touches the ring no more. All functions want the device's lock held. */
#ifndef VMM_DEVICES_VIRTIO_RING_H
#define VMM_DEVICES_VIRTIO_RING_H

#include "lib/memory_segment.h"
#include "lib/types.h"
#include "vmm/memory/guest_memory.h"

#define VIRTIO_F_RING_INDIRECT_DESC 28
#define VIRTIO_F_RING_EVENT_IDX 29

/* The largest queue, and the longest chain (with an indirect table it may be longer than a smaller queue). */
#define VIRTIO_RING_SIZE_MAX 128U

#define VIRTQ_DESC_F_NEXT 1U
#define VIRTQ_DESC_F_WRITE 2U
#define VIRTQ_DESC_F_INDIRECT 4U
#define VIRTQ_AVAIL_F_NO_INTERRUPT 1U
#define VIRTQ_USED_F_NO_NOTIFY 1U

struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};
_Static_assert(sizeof(struct virtq_desc) == 16 && offsetof(struct virtq_desc, len) == 8 && offsetof(struct virtq_desc, flags) == 12 &&
	       offsetof(struct virtq_desc, next) == 14, "virtio 1.2, section 2.7.5");

struct virtq_used_elem {
	uint32_t id;
	uint32_t len;
};
_Static_assert(sizeof(struct virtq_used_elem) == 8, "virtio 1.2, section 2.7.8");

/* One descriptor chain, copied and checked: first the segments that the device reads, then those that it writes. */
struct virtio_chain {
	uint16_t head;
	uint16_t readable;
	uint16_t writable;
	uint64_t readable_bytes;
	uint64_t writable_bytes; /* both together are less than 4 GiB */
	struct segment segment[VIRTIO_RING_SIZE_MAX];
};

struct virtio_ring {
	const struct guest_memory *mem;
	uint8_t *desc;       /* guest memory, as are the next two; NULL: not enabled */
	uint8_t *avail;
	uint8_t *used;
	uint16_t size;       /* descriptors, a power of two */
	uint16_t last_avail; /* the next available index to take */
	uint16_t used_idx;   /* the next used index to write */
	uint16_t signalled;  /* used_idx when virtio_ring_should_signal() was last asked */
	bool event_idx;
	bool indirect;
};

/* Begin to use the rings at these guest-physical addresses; `features` are the negotiated ones. Returns 0, ERR_INVALID (size, alignment)
 * or ERR_RANGE (not all RAM). */
int virtio_ring_enable(struct virtio_ring *ring, const struct guest_memory *mem, unsigned size, uint64_t desc, uint64_t avail,
		       uint64_t used, uint64_t features);

/* Forget the rings. */
void virtio_ring_disable(struct virtio_ring *ring);

static inline bool virtio_ring_enabled(const struct virtio_ring *ring)
{
	return ring->desc != NULL;
}

/* Take the next chain. Returns 1, 0 where none is available, or ERR_INVALID. */
int virtio_ring_pop(struct virtio_ring *ring, struct virtio_chain *chain);

/* The length of the used ring, in bytes: besides buffers, all that a device writes. */
static inline uint32_t virtio_ring_used_bytes(const struct virtio_ring *ring)
{
	return 6U + 8U * ring->size;
}

/* Give a chain back, `written` bytes of it written. The driver is to be told when virtio_ring_should_signal() says so. */
void virtio_ring_push(struct virtio_ring *ring, uint16_t head, uint32_t written);

/* Does the driver want an interrupt for what was pushed since the last time this was asked? (sections 2.7.7 and 2.7.10) */
bool virtio_ring_should_signal(struct virtio_ring *ring);

/* Ask the driver not to notify while the device looks at the ring anyway (a hint, section 2.7.10). */
void virtio_ring_notify_off(struct virtio_ring *ring);

/* Ask for a notification of the next chain. Returns true where chains came meanwhile, perhaps without one: look again. */
bool virtio_ring_notify_on(struct virtio_ring *ring);

#endif

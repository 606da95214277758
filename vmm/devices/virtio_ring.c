/* Chains are taken from the available ring, with every field read once and checked, and given back through the used ring; and each side
 * tells the other when it wants to be notified. */
#include "vmm/devices/virtio_ring.h"

#include "lib/string.h"

/* Offsets in the available and the used ring: flags, index, then the elements, then the other side's event index. */
#define RING_FLAGS 0
#define RING_IDX 2
#define RING_ELEMENTS 4

#define AVAIL_BYTES(size) (6U + 2U * (size))

/* A read happens once: the compiler may neither repeat it nor tear it. */
typedef volatile uint64_t __attribute__((aligned(1))) once64;

static uint16_t load16(const uint8_t *p)
{
	return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
}

static void store16(uint8_t *p, uint16_t value)
{
	__atomic_store_n((uint16_t *)p, value, __ATOMIC_RELAXED);
}

static struct virtq_desc load_desc(const uint8_t *p)
{
	const once64 *words = (const once64 *)p; /* an indirect table may lie at any address */
	uint64_t copy[2] = { words[0], words[1] };
	struct virtq_desc desc;

	memcpy(&desc, copy, sizeof(desc));
	return desc;
}

int virtio_ring_enable(struct virtio_ring *ring, const struct guest_memory *mem, unsigned size, uint64_t desc, uint64_t avail,
		       uint64_t used, uint64_t features)
{
	memset(ring, 0, sizeof(*ring));
	if (size == 0 || size > VIRTIO_RING_SIZE_MAX || (size & (size - 1)))
		return ERR_INVALID;
	if (desc % 16 || avail % 2 || used % 4)
		return ERR_INVALID;
	if (!desc && !avail && !used)
		return ERR_INVALID; /* the driver never said where */
	ring->desc = guest_ptr(mem, desc, size * sizeof(struct virtq_desc));
	ring->avail = guest_ptr(mem, avail, AVAIL_BYTES(size));
	ring->size = (uint16_t)size;
	ring->used = guest_ptr(mem, used, virtio_ring_used_bytes(ring));
	if (!ring->desc || !ring->avail || !ring->used) {
		virtio_ring_disable(ring);
		return ERR_RANGE;
	}
	ring->mem = mem;
	ring->event_idx = features & BIT(VIRTIO_F_RING_EVENT_IDX);
	ring->indirect = features & BIT(VIRTIO_F_RING_INDIRECT_DESC);
	return 0;
}

void virtio_ring_disable(struct virtio_ring *ring)
{
	memset(ring, 0, sizeof(*ring));
}

/* Where the descriptors of a chain come from: the ring's own table, or one indirect table. */
struct table {
	const uint8_t *base;
	uint32_t entries;
	bool indirect;
};

/* Section 2.7.5.3: not with NEXT, not inside another, a whole number of descriptors. */
static int enter_indirect(const struct virtio_ring *ring, const struct virtq_desc *desc, struct table *table)
{
	if (!ring->indirect || table->indirect || (desc->flags & VIRTQ_DESC_F_NEXT))
		return ERR_INVALID;
	if (desc->len == 0 || desc->len % sizeof(struct virtq_desc))
		return ERR_INVALID;
	table->base = guest_ptr(ring->mem, desc->addr, desc->len);
	table->entries = desc->len / (uint32_t)sizeof(struct virtq_desc);
	table->indirect = true;
	return table->base ? 0 : ERR_INVALID;
}

static int add_segment(const struct virtio_ring *ring, struct virtio_chain *chain, const struct virtq_desc *desc)
{
	unsigned count = chain->readable + chain->writable;
	uint8_t *base;

	if (count == ARRAY_SIZE(chain->segment))
		return ERR_INVALID;
	if (!(desc->flags & VIRTQ_DESC_F_WRITE) && chain->writable)
		return ERR_INVALID; /* section 2.7.4.2: what the device reads comes first */
	base = guest_ptr(ring->mem, desc->addr, desc->len);
	if (!base)
		return ERR_INVALID;
	chain->segment[count] = (struct segment){ .base = base, .len = desc->len };
	if (desc->flags & VIRTQ_DESC_F_WRITE) {
		chain->writable++;
		chain->writable_bytes += desc->len;
	} else {
		chain->readable++;
		chain->readable_bytes += desc->len;
	}
	return chain->readable_bytes + chain->writable_bytes > UINT32_MAX ? ERR_INVALID : 0;
}

/* A loop ends, too: each descriptor adds a segment, of which there is room for VIRTIO_RING_SIZE_MAX, or enters the one indirect table. */
static int walk(const struct virtio_ring *ring, struct virtio_chain *chain)
{
	struct table table = { .base = ring->desc, .entries = ring->size };
	uint16_t index = chain->head;

	for (;;) {
		struct virtq_desc desc;
		int err;

		if (index >= table.entries)
			return ERR_INVALID;
		desc = load_desc(table.base + (size_t)index * sizeof(desc));
		if (desc.flags & VIRTQ_DESC_F_INDIRECT) {
			err = enter_indirect(ring, &desc, &table);
			index = 0;
			if (err)
				return err;
			continue;
		}
		err = add_segment(ring, chain, &desc);
		if (err)
			return err;
		if (!(desc.flags & VIRTQ_DESC_F_NEXT))
			return 0;
		index = desc.next;
	}
}

int virtio_ring_pop(struct virtio_ring *ring, struct virtio_chain *chain)
{
	/* Acquire: the elements and descriptors up to the index are read after it. */
	uint16_t idx = __atomic_load_n((const uint16_t *)(ring->avail + RING_IDX), __ATOMIC_ACQUIRE);
	uint16_t available = (uint16_t)(idx - ring->last_avail);
	int err;

	if (!available)
		return 0;
	if (available > ring->size)
		return ERR_INVALID;
	chain->head = load16(ring->avail + RING_ELEMENTS + 2UL * (ring->last_avail & (ring->size - 1U)));
	chain->readable = chain->writable = 0;
	chain->readable_bytes = chain->writable_bytes = 0;
	err = walk(ring, chain);
	if (err)
		return err;
	ring->last_avail++;
	return 1;
}

void virtio_ring_push(struct virtio_ring *ring, uint16_t head, uint32_t written)
{
	struct virtq_used_elem elem = { .id = head, .len = written };

	memcpy(ring->used + RING_ELEMENTS + 8UL * (ring->used_idx & (ring->size - 1U)), &elem, sizeof(elem));
	ring->used_idx++;
	/* Release: the element and the buffers are there before the index says so. */
	__atomic_store_n((uint16_t *)(ring->used + RING_IDX), ring->used_idx, __ATOMIC_RELEASE);
}

bool virtio_ring_should_signal(struct virtio_ring *ring)
{
	uint16_t old = ring->signalled;
	uint16_t event;

	if (old == ring->used_idx)
		return false;
	ring->signalled = ring->used_idx;
	/* The used index must be out before the driver's wish is read: the driver writes its wish, then reads the index. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!ring->event_idx)
		return !(load16(ring->avail + RING_FLAGS) & VIRTQ_AVAIL_F_NO_INTERRUPT);
	event = load16(ring->avail + RING_ELEMENTS + 2UL * ring->size);
	return (uint16_t)(ring->used_idx - event - 1) < (uint16_t)(ring->used_idx - old);
}

void virtio_ring_notify_off(struct virtio_ring *ring)
{
	if (!ring->event_idx) /* with it, an event index left behind says the same */
		store16(ring->used + RING_FLAGS, VIRTQ_USED_F_NO_NOTIFY);
}

bool virtio_ring_notify_on(struct virtio_ring *ring)
{
	if (ring->event_idx)
		store16(ring->used + RING_ELEMENTS + 8UL * ring->size, ring->last_avail);
	else
		store16(ring->used + RING_FLAGS, 0);
	/* The wish must be out before the index is read: the driver writes the index, then reads the wish. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return load16(ring->avail + RING_IDX) != ring->last_avail;
}

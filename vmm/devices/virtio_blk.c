/* The life of a virtio-blk request: a chain is popped and checked, its transfer goes to the backend in parts, and its end is written to the
 * used ring. One pass over a queue does a bounded amount of work. */
#include "vmm/devices/virtio_blk.h"

#include "lib/string.h"

#define CLASS_CODE 0x018000 /* mass storage, other */

/* A request's segments besides header and status byte. */
#define SEG_MAX (VIRTIO_RING_SIZE_MAX - 2)

/* The sectors that one pass starts, in one exit of the guest; the rest is left to the timer, so that other work gets its turn. */
#define SECTORS_PER_PASS 8192U

static struct virtio_ring *ring_of(struct virtio_blk *blk, unsigned queue)
{
	return &blk->virtio.queue[queue].ring;
}

/* ---- One request ---- */

/* End a request: write the status byte and the used element, and free the slot. Once the device is broken, ended requests no longer reach
 * the guest. */
static void finish(struct virtio_blk_slot *slot, uint8_t status)
{
	struct virtio_blk *blk = slot->blk;

	slot->state = VIRTIO_BLK_FREE;
	if (blk->virtio.status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	*slot->status = status;
	vm_memory_written(blk->virtio.pci.vm, slot->status, 1);
	virtio_ring_push(ring_of(blk, slot->queue), slot->chain.head, status == VIRTIO_BLK_S_OK ? slot->written : 1);
}

/* Take `size` bytes off the front of the segments. The caller knows that they are there. */
static void take(struct segment **segments, uint32_t *count, void *dst, uint32_t size)
{
	uint8_t *to = dst;

	while (size) {
		struct segment *s = *segments;
		uint32_t n = MIN(s->len, size);

		memcpy(to, s->base, n);
		to += n;
		size -= n;
		s->base += n;
		s->len -= n;
		if (s->len == 0) {
			(*segments)++;
			(*count)--;
		}
	}
	/* The guest can change its memory: what follows works on the copy, never reads again. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void begin_transfer(struct virtio_blk_slot *slot, enum block_op op, uint64_t sector, uint64_t bytes)
{
	const struct block_device *backend = slot->blk->backend;
	uint64_t sectors = bytes / BLOCK_SECTOR_SIZE;

	if (bytes % BLOCK_SECTOR_SIZE || sector > backend->sectors || sectors > backend->sectors - sector ||
	    slot->segments_left > backend->max_segments || (op == BLOCK_WRITE && backend->read_only)) {
		finish(slot, VIRTIO_BLK_S_IOERR);
		return;
	}
	if (!bytes) {
		finish(slot, VIRTIO_BLK_S_OK);
		return;
	}
	slot->request.op = op;
	slot->request.durable = op == BLOCK_WRITE && !(slot->blk->virtio.driver_features & BIT(VIRTIO_BLK_F_FLUSH));
	slot->request.sector = sector;
	slot->request.sectors = 0;
	slot->sectors_left = (uint32_t)sectors;
	slot->state = VIRTIO_BLK_READY;
}

static void begin_flush(struct virtio_blk_slot *slot)
{
	slot->request.op = BLOCK_FLUSH;
	slot->request.durable = false;
	slot->request.sector = 0;
	slot->request.sectors = 0;
	slot->segments_left = 0;
	slot->sectors_left = 0;
	slot->state = VIRTIO_BLK_READY;
}

static void get_id(struct virtio_blk_slot *slot, uint64_t bytes)
{
	const char *id = slot->blk->backend->id;
	uint32_t left = (uint32_t)MIN(bytes, BLOCK_ID_SIZE);

	slot->written = left + 1;
	for (struct segment *s = slot->next; left; s++) {
		uint32_t n = MIN(s->len, left);

		memcpy(s->base, id, n);
		vm_memory_written(slot->blk->virtio.pci.vm, s->base, n);
		id += n;
		left -= n;
	}
	finish(slot, VIRTIO_BLK_S_OK);
}

/* Make sense of a chain that was just popped (section 5.2.6.2). It ends finished, ready to submit, or with the device in need of
 * a reset. */
static void begin(struct virtio_blk_slot *slot)
{
	struct virtio_chain *chain = &slot->chain;
	struct virtio_blk_header header;
	struct segment *readable = chain->segment;
	struct segment *writable = chain->segment + chain->readable;
	uint32_t readable_left = chain->readable;
	uint64_t data_out, data_in;
	struct segment *last;

	if (!chain->writable) { /* nowhere to say what is wrong */
		virtio_pci_needs_reset(&slot->blk->virtio);
		return;
	}
	last = &writable[chain->writable - 1];
	slot->status = last->base + --last->len;
	data_in = chain->writable_bytes - 1;
	slot->next = writable;
	slot->segments_left = last->len ? chain->writable : chain->writable - 1U;
	slot->written = (uint32_t)data_in + 1;
	slot->cut = 0;
	if (chain->readable_bytes < sizeof(header)) {
		finish(slot, VIRTIO_BLK_S_IOERR);
		return;
	}
	take(&readable, &readable_left, &header, sizeof(header));
	data_out = chain->readable_bytes - sizeof(header);
	switch (header.type) {
	case VIRTIO_BLK_T_IN:
		if (data_out)
			finish(slot, VIRTIO_BLK_S_IOERR);
		else
			begin_transfer(slot, BLOCK_READ, header.sector, data_in);
		break;
	case VIRTIO_BLK_T_OUT:
		slot->next = readable;
		slot->segments_left = readable_left;
		if (data_in)
			finish(slot, VIRTIO_BLK_S_IOERR);
		else
			begin_transfer(slot, BLOCK_WRITE, header.sector, data_out);
		break;
	case VIRTIO_BLK_T_FLUSH:
		slot->written = 1;
		begin_flush(slot);
		break;
	case VIRTIO_BLK_T_GET_ID:
		get_id(slot, data_in);
		break;
	default:
		finish(slot, VIRTIO_BLK_S_UNSUPP);
		break;
	}
}

/* The next part: whole segments as far as the backend takes them, and a piece of one where its limit falls inside. */
static void prepare_part(struct virtio_blk_slot *slot)
{
	struct block_request *request = &slot->request;
	uint32_t sectors = MIN(slot->sectors_left, slot->blk->backend->max_sectors);

	request->segments = slot->next;
	request->segment_count = slot->segments_left;
	if (sectors < slot->sectors_left) {
		uint64_t room = (uint64_t)sectors * BLOCK_SECTOR_SIZE;
		uint32_t n = 0;

		while (slot->next[n].len < room)
			room -= slot->next[n++].len;
		slot->cut = slot->next[n].len - (uint32_t)room;
		slot->next[n].len = (uint32_t)room;
		request->segment_count = n + 1;
	}
	request->sectors = sectors;
	slot->sectors_left -= sectors;
}

/* A part is over. */
static void advance(struct virtio_blk_slot *slot, int err)
{
	struct block_request *request = &slot->request;
	uint32_t used = request->segment_count;

	if (request->op == BLOCK_READ) /* a part of a failed read may have arrived */
		for (uint32_t i = 0; i < used; i++)
			vm_memory_written(slot->blk->virtio.pci.vm, slot->next[i].base, slot->next[i].len);
	if (err || !slot->sectors_left) {
		finish(slot, err ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
		return;
	}
	request->sector += request->sectors;
	if (slot->cut) {
		struct segment *s = &slot->next[used - 1];

		s->base += s->len;
		s->len = slot->cut;
		slot->cut = 0;
		used--;
	}
	slot->next += used;
	slot->segments_left -= used;
	slot->state = VIRTIO_BLK_READY;
}

/* ---- One queue ---- */

/* A slot of this queue to go on with, or else a free one, or NULL. */
static struct virtio_blk_slot *pick_slot(struct virtio_blk *blk, unsigned queue)
{
	struct virtio_blk_slot *slot = &blk->slot[(size_t)queue * blk->slots_per_queue];
	struct virtio_blk_slot *empty = NULL;

	for (unsigned i = 0; i < blk->slots_per_queue; i++, slot++) {
		if (slot->state == VIRTIO_BLK_READY)
			return slot;
		if (slot->state == VIRTIO_BLK_FREE && !empty)
			empty = slot;
	}
	return empty;
}

static void defer(struct virtio_blk *blk, unsigned queue)
{
	blk->deferred_queues |= 1U << queue;
	vtimer_set(&blk->timer, time_now());
}

/* Call the backend without the lock. Returns false where the device was reset meanwhile: then nothing holds any more that the caller knew,
 * and another core may be at work on the queue. */
static bool submit(struct virtio_blk_slot *slot)
{
	struct virtio_blk *blk = slot->blk;
	uint32_t generation = blk->generation;

	prepare_part(slot);
	slot->state = VIRTIO_BLK_SUBMITTED;
	blk->in_flight++;
	spin_unlock(&blk->virtio.pci.lock);
	block_submit(blk->backend, &slot->request);
	spin_lock(&blk->virtio.pci.lock);
	return blk->generation == generation;
}

/* Take or continue one request. Returns false where there is nothing more to do, or nothing that can be done now. */
static bool step(struct virtio_blk *blk, unsigned queue, struct virtio_blk_slot **ready)
{
	struct virtio_ring *ring = ring_of(blk, queue);
	struct virtio_blk_slot *slot = pick_slot(blk, queue);
	int got;

	*ready = NULL;
	if (!slot)
		return false; /* the end of a request frees one and goes on here */
	if (slot->state == VIRTIO_BLK_FREE) {
		got = virtio_ring_pop(ring, &slot->chain);
		if (got == 0) /* the backend's next batch comes soon: until then the driver need not exit to tell of new requests */
			return !__atomic_load_n(&blk->backend->batch_is_due, __ATOMIC_RELAXED) && virtio_ring_notify_on(ring);
		if (got < 0) {
			virtio_pci_needs_reset(&blk->virtio);
			return false;
		}
		slot->generation = blk->generation;
		begin(slot);
	}
	if (slot->state == VIRTIO_BLK_READY)
		*ready = slot;
	return true;
}

/* Work on a queue until it is empty, all its slots are under way, or this pass has done its share. A core that finds another core at work
 * on the queue leaves: the other core looks at the ring again before it stops. */
static void serve(struct virtio_blk *blk, unsigned queue)
{
	struct virtio_ring *ring = ring_of(blk, queue);
	uint32_t generation = blk->generation;
	uint32_t steps = ring->size + 1U;
	uint32_t sectors = 0;
	struct virtio_blk_slot *ready;
	bool submitted = false;

	if (blk->core_at_queue[queue])
		return;
	blk->core_at_queue[queue] = true;
	virtio_ring_notify_off(ring);
	while (virtio_pci_queue_runs(&blk->virtio, queue)) {
		if (steps-- == 0 || sectors >= SECTORS_PER_PASS) {
			defer(blk, queue);
			break;
		}
		if (!step(blk, queue, &ready))
			break;
		if (ready) {
			sectors += MIN(ready->sectors_left, blk->backend->max_sectors);
			submitted = true;
			if (!submit(ready))
				break;
		}
	}
	if (submitted)
		block_commit(blk->backend);
	if (blk->generation != generation)
		return;
	blk->core_at_queue[queue] = false;
	vm_memory_written(blk->virtio.pci.vm, ring->used, virtio_ring_used_bytes(ring));
	if (virtio_ring_should_signal(ring))
		virtio_pci_signal_queue(&blk->virtio, queue);
}

static void request_done(struct block_request *request, int err)
{
	struct virtio_blk_slot *slot = request->owner;
	struct virtio_blk *blk = slot->blk;

	spin_lock(&blk->virtio.pci.lock);
	blk->in_flight--;
	if (slot->generation != blk->generation) {
		slot->state = VIRTIO_BLK_FREE;
		if (!blk->in_flight)
			virtio_pci_reset_done(&blk->virtio);
	} else {
		advance(slot, err);
		if (!blk->backend->in_batch)
			serve(blk, slot->queue);
	}
	spin_unlock(&blk->virtio.pci.lock);
}

static void batch_done(void *user)
{
	struct virtio_blk *blk = user;

	spin_lock(&blk->virtio.pci.lock);
	for (unsigned i = 0; i < blk->virtio.queue_count; i++)
		if (virtio_pci_queue_runs(&blk->virtio, i))
			serve(blk, i);
	spin_unlock(&blk->virtio.pci.lock);
}

static void timer_fired(void *ctx)
{
	struct virtio_blk *blk = ctx;
	uint32_t queues;

	spin_lock(&blk->virtio.pci.lock);
	queues = blk->deferred_queues;
	blk->deferred_queues = 0;
	for (unsigned i = 0; i < blk->virtio.queue_count; i++)
		if ((queues & (1U << i)) && virtio_pci_queue_runs(&blk->virtio, i))
			serve(blk, i);
	spin_unlock(&blk->virtio.pci.lock);
}

/* ---- The device ---- */

static void device_notify(struct virtio_pci *virtio, unsigned queue)
{
	struct virtio_blk *blk = (struct virtio_blk *)virtio;

	/* Work that was too much for one pass is left to the timer, however often the guest notifies: one instruction can notify many
	 * times. */
	if (!(blk->deferred_queues & 1U << queue))
		serve(blk, queue);
}

static bool device_reset(struct virtio_pci *virtio)
{
	struct virtio_blk *blk = (struct virtio_blk *)virtio;

	blk->generation++;
	blk->deferred_queues = 0;
	vtimer_set(&blk->timer, TIME_NEVER);
	memset(blk->core_at_queue, 0, sizeof(blk->core_at_queue));
	for (unsigned i = 0; i < blk->slots; i++)
		if (blk->slot[i].state == VIRTIO_BLK_READY)
			blk->slot[i].state = VIRTIO_BLK_FREE;
	return blk->in_flight == 0;
}

_Static_assert(offsetof(struct virtio_blk, virtio) == 0, "the transport is cast to its disk");

static const struct virtio_device_ops device_ops = { .notify = device_notify, .reset = device_reset };

static const struct virtio_pci_type device_type = { .type = VIRTIO_BLK_TYPE, .class_code = CLASS_CODE, .ops = &device_ops };

int virtio_blk_init(struct virtio_blk *blk, struct vm *vm, const struct guest_memory *mem, struct pci *pci, unsigned slot,
		    const struct virtio_blk_parts *parts)
{
	struct block_device *backend = parts->backend;
	unsigned queues = parts->queues;
	uint64_t features = BIT(VIRTIO_F_RING_INDIRECT_DESC) | BIT(VIRTIO_F_RING_EVENT_IDX) | BIT(VIRTIO_BLK_F_SEG_MAX) |
			    BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_MQ);

	queues = MAX(queues, 1U);
	queues = MIN(queues, VIRTIO_QUEUES_MAX);
	memset(blk, 0, sizeof(*blk));
	if (backend->read_only)
		features |= BIT(VIRTIO_BLK_F_RO);
	blk->backend = backend;
	backend->batch_done = batch_done;
	backend->user = blk;
	blk->config.capacity = backend->sectors;
	blk->config.seg_max = MIN(SEG_MAX, backend->max_segments);
	blk->config.blk_size = backend->block_size;
	blk->config.num_queues = (uint16_t)queues;
	blk->slots = parts->slots;
	blk->slot = parts->slot;
	blk->slots_per_queue = parts->slots / queues;
	memset(blk->slot, 0, parts->slots * sizeof(blk->slot[0]));
	for (unsigned i = 0; i < blk->slots; i++) {
		struct virtio_blk_slot *s = &blk->slot[i];

		s->blk = blk;
		s->queue = MIN(i / blk->slots_per_queue, queues - 1);
		s->request.done = request_done;
		s->request.owner = s;
	}
	vtimer_init(&blk->timer, vm, 0, timer_fired, blk);
	return virtio_pci_init(&blk->virtio, vm, mem, pci, slot, &device_type, features, queues, &blk->config, sizeof(blk->config));
}

void virtio_blk_reset(struct virtio_blk *blk)
{
	spin_lock(&blk->virtio.pci.lock);
	virtio_pci_reset(&blk->virtio);
	spin_unlock(&blk->virtio.pci.lock);
}

unsigned virtio_blk_in_flight(struct virtio_blk *blk)
{
	unsigned count;

	spin_lock(&blk->virtio.pci.lock);
	count = blk->in_flight;
	spin_unlock(&blk->virtio.pci.lock);
	return count;
}

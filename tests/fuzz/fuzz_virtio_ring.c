/* SOURCES: vmm/devices/virtio_ring.c vmm/memory/guest_memory.c */
/* TEST: 60000 runs of up to 512 bytes */
/* A split virtqueue: the input is where it lies, then what the driver writes to memory and what the device asks of the ring, in turn. */
#include "tests/fuzz/fuzz.h"

#include "vmm/devices/virtio_ring.h"

#define LOW 0x3000U
#define HIGH 0x2000U
#define HIGH_AT 0x8000U

static uint8_t *low, *high;
static struct guest_memory mem;
static struct virtio_ring ring;
static struct virtio_chain chain;

static bool in_memory(const struct segment *s)
{
	const uint8_t *p = s->base;

	return s->len && ((p >= low && p < low + LOW && s->len <= (size_t)(low + LOW - p)) ||
			  (p >= high && p < high + HIGH && s->len <= (size_t)(high + HIGH - p)));
}

static void check_chain(void)
{
	uint64_t bytes[2] = { 0, 0 };

	FUZZ_CHECK(chain.head < ring.size && chain.readable + chain.writable <= VIRTIO_RING_SIZE_MAX);
	for (unsigned i = 0; i < chain.readable + chain.writable; i++) {
		FUZZ_CHECK(in_memory(&chain.segment[i]));
		bytes[i >= chain.readable] += chain.segment[i].len;
	}
	FUZZ_CHECK(bytes[0] == chain.readable_bytes && bytes[1] == chain.writable_bytes && bytes[0] + bytes[1] <= UINT32_MAX);
}

/* An address near one of the parts, or any. */
static uint64_t address(struct input *in)
{
	unsigned how = (unsigned)take(in, 1);

	return how == 0xff ? take(in, 8) : how == 0xfe ? HIGH_AT + take(in, 2) : (uint64_t)how << 6;
}

static void store(uint64_t at, const void *bytes, size_t n)
{
	(void)guest_write(&mem, at, bytes, n);
}

static void driver_writes(struct input *in, uint64_t desc, uint64_t avail)
{
	struct virtq_desc d;
	uint16_t value;

	switch (take_below(in, 4)) {
	case 0: /* a descriptor of the ring, or of a table at a free place */
		d = (struct virtq_desc){ address(in), (uint32_t)take_number(in), (uint16_t)take(in, 1), (uint16_t)take(in, 1) };
		store((in->left && in->at[0] & 0x80 ? 0x2000 : desc) + 16 * (take(in, 1) & 0x7f), &d, sizeof(d));
		break;
	case 1: /* another chain is available */
		value = (uint16_t)take(in, 1);
		if (guest_read(&mem, avail + 2, &d, 2))
			break;
		memcpy(&d.next, &d, 2);
		store(avail + 4 + 2 * (d.next % (ring.size ? ring.size : 1)), &value, 2);
		d.next++;
		store(avail + 2, &d.next, 2);
		break;
	case 2:
		value = (uint16_t)take(in, 2);
		store(avail + 2 * take(in, 1), &value, 2);
		break;
	default:
		value = (uint16_t)take(in, 2);
		store(take(in, 2), &value, 2);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)take(&in, 1), queue_size = how & 0x10 ? (unsigned)take(&in, 2) : 1U << (how & 15);
	uint64_t desc = address(&in), avail = address(&in), used = address(&in);
	uint64_t features = (how & 0x40 ? BIT(VIRTIO_F_RING_INDIRECT_DESC) : 0) | (how & 0x80 ? BIT(VIRTIO_F_RING_EVENT_IDX) : 0);

	low = calloc(1, LOW);
	high = calloc(1, HIGH);
	memset(&mem, 0, sizeof(mem));
	memset(&ring, 0, sizeof(ring));
	FUZZ_CHECK(low && high && !guest_memory_add(&mem, 0, LOW, low) && !guest_memory_add(&mem, HIGH_AT, HIGH, high));
	if (!virtio_ring_enable(&ring, &mem, queue_size, desc, avail, used, features)) {
		unsigned taken = 0;

		while (in.left) {
			unsigned what = (unsigned)take(&in, 1) & 15;

			if (what < 8) {
				driver_writes(&in, desc, avail);
			} else if (what < 11) {
				int got = virtio_ring_pop(&ring, &chain);

				FUZZ_CHECK(got == 0 || got == 1 || got == ERR_INVALID);
				if (got < 0)
					break; /* touched no more */
				if (got) {
					check_chain();
					taken++;
				}
			} else if (what < 13) {
				if (taken) {
					virtio_ring_push(&ring, chain.head, (uint32_t)take(&in, 1));
					taken--;
				}
			} else if (what == 13) {
				(void)virtio_ring_should_signal(&ring);
			} else if (what == 14) {
				virtio_ring_notify_off(&ring);
			} else {
				(void)virtio_ring_notify_on(&ring);
			}
		}
		virtio_ring_disable(&ring);
	}
	FUZZ_CHECK(!virtio_ring_enabled(&ring));
	free(low);
	free(high);
	return 0;
}

/* The block-backend interface: sectors of 512 bytes, read, written and flushed asynchronously. */
#ifndef DRIVERS_DISK_BLOCK_H
#define DRIVERS_DISK_BLOCK_H

#include "lib/memory_segment.h"
#include "lib/types.h"

#define BLOCK_SECTOR_SIZE 512U
#define BLOCK_ID_SIZE 20U

enum block_op {
	BLOCK_READ,  /* medium to segments */
	BLOCK_WRITE, /* segments to medium */
	BLOCK_FLUSH, /* every write that was done before it is submitted reaches stable storage; no segments */
};

/* The caller fills it in and leaves it, and the memory that the segments name, alone until `done`. A caller keeps within the device's
 * sectors, max_sectors and max_segments and never writes to a read-only device; a backend answers ERR_RANGE, ERR_INVALID otherwise. */
struct block_request {
	enum block_op op;
	bool durable;                   /* write: on stable storage before `done` */
	uint64_t sector;                /* the first one */
	uint32_t sectors;               /* how many: the segments' lengths add up to exactly these */
	uint32_t segment_count;
	const struct segment *segments; /* any lengths and alignments; they may be a guest's memory, which changes at any time */
	/* Finished, once for each submit: 0 or a negative error. Called from within submit or later on any core, with no lock of the
	 * backend held. The request may be submitted anew, or be gone, before `done` returns. */
	void (*done)(struct block_request *request, int status);
	void *owner;                    /* the caller's business */
	struct block_request *next;     /* the backend's business */
};

struct block_device;

struct block_ops {
	/* Start a request. Any number of cores may call it at once, with no lock held that `done` takes. */
	void (*submit)(struct block_device *device, struct block_request *request);
	/* Begin with the submitted requests now, if submit has not done so already; NULL where submit always does. Called after each row of
	 * submits. */
	void (*commit)(struct block_device *device);
};

struct block_device {
	const struct block_ops *ops;
	uint64_t sectors;        /* size of the medium */
	uint32_t block_size;     /* bytes, 512 or a larger power of two: requests begin and end at multiples of it */
	uint32_t max_sectors;    /* of one request, a multiple of block_size; it bounds the time that a request takes of the calling core, too */
	uint32_t max_segments;   /* of one request; at least 1 */
	bool read_only;
	/* For a backend whose requests end in batches: `done` is called for each request of a batch while `in_batch` is set, then this once,
	 * if it is not NULL. The backend's user sets it, and does here the work that `done` would otherwise repeat. */
	void (*batch_done)(void *user);
	void *user;
	bool in_batch;           /* `done` is being called for the requests of a batch */
	bool batch_is_due;       /* atomic: batch_done will be called in any case, so that new work need not be announced until then */
	char id[BLOCK_ID_SIZE];  /* serial number, padded with NULs */
};

static inline void block_submit(struct block_device *device, struct block_request *request)
{
	device->ops->submit(device, request);
}

static inline void block_commit(struct block_device *device)
{
	if (device->ops->commit)
		device->ops->commit(device);
}

#endif

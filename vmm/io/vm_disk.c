/* The requests of a VM's disk, from submit to their end: their memory is looked up in the VM's address space, commands go to the disk, and
 * requests for which there is no tag wait. A timer looks for time-outs, and polls the disk where the policy says so. */
#include "vmm/io/vm_disk.h"

#include "lib/log.h"
#include "lib/string.h"
#include "mm/page_table.h"
#include "vmm/interface/core.h"

#define DRAIN_SECONDS 2
#define STARTED_NOTHING 1 /* there was nothing to do: the request is done */

/* What the timer is set to: */
#define TIMEOUTS_PERIOD time_hz()          /* looks for late commands, and for interrupts that were lost */
#define NO_INTERRUPT_PERIOD (time_hz() / 4000) /* looks at a disk that raises no interrupt */
#define RETRY_PERIOD (time_hz() / 1000)    /* a request waits for a tag, and no command's end will tell */

/* ---- Memory ---- */

/* The physical address of a byte of the VM's address space, and how many bytes from there on are contiguous. */
static bool translate_byte(struct vm_disk *d, uint64_t va, uint64_t *phys, uint64_t *room)
{
	unsigned level;

	if (va - d->leaf_va >= d->leaf_size) {
		if (page_table_lookup(d->space, va, phys, NULL, &level))
			return false;
		d->leaf_size = page_table_leaf_size(level);
		d->leaf_va = ALIGN_DOWN(va, d->leaf_size);
		d->leaf_phys = *phys - (va - d->leaf_va);
	}
	*phys = d->leaf_phys + (va - d->leaf_va);
	*room = d->leaf_size - (va - d->leaf_va);
	return true;
}

/* Translate the request's memory to physical ranges. Returns how many there are, or 0 where there are too many. */
static unsigned translate(struct vm_disk *d, const struct block_request *request)
{
	struct disk_range *last = NULL;
	unsigned count = 0;

	for (unsigned i = 0; i < request->segment_count; i++) {
		uint64_t va = (uint64_t)(uintptr_t)request->segments[i].base, phys, room;
		uint32_t left = request->segments[i].len;

		while (left) {
			uint32_t n;

			if (!translate_byte(d, va, &phys, &room))
				return 0;
			n = (uint32_t)MIN(left, room);
			if (last && last->phys + last->len == phys) {
				last->len += n;
			} else if (count == VM_DISK_RANGES) {
				return 0;
			} else {
				last = &d->range[count++];
				*last = (struct disk_range){ phys, n };
			}
			va += n;
			left -= n;
		}
	}
	return count;
}

/* Copy between the segments, from byte `skip` of them on, and the buffer. */
static void copy(const struct block_request *request, uint32_t skip, uint8_t *buffer, uint32_t size, bool to_buffer)
{
	for (unsigned i = 0; i < request->segment_count && size; i++) {
		const struct segment *s = &request->segments[i];
		uint32_t n;

		if (skip >= s->len) {
			skip -= s->len;
			continue;
		}
		n = MIN(s->len - skip, size);
		if (to_buffer)
			memcpy(buffer, s->base + skip, n);
		else
			memcpy(s->base + skip, buffer, n);
		skip = 0;
		buffer += n;
		size -= n;
	}
}

/* ---- Requests: the lock is held ---- */

static int check(const struct vm_disk *d, const struct block_request *request)
{
	const struct block_device *block = &d->block;
	uint64_t bytes = 0;

	if (request->op != BLOCK_READ && request->op != BLOCK_WRITE)
		return ERR_UNSUPPORTED;
	if (request->op == BLOCK_WRITE && block->read_only)
		return ERR_INVALID;
	if (request->sectors > block->max_sectors || request->segment_count > block->max_segments ||
	    request->sector % (1U << d->block_shift) || request->sectors % (1U << d->block_shift))
		return ERR_INVALID;
	if (request->sector > block->sectors || request->sectors > block->sectors - request->sector)
		return ERR_RANGE;
	for (unsigned i = 0; i < request->segment_count; i++)
		bytes += request->segments[i].len;
	return bytes == (uint64_t)request->sectors * BLOCK_SECTOR_SIZE ? 0 : ERR_INVALID;
}

/* Say whether the guest must notify of new requests. A disk that takes one command at a time is looked at when its command ends, and the
 * requests that have gathered by then may go as one command. */
static void update_announcements(struct vm_disk *d)
{
	bool batch_is_due = d->polling.on || (d->disk->single_command && d->in_flight);

	__atomic_store_n(&d->block.batch_is_due, batch_is_due, __ATOMIC_RELAXED);
}

static void set_timer(struct vm_disk *d, uint64_t deadline)
{
	d->timer_set = true;
	vtimer_set(&d->timer, deadline);
}

static int hand_over(struct vm_disk *d, const struct disk_job *job)
{
	int err = disk_submit(d->disk, d->client, job);

	if (err)
		return err;
	d->in_flight++;
	update_announcements(d);
	if (!d->timer_set)
		set_timer(d, time_now() + (d->disk->has_no_interrupt ? NO_INTERRUPT_PERIOD : TIMEOUTS_PERIOD));
	return 0;
}

/* The next piece of the buffered request. */
static int start_piece(struct vm_disk *d)
{
	struct block_request *request = d->buffered;
	struct disk_job job = { .op = request->op, .durable = request->durable, .ranges = d->range, .count = 1, .owner = request };
	uint32_t left = request->sectors * BLOCK_SECTOR_SIZE - d->buffered_done;

	d->buffered_piece = MIN(left, VM_DISK_BUFFER_PAGES * PAGE_SIZE);
	if (request->op == BLOCK_WRITE)
		copy(request, d->buffered_done, d->buffer, d->buffered_piece, true);
	d->range[0] = (struct disk_range){ d->buffer_phys, d->buffered_piece };
	job.block = d->first_block + ((request->sector + d->buffered_done / BLOCK_SECTOR_SIZE) >> d->block_shift);
	job.blocks = d->buffered_piece / d->disk->block_size;
	return hand_over(d, &job);
}

static int start_buffered(struct vm_disk *d, struct block_request *request)
{
	int err;

	if (d->buffered)
		return ERR_BUSY;
	d->buffered = request;
	d->buffered_done = 0;
	err = start_piece(d);
	if (err)
		d->buffered = NULL;
	else
		d->copied++;
	return err;
}

/* Start a request. Returns 0 (it is under way), STARTED_NOTHING, ERR_BUSY (try later), or the error that the request fails with. */
static int start(struct vm_disk *d, struct block_request *request)
{
	struct disk_job job = { .op = request->op, .durable = request->durable, .ranges = d->range, .owner = request };
	int err;

	if (request->op == BLOCK_FLUSH)
		return d->disk->write_cache ? hand_over(d, &job) : STARTED_NOTHING;
	err = check(d, request);
	if (err)
		return err;
	if (!request->sectors)
		return STARTED_NOTHING;
	job.block = d->first_block + (request->sector >> d->block_shift);
	job.blocks = request->sectors >> d->block_shift;
	job.count = translate(d, request);
	err = job.count ? hand_over(d, &job) : ERR_INVALID;
	d->in_place += !err;
	return err == ERR_INVALID ? start_buffered(d, request) : err;
}

/* A piece of the buffered request has ended. Returns true with *status if the whole request has. */
static bool piece_done(struct vm_disk *d, int *status)
{
	struct block_request *request = d->buffered;

	if (!*status) {
		if (request->op == BLOCK_READ)
			copy(request, d->buffered_done, d->buffer, d->buffered_piece, false);
		d->buffered_done += d->buffered_piece;
		if (d->buffered_done < request->sectors * BLOCK_SECTOR_SIZE) {
			/* The tag that has just become free may be another client's already: then the piece waits, too. */
			*status = start_piece(d);
			d->piece_waits = *status == ERR_BUSY;
			if (!*status || d->piece_waits)
				return false;
		}
	}
	d->buffered = NULL;
	return true;
}

static void submit(struct block_device *device, struct block_request *request)
{
	struct vm_disk *d = (struct vm_disk *)device;
	int err = ERR_BUSY;

	spin_lock(&d->lock);
	if (!d->waiting)
		err = start(d, request);
	if (err == ERR_BUSY) {
		request->next = NULL;
		if (d->waiting)
			d->waiting_last->next = request;
		else
			d->waiting = request;
		d->waiting_last = request;
		if (!d->in_flight && !d->timer_set)
			set_timer(d, time_now() + RETRY_PERIOD);
		err = 0;
	}
	spin_unlock(&d->lock);
	if (err)
		request->done(request, err == STARTED_NOTHING ? 0 : err);
}

_Static_assert(offsetof(struct vm_disk, block) == 0, "submit casts a block device to its disk");

static void commit(struct block_device *device)
{
	disk_commit(((struct vm_disk *)device)->disk);
}

static const struct block_ops ops = { .submit = submit, .commit = commit };

/* Start the requests that have waited for a tag or for the buffer. */
static void resume(struct vm_disk *d)
{
	spin_lock(&d->lock);
	if (d->piece_waits) {
		struct block_request *request = d->buffered;
		int err = start_piece(d);

		d->piece_waits = err == ERR_BUSY;
		if (err && err != ERR_BUSY) {
			d->buffered = NULL;
			spin_unlock(&d->lock);
			request->done(request, err);
			spin_lock(&d->lock);
		}
	}
	while (d->waiting) {
		struct block_request *request = d->waiting;
		int err = start(d, request);

		if (err == ERR_BUSY)
			break;
		d->waiting = request->next;
		if (!err)
			continue;
		spin_unlock(&d->lock);
		request->done(request, err == STARTED_NOTHING ? 0 : err);
		spin_lock(&d->lock);
	}
	spin_unlock(&d->lock);
}

/* Collect the commands that have ended, and start the requests that have waited. Returns how many commands ended. */
static unsigned collect(struct vm_disk *d)
{
	unsigned count = 0;
	void *owner;
	int status;

	d->block.in_batch = true;
	for (; disk_collect(d->disk, d->client, &owner, &status); count++) {
		struct block_request *request = owner;
		bool ended = true;

		spin_lock(&d->lock);
		d->in_flight--;
		update_announcements(d);
		if (request == d->buffered)
			ended = piece_done(d, &status);
		spin_unlock(&d->lock);
		if (ended)
			request->done(request, status);
	}
	d->block.in_batch = false;
	if (count || d->waiting || d->piece_waits)
		resume(d);
	return count;
}

/* ---- Interrupts or polling: on vCPU 0's core ---- */

/* The user hears of what has ended and submits what is new; the disk begins with it. */
static void end_batch(struct vm_disk *d)
{
	d->block.batch_done(d->block.user);
	disk_commit(d->disk);
}

/* A number of requests has ended by interrupts: begin to poll if that may be cheaper now. */
static void consider_polling(struct vm_disk *d, unsigned ended)
{
	uint64_t now = time_now();

	if (!vm_disk_polling_worth_trying(&d->polling, now, ended) || !disk_set_polling(d->disk, true))
		return;
	spin_lock(&d->lock);
	vm_disk_polling_begin(&d->polling);
	update_announcements(d);
	set_timer(d, now + d->polling.look_period);
	spin_unlock(&d->lock);
}

static void end_polling(struct vm_disk *d)
{
	spin_lock(&d->lock);
	d->polling.on = false;
	update_announcements(d);
	spin_unlock(&d->lock);
	disk_set_polling(d->disk, false);
	/* Take the requests that came without a notification, and have the guest notify of the next ones. */
	collect(d);
	end_batch(d);
}

void vm_disk_collect(struct vm_disk *d)
{
	unsigned ended = collect(d);

	if (!ended)
		return;
	end_batch(d);
	if (d->polling.on)
		d->polling.ended_since_look += ended;
	else
		consider_polling(d, ended);
}

/* A look at a polled disk and at its guest, in the timer's turn. */
static void look(struct vm_disk *d, uint64_t now, bool guest_waits)
{
	d->polling.ended_since_look += collect(d);
	end_batch(d);
	if (!vm_disk_polling_looked(&d->polling, now, d->in_flight, guest_waits))
		end_polling(d);
}

static uint64_t timer_period(const struct vm_disk *d)
{
	if (d->polling.on)
		return d->polling.look_period;
	if (d->disk->has_no_interrupt)
		return NO_INTERRUPT_PERIOD;
	return d->in_flight ? TIMEOUTS_PERIOD : RETRY_PERIOD;
}

static void timer_fired(void *ctx)
{
	struct vm_disk *d = ctx;
	uint64_t now = time_now();
	bool late = now - d->timeouts_checked_at >= TIMEOUTS_PERIOD, guest_waits = vm_guest_waits(d->vm);

	if (late)
		d->timeouts_checked_at = now;
	disk_watch(d->disk, late);
	if (d->polling.on)
		look(d, now, guest_waits);
	else
		vm_disk_collect(d);
	spin_lock(&d->lock);
	d->timer_set = d->in_flight || d->waiting || d->piece_waits || d->polling.on;
	if (d->timer_set)
		vtimer_set(&d->timer, time_now() + timer_period(d));
	spin_unlock(&d->lock);
}

/* Fail the requests that have not been handed to the disk, and will not be. */
static void fail_waiting(struct vm_disk *d)
{
	struct block_request *request, *next, *buffered = NULL;

	spin_lock(&d->lock);
	request = d->waiting;
	d->waiting = NULL;
	if (d->piece_waits) {
		buffered = d->buffered;
		d->buffered = NULL;
		d->piece_waits = false;
	}
	spin_unlock(&d->lock);
	if (buffered)
		buffered->done(buffered, ERR_IO);
	for (; request; request = next) {
		next = request->next;
		request->done(request, ERR_IO);
	}
}

void vm_disk_drain(struct vm_disk *d)
{
	uint64_t end = time_now() + DRAIN_SECONDS * time_hz();

	while (d->in_flight || d->waiting || d->piece_waits) {
		/* Look for late commands too: a request may wait for another VM's command, and that VM's timer may be one of this core's. */
		disk_poll(d->disk, true);
		vm_disk_collect(d);
		core_pause();
		if (time_now() > end) {
			log_line("vm %s: disk %s: %u requests have not ended within %u s: aborted", d->vm_name, d->disk->name,
				 d->in_flight, DRAIN_SECONDS);
			disk_abort(d->disk, d->client);
			fail_waiting(d);
			end = time_now() + DRAIN_SECONDS * time_hz();
		}
	}
	if (d->polling.on)
		end_polling(d);
	d->timer_set = false;
}

void vm_disk_print_statistics(const struct vm_disk *d)
{
	log_line("vm %s: disk%u: %lu reads and writes, %lu of them copied%s", d->vm_name, d->index,
		 (unsigned long)(d->in_place + d->copied), (unsigned long)d->copied,
		 d->copied ? ", because their memory lay in pieces that the controller does not reach" : "");
}

void vm_disk_open(struct vm_disk *d)
{
	d->block.ops = &ops;
	vtimer_init(&d->timer, d->vm, 0, timer_fired, d);
}

#include "vmm/io/vm_disk.h"

#include "drivers/disk/partitions.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/page_table.h"
#include "vmm/interface/core.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/vcpu.h"
#include "vmm/vm/arena.h"
#include "vmm/vm/registry.h"
#include "vmm/vm/vm.h"

#define MAX_SECTORS 2048U
#define DRAIN_SECONDS 2
/* Polling, which a busy disk is worth trying: instead of each request's interrupt and notice, one look for many of them. */
#define POLL_LEAST 4U                       /* requests that make a look worth while */
#define POLL_MOST 12U                       /* and as many as one should wait for */
#define POLL_POOR 5U                        /* looks in a row that were not: back to interrupts */
#define POLL_LONGEST (time_hz() / 500)
#define POLL_SHORTEST (time_hz() / 50000)
#define POLL_PAUSE (time_hz() / 200)        /* until the next trial; each failure doubles it */
#define POLL_PAUSE_LONGEST (time_hz() * 2)
#define STARTED_NOTHING 1 /* there was nothing to do: the request is done */

/* ---- Memory ---- */

/* Where a byte of the VM's address space lies, and how many from there on lie together. */
static bool find(struct vm_disk *d, uint64_t va, uint64_t *phys, uint64_t *room)
{
	unsigned level;

	if (va - d->leaf_va >= d->leaf_size) {
		if (page_table_lookup(&d->vm->space, va, phys, NULL, &level))
			return false;
		d->leaf_size = page_table_leaf_size(level);
		d->leaf_va = ALIGN_DOWN(va, d->leaf_size);
		d->leaf_phys = *phys - (va - d->leaf_va);
	}
	*phys = d->leaf_phys + (va - d->leaf_va);
	*room = d->leaf_size - (va - d->leaf_va);
	return true;
}

/* The request's memory as physical ranges. Returns how many, or 0 where they are too many. */
static unsigned translate(struct vm_disk *d, const struct block_request *request)
{
	struct disk_range *last = NULL;
	unsigned count = 0;

	for (unsigned i = 0; i < request->segment_count; i++) {
		uint64_t va = (uint64_t)(uintptr_t)request->segments[i].base, phys, room;
		uint32_t left = request->segments[i].len;

		while (left) {
			uint32_t n;

			if (!find(d, va, &phys, &room))
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

/* Between the segments, from byte `skip` of them on, and the buffer. */
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
	    request->sector % (1U << d->shift) || request->sectors % (1U << d->shift))
		return ERR_INVALID;
	if (request->sector > block->sectors || request->sectors > block->sectors - request->sector)
		return ERR_RANGE;
	for (unsigned i = 0; i < request->segment_count; i++)
		bytes += request->segments[i].len;
	return bytes == (uint64_t)request->sectors * BLOCK_SECTOR_SIZE ? 0 : ERR_INVALID;
}

/* Does the guest need to tell of new requests? A disk that takes one command at a time is looked after when that ends, and what has gathered
 * by then may go as one. */
static void need_notice(struct vm_disk *d)
{
	bool looked_after = d->polls || (d->disk->one_at_a_time && d->in_flight);

	__atomic_store_n(&d->block.looked_after, looked_after, __ATOMIC_RELAXED);
}

static int hand_over(struct vm_disk *d, const struct disk_job *job)
{
	int err = disk_submit(d->disk, d->client, job);

	if (err)
		return err;
	d->in_flight++;
	need_notice(d);
	if (!d->armed) {
		d->armed = true;
		vtimer_set(&d->timer, time_now() + (d->disk->polled ? time_hz() / 4000 : time_hz()));
	}
	return 0;
}

/* The next piece of the buffered request. */
static int start_piece(struct vm_disk *d)
{
	struct block_request *request = d->buffered;
	struct disk_job job = { .op = request->op, .durable = request->durable, .ranges = d->range, .count = 1, .owner = request };
	uint32_t left = request->sectors * BLOCK_SECTOR_SIZE - d->buffered_done;

	d->buffered_part = MIN(left, VM_DISK_BUFFER_PAGES * PAGE_SIZE);
	if (request->op == BLOCK_WRITE)
		copy(request, d->buffered_done, d->buffer, d->buffered_part, true);
	d->range[0] = (struct disk_range){ d->buffer_phys, d->buffered_part };
	job.block = d->first + ((request->sector + d->buffered_done / BLOCK_SECTOR_SIZE) >> d->shift);
	job.blocks = d->buffered_part / d->disk->block_size;
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

/* Returns 0 (under way), STARTED_NOTHING, ERR_BUSY (later), or the error that it fails with. */
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
	job.block = d->first + (request->sector >> d->shift);
	job.blocks = request->sectors >> d->shift;
	job.count = translate(d, request);
	err = job.count ? hand_over(d, &job) : ERR_INVALID;
	d->direct += !err;
	return err == ERR_INVALID ? start_buffered(d, request) : err;
}

/* A piece has ended. Returns true with *status where the request has. */
static bool piece_done(struct vm_disk *d, int *status)
{
	struct block_request *request = d->buffered;

	if (!*status) {
		if (request->op == BLOCK_READ)
			copy(request, d->buffered_done, d->buffer, d->buffered_part, false);
		d->buffered_done += d->buffered_part;
		if (d->buffered_done < request->sectors * BLOCK_SECTOR_SIZE) {
			/* The tag that has just become free may be another client's already: then the piece waits, too. */
			*status = start_piece(d);
			d->stalled = *status == ERR_BUSY;
			if (!*status || d->stalled)
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
		if (!d->in_flight && !d->armed) {
			d->armed = true;
			vtimer_set(&d->timer, time_now() + time_hz() / 1000);
		}
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

/* Start what has waited for a tag or for the buffer. */
static void resume(struct vm_disk *d)
{
	spin_lock(&d->lock);
	if (d->stalled) {
		struct block_request *request = d->buffered;
		int err = start_piece(d);

		d->stalled = err == ERR_BUSY;
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

/* Take what has ended, and hand over what is new. Returns how many requests ended. */
static unsigned collect(struct vm_disk *d)
{
	unsigned count = 0;
	void *owner;
	int status;

	d->block.batching = true;
	for (; disk_collect(d->disk, d->client, &owner, &status); count++) {
		struct block_request *request = owner;
		bool ended = true;

		spin_lock(&d->lock);
		d->in_flight--;
		need_notice(d);
		if (request == d->buffered)
			ended = piece_done(d, &status);
		spin_unlock(&d->lock);
		if (ended)
			request->done(request, status);
	}
	d->block.batching = false;
	if (count || d->waiting || d->stalled)
		resume(d);
	return count;
}

/* So many requests have ended by interrupts that polling may be cheaper? */
static void consider_polling(struct vm_disk *d)
{
	uint64_t now = time_now(), passed = now - d->polled_at;

	if (d->ended < POLL_LEAST)
		return;
	if (now >= d->pause_until && passed < d->ended * POLL_LONGEST / 2 && disk_poll_mode(d->disk, true)) {
		d->polls = true;
		need_notice(d);
		d->period = MAX(MIN(passed * POLL_LEAST / d->ended, POLL_LONGEST), POLL_SHORTEST);
		d->poor = d->good = 0;
		d->armed = true;
		vtimer_set(&d->timer, now + d->period);
	}
	d->polled_at = now;
	d->ended = 0;
}

static void end_polling(struct vm_disk *d)
{
	d->polls = false;
	need_notice(d);
	disk_poll_mode(d->disk, false);
	/* Requests that came without a notice, and a notice of the next ones. */
	collect(d);
	d->block.batch_done(d->block.user);
	disk_commit(d->disk);
}

void vm_disk_poll(struct vm_disk *d)
{
	unsigned count = collect(d);

	if (!count)
		return;
	d->ended += count;
	d->block.batch_done(d->block.user);
	disk_commit(d->disk);
	if (!d->polls)
		consider_polling(d);
}

/* Does the guest do nothing but wait? */
static bool guest_waits(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		if (vm->vcpu[i]->state == VCPU_RUNNING)
			return false;
	return true;
}

/* The disk was looked at: whether to go on so, and how long to wait. A guest that waits is to wait less, but as long as the disk needs
 * for 3/8 of what it has; one that computes is not to be disturbed until there is something to tell. */
static void plan(struct vm_disk *d, uint64_t now, bool waits)
{
	uint64_t each = (now - d->polled_at) / MAX(d->ended, 1U);

	if (waits)
		d->period = MAX(d->period / 2, MIN(each * (d->in_flight * 3 / 8), d->period));
	else
		d->period = MIN(d->period + d->period / 2, MAX(each * POLL_MOST, d->period / 2));
	d->period = MAX(MIN(d->period, POLL_LONGEST), POLL_SHORTEST);
	if (d->ended < POLL_LEAST - 1 && (d->in_flight < POLL_LEAST || d->period == POLL_LONGEST)) {
		d->poor++;
	} else {
		d->poor = 0;
		d->good++;
	}
	if (d->poor == POLL_POOR) {
		d->pause = d->good > 8 * POLL_POOR || !d->pause ? POLL_PAUSE : MIN(2 * d->pause, POLL_PAUSE_LONGEST);
		d->pause_until = now + d->pause;
		end_polling(d);
	}
	d->polled_at = now;
	d->ended = 0;
}

static void timer_fired(void *ctx)
{
	struct vm_disk *d = ctx;
	uint64_t now = time_now(), wait;
	bool late = now - d->checked_at >= time_hz(), waits = guest_waits(d->vm);

	if (late)
		d->checked_at = now;
	disk_poll(d->disk, late);
	if (d->polls) {
		d->ended += collect(d);
		d->block.batch_done(d->block.user);
		disk_commit(d->disk);
		plan(d, now, waits);
	} else {
		vm_disk_poll(d);
	}
	spin_lock(&d->lock);
	d->armed = d->in_flight || d->waiting || d->stalled || d->polls;
	wait = d->polls ? d->period : d->disk->polled ? time_hz() / 4000 : d->in_flight ? time_hz() : time_hz() / 1000;
	if (d->armed)
		vtimer_set(&d->timer, time_now() + wait);
	spin_unlock(&d->lock);
}

/* What has not been handed over yet, nor will be. */
static void fail_waiting(struct vm_disk *d)
{
	struct block_request *request, *next, *buffered = NULL;

	spin_lock(&d->lock);
	request = d->waiting;
	d->waiting = NULL;
	if (d->stalled) {
		buffered = d->buffered;
		d->buffered = NULL;
		d->stalled = false;
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

	while (d->in_flight || d->waiting || d->stalled) {
		/* Late ones, too: what waits may wait for another VM's command, and that VM's timer may be this core's. */
		disk_poll(d->disk, true);
		vm_disk_poll(d);
		core_pause();
		if (time_now() > end) {
			log_line("vm %s: disk %s: %u requests have not ended within %u s: aborted", d->vm->config.name, d->disk->name,
				 d->in_flight, DRAIN_SECONDS);
			disk_abort(d->disk, d->client);
			fail_waiting(d);
			end = time_now() + DRAIN_SECONDS * time_hz();
		}
	}
	if (d->polls)
		end_polling(d);
	d->armed = false;
}

void vm_disk_print_statistics(const struct vm_disk *d)
{
	log_line("vm %s: disk%u: %lu reads and writes, %lu of them copied%s", d->vm->config.name, d->index,
		 (unsigned long)(d->direct + d->copied), (unsigned long)d->copied,
		 d->copied ? ", because their memory lay in pieces that the controller does not reach" : "");
}

/* ---- Building ---- */

/* Called on any core, in any address space: `ctx` is the VM's handle, which all of them map. */
static void wake(void *ctx)
{
	sched_wake(((struct vm_handle *)ctx)->boot_slot);
}

static int find_part(struct disk *disk, const struct disk_config *config, uint64_t *first, uint64_t *blocks, const char **why)
{
	*first = 0;
	*blocks = disk->blocks;
	if (config->part)
		return partition_find(disk, config->part, first, blocks, why);
	if (config->length) {
		*why = "the bytes are no whole blocks of the disk, or reach beyond it";
		if (config->offset % disk->block_size || config->length % disk->block_size)
			return ERR_INVALID;
		*first = config->offset / disk->block_size;
		*blocks = config->length / disk->block_size;
	}
	return *first < disk->blocks && *blocks <= disk->blocks - *first ? 0 : ERR_RANGE;
}

int vm_disk_init(struct vm_disk *d, struct vm *vm, unsigned index, const struct disk_config *config)
{
	struct disk *disk = disk_by_name(config->disk);
	const char *why = "", *other = NULL;
	uint64_t first, blocks;
	int client;

	if (!disk) {
		log_line("vm %s: disk%u = \"%s\": no disk of this machine, or more than one, is called so (the log lists them)", vm->config.name,
			 index, config->disk);
		return ERR_NOENT;
	}
	if (find_part(disk, config, &first, &blocks, &why)) {
		log_line("vm %s: disk%u = \"%s\": %s", vm->config.name, index, config->disk, why);
		return ERR_INVALID;
	}
	client = disk_claim(disk, vm->config.name, first, blocks, &other);
	if (client < 0) {
		if (other)
			log_line("vm %s: disk%u = \"%s\": it, or a part of it, belongs to vm %s already", vm->config.name, index, config->disk, other);
		else
			log_line("vm %s: disk%u = \"%s\": it cannot be made ready", vm->config.name, index, config->disk);
		return client;
	}
	d->vm = vm;
	d->disk = disk;
	d->client = (unsigned)client;
	d->index = index;
	d->first = first;
	d->shift = (unsigned)__builtin_ctz(disk->block_size / BLOCK_SECTOR_SIZE);
	d->buffer = vm_alloc_pages(vm, VM_DISK_BUFFER_PAGES);
	if (!d->buffer)
		return ERR_NOMEM;
	d->buffer_phys = vm_phys(vm, d->buffer);
	vtimer_init(&d->timer, vm, 0, timer_fired, d);
	d->block.ops = &ops;
	d->block.sectors = blocks << d->shift;
	d->block.block_size = disk->block_size;
	d->block.max_sectors = MIN(disk->max_blocks << d->shift, MAX_SECTORS);
	d->block.max_segments = VM_DISK_SEGMENTS;
	d->block.read_only = config->read_only || disk->read_only;
	memcpy(d->block.id, disk->serial, strnlen(disk->serial, BLOCK_ID_SIZE));
	log_line("vm %s: disk%u: %s, blocks %lu to %lu%s", vm->config.name, index, disk->name, first, first + blocks - 1,
		 d->block.read_only ? ", read-only" : "");
	return 0;
}

void vm_disk_placed(struct vm_disk *d)
{
	struct disk_client *client = &d->disk->client[d->client];

	client->ctx = d->vm->handle;
	client->wake = wake;
	disk_route(d->disk, d->vm->handle->boot_slot->core);
}

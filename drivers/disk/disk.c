/* The table of the machine's disks, and a command's life in common for all drivers: tags, shares of several clients, time-outs, and the
 * trial of interrupted commands one by one after a reset. */
#include "drivers/disk/disk.h"

#include "drivers/host.h"
#include "lib/log.h"
#include "lib/string.h"

#define MISSED_MAX 2U /* looks without an interrupt between after which none is expected any more */

static struct disk *disks[DISKS_MAX];
static unsigned disk_count;

struct disk *disk_at(unsigned n)
{
	return n < disk_count ? disks[n] : NULL;
}

void disks_forget(void)
{
	disk_count = 0;
}

struct disk *disk_by_name(const char *name)
{
	static const char scheme[] = "serial:";
	bool serial = !strncmp(name, scheme, sizeof(scheme) - 1);
	struct disk *found = NULL;

	for (unsigned i = 0; i < disk_count; i++) {
		if (strcmp(serial ? disks[i]->serial : disks[i]->name, serial ? name + sizeof(scheme) - 1 : name) != 0)
			continue;
		if (found)
			return NULL;
		found = disks[i];
	}
	return found;
}

struct disk *disk_new(void)
{
	uint64_t phys;

	if (disk_count == DISKS_MAX) {
		log_line("disk: more than %u disks, the rest is left alone", DISKS_MAX);
		return NULL;
	}
	return host_dma_alloc(1, &phys);
}

void disk_add(struct disk *disk)
{
	uint64_t mib = disk->blocks / (MIB(1) / disk->block_size);

	disk->tag_count = MIN(disk->tag_count ? disk->tag_count : DISK_TAGS, DISK_TAGS);
	disk->share = disk->tag_count;
	if (!disk->timeout_s)
		disk->timeout_s = 10;
	disks[disk_count++] = disk;
	log_line("disk %s: %s, serial %s, %lu MiB in blocks of %u bytes%s%s", disk->name, disk->model[0] ? disk->model : "no model",
		 disk->serial[0] ? disk->serial : "unknown", (unsigned long)mib, disk->block_size, disk->write_cache ? ", write cache" : "",
		 disk->read_only ? ", read-only" : "");
}

void disk_text(char *dst, size_t size, const void *src, size_t len, bool swapped)
{
	const char *from = src;
	size_t n = 0, end = 0;

	for (size_t i = 0; i < len && n + 1 < size; i++) {
		char c = from[swapped ? i ^ 1 : i];

		if (!c)
			break;
		if (c == ' ' && !n)
			continue;
		dst[n++] = (char)(c >= ' ' && c <= '~' ? c : '?');
		if (c != ' ')
			end = n;
	}
	dst[end] = 0;
}

int disk_wait(uint32_t (*read32)(void *ctx), void *ctx, uint32_t mask, uint32_t value, uint32_t ms)
{
	uint64_t end = time_now() + time_hz() / 1000 * ms;

	for (;;) {
		/* The time is read before the register: a core that was held up for long looks at the register once more. */
		bool over = time_now() > end;

		if ((read32(ctx) & mask) == value)
			return 0;
		if (over)
			return ERR_IO;
		host_relax();
	}
}

static int open(struct disk *disk)
{
	uint64_t phys;
	uint8_t *tables;
	int err;

	if (disk->opened)
		return 0;
	tables = host_dma_alloc(disk->tag_count * DISK_TABLE_SIZE / PAGE_SIZE, &phys);
	if (!tables) {
		log_line("disk %s: no memory for its commands", disk->name);
		return ERR_NOMEM;
	}
	for (unsigned i = 0; i < disk->tag_count; i++) {
		disk->tag[i].table = tables + (size_t)i * DISK_TABLE_SIZE;
		disk->tag[i].table_phys = phys + (uint64_t)i * DISK_TABLE_SIZE;
	}
	err = disk->ops->open(disk);
	disk->opened = !err;
	if (disk->opened && disk->has_no_interrupt)
		log_line("disk %s: no interrupt of its own (neither MSI nor MSI-X): it is polled", disk->name);
	return err;
}

int disk_claim(struct disk *disk, const char *name, uint64_t first, uint64_t blocks, const char **other)
{
	struct disk_client *client;
	int err;

	if (!blocks || first > disk->blocks || blocks > disk->blocks - first)
		return ERR_RANGE;
	for (unsigned i = 0; i < disk->client_count; i++) {
		client = &disk->client[i];
		if (first < client->first + client->blocks && client->first < first + blocks) {
			*other = client->name;
			return ERR_BUSY;
		}
	}
	if (disk->client_count == MIN(DISK_CLIENTS_MAX, disk->tag_count))
		return ERR_NOMEM;
	err = open(disk);
	if (err)
		return err;
	client = &disk->client[disk->client_count];
	memset(client, 0, sizeof(*client));
	memcpy(client->name, name, strnlen(name, sizeof(client->name) - 1));
	client->first = first;
	client->blocks = blocks;
	disk->share = disk->tag_count / (disk->client_count + 1);
	return (int)disk->client_count++;
}

/* ---- Commands ---- */

static void finish(struct disk *disk, struct disk_tag *tag, int status)
{
	struct disk_client *client = &disk->client[tag->client];
	uint32_t before;

	tag->status = status;
	tag->state = DISK_TAG_FINISHED;
	disk->active--;
	before = __atomic_fetch_or(&client->finished, 1U << (tag - disk->tag), __ATOMIC_SEQ_CST);
	if (!before && client->wake)
		client->wake(client->ctx);
}

void disk_command_begins(struct disk *disk, struct disk_tag *tag)
{
	/* A flush may have a whole cache to write. */
	uint64_t seconds = tag->op == BLOCK_FLUSH ? 3 * disk->timeout_s : disk->timeout_s;

	tag->deadline = time_now() + seconds * time_hz();
}

static void start(struct disk *disk, struct disk_tag *tag)
{
	disk_command_begins(disk, tag);
	disk->ops->start(disk, (unsigned)(tag - disk->tag));
}

/* After a reset: start the next of the commands that the reset interrupted. A bad command shall not hold up the others: commands with the
 * fewest time-outs come first, and of these the youngest, which may only have waited for another command. */
static void try_next(struct disk *disk)
{
	struct disk_tag *next = NULL;

	for (uint32_t left = disk->to_retry; left; left &= left - 1) {
		struct disk_tag *tag = &disk->tag[__builtin_ctz(left)];

		if (!next || tag->tries < next->tries || (tag->tries == next->tries && tag->deadline >= next->deadline))
			next = tag;
	}
	disk->retrying = next != NULL;
	if (!next)
		return;
	disk->to_retry &= ~(1U << (next - disk->tag));
	start(disk, next);
	disk->ops->commit(disk);
}

bool disk_finished(struct disk *disk, unsigned index, int status)
{
	struct disk_tag *tag;

	if (index >= disk->tag_count || disk->tag[index].state != DISK_TAG_ACTIVE || disk->to_retry & 1U << index)
		return false;
	tag = &disk->tag[index];
	disk->timeouts_in_row = 0;
	disk->ended++;
	if (!disk->looked_at)
		disk->missed = 0;
	if (!status && tag->then_flush) {
		tag->then_flush = false;
		tag->op = BLOCK_FLUSH;
		tag->tries = 0;
		start(disk, tag);
		disk->ops->commit(disk);
		return true;
	}
	finish(disk, tag, status);
	if (disk->retrying)
		try_next(disk);
	return true;
}

static int submit(struct disk *disk, unsigned client, const struct disk_job *job)
{
	struct disk_tag *tag = disk->tag;
	int err;

	if (disk->dead)
		return ERR_IO;
	if (disk->retrying || __atomic_load_n(&disk->client[client].tags_held, __ATOMIC_RELAXED) >= disk->share)
		return ERR_BUSY;
	while (tag < disk->tag + disk->tag_count && tag->state != DISK_TAG_FREE)
		tag++;
	if (tag == disk->tag + disk->tag_count)
		return ERR_BUSY;
	tag->op = job->op;
	tag->block = job->block;
	tag->blocks = job->blocks;
	tag->ranges = 0;
	tag->tries = 0;
	tag->client = (uint8_t)client;
	tag->owner = job->owner;
	tag->then_flush = job->durable && disk->write_cache;
	if (job->op != BLOCK_FLUSH) {
		err = disk->ops->encode(disk, tag, job->ranges, job->count);
		if (err)
			return err;
	}
	tag->state = DISK_TAG_ACTIVE;
	__atomic_fetch_add(&disk->client[client].tags_held, 1, __ATOMIC_RELAXED);
	disk->active++;
	start(disk, tag);
	return 0;
}

int disk_submit(struct disk *disk, unsigned client, const struct disk_job *job)
{
	int err;

	spin_lock(disk->lock);
	err = submit(disk, client, job);
	spin_unlock(disk->lock);
	return err;
}

void disk_commit(struct disk *disk)
{
	spin_lock(disk->lock);
	if (!disk->dead)
		disk->ops->commit(disk);
	spin_unlock(disk->lock);
}

/* After a reset: which of a disk's commands fail, and which are tried again. */
static void sort_out(struct disk *disk, uint64_t late, int failing_client)
{
	bool hopeless = disk->timeouts_in_row >= DISK_SILENCE;

	if (hopeless)
		log_line("disk %s: %u time-outs in a row: all that it was asked for fails", disk->name, disk->timeouts_in_row);
	for (unsigned i = 0; i < disk->tag_count; i++) {
		struct disk_tag *tag = &disk->tag[i];
		uint32_t bit = 1U << i;

		if (tag->state != DISK_TAG_ACTIVE)
			continue;
		if (!(disk->to_retry & bit) && tag->deadline <= late)
			tag->tries++;
		disk->to_retry |= bit;
		if (hopeless || disk->dead || tag->tries >= DISK_TRIES || tag->client == failing_client) {
			disk->to_retry &= ~bit;
			finish(disk, tag, ERR_IO);
		}
	}
	if (hopeless)
		disk->timeouts_in_row = 0;
	if (disk->dead)
		disk->retrying = false;
	else
		try_next(disk);
}

/* Reset the controller and try again what its disks had under way. Commands whose deadline is at most `late` had a time-out; commands of
 * `disk` that belong to the client `failing_client` (-1: none) shall end. */
static void restart(struct disk *disk, uint64_t late, int failing_client)
{
	int err = disk->ops->reset(disk);

	if (err)
		log_line("disk %s: its controller does not come back: everything on it fails from now on", disk->name);
	for (unsigned n = 0; n < disk_count; n++) {
		struct disk *other = disks[n];

		if (other->controller != disk->controller || !other->opened)
			continue;
		other->dead |= err != 0;
		sort_out(other, late, other == disk ? failing_client : -1);
	}
}

static void poll(struct disk *disk, bool late)
{
	static const char *const words[] = { [BLOCK_READ] = "read", [BLOCK_WRITE] = "write", [BLOCK_FLUSH] = "flush" };
	uint64_t now = time_now();

	disk->looked_at = true;
	if (disk->active && !disk->dead)
		disk->ops->reap(disk);
	disk->looked_at = false;
	for (unsigned i = 0; late && disk->active && i < disk->tag_count; i++) {
		struct disk_tag *tag = &disk->tag[i];

		if (tag->state != DISK_TAG_ACTIVE || disk->to_retry & 1U << i || tag->deadline > now)
			continue;
		log_line("disk %s: time-out of a %s at block %lu, try %u of %u: reset", disk->name, words[tag->op],
			 (unsigned long)tag->block, tag->tries + 1U, DISK_TRIES);
		disk->timeouts_in_row++;
		restart(disk, now, -1);
		break;
	}
}

void disk_poll(struct disk *disk, bool late)
{
	spin_lock(disk->lock);
	poll(disk, late);
	spin_unlock(disk->lock);
}

void disk_watch(struct disk *disk, bool late)
{
	unsigned ended;

	spin_lock(disk->lock);
	ended = disk->ended;
	poll(disk, late);
	/* One look may come just before the interrupt. More frequent looks than these would often do so. */
	if (late && disk->ended != ended && !disk->has_no_interrupt && !disk->polling_clients && ++disk->missed == MISSED_MAX) {
		disk->has_no_interrupt = true;
		log_line("disk %s: requests end without their interrupt: it is polled from now on", disk->name);
	}
	spin_unlock(disk->lock);
}

bool disk_collect(struct disk *disk, unsigned number, void **owner, int *status)
{
	struct disk_client *client = &disk->client[number];
	uint32_t finished = __atomic_load_n(&client->finished, __ATOMIC_SEQ_CST);
	struct disk_tag *tag;

	while (finished) {
		uint32_t bit = finished & -finished;

		/* Several cores may collect at once: a tag belongs to the core whose exchange took its bit. */
		if (!__atomic_compare_exchange_n(&client->finished, &finished, finished & ~bit, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			continue;
		tag = &disk->tag[__builtin_ctz(bit)];
		*owner = tag->owner;
		*status = tag->status;
		__atomic_store_n(&tag->state, DISK_TAG_FREE, __ATOMIC_RELEASE);
		__atomic_fetch_sub(&client->tags_held, 1, __ATOMIC_RELEASE);
		return true;
	}
	return false;
}

void disk_abort(struct disk *disk, unsigned client)
{
	spin_lock(disk->lock);
	if (!disk->dead)
		disk->ops->reap(disk);
	for (unsigned i = 0; i < disk->tag_count; i++) {
		if (disk->tag[i].state == DISK_TAG_ACTIVE && disk->tag[i].client == client) {
			restart(disk, 0, (int)client);
			break;
		}
	}
	spin_unlock(disk->lock);
}

bool disk_set_polling(struct disk *disk, bool on)
{
	if (!disk->ops->mask_interrupts)
		return false;
	spin_lock(disk->lock);
	disk->polling_clients += on ? 1U : -1U;
	if (disk->polling_clients == on && !disk->dead)
		disk->ops->mask_interrupts(disk, on);
	/* Report the commands that ended between the last look and the first interrupt. */
	if (!on && disk->active && !disk->dead)
		disk->ops->reap(disk);
	spin_unlock(disk->lock);
	return true;
}

void disk_route(struct disk *disk, unsigned core)
{
	spin_lock(disk->lock);
	if (disk->ops->route)
		disk->ops->route(disk, core);
	spin_unlock(disk->lock);
}

void disks_shutdown(void)
{
	for (unsigned i = 0; i < disk_count; i++)
		if (disks[i]->ops->shutdown)
			disks[i]->ops->shutdown(disks[i]);
}

int disk_read_now(struct disk *disk, uint64_t block, uint32_t blocks, uint64_t phys)
{
	const struct disk_range range = { phys, blocks * disk->block_size };
	/* This client is no VM: it stands behind the last one. */
	const struct disk_job job = { .op = BLOCK_READ, .block = block, .blocks = blocks, .ranges = &range, .count = 1 };
	unsigned client = disk->client_count;
	void *owner;
	int status;

	if (client == DISK_CLIENTS_MAX || block > disk->blocks || blocks > disk->blocks - block || open(disk))
		return ERR_IO;
	memset(&disk->client[client], 0, sizeof(disk->client[client]));
	status = disk_submit(disk, client, &job);
	if (status)
		return status;
	disk_commit(disk);
	while (!disk_collect(disk, client, &owner, &status)) {
		disk_poll(disk, true);
		host_relax();
	}
	return status;
}

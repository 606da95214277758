/* A VM's disk is made from a line of its configuration: the machine's disk or its part is found and claimed, and the backend's limits are
 * told. */
#include "drivers/disk/partitions.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/io/vm_disk.h"
#include "vmm/sched/sched.h"
#include "vmm/vm/arena.h"
#include "vmm/vm/registry.h"
#include "vmm/vm/vm.h"

#define MAX_SECTORS 2048U

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
	d->vm_name = vm->config.name;
	d->space = &vm->space;
	d->disk = disk;
	d->client = (unsigned)client;
	d->index = index;
	d->first_block = first;
	d->block_shift = (unsigned)__builtin_ctz(disk->block_size / BLOCK_SECTOR_SIZE);
	d->buffer = vm_alloc_pages(vm, VM_DISK_BUFFER_PAGES);
	if (!d->buffer)
		return ERR_NOMEM;
	d->buffer_phys = vm_phys(vm, d->buffer);
	d->block.sectors = blocks << d->block_shift;
	d->block.block_size = disk->block_size;
	d->block.max_sectors = MIN(disk->max_blocks << d->block_shift, MAX_SECTORS);
	d->block.max_segments = VM_DISK_SEGMENTS;
	d->block.read_only = config->read_only || disk->read_only;
	memcpy(d->block.id, disk->serial, strnlen(disk->serial, BLOCK_ID_SIZE));
	vm_disk_open(d);
	log_line("vm %s: disk%u: %s, blocks %lu to %lu%s", vm->config.name, index, disk->name, first, first + blocks - 1,
		 d->block.read_only ? ", read-only" : "");
	return 0;
}

/* Called on any core, in any address space: `ctx` is the VM's handle, which all of them map. */
static void wake(void *ctx)
{
	sched_wake(((struct vm_handle *)ctx)->boot_slot);
}

void vm_disk_placed(struct vm_disk *d)
{
	struct disk_client *client = &d->disk->client[d->client];

	client->ctx = d->vm->handle;
	client->wake = wake;
	disk_route(d->disk, d->vm->handle->boot_slot->core);
}

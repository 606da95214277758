/* A VM's disks: each a virtio block device on a boot module or on a disk of the machine's. */
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/devices/virtio_blk.h"
#include "vmm/io/vm_disk.h"
#include "vmm/vm/vm_parts.h"
#include "vmm/vm/vm_services.h"

#define FIRST_DISK_SLOT 2

static struct block_device *module_disk(struct vm *vm, const struct vm_resources *resources, unsigned index)
{
	const struct disk_config *config = &vm->config.disk[index];
	struct vm_file *module = vm_file_find(resources, config->module, strlen(config->module));
	void *data;

	if (!module) {
		log_line("vm %s: disk%u = \"module:%s\": no boot module has this name", vm->config.name, index, config->module);
		return NULL;
	}
	data = vm_file_map(vm, module, !config->read_only);
	if (!data) {
		log_line("vm %s: disk%u = \"module:%s\": the module is empty, or in use already, by this VM or another", vm->config.name,
			 index, config->module);
		return NULL;
	}
	if (ram_disk_init(&vm->ram_disk[index], module->name, data, module->size, config->read_only))
		return NULL;
	return &vm->ram_disk[index].block;
}

static struct block_device *real_disk(struct vm *vm, unsigned index)
{
	struct vm_disk *disk = vm_alloc(vm, sizeof(*disk));

	if (!disk || vm_disk_init(disk, vm, index, &vm->config.disk[index]))
		return NULL;
	vm->real_disk[vm->real_disk_count++] = disk;
	return &disk->block;
}

static bool is_real(const struct disk_config *config)
{
	return config->disk[0];
}

static bool is_there(const struct disk_config *config)
{
	return config->module[0] || config->disk[0];
}

static uint32_t slots_of(const struct disk_config *config)
{
	return is_real(config) ? VM_DISK_SLOTS : VIRTIO_BLK_SLOTS;
}

static int make_disk(struct vm *vm, const struct vm_resources *resources, unsigned index)
{
	const struct disk_config *config = &vm->config.disk[index];
	struct virtio_blk_parts parts = {
		.backend = is_real(config) ? real_disk(vm, index) : module_disk(vm, resources, index),
		.queues = vm->config.numvcpus,
		.slots = slots_of(config),
	};
	struct virtio_blk *blk;

	if (!parts.backend)
		return ERR_INVALID;
	blk = vm_alloc(vm, sizeof(*blk));
	parts.slot = vm_alloc(vm, parts.slots * (uint32_t)sizeof(parts.slot[0]));
	if (!blk || !parts.slot || virtio_blk_init(blk, vm, &vm->memory, &vm->pci, FIRST_DISK_SLOT + index, &parts))
		return ERR_NOMEM;
	vm->disk[vm->disk_count++] = blk;
	return 0;
}

int vm_disks_make(struct vm *vm, const struct vm_resources *resources)
{
	int err = 0;

	for (unsigned i = 0; i < CONFIG_DISKS_MAX && !err; i++)
		if (is_there(&vm->config.disk[i]))
			err = make_disk(vm, resources, i);
	return err;
}

void vm_disks_plan(struct arena_plan *plan, const struct vm_config *config)
{
	for (unsigned i = 0; i < CONFIG_DISKS_MAX; i++) {
		if (!is_there(&config->disk[i]))
			continue;
		if (is_real(&config->disk[i])) {
			arena_plan_alloc(plan, sizeof(struct vm_disk));
			arena_plan_pages(plan, VM_DISK_BUFFER_PAGES);
		}
		arena_plan_alloc(plan, sizeof(struct virtio_blk));
		arena_plan_alloc(plan, slots_of(&config->disk[i]) * (uint32_t)sizeof(((struct virtio_blk_parts *)0)->slot[0]));
	}
}

void vm_disks_placed(struct vm *vm)
{
	for (unsigned i = 0; i < vm->real_disk_count; i++)
		vm_disk_placed(vm->real_disk[i]);
}

void vm_poll_disks(struct vm *vm)
{
	for (unsigned i = 0; i < vm->real_disk_count; i++)
		vm_disk_collect(vm->real_disk[i]);
}

void vm_disks_quiet(struct vm *vm)
{
	/* Nothing more is taken from the rings; what is under way comes to its end. */
	for (unsigned i = 0; i < vm->disk_count; i++)
		virtio_blk_reset(vm->disk[i]);
	for (unsigned i = 0; i < vm->real_disk_count; i++)
		vm_disk_drain(vm->real_disk[i]);
}

void vm_disks_print_statistics(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->real_disk_count; i++)
		vm_disk_print_statistics(vm->real_disk[i]);
}

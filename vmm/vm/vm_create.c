#include "vmm/vm/vm_create.h"

#include "lib/log.h"
#include "lib/printf.h"
#include "lib/string.h"
#include "mm/address_space.h"
#include "vmm/interface/core.h"
#include "vmm/memory/layout.h"
#include "vmm/mmu/virtual_mmu.h"

#define ARENA_BASE_SIZE KIB(192)
#define ARENA_VCPU_SIZE KIB(24)
#define ARENA_DISK_SIZE KIB(28)
#define ARENA_REAL_DISK_SIZE KIB(112)
#define FIRST_DISK_SLOT 2

static unsigned next_core;
static uint16_t next_tag = 1;

void *vm_alloc_pages(struct vm *vm, unsigned pages)
{
	void *p = pool_alloc(&vm->arena, pages);

	if (!p)
		log_line("vm %s: its control structures need more than %u KiB", vm->config.name, vm->arena.pages * 4);
	return p;
}

void *vm_alloc(struct vm *vm, uint32_t size)
{
	uint8_t *p;

	size = ALIGN_UP(size, 64U);
	if (size > vm->small_left) {
		unsigned pages = (size + PAGE_SIZE - 1) / PAGE_SIZE;

		vm->small = vm_alloc_pages(vm, pages);
		if (!vm->small) {
			vm->small_left = 0;
			return NULL;
		}
		vm->small_left = pages * PAGE_SIZE;
	}
	p = vm->small;
	vm->small += size;
	vm->small_left -= size;
	return p;
}

uint64_t vm_phys(const struct vm *vm, const void *p)
{
	return pool_phys(&vm->arena, p);
}

/* ---- Memory ---- */

/* The arena, an address space that maps it, and the struct vm at its start; runs in that address space afterwards. */
static struct vm *make_arena(const struct vm_config *config, bool shadow)
{
	uint64_t size = ARENA_BASE_SIZE + config->numvcpus * ARENA_VCPU_SIZE;
	unsigned vm_pages = (sizeof(struct vm) + PAGE_SIZE - 1) / PAGE_SIZE;
	struct vm *vm = (struct vm *)VM_ARENA_BASE;
	struct page_table space;
	struct pool arena;
	uint64_t phys;

	for (unsigned i = 0; i < CONFIG_DISKS_MAX; i++)
		size += config->disk[i].module[0] ? ARENA_DISK_SIZE : config->disk[i].disk[0] ? ARENA_REAL_DISK_SIZE : 0;
	if (shadow)
		size += virtual_mmu_size(config);
	/* PDPTEs are loaded from below 4 GiB. */
	phys = frames_alloc(&frames, size, PAGE_SIZE, GIB(4));
	if (!phys || address_space_init(&space) || page_table_map(&space, VM_ARENA_BASE, phys, size, PT_READ | PT_WRITE)) {
		log_line("vm %s: no memory for its %lu KiB of control structures", config->name, size >> 10);
		return NULL;
	}
	core_address_space(space.root);
	pool_init(&arena, vm, phys, (unsigned)(size / PAGE_SIZE));
	if (pool_alloc(&arena, vm_pages) != vm) /* which clears it */
		panic("a VM does not begin its arena");
	vm->arena = arena;
	vm->space = space;
	vm->config = *config;
	return vm;
}

/* Where a byte of the VM's RAM is in the guest's eyes: low memory first, then from 4 GiB on. */
static uint64_t ram_to_gpa(uint64_t offset)
{
	return offset < LAYOUT_LOW_RAM_MAX ? offset : offset - LAYOUT_LOW_RAM_MAX + LAYOUT_HIGH_RAM;
}

static int map_piece(struct vm *vm, uint64_t offset, uint64_t phys, uint64_t size)
{
	while (size) {
		uint64_t part = offset < LAYOUT_LOW_RAM_MAX ? MIN(size, LAYOUT_LOW_RAM_MAX - offset) : size;
		uint64_t gpa = ram_to_gpa(offset);
		int err = page_table_map(&vm->nested, gpa, phys, part, PT_READ | PT_WRITE | PT_EXEC);

		if (!err)
			err = page_table_map(&vm->space, GUEST_WINDOW_BASE + gpa, phys, part, PT_READ | PT_WRITE);
		if (err)
			return err;
		offset += part;
		phys += part;
		size -= part;
	}
	return 0;
}

static int make_memory(struct vm *vm)
{
	uint64_t size = MIB(vm->config.memsize), offset = 0;
	struct frame_piece pieces[VM_PIECES_MAX];
	unsigned count;
	int err;

	err = page_table_init(&vm->nested, vm->engine->nested_policy, vm->engine->nested_max_level(), &vm->arena, pool_table_alloc,
			      pool_table_free, pool_table_virt);
	if (err)
		return err;
	if (frames_alloc_guest(&frames, size, pieces, VM_PIECES_MAX, &count)) {
		log_line("vm %s: memsize is %u MiB, but only %lu MiB of memory are free", vm->config.name, vm->config.memsize,
			 frames_free_bytes(&frames) >> 20);
		return ERR_NOMEM;
	}
	for (unsigned i = 0; i < count; i++) {
		err = map_piece(vm, offset, pieces[i].base, pieces[i].size);
		if (err) {
			log_line("vm %s: no room for the page tables of its memory", vm->config.name);
			return err;
		}
		offset += pieces[i].size;
	}
	err = guest_memory_add(&vm->memory, 0, layout_low_ram(size), (uint8_t *)GUEST_WINDOW_BASE);
	if (!err && layout_high_ram(size))
		err = guest_memory_add(&vm->memory, LAYOUT_HIGH_RAM, layout_high_ram(size),
				       (uint8_t *)(GUEST_WINDOW_BASE + LAYOUT_HIGH_RAM));
	log_line("vm %s: memory: %u MiB in %lu 1 GiB, %lu 2 MiB and %lu 4 KiB pages", vm->config.name, vm->config.memsize,
		 vm->nested.leaf_count[PT_LEVEL_1G], vm->nested.leaf_count[PT_LEVEL_2M], vm->nested.leaf_count[PT_LEVEL_4K]);
	return err;
}

/* ---- Files ---- */

static struct vm_file *find_module(const struct vm_resources *resources, const char *name, size_t len)
{
	for (unsigned i = 0; i < resources->file_count; i++)
		if (strlen(resources->files[i].name) == len && !strncmp(resources->files[i].name, name, len))
			return &resources->files[i];
	return NULL;
}

/* Make a file visible in the VM's address space. Many may read it; a VM that writes it must not write another's kernel or disk. */
static void *map_module(struct vm *vm, struct vm_file *file, bool writable)
{
	uint64_t size = ALIGN_UP(file->size, (uint64_t)PAGE_SIZE);
	uint64_t va = MODULES_BASE + file->phys, pa;

	if (file->written || (writable && file->read))
		return NULL;
	/* It may be there, named twice. */
	if (page_table_lookup(&vm->space, va, &pa, NULL, NULL) &&
	    (!size || page_table_map(&vm->space, va, file->phys, size, PT_READ | (writable ? PT_WRITE : 0))))
		return NULL;
	file->read = true;
	file->written = writable;
	return (void *)va;
}

static int find_file(struct vm *vm, const struct vm_resources *resources, const char *key, const char *text, struct loader_file *file)
{
	size_t len = config_module_name(text);
	struct vm_file *module;

	module = find_module(resources, text, len);
	if (!module) {
		log_line("vm %s: %s = \"%s\": no boot module has this name", vm->config.name, key, text);
		return ERR_NOENT;
	}
	file->name = module->name;
	file->string = text;
	file->len = module->size;
	file->data = map_module(vm, module, false);
	if (!file->data) {
		log_line("vm %s: %s = \"%s\": the module is empty, or a disk that is written", vm->config.name, key, text);
		return ERR_INVALID;
	}
	return 0;
}

static int find_files(struct vm *vm, const struct vm_resources *resources)
{
	struct loader_input *in = &vm->files;
	char key[] = "module0";
	int err;

	in->mem = &vm->memory;
	in->cmdline = vm->config.cmdline;
	err = find_file(vm, resources, "kernel", vm->config.kernel, &in->kernel);
	if (!err && vm->config.initrd[0])
		err = find_file(vm, resources, "initrd", vm->config.initrd, &in->initrd);
	for (unsigned i = 0; i < CONFIG_MODULES_MAX && !err; i++) {
		if (!vm->config.module[i][0])
			continue;
		key[6] = (char)('0' + i);
		err = find_file(vm, resources, key, vm->config.module[i], &in->module[in->modules]);
		in->modules++;
	}
	return err;
}

/* ---- Devices ---- */

static struct block_device *module_disk(struct vm *vm, const struct vm_resources *resources, unsigned index)
{
	const struct disk_config *config = &vm->config.disk[index];
	struct vm_file *module = find_module(resources, config->module, strlen(config->module));
	void *data;

	if (!module) {
		log_line("vm %s: disk%u = \"module:%s\": no boot module has this name", vm->config.name, index, config->module);
		return NULL;
	}
	data = map_module(vm, module, !config->read_only);
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

static int make_disk(struct vm *vm, const struct vm_resources *resources, unsigned index)
{
	bool real = vm->config.disk[index].disk[0];
	struct virtio_blk_parts parts = {
		.backend = real ? real_disk(vm, index) : module_disk(vm, resources, index),
		.queues = vm->config.numvcpus,
		.slots = real ? VM_DISK_SLOTS : VIRTIO_BLK_SLOTS,
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

static void input_due(void *ctx)
{
	vm_console_input(ctx);
}

static int make_devices(struct vm *vm, const struct vm_resources *resources)
{
	uint64_t size = MIB(vm->config.memsize);
	int err = pic_init(&vm->pic, vm, &vm->pio, &vm->irq_lock);

	vtimer_init(&vm->input_timer, vm, 0, input_due, vm);
	err = err ? err : ioapic_init(&vm->ioapic, vm, &vm->mmio, &vm->irq_lock);
	err = err ? err : pit_init(&vm->pit, vm, &vm->pio);
	err = err ? err : rtc_init(&vm->rtc, vm, &vm->pio, layout_low_ram(size), layout_high_ram(size), resources->unix_seconds);
	err = err ? err : acpi_pm_init(&vm->acpi_pm, vm, &vm->pio);
	err = err ? err : uart_init(&vm->uart, vm, &vm->pio, 0x3f8, 4);
	err = err ? err : i8042_init(&vm->i8042, vm, &vm->pio);
	err = err ? err : reset_ports_init(&vm->reset_ports, vm, &vm->pio);
	err = err ? err : pci_init(&vm->pci, vm, &vm->pio, &vm->mmio);
	vm->pci.cf9_read = reset_cf9_read;
	vm->pci.cf9_write = reset_cf9_write;
	vm->pci.cf9_ctx = &vm->reset_ports;
	for (unsigned i = 0; i < CONFIG_DISKS_MAX && !err; i++)
		if (vm->config.disk[i].module[0] || vm->config.disk[i].disk[0])
			err = make_disk(vm, resources, i);
	if (!err)
		pci_reset(&vm->pci);
	return err;
}

/* ---- CPUs ---- */

static int make_vcpus(struct vm *vm, const struct vm_resources *resources)
{
	const struct cpuid_policy policy = {
		.vcpus = vm->config.numvcpus,
		.tsc_hz = time_hz(),
		.granted = (vm->engine->granted() & ~(uint32_t)(vm->shadow ? CPUID_GRANT_PCID | CPUID_GRANT_INVPCID : 0)) | CPUID_GRANT_X2APIC | CPUID_GRANT_TSC_DEADLINE,
		.phys_bits = (uint8_t)(resources->cpuid->extended[8][CPUID_EAX] & 0xff),
		.nested_paging = !vm->shadow,
	};
	int err;

	cpuid_build(&vm->cpuid, resources->cpuid, &policy);
	err = vm->engine->vm_create(vm);
	for (unsigned i = 0; i < vm->config.numvcpus && !err; i++) {
		struct vcpu *v = vm_alloc(vm, sizeof(*v));

		if (!v)
			return ERR_NOMEM;
		vm->vcpu[vm->vcpu_count++] = v; /* before it makes its timers */
		err = vcpu_create(v, vm, i);
	}
	return err;
}

static int place_vcpus(struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		unsigned core = next_core++ % core_count();

		vm->vcpu[i]->slot = sched_add_vcpu(vm->handle, vm->vcpu[i], core);
		if (!vm->vcpu[i]->slot) {
			log_line("vm %s: too many vCPUs for core %u", vm->config.name, core);
			return ERR_NOMEM;
		}
		log_line("vm %s: vcpu %u on core %u", vm->config.name, i, core);
	}
	return 0;
}

static void log_text(void *ctx, const char *line)
{
	(void)ctx;
	log_line("%s", line);
}

static void log_mode(struct vm *vm, enum monitor_mode mode)
{
	char details[48];
	const char *largest = vm->nested.leaf_count[PT_LEVEL_1G] ? "1 GiB" : vm->nested.leaf_count[PT_LEVEL_2M] ? "2 MiB" : "4 KiB";
	const struct monitor_engine_text text = { vm->engine->name, vm->shadow ? NULL : vm->engine->mmu_name, details };

	snprintf(details, sizeof(details), "%s pages, %s %u", largest, vm->engine->tag_name, vm->first_tag);
	monitor_mode_log_chosen(mode, &text, log_text, NULL);
}

int vm_create(const struct vm_config *config, const struct vm_resources *resources)
{
	struct monitor_choice choice;
	struct vm *vm;
	int err;

	if (monitor_mode_select(&resources->monitor, &config->monitor, config->guest_os, log_text, NULL, &choice))
		return ERR_UNSUPPORTED;
	vm = make_arena(config, choice.mode[0] == MONITOR_HV);
	if (!vm)
		return ERR_NOMEM;
	vm->engine = resources->engine;
	vm->boot_ticks = resources->boot_ticks;
	vm->first_tag = next_tag;
	next_tag = (uint16_t)(next_tag + config->numvcpus);
	err = make_memory(vm);
	if (!err && choice.mode[0] == MONITOR_HV)
		err = virtual_mmu_create(vm);
	err = err ? err : make_vcpus(vm, resources);
	err = err ? err : make_devices(vm, resources);
	err = err ? err : find_files(vm, resources);
	if (!err) {
		vm->handle = sched_add_vm(config->name, vm->space.root);
		err = vm->handle ? place_vcpus(vm) : ERR_NOMEM;
	}
	for (unsigned i = 0; i < vm->real_disk_count && !err; i++)
		vm_disk_placed(vm->real_disk[i]);
	err = err ? err : vm_start_guest(vm);
	if (err) {
		log_line("vm %s: not started", config->name);
		if (vm->handle)
			sched_vm_ended(vm->handle);
		return err;
	}
	log_mode(vm, choice.mode[0]);
	log_line("vm %s: %s, %u vcpu(s), control structures %u KiB", config->name, vm->start.protocol, vm->vcpu_count,
		 pool_used_pages(&vm->arena) * 4);
	return 0;
}

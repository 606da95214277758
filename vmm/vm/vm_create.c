/* A VM's construction, in order: its monitor mode, its arena, then each of its parts. */
#include "vmm/vm/vm_create.h"

#include "lib/log.h"
#include "lib/printf.h"
#include "mm/address_space.h"
#include "vmm/config/monitor_mode.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/sched/sched.h"
#include "vmm/vm/registry.h"
#include "vmm/vm/vm_parts.h"

/* The pages of arena that the construction below will allocate, counted in the same order. */
static unsigned plan_arena(const struct vm_config *config, const struct engine *engine, bool shadow, const struct vm_ram *ram)
{
	unsigned max_leaf_level = MIN(engine->nested_max_level(), engine->nested_policy->max_leaf_level);
	struct arena_plan plan = { .pages = arena_pages(sizeof(struct vm)) };

	vm_memory_plan(&plan, ram, max_leaf_level);
	if (shadow)
		virtual_mmu_plan(&plan, config);
	vm_vcpus_plan(&plan, config, engine, shadow);
	vm_disks_plan(&plan, config);
	return plan.pages;
}

/* The arena, an address space that maps it, and the struct vm at its start; runs in that address space afterwards. */
static struct vm *make_arena(const struct vm_config *config, unsigned pages)
{
	uint64_t size = (uint64_t)pages * PAGE_SIZE;
	struct vm *vm = (struct vm *)VM_ARENA_BASE;
	struct page_table space;
	struct pool arena;
	uint64_t phys;

	if (pages > POOL_PAGES_MAX) {
		log_line("vm %s: its control structures need %lu MiB: the most is %u MiB", config->name, size >> 20, POOL_PAGES_MAX / 256);
		return NULL;
	}
	/* PDPTEs are loaded from below 4 GiB. */
	phys = frames_alloc(&frames, size, PAGE_SIZE, GIB(4));
	if (!phys || address_space_init(&space) || page_table_map(&space, VM_ARENA_BASE, phys, size, PT_READ | PT_WRITE)) {
		log_line("vm %s: no memory for its %lu KiB of control structures", config->name, size >> 10);
		return NULL;
	}
	core_address_space(space.root);
	if (pool_init(&arena, vm, phys, pages) || pool_alloc(&arena, arena_pages(sizeof(*vm))) != vm) /* which clears it */
		panic("a VM does not begin its arena");
	vm->arena = arena;
	vm->space = space;
	vm->config = *config;
	return vm;
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

	snprintf(details, sizeof(details), "%s pages, %s %u", largest, vm->engine->tag_name, vm->engine_vm.first_tag);
	monitor_mode_log_chosen(mode, &text, log_text, NULL);
}

/* Every part, in the arena, which is there. Returns 0 or an error, logged. */
static int build(struct vm *vm, const struct vm_resources *resources, const struct vm_ram *ram, bool shadow)
{
	int err = vm_memory_make(vm, ram);

	if (!err && shadow)
		err = virtual_mmu_create(vm);
	err = err ? err : vm_vcpus_make(vm, resources);
	err = err ? err : vm_devices_make(vm, resources);
	err = err ? err : vm_disks_make(vm, resources);
	if (!err)
		pci_reset(&vm->pci); /* its functions are all there */
	err = err ? err : vm_files_find(vm, resources);
	if (!err) {
		vm->handle = registry_add(vm->config.name, vm->space.root);
		err = vm->handle ? vm_vcpus_place(vm) : ERR_NOMEM;
	}
	if (!err)
		vm_disks_placed(vm);
	return err ? err : vm_start_guest(vm);
}

int vm_create(const struct vm_config *config, const struct vm_resources *resources)
{
	const struct engine *engine;
	enum monitor_mode mode;
	struct vm_ram ram;
	struct vm *vm;
	unsigned used;
	bool shadow;
	int err;

	if (monitor_mode_select(&resources->monitor, &config->monitor, config->guest_os, log_text, NULL, &mode))
		return ERR_UNSUPPORTED;
	engine = engine_for_mode(resources->engines, mode);
	if (!engine)
		panic("no engine serves a monitor mode that was offered");
	shadow = mode != MONITOR_HWMMU;
	if (vm_ram_take(&ram, config))
		return ERR_NOMEM;
	vm = make_arena(config, plan_arena(config, engine, shadow, &ram));
	if (!vm) {
		vm_ram_give_back(&ram);
		return ERR_NOMEM;
	}
	vm->engine = engine;
	vm->boot_ticks = resources->boot_ticks;
	err = build(vm, resources, &ram, shadow);
	if (err) {
		log_line("vm %s: not started", config->name);
		if (vm->handle)
			registry_end(vm->handle);
		return err;
	}
	log_mode(vm, mode);
	used = pool_used_pages(&vm->arena);
	log_line("vm %s: %s, %u vcpu(s), control structures %u KiB", config->name, vm->start.protocol, vm->vcpu_count, used * 4);
	if (used != vm->arena.pages)
		log_line("vm %s: %u KiB of its arena are not used", config->name, (vm->arena.pages - used) * 4);
	return 0;
}

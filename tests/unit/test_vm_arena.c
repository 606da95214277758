/* SOURCES: vmm/vm/arena.c vmm/vm/vm_devices.c vmm/vm/vm_disks.c vmm/vm/vm_files.c vmm/vm/vm_memory.c vmm/vm/vm_vcpus.c vmm/vcpu/[a-z]*.c vmm/exits/[a-z]*.c vmm/mmu/[a-z]*.c vmm/shadow/[a-z]*.c vmm/emulate/[a-z]*.c vmm/memory/[a-z]*.c vmm/config/[a-z]*.c vmm/io/[a-z]*.c vmm/devices/acpi_pm.c vmm/devices/ioapic.c vmm/devices/lapic*.c vmm/devices/msix.c vmm/devices/pci.c vmm/devices/pic.c vmm/devices/pit.c vmm/devices/i8042.c vmm/devices/reset.c vmm/devices/rtc*.c vmm/devices/tick_clock.c vmm/devices/uart.c vmm/devices/virtio*.c mm/frames.c mm/page_table.c mm/policy_*.c mm/pool.c drivers/disk/ram_disk.c */
/* LIBS: -ffunction-sections -fdata-sections -Wl,--gc-sections */
/* A whole VM is built, again and again: its arena is as large as what it allocates, whatever it consists of. The test plays the engine, the
 * cores and the machine's disks; memory, vCPUs, devices and shadow page tables are the real ones. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/disk/disk.h"
#include "drivers/disk/partitions.h"
#include "mm/address_space.h"
#include "tests/unit/fakes.h"

/* Where the host can map it. */
static uint8_t *arena_memory;
#undef VM_ARENA_BASE
#define VM_ARENA_BASE ((uint64_t)arena_memory)
#include "vmm/vm/registry.h"
#include "vmm/vm/vm_create.c"
#include "vmm/vm/vm_services.h"

#define ARENA_MAX ((size_t)POOL_PAGES_MAX * PAGE_SIZE)
#define TABLE_PAGES 4096U
#define UNUSED_MAX 2 /* pages */

struct frames frames;
static struct pool table_pool; /* of the address spaces, which are no part of the arena */
static uint8_t *table_memory;

int address_space_init(struct page_table *table)
{
	return page_table_init(table, &policy_host, PT_LEVEL_1G, &table_pool, pool_table_alloc, pool_table_free, pool_table_virt);
}

/* ---- The cores ---- */

static struct vm_handle handle;
static struct sched_slot slot[VM_MAX_VCPUS];
static unsigned placed;

struct vm_handle *registry_add(const char *name, uint64_t root) { (void)name; (void)root; return &handle; }
unsigned registry_end(struct vm_handle *of) { (void)of; return 0; }
void sched_wake(struct sched_slot *s) { (void)s; }
void sched_arm(struct vcpu *v) { (void)v; }
bool sched_should_yield(struct vcpu *v) { (void)v; return false; }
struct sched_slot *sched_add_vcpu(struct vm_handle *of, struct vcpu *v, unsigned core)
{
	struct sched_slot *s = &slot[placed++];

	of->boot_slot = of->boot_slot ? of->boot_slot : s;
	s->vcpu = v;
	s->core = core;
	return s;
}

unsigned core_index(void) { return 0; }
unsigned core_count(void) { return 1; }
void core_address_space(uint64_t root) { (void)root; }
void core_pause(void) {}
void core_set_xcr0(uint64_t value) { (void)value; }
void core_fpu_init(void) {}
uint16_t core_fpu_status(void) { return 0; }
uint16_t core_fpu_control(void) { return 0; }
bool core_interrupt(uint8_t vector) { (void)vector; return false; }
bool core_take_interrupts(void) { return false; }
void core_nmi(void) {}
void core_machine_check(void) { abort(); }
void vm_console_input(struct vm *vm) { (void)vm; }
bool vm_guest_waits(const struct vm *vm) { (void)vm; return true; }
uint8_t vm_pic_acknowledge(struct vm *vm) { (void)vm; return 0; }
void timer_queue_init(struct timer_queue *queue, struct vcpu *v) { (void)queue; (void)v; }
void timer_queue_run(struct timer_queue *queue) { (void)queue; }
int vm_start_guest(struct vm *vm) { vm->start.protocol = "nothing"; return 0; }

/* ---- The machine's disks ---- */

static struct disk machine_disk = { .name = "nvme:0n1", .blocks = 4096, .block_size = 512, .max_blocks = 128 };

struct disk *disk_by_name(const char *name) { return strcmp(name, "nvme:0n1") ? NULL : &machine_disk; }
int disk_claim(struct disk *d, const char *owner, uint64_t first, uint64_t blocks, const char **other)
{
	(void)d; (void)owner; (void)first; (void)blocks; (void)other;
	return 0;
}
void disk_route(struct disk *d, unsigned core) { (void)d; (void)core; }

/* No request is ever made. */
int disk_submit(struct disk *d, unsigned client, const struct disk_job *job) { (void)d; (void)client; (void)job; abort(); }
void disk_commit(struct disk *d) { (void)d; abort(); }
void disk_watch(struct disk *d, bool late) { (void)d; (void)late; abort(); }
void disk_poll(struct disk *d, bool late) { (void)d; (void)late; abort(); }
bool disk_collect(struct disk *d, unsigned client, void **owner, int *status) { (void)d; (void)client; (void)owner; (void)status; abort(); }
void disk_abort(struct disk *d, unsigned client) { (void)d; (void)client; abort(); }
bool disk_set_polling(struct disk *d, bool polls) { (void)d; (void)polls; abort(); }
int partition_find(struct disk *d, unsigned number, uint64_t *first, uint64_t *blocks, const char **why)
{
	(void)d; (void)number; (void)first; (void)blocks; (void)why;
	abort();
}

/* ---- An engine that allocates as VT-x and AMD-V do, and a page more or less than it says where the test wants that ---- */

#define APIC_PAGE 0xfee00000UL

static bool greedy, modest;
static unsigned max_level;

static void engine_plan_vm(struct arena_plan *plan, bool shadow)
{
	arena_plan_alloc(plan, 40);
	arena_plan_pages(plan, 4);
	if (!shadow)
		arena_plan_pages(plan, 1 + 2); /* the page and the tables down to it */
}

static int engine_vm_create(struct engine_vm *vm)
{
	void *page = NULL;

	assert_ptr_equal(((struct vm *)arena_memory)->handle, NULL);
	vm->hw = vm_alloc(vm->vm, 40);
	if (!vm->hw || !vm_alloc_pages(vm->vm, 2) || !vm_alloc_pages(vm->vm, 2))
		return ERR_NOMEM;
	if (!vm->shadow)
		page = vm_alloc_pages(vm->vm, 1);
	return page ? page_table_map(vm->nested, APIC_PAGE, vm_phys(vm->vm, page), PAGE_SIZE, PT_READ | PT_WRITE) : 0;
}

static void engine_plan_vcpu(struct arena_plan *plan)
{
	arena_plan_alloc(plan, 1000);
	arena_plan_pages(plan, modest ? 3 : 2);
}

static int engine_vcpu_create(struct vcpu *v)
{
	v->hw = vm_alloc(v->vm, 1000);
	return v->hw && vm_alloc_pages(v->vm, 2) && (!greedy || vm_alloc_pages(v->vm, 1)) ? 0 : ERR_NOMEM;
}

static unsigned engine_max_level(void) { return max_level; }
static uint32_t engine_granted(void) { return 0; }
static bool engine_hw_delivery(const struct engine_vm *vm) { return !vm->shadow; }

static const struct engine engine = {
	.name = "VT-x", .mmu_name = "EPT", .tag_name = "VPID", .modes = BIT(MONITOR_HV) | BIT(MONITOR_HWMMU), .nested_policy = &policy_ept,
	.nested_max_level = engine_max_level, .granted = engine_granted, .hw_delivery = engine_hw_delivery, .vm_create = engine_vm_create,
	.vcpu_create = engine_vcpu_create, .plan_vm = engine_plan_vm, .plan_vcpu = engine_plan_vcpu,
};

static const struct engine_set engines = { 1, { &engine } };
static const struct cpuid_host host = { .extended = { [8] = { 0x3028 } } };

/* ---- The tests ---- */

static int setup(void **state)
{
	(void)state;
	fake_reset();
	arena_memory = aligned_alloc(PAGE_SIZE, ARENA_MAX);
	table_memory = aligned_alloc(PAGE_SIZE, (size_t)TABLE_PAGES * PAGE_SIZE);
	assert_non_null(arena_memory);
	assert_non_null(table_memory);
	assert_int_equal(pool_init(&table_pool, table_memory, 0x200000, TABLE_PAGES), 0);
	frames_init(&frames);
	memset(&handle, 0, sizeof(handle));
	placed = 0;
	greedy = modest = false;
	max_level = PT_LEVEL_1G;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(arena_memory);
	free(table_memory);
	return 0;
}

static struct vm_config config_of(unsigned memsize, unsigned vcpus)
{
	struct vm_config config = { .memsize = memsize, .numvcpus = vcpus, .guest_os = GUEST_LINUX_64 };

	strcpy(config.name, "a");
	strcpy(config.kernel, "kernel");
	return config;
}

static int create(const struct vm_config *config)
{
	static struct vm_file files[2];
	const struct vm_resources resources = {
		.files = files,
		.file_count = 2,
		.cpuid = &host,
		.engines = &engines,
		.monitor = { .vtx = true, .nested_paging = true, .long_mode = true, .build = engine.modes },
	};

	files[0] = (struct vm_file){ .name = "kernel", .phys = 0x1000000, .size = 5000 };
	files[1] = (struct vm_file){ .name = "root.img", .phys = 0x2000000, .size = 65536 };
	return vm_create(config, &resources);
}

/* The sum was enough, and not much more than that. */
static void expect_exact(const struct vm_config *config)
{
	struct vm *vm;
	char line[64];

	fake.log_len = 0;
	if (create(config))
		fail_msg("%s", fake.log);
	vm = (struct vm *)arena_memory;
	if (vm->arena.pages - vm->arena.used > UNUSED_MAX)
		fail_msg("%u vCPUs, %u MiB: %u pages of arena, of which %u are used", config->numvcpus, config->memsize, vm->arena.pages,
			 vm->arena.used);
	snprintf(line, sizeof(line), "control structures %u KiB\n", vm->arena.used * 4);
	assert_non_null(strstr(fake.log, line));
	assert_int_equal(vm->arena.pages != vm->arena.used, strstr(fake.log, "KiB of its arena are not used\n") != NULL);
}

static void add_disks(struct vm_config *config, const char *kinds)
{
	for (unsigned i = 0; kinds[i]; i++) {
		if (kinds[i] == 'm') {
			strcpy(config->disk[i].module, "root.img");
			config->disk[i].read_only = true;
		} else if (kinds[i] == 'd') {
			strcpy(config->disk[i].disk, "nvme:0n1");
		}
	}
}

static void every_shape(void **state)
{
	static const unsigned vcpus[] = { 1, 2, 3, 7, 16, 63, 64 };
	static const char *const disks[] = { "", "m", "d", "md", "dddd", "-m-d" };

	for (unsigned shadow = 0; shadow < 2; shadow++) {
		for (unsigned i = 0; i < ARRAY_SIZE(vcpus); i++) {
			for (unsigned n = 0; n < ARRAY_SIZE(disks); n++) {
				struct vm_config config = config_of(256, vcpus[i]);

				teardown(state);
				setup(state);
				frames_add(&frames, MIB(16), GIB(2));
				add_disks(&config, disks[n]);
				config.monitor.mmu = shadow ? MONITOR_SOFTWARE : MONITOR_AUTOMATIC;
				expect_exact(&config);
				assert_int_equal(((struct vm *)arena_memory)->shadow != NULL, shadow);
			}
		}
	}
}

/* Free memory in one run; in runs that lie crosswise to the guest's addresses; in pieces with no whole 2 MiB, never aligned to them. */
static void lay_out(unsigned kind)
{
	if (kind < 2)
		frames_add(&frames, MIB(16) + 0x3000, MIB(12)); /* below 4 GiB, for the arena */
	if (kind == 0)
		frames_add(&frames, GIB(4), GIB(8));
	for (uint64_t at = 1; kind == 1 && at < 12; at++)
		frames_add(&frames, GIB(at) + MIB(7) * at + 0x5000, MIB(700));
	for (uint64_t at = 1; kind == 2 && at < 16; at++)
		frames_add(&frames, GIB(1) + MIB(4) * at + 0x1000 * at, MIB(2) - 0x1000);
}

/* The nested page tables depend on where the RAM lies. */
static void every_memory(void **state)
{
	static const unsigned sizes[] = { 4, 5, 17, 64, 1023, 1024, 3071, 3072, 3073, 5000 };
	unsigned built = 0;

	for (unsigned level = PT_LEVEL_4K; level <= PT_LEVEL_1G; level++) {
		for (unsigned kind = 0; kind < 3; kind++) {
			for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
				struct vm_config config = config_of(sizes[i], 2);

				teardown(state);
				setup(state);
				max_level = level;
				lay_out(kind);
				if (kind == 2 && sizes[i] > 17)
					continue; /* more than there is */
				expect_exact(&config);
				built++;
			}
		}
	}
	assert_int_equal(built, 3 * (10 + 10 + 3));
}

static uint64_t random_below(uint64_t limit)
{
	static uint64_t x = 88172645463325252;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x % limit;
}

/* The guest's RAM is where the layout has it, and ends there. */
static void expect_ram(const struct vm *vm)
{
	uint64_t size = MIB(vm->config.memsize), low = MIN(size, GIB(3)), end = GIB(4) + size - low;

	assert_ptr_equal(guest_ptr(&vm->memory, 0, 1), (void *)GUEST_WINDOW_BASE);
	assert_ptr_equal(guest_ptr(&vm->memory, low - 1, 1), (void *)(GUEST_WINDOW_BASE + low - 1));
	assert_null(guest_ptr(&vm->memory, low, 1));
	if (size > low)
		assert_ptr_equal(guest_ptr(&vm->memory, end - 1, 1), (void *)(GUEST_WINDOW_BASE + end - 1));
	assert_null(guest_ptr(&vm->memory, end, 1));
}

/* Pieces of any size and alignment, more various than frames_alloc_guest gives them: the tables are counted as they are made. */
static void any_pieces(void **state)
{
	static const uint64_t units[] = { PAGE_SIZE, MIB(2), GIB(1) };
	struct vm *vm;

	for (unsigned round = 0; round < 300; round++) {
		struct vm_ram ram = { .count = 1 + (unsigned)random_below(6) };
		struct arena_plan plan = { 0 };
		uint64_t size = 0;

		teardown(state);
		setup(state);
		vm = calloc(1, sizeof(*vm));
		max_level = PT_LEVEL_2M + (unsigned)random_below(2);
		for (unsigned i = 0; i < ram.count; i++) {
			uint64_t unit = units[random_below(3)], align = units[random_below(3)];

			ram.piece[i].size = unit * (1 + random_below(unit == GIB(1) ? 1 : 500));
			ram.piece[i].base = GIB(8) * (i + 1) + align * random_below(4);
			size += ram.piece[i].size;
		}
		vm->engine = &engine;
		vm->config.memsize = (uint32_t)(size >> 20) + 1;
		assert_int_equal(pool_init(&vm->arena, arena_memory, 0, POOL_PAGES_MAX), 0);
		assert_int_equal(address_space_init(&vm->space), 0);
		vm_memory_plan(&plan, &ram, max_level);
		assert_int_equal(vm_memory_make(vm, &ram), 0);
		assert_int_equal(plan.pages, vm->nested.table_count);
		assert_int_equal(plan.pages, vm->arena.used);
		expect_ram(vm);
		free(vm);
	}
}

static void large_shadow_memory(void **state)
{
	struct vm_config config = config_of(256, 2);

	(void)state;
	frames_add(&frames, MIB(16), GIB(2));
	config.monitor.mmu = MONITOR_SOFTWARE;
	config.shadow_memory = 24;
	expect_exact(&config);
}

/* An arena is at most 32 MiB. */
static void too_large_shadow_memory(void **state)
{
	struct vm_config config = config_of(256, 2);
	uint64_t free_before;

	(void)state;
	frames_add(&frames, MIB(16), GIB(2));
	free_before = frames_free_bytes(&frames);
	config.monitor.mmu = MONITOR_SOFTWARE;
	config.shadow_memory = 36;
	assert_int_equal(create(&config), ERR_NOMEM);
	assert_non_null(strstr(fake.log, "vm a: its control structures need "));
	assert_non_null(strstr(fake.log, " MiB: the most is 32 MiB\n"));
	/* The RAM is given back. */
	assert_int_equal(frames_free_bytes(&frames), free_before);
}

static void no_room_for_the_arena(void **state)
{
	struct vm_config config = config_of(256, 2);

	(void)state;
	frames_add(&frames, GIB(4), MIB(512)); /* where no PDPTE can be loaded from */
	assert_int_equal(create(&config), ERR_NOMEM);
	assert_non_null(strstr(fake.log, "vm a: no memory for its "));
	assert_int_equal(frames_free_bytes(&frames), MIB(512));
}

/* A part that allocates more than it has said finds nothing, and the log says so. */
static void more_than_planned(void **state)
{
	struct vm_config config = config_of(256, 64);

	(void)state;
	frames_add(&frames, MIB(16), GIB(2));
	greedy = true;
	assert_int_not_equal(create(&config), 0);
	assert_non_null(strstr(fake.log, "vm a: its control structures need more than "));
	assert_non_null(strstr(fake.log, "vm a: not started\n"));
}

static void less_than_planned(void **state)
{
	struct vm_config config = config_of(256, 8);

	(void)state;
	frames_add(&frames, MIB(16), GIB(2));
	modest = true;
	assert_int_equal(create(&config), 0);
	assert_non_null(strstr(fake.log, "vm a: 32 KiB of its arena are not used\n"));
}

static void no_mode_no_vm(void **state)
{
	struct vm_config config = config_of(256, 1);
	static const struct engine_set none;
	const struct vm_resources resources = { .cpuid = &host, .engines = &none, .monitor = { .long_mode = true } };

	(void)state;
	frames_add(&frames, MIB(16), GIB(2));
	assert_int_equal(vm_create(&config, &resources), ERR_UNSUPPORTED);
	assert_non_null(strstr(fake.log, "MONITOR MODE: no mode can run this guest (linux-64)"));
	assert_null(engine_for_mode(&none, MONITOR_HV));
	assert_ptr_equal(engine_for_mode(&engines, MONITOR_HV), &engine);
	assert_null(engine_for_mode(&engines, MONITOR_BT));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(every_shape), T(every_memory), T(any_pieces), T(large_shadow_memory), T(too_large_shadow_memory), T(no_room_for_the_arena),
		T(more_than_planned), T(less_than_planned), T(no_mode_no_vm),
	};

	return cmocka_run_group_tests_name("vm_arena", tests, NULL, NULL);
}

/* Lamina's own memory: free frames taken from the loader's memory map, the page pool, and the kernel's page tables with the shared upper
 * slots, in which later mappings are laid out one behind the other. */
#include "arch/x86_64/memory.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/mtrr.h"
#include "arch/x86_64/panic.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/x86/registers.h"

#define SHARED_FIRST_SLOT 510
#define SHARED_LAST_SLOT 511
#define LEAST_MEMORY MIB(16)

struct frames frames;
struct pool lamina_pool;
struct page_table kernel_table;

static uint64_t next_stack = STACKS_BASE;
static uint64_t next_device = DEVICES_BASE;
static uint64_t next_dma = DMA_BASE;
static uint64_t next_firmware = FIRMWARE_BASE;

static void reserve_uncached(uint64_t base, uint64_t size)
{
	uint64_t before = frames_free_bytes(&frames);

	frames_reserve(&frames, base, size);
	if (frames_free_bytes(&frames) != before)
		log_line("memory: %lu KiB from %lx on are not write-back by the MTRRs: not used", (before - frames_free_bytes(&frames)) >> 10, base);
}

static void frames_from(const struct boot_info *info)
{
	frames_init(&frames);
	for (unsigned i = 0; i < info->memory_count; i++)
		if (info->memory[i].type == BOOT_MEMORY_USABLE)
			frames_add(&frames, info->memory[i].base, info->memory[i].length);
	mtrr_not_write_back(boot_info_usable_end(info), reserve_uncached);
	/* The first page holds the real-mode vectors and the BIOS data area. */
	frames_reserve(&frames, 0, PAGE_SIZE);
	frames_reserve(&frames, (uintptr_t)image_phys_start, (uint64_t)scratch_end - KERNEL_BASE - (uintptr_t)image_phys_start);
	frames_reserve(&frames, info->framebuffer.address, (uint64_t)info->framebuffer.pitch * info->framebuffer.height);
	for (unsigned i = 0; i < info->module_count; i++)
		frames_reserve(&frames, info->module[i].start, info->module[i].end - info->module[i].start);
}

static void map_image(const char *start, const char *end, uint32_t attrs)
{
	if (page_table_map(&kernel_table, (uint64_t)start, (uint64_t)start - KERNEL_BASE, (uint64_t)(end - start), attrs | PT_GLOBAL))
		panic("the image cannot be mapped");
}

struct boot_info *memory_init(const struct boot_info *info)
{
	struct boot_info *copy;
	unsigned largest = cpu_features.page_1g ? PT_LEVEL_1G : PT_LEVEL_2M;
	uint64_t phys, pool_size;

	frames_from(info);
	if (frames_free_bytes(&frames) < LEAST_MEMORY)
		boot_fatal("too little memory: %lu KiB are usable, Lamina needs %lu KiB and the guests' own memory",
			   frames_free_bytes(&frames) >> 10, LEAST_MEMORY >> 10);
	/* Below 4 GiB, because the other cores load CR3 while they are in 32-bit mode. */
	pool_size = MAX(POOL_SIZE_LEAST, MIN(ALIGN_DOWN(frames_free_bytes(&frames) / POOL_SHARE, MIB(2)), (uint64_t)POOL_PAGES_MAX * PAGE_SIZE));
	phys = frames_alloc(&frames, pool_size, MIB(2), GIB(4));
	if (!phys && pool_size > POOL_SIZE_LEAST) {
		log_line("memory: no free %lu MiB below 4 GiB for Lamina itself: it makes do with 2", pool_size >> 20);
		pool_size = POOL_SIZE_LEAST;
		phys = frames_alloc(&frames, pool_size, MIB(2), GIB(4));
	}
	if (!phys)
		boot_fatal("too little memory: no free aligned 2 MiB below 4 GiB for Lamina itself");
	/* The first 4 GiB are still mapped one to one, and page tables are written through that until the new ones are loaded. */
	if (pool_init(&lamina_pool, (void *)phys, phys, (unsigned)(pool_size / PAGE_SIZE)) ||
	    page_table_init(&kernel_table, &policy_host, largest, &lamina_pool, pool_table_alloc, pool_table_free, pool_table_virt))
		panic("the page pool cannot be set up");
	kernel_table.pa_limit = BIT(cpu_features.phys_bits);
	if (page_table_reserve_top(&kernel_table, SHARED_FIRST_SLOT, SHARED_LAST_SLOT) ||
	    page_table_map(&kernel_table, POOL_BASE, phys, pool_size, PT_READ | PT_WRITE | PT_GLOBAL))
		panic("the page pool cannot be mapped");
	map_image(text_start, text_end, PT_READ | PT_EXEC);
	map_image(text_end, rodata_end, PT_READ);
	map_image(rodata_end, image_end, PT_READ | PT_WRITE);

	copy = pool_alloc(&lamina_pool, (sizeof(*info) + PAGE_SIZE - 1) / PAGE_SIZE);
	if (!copy)
		panic("the boot information does not fit in the pool");
	*copy = *info;
	write_cr4(read_cr4() | CR4_PGE);
	address_space_load(kernel_table.root);
	lamina_pool.base = (uint8_t *)POOL_BASE;
	return (struct boot_info *)(POOL_BASE + ((uint64_t)copy - phys));
}

void memory_free_scratch(void)
{
	frames_add(&frames, (uint64_t)image_end - KERNEL_BASE, (uint64_t)scratch_end - (uint64_t)image_end);
}

static void *map_at(uint64_t *next, uint64_t phys, uint64_t size, uint32_t attrs)
{
	uint64_t offset = phys & ~PAGE_MASK;
	uint64_t bytes = ALIGN_UP(offset + size, (uint64_t)PAGE_SIZE);
	uint64_t va = *next;

	if (size > GIB(1) || phys + size < phys || page_table_map(&kernel_table, va, phys - offset, bytes, attrs | PT_GLOBAL))
		return NULL;
	*next += bytes + PAGE_SIZE;
	return (void *)(va + offset);
}

volatile void *map_device(uint64_t phys, uint64_t size)
{
	return map_at(&next_device, phys, size, PT_READ | PT_WRITE | PT_UC);
}

void *map_dma(uint64_t phys, uint64_t size)
{
	return map_at(&next_dma, phys, size, PT_READ | PT_WRITE);
}

void *map_framebuffer(uint64_t phys, uint64_t size)
{
	/* At an address that differs from the physical one by whole large pages. */
	next_device = ALIGN_UP(next_device, MIB(2)) + (ALIGN_DOWN(phys, (uint64_t)PAGE_SIZE) & (MIB(2) - 1));
	return map_at(&next_device, phys, size, PT_READ | PT_WRITE | PT_WC);
}

const void *map_firmware(uint64_t phys, uint64_t size)
{
	return map_at(&next_firmware, phys, size, PT_READ);
}

uint64_t map_stack(uint64_t size)
{
	void *pages = pool_alloc(&lamina_pool, (unsigned)(size / PAGE_SIZE));
	uint64_t va = next_stack + PAGE_SIZE;

	if (!pages || page_table_map(&kernel_table, va, pool_phys(&lamina_pool, pages), size, PT_READ | PT_WRITE | PT_GLOBAL))
		return 0;
	next_stack = va + size;
	return va + size;
}

int address_space_init(struct page_table *table)
{
	int err = page_table_init(table, &policy_host, kernel_table.max_leaf_level, &lamina_pool, pool_table_alloc, pool_table_free,
				  pool_table_virt);

	if (err)
		return err;
	table->pa_limit = kernel_table.pa_limit;
	return page_table_share_top(table, &kernel_table, SHARED_FIRST_SLOT, SHARED_LAST_SLOT);
}

void address_space_load(uint64_t root)
{
	write_cr3(root);
}

static void count_wx(void *ctx, const struct page_table_leaf *leaf)
{
	if ((leaf->attrs & PT_WRITE) && (leaf->attrs & PT_EXEC))
		++*(unsigned *)ctx;
}

unsigned memory_count_wx(const struct page_table *table)
{
	unsigned count = 0;

	page_table_walk(table, count_wx, &count);
	return count;
}

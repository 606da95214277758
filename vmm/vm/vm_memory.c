/* A VM's memory: the machine memory that is its RAM, mapped for the guest and for Lamina. */
#include "lib/log.h"
#include "mm/address_space.h"
#include "vmm/memory/layout.h"
#include "vmm/vm/vm_parts.h"

/* A leaf of a level maps 2^LEVEL_SHIFT bytes, a table of it 2^LEVEL_SHIFT(level + 1). */
#define LEVEL_SHIFT(level) (12 + 9 * ((level) - 1))

/* The guest-physical address of a byte of the VM's RAM: low memory first, then from 4 GiB on. */
static uint64_t ram_to_gpa(uint64_t offset)
{
	return offset < LAYOUT_LOW_RAM_MAX ? offset : offset - LAYOUT_LOW_RAM_MAX + LAYOUT_HIGH_RAM;
}

int vm_ram_take(struct vm_ram *ram, const struct vm_config *config)
{
	if (!frames_alloc_guest(&frames, MIB(config->memsize), ram->piece, VM_PIECES_MAX, &ram->count))
		return 0;
	log_line("vm %s: memsize is %u MiB, but only %lu MiB of memory are free", config->name, config->memsize,
		 frames_free_bytes(&frames) >> 20);
	return ERR_NOMEM;
}

void vm_ram_give_back(const struct vm_ram *ram)
{
	for (unsigned i = 0; i < ram->count; i++)
		(void)frames_free(&frames, ram->piece[i].base, ram->piece[i].size);
}

/* A stretch of the RAM that is in one piece for guest and machine. */
struct stretch {
	uint64_t gpa, phys, size;
};

/* Call `each` for each stretch, in order of address, until it returns an error, which is returned. */
static int each_stretch(const struct vm_ram *ram, int (*each)(void *ctx, const struct stretch *s), void *ctx)
{
	uint64_t offset = 0;

	for (unsigned i = 0; i < ram->count; i++) {
		uint64_t left = ram->piece[i].size;

		while (left) {
			uint64_t size = offset < LAYOUT_LOW_RAM_MAX ? MIN(left, LAYOUT_LOW_RAM_MAX - offset) : left;
			const struct stretch s = { ram_to_gpa(offset), ram->piece[i].base + ram->piece[i].size - left, size };
			int err = each(ctx, &s);

			if (err)
				return err;
			offset += size;
			left -= size;
		}
	}
	return 0;
}

/* ---- How many tables it takes ---- */

struct table_count {
	unsigned max_leaf_level;
	unsigned tables;
	uint64_t last[PT_LEVEL_TOP]; /* the table of each level that was counted last: its number plus 1 */
};

/* As page_table_map chooses leaves: the largest that alignment and size allow. */
static int count_tables(void *ctx, const struct stretch *s)
{
	struct table_count *c = ctx;
	uint64_t gpa = s->gpa, end = s->gpa + s->size;

	while (gpa < end) {
		unsigned level = c->max_leaf_level;
		uint64_t table_end;

		while (level > PT_LEVEL_4K && (((gpa | (s->phys + (gpa - s->gpa))) & (BIT(LEVEL_SHIFT(level)) - 1)) ||
					       end - gpa < BIT(LEVEL_SHIFT(level))))
			level--;
		for (unsigned l = level; l < PT_LEVEL_TOP; l++) {
			uint64_t table = (gpa >> LEVEL_SHIFT(l + 1)) + 1;

			c->tables += c->last[l] != table;
			c->last[l] = table;
		}
		/* No larger leaf begins before this table ends. */
		table_end = (gpa | (BIT(LEVEL_SHIFT(level + 1)) - 1)) + 1;
		gpa += (MIN(table_end, end) - gpa) & ~(BIT(LEVEL_SHIFT(level)) - 1);
	}
	return 0;
}

void vm_memory_plan(struct arena_plan *plan, const struct vm_ram *ram, unsigned max_leaf_level)
{
	struct table_count c = { .max_leaf_level = max_leaf_level, .tables = 1 };

	(void)each_stretch(ram, count_tables, &c);
	arena_plan_pages(plan, c.tables);
}

/* ---- Mapping it ---- */

static int map_stretch(void *ctx, const struct stretch *s)
{
	struct vm *vm = ctx;
	int err = page_table_map(&vm->nested, s->gpa, s->phys, s->size, PT_READ | PT_WRITE | PT_EXEC);

	return err ? err : page_table_map(&vm->space, GUEST_WINDOW_BASE + s->gpa, s->phys, s->size, PT_READ | PT_WRITE);
}

int vm_memory_make(struct vm *vm, const struct vm_ram *ram)
{
	uint64_t size = MIB(vm->config.memsize);
	int err = page_table_init(&vm->nested, vm->engine->nested_policy, vm->engine->nested_max_level(), &vm->arena, pool_table_alloc,
				  pool_table_free, pool_table_virt);

	if (err)
		return err;
	err = each_stretch(ram, map_stretch, vm);
	if (err) {
		log_line("vm %s: no room for the page tables of its memory", vm->config.name);
		return err;
	}
	err = guest_memory_add(&vm->memory, 0, layout_low_ram(size), (uint8_t *)GUEST_WINDOW_BASE);
	if (!err && layout_high_ram(size))
		err = guest_memory_add(&vm->memory, LAYOUT_HIGH_RAM, layout_high_ram(size),
				       (uint8_t *)(GUEST_WINDOW_BASE + LAYOUT_HIGH_RAM));
	log_line("vm %s: memory: %u MiB in %lu 1 GiB, %lu 2 MiB and %lu 4 KiB pages", vm->config.name, vm->config.memsize,
		 vm->nested.leaf_count[PT_LEVEL_1G], vm->nested.leaf_count[PT_LEVEL_2M], vm->nested.leaf_count[PT_LEVEL_4K]);
	return err;
}

/* The checks of a struct boot_info, and its memory map: ranges are laid over each other one by one, so that the map is sorted and disjoint
 * after each. */
#include "boot/boot_info.h"

#include "lib/string.h"

/* Which type wins where ranges overlap: the higher rank. */
static unsigned rank(uint32_t type)
{
	switch (type) {
	case BOOT_MEMORY_USABLE:
		return 0;
	case BOOT_MEMORY_ACPI:
		return 1;
	case BOOT_MEMORY_NVS:
		return 2;
	case BOOT_MEMORY_BAD:
		return 4;
	default:
		return 3;
	}
}

static uint64_t range_end(const struct boot_memory *range)
{
	return range->base + range->length;
}

static int insert(struct boot_info *info, unsigned at, uint64_t base, uint64_t end, uint32_t type)
{
	if (info->memory_count == BOOT_MEMORY_MAX)
		return ERR_NOMEM;
	memmove(&info->memory[at + 1], &info->memory[at], (info->memory_count - at) * sizeof(info->memory[0]));
	info->memory[at] = (struct boot_memory){ base, end - base, type };
	info->memory_count++;
	return 0;
}

/* Cut the range `at` in two at `addr`, which lies inside it. */
static int split(struct boot_info *info, unsigned at, uint64_t addr)
{
	struct boot_memory *range = &info->memory[at];
	int err = insert(info, at + 1, addr, range_end(range), range->type);

	if (!err)
		range->length = addr - range->base;
	return err;
}

/* Join neighbours of one type. */
static void join(struct boot_info *info)
{
	unsigned kept = 0;

	for (unsigned i = 1; i < info->memory_count; i++) {
		struct boot_memory *last = &info->memory[kept], *next = &info->memory[i];

		if (range_end(last) == next->base && last->type == next->type)
			last->length += next->length;
		else
			info->memory[++kept] = *next;
	}
	if (info->memory_count)
		info->memory_count = kept + 1;
}

/* Lay [base, end) over the ranges that are there, piece by piece from its start. */
static int overlay(struct boot_info *info, uint64_t base, uint64_t end, uint32_t type)
{
	unsigned at = 0;

	while (base < end) {
		struct boot_memory *range;

		while (at < info->memory_count && range_end(&info->memory[at]) <= base)
			at++;
		range = &info->memory[at];
		if (at == info->memory_count || range->base > base) {
			uint64_t piece_end = at == info->memory_count ? end : MIN(end, range->base);

			if (insert(info, at, base, piece_end, type))
				return ERR_NOMEM;
			base = piece_end;
		} else if (rank(range->type) >= rank(type)) {
			base = range_end(range);
		} else {
			if (range->base < base) {
				if (split(info, at, base))
					return ERR_NOMEM;
				range = &info->memory[++at];
			}
			if (range_end(range) > end && split(info, at, end))
				return ERR_NOMEM;
			range->type = type;
			base = range_end(range);
		}
	}
	return 0;
}

int boot_info_add_memory(struct boot_info *info, uint64_t base, uint64_t length, uint32_t type)
{
	int err;

	if (base + length < base)
		return ERR_INVALID;
	if (type < BOOT_MEMORY_USABLE || type > BOOT_MEMORY_BAD)
		type = BOOT_MEMORY_RESERVED;
	err = overlay(info, base, base + length, type);
	join(info);
	return err;
}

static const char *check_memory(const struct boot_info *info)
{
	if (info->memory_count > BOOT_MEMORY_MAX)
		return "the memory map has too many ranges";
	for (unsigned i = 0; i < info->memory_count; i++) {
		const struct boot_memory *range = &info->memory[i];

		if (!range->length || range_end(range) < range->base || (i && range->base < range_end(range - 1)))
			return "the memory map is not sorted, or a range of it is empty or wraps around";
	}
	return boot_info_usable_bytes(info) ? NULL : "the memory map has no usable memory";
}

static const char *check_modules(const struct boot_info *info)
{
	if (info->module_count > BOOT_MODULES_MAX)
		return "there are more than 32 modules";
	for (unsigned i = 0; i < info->module_count; i++) {
		const struct boot_module *module = &info->module[i];

		if (module->end < module->start)
			return "a module ends before it starts";
		if (strnlen(module->cmdline, sizeof(module->cmdline)) == sizeof(module->cmdline))
			return "a module's command line has no end";
		for (unsigned j = 0; j < i; j++)
			if (module->start < info->module[j].end && info->module[j].start < module->end)
				return "two modules overlap";
	}
	return NULL;
}

static const char *check_texts(const struct boot_info *info)
{
	if (strnlen(info->cmdline, sizeof(info->cmdline)) == sizeof(info->cmdline))
		return "the command line has no end";
	if (strnlen(info->loader_name, sizeof(info->loader_name)) == sizeof(info->loader_name))
		return "the boot loader's name has no end";
	if (info->rsdp_size != 0 && info->rsdp_size != 20 && info->rsdp_size != 36)
		return "the RSDP has a wrong size";
	return NULL;
}

static bool fits(uint8_t position, uint8_t size, uint8_t bpp)
{
	return size && position + size <= bpp;
}

/* A framebuffer that makes no sense is no reason not to boot: it is treated as absent. */
static void check_framebuffer(struct boot_framebuffer *fb)
{
	uint64_t line = ((uint64_t)fb->width * fb->bpp + 7) / 8;

	if (fb->address && line && fb->height && fb->pitch >= line && fb->address + (uint64_t)fb->pitch * fb->height >= fb->address &&
	    fits(fb->red_position, fb->red_size, fb->bpp) && fits(fb->green_position, fb->green_size, fb->bpp) &&
	    fits(fb->blue_position, fb->blue_size, fb->bpp))
		return;
	memset(fb, 0, sizeof(*fb));
}

int boot_info_check(struct boot_info *info, const char **error)
{
	*error = NULL;
	if (info->size != sizeof(*info)) {
		*error = "it is for another version of Lamina: lamina.efi and lamina.elf must be of one build";
		return ERR_INVALID;
	}
	*error = check_memory(info);
	if (!*error)
		*error = check_modules(info);
	if (!*error)
		*error = check_texts(info);
	check_framebuffer(&info->framebuffer);
	return *error ? ERR_INVALID : 0;
}

uint64_t boot_info_usable_bytes(const struct boot_info *info)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < info->memory_count; i++)
		if (info->memory[i].type == BOOT_MEMORY_USABLE)
			bytes += info->memory[i].length;
	return bytes;
}

uint64_t boot_info_usable_end(const struct boot_info *info)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < info->memory_count; i++)
		if (info->memory[i].type == BOOT_MEMORY_USABLE)
			end = range_end(&info->memory[i]);
	return end;
}

/* The walk over Multiboot2's tags: each tag is checked against the buffer's end, and its contents are copied into struct boot_info. */
#include "boot/multiboot2.h"

#include "lib/string.h"

/* Tag types and layouts (Multiboot2 Specification version 2.0, section 3.6). */
enum {
	TAG_END = 0,
	TAG_CMDLINE = 1,
	TAG_LOADER_NAME = 2,
	TAG_MODULE = 3,
	TAG_MEMORY_MAP = 6,
	TAG_FRAMEBUFFER = 8,
	TAG_EFI64 = 12,
	TAG_ACPI_OLD = 14,
	TAG_ACPI_NEW = 15,
};

#define TAG_ALIGN 8

struct fixed_part {
	uint32_t total_size;
	uint32_t reserved;
};
_Static_assert(sizeof(struct fixed_part) == 8, "section 3.6.1");

struct tag {
	uint32_t type;
	uint32_t size; /* with this header, without the padding to the next tag */
};
_Static_assert(sizeof(struct tag) == 8, "section 3.6.2");

struct tag_module {
	uint32_t mod_start;
	uint32_t mod_end;
	/* then the string */
};
_Static_assert(sizeof(struct tag_module) == 8, "section 3.6.6");

struct tag_memory_map {
	uint32_t entry_size;
	uint32_t entry_version;
	/* then the entries */
};
_Static_assert(sizeof(struct tag_memory_map) == 8, "section 3.6.8");

struct memory_entry {
	uint64_t base;
	uint64_t length;
	uint32_t type;
	uint32_t reserved;
};
_Static_assert(sizeof(struct memory_entry) == 24, "section 3.6.8");

struct tag_framebuffer {
	uint64_t address;
	uint32_t pitch;
	uint32_t width;
	uint32_t height;
	uint8_t bpp;
	uint8_t type;
	uint8_t reserved;
} PACKED;
_Static_assert(sizeof(struct tag_framebuffer) == 23 && offsetof(struct tag_framebuffer, bpp) == 20, "section 3.6.12");

/* GRUB pads the common part with two reserved bytes: the colour fields begin 24 bytes after the tag's header. */
struct framebuffer_rgb {
	uint8_t red_position, red_size;
	uint8_t green_position, green_size;
	uint8_t blue_position, blue_size;
};
_Static_assert(sizeof(struct framebuffer_rgb) == 6, "section 3.6.12");
#define FRAMEBUFFER_COLOUR_OFFSET 24
#define FRAMEBUFFER_RGB 1 /* the type with RGB colours; 0 has a palette, 2 is EGA text */

struct parse {
	struct boot_info *info;
	const char *error;
	bool cmdline, loader_name, memory_map, framebuffer; /* seen */
};

/* A tag's data: what follows its header. */
struct data {
	const uint8_t *bytes;
	size_t size;
};

static int refuse(struct parse *parse, const char *error)
{
	parse->error = error;
	return ERR_INVALID;
}

/* Copy the string that begins at `offset` of the tag's data. Returns ERR_INVALID where no NUL ends it inside the tag or where it does
 * not fit, then with one of the two reasons. */
static int copy_string(struct parse *parse, const struct data *data, size_t offset, char *dst, size_t dst_size, const char *no_end,
		       const char *too_long)
{
	const char *string = (const char *)data->bytes + offset;
	size_t room = data->size - offset, length = strnlen(string, room);

	if (length == room)
		return refuse(parse, no_end);
	if (length >= dst_size)
		return refuse(parse, too_long);
	memcpy(dst, string, length + 1);
	return 0;
}

static int parse_cmdline(struct parse *parse, const struct data *data)
{
	if (parse->cmdline)
		return 0;
	parse->cmdline = true;
	return copy_string(parse, data, 0, parse->info->cmdline, sizeof(parse->info->cmdline),
			   "the command line has no end", "the command line is longer than 1023 bytes");
}

static int parse_loader_name(struct parse *parse, const struct data *data)
{
	char *name = parse->info->loader_name;
	size_t length = strnlen((const char *)data->bytes, data->size);

	if (parse->loader_name)
		return 0;
	parse->loader_name = true;
	if (length == data->size)
		return refuse(parse, "the boot loader's name has no end");
	/* It only decorates the log: cut it. */
	length = MIN(length, sizeof(parse->info->loader_name) - 1);
	memcpy(name, data->bytes, length);
	name[length] = 0;
	return 0;
}

static int parse_module(struct parse *parse, const struct data *data)
{
	struct boot_info *info = parse->info;
	struct boot_module *module = &info->module[info->module_count];
	struct tag_module tag;
	int err;

	if (data->size < sizeof(tag))
		return refuse(parse, "a module tag is too short");
	if (info->module_count == BOOT_MODULES_MAX)
		return refuse(parse, "there are more than 32 modules");
	memcpy(&tag, data->bytes, sizeof(tag));
	err = copy_string(parse, data, sizeof(tag), module->cmdline, sizeof(module->cmdline),
			  "a module's command line has no end", "a module's command line is longer than 255 bytes");
	if (err)
		return err;
	module->start = tag.mod_start;
	module->end = tag.mod_end;
	info->module_count++;
	return 0;
}

static int parse_memory_map(struct parse *parse, const struct data *data)
{
	struct tag_memory_map tag;
	struct memory_entry entry;

	if (parse->memory_map)
		return 0;
	parse->memory_map = true;
	if (data->size < sizeof(tag))
		return refuse(parse, "the memory map's tag is too short");
	memcpy(&tag, data->bytes, sizeof(tag));
	if (tag.entry_size < sizeof(entry) || tag.entry_size % 8)
		return refuse(parse, "the memory map's entry size is wrong");
	if ((data->size - sizeof(tag)) % tag.entry_size)
		return refuse(parse, "the memory map ends inside an entry");
	for (size_t at = sizeof(tag); at < data->size; at += tag.entry_size) {
		memcpy(&entry, data->bytes + at, sizeof(entry));
		switch (boot_info_add_memory(parse->info, entry.base, entry.length, entry.type)) {
		case 0:
			break;
		case ERR_NOMEM:
			parse->error = "the memory map has more than 512 ranges";
			return ERR_NOMEM;
		default:
			return refuse(parse, "a range of the memory map wraps around");
		}
	}
	return 0;
}

/* A framebuffer with a palette or with text is treated as absent; boot_info_check sees whether the others make sense. */
static int parse_framebuffer(struct parse *parse, const struct data *data)
{
	struct tag_framebuffer tag;
	struct framebuffer_rgb rgb;

	if (parse->framebuffer || data->size < sizeof(tag))
		return 0;
	parse->framebuffer = true;
	memcpy(&tag, data->bytes, sizeof(tag));
	if (tag.type != FRAMEBUFFER_RGB || data->size < FRAMEBUFFER_COLOUR_OFFSET + sizeof(rgb))
		return 0;
	memcpy(&rgb, data->bytes + FRAMEBUFFER_COLOUR_OFFSET, sizeof(rgb));
	parse->info->framebuffer = (struct boot_framebuffer){
		.address = tag.address,
		.pitch = tag.pitch,
		.width = tag.width,
		.height = tag.height,
		.bpp = tag.bpp,
		.red_position = rgb.red_position,
		.red_size = rgb.red_size,
		.green_position = rgb.green_position,
		.green_size = rgb.green_size,
		.blue_position = rgb.blue_position,
		.blue_size = rgb.blue_size,
	};
	return 0;
}

static int parse_efi(struct parse *parse, const struct data *data)
{
	if (data->size < sizeof(parse->info->efi_system_table))
		return refuse(parse, "the EFI system table's tag is too short");
	memcpy(&parse->info->efi_system_table, data->bytes, sizeof(parse->info->efi_system_table));
	return 0;
}

/* The tag holds a copy of the RSDP; its checksums are the ACPI reader's business. */
static int parse_acpi(struct parse *parse, const struct data *data, bool new)
{
	struct boot_info *info = parse->info;
	unsigned size = new ? 36 : 20;

	if (data->size < size)
		return refuse(parse, "an RSDP tag is too short");
	if (info->rsdp_size >= size)
		return 0;
	memcpy(info->rsdp, data->bytes, size);
	info->rsdp_size = size;
	return 0;
}

static int parse_tag(struct parse *parse, uint32_t type, const struct data *data)
{
	switch (type) {
	case TAG_CMDLINE:
		return parse_cmdline(parse, data);
	case TAG_LOADER_NAME:
		return parse_loader_name(parse, data);
	case TAG_MODULE:
		return parse_module(parse, data);
	case TAG_MEMORY_MAP:
		return parse_memory_map(parse, data);
	case TAG_FRAMEBUFFER:
		return parse_framebuffer(parse, data);
	case TAG_EFI64:
		return parse_efi(parse, data);
	case TAG_ACPI_OLD:
		return parse_acpi(parse, data, false);
	case TAG_ACPI_NEW:
		return parse_acpi(parse, data, true);
	default:
		return 0;
	}
}

static int parse_tags(struct parse *parse, const uint8_t *bytes, size_t mapped_size)
{
	struct fixed_part fixed;
	struct tag tag;

	if (mapped_size < sizeof(fixed))
		return refuse(parse, "the boot information is too short");
	memcpy(&fixed, bytes, sizeof(fixed));
	if (fixed.total_size > mapped_size)
		return refuse(parse, "the boot information is larger than what is mapped");
	if (fixed.total_size < sizeof(fixed) + sizeof(tag))
		return refuse(parse, "the boot information is too short");
	for (size_t at = sizeof(fixed);; at = ALIGN_UP(at + tag.size, TAG_ALIGN)) {
		struct data data;
		int err;

		if (at > fixed.total_size || fixed.total_size - at < sizeof(tag))
			return refuse(parse, "the boot information has no end tag");
		memcpy(&tag, bytes + at, sizeof(tag));
		if (tag.size < sizeof(tag))
			return refuse(parse, "a boot information tag is smaller than its header");
		if (tag.size > fixed.total_size - at)
			return refuse(parse, "a boot information tag is truncated");
		if (tag.type == TAG_END)
			break;
		data = (struct data){ bytes + at + sizeof(tag), tag.size - sizeof(tag) };
		err = parse_tag(parse, tag.type, &data);
		if (err)
			return err;
	}
	if (!parse->memory_map)
		return refuse(parse, "the boot loader gave no memory map");
	return boot_info_check(parse->info, &parse->error);
}

int multiboot2_parse(const void *info, size_t mapped_size, struct boot_info *out, const char **error)
{
	struct parse parse = { .info = out };
	int err;

	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	err = parse_tags(&parse, info, mapped_size);
	*error = parse.error;
	return err;
}

/* The loader of Multiboot kernels: modules are placed above the kernel, and everything that the kernel is told is written in one piece. */
#include "vmm/loader/multiboot.h"

#include "lib/string.h"
#include "lib/x86/registers.h"
#include "vmm/loader/multiboot_image.h"
#include "vmm/memory/e820.h"
#include "vmm/memory/layout.h"

#define BOOTLOADER_MAGIC 0x2badb002
#define LOADER_NAME "Lamina"

#define INFO_MEMORY BIT(0)
#define INFO_CMDLINE BIT(2)
#define INFO_MODULES BIT(3)
#define INFO_MMAP BIT(6)
#define INFO_LOADER_NAME BIT(9)

/* Section 3.3, "Boot information format". */
struct multiboot_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper; /* KiB */
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr;
	uint32_t drives_length, drives_addr;
	uint32_t config_table;
	uint32_t boot_loader_name;
	uint32_t apm_table;
	uint8_t video[44];
};
_Static_assert(offsetof(struct multiboot_info, mods_count) == 20, "Multiboot 3.3");
_Static_assert(offsetof(struct multiboot_info, mmap_length) == 44, "Multiboot 3.3");
_Static_assert(offsetof(struct multiboot_info, boot_loader_name) == 64, "Multiboot 3.3");
_Static_assert(sizeof(struct multiboot_info) == 116, "Multiboot 3.3, up to the framebuffer's colour information");

struct multiboot_module {
	uint32_t mod_start, mod_end;
	uint32_t string;
	uint32_t reserved;
};
_Static_assert(sizeof(struct multiboot_module) == 16, "Multiboot 3.3");

struct multiboot_mmap {
	uint32_t size; /* of what follows */
	struct e820_entry entry;
};
_Static_assert(sizeof(struct multiboot_mmap) == 24, "Multiboot 3.3");
_Static_assert(offsetof(struct multiboot_mmap, entry) == 4, "Multiboot 3.3");

/* Everything that the kernel is told, in one piece of guest memory; the strings follow. */
struct boot_information {
	uint8_t gdt[LOADER_GDT_SIZE];
	struct multiboot_info info;
	struct multiboot_mmap mmap[E820_MAX];
	struct multiboot_module module[LOADER_MODULES_MAX];
};

static const char *module_string(const struct loader_file *module)
{
	return module->string ? module->string : module->name;
}

static const char *command_line(const struct loader *l)
{
	return l->in->cmdline ? l->in->cmdline : "";
}

/* Each module page-aligned, in order, above the kernel: kernels use the memory right behind them as if it were theirs up to there. */
static int place_modules(struct loader *l, uint64_t kernel_end, uint64_t start[LOADER_MODULES_MAX])
{
	uint64_t min = MAX(kernel_end, LAYOUT_HOLE_END);

	for (unsigned i = 0; i < l->in->modules; i++) {
		const struct loader_file *m = &l->in->module[i];

		if (!m->data || !m->len)
			return loader_refuse(l, m->name, "the module is empty");
		start[i] = placement_lowest(&l->space, min, LAYOUT_HIGH_RAM, m->len, PAGE_SIZE);
		if (start[i] == PLACEMENT_NONE)
			return loader_refuse(l, m->name, "the VM has no room for the module: %lu KiB besides the kernel", (m->len + 1023) >> 10);
		loader_copy(l, start[i], m->data, m->len);
		min = start[i] + m->len;
	}
	return 0;
}

/* Append a string to the boot information. Returns its guest-physical address. */
static uint32_t append(struct loader *l, uint64_t *gpa, const char *text)
{
	uint64_t at = *gpa;
	uint64_t len = strlen(text) + 1;

	loader_copy(l, at, (const uint8_t *)text, len);
	*gpa += len;
	return (uint32_t)at;
}

static int write_information(struct loader *l, const uint64_t module_start[LOADER_MODULES_MAX])
{
	uint64_t size = sizeof(struct boot_information) + strlen(command_line(l)) + 1 + sizeof(LOADER_NAME);
	struct e820_entry map[E820_MAX];
	struct boot_information *b;
	unsigned entries;
	uint64_t gpa, strings;

	for (unsigned i = 0; i < l->in->modules; i++)
		size += strlen(module_string(&l->in->module[i])) + 1;
	/* Below 640 KiB by preference, where kernels and their modules seldom are. */
	gpa = placement_lowest(&l->space, PAGE_SIZE, LAYOUT_EBDA, size, PAGE_SIZE);
	if (gpa == PLACEMENT_NONE)
		gpa = placement_highest(&l->space, LAYOUT_HOLE_END, LAYOUT_HIGH_RAM, size, PAGE_SIZE);
	if (gpa == PLACEMENT_NONE)
		return loader_refuse(l, l->in->kernel.name, "the VM has no room for the boot information");
	b = guest_ptr(l->in->mem, gpa, size);
	memset(b, 0, sizeof(*b));
	strings = gpa + sizeof(*b);

	b->info.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MMAP | INFO_LOADER_NAME;
	b->info.mem_lower = LAYOUT_EBDA >> 10;
	b->info.mem_upper = (uint32_t)((e820_low_ram_end(l->in->mem) - LAYOUT_HOLE_END) >> 10);
	b->info.cmdline = append(l, &strings, command_line(l));
	b->info.boot_loader_name = append(l, &strings, LOADER_NAME);
	b->info.mods_count = l->in->modules;
	b->info.mods_addr = (uint32_t)(gpa + offsetof(struct boot_information, module));
	for (unsigned i = 0; i < l->in->modules; i++) {
		b->module[i].mod_start = (uint32_t)module_start[i];
		b->module[i].mod_end = (uint32_t)(module_start[i] + l->in->module[i].len);
		b->module[i].string = append(l, &strings, module_string(&l->in->module[i]));
	}
	entries = e820_build(l->in->mem, map);
	for (unsigned i = 0; i < entries; i++) {
		b->mmap[i].size = sizeof(struct e820_entry);
		b->mmap[i].entry = map[i];
	}
	b->info.mmap_addr = (uint32_t)(gpa + offsetof(struct boot_information, mmap));
	b->info.mmap_length = entries * (uint32_t)sizeof(struct multiboot_mmap);

	loader_write_gdt(l, gpa + offsetof(struct boot_information, gdt), GUEST_START_PROTECTED);
	l->start->rax = BOOTLOADER_MAGIC;
	l->start->rbx = gpa + offsetof(struct boot_information, info);
	return 0;
}

bool multiboot_recognise(const struct loader_file *kernel)
{
	uint64_t offset;

	return multiboot_find_header(kernel, &offset);
}

int multiboot_load(struct loader *l)
{
	uint64_t module_start[LOADER_MODULES_MAX] = { 0 };
	struct multiboot_image image;

	if (l->in->initrd.data)
		return loader_refuse(l, l->in->initrd.name, "an initrd beside a Multiboot kernel: expected module0 to module7");
	if (multiboot_load_image(l, &image) || place_modules(l, image.end, module_start) || write_information(l, module_start))
		return ERR_INVALID;
	l->start->rip = image.entry;
	l->start->cr0 = CR0_PE | CR0_ET;
	l->start->protocol = "Multiboot";
	return 0;
}

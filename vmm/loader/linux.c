/* The loader of Linux kernels: the header is checked, memory is taken for kernel, initrd and command line, and boot_params is filled as a
 * boot loader without a BIOS does it. */
#include "vmm/loader/linux.h"

#include "lib/string.h"
#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "vmm/memory/e820.h"
#include "vmm/memory/layout.h"

#define HEADER_OFFSET 0x1f1
#define SIGNATURE_OFFSET 0x202
#define HEADER_MAGIC 0x53726448 /* "HdrS" */
#define BOOT_FLAG 0xaa55
#define HEADER_END_MAX 0x290    /* where boot_params has its next field */

#define PROTOCOL_INIT_SIZE 0x20a /* 2.10 brought pref_address and init_size */
#define PROTOCOL_64BIT 0x20c     /* 2.12 brought xloadflags */

#define LOADED_HIGH BIT(0)
#define XLF_KERNEL_64 BIT(0)
#define XLF_CAN_BE_LOADED_ABOVE_4G BIT(1)

#define LOADER_TYPE_UNDEFINED 0xff
#define VIDEO_MODE_NORMAL 0xffff
#define ENTRY_64_OFFSET 0x200


/* boot.rst, "The Real-Mode Kernel Header". */
struct setup_header {
	uint8_t setup_sects;
	uint16_t root_flags;
	uint32_t syssize;
	uint16_t ram_size;
	uint16_t vid_mode;
	uint16_t root_dev;
	uint16_t boot_flag;
	uint8_t jump_opcode;
	uint8_t jump_offset; /* from 0x202 to the header's end */
	uint32_t header;
	uint16_t version;
	uint32_t realmode_swtch;
	uint16_t start_sys_seg;
	uint16_t kernel_version;
	uint8_t type_of_loader;
	uint8_t loadflags;
	uint16_t setup_move_size;
	uint32_t code32_start;
	uint32_t ramdisk_image;
	uint32_t ramdisk_size;
	uint32_t bootsect_kludge;
	uint16_t heap_end_ptr;
	uint8_t ext_loader_ver;
	uint8_t ext_loader_type;
	uint32_t cmd_line_ptr;
	uint32_t initrd_addr_max;
	uint32_t kernel_alignment;
	uint8_t relocatable_kernel;
	uint8_t min_alignment;
	uint16_t xloadflags;
	uint32_t cmdline_size;
	uint32_t hardware_subarch;
	uint64_t hardware_subarch_data;
	uint32_t payload_offset;
	uint32_t payload_length;
	uint64_t setup_data;
	uint64_t pref_address;
	uint32_t init_size;
} PACKED;
#define HEADER_AT(field, offset) _Static_assert(HEADER_OFFSET + offsetof(struct setup_header, field) == (offset), #field)
HEADER_AT(boot_flag, 0x1fe);
HEADER_AT(header, 0x202);
HEADER_AT(version, 0x206);
HEADER_AT(loadflags, 0x211);
HEADER_AT(code32_start, 0x214);
HEADER_AT(cmd_line_ptr, 0x228);
HEADER_AT(kernel_alignment, 0x230);
HEADER_AT(xloadflags, 0x236);
HEADER_AT(setup_data, 0x250);
HEADER_AT(init_size, 0x260);
#define HEADER_END (HEADER_OFFSET + sizeof(struct setup_header))
_Static_assert(HEADER_END == 0x264, "end of the header as of protocol 2.10");

/* zero-page.rst: the fields that a boot loader without a BIOS fills. */
struct boot_params {
	uint8_t screen_info[0x40];
	uint8_t pad1[0x70 - 0x40];
	uint64_t acpi_rsdp_addr;
	uint8_t pad2[0xc0 - 0x78];
	uint32_t ext_ramdisk_image;
	uint32_t ext_ramdisk_size;
	uint32_t ext_cmd_line_ptr;
	uint8_t pad3[0x1e8 - 0xcc];
	uint8_t e820_entries;
	uint8_t pad4[HEADER_OFFSET - 0x1e9];
	struct setup_header hdr;
	uint8_t pad5[0x2d0 - HEADER_END];
	struct e820_entry e820_table[128];
	uint8_t pad6[4096 - 0x2d0 - 128 * sizeof(struct e820_entry)];
} PACKED;
_Static_assert(offsetof(struct boot_params, acpi_rsdp_addr) == 0x070, "boot_params");
_Static_assert(offsetof(struct boot_params, ext_ramdisk_image) == 0x0c0, "boot_params");
_Static_assert(offsetof(struct boot_params, e820_entries) == 0x1e8, "boot_params");
_Static_assert(offsetof(struct boot_params, hdr) == 0x1f1, "boot_params");
_Static_assert(offsetof(struct boot_params, e820_table) == 0x2d0, "boot_params");
_Static_assert(sizeof(struct boot_params) == PAGE_SIZE, "boot_params");
_Static_assert(E820_MAX <= 128, "boot_params.e820_table");

/* A kernel file that was checked, and where its parts go. */
struct image {
	struct setup_header hdr;
	bool is_64bit;
	const uint8_t *payload; /* the protected-mode part */
	uint64_t payload_len;
	uint64_t load;          /* guest-physical address of the payload */
};

bool linux_recognise(const struct loader_file *kernel)
{
	struct setup_header hdr;

	if (kernel->len < SIGNATURE_OFFSET + 4)
		return false;
	memcpy(&hdr, kernel->data + HEADER_OFFSET, SIGNATURE_OFFSET + 4 - HEADER_OFFSET);
	return hdr.boot_flag == BOOT_FLAG && hdr.header == HEADER_MAGIC;
}

static int check_header(struct loader *l, struct image *image)
{
	const struct loader_file *f = &l->in->kernel;
	struct setup_header *hdr = &image->hdr;
	uint64_t setup_len, syssize;

	if (f->len < HEADER_END)
		return loader_refuse(l, f->name, "the file ends inside its Linux setup header");
	memcpy(hdr, f->data + HEADER_OFFSET, sizeof(*hdr));
	if (hdr->version < PROTOCOL_INIT_SIZE)
		return loader_refuse(l, f->name, "boot protocol %u.%02u is too old: expected 2.10 or later, for 64-bit kernels 2.12",
				     hdr->version >> 8, hdr->version & 0xff);
	if (SIGNATURE_OFFSET + (uint64_t)hdr->jump_offset < HEADER_END)
		return loader_refuse(l, f->name, "the setup header is shorter than its boot protocol %u.%02u prescribes",
				     hdr->version >> 8, hdr->version & 0xff);
	if (!(hdr->loadflags & LOADED_HIGH))
		return loader_refuse(l, f->name, "a zImage, which loads low: expected a bzImage");
	setup_len = ((uint64_t)(hdr->setup_sects ? hdr->setup_sects : 4) + 1) * 512;
	syssize = (uint64_t)hdr->syssize * 16;
	/* syssize counts whole paragraphs, and the file may end inside its last one or go on with a signature. */
	if (!syssize || f->len < setup_len || f->len - setup_len + 15 < syssize)
		return loader_refuse(l, f->name, "the file is cut short: %lu bytes, but its header speaks of %lu", f->len, setup_len + syssize);
	image->payload = f->data + setup_len;
	image->payload_len = MIN(f->len - setup_len, syssize);
	image->is_64bit = hdr->version >= PROTOCOL_64BIT && (hdr->xloadflags & XLF_KERNEL_64);
	if (image->payload_len <= ENTRY_64_OFFSET)
		return loader_refuse(l, f->name, "the protected-mode part has only %lu bytes", image->payload_len);
	if (hdr->relocatable_kernel && (!hdr->kernel_alignment || (hdr->kernel_alignment & (hdr->kernel_alignment - 1))))
		return loader_refuse(l, f->name, "kernel_alignment 0x%x is no power of two", hdr->kernel_alignment);
	return 0;
}

/* Choose where the kernel goes, and take all the memory that it works in before it knows the memory map (init_size). */
static int place_kernel(struct loader *l, struct image *image)
{
	const struct loader_file *f = &l->in->kernel;
	const struct setup_header *hdr = &image->hdr;
	uint64_t size = MAX((uint64_t)hdr->init_size, image->payload_len);
	uint64_t start, end;

	if (hdr->relocatable_kernel) {
		image->load = placement_lowest(&l->space, MAX(hdr->pref_address, LAYOUT_HOLE_END), LAYOUT_HIGH_RAM, size, hdr->kernel_alignment);
		if (image->load == PLACEMENT_NONE)
			return loader_refuse(l, f->name, "the VM has no room for the kernel: it needs %lu KiB from 0x%lx on, aligned to 0x%x",
					     (size + 1023) >> 10, hdr->pref_address, hdr->kernel_alignment);
		return 0;
	}
	/* Such a kernel is loaded where it says, and moves itself to pref_address; what lies between is kept free as well. */
	image->load = hdr->code32_start;
	start = MIN(image->load, hdr->pref_address);
	if (start < LAYOUT_HOLE_END)
		return loader_refuse(l, f->name, "the kernel must run at 0x%lx: expected an address from 1 MiB on", start);
	if (hdr->pref_address >= LAYOUT_HIGH_RAM)
		return loader_refuse(l, f->name, "the kernel must run at 0x%lx: expected an address below 4 GiB", hdr->pref_address);
	end = MAX(image->load + image->payload_len, hdr->pref_address + size);
	if (placement_take(&l->space, start, end - start))
		return loader_refuse(l, f->name, "the VM has no memory where the kernel must run: 0x%lx to 0x%lx", start, end - 1);
	return 0;
}

static int place_cmdline(struct loader *l, const struct image *image, struct boot_params *params)
{
	const char *text = l->in->cmdline ? l->in->cmdline : "";
	uint64_t len = strlen(text);
	uint64_t max = MIN(image->hdr.cmdline_size ? image->hdr.cmdline_size : 255, LAYOUT_LINUX_CMDLINE_MAX - 1);

	if (len > max)
		return loader_refuse(l, l->in->kernel.name, "the command line has %lu characters: this kernel takes at most %lu", len, max);
	if (placement_take(&l->space, LAYOUT_LINUX_CMDLINE, len + 1))
		return loader_refuse(l, l->in->kernel.name, "the VM has no memory for the command line");
	loader_copy(l, LAYOUT_LINUX_CMDLINE, (const uint8_t *)text, len + 1);
	params->hdr.cmd_line_ptr = LAYOUT_LINUX_CMDLINE;
	return 0;
}

/* As high as the kernel allows, as boot.rst advises. */
static int place_initrd(struct loader *l, const struct image *image, struct boot_params *params)
{
	const struct loader_file *f = &l->in->initrd;
	const struct setup_header *hdr = &image->hdr;
	uint64_t max_end = MIN((uint64_t)hdr->initrd_addr_max + 1, LAYOUT_HIGH_RAM);
	uint64_t gpa;

	if (!f->data)
		return 0;
	if (!f->len)
		return loader_refuse(l, f->name, "the initrd is empty");
	if (image->is_64bit && (hdr->xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G))
		max_end = UINT64_MAX;
	gpa = placement_highest(&l->space, LAYOUT_HOLE_END, max_end, f->len, PAGE_SIZE);
	if (gpa == PLACEMENT_NONE)
		return loader_refuse(l, f->name, "the VM has no room for the initrd: %lu KiB besides the kernel", (f->len + 1023) >> 10);
	loader_copy(l, gpa, f->data, f->len);
	params->hdr.ramdisk_image = (uint32_t)gpa;
	params->hdr.ramdisk_size = (uint32_t)f->len;
	params->ext_ramdisk_image = (uint32_t)(gpa >> 32);
	params->ext_ramdisk_size = (uint32_t)(f->len >> 32);
	return 0;
}

/* Identity-map the first 4 GiB with 2 MiB pages: one PML4, one PDPT, four page directories (SDM volume 3, section 4.5). */
static int write_page_tables(struct loader *l)
{
	uint64_t *table;

	if (placement_take(&l->space, LAYOUT_LINUX_PAGE_TABLES, 6UL * PAGE_SIZE))
		return ERR_RANGE;
	table = guest_ptr(l->in->mem, LAYOUT_LINUX_PAGE_TABLES, 6UL * PAGE_SIZE);
	memset(table, 0, 2UL * PAGE_SIZE);
	table[0] = (LAYOUT_LINUX_PAGE_TABLES + PAGE_SIZE) | PTE_P | PTE_W;
	for (uint64_t i = 0; i < 4; i++)
		table[512 + i] = (LAYOUT_LINUX_PAGE_TABLES + (2 + i) * PAGE_SIZE) | PTE_P | PTE_W;
	for (uint64_t i = 0; i < 4 * 512UL; i++)
		table[1024 + i] = MIB(2) * i | PTE_P | PTE_W | PTE_PS;
	return 0;
}

/* The kernel's own header with the loader's answers in it, memory map and ACPI root; the rest stays zero. */
static void fill_params(struct loader *l, const struct image *image, struct boot_params *params)
{
	const struct loader_file *f = &l->in->kernel;
	uint64_t header_end = MIN(SIGNATURE_OFFSET + (uint64_t)image->hdr.jump_offset, (uint64_t)HEADER_END_MAX);

	memset(params, 0, sizeof(*params));
	/* A newer kernel's header may be longer than the part known here; the file is longer than any header. */
	memcpy((uint8_t *)params + HEADER_OFFSET, f->data + HEADER_OFFSET, MIN(header_end, f->len) - HEADER_OFFSET);
	params->hdr.vid_mode = VIDEO_MODE_NORMAL;
	params->hdr.type_of_loader = LOADER_TYPE_UNDEFINED;
	params->hdr.ext_loader_type = 0;
	params->hdr.ext_loader_ver = 0;
	params->hdr.code32_start = (uint32_t)image->load;
	params->hdr.ramdisk_image = 0;
	params->hdr.ramdisk_size = 0;
	params->hdr.setup_data = 0;
	params->acpi_rsdp_addr = l->in->rsdp;
	params->e820_entries = (uint8_t)e820_build(l->in->mem, params->e820_table);
}

static int take_boot_area(struct loader *l)
{
	return placement_take(&l->space, LAYOUT_LINUX_GDT, LOADER_GDT_SIZE) ||
	       placement_take(&l->space, LAYOUT_LINUX_BOOT_PARAMS, sizeof(struct boot_params));
}

int linux_load(struct loader *l)
{
	struct image image = { .is_64bit = false };
	struct boot_params *params;

	if (l->in->modules)
		return loader_refuse(l, l->in->module[0].name, "a module beside a Linux kernel: expected an initrd, or a Multiboot kernel");
	if (check_header(l, &image))
		return ERR_INVALID;
	if (take_boot_area(l) || (image.is_64bit && write_page_tables(l)))
		return loader_refuse(l, l->in->kernel.name, "the VM has no memory for the boot parameters");
	params = guest_ptr(l->in->mem, LAYOUT_LINUX_BOOT_PARAMS, sizeof(*params));
	if (place_kernel(l, &image))
		return ERR_INVALID;
	fill_params(l, &image, params);
	if (place_cmdline(l, &image, params) || place_initrd(l, &image, params))
		return ERR_INVALID;
	loader_copy(l, image.load, image.payload, image.payload_len);

	loader_write_gdt(l, LAYOUT_LINUX_GDT, image.is_64bit ? GUEST_START_LONG : GUEST_START_PROTECTED);
	l->start->rsi = LAYOUT_LINUX_BOOT_PARAMS;
	l->start->cr0 = CR0_PE | CR0_ET;
	if (image.is_64bit) {
		l->start->rip = image.load + ENTRY_64_OFFSET;
		l->start->cr0 |= CR0_PG;
		l->start->cr3 = LAYOUT_LINUX_PAGE_TABLES;
		l->start->cr4 = CR4_PAE;
		l->start->efer = EFER_LME | EFER_LMA;
		l->start->protocol = "Linux 64-bit boot protocol";
	} else {
		l->start->rip = image.load;
		l->start->protocol = "Linux 32-bit boot protocol";
	}
	return 0;
}

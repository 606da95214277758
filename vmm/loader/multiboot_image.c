/* The header of a Multiboot file is searched and checked, and its segments are loaded, by the header's addresses or by ELF program
 * headers. */
#include "vmm/loader/multiboot_image.h"

#include "lib/string.h"
#include "vmm/memory/layout.h"

#define HEADER_MAGIC 0x1badb002U
#define HEADER_SEARCH 8192
#define HEADER_VIDEO BIT(2)
#define HEADER_KNOWN (BIT(0) | BIT(1)) /* modules on page boundaries, memory information: always so */
#define HEADER_REQUIRED 0xffffU
#define HEADER_ADDRESSES BIT(16)

/* Section 3.1.1; the address fields are there with flag 16 only. */
struct multiboot_header {
	uint32_t magic;
	uint32_t flags;
	uint32_t checksum;
};
_Static_assert(sizeof(struct multiboot_header) == 12, "Multiboot 3.1.1");

struct multiboot_addresses {
	uint32_t header_addr;
	uint32_t load_addr;
	uint32_t load_end_addr;
	uint32_t bss_end_addr;
	uint32_t entry_addr;
};
_Static_assert(sizeof(struct multiboot_addresses) == 20, "Multiboot 3.1.1");

/* System V ABI, chapters 4 and 5. */
struct elf32_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint32_t entry;
	uint32_t phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
_Static_assert(sizeof(struct elf32_header) == 52, "ELF32");

struct elf32_program_header {
	uint32_t type;
	uint32_t offset;
	uint32_t vaddr, paddr;
	uint32_t filesz, memsz;
	uint32_t flags, align;
};
_Static_assert(sizeof(struct elf32_program_header) == 32, "ELF32");

#define ELF_CLASS_32 1
#define ELF_DATA_LITTLE 1
#define ELF_TYPE_EXEC 2
#define ELF_MACHINE_386 3
#define ELF_PT_LOAD 1
#define ELF_SEGMENTS_MAX 64

bool multiboot_find_header(const struct loader_file *kernel, uint64_t *offset)
{
	uint64_t end = MIN(kernel->len, (uint64_t)HEADER_SEARCH);
	struct multiboot_header h;

	for (*offset = 0; *offset + sizeof(h) <= end; *offset += 4) {
		memcpy(&h, kernel->data + *offset, sizeof(h));
		if (h.magic == HEADER_MAGIC && h.checksum == -(h.magic + h.flags))
			return true;
	}
	return false;
}

/* Put one segment into memory: `filesz` bytes of the file, zeros up to `memsz`. The caller has checked the file's bounds. */
static int load_segment(struct loader *l, uint64_t offset, uint64_t filesz, uint64_t paddr, uint64_t memsz, uint64_t *end)
{
	const struct loader_file *f = &l->in->kernel;
	uint8_t *to;

	switch (placement_take(&l->space, paddr, memsz)) {
	case 0:
		break;
	case ERR_BUSY:
		return loader_refuse(l, f->name, "the segment at 0x%lx (%lu bytes) overlaps another one or the PC's reserved memory", paddr, memsz);
	default:
		return loader_refuse(l, f->name, "the VM has no memory for the segment at 0x%lx (%lu bytes)", paddr, memsz);
	}
	to = guest_ptr(l->in->mem, paddr, memsz);
	memcpy(to, f->data + offset, filesz);
	memset(to + filesz, 0, memsz - filesz);
	*end = MAX(*end, paddr + memsz);
	return 0;
}

/* The "a.out kludge": the header says where the file goes (section 3.1.3). */
static int load_by_addresses(struct loader *l, uint64_t header_offset, struct multiboot_image *image)
{
	const struct loader_file *f = &l->in->kernel;
	struct multiboot_addresses a;
	uint64_t offset, filesz, memsz;

	if (f->len - header_offset < sizeof(struct multiboot_header) + sizeof(a))
		return loader_refuse(l, f->name, "the file ends inside its Multiboot header");
	memcpy(&a, f->data + header_offset + sizeof(struct multiboot_header), sizeof(a));
	if (a.header_addr < a.load_addr || a.header_addr - a.load_addr > header_offset)
		return loader_refuse(l, f->name, "header_addr 0x%x does not fit load_addr 0x%x and the header's place in the file (%lu)",
				     a.header_addr, a.load_addr, header_offset);
	offset = header_offset - (a.header_addr - a.load_addr);
	if (a.load_end_addr && a.load_end_addr <= a.load_addr)
		return loader_refuse(l, f->name, "load_end_addr 0x%x is not above load_addr 0x%x", a.load_end_addr, a.load_addr);
	filesz = a.load_end_addr ? (uint64_t)a.load_end_addr - a.load_addr : f->len - offset;
	if (filesz > f->len - offset)
		return loader_refuse(l, f->name, "the file is cut short: its header speaks of %lu bytes", offset + filesz);
	if (a.bss_end_addr && a.bss_end_addr < a.load_addr + filesz)
		return loader_refuse(l, f->name, "bss_end_addr 0x%x is below the end of the loaded part", a.bss_end_addr);
	memsz = a.bss_end_addr ? (uint64_t)a.bss_end_addr - a.load_addr : filesz;
	if (a.entry_addr < a.load_addr || a.entry_addr >= a.load_addr + memsz)
		return loader_refuse(l, f->name, "the entry point 0x%x lies outside the kernel", a.entry_addr);
	image->entry = a.entry_addr;
	return load_segment(l, offset, filesz, a.load_addr, memsz, &image->end);
}

static int check_elf(struct loader *l, struct elf32_header *elf)
{
	const struct loader_file *f = &l->in->kernel;

	if (f->len < sizeof(*elf) || memcmp(f->data, "\x7f" "ELF", 4) != 0)
		return loader_refuse(l, f->name, "a Multiboot header without address fields, but the file is no ELF file");
	memcpy(elf, f->data, sizeof(*elf));
	if (elf->ident[4] != ELF_CLASS_32 || elf->ident[5] != ELF_DATA_LITTLE ||
	    elf->machine != ELF_MACHINE_386 || elf->type != ELF_TYPE_EXEC)
		return loader_refuse(l, f->name, "a Multiboot kernel must be a 32-bit x86 ELF executable (class 1, machine 3, type 2): "
				     "this one is class %u, machine %u, type %u", elf->ident[4], elf->machine, elf->type);
	if (elf->phentsize < sizeof(struct elf32_program_header))
		return loader_refuse(l, f->name, "ELF program headers of %u bytes: expected %zu", elf->phentsize,
				     sizeof(struct elf32_program_header));
	if (elf->phoff > f->len || (uint64_t)elf->phnum * elf->phentsize > f->len - elf->phoff)
		return loader_refuse(l, f->name, "the file ends before its ELF program headers");
	if (!elf->phnum || elf->phnum > ELF_SEGMENTS_MAX)
		return loader_refuse(l, f->name, "%u ELF program headers: expected 1 to %u", elf->phnum, ELF_SEGMENTS_MAX);
	return 0;
}

static int load_elf(struct loader *l, struct multiboot_image *image)
{
	const struct loader_file *f = &l->in->kernel;
	struct elf32_header elf = { .phnum = 0 };
	bool entry_found = false;

	if (check_elf(l, &elf))
		return ERR_INVALID;
	for (unsigned i = 0; i < elf.phnum; i++) {
		struct elf32_program_header ph;

		memcpy(&ph, f->data + elf.phoff + (uint64_t)i * elf.phentsize, sizeof(ph));
		if (ph.type != ELF_PT_LOAD || !ph.memsz)
			continue;
		/* One of zeros alone has nothing in the file, and linkers give it an offset behind the end. */
		if (!ph.filesz)
			ph.offset = 0;
		if (ph.filesz > ph.memsz || ph.offset > f->len || ph.filesz > f->len - ph.offset)
			return loader_refuse(l, f->name, "the ELF segment %u (%u bytes at file offset %u) does not fit its file or its memory",
					     i, ph.filesz, ph.offset);
		if (load_segment(l, ph.offset, ph.filesz, ph.paddr, ph.memsz, &image->end))
			return ERR_INVALID;
		/* Paging is off, so an entry point given as a virtual address means the physical one below it. */
		if (!entry_found && elf.entry >= ph.vaddr && elf.entry - ph.vaddr < ph.memsz) {
			image->entry = (uint64_t)ph.paddr + (elf.entry - ph.vaddr);
			entry_found = true;
		}
	}
	if (!entry_found)
		return loader_refuse(l, f->name, "the entry point 0x%x lies in no segment", elf.entry);
	return 0;
}

int multiboot_load_image(struct loader *l, struct multiboot_image *image)
{
	const struct loader_file *f = &l->in->kernel;
	struct multiboot_header h;
	uint64_t offset;

	image->entry = 0;
	image->end = 0;
	if (!multiboot_find_header(f, &offset))
		return loader_refuse(l, f->name, "there is no Multiboot header");
	memcpy(&h, f->data + offset, sizeof(h));
	if (h.flags & HEADER_VIDEO)
		return loader_refuse(l, f->name, "the kernel demands a video mode (Multiboot flag 2), and a VM has no display");
	if (h.flags & HEADER_REQUIRED & ~HEADER_KNOWN)
		return loader_refuse(l, f->name, "the kernel demands Multiboot features that are not provided (flags 0x%x)", h.flags);
	if (h.flags & HEADER_ADDRESSES)
		return load_by_addresses(l, offset, image);
	return load_elf(l, image);
}

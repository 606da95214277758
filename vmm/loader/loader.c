/* The choice of the loader by the file's magic number, and what all loaders use: refusals with a reason, copies, a flat GDT, the BIOS data
 * area. */
#include "vmm/loader/loader.h"

#include "lib/printf.h"
#include "lib/string.h"
#include "lib/x86/segment.h"
#include "vmm/loader/linux.h"
#include "vmm/loader/multiboot.h"
#include "vmm/memory/layout.h"

int loader_refuse(struct loader *l, const char *file, const char *fmt, ...)
{
	va_list args;
	size_t used = (size_t)snprintf(l->error, LOADER_ERROR_SIZE, "%.63s: ", file);

	va_start(args, fmt);
	vsnprintf(l->error + used, LOADER_ERROR_SIZE - used, fmt, args);
	va_end(args);
	return ERR_INVALID;
}

void loader_copy(struct loader *l, uint64_t gpa, const uint8_t *data, uint64_t len)
{
	void *to = guest_ptr(l->in->mem, gpa, len);

	if (to)
		memcpy(to, data, len);
}

void loader_write_gdt(struct loader *l, uint64_t gpa, enum guest_start_mode mode)
{
	/* Flat segments at selectors 0x10 and 0x18. */
	const uint64_t gdt[LOADER_GDT_SIZE / 8] = {
		[GUEST_START_CS / 8] = mode == GUEST_START_LONG ? DESCRIPTOR_CODE_64 : DESCRIPTOR_CODE_32,
		[GUEST_START_DS / 8] = DESCRIPTOR_DATA_32,
	};

	loader_copy(l, gpa, (const uint8_t *)gdt, sizeof(gdt));
	l->start->mode = mode;
	l->start->gdt_base = gpa;
	l->start->gdt_limit = sizeof(gdt) - 1;
	l->start->cs = GUEST_START_CS;
	l->start->ds = GUEST_START_DS;
}

/* The words of the BIOS data area that operating systems look at (IBM PC/AT Technical Reference, "BIOS data area"). */
static int write_bios_data(const struct guest_memory *mem)
{
	uint8_t *bda = guest_ptr(mem, LAYOUT_BDA, LAYOUT_BDA_SIZE);
	uint8_t *ebda = guest_ptr(mem, LAYOUT_EBDA, LAYOUT_EBDA_SIZE);
	const uint16_t com1 = 0x3f8;
	const uint16_t equipment = 1 << 9; /* one serial port */
	const uint16_t ebda_segment = LAYOUT_EBDA >> 4;
	const uint16_t base_kib = LAYOUT_EBDA >> 10;

	if (!bda || !ebda)
		return ERR_RANGE;
	memset(bda, 0, LAYOUT_BDA_SIZE);
	memcpy(bda + 0x00, &com1, 2);
	memcpy(bda + 0x0e, &ebda_segment, 2);
	memcpy(bda + 0x10, &equipment, 2);
	memcpy(bda + 0x13, &base_kib, 2);
	memset(ebda, 0, LAYOUT_EBDA_SIZE);
	ebda[0] = LAYOUT_EBDA_SIZE >> 10;
	return 0;
}

/* What else a file may be, so that the refusal helps. */
static const char *what_instead(const struct loader_file *f)
{
	static const struct {
		const char *magic;
		uint8_t len;
		const char *hint;
	} known[] = {
		{ "\x1f\x8b", 2, "is compressed with gzip: decompress it first (gunzip)" },
		{ "\xfd" "7zXZ", 5, "is compressed with xz: decompress it first (unxz)" },
		{ "\x28\xb5\x2f\xfd", 4, "is compressed with zstd: decompress it first (unzstd)" },
		{ "BZh", 3, "is compressed with bzip2: decompress it first (bunzip2)" },
		{ "\x7f" "ELF", 4, "is an ELF file without a Multiboot header: expected a Linux bzImage (vmlinuz) or a Multiboot kernel" },
		{ "MZ", 2, "is an EFI program or an unknown executable: expected a Linux bzImage (vmlinuz) or a Multiboot kernel" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (f->len >= known[i].len && !memcmp(f->data, known[i].magic, known[i].len))
			return known[i].hint;
	return "is no kernel that can be loaded: expected a Linux bzImage (vmlinuz) or a Multiboot kernel";
}

int loader_load(const struct loader_input *in, struct guest_start *start, char error[LOADER_ERROR_SIZE])
{
	const struct loader_file *kernel = &in->kernel;
	struct loader l = { .in = in, .start = start, .error = error };

	error[0] = 0;
	memset(start, 0, sizeof(*start));
	placement_init(&l.space, in->mem);
	if (!kernel->data || !kernel->len)
		return loader_refuse(&l, kernel->name, "the file is empty");
	if (write_bios_data(in->mem))
		return loader_refuse(&l, kernel->name, "the VM has no memory in its first 640 KiB");
	if (linux_recognise(kernel))
		return linux_load(&l);
	if (multiboot_recognise(kernel))
		return multiboot_load(&l);
	return loader_refuse(&l, kernel->name, "%s", what_instead(kernel));
}

/* SOURCES: vmm/loader/loader.c vmm/loader/linux.c vmm/loader/multiboot.c vmm/loader/multiboot_image.c vmm/loader/placement.c vmm/memory/e820.c vmm/memory/guest_memory.c */
/* TEST: 15000 runs of up to 1200 bytes */
/* The Linux and Multiboot loaders: the input is the guest's memory, the sizes of what goes with the kernel, and the kernel's file, which
 * zeroes follow, so that a header cut out of a large file serves. */
#include "tests/fuzz/fuzz.h"

#include "vmm/loader/loader.h"
#include "vmm/memory/layout.h"

static const uint64_t low_sizes[] = { MIB(1), MIB(2), MIB(5), MIB(24) };
#define HIGH_SIZE MIB(3)

static uint8_t *low[ARRAY_SIZE(low_sizes)], *high;
static struct guest_memory mem;

static void *block(uint64_t size)
{
	void *p = calloc(1, size ? size : 1);

	FUZZ_CHECK(p);
	return p;
}

static void make_memory(unsigned how)
{
	unsigned i = how % ARRAY_SIZE(low_sizes);

	if (!low[i])
		low[i] = block(low_sizes[i]);
	if (!high)
		high = block(HIGH_SIZE);
	memset(&mem, 0, sizeof(mem));
	FUZZ_CHECK(!guest_memory_add(&mem, 0, low_sizes[i], low[i]));
	if (how & 4)
		FUZZ_CHECK(!guest_memory_add(&mem, LAYOUT_HIGH_RAM, HIGH_SIZE, high));
}

static struct loader_file make_file(const char *name, uint64_t size)
{
	return (struct loader_file){ .name = name, .data = block(size), .len = size };
}

static char *make_text(size_t len)
{
	char *text = malloc(len + 1);

	FUZZ_CHECK(text);
	memset(text, 'x', len);
	text[len] = 0;
	return text;
}

/* The physical address behind `linear`, by the identity map that a guest starts with. */
static bool mapped(uint64_t cr3, uint64_t linear)
{
	uint64_t table = cr3, entry;

	for (unsigned shift = 39; shift >= 21; shift -= 9) {
		if (guest_read(&mem, table + (linear >> shift & 511) * 8, &entry, 8) || !(entry & 1))
			return false;
		table = entry & 0x000ffffffffff000;
		if (entry & BIT(7))
			return (table & ~(BIT(shift) - 1)) == (linear & ~(BIT(shift) - 1));
	}
	return false;
}

static void check(const struct guest_start *start)
{
	FUZZ_CHECK(start->protocol && start->cs == GUEST_START_CS && start->ds == GUEST_START_DS);
	FUZZ_CHECK(guest_ptr(&mem, start->gdt_base, start->gdt_limit + 1UL));
	FUZZ_CHECK(guest_ptr(&mem, start->rip, 1));
	if (start->mode == GUEST_START_LONG)
		FUZZ_CHECK(mapped(start->cr3, start->rip) && mapped(start->cr3, start->gdt_base));
	else
		FUZZ_CHECK(start->rip == (uint32_t)start->rip && start->gdt_base == (uint32_t)start->gdt_base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)take(&in, 1);
	uint64_t initrd = take(&in, 2) << 5, zeroes = take(&in, 2) << 5, module = take(&in, 2);
	char *cmdline = make_text(take(&in, 2) % 0x2000 << (how >> 4 & 3)), *string = make_text(how & 0x40 ? 300 : 3);
	char error[LOADER_ERROR_SIZE];
	struct guest_start start;
	uint8_t *kernel = block(in.left + zeroes);
	struct loader_input input = { .mem = &mem, .cmdline = cmdline, .rsdp = how & 0x80 ? LAYOUT_ACPI : 0 };

	make_memory(how);
	memcpy(kernel, in.at, in.left);
	input.kernel = (struct loader_file){ .name = "kernel", .data = kernel, .len = in.left + zeroes };
	if (initrd)
		input.initrd = make_file("initrd", initrd);
	input.modules = how & 8 ? module % (LOADER_MODULES_MAX + 1) : 0;
	for (unsigned i = 0; i < input.modules; i++) {
		input.module[i] = make_file("module", (module & 0xfff0) * (i + 1));
		input.module[i].string = i & 1 ? string : NULL;
	}
	memset(error, 0xa5, sizeof(error));
	/* Twice, as a reset does it. */
	for (unsigned i = 0; i < 2; i++) {
		int err = loader_load(&input, &start, error);

		FUZZ_CHECK(memchr(error, 0, sizeof(error)) && !err == !error[0]);
		FUZZ_CHECK(!err || err == ERR_INVALID);
		if (!err)
			check(&start);
	}
	for (unsigned i = 0; i < input.modules; i++)
		free((void *)(uintptr_t)input.module[i].data);
	free((void *)(uintptr_t)input.initrd.data);
	free(kernel);
	free(cmdline);
	free(string);
	return 0;
}

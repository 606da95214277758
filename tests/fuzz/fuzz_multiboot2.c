/* SOURCES: boot/multiboot2.c boot/boot_info.c */
/* TEST: 80000 runs of up to 2048 bytes */
/* Boot information. The first byte's bit 0 chooses: multiboot2's tags as they stand, their total size put right where bit 1 is set; or a
 * struct boot_info as lamina.efi hands it over, made of (offset, length, bytes) on zeroes. */
#include "tests/fuzz/fuzz.h"

#include "boot/multiboot2.h"

static struct boot_info info;

static void check(const struct boot_info *i)
{
	FUZZ_CHECK(i->memory_count && i->memory_count <= BOOT_MEMORY_MAX && i->module_count <= BOOT_MODULES_MAX);
	for (unsigned n = 0; n < i->memory_count; n++) {
		FUZZ_CHECK(i->memory[n].length && i->memory[n].base + (i->memory[n].length - 1) >= i->memory[n].base);
		FUZZ_CHECK(!n || i->memory[n].base - i->memory[n - 1].base >= i->memory[n - 1].length);
	}
	for (unsigned n = 0; n < i->module_count; n++) {
		FUZZ_CHECK(i->module[n].end >= i->module[n].start);
		FUZZ_CHECK(strnlen(i->module[n].cmdline, BOOT_MODULE_CMDLINE_SIZE) < BOOT_MODULE_CMDLINE_SIZE);
	}
	FUZZ_CHECK(strnlen(i->cmdline, BOOT_CMDLINE_SIZE) < BOOT_CMDLINE_SIZE);
	FUZZ_CHECK(strnlen(i->loader_name, BOOT_LOADER_NAME_SIZE) < BOOT_LOADER_NAME_SIZE);
	FUZZ_CHECK(i->rsdp_size <= sizeof(i->rsdp));
	FUZZ_CHECK(boot_info_usable_bytes(i) && boot_info_usable_bytes(i) <= boot_info_usable_end(i));
	if (i->framebuffer.address) {
		FUZZ_CHECK(i->framebuffer.width && i->framebuffer.height);
		FUZZ_CHECK((uint64_t)i->framebuffer.width * i->framebuffer.bpp <= (uint64_t)i->framebuffer.pitch * 8);
		FUZZ_CHECK(i->framebuffer.address + (uint64_t)i->framebuffer.pitch * i->framebuffer.height > i->framebuffer.address);
	}
}

static void parse_tags(struct input *in, bool right_size)
{
	const char *error = NULL;
	size_t size;
	uint8_t *tags = take_block(in, SIZE_MAX, &size);
	int err;

	if (right_size && size >= 4)
		memcpy(tags, &(uint32_t){ (uint32_t)size }, 4);
	memset(&info, 0xa5, sizeof(info));
	err = multiboot2_parse(tags, size, &info, &error);
	free(tags);
	FUZZ_CHECK(!err == !error);
	if (!err) {
		check(&info);
		FUZZ_CHECK(!boot_info_check(&info, &error));
	}
}

static void check_handed_over(struct input *in)
{
	const char *error = NULL;

	memset(&info, 0, sizeof(info));
	info.size = sizeof(info);
	while (in->left) {
		size_t at = take(in, 2) % sizeof(info), n = take(in, 1);

		n = MIN(MIN(n, in->left), sizeof(info) - at);
		memcpy((uint8_t *)&info + at, in->at, n);
		in->at += n;
		in->left -= n;
	}
	if (!boot_info_check(&info, &error))
		check(&info);
	else
		FUZZ_CHECK(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)take(&in, 1);

	if (how & 1)
		check_handed_over(&in);
	else
		parse_tags(&in, how & 2);
	return 0;
}

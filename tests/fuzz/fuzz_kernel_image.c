/* SOURCES: boot/efi/kernel_image.c */
/* TEST: 150000 runs of up to 1024 bytes */
/* lamina.efi's ELF reader: the input is the file, behind a byte that says how long it is beyond its last byte given. */
#include "tests/fuzz/fuzz.h"

#include "boot/efi/kernel_image.h"

#define LIMIT MIB(16)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	size_t longer = take(&in, 1) << 8, n = in.left;
	uint8_t *file = calloc(1, n + longer + !(n + longer));
	struct kernel_image image;

	FUZZ_CHECK(file);
	memcpy(file, in.at, n);
	memset(&image, 0xa5, sizeof(image));
	if (!kernel_image_parse(file, n + longer, LIMIT, &image)) {
		bool entry_inside = false;

		FUZZ_CHECK(image.count && image.count <= KERNEL_SEGMENTS_MAX);
		FUZZ_CHECK(image.start >= MIB(1) && image.start < image.end && image.end <= LIMIT);
		FUZZ_CHECK(image.start % PAGE_SIZE == 0 && image.end % PAGE_SIZE == 0);
		for (unsigned i = 0; i < image.count; i++) {
			const struct kernel_segment *s = &image.segment[i];

			FUZZ_CHECK(s->file_size <= s->size && (uint64_t)s->offset + s->file_size <= n + longer);
			FUZZ_CHECK(s->address >= image.start && (uint64_t)s->address + s->size <= image.end);
			entry_inside |= image.entry - s->address < s->size;
			for (unsigned j = 0; j < i; j++)
				FUZZ_CHECK(image.segment[j].address + (uint64_t)image.segment[j].size <= s->address ||
					   s->address + (uint64_t)s->size <= image.segment[j].address);
		}
		FUZZ_CHECK(entry_inside);
	}
	free(file);
	return 0;
}

/* The parser of lamina.elf's headers. The file is not trusted: each segment is checked before it is accepted. */
#include "boot/efi/kernel_image.h"

#include "lib/string.h"

#define LOWEST MIB(1)
#define ELF_EXEC 2
#define ELF_X86_64 62
#define SEGMENT_LOAD 1

struct elf_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, program_offset, section_offset;
	uint32_t flags;
	uint16_t header_size, program_size, program_count, section_size, section_count, section_names;
};
_Static_assert(sizeof(struct elf_header) == 64, "ELF-64 header");

struct elf_program {
	uint32_t type, flags;
	uint64_t offset, virtual_address, physical_address, file_size, memory_size, align;
};
_Static_assert(sizeof(struct elf_program) == 56, "ELF-64 program header");

/* ELF, 64 bits, little endian, version 1. */
static const uint8_t ident[] = { 0x7f, 'E', 'L', 'F', 2, 1, 1 };

static const char *add_segment(struct kernel_image *image, const struct elf_program *program, uint64_t size, uint32_t limit)
{
	uint64_t start = program->physical_address, end = start + program->memory_size;

	if (program->file_size > program->memory_size)
		return "broken: a segment is larger in the file than in memory";
	if (program->offset > size || program->file_size > size - program->offset)
		return "broken: it ends inside a segment";
	if (start < LOWEST || end < start || end > limit)
		return "broken: a segment does not lie where the kernel has its place";
	if (image->count == KERNEL_SEGMENTS_MAX)
		return "broken: it has too many segments";
	for (unsigned i = 0; i < image->count; i++) {
		const struct kernel_segment *other = &image->segment[i];

		if (start < other->address + other->size && other->address < end)
			return "broken: two segments overlap";
	}
	image->segment[image->count++] = (struct kernel_segment){ (uint32_t)program->offset, (uint32_t)program->file_size,
								   (uint32_t)program->memory_size, (uint32_t)start };
	image->start = MIN(image->start, (uint32_t)start & ~(PAGE_SIZE - 1));
	image->end = MAX(image->end, ALIGN_UP((uint32_t)end, PAGE_SIZE));
	return NULL;
}

const char *kernel_image_parse(const void *file, uint64_t size, uint32_t limit, struct kernel_image *image)
{
	struct elf_header header;
	struct elf_program program;
	const char *error;

	*image = (struct kernel_image){ .start = UINT32_MAX };
	if (size < sizeof(header))
		return "broken: it is too short for an ELF file";
	memcpy(&header, file, sizeof(header));
	if (memcmp(header.ident, ident, sizeof(ident)) != 0 || header.type != ELF_EXEC || header.machine != ELF_X86_64)
		return "broken: it is not an ELF program for x86-64";
	if (header.program_size != sizeof(program) || header.program_offset > size ||
	    (uint64_t)header.program_count * sizeof(program) > size - header.program_offset)
		return "broken: its program headers are not inside the file";
	for (unsigned i = 0; i < header.program_count; i++) {
		memcpy(&program, (const uint8_t *)file + header.program_offset + i * sizeof(program), sizeof(program));
		if (program.type != SEGMENT_LOAD || !program.memory_size)
			continue;
		error = add_segment(image, &program, size, limit);
		if (error)
			return error;
	}
	for (unsigned i = 0; i < image->count; i++) {
		if (header.entry < image->segment[i].address || header.entry - image->segment[i].address >= image->segment[i].file_size)
			continue;
		image->entry = (uint32_t)header.entry;
		return NULL;
	}
	return "broken: its entry point is in no segment";
}

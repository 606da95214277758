/* How a guest gets started: its kernel, from a file of any content, into its memory. */
#ifndef VMM_LOADER_LOADER_H
#define VMM_LOADER_LOADER_H

#include "lib/types.h"
#include "vmm/loader/placement.h"
#include "vmm/memory/guest_memory.h"

#define LOADER_MODULES_MAX 8
/* Room for any refusal, with its NUL. */
#define LOADER_ERROR_SIZE 256

/* A file in Lamina's memory. Whoever made it may be hostile. */
struct loader_file {
	const char *name;
	const uint8_t *data;  /* NULL: there is no such file */
	uint64_t len;
	const char *string;   /* a Multiboot module's string: name and arguments; NULL is the name alone */
};

struct loader_input {
	const struct guest_memory *mem;
	struct loader_file kernel;
	struct loader_file initrd;
	unsigned modules;
	struct loader_file module[LOADER_MODULES_MAX];
	const char *cmdline;
	uint64_t rsdp; /* guest-physical address of the ACPI tables' root, 0 for none */
};

enum guest_start_mode {
	GUEST_START_PROTECTED, /* 32-bit protected mode, flat, paging off */
	GUEST_START_LONG,      /* 64-bit mode, identity-mapped */
};

#define GUEST_START_CS 0x10
#define GUEST_START_DS 0x18

/* The state of the first vCPU at the guest's first instruction. Registers not named are 0, RFLAGS is 2 (interrupts off).
 * CS is flat execute/read (64-bit in long mode), DS, ES, SS, FS and GS are flat read/write, all at privilege 0, accessed;
 * the GDT in guest memory holds the same descriptors. There is no usable LDT, TR or IDT. */
struct guest_start {
	enum guest_start_mode mode;
	uint64_t rip;
	uint64_t rax, rbx, rsi;
	uint64_t cr0, cr3, cr4, efer;
	uint64_t gdt_base;
	uint16_t gdt_limit;
	uint16_t cs, ds;
	const char *protocol; /* for the log: "Linux 64-bit boot protocol" … */
};

/* Load a kernel with all that belongs to it, chosen by its magic number: Linux bzImage or Multiboot. Also writes the BIOS data area.
 * May be called again on a VM's reset; the files stay untouched. Returns 0 with *start filled; or ERR_INVALID with one sentence
 * in `error` that names the file and the reason. */
int loader_load(const struct loader_input *in, struct guest_start *start, char error[LOADER_ERROR_SIZE]);

/* ---- For the loaders themselves ---- */

/* One load in progress. */
struct loader {
	const struct loader_input *in;
	struct guest_start *start;
	struct placement space;
	char *error;
};

/* Write "FILE: reason" into the error text. Returns ERR_INVALID. */
int loader_refuse(struct loader *l, const char *file, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Copy a part of a file to guest memory that was taken before. The caller has checked the file's bounds. */
void loader_copy(struct loader *l, uint64_t gpa, const uint8_t *data, uint64_t len);

/* Write the flat GDT of `mode` to guest memory that was taken before, and point *start at it and its selectors. */
#define LOADER_GDT_SIZE 32
void loader_write_gdt(struct loader *l, uint64_t gpa, enum guest_start_mode mode);

#endif

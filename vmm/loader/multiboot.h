/* Multiboot (1) kernels: ELF32, or a flat file with its addresses in the header. Source: Multiboot Specification, version 0.6.96. */
#ifndef VMM_LOADER_MULTIBOOT_H
#define VMM_LOADER_MULTIBOOT_H

#include "vmm/loader/loader.h"

/* Is there a Multiboot header (magic and checksum) in the file's first 8 KiB? (section 3.1) */
bool multiboot_recognise(const struct loader_file *kernel);

/* Load kernel, modules, boot information and entry state. Returns 0, or ERR_INVALID with the reason in l->error. */
int multiboot_load(struct loader *l);

#endif

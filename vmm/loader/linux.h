/* Linux kernels (bzImage) by the 64-bit and the 32-bit boot protocol.
 * Source: Linux, Documentation/arch/x86/boot.rst and zero-page.rst. */
#ifndef VMM_LOADER_LINUX_H
#define VMM_LOADER_LINUX_H

#include "vmm/loader/loader.h"

/* Does the file carry a bzImage's boot sector signature and "HdrS"? */
bool linux_recognise(const struct loader_file *kernel);

/* Load kernel, initrd, command line, memory map and entry state. Returns 0, or ERR_INVALID with the reason in l->error. */
int linux_load(struct loader *l);

#endif

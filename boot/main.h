/* From firmware to the first guest. */
#ifndef BOOT_MAIN_H
#define BOOT_MAIN_H

#include "lib/types.h"

/* End the boot with one clear sentence, prefixed "fatal: ", on the console, and halt every core. */
NORETURN void boot_fatal(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* The TSC when the loader handed over. */
extern uint64_t boot_start_tsc;

#endif

/* The two ways in which Lamina itself gives up; panic() is in lib/log.h. */
#ifndef ARCH_X86_64_PANIC_H
#define ARCH_X86_64_PANIC_H

#include "lib/types.h"

/* This machine or its configuration cannot run Lamina: end the boot with one clear sentence, prefixed "fatal: ", on the console, and
 * halt every core. */
NORETURN void boot_fatal(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif

/* Lamina's log: one line a call. In the unit tests a fake collects the lines. */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include "lib/types.h"

/* Print one line, "lamina: " before it and a newline after it. Never call it on the exit path of a healthy guest. */
void log_line(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Lamina itself is broken: print, dump, halt this machine. No guest input may lead here. */
NORETURN void panic(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif

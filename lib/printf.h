/* Formatted text into a buffer: %s %c %d %i %u %x %X %p %%, with l, ll and z, width, precision for %s, '-' and '0' flags. */
#ifndef LIB_PRINTF_H
#define LIB_PRINTF_H

#include <stdarg.h>

#include "lib/types.h"

/* Write at most `size` bytes with the terminating NUL. Returns the length that the whole text needs, without the NUL. */
int snprintf(char *buf, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
int vsnprintf(char *buf, size_t size, const char *fmt, va_list args) PRINTF_LIKE(3, 0);

#endif

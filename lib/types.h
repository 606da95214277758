/* The basic types and the few macros that every file uses. */
#ifndef LIB_TYPES_H
#define LIB_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

#define PAGE_SIZE 4096U
#define PAGE_MASK (~(uint64_t)(PAGE_SIZE - 1))

#define BIT(n) (1ULL << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* `align` must be a power of two. */
#define ALIGN_DOWN(x, align) ((x) & ~((__typeof__(x))(align) - 1))
#define ALIGN_UP(x, align) ALIGN_DOWN((x) + (__typeof__(x))(align) - 1, align)

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define PACKED __attribute__((packed))
#define NORETURN __attribute__((noreturn))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

/* Results of functions that can fail: 0 or one of these, negative. */
enum {
	ERR_INVALID = -1,  /* the argument or the input breaks a rule */
	ERR_NOMEM = -2,    /* no memory, or no room in a fixed table */
	ERR_NOENT = -3,    /* nothing there */
	ERR_BUSY = -4,     /* taken already */
	ERR_RANGE = -5,    /* outside what exists */
	ERR_UNSUPPORTED = -6,
	ERR_IO = -7,       /* a device failed */
};

#endif

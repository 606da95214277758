/* The names of Lamina's own functions, made by tools/symbols.py at build time, sorted by address. */
#ifndef ARCH_X86_64_SYMBOLS_H
#define ARCH_X86_64_SYMBOLS_H

#include "lib/types.h"

struct symbol {
	uint32_t address; /* relative to KERNEL_BASE */
	uint32_t name;    /* where it begins in symbol_names */
};

extern const struct symbol symbols[];
extern const uint32_t symbols_count;
extern const char symbol_names[];

#endif

/* A piece of memory, one of the several that a transfer gathers from or scatters to. */
#ifndef LIB_MEMORY_SEGMENT_H
#define LIB_MEMORY_SEGMENT_H

#include "lib/types.h"

struct segment {
	uint8_t *base;
	uint32_t len; /* bytes */
};

#endif

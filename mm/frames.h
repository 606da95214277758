/* The allocator of physical memory: the machine's free extents, sorted, in a fixed table. Addresses and sizes are in bytes and whole pages.
 *
 * Nothing here touches the memory itself. Callers lock. The page at address 0 is never free, so that 0 can mean "none". */
#ifndef MM_FRAMES_H
#define MM_FRAMES_H

#include "lib/types.h"

#define FRAMES_EXTENTS_MAX 512

struct frame_extent {
	uint64_t base;
	uint64_t size; /* bytes, whole pages, never 0 */
};

/* Extents are sorted by base and neither overlap nor touch. */
struct frames {
	unsigned count;
	uint64_t free_bytes;
	struct frame_extent extent[FRAMES_EXTENTS_MAX];
};

/* A run of physical memory that belongs to a guest. */
struct frame_piece {
	uint64_t base;
	uint64_t size; /* bytes, whole pages */
};

/* Start with no memory at all. */
void frames_init(struct frames *frames);

/* Make [base, base+size) free, shrunk to whole pages. Memory that is free already stays free, so overlapping additions are safe.
 * Returns 0 (also where nothing is left after shrinking), ERR_INVALID (wraps) or ERR_NOMEM (table full, nothing added). */
int frames_add(struct frames *frames, uint64_t base, uint64_t size);

/* Take whatever of [base, base+size), widened to whole pages, is free out of the free memory. It cannot fail: where the table has
 * no room for a cut's second half, the smaller half is given up too. */
void frames_reserve(struct frames *frames, uint64_t base, uint64_t size);

/* Allocate `size` bytes (rounded up to pages) aligned to `align` (a power of two; less than a page means a page), ending at or
 * below `below` (0: anywhere). Takes the place that breaks the fewest aligned 1 GiB pieces, then 2 MiB pieces, then the highest
 * one; memory below 1 MiB only when nothing else will do. Returns the address, or 0 when there is none. */
uint64_t frames_alloc(struct frames *frames, uint64_t size, uint64_t align, uint64_t below);

/* Give back what frames_alloc or frames_alloc_guest gave (size rounded up to pages). Returns 0, or with a log line ERR_INVALID (the
 * range is unaligned, wraps or is partly free already) or ERR_NOMEM (the table is full: the memory is lost). */
int frames_free(struct frames *frames, uint64_t base, uint64_t size);

/* How many bytes are free. */
uint64_t frames_free_bytes(const struct frames *frames);

/* Size of the largest free run that starts at a multiple of `align` (a power of two), in bytes; 0 when there is none. */
uint64_t frames_largest(const struct frames *frames, uint64_t align);

/* Find `size` bytes (whole pages) for a guest, as few and as aligned as the memory allows: first runs of whole aligned GiB, then runs
 * of whole aligned 2 MiB, then pages; pieces[] is in that order and *count says how many. Returns 0; ERR_INVALID (size 0 or not whole
 * pages) or ERR_NOMEM (too little memory, or more than `max` pieces): then nothing is taken and *count is 0. */
int frames_alloc_guest(struct frames *frames, uint64_t size, struct frame_piece *pieces, unsigned max, unsigned *count);

#endif

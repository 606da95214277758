/* The window: 512 pages of 4 KiB at 512 GiB of address space, which tests map as they like (everything below 4 GiB is mapped one to
 * one, open to user mode). */
#ifndef TESTS_GUESTS_LIB_WINDOW_H
#define TESTS_GUESTS_LIB_WINDOW_H

#include "tests/guests/lib/cpu.h"

#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_U BIT(2)
#define PTE_PCD BIT(4)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_G BIT(8)
#define PTE_NX BIT(63)

extern volatile uint64_t window_table[512];
extern uint64_t pml4[512];

static inline uint8_t *window_page(unsigned index)
{
	return (uint8_t *)(0x8000000000ULL + index * 4096ULL);
}

/* Map (or with flags 0 unmap) a page and flush its translation. Returns the page's address. */
static inline uint8_t *window_map(unsigned index, const volatile void *physical, uint64_t flags)
{
	window_table[index] = (uint64_t)physical | flags;
	invlpg(window_page(index));
	return window_page(index);
}

#endif

/* Page-table entries of x86's own paging modes, and the page fault's error code (SDM vol. 3, "Paging", "Page-Fault Exceptions"). EPT's
 * entries have another format: mm/policy_ept.c. */
#ifndef LIB_X86_PAGING_H
#define LIB_X86_PAGING_H

#include "lib/types.h"

#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_U BIT(2)
#define PTE_PWT BIT(3)
#define PTE_PCD BIT(4)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_PS BIT(7)        /* above level 1: a leaf */
#define PTE_PAT BIT(7)       /* at level 1 */
#define PTE_G BIT(8)
#define PTE_PAT_LARGE BIT(12) /* in a leaf above level 1 */
#define PTE_NX BIT(63)
#define PHYS_LIMIT BIT(52) /* no x86 CPU has physical addresses from here on */
#define PTE_ADDRESS 0x000ffffffffff000ULL
#define PTE_PKEY(entry) ((unsigned)((entry) >> 59) & 15)

/* PKRU has two bits for each protection key (SDM vol. 3, "Protection Keys"). */
#define PKRU_ACCESS_DISABLE 1U
#define PKRU_WRITE_DISABLE 2U

/* Levels of tables with 512 entries of 8 bytes, counted from the pages up. EPT's and nested paging's tables are shaped alike. */
#define PAGE_TABLE_ENTRIES 512
#define PT_LEVEL_4K 1
#define PT_LEVEL_2M 2
#define PT_LEVEL_1G 3
#define PT_LEVEL_TOP 4

/* The bits of the four entries that PAE paging loads from CR3 that must be 0: 2:1 and 8:5. */
#define PDPTE_RESERVED_LOW 0x1e6UL

enum page_fault_error {
	PF_PRESENT = 1 << 0,
	PF_WRITE = 1 << 1,
	PF_USER = 1 << 2,
	PF_RESERVED = 1 << 3,
	PF_FETCH = 1 << 4,
	PF_PROTECTION_KEY = 1 << 5,
};

/* What one entry of a table at this level spans, in bits of address and in bytes. */
static inline unsigned page_table_leaf_shift(unsigned level)
{
	return 12 + 9 * (level - PT_LEVEL_4K);
}

static inline uint64_t page_table_leaf_size(unsigned level)
{
	return BIT(page_table_leaf_shift(level));
}

/* Which entry of a table at this level stands for an address. */
static inline unsigned page_table_slot(uint64_t address, unsigned level)
{
	return (unsigned)(address >> page_table_leaf_shift(level)) & (PAGE_TABLE_ENTRIES - 1);
}

#endif

/* The policy for EPT: what the entries of VT-x's nested page tables look like. */
#include "lib/x86/msr.h"
#include "lib/x86/paging.h"
#include "mm/page_table.h"

/* SDM vol. 3, "The Extended Page Table Mechanism": formats of the entries. "Ignore PAT" (bit 6) stays 0, so that the guest's own PAT
 * counts; accessed and dirty bits (8, 9) are the CPU's where the EPTP enables them, and ignored elsewhere. */
#define EPT_READ BIT(0)
#define EPT_WRITE BIT(1)
#define EPT_EXEC BIT(2)
#define EPT_TYPE_SHIFT 3
#define EPT_TYPE_MASK (7ULL << EPT_TYPE_SHIFT)
#define EPT_TYPE_UC ((uint64_t)MTRR_TYPE_UC << EPT_TYPE_SHIFT)
#define EPT_TYPE_WC ((uint64_t)MTRR_TYPE_WC << EPT_TYPE_SHIFT)
#define EPT_TYPE_WB ((uint64_t)MTRR_TYPE_WB << EPT_TYPE_SHIFT)
#define EPT_LARGE BIT(7)

static uint64_t ept_leaf(uint64_t pa, unsigned level, uint32_t attrs)
{
	uint64_t entry = pa;

	if (level != PT_LEVEL_4K)
		entry |= EPT_LARGE;
	if (attrs & PT_READ)
		entry |= EPT_READ;
	if (attrs & PT_WRITE)
		entry |= EPT_WRITE;
	if (attrs & PT_EXEC)
		entry |= EPT_EXEC;
	if (attrs & PT_UC)
		entry |= EPT_TYPE_UC;
	else if (attrs & PT_WC)
		entry |= EPT_TYPE_WC;
	else
		entry |= EPT_TYPE_WB;
	return entry;
}

static uint64_t ept_table(uint64_t pa)
{
	return pa | EPT_READ | EPT_WRITE | EPT_EXEC;
}

static bool ept_present(uint64_t entry)
{
	return entry & (EPT_READ | EPT_WRITE | EPT_EXEC);
}

static bool ept_is_leaf(uint64_t entry, unsigned level)
{
	return level == PT_LEVEL_4K || (level <= PT_LEVEL_1G && (entry & EPT_LARGE));
}

static uint64_t ept_leaf_pa(uint64_t entry, unsigned level)
{
	(void)level;
	return entry & PTE_ADDRESS;
}

static uint64_t ept_table_pa(uint64_t entry)
{
	return entry & PTE_ADDRESS;
}

static uint32_t ept_attrs(uint64_t entry, unsigned level)
{
	uint32_t attrs = 0;

	(void)level;
	if (entry & EPT_READ)
		attrs |= PT_READ;
	if (entry & EPT_WRITE)
		attrs |= PT_WRITE;
	if (entry & EPT_EXEC)
		attrs |= PT_EXEC;
	if ((entry & EPT_TYPE_MASK) == EPT_TYPE_UC)
		attrs |= PT_UC;
	else if ((entry & EPT_TYPE_MASK) == EPT_TYPE_WC)
		attrs |= PT_WC;
	return attrs;
}

const struct page_table_policy policy_ept = {
	.name = "EPT",
	.leaf = ept_leaf,
	.table = ept_table,
	.present = ept_present,
	.is_leaf = ept_is_leaf,
	.leaf_pa = ept_leaf_pa,
	.table_pa = ept_table_pa,
	.attrs = ept_attrs,
	.attrs_allowed = PT_READ | PT_WRITE | PT_EXEC | PT_UC | PT_WC,
	.exec_only = true,
	.max_leaf_level = PT_LEVEL_1G,
};

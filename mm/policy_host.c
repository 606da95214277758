/* The policy for Lamina's own page tables: what the entries of 4-level paging look like (SDM vol. 3, "4-Level Paging"). */
#include "lib/x86/paging.h"
#include "mm/page_table.h"

static uint64_t pat_bit(unsigned level)
{
	return level == PT_LEVEL_4K ? PTE_PAT : PTE_PAT_LARGE;
}

/* Accessed and dirty are set beforehand, which saves the CPU its locked updates: nobody reads them in Lamina's own tables. */
static uint64_t host_leaf(uint64_t pa, unsigned level, uint32_t attrs)
{
	uint64_t entry = pa | PTE_P | PTE_A;

	if (level != PT_LEVEL_4K)
		entry |= PTE_PS;
	if (attrs & PT_WRITE)
		entry |= PTE_W | PTE_D;
	if (!(attrs & PT_EXEC))
		entry |= PTE_NX;
	if (attrs & PT_GLOBAL)
		entry |= PTE_G;
	if (attrs & PT_UC)
		entry |= PTE_PCD | PTE_PWT; /* PAT entry 3 */
	if (attrs & PT_WC)
		entry |= pat_bit(level);      /* PAT entry 4 */
	return entry;
}

/* Rights are the leaf's alone. */
static uint64_t host_table(uint64_t pa)
{
	return pa | PTE_P | PTE_W | PTE_A;
}

static bool host_present(uint64_t entry)
{
	return entry & PTE_P;
}

static bool host_is_leaf(uint64_t entry, unsigned level)
{
	return level == PT_LEVEL_4K || (level <= PT_LEVEL_1G && (entry & PTE_PS));
}

static uint64_t host_leaf_pa(uint64_t entry, unsigned level)
{
	return level == PT_LEVEL_4K ? entry & PTE_ADDRESS : entry & PTE_ADDRESS & ~PTE_PAT_LARGE;
}

static uint64_t host_table_pa(uint64_t entry)
{
	return entry & PTE_ADDRESS;
}

static uint32_t host_attrs(uint64_t entry, unsigned level)
{
	uint32_t attrs = PT_READ;

	if (entry & PTE_W)
		attrs |= PT_WRITE;
	if (!(entry & PTE_NX))
		attrs |= PT_EXEC;
	if (entry & PTE_G)
		attrs |= PT_GLOBAL;
	if (entry & pat_bit(level))
		attrs |= PT_WC;
	else if (entry & PTE_PCD)
		attrs |= PT_UC;
	return attrs;
}

const struct page_table_policy policy_host = {
	.name = "host",
	.leaf = host_leaf,
	.table = host_table,
	.present = host_present,
	.is_leaf = host_is_leaf,
	.leaf_pa = host_leaf_pa,
	.table_pa = host_table_pa,
	.attrs = host_attrs,
	.attrs_allowed = PT_READ | PT_WRITE | PT_EXEC | PT_GLOBAL | PT_UC | PT_WC,
	.canonical = true,
	.max_leaf_level = PT_LEVEL_1G,
};

/* The policy for AMD-V's nested page tables: what their entries look like. */
#include "lib/x86/paging.h"
#include "mm/page_table.h"

/* APM vol. 2, "Nested Page Tables": the format of long-mode tables. A nested walk's accesses count as user accesses, so every entry has
 * the user bit; the guest's own PAT combines with the type that these entries choose by the host's PAT, whose entry 4 is WC. */

static uint64_t pat_bit(unsigned level)
{
	return level == PT_LEVEL_4K ? PTE_PAT : PTE_PAT_LARGE;
}

/* Accessed and dirty (bits 5 and 6) are the CPU's to set: they say what a guest has used. */
static uint64_t npt_leaf(uint64_t pa, unsigned level, uint32_t attrs)
{
	uint64_t entry = pa | PTE_P | PTE_U;

	if (level != PT_LEVEL_4K)
		entry |= PTE_PS;
	if (attrs & PT_WRITE)
		entry |= PTE_W;
	if (!(attrs & PT_EXEC))
		entry |= PTE_NX;
	if (attrs & PT_UC)
		entry |= PTE_PCD | PTE_PWT; /* PAT entry 3 */
	if (attrs & PT_WC)
		entry |= pat_bit(level);    /* PAT entry 4 */
	return entry;
}

/* Rights are the leaf's alone. */
static uint64_t npt_table(uint64_t pa)
{
	return pa | PTE_P | PTE_W | PTE_U;
}

static bool npt_present(uint64_t entry)
{
	return entry & PTE_P;
}

static bool npt_is_leaf(uint64_t entry, unsigned level)
{
	return level == PT_LEVEL_4K || (level <= PT_LEVEL_1G && (entry & PTE_PS));
}

static uint64_t npt_leaf_pa(uint64_t entry, unsigned level)
{
	return level == PT_LEVEL_4K ? entry & PTE_ADDRESS : entry & PTE_ADDRESS & ~PTE_PAT_LARGE;
}

static uint64_t npt_table_pa(uint64_t entry)
{
	return entry & PTE_ADDRESS;
}

static uint32_t npt_attrs(uint64_t entry, unsigned level)
{
	uint32_t attrs = PT_READ;

	if (entry & PTE_W)
		attrs |= PT_WRITE;
	if (!(entry & PTE_NX))
		attrs |= PT_EXEC;
	if (entry & pat_bit(level))
		attrs |= PT_WC;
	else if (entry & PTE_PCD)
		attrs |= PT_UC;
	return attrs;
}

const struct page_table_policy policy_npt = {
	.name = "NPT",
	.leaf = npt_leaf,
	.table = npt_table,
	.present = npt_present,
	.is_leaf = npt_is_leaf,
	.leaf_pa = npt_leaf_pa,
	.table_pa = npt_table_pa,
	.attrs = npt_attrs,
	.attrs_allowed = PT_READ | PT_WRITE | PT_EXEC | PT_UC | PT_WC,
	.max_leaf_level = PT_LEVEL_1G,
};

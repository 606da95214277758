#include "mm/page_table.h"

/* SDM vol. 3, "4-Level Paging": formats of the entries. */
#define HOST_PRESENT BIT(0)
#define HOST_WRITE BIT(1)
#define HOST_PWT BIT(3)
#define HOST_PCD BIT(4)
#define HOST_ACCESSED BIT(5)
#define HOST_DIRTY BIT(6)
#define HOST_PAGE_SIZE BIT(7)  /* in a PDE or PDPTE: a leaf */
#define HOST_PAT_4K BIT(7)     /* in a PTE */
#define HOST_GLOBAL BIT(8)
#define HOST_PAT_LARGE BIT(12) /* in a leaf PDE or PDPTE */
#define HOST_NX BIT(63)
#define HOST_ADDRESS 0x000ffffffffff000ULL

static uint64_t pat_bit(unsigned level)
{
	return level == PT_LEVEL_4K ? HOST_PAT_4K : HOST_PAT_LARGE;
}

/* Accessed and dirty are set beforehand, which saves the CPU its locked updates: nobody reads them in Lamina's own tables. */
static uint64_t host_leaf(uint64_t pa, unsigned level, uint32_t attrs)
{
	uint64_t entry = pa | HOST_PRESENT | HOST_ACCESSED;

	if (level != PT_LEVEL_4K)
		entry |= HOST_PAGE_SIZE;
	if (attrs & PT_WRITE)
		entry |= HOST_WRITE | HOST_DIRTY;
	if (!(attrs & PT_EXEC))
		entry |= HOST_NX;
	if (attrs & PT_GLOBAL)
		entry |= HOST_GLOBAL;
	if (attrs & PT_UC)
		entry |= HOST_PCD | HOST_PWT; /* PAT entry 3 */
	if (attrs & PT_WC)
		entry |= pat_bit(level);      /* PAT entry 4 */
	return entry;
}

/* Rights are the leaf's alone. */
static uint64_t host_table(uint64_t pa)
{
	return pa | HOST_PRESENT | HOST_WRITE | HOST_ACCESSED;
}

static bool host_present(uint64_t entry)
{
	return entry & HOST_PRESENT;
}

static bool host_is_leaf(uint64_t entry, unsigned level)
{
	return level == PT_LEVEL_4K || (level <= PT_LEVEL_1G && (entry & HOST_PAGE_SIZE));
}

static uint64_t host_leaf_pa(uint64_t entry, unsigned level)
{
	return level == PT_LEVEL_4K ? entry & HOST_ADDRESS : entry & HOST_ADDRESS & ~HOST_PAT_LARGE;
}

static uint64_t host_table_pa(uint64_t entry)
{
	return entry & HOST_ADDRESS;
}

static uint32_t host_attrs(uint64_t entry, unsigned level)
{
	uint32_t attrs = PT_READ;

	if (entry & HOST_WRITE)
		attrs |= PT_WRITE;
	if (!(entry & HOST_NX))
		attrs |= PT_EXEC;
	if (entry & HOST_GLOBAL)
		attrs |= PT_GLOBAL;
	if (entry & pat_bit(level))
		attrs |= PT_WC;
	else if (entry & HOST_PCD)
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

#include "mm/page_table.h"

/* APM vol. 2, "Nested Page Tables": the format of long-mode tables. A nested walk's accesses count as user ones, so every entry has the
 * user bit; the guest's own PAT combines with the type that these entries choose by the host's PAT, whose entry 4 is WC. */
#define NPT_PRESENT BIT(0)
#define NPT_WRITE BIT(1)
#define NPT_USER BIT(2)
#define NPT_PWT BIT(3)
#define NPT_PCD BIT(4)
#define NPT_PAGE_SIZE BIT(7)  /* in a PDE or PDPTE: a leaf */
#define NPT_PAT_4K BIT(7)     /* in a PTE */
#define NPT_PAT_LARGE BIT(12) /* in a leaf PDE or PDPTE */
#define NPT_NX BIT(63)
#define NPT_ADDRESS 0x000ffffffffff000ULL

static uint64_t pat_bit(unsigned level)
{
	return level == PT_LEVEL_4K ? NPT_PAT_4K : NPT_PAT_LARGE;
}

/* Accessed and dirty (bits 5 and 6) are the CPU's to set: they say what a guest has used. */
static uint64_t npt_leaf(uint64_t pa, unsigned level, uint32_t attrs)
{
	uint64_t entry = pa | NPT_PRESENT | NPT_USER;

	if (level != PT_LEVEL_4K)
		entry |= NPT_PAGE_SIZE;
	if (attrs & PT_WRITE)
		entry |= NPT_WRITE;
	if (!(attrs & PT_EXEC))
		entry |= NPT_NX;
	if (attrs & PT_UC)
		entry |= NPT_PCD | NPT_PWT; /* PAT entry 3 */
	if (attrs & PT_WC)
		entry |= pat_bit(level);    /* PAT entry 4 */
	return entry;
}

/* Rights are the leaf's alone. */
static uint64_t npt_table(uint64_t pa)
{
	return pa | NPT_PRESENT | NPT_WRITE | NPT_USER;
}

static bool npt_present(uint64_t entry)
{
	return entry & NPT_PRESENT;
}

static bool npt_is_leaf(uint64_t entry, unsigned level)
{
	return level == PT_LEVEL_4K || (level <= PT_LEVEL_1G && (entry & NPT_PAGE_SIZE));
}

static uint64_t npt_leaf_pa(uint64_t entry, unsigned level)
{
	return level == PT_LEVEL_4K ? entry & NPT_ADDRESS : entry & NPT_ADDRESS & ~NPT_PAT_LARGE;
}

static uint64_t npt_table_pa(uint64_t entry)
{
	return entry & NPT_ADDRESS;
}

static uint32_t npt_attrs(uint64_t entry, unsigned level)
{
	uint32_t attrs = PT_READ;

	if (entry & NPT_WRITE)
		attrs |= PT_WRITE;
	if (!(entry & NPT_NX))
		attrs |= PT_EXEC;
	if (entry & pat_bit(level))
		attrs |= PT_WC;
	else if (entry & NPT_PCD)
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

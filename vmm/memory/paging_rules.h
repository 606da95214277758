/* The guest's paging rules: what a processor reads in page-table entries (SDM vol. 3, "Paging"). They say which bits are reserved, which
 * entries map a page and which page, who may use it, which flags an access sets, and what a page fault's error code tells.
 *
 * Whoever walks the guest's tables, for the emulator (guest_walk.c) or for shadow tables (vmm/shadow/), asks here, so that both come to
 * the same answer. All of it is inline, as each page fault under shadow paging runs through it, and none of it touches guest memory but
 * paging_set_flags(). `wide` stands for entries of 8 bytes (PAE, 4-level and 5-level paging) as against 32-bit paging's 4 bytes. */
#ifndef VMM_MEMORY_PAGING_RULES_H
#define VMM_MEMORY_PAGING_RULES_H

#include "lib/types.h"
#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "vmm/memory/guest_walk.h"

enum paging_format {
	PAGING_OFF,   /* linear addresses are guest-physical addresses */
	PAGING_32BIT,
	PAGING_PAE,
	PAGING_LONG,  /* 4-level and 5-level paging */
};

/* An access that a translation is for. It reads where it neither writes nor fetches an instruction. */
struct paging_access {
	bool write;
	bool fetch;
	bool user;       /* a user-mode access, which an implicit access (to a descriptor table, say) never is */
	bool smap_lifts; /* a supervisor-mode access that SMAP lets through: RFLAGS.AC is set and the access is explicit */
};

/* The format of the tables that these control registers select. */
static inline enum paging_format paging_format(const struct guest_paging *paging)
{
	if (!(paging->cr0 & CR0_PG))
		return PAGING_OFF;
	if (paging->efer & EFER_LMA)
		return PAGING_LONG;
	return paging->cr4 & CR4_PAE ? PAGING_PAE : PAGING_32BIT;
}

/* Whether bit 63 of an entry forbids instruction fetches; else the bit is reserved, or the entries are too small to have it. */
static inline bool paging_has_nx(const struct guest_paging *paging)
{
	return (paging->cr4 & CR4_PAE) && (paging->efer & EFER_NXE);
}

/* Whether all bits above the highest bit that is translated equal it. `bits`: 48, or 57 with 5-level paging. */
static inline bool paging_canonical(uint64_t linear, unsigned bits)
{
	return (uint64_t)((int64_t)(linear << (64 - bits)) >> (64 - bits)) == linear;
}

/* The bits that must be 0 in every present entry of a table, whatever its level. */
static inline uint64_t paging_reserved(enum paging_format format, unsigned maxphyaddr, bool nx)
{
	uint64_t reserved = (PTE_ADDRESS & ~(BIT(maxphyaddr) - 1)) | (nx ? 0 : PTE_NX);

	if (format == PAGING_32BIT)
		return 0;
	/* 4-level paging ignores bits 62:52 (or has a protection key there); PAE paging does not. */
	return format == PAGING_PAE ? reserved | (~PTE_ADDRESS & PAGE_MASK & ~PTE_NX) : reserved;
}

/* The bits that must be 0 in a present one of the four entries that PAE paging loads with CR3 ("PDPTE Registers"). */
static inline uint64_t paging_pdpte_reserved(unsigned maxphyaddr)
{
	return PDPTE_RESERVED_LOW | ~(BIT(maxphyaddr) - 1);
}

/* Whether a present entry of a table at `level` maps a page; else it leads to the next table. `large`: tables above level 1 can map pages,
 * as wide entries and, with CR4.PSE, 32-bit paging's can. */
static inline bool paging_maps_page(bool large, unsigned level, uint64_t entry)
{
	return level == 1 || ((entry & PTE_PS) && large);
}

/* The bits of a wide entry above level 1 that lie below the address of the page it maps and must be 0. Bit 12 is none: it is PAT. */
static inline uint64_t paging_large_reserved(unsigned level)
{
	return (page_table_leaf_size(level) - 1) & ~(uint64_t)0x1fff;
}

/* The page that an entry above level 1 maps: its guest-physical address and its size in bytes. Returns false where bits are set that are
 * reserved in such an entry, besides those of paging_reserved(). */
static inline bool paging_large_page(bool wide, unsigned level, unsigned maxphyaddr, uint64_t entry, uint64_t *page, uint64_t *size)
{
	if (!wide) {
		/* PSE-36: bits 20:13 are the address's bits 39:32 as far as the CPU has them, and bit 21 is always reserved. */
		unsigned width = MAX(MIN(maxphyaddr, 40U), 32U);

		if (entry & (BIT(21) | (0x1fe000U & ~((1U << (width - 32 + 13)) - 1))))
			return false;
		*page = (entry & 0xffc00000U) | (entry & 0x1fe000) << 19;
		*size = MIB(4);
		return true;
	}
	/* Tables above level 3 map no pages: PS is reserved there. */
	if (level > 3 || (entry & paging_large_reserved(level)))
		return false;
	*size = page_table_leaf_size(level);
	*page = entry & PTE_ADDRESS & ~(*size - 1);
	return true;
}

/* Whether the entries that lead to a page let it be accessed ("Determination of Access Rights"), protection keys apart. `in_all` is the
 * AND of all these entries, of which PTE_W and PTE_U count, and `in_any` their OR, of which PTE_NX counts: bit 63 must have been
 * found reserved where paging_has_nx() is false. */
static inline bool paging_allows(const struct guest_paging *paging, const struct paging_access *access, uint64_t in_all, uint64_t in_any)
{
	if (access->user && !(in_all & PTE_U))
		return false;
	if (access->fetch) {
		if (in_any & PTE_NX)
			return false;
		return access->user || !(in_all & PTE_U) || !(paging->cr4 & CR4_SMEP);
	}
	if (access->write && !(in_all & PTE_W) && (access->user || (paging->cr0 & CR0_WP)))
		return false;
	return access->user || access->smap_lifts || !(in_all & PTE_U) || !(paging->cr4 & CR4_SMAP);
}

/* Whether PKRU lets the page that `entry` maps be accessed ("Protection Keys"); in_all as above. */
static inline bool paging_key_allows(const struct guest_paging *paging, const struct paging_access *access, uint64_t in_all, uint64_t entry)
{
	unsigned denied = paging->pkru >> (2 * PTE_PKEY(entry));

	if (!(paging->cr4 & CR4_PKE) || !(paging->efer & EFER_LMA) || access->fetch || !(in_all & PTE_U))
		return true;
	if (denied & PKRU_ACCESS_DISABLE)
		return false;
	return !(denied & PKRU_WRITE_DISABLE) || !access->write || (!access->user && !(paging->cr0 & CR0_WP));
}

/* The error code of a page fault ("Page-Fault Exceptions"). `cause`: the PF_ bits that the entries decide: 0 where one is not present,
 * else PF_PRESENT, perhaps with PF_RESERVED or PF_PROTECTION_KEY. */
static inline uint32_t paging_fault_error(const struct guest_paging *paging, const struct paging_access *access, uint32_t cause)
{
	if (access->write)
		cause |= PF_WRITE;
	if (access->user)
		cause |= PF_USER;
	if (access->fetch && (paging_has_nx(paging) || (paging->cr4 & CR4_SMEP)))
		cause |= PF_FETCH;
	return cause;
}

/* What an entry on the way of an access that is allowed becomes ("Accessed and Dirty Flags"). `maps_page`: it is the last one. */
static inline uint64_t paging_with_flags(uint64_t entry, bool maps_page, bool write)
{
	return entry | PTE_A | (write && maps_page ? PTE_D : 0);
}

/* Change the guest's entry from `old` to `new` in one step, as its other CPUs and devices may be writing too. Returns false, and changes
 * nothing, where it is not `old` any more. */
static inline bool paging_set_flags(void *entry, bool wide, uint64_t old, uint64_t new)
{
	uint32_t old32 = (uint32_t)old;

	if (wide)
		return __atomic_compare_exchange_n((uint64_t *)entry, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n((uint32_t *)entry, &old32, (uint32_t)new, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

#endif

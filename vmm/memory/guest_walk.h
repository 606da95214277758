/* A walk of the guest's own page tables, as the guest's CPU would do it (SDM vol. 3, "Paging"). What their entries mean is said in
 * paging_rules.h. */
#ifndef VMM_MEMORY_GUEST_WALK_H
#define VMM_MEMORY_GUEST_WALK_H

#include "lib/types.h"
#include "lib/x86/paging.h"
#include "vmm/memory/guest_memory.h"

/* What a translation depends on besides memory. */
struct guest_paging {
	uint64_t cr0, cr3, cr4, efer;
	uint64_t pdpte[4];   /* PAE paging only: the four entries that MOV to CR3 loaded */
	uint32_t pkru;       /* CR4.PKE only */
	unsigned cpl;
	bool rflags_ac;
	unsigned maxphyaddr; /* as the guest's CPUID says, 32..52 */
};

/* What kind of access a walk is for; it is a user-mode access where CPL is 3 or WALK_USER is given. */
enum {
	WALK_READ = 0,          /* neither WRITE nor EXEC */
	WALK_WRITE = 1 << 0,
	WALK_EXEC = 1 << 1,
	WALK_USER = 1 << 2,
	WALK_IMPLICIT = 1 << 3, /* supervisor-mode at any CPL, as for descriptor tables */
	WALK_SET_AD = 1 << 4,   /* set accessed and dirty flags in the guest's entries, as the CPU does */
};

/* Translate `linear`, whatever the paging mode. Returns 0 with *gpa, and *page_size in bytes (the pointers to page size and error code
 * may be NULL); ERR_NOENT: a page fault, *pf_error is its error code; ERR_INVALID: not canonical (#GP, or #SS for a
 * stack access); ERR_RANGE: a paging structure lies outside RAM; ERR_BUSY: other CPUs keep changing the entries, try again.
 * *gpa need not be RAM. */
int guest_walk(const struct guest_memory *mem, const struct guest_paging *paging, uint64_t linear, unsigned access, uint64_t *gpa,
	       uint32_t *pf_error, uint64_t *page_size);

#endif

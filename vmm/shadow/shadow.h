/* The shadow MMU: page tables for the hardware, made from the guest's own (SDM vol. 3, "Paging"; and "VMX Support for Address
 * Translation" on why the guest's tables cannot be used as they are). It is used where there is no nested paging, or none is wanted.
 *
 * While a guest is in IA-32e mode the hardware runs on a 4-level table that is shared by all vCPUs with the same guest root; in legacy
 * mode, with paging or without, it runs on a page with four PDPTEs of the vCPU's own, in PAE format. The engine runs the guest with CR0.PG
 * and CR0.WP set, CR4.PAE set, CR4.PSE and CR4.PGE as the guest's, CR4.PKE, CR4.LA57 and CR4.PCIDE clear, EFER.NXE set, CR4.SMEP and CR4.SMAP as
 * the guest's (clear while the guest's CR0.PG is), the TLB tagged for each vCPU (VPID or ASID), and all page faults, INVLPG, and
 * writes to CR0, CR3, CR4 and EFER intercepted.
 *
 * The engine, before each entry: loads `root` where shadow_load_cr3() or shadow_set_paging() was called since the last entry, and
 * where `flush` is not 0, takes it with shadow_take_flush() and carries it out for the vCPU's tag. In legacy mode the PDPTEs must be
 * loaded from `root` at each entry (VT-x does). */
#ifndef VMM_SHADOW_SHADOW_H
#define VMM_SHADOW_SHADOW_H

#include "lib/spinlock.h"
#include "lib/types.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/memory/guest_walk.h"

#define SHADOW_VCPUS_MAX 64
#define SHADOW_PAGES_MAX (1U << 20)
#define SHADOW_PAGES_MIN 64 /* tables for the longest walk several times over, so that reclaim always finds some */

/* What the hardware's TLB must forget of this vCPU's tag, weakest first. */
enum shadow_flush {
	SHADOW_FLUSH_NONE,
	SHADOW_FLUSH_ADDRESS,   /* INVLPG's address (INVVPID type 0); only shadow_invlpg() returns it */
	SHADOW_FLUSH_NONGLOBAL, /* all but global pages (INVVPID type 3; type 1 will do) */
	SHADOW_FLUSH_ALL,       /* INVVPID type 1 */
};

/* What a page fault was. */
enum shadow_verdict {
	SHADOW_RESOLVED, /* of the shadow tables only, the guest must not know: run the guest again */
	SHADOW_UNSYNCED, /* a write to a leaf page table, which may now be written: run the guest again */
	SHADOW_REFLECT,  /* the guest's own: #PF with the error code given and the linear address in CR2 */
	SHADOW_MMIO,     /* allowed, but there is no RAM at the guest-physical address: emulate the instruction */
	SHADOW_EMULATE,  /* a write to a traced page table, or a write that CR0.WP = 0 alone allows: emulate the instruction,
	                  * then call shadow_written() */
};

struct shadow_fault {
	uint32_t error; /* SHADOW_REFLECT: the error code for the guest */
	uint64_t gpa;   /* SHADOW_MMIO, SHADOW_EMULATE, SHADOW_UNSYNCED: the access's guest-physical address */
};

struct shadow_stats {
	uint64_t reflected, resolved, unsynced, emulated, mmio; /* page faults, by verdict */
	uint64_t cr3_same, cr3_cached, cr3_new;  /* loads of CR3: the root was the same, was found among the tables, was made */
	uint64_t invlpg;
	uint64_t resyncs, resynced_entries;      /* leaf tables compared with the guest's; entries that differed */
	uint64_t writes_seen;                    /* guest entries looked at for shadow_written() */
	uint64_t tables_made, tables_reclaimed, tables_dropped;
	uint64_t remote_flushes;
};

struct shadow_page;

/* What shadow_init() needs. */
struct shadow_config {
	const struct guest_memory *mem;
	/* The memory for tables: contiguous, page-aligned, at least SHADOW_PAGES_MIN pages and 3 for each vCPU, at most
	 * SHADOW_PAGES_MAX. It bounds what shadow paging takes, and the user can set it. */
	void *tables;
	uint64_t tables_phys; /* their host-physical address */
	unsigned table_pages;
	/* Zeroed memory for book-keeping, 64-byte aligned: shadow_meta_size() bytes. */
	void *meta;
	uint64_t meta_size;
	unsigned vcpus;
	bool pages_1g; /* the CPU has 1 GiB pages */
	/* Host-physical address of `gpa`, and *size: PAGE_SIZE, MIB(2) or GIB(1), where the naturally aligned block of this size around gpa
	 * is backed by a block that is aligned alike. Returns false where the VM has no memory: then an access is MMIO.
	 * It may name pages that are not in `mem` (the APIC-access page): they are mapped but cannot hold page tables. */
	bool (*to_hpa)(void *ctx, uint64_t gpa, uint64_t *hpa, uint64_t *size);
	/* If vCPU `index` runs guest code, make it leave the guest, and return when it has. It may not enter the guest again before it
	 * has seen its `flush`. Called with the MMU's lock held, never for the caller's own vCPU. NULL where there is one vCPU. */
	void (*kick)(void *ctx, unsigned index);
	void *ctx;
};

/* One vCPU's view. The engine reads root and flush; all else is the shadow MMU's own. */
struct shadow_vcpu {
	uint32_t flush;             /* atomic: enum shadow_flush due before the next entry */
	uint64_t root;              /* host-physical address for the hardware's CR3 */
	struct shadow_mmu *mmu;
	unsigned index;
	uint32_t role;              /* the part of the paging state that the shadow tables depend on: ROLE_ bits */
	struct guest_paging paging; /* the guest's */
	struct shadow_page *root_page;     /* the table at `root` */
	struct shadow_page *previous_root; /* the root before it, which may have been dropped since; NULL: none yet */
	struct shadow_page *pdpte_page;    /* this vCPU's page with the four PDPTEs of legacy mode */
	/* What the last fault in each half of the address space found: the next fault is often beside it. It holds while `link_changes`
	 * and the root are the same. */
	struct shadow_last {
		uint64_t block;             /* linear address / 2 MiB */
		uint64_t link_changes;      /* mmu->link_changes at that time */
		uint64_t in_all, in_any;    /* AND and OR of the guest's entries above the leaf table */
		struct shadow_page *root;   /* NULL: there was no fault yet */
		struct shadow_page *page;   /* the leaf table */
	} last[2];
	uint64_t flushed_entry_changes; /* mmu->entry_changes when the TLB last forgot all that is not global */
	uint64_t flushed_upper_changes; /* mmu->upper_changes when the whole TLB was last flushed */
};

/* A VM's shadow tables. All of it is the shadow MMU's own, but for `stats`, which may be read. */
struct shadow_mmu {
	struct spinlock lock;
	struct shadow_config config;
	struct shadow_stats stats;
	struct shadow_vcpu *vcpu[SHADOW_VCPUS_MAX];
	struct shadow_page *pages;       /* one for each page of tables, then one for each vCPU's PDPTEs */
	uint32_t *hash;                  /* tables by the address of the guest's: the first page number of each bucket */
	unsigned hash_shift;
	uint32_t *frames;                /* reverse map: for each page of RAM, then each 2 MiB and each 1 GiB block, its writable mappings */
	uint32_t *tables_in_block;       /* how many guest page tables lie in each of those blocks; [0] is that of frames[first_block] */
	uint32_t first_block;
	struct { uint64_t gpa, size; uint8_t *base; uint32_t first[3]; } region[GUEST_REGIONS_MAX]; /* first: in frames, by level */
	unsigned region_count;
	struct { uint64_t gpa, mask, hpa, size; } block; /* the block that config.to_hpa found last; mask 0: none yet */
	uint32_t free_pages, free_count; /* a list, and its length */
	uint32_t reclaim_next;           /* the page where reclaim goes on */
	uint32_t unsynced;               /* ring of the leaf tables that are out of sync, newest first; 0: none */
	unsigned unsynced_count;
	bool writable_unflushed;         /* a TLB may hold writable translations that no shadow entry has any more */
	bool retired;                    /* pages were freed that a TLB may still lead to */
	uint32_t epoch;                  /* counts loads of CR3 */
	uint64_t entry_changes;          /* counts changes of entries that a TLB may not know */
	uint64_t upper_changes;          /* counts those of them above the leaf tables, which INVLPG of one address may not reach */
	uint64_t link_changes;           /* counts links that went or changed */
	unsigned maxphyaddr;
	uint64_t reserved[4][2];         /* paging_reserved() of the guest's entries, by format and EFER.NXE */
};

/* Bytes of book-keeping memory for a VM with this RAM and so many pages of tables and vCPUs; 0 where the RAM is too large for it. */
uint64_t shadow_meta_size(const struct guest_memory *mem, unsigned table_pages, unsigned vcpus);

/* Prepare a VM's shadow MMU; no guest RAM may be added later. Each vCPU's PDPTEs take a page of the tables, which for VT-x and AMD-V
 * must lie below 4 GiB: they are the first ones. Returns 0, ERR_INVALID or ERR_RANGE (tables_phys too high). */
int shadow_init(struct shadow_mmu *mmu, const struct shadow_config *config);

/* Add a vCPU, 0 <= index < config.vcpus; it starts without paging. Returns 0 or ERR_INVALID (no such index, or added before). */
int shadow_vcpu_init(struct shadow_vcpu *sv, struct shadow_mmu *mmu, unsigned index);

/* Drop all tables and the vCPUs' state, as for a VM's reset: no vCPU may be running guest code. Each then starts without paging. */
void shadow_reset(struct shadow_mmu *mmu);

/* The guest's CR0, CR3, CR4 or EFER changed, by whatever means: `paging` holds the new values (cpl, rflags_ac and pkru do not count).
 * In PAE paging, pdpte must be what the CPU would have loaded: see shadow_read_pdptes(). A change of CR0.PG, CR4.PAE or CR4.PGE flushes
 * everything; a change that affects no translation costs little. */
void shadow_set_paging(struct shadow_vcpu *sv, const struct guest_paging *paging);

/* The guest wrote CR3 and nothing else; it is a flush point even when the value is the same. Returns the enum shadow_flush that the engine
 * must carry out for it, or ERR_INVALID where PAE paging finds reserved bits in the PDPTEs that are present: nothing has changed, and the
 * guest gets #GP(0). */
int shadow_load_cr3(struct shadow_vcpu *sv, uint64_t cr3);

/* The four PDPTEs that PAE paging loads from `cr3` (SDM vol. 3, "PDPTE Registers"); what lies outside RAM reads as not present.
 * Returns 0 or ERR_INVALID (reserved bits: #GP(0)). */
int shadow_read_pdptes(const struct shadow_mmu *mmu, uint64_t cr3, unsigned maxphyaddr, uint64_t pdpte[4]);

/* A page fault in the guest: the linear address and error code as the hardware gave them. `ac`: RFLAGS.AC was 1 and CPL below 3 (only
 * looked at where the guest has CR4.SMAP). */
enum shadow_verdict shadow_page_fault(struct shadow_vcpu *sv, uint64_t linear, uint32_t error, bool ac, struct shadow_fault *fault);

/* INVLPG (the engine has checked CPL). Returns what the engine must flush for it: SHADOW_FLUSH_NONE for an address that is not
 * canonical. */
enum shadow_flush shadow_invlpg(struct shadow_vcpu *sv, uint64_t linear);

/* Bring every table in line with the guest's and flush the vCPU's whole TLB, as a change of CR4.PGE does. */
void shadow_flush_all(struct shadow_vcpu *sv);

/* Guest memory [gpa, gpa+size) has been written by the emulator or by a device. `sv` is the vCPU on whose behalf it was written, or NULL
 * for a device. Ranges that hold no page table, RAM or not, cost little. */
void shadow_written(struct shadow_mmu *mmu, struct shadow_vcpu *sv, uint64_t gpa, uint64_t size);

/* A large part of the traced page around gpa is about to be overwritten: most often the page holds no page table any more. Returns true
 * where its shadow tables could be dropped, so that the guest's writes go through. */
bool shadow_rewritten(struct shadow_mmu *mmu, uint64_t gpa);

/* Host-physical address that the vCPU's shadow tables map `linear` to in long mode, or ~0 where they have no entry (yet). Takes no lock: another
 * vCPU may be changing them, as under the hardware. */
uint64_t shadow_lookup(const struct shadow_vcpu *sv, uint64_t linear);

/* Take the flush that is due. Call it before entry, on the vCPU's core, where `flush` is not 0. */
static inline enum shadow_flush shadow_take_flush(struct shadow_vcpu *sv)
{
	return (enum shadow_flush)__atomic_exchange_n(&sv->flush, 0, __ATOMIC_SEQ_CST);
}

/* Check all links, lists, counts and the reverse map against each other (for tests; slow). Returns NULL, or what is wrong. */
const char *shadow_check(struct shadow_mmu *mmu);

#endif

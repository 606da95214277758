/* A guest with shadow page tables, modelled: its RAM, the hardware that walks the shadow tables through a TLB which only the shadow
 * MMU's own orders flush, and what a walk of the guest's tables gives for comparison. */
#ifndef TESTS_UNIT_SHADOW_MODEL_H
#define TESTS_UNIT_SHADOW_MODEL_H

#include "lib/x86/paging.h"
#include "vmm/shadow/shadow.h"

/* Bits of the guest's entries. */
#define P PTE_P
#define W PTE_W
#define U PTE_U
#define A PTE_A
#define D PTE_D
#define PS PTE_PS
#define G PTE_G
#define NX PTE_NX

#define MODEL_VCPUS 2
#define MODEL_TABLES 24   /* guest pages that the histories use as page tables */
#define MODEL_LOW_SIZE 0xa0000ULL
#define MODEL_MID_START MIB(1)
#define MODEL_MID_SIZE MIB(7)
#define MODEL_BIG_START GIB(1)
#define MODEL_BIG_SIZE GIB(1)
#define MODEL_SCATTERED MIB(6)  /* this 2 MiB block is backed by single pages in another order */
#define MODEL_HPA 0x40000000000ULL /* where the guest's RAM lies, plus its guest-physical address */
#define MODEL_TABLES_PHYS 0x7f000000ULL
#define MODEL_TLB 256

struct model_tlb {
	bool valid, global;
	uint64_t page;            /* linear address of the 4 KiB */
	uint64_t hpa, entry;      /* rights: AND of W and U, OR of NX */
	uint64_t base, size;      /* of the translation that it came from */
	unsigned cache;           /* PAT index */
};

struct model_vcpu {
	struct shadow_vcpu sv;
	enum shadow_flush cr3_flush; /* what the last load of CR3 asked for */
	struct guest_paging paging;
	struct model_tlb tlb[MODEL_TLB];
	bool stale;               /* the guest has changed entries since it last flushed */
};

/* What an access came to. */
enum model_result { MODEL_OK, MODEL_FAULT, MODEL_MMIO, MODEL_EMULATE, MODEL_LOOP };

struct model_access {
	enum model_result result;
	uint64_t hpa, gpa;        /* OK: hpa; MMIO, EMULATE: gpa */
	uint32_t error;
	unsigned faults;          /* that the handler saw */
	unsigned cache;
};

extern struct guest_memory model_memory;
extern struct shadow_mmu model_mmu;
extern struct model_vcpu model_vcpu[MODEL_VCPUS];
extern uint64_t model_table[MODEL_TABLES];
extern unsigned model_kicks;
extern void (*model_hook)(void); /* called, once, when the shadow MMU asks for an address: something happens meanwhile */

void model_init(unsigned table_pages, bool pages_1g);
void model_free(void);

uint64_t model_random(void);
void model_seed(uint64_t seed);
extern uint64_t (*model_random_source)(void); /* where not NULL: what model_random() gives instead */

/* Whether guest-physical memory is there, and where. */
bool model_to_hpa(void *ctx, uint64_t gpa, uint64_t *hpa, uint64_t *size);

/* The engine's part. */
void model_set_paging(struct model_vcpu *v, const struct guest_paging *paging);
bool model_load_cr3(struct model_vcpu *v, uint64_t cr3);
void model_invlpg(struct model_vcpu *v, uint64_t linear);
void model_flush_all(struct model_vcpu *v);
/* Flush what is due, as before an entry. */
void model_enter(struct model_vcpu *v);

/* One access by the guest, faults and all. `access` is guest_walk()'s WALK_WRITE or WALK_EXEC; CPL and AC are the paging state's. */
struct model_access model_access(struct model_vcpu *v, uint64_t linear, unsigned access);

/* Whether a vCPU's TLB would let it write the page without asking. */
bool model_tlb_writes(struct model_vcpu *v, uint64_t hpa);

/* The entries of the guest's that lead to an address. */
struct model_path {
	unsigned count, size;
	void *at[4];
	uint64_t value[4];
	unsigned cache;           /* of the page, where the last entry maps one */
};

void model_path(const struct guest_paging *paging, uint64_t linear, struct model_path *path);
uint64_t model_path_now(const struct model_path *path, unsigned i);

#endif

/* What a guest's CPUID instruction answers (SDM vol. 2A, "CPUID"; AMD APM vol. 3, appendix E). It starts from nothing: a feature
 * appears only where vmm/exits/cpuid_features.h lists it, the host has it (or Lamina emulates it), and what it needs was granted. */
#ifndef VMM_EXITS_CPUID_H
#define VMM_EXITS_CPUID_H

#include "lib/types.h"

enum { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

#define CPUID_BASIC_LEAVES 0x20U      /* 0..0x1f */
#define CPUID_EXTENDED_FIRST 0x80000000U
#define CPUID_EXTENDED_LEAVES 0x22U   /* 0x80000000..0x80000021 */
#define CPUID_HYPERVISOR_FIRST 0x40000000U
#define CPUID_HYPERVISOR_LEAVES 0x11U /* 0x40000000..0x40000010 */
#define CPUID_CACHES 5U               /* subleaves kept of leaf 4 */
#define CPUID_STRUCTURED 3U           /* of leaf 7 */
#define CPUID_XSAVE 20U               /* of leaf 0xd: XCR0 bits 0..19 */

/* XCR0 (SDM vol. 1, "Enabling the XSAVE Feature Set and XSAVE-Enabled Features"). */

struct cpuid_leaf {
	uint32_t leaf, subleaf;
	uint32_t eax, ebx, ecx, edx;
};

/* What the machine's own CPUID says, kept from boot on: the instruction is slow, and exits under another hypervisor. */
struct cpuid_host {
	uint32_t basic[CPUID_BASIC_LEAVES][4]; /* subleaf 0 where there are any; zero above the highest leaf */
	uint32_t extended[CPUID_EXTENDED_LEAVES][4];
	uint32_t caches[CPUID_CACHES][4];
	uint32_t structured[CPUID_STRUCTURED][4];
	uint32_t xsave[CPUID_XSAVE][4];
};

/* Read the host's leaves by `cpuid`, which executes the instruction. Once, at boot. */
void cpuid_capture(struct cpuid_host *host, void (*cpuid)(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]));

/* What the engine grants this guest. */
#define CPUID_GRANT_RDTSCP BIT(0)       /* RDTSCP and RDPID execute, TSC_AUX is the guest's */
#define CPUID_GRANT_INVPCID BIT(1)
#define CPUID_GRANT_PCID BIT(2)         /* CR4.PCIDE */
#define CPUID_GRANT_XSAVE BIT(3)        /* XSETBV is handled, XCR0 and the extended state are the guest's */
#define CPUID_GRANT_XSAVES BIT(4)       /* XSAVES and XRSTORS execute, IA32_XSS exists (and stays 0) */
#define CPUID_GRANT_WAITPKG BIT(5)      /* TPAUSE, UMONITOR, UMWAIT, IA32_UMWAIT_CONTROL */
#define CPUID_GRANT_X2APIC BIT(6)
#define CPUID_GRANT_TSC_DEADLINE BIT(7)

struct cpuid_policy {
	unsigned vcpus;         /* 1..64, APIC IDs 0..vcpus-1 */
	uint64_t tsc_hz;        /* rate of the guest's TSC */
	uint32_t granted;       /* CPUID_GRANT_... */
	uint8_t phys_bits;      /* MAXPHYADDR for the guest */
	bool nested_paging;     /* hardware walks the guest's page tables */
};

/* A guest's answers, the same for all its vCPUs. */
struct cpuid_table {
	uint32_t basic[CPUID_BASIC_LEAVES][4];
	uint32_t extended[CPUID_EXTENDED_LEAVES][4];
	uint32_t hypervisor[CPUID_HYPERVISOR_LEAVES][4];
	uint32_t caches[CPUID_CACHES][4];
	uint32_t structured[CPUID_STRUCTURED][4];
	uint32_t xsave[CPUID_XSAVE][4];
	uint32_t out_of_range[4]; /* Intel: the highest basic leaf; AMD: zeros */
	uint32_t vcpus;
	uint32_t core_shift;    /* APIC ID bits that number the cores */
	bool topology;          /* leaf 0xb exists */
	uint64_t xcr0;          /* the bits that the guest may set in XCR0; 0 without XSAVE */
};

/* The vCPU's state that some answers follow: cr4 for leaves 1 and 7 (cpuid_wants_cr4), xcr0 and xss for leaf 0xd, the APIC ID for
 * 1 and 0xb. */
struct cpuid_state {
	uint64_t cr4;
	uint64_t xcr0;
	uint64_t xss;
	uint32_t apic_id;
};

/* Make the guest's table. Once per VM. */
void cpuid_build(struct cpuid_table *table, const struct cpuid_host *host, const struct cpuid_policy *policy);

/* The answer (EAX, EBX, ECX, EDX) for a leaf that depends on nothing else; NULL for the others, which cpuid_lookup answers. */
const uint32_t *cpuid_row(const struct cpuid_table *table, uint32_t leaf);

/* The answer: out[] is EAX, EBX, ECX, EDX. Any leaf and subleaf are fine. */
void cpuid_lookup(const struct cpuid_table *table, const struct cpuid_state *state, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

/* Does the answer show bits of CR4, so that cpuid_state.cr4 must be current? (Out-of-range leaves never do.) */
static inline bool cpuid_wants_cr4(uint32_t leaf)
{
	return leaf == 1 || leaf == 7;
}

/* The bits of CR4 that the guest may set, as far as the CPU can: those of the features that its table shows. */
uint64_t cpuid_cr4(const struct cpuid_table *table);

/* May the guest load `value` into XCR0? (SDM vol. 1, "Enabling the XSAVE Feature Set": XSETBV gives #GP otherwise.) */
bool cpuid_xcr0_valid(const struct cpuid_table *table, uint64_t value);

/* Leaf 0x15 has 32 bits for the crystal's frequency, and the crystal also clocks the APIC timer. Up to 2^32 Hz Lamina's crystal is the TSC;
 * above, it is the TSC divided by the smallest sufficient power of two, and leaf 0x15 gives that power as the ratio. Returns its log2. */
static inline unsigned cpuid_crystal_shift(uint64_t tsc_hz)
{
	unsigned shift = 0;

	while (tsc_hz >> shift > UINT32_MAX)
		shift++;
	return shift;
}

#endif

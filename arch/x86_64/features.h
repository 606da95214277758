/* What this machine's CPUs offer, read once at boot on the boot processor. */
#ifndef ARCH_X86_64_FEATURES_H
#define ARCH_X86_64_FEATURES_H

#include "lib/types.h"

struct cpu_features {
	char vendor[13];
	char brand[49];
	unsigned phys_bits;
	bool vmx, svm;
	bool smep, smap, umip, fsgsbase, xsave, pcid, x2apic, tsc_deadline, invariant_tsc, page_1g, rdtscp, invpcid, xsaves, waitpkg;
	bool aes, avx2, avx512f, rdrand;
	/* VT-x, from the capability MSRs; all false without it */
	bool ept, ept_1g, ept_2m, ept_ad, ept_execute_only, vpid, unrestricted_guest, tpr_shadow, virtualize_apic_accesses;
	bool apic_register_virtualization, virtual_interrupt_delivery, virtualize_x2apic, posted_interrupts, preemption_timer, pml;
	/* AMD-V, from CPUID; all false without it */
	bool npt, nrip_save, vmcb_clean, flush_by_asid, decode_assists, pause_filter, avic, vgif;
	uint32_t asids;
	uint64_t xcr0; /* components of XCR0 that the CPU supports */
	uint32_t xsave_size;
};

extern struct cpu_features cpu_features;

/* Fill cpu_features. */
void features_detect(void);
/* The CPU report: one line a feature, whether it is there and what it is used for. `dmar` and `ivrs` say whether these tables, which
 * describe IOMMUs, were found. */
void features_report(bool dmar, bool ivrs);

#endif

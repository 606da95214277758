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
	uint64_t xcr0; /* components of XCR0 that the CPU supports */
	uint32_t xsave_size;
};

extern struct cpu_features cpu_features;

/* Fill cpu_features. */
void features_detect(void);
/* The CPU report: one line a feature, whether it is there and what it is used for. `vt_d` says whether a DMAR table was found. */
void features_report(bool vt_d);

#endif

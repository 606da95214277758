/* Feature bits of CPUID that Lamina asks the host for and never offers a guest, as bit numbers in one of the leaf's registers (SDM vol. 2,
 * CPUID; APM vol. 3, appendix E). The bits that a guest can be offered stand in vmm/exits/cpuid_features.h. */
#ifndef LIB_X86_CPUID_H
#define LIB_X86_CPUID_H

#include "lib/types.h"

enum {
	CPUID_1_VMX = 5,            /* ECX */
	CPUID_1_OSXSAVE = 27,       /* ECX */
	CPUID_6_ARAT = 2,           /* EAX */
	CPUID_7_PKU = 3,            /* ECX */
	CPUID_7_OSPKE = 4,          /* ECX */
	CPUID_7_CET_SS = 7,         /* ECX */
	CPUID_7_LA57 = 16,          /* ECX */
	CPUID_7_PKS = 31,           /* ECX */
	CPUID_7_CET_IBT = 20,       /* EDX */
	CPUID_E1_SVM = 2,           /* ECX */
	CPUID_E7_INVARIANT_TSC = 8, /* EDX */
	CPUID_E8_RDPRU = 4,         /* EBX */
	CPUID_E8_MCOMMIT = 8,       /* EBX */
	/* Leaf 0x8000000a, EDX. */
	CPUID_EA_NPT = 0,
	CPUID_EA_NRIP_SAVE = 3,
	CPUID_EA_VMCB_CLEAN = 5,
	CPUID_EA_FLUSH_BY_ASID = 6,
	CPUID_EA_DECODE_ASSISTS = 7,
	CPUID_EA_PAUSE_FILTER = 10,
	CPUID_EA_AVIC = 13,
	CPUID_EA_VGIF = 16,
};

#endif

/* The features of cpuid_features.h by name: CPUID_1_XSAVE is XSAVE's bit number in its register of leaf 1. */
#ifndef VMM_EXITS_CPUID_BITS_H
#define VMM_EXITS_CPUID_BITS_H

enum cpuid_bit {
#define FEATURE(leaf, reg, bit, name, needs) CPUID_##leaf##_##name = (bit),
#include "vmm/exits/cpuid_features.h"
#undef FEATURE
};

#endif

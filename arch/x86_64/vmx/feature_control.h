/* IA32_FEATURE_CONTROL (SDM vol. 3, "Enabling and Entering VMX Operation"): may VMXON be executed outside SMX? */
#ifndef ARCH_X86_64_VMX_FEATURE_CONTROL_H
#define ARCH_X86_64_VMX_FEATURE_CONTROL_H

#include "lib/types.h"

#define FEATURE_CONTROL_LOCKED BIT(0)
#define FEATURE_CONTROL_VMX_OUTSIDE_SMX BIT(2)

/* NULL where VT-x is on, or can be switched on because the register is not locked; else the sentence for the user. */
static inline const char *feature_control_problem(uint64_t value)
{
	if (!(value & FEATURE_CONTROL_LOCKED) || value & FEATURE_CONTROL_VMX_OUTSIDE_SMX)
		return NULL;
	return "VT-x is locked off by the firmware (IA32_FEATURE_CONTROL); enable VT-x (\"Intel Virtualization Technology\") in the firmware set-up";
}

/* What to write before VMXON: locked, with VT-x on. The same value where it is locked already. */
static inline uint64_t feature_control_enabled(uint64_t value)
{
	return value & FEATURE_CONTROL_LOCKED ? value : value | FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX_OUTSIDE_SMX;
}

#endif

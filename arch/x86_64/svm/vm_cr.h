/* VM_CR (MSR C001_0114): the firmware's word on SVM (APM vol. 2, "VM_CR MSR"). */
#ifndef ARCH_X86_64_SVM_VM_CR_H
#define ARCH_X86_64_SVM_VM_CR_H

#include "lib/types.h"

#define VM_CR_LOCK BIT(3)
#define VM_CR_SVMDIS BIT(4)

/* NULL where SVM can be enabled; else the sentence for the user. With the lock clear SVMDIS could be cleared here; but then the firmware has
 * been told to switch SVM off. */
static inline const char *vm_cr_problem(uint64_t vm_cr)
{
	if (!(vm_cr & VM_CR_SVMDIS))
		return NULL;
	return vm_cr & VM_CR_LOCK ? "AMD-V is locked off by the firmware (VM_CR.SVMDIS and LOCK); enable \"SVM Mode\" in the firmware set-up" :
				    "AMD-V is switched off (VM_CR.SVMDIS); enable \"SVM Mode\" in the firmware set-up";
}

#endif

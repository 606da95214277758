/* x87, SSE and AVX state. Lamina itself uses none of it, so the guest's stays in the registers until another vCPU takes the core. */
#ifndef ARCH_X86_64_FPU_H
#define ARCH_X86_64_FPU_H

#include "lib/types.h"

/* Size of a save area in bytes; it is aligned to 64. */
uint32_t fpu_area_size(void);
/* Make `area` hold the state after RESET. */
void fpu_area_init(void *area);
/* Save or restore every component that the CPU has, and set XCR0 to the guest's on restore (SDM vol. 1, "XSAVE"). */
void fpu_save(void *area);
void fpu_restore(const void *area, uint64_t guest_xcr0);

#endif

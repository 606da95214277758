/* The machine's memory-type range registers (SDM vol. 3, "Memory Type Range Registers (MTRRs)"). */
#ifndef ARCH_X86_64_MTRR_H
#define ARCH_X86_64_MTRR_H

#include "lib/types.h"

/* Call `each` for every range below `end` that the MTRRs do not make write-back: no RAM of a guest's may lie there, since guests get
 * write-back memory through EPT, which overrides the MTRRs. */
void mtrr_not_write_back(uint64_t end, void (*each)(uint64_t base, uint64_t size));

#endif

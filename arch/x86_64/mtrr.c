#include "arch/x86_64/mtrr.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/msr.h"

#define TYPE_WB 6
#define ENABLED BIT(11)
#define VALID BIT(11)
#define VARIABLE_MAX 32

void mtrr_not_write_back(uint64_t end, void (*each)(uint64_t base, uint64_t size))
{
	uint64_t type = rdmsr(MSR_MTRR_DEF_TYPE);
	unsigned count = (unsigned)(rdmsr(MSR_MTRRCAP) & 0xff);
	uint64_t width = BIT(cpu_features.phys_bits) - 1;
	bool covered = false;

	if (!(type & ENABLED)) {
		each(0, end); /* everything is uncached */
		return;
	}
	/* With another default than write-back, RAM is what a write-back range covers; firmware makes the memory map from the
	 * same ranges, so a check of every usable range against each of them is left to the ranges that say otherwise. */
	for (unsigned i = 0; i < count && i < VARIABLE_MAX; i++) {
		uint64_t base = rdmsr(MSR_MTRR_PHYSBASE0 + 2 * i), mask = rdmsr(MSR_MTRR_PHYSBASE0 + 2 * i + 1);
		uint64_t size = (~(mask & ~0xfffUL) & width) + 1;

		if (!(mask & VALID))
			continue;
		if ((base & 0xff) == TYPE_WB)
			covered = true;
		else if ((base & PAGE_MASK & width) < end)
			each(base & PAGE_MASK & width, size);
	}
	if ((type & 0xff) != TYPE_WB && !covered)
		each(0, end);
}

/* The variable MTRRs are read at boot, to find the ranges of memory that they, or the default type, do not make write-back. */
#include "arch/x86_64/mtrr.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/features.h"
#include "lib/string.h"
#include "lib/x86/msr.h"

#define VARIABLE_MAX 32

struct range {
	uint64_t base, size;
};

/* Report the memory that no write-back range covers, where the default type is another one: some firmware forgets RAM at its upper end. The
 * first MiB has registers of its own. AMD's CPUs can have another default from 4 GiB on (SYSCFG, Tom2ForceMemTypeWB). */
static void not_covered(const struct range *wb, unsigned count, uint64_t first, uint64_t end, void (*each)(uint64_t base, uint64_t size))
{
	if (!memcmp(cpu_features.vendor, "AuthenticAMD", 12) || !memcmp(cpu_features.vendor, "HygonGenuine", 12))
		end = MIN(end, GIB(4));
	while (first < end) {
		uint64_t next = end, covered = first;

		for (unsigned i = 0; i < count; i++) {
			if (wb[i].base <= first && first < wb[i].base + wb[i].size)
				covered = MAX(covered, wb[i].base + wb[i].size);
			else if (wb[i].base > first)
				next = MIN(next, wb[i].base);
		}
		if (covered == first) {
			each(first, next - first);
			covered = next;
		}
		first = covered;
	}
}

void mtrr_not_write_back(uint64_t end, void (*each)(uint64_t base, uint64_t size))
{
	uint64_t type = rdmsr(MSR_MTRR_DEF_TYPE);
	unsigned count = (unsigned)(rdmsr(MSR_MTRRCAP) & MTRRCAP_VARIABLE);
	uint64_t width = BIT(cpu_features.phys_bits) - 1;
	struct range wb[VARIABLE_MAX];
	unsigned wb_count = 0;

	if (!(type & MTRR_DEF_TYPE_ENABLED)) {
		each(0, end); /* everything is uncached */
		return;
	}
	for (unsigned i = 0; i < count && i < VARIABLE_MAX; i++) {
		uint64_t base = rdmsr(MSR_MTRR_PHYSBASE0 + 2 * i), mask = rdmsr(MSR_MTRR_PHYSBASE0 + 2 * i + 1);
		/* From the mask's lowest bit: its upper end is not always CPUID's number of bits. With memory encryption (TME-MK) the
		 * upper ones are the key's and not the mask's, and some firmware writes masks for CPUs with fewer. */
		uint64_t bits = mask & PAGE_MASK & width, size = bits ? bits & -bits : width + 1;

		if (!(mask & MTRR_PHYSMASK_VALID))
			continue;
		if ((base & MTRR_TYPE) == MTRR_TYPE_WB)
			wb[wb_count++] = (struct range){ base & PAGE_MASK & width, size };
		else if ((base & PAGE_MASK & width) < end)
			each(base & PAGE_MASK & width, size);
	}
	if ((type & MTRR_TYPE) != MTRR_TYPE_WB)
		not_covered(wb, wb_count, type & MTRR_DEF_TYPE_FIXED ? MIB(1) : 0, end, each);
}

/* The faults on purpose, one for each word of `debug=`. Tests boot with them and read in the log how Lamina reports its own faults. */
#include "arch/x86_64/debug.h"

#include "arch/x86_64/memory.h"
#include "arch/x86_64/traps.h"
#include "drivers/iommu_host.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/vcpu/vcpu.h"

static volatile unsigned depth_wanted = 1000000;

/* Not a loop in disguise: the depth is used after the call. */
static unsigned overflow(unsigned depth) // NOLINT(misc-no-recursion): that is its purpose
{
	volatile uint8_t frame[256] = { (uint8_t)depth };

	return depth < depth_wanted ? overflow(depth + 1) + frame[depth % sizeof(frame)] : 0;
}

void debug_fault(const char *word, const struct acpi_info *acpi)
{
	static const uint8_t ret_instruction[] = { 0xc3 };
	volatile uint8_t *nowhere = (volatile uint8_t *)(DEVICES_BASE - PAGE_SIZE);

	if (!strcmp(word, "page-fault"))
		*nowhere = 1;
	else if (!strcmp(word, "write-code"))
		*(volatile uint8_t *)(uint64_t)text_start = 0xcc;
	else if (!strcmp(word, "run-data"))
		((void (*)(void))(uint64_t)ret_instruction)();
	else if (!strcmp(word, "stack-overflow"))
		log_line("debug: %u", overflow(0));
	else if (!strcmp(word, "vm-entry"))
		vcpu_debug_bad_entry = true;
	else if (!strcmp(word, "iommu-on"))
		iommu_host_block(acpi);
	else
		log_line("boot command line: debug=%s: known are page-fault, write-code, run-data, stack-overflow, vm-entry and iommu-on", word);
}

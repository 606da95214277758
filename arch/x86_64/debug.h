/* Faults on purpose, for the tests of how Lamina reports its own: `debug=WORD` on the boot command line. */
#ifndef ARCH_X86_64_DEBUG_H
#define ARCH_X86_64_DEBUG_H

#include "drivers/acpi/acpi.h"

/* page-fault, write-code, run-data, stack-overflow: do that now, and never return; vm-entry: have the CPU refuse the first VM entry;
 * iommu-on: leave the VT-d units of these tables on, as some firmware does. Another word is logged and ignored. */
void debug_fault(const char *word, const struct acpi_info *acpi);

#endif

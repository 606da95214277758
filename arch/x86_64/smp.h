/* Bringing up the other cores. */
#ifndef ARCH_X86_64_SMP_H
#define ARCH_X86_64_SMP_H

#include "drivers/acpi/acpi.h"
#include "lib/types.h"

/* Start every enabled core of the MADT (SDM vol. 3, "MP Initialization Protocol"), each with its own stacks; each calls core_main(). A core
 * that does not come up is named in the log. At most `limit` cores in all. */
void smp_start(const struct acpi_info *acpi, unsigned limit);
/* Make a core look at its vCPU: it leaves guest mode or its halt. */
void smp_kick(unsigned cpu);
/* Stop every other core for good. */
void smp_halt_others(void);

/* What a started core runs; it does not return. In boot/main.c. */
NORETURN void core_main(void);

#endif

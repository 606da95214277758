/* Ending it all: power-off, and the halt after a panic. */
#ifndef ARCH_X86_64_POWER_H
#define ARCH_X86_64_POWER_H

#include "drivers/acpi.h"
#include "lib/types.h"

/* Remember how this machine is switched off (ACPI 6.4, section 7.4.2 "\_S5"). */
void power_init(const struct acpi_info *acpi);
/* Halt this core for good, and the others. */
NORETURN void power_halt(void);

#endif

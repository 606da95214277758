/* Ending it all: power-off, reset, and the halt after a panic. */
#ifndef ARCH_X86_64_POWER_H
#define ARCH_X86_64_POWER_H

#include "drivers/acpi/acpi.h"
#include "lib/types.h"

enum power_action {
	POWER_OFF,
	POWER_RESET,
	POWER_HALT,
};

/* Remember how this machine is switched off and reset (ACPI 6.5, sections 4.8.3.6 "Reset Register" and 7.4.2 "\_S5"), map what is needed
 * for that, and log what the tables say. */
void power_init(const struct acpi_info *acpi);
/* What to do when the last guest has ended (`end=power-off|reset|halt` of the command line), and after a panic (`panic=halt|reset`).
 * Each returns false where the word is none of these. */
bool power_set_end(const char *word);
bool power_set_panic(const char *word);
/* After a panic: as chosen. */
NORETURN void power_panicked(void);
/* Halt this core for good, and the others. */
NORETURN void power_halt(void);

#endif

/* Which serial port and which screen Lamina uses: chosen once, logged with the reason. */
#ifndef BOOT_CONSOLE_SETUP_H
#define BOOT_CONSOLE_SETUP_H

#include "boot/boot_info.h"
#include "drivers/acpi/acpi.h"
#include "lib/types.h"

/* As soon as anything can be said: the first 4 GiB are mapped one to one, nothing is known of the machine but *info, which is empty where
 * the loader's information was unusable. */
void console_setup_early(const struct boot_info *info);
/* The address space changes: leave the screen alone until console_setup_screen. */
void console_setup_leave_screen(void);
/* On Lamina's own page tables, with the PAT loaded: the whole screen. */
void console_setup_screen(const struct boot_info *info);
/* The ACPI tables are read: the final serial port. */
void console_setup_serial(const struct acpi_info *acpi);
/* The interrupt of the serial port in use. Returns false where no interrupt of it is known: the port must be polled. */
bool console_setup_serial_gsi(const struct acpi_info *acpi, uint32_t *gsi, uint16_t *flags);

#endif

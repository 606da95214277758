/* Text to and from the firmware's console, while there are boot services. */
#ifndef BOOT_EFI_EFI_CONSOLE_H
#define BOOT_EFI_EFI_CONSOLE_H

#include "lib/types.h"

/* Print formatted text (lib/printf.h) of at most 511 bytes; '\n' starts a new line. */
void efi_print(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Wait until a key is pressed. Returns at once where the machine has no keyboard. */
void efi_wait_key(void);

#endif

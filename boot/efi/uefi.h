/* The UEFI Specification's types, from Debian's gnu-efi, and the firmware's tables. This folder alone includes it. */
#ifndef BOOT_EFI_UEFI_H
#define BOOT_EFI_UEFI_H

#include <efi.h>

#include "lib/types.h"

/* Set by efi_main before anything else. */
extern EFI_SYSTEM_TABLE *efi_system;

#endif

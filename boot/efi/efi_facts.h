/* What the firmware knows and the kernel needs: tables and the screen. */
#ifndef BOOT_EFI_EFI_FACTS_H
#define BOOT_EFI_EFI_FACTS_H

#include "boot/boot_info.h"
#include "boot/efi/uefi.h"

/* Fill in the system table's address, RSDP, SMBIOS and the framebuffer, as far as there are any. */
void efi_facts(struct boot_info *info);

#endif

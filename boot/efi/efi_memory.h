/* Memory from the firmware, and its memory map as Lamina's. */
#ifndef BOOT_EFI_EFI_MEMORY_H
#define BOOT_EFI_EFI_MEMORY_H

#include "boot/boot_info.h"
#include "boot/efi/uefi.h"

/* Nothing that is handed over lies below this: the kernel is copied to its place there. */
#define EFI_ALLOC_LOWEST MIB(16)

/* Allocate whole pages for `size` bytes (at least one page) at or above EFI_ALLOC_LOWEST, ending at or below `limit` (exclusive; 0: anywhere).
 * `code`: executable. Returns the physical address, which is mapped one to one, or 0. */
uint64_t efi_alloc(uint64_t size, uint64_t limit, bool code);

/* Give back everything that efi_alloc took. */
void efi_free_all(void);

/* Put the firmware's memory map into info->memory and leave the boot services (UEFI 2.10 section 7.4.6): the map is read again as long as
 * it changes in between. `first` to `end` (exclusive) is where the kernel goes: it must be memory that is free afterwards. Returns NULL
 * when the boot services have ended; or a sentence (valid until the next call) that says why they have not, and then they can be used as
 * far as the firmware allows. */
const char *efi_leave(EFI_HANDLE image, struct boot_info *info, uint64_t first, uint64_t end);

#endif

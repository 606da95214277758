/* Whole files from the volume that lamina.efi was started from. */
#ifndef BOOT_EFI_EFI_FILE_H
#define BOOT_EFI_EFI_FILE_H

#include "boot/efi/uefi.h"

#define EFI_FILE_NAME_SIZE 128

struct efi_file {
	uint64_t address; /* physical, on pages of its own; the rest of the last page is zero */
	uint64_t size;    /* bytes */
};

/* Open the volume. Returns NULL, or a sentence that says why that is impossible. */
const char *efi_volume_open(EFI_HANDLE image);

/* Read a file by its path from the volume's root, with '/' between folders, into memory below `limit` (0: anywhere), showing a line of
 * progress. Returns NULL, or what is wrong with it, to be read after its name. */
const char *efi_file_read(const char *name, uint64_t limit, struct efi_file *file);

/* Is there such a file? */
bool efi_file_exists(const char *name);

#endif

/* Files are read through the firmware's simple file system protocol, in pieces, so that the progress can be shown. */
#include "boot/efi/efi_file.h"

#include "boot/efi/efi_console.h"
#include "boot/efi/efi_memory.h"
#include "lib/string.h"

#define INFO_SIZE 1024
#define CHUNK MIB(32)

static EFI_FILE_HANDLE root;

const char *efi_volume_open(EFI_HANDLE image)
{
	static EFI_GUID image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID, file_system_guid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;
	EFI_BOOT_SERVICES *services = efi_system->BootServices;
	VOID *interface;
	EFI_HANDLE device;
	EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *volume;

	if (EFI_ERROR(services->HandleProtocol(image, &image_guid, &interface)))
		return "the firmware does not say where lamina.efi was loaded from";
	device = ((EFI_LOADED_IMAGE *)interface)->DeviceHandle;
	if (!device || EFI_ERROR(services->HandleProtocol(device, &file_system_guid, &interface)))
		return "lamina.efi was not started from a file system: its files must be on the same FAT volume";
	volume = interface;
	if (EFI_ERROR(volume->OpenVolume(volume, &root)))
		return "the volume that lamina.efi was started from cannot be opened";
	return NULL;
}

static EFI_STATUS open_file(const char *name, EFI_FILE_HANDLE *handle)
{
	CHAR16 path[EFI_FILE_NAME_SIZE];
	size_t length = strlen(name);

	if (length >= EFI_FILE_NAME_SIZE)
		return EFI_NOT_FOUND;
	for (size_t i = 0; i <= length; i++)
		path[i] = name[i] == '/' ? '\\' : (CHAR16)(uint8_t)name[i];
	return root->Open(root, handle, path, EFI_FILE_MODE_READ, 0);
}

bool efi_file_exists(const char *name)
{
	EFI_FILE_HANDLE handle;

	if (EFI_ERROR(open_file(name, &handle)))
		return false;
	handle->Close(handle);
	return true;
}

/* Sets *size. Returns NULL or what is wrong. */
static const char *file_size(EFI_FILE_HANDLE handle, uint64_t *size)
{
	static EFI_GUID info_guid = EFI_FILE_INFO_ID;
	static union {
		EFI_FILE_INFO info;
		uint8_t bytes[INFO_SIZE];
	} buffer;
	UINTN bytes = sizeof(buffer);

	if (EFI_ERROR(handle->GetInfo(handle, &info_guid, &bytes, &buffer)))
		return "its size cannot be read";
	if (buffer.info.Attribute & EFI_FILE_DIRECTORY)
		return "it is a folder, expected a file";
	*size = buffer.info.FileSize;
	return NULL;
}

/* Read `size` bytes, with the progress after each piece. */
static const char *read_all(EFI_FILE_HANDLE handle, const char *name, uint8_t *to, uint64_t size)
{
	for (uint64_t done = 0; done < size;) {
		UINTN bytes = MIN(size - done, CHUNK);

		if (EFI_ERROR(handle->Read(handle, &bytes, to + done)))
			return "the firmware reports a read error";
		if (!bytes)
			return "it ends before its size says";
		done += bytes;
		if (done < size)
			efi_print("\r  %s: %lu of %lu KiB", name, done >> 10, size >> 10);
	}
	efi_print("\r  %s: %lu KiB%s\n", name, (size + 1023) >> 10, size > CHUNK ? ", all read   " : "");
	return NULL;
}

const char *efi_file_read(const char *name, uint64_t limit, struct efi_file *file)
{
	EFI_FILE_HANDLE handle;
	EFI_STATUS status = open_file(name, &handle);
	const char *error;

	if (status == EFI_NOT_FOUND)
		return "no such file on the volume that lamina.efi was started from";
	if (EFI_ERROR(status))
		return "it cannot be opened";
	error = file_size(handle, &file->size);
	if (!error) {
		file->address = efi_alloc(file->size, limit, false);
		if (!file->address)
			error = "there is not enough memory for it";
	}
	if (!error)
		error = read_all(handle, name, (uint8_t *)file->address, file->size);
	handle->Close(handle);
	if (!error)
		memset((uint8_t *)file->address + file->size, 0, ALIGN_UP(file->size, (uint64_t)PAGE_SIZE) - file->size);
	return error;
}

/* Tables are found by their GUIDs in the firmware's configuration table, and the framebuffer by the graphics output protocol. */
#include "boot/efi/efi_facts.h"

#include "lib/string.h"

#define RSDP_1_SIZE 20
#define RSDP_2_SIZE 36

/* A vendor's table of the configuration table (UEFI 2.10 section 4.6), or NULL. */
static const void *find_table(EFI_GUID guid)
{
	for (UINTN i = 0; i < efi_system->NumberOfTableEntries; i++)
		if (!memcmp(&efi_system->ConfigurationTable[i].VendorGuid, &guid, sizeof(guid)))
			return efi_system->ConfigurationTable[i].VendorTable;
	return NULL;
}

static void find_rsdp(struct boot_info *info)
{
	const void *rsdp = find_table((EFI_GUID)ACPI_20_TABLE_GUID);

	info->rsdp_size = RSDP_2_SIZE;
	if (!rsdp) {
		rsdp = find_table((EFI_GUID)ACPI_TABLE_GUID);
		info->rsdp_size = RSDP_1_SIZE;
	}
	if (rsdp)
		memcpy(info->rsdp, rsdp, info->rsdp_size);
	else
		info->rsdp_size = 0;
	info->rsdp_address = (uintptr_t)rsdp;
}

/* A colour's mask as the position of its lowest bit and its width. */
static void set_colour(uint32_t mask, uint8_t *position, uint8_t *size)
{
	*position = *size = 0;
	if (!mask)
		return;
	*position = (uint8_t)__builtin_ctz(mask);
	*size = (uint8_t)(32 - __builtin_clz(mask) - *position);
}

/* UEFI 2.10 section 12.9: the mode that the firmware has set stays. */
static void find_framebuffer(struct boot_framebuffer *fb)
{
	static EFI_GUID guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
	const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode;
	EFI_GRAPHICS_OUTPUT_PROTOCOL *gop;
	EFI_PIXEL_BITMASK mask = { 0 };
	VOID *interface;

	if (EFI_ERROR(efi_system->BootServices->LocateProtocol(&guid, NULL, &interface)))
		return;
	gop = interface;
	if (!gop->Mode || !gop->Mode->Info)
		return;
	mode = gop->Mode->Info;
	switch (mode->PixelFormat) {
	case PixelRedGreenBlueReserved8BitPerColor:
		mask = (EFI_PIXEL_BITMASK){ 0xff, 0xff00, 0xff0000, 0xff000000 };
		break;
	case PixelBlueGreenRedReserved8BitPerColor:
		mask = (EFI_PIXEL_BITMASK){ 0xff0000, 0xff00, 0xff, 0xff000000 };
		break;
	case PixelBitMask:
		mask = mode->PixelInformation;
		break;
	default:
		return; /* no memory that a program could write */
	}
	set_colour(mask.RedMask, &fb->red_position, &fb->red_size);
	set_colour(mask.GreenMask, &fb->green_position, &fb->green_size);
	set_colour(mask.BlueMask, &fb->blue_position, &fb->blue_size);
	fb->bpp = 32;
	while (fb->bpp > 8 && !((mask.RedMask | mask.GreenMask | mask.BlueMask | mask.ReservedMask) >> (fb->bpp - 8)))
		fb->bpp -= 8;
	fb->address = gop->Mode->FrameBufferBase;
	fb->width = mode->HorizontalResolution;
	fb->height = mode->VerticalResolution;
	fb->pitch = mode->PixelsPerScanLine * (fb->bpp / 8);
}

void efi_facts(struct boot_info *info)
{
	const void *smbios = find_table((EFI_GUID)SMBIOS3_TABLE_GUID);

	if (!smbios)
		smbios = find_table((EFI_GUID)SMBIOS_TABLE_GUID);
	info->smbios_address = (uintptr_t)smbios;
	info->efi_system_table = (uintptr_t)efi_system;
	find_rsdp(info);
	find_framebuffer(&info->framebuffer);
}

/* Output is formatted as Lamina does it and widened to the firmware's 16-bit characters; a key is waited for by the firmware's event. */
#include "boot/efi/efi_console.h"

#include "boot/efi/uefi.h"
#include "lib/printf.h"

#define TEXT_SIZE 512

void efi_print(const char *fmt, ...)
{
	char text[TEXT_SIZE];
	CHAR16 wide[2 * TEXT_SIZE];
	size_t n = 0;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (const char *s = text; *s; s++) {
		if (*s == '\n')
			wide[n++] = '\r';
		wide[n++] = (uint8_t)*s;
	}
	wide[n] = 0;
	efi_system->ConOut->OutputString(efi_system->ConOut, wide);
}

void efi_wait_key(void)
{
	SIMPLE_INPUT_INTERFACE *in = efi_system->ConIn;
	EFI_INPUT_KEY key;
	UINTN index;

	if (!in)
		return;
	/* A key that was typed before the question is no answer to it. */
	in->Reset(in, FALSE);
	do {
		efi_system->BootServices->WaitForEvent(1, &in->WaitForKey, &index);
	} while (EFI_ERROR(in->ReadKeyStroke(in, &key)));
}

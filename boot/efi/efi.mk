# build/lamina.efi, the loader for UEFI firmware: Debian's gnu-efi brings the types, the start-up code and the linker script.

EFI_OUT := $(OUT)/efi
EFI_CFLAGS := -std=gnu17 -Os -I. -isystem /usr/include/efi -isystem /usr/include/efi/x86_64 -DLAMINA_VERSION='"$(VERSION)"' -Wall -Wextra -Werror \
	-Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wpointer-arith -ffreestanding -fno-strict-aliasing -fno-stack-protector \
	-DEFI_FUNCTION_WRAPPER -DGNU_EFI_USE_MS_ABI -maccumulate-outgoing-args -mno-red-zone -mgeneral-regs-only -fpic -fshort-wchar \
	-fvisibility=hidden -fno-asynchronous-unwind-tables -fcf-protection=none -fno-common \
	-ffile-prefix-map=$(CURDIR)=.
EFI_C := $(sort $(wildcard boot/efi/*.c))
# Shared with the kernel: what lamina.cfg means is said once.
EFI_SHARED_C := boot/boot_info.c lib/printf.c lib/string.c $(sort $(wildcard vmm/config/*.c))
EFI_OBJS := $(patsubst %.c,$(EFI_OUT)/%.o,$(EFI_C) $(EFI_SHARED_C)) $(EFI_OUT)/boot/efi/handoff.o

lamina: $(OUT)/lamina.efi

$(EFI_OUT)/%.o: %.c Makefile boot/efi/efi.mk
	@mkdir -p $(@D)
	@echo "CC $< (UEFI)"
	@$(CC) $(EFI_CFLAGS) -MMD -MP -c -o $@ $<

$(EFI_OUT)/%.o: %.asm $(OUT)/asm_offsets.inc
	@mkdir -p $(@D)
	@nasm -f elf64 -I $(OUT)/ -o $@ $<

$(OUT)/lamina.efi: $(EFI_OBJS)
	@echo "LD $@"
	@ld -nostdlib -znocombreloc -shared -Bsymbolic -z defs -z noexecstack --no-warn-rwx-segments --build-id=none -T /usr/lib/elf_x86_64_efi.lds \
		-o $(EFI_OUT)/lamina.so /usr/lib/crt0-efi-x86_64.o $(EFI_OBJS) /usr/lib/libgnuefi.a
	@objcopy -j .text -j .sdata -j .data -j .dynamic -j .dynsym -j .rel -j .rela -j '.rel.*' -j '.rela.*' -j .reloc \
		--target efi-app-x86_64 --subsystem=10 $(EFI_OUT)/lamina.so $@

-include $(EFI_OBJS:.o=.d)

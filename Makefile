# Lamina's build. `make` builds the hypervisor; `make help` lists the rest.

all: lamina

VERSION := 0.1
CC := gcc
OUT := build
# Every source of these folders but the loader for UEFI, which efi.mk builds, and the one that only says where C has its fields.
KERNEL_C := $(sort $(filter-out boot/efi/% arch/x86_64/asm_offsets.c,$(shell find boot arch drivers lib mm vmm -name '*.c')))
KERNEL_H := $(sort $(shell find arch boot drivers lib mm vmm -name '*.h'))
KERNEL_ASM := $(sort $(filter-out boot/efi/%,$(shell find boot arch -name '*.asm')))

include tests/unit/unit.mk
include tests/fuzz/fuzz.mk
include vmm/devices/dsdt.mk
include tests/guests/guests.mk
include boot/efi/efi.mk
include tools/checker/checker.mk
-include tools/run.mk
-include tools/check.mk

# What nothing can be built without; the set-up itself needs none of it.
NEEDED := $(foreach tool,$(CC) nasm ld objcopy $(IASL) python3,$(if $(shell command -v $(tool)),,$(tool))) \
	$(foreach file,/usr/include/efi/efi.h /usr/share/consolefonts/Unifont-APL8x16.psf.gz,$(if $(wildcard $(file)),,$(file)))
ifneq ($(strip $(NEEDED)),)
ifneq ($(filter all lamina,$(or $(MAKECMDGOALS),all)),)
$(error missing: $(strip $(NEEDED)): run `make setup` first)
endif
endif

KERNEL_CFLAGS := -std=gnu17 -O2 -I. -I$(OUT) -DLAMINA_VERSION='"$(VERSION)"' -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wundef -Wpointer-arith -ffreestanding -fno-strict-aliasing -fstack-protector-strong \
	-mstack-protector-guard=global -mno-red-zone -mgeneral-regs-only -mcmodel=kernel -fno-pic -fno-omit-frame-pointer -momit-leaf-frame-pointer \
	-fno-asynchronous-unwind-tables -fcf-protection=none -fno-common -ffunction-sections -fdata-sections -ffile-prefix-map=$(CURDIR)=.

KERNEL_OBJS := $(KERNEL_C:%.c=$(OUT)/kernel/%.o) $(KERNEL_ASM:%.asm=$(OUT)/kernel/%.asm.o) $(OUT)/kernel/dsdt.o $(OUT)/kernel/font.o

.PHONY: all lamina clean
lamina: $(OUT)/lamina.elf

$(OUT)/asm_offsets.inc: arch/x86_64/asm_offsets.c $(KERNEL_H)
	@mkdir -p $(@D)
	@$(CC) $(KERNEL_CFLAGS) -S -o $(OUT)/asm_offsets.s $<
	@sed -n 's|^->\([A-Z0-9_]*\) [$$]\(.*\)|%define \1 \2|p' $(OUT)/asm_offsets.s > $@

$(OUT)/kernel/%.asm.o: %.asm $(OUT)/asm_offsets.inc $(wildcard arch/x86_64/*.inc)
	@mkdir -p $(@D)
	@echo "NASM $<"
	@nasm -f elf64 -I $(OUT)/ -o $@ $<

$(OUT)/kernel/dsdt.o: $(OUT)/vmm/devices/dsdt.c
	@mkdir -p $(@D)
	@$(CC) $(KERNEL_CFLAGS) -c -o $@ $<

# The framebuffer console's glyphs, from a Debian package.
$(OUT)/font.c: tools/font.py
	@mkdir -p $(@D)
	/usr/bin/python3 $< $@

$(OUT)/kernel/font.o: $(OUT)/font.c drivers/console/font.h
	@mkdir -p $(@D)
	@$(CC) $(KERNEL_CFLAGS) -c -o $@ $<

# The monitor and the engines, through which exits run, are built fast, everything else small. What differs from that:
# - fast all the same, for exits end there: copies; messages between cores, EOI and the timer; the core's side of the scheduler.
FAST_C := vmm/% arch/x86_64/svm/% arch/x86_64/vmx/% lib/string% arch/x86_64/host_apic% arch/x86_64/core%
# - small all the same, for it runs when a VM is read from its configuration, made, reset or dumped: ...
SMALL_C := vmm/config/% vmm/loader/% vmm/vm/vm_% vmm/vm/arena% vmm/io/vm_disk_create% vmm/memory/e820% vmm/devices/acpi_tables% \
	$(foreach part,controls cpu dump engine switch vcpu vm,arch/x86_64/svm/svm_$(part)% arch/x86_64/vmx/vmx_$(part)%)
# - ... or because it is much code that guests rarely run: the interpreter of real mode, the clock's and the keyboard controller's registers.
SMALL_C += vmm/emulate/step% vmm/vcpu/real_mode% vmm/devices/rtc% vmm/devices/i8042% vmm/devices/reset%
BUILT_SMALL := $(filter-out $(FAST_C),$(KERNEL_C)) $(filter $(SMALL_C),$(KERNEL_C))
$(BUILT_SMALL:%.c=$(OUT)/kernel/%.o): KERNEL_CFLAGS += -Os

$(OUT)/kernel/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "CC $<"
	@$(CC) $(KERNEL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(KERNEL_OBJS:.o=.d)

LINK = ld -nostdlib --gc-sections -z max-page-size=4096 -z noexecstack --build-id=none -T linker.ld

# Linked twice: the first link says where the functions are, the second one carries their names for backtraces. The table comes
# after the code, so it moves nothing.
$(OUT)/lamina.elf: $(KERNEL_OBJS) linker.ld tools/symbols.py
	@/usr/bin/python3 tools/symbols.py < /dev/null > $(OUT)/symbols.c
	@$(CC) $(KERNEL_CFLAGS) -c -o $(OUT)/symbols.o $(OUT)/symbols.c
	@$(LINK) -o $(OUT)/lamina.first $(KERNEL_OBJS) $(OUT)/symbols.o
	@nm -n $(OUT)/lamina.first | /usr/bin/python3 tools/symbols.py > $(OUT)/symbols.c
	@$(CC) $(KERNEL_CFLAGS) -c -o $(OUT)/symbols.o $(OUT)/symbols.c
	@echo "LD $@"
	@$(LINK) -o $(OUT)/lamina.debug $(KERNEL_OBJS) $(OUT)/symbols.o
	@objcopy --strip-debug $(OUT)/lamina.debug $@

clean:
	rm -rf $(OUT)/kernel $(OUT)/efi $(OUT)/unit $(OUT)/mutate $(OUT)/tests $(OUT)/lamina.*

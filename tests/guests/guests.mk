# The guests of our own: build/tests/guests/NAME.elf, Multiboot kernels as GRUB and Lamina load them (ELF32, code of 64 bits).

GUESTS_OUT := build/tests/guests
GUESTS_CC ?= gcc
GUESTS_CFLAGS := -std=gnu17 -O2 -g0 -I. -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef \
	-Wpointer-arith -ffreestanding -fno-strict-aliasing -fno-stack-protector -mno-red-zone -mgeneral-regs-only -mcmodel=small \
	-fno-pic -fno-asynchronous-unwind-tables -fno-builtin -fno-toplevel-reorder -fcf-protection=none

GUESTS_DIRS := cpu irq smp memory disk bench stress
GUESTS_CRASH := triple taskswitch badstate
GUESTS_NAMES := $(GUESTS_DIRS) $(GUESTS_CRASH)
GUESTS_ELFS := $(GUESTS_NAMES:%=$(GUESTS_OUT)/%.elf)

GUESTS_START := $(GUESTS_OUT)/lib/start.o
GUESTS_LIB := $(GUESTS_OUT)/libguest.a
GUESTS_LIB_OBJS := $(patsubst tests/guests/lib/%.c,$(GUESTS_OUT)/lib/%.o,$(wildcard tests/guests/lib/*.c)) \
	$(GUESTS_OUT)/lib/trap_entry.o $(GUESTS_OUT)/common/printf.o $(GUESTS_OUT)/common/string.o

.PHONY: guests-tests
guests-tests: $(GUESTS_ELFS)

$(GUESTS_OUT)/common/%.o: lib/%.c $(wildcard lib/*.h) tests/guests/guests.mk
	@mkdir -p $(@D)
	$(GUESTS_CC) $(GUESTS_CFLAGS) -c $< -o $@

$(GUESTS_OUT)/%.o: tests/guests/%.c $(wildcard lib/*.h tests/guests/*/*.h) tests/guests/guests.mk
	@mkdir -p $(@D)
	$(GUESTS_CC) $(GUESTS_CFLAGS) -c $< -o $@

$(GUESTS_OUT)/%.o: tests/guests/%.asm tests/guests/guests.mk
	@mkdir -p $(@D)
	nasm -f elf64 -i $(GUESTS_OUT)/ -o $@ $<

# Code for low memory (real mode, processor start), carried by a guest as a flat binary.
$(GUESTS_OUT)/%.bin: tests/guests/%.asm16
	@mkdir -p $(@D)
	nasm -f bin -o $@ $<

$(GUESTS_OUT)/cpu/modes_image.o: $(GUESTS_OUT)/cpu/modes.bin
$(GUESTS_OUT)/stress/legacy.o: $(GUESTS_OUT)/stress/legacy_code.bin
$(GUESTS_OUT)/smp/trampoline_image.o: $(GUESTS_OUT)/smp/trampoline.bin

$(GUESTS_LIB): $(GUESTS_LIB_OBJS)
	@rm -f $@
	ar rcD $@ $^

# $(1): guest, $(2): its objects
define GUEST_LINK
$(GUESTS_OUT)/$(1).elf: $(GUESTS_START) $(2) $(GUESTS_LIB) tests/guests/lib/guest.ld
	ld -nostdlib -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T tests/guests/lib/guest.ld -o $(GUESTS_OUT)/$(1).elf64 \
		$(GUESTS_START) $(2) $(GUESTS_LIB)
	objcopy -O elf32-i386 $(GUESTS_OUT)/$(1).elf64 $$@
endef

GUESTS_OBJS_OF = $(patsubst tests/guests/%.c,$(GUESTS_OUT)/%.o,$(wildcard tests/guests/$(1)/*.c)) \
	$(patsubst tests/guests/%.asm,$(GUESTS_OUT)/%.o,$(wildcard tests/guests/$(1)/*.asm))

$(foreach guest,$(GUESTS_DIRS),$(eval $(call GUEST_LINK,$(guest),$(call GUESTS_OBJS_OF,$(guest)))))
$(foreach guest,$(GUESTS_CRASH),$(eval $(call GUEST_LINK,$(guest),$(GUESTS_OUT)/crash/$(guest).o)))

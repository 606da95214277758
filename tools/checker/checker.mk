# build/lamina-check, which tells a user on the host what Lamina would say of a configuration: its own parser and loaders, for the host.

CHECKER_C := tools/checker/lamina_check.c $(sort $(wildcard vmm/config/*.c vmm/loader/*.c)) vmm/memory/e820.c vmm/memory/guest_memory.c
CHECKER_CFLAGS := -std=gnu17 -O1 -g -I. -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -fno-strict-aliasing \
	-fsanitize=undefined -fno-sanitize-recover=all

lamina: $(OUT)/lamina-check
$(OUT)/lamina-check: $(CHECKER_C) $(KERNEL_H) tools/checker/checker.mk
	@mkdir -p $(@D)
	@echo "CC $@ (host)"
	@$(CC) $(CHECKER_CFLAGS) -o $@ $(CHECKER_C)

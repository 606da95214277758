# `make check`: the static checks of tools/check.py, with the flags that the builds use. CHECK="layers headers" runs only those.

.PHONY: check
check: export CHECK_KERNEL_CFLAGS = $(KERNEL_CFLAGS)
check: export CHECK_KERNEL_C = $(KERNEL_C)
check: export CHECK_EFI_CFLAGS = $(EFI_CFLAGS)
check: export CHECK_EFI_C = $(EFI_C)
check: export CHECK_UNIT_CFLAGS = $(UNIT_CFLAGS)
check: export CHECK_GUESTS_CFLAGS = $(GUESTS_CFLAGS)
check: setup build/vmm/devices/dsdt.c
	@$(RUN_PYTHON) tools/check.py $(CHECK)

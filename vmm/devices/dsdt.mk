# The guest's DSDT: vmm/devices/dsdt.asl, with its macros expanded, compiled by iasl, as a C array in build/vmm/devices/dsdt.c.
# Link build/vmm/devices/dsdt.c wherever vmm/devices/acpi_tables.c is linked.

IASL ?= iasl
DSDT_CPP ?= gcc -E -P -x c -undef -nostdinc

build/vmm/devices/dsdt.asl: vmm/devices/dsdt.asl
	@mkdir -p $(@D)
	$(DSDT_CPP) -o $@ $<

build/vmm/devices/dsdt.aml: build/vmm/devices/dsdt.asl
	@$(IASL) -we -p $(basename $@) $< > $(basename $@).log 2>&1 || { cat $(basename $@).log; rm -f $@; exit 1; }

build/vmm/devices/dsdt.c: build/vmm/devices/dsdt.aml
	@{ printf '#include "vmm/devices/dsdt.h"\n\nconst uint8_t dsdt_aml[] = {\n'; od -An -v -tx1 $< | sed 's/ \(..\)/0x\1,/g'; \
	printf '};\nconst uint32_t dsdt_aml_len = sizeof(dsdt_aml);\n'; } > $@.new && mv $@.new $@

# Unit tests on the host: each tests/unit/test_NAME.c names what it tests on its first line, /* SOURCES: a.c b.c */
# (UNIT_FAKES are always linked), optionally other libraries (or flags) on its second, /* LIBS: -lname */, and becomes
# build/unit/test_NAME with cmocka, AddressSanitizer and UBSan.

UNIT_TESTS := $(patsubst tests/unit/%.c,%,$(sort $(wildcard tests/unit/test_*.c)))
UNIT_CC ?= gcc
UNIT_CFLAGS := -std=gnu17 -O1 -g -I. -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -fno-strict-aliasing \
	-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DLAMINA_HOST_TEST
UNIT_FAKES := tests/unit/fakes.c
UNIT_LIBS := -lcmocka
unit_sources = $(shell sed -n '1s|^/\* SOURCES: \(.*\) \*/$$|\1|p' tests/unit/$(1).c)
unit_libs = $(shell sed -n '2s|^/\* LIBS: \(.*\) \*/$$|\1|p' tests/unit/$(1).c)

define UNIT_RULE
build/unit/$(1): tests/unit/$(1).c $(UNIT_FAKES) $(call unit_sources,$(1)) $(KERNEL_H) $(wildcard tests/unit/*.h)
	@mkdir -p build/unit
	@echo "CC $$@"
	@$(UNIT_CC) $(UNIT_CFLAGS) -o $$@ tests/unit/$(1).c $(UNIT_FAKES) $(call unit_sources,$(1)) $(UNIT_LIBS) $(call unit_libs,$(1))
endef
$(foreach t,$(UNIT_TESTS),$(eval $(call UNIT_RULE,$(t))))

# They include their sources.
build/unit/test_log: drivers/console/log.c
build/unit/test_mtrr: arch/x86_64/mtrr.c
build/unit/test_printf: lib/printf.c

# Debian's kernel, whose code a test walks.
build/unit/test_decode_zydis: | build/guests/vmlinux
build/guests/vmlinux:
	@tools/fetch-guests.sh linux

.PHONY: unit unit-%
unit: $(addprefix build/unit/,$(UNIT_TESTS))
	@$(RUN_PYTHON) tests/unit/suites.py $^
unit-%: build/unit/test_%
	$<

# The same tests, driven much further.
.PHONY: test-long
test-long: build/unit/test_shadow
	SHADOW_STEPS=1000000 $<

# Mutation testing: how much of what breaks do the unit tests notice? MUTATIONS=100 SEED=1 FILES="vmm/*" JOBS=2 THRESHOLD=90
MUTATIONS ?= 100
SEED ?= 1
JOBS ?= 2
THRESHOLD ?= 90
.PHONY: mutate
mutate: $(filter build/%,$(sort $(foreach t,$(UNIT_TESTS),$(call unit_sources,$(t))))) | build/guests/vmlinux
	@$(RUN_PYTHON) tools/mutate.py --mutations $(MUTATIONS) --seed $(SEED) --files '$(FILES)' --jobs $(JOBS) --threshold $(THRESHOLD) \
		--cc='$(UNIT_CC)' --cflags='$(UNIT_CFLAGS)' --fakes='$(UNIT_FAKES)' --libraries='$(UNIT_LIBS)'

# Fuzzers: each tests/fuzz/fuzz_NAME.c names what it drives on its first line, /* SOURCES: a.c b.c */, as a unit test does, and on its
# second how much of it `make test` sees, /* TEST: 1000 runs of up to 200 bytes */. It becomes build/fuzz/NAME by clang's libFuzzer with
# AddressSanitizer and UBSan.
#
#   make fuzz FUZZ_S=60 FUZZ="terminal config"     run these (or all) for so many seconds each
#   make fuzz-keep FUZZ=terminal                   take what a run has learnt into the kept corpus, made small again

FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ ?= $(FUZZERS)
FUZZ_S ?= 60
FUZZ_CC ?= clang
# At a fixed place: libFuzzer's choices depend on the addresses of the code.
FUZZ_CFLAGS := -std=gnu17 -O1 -g -I. -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -fno-strict-aliasing \
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -fno-pie -no-pie -DLAMINA_HOST_TEST
fuzz_sources = $(shell sed -n '1s|^/\* SOURCES: \(.*\) \*/$$|\1|p' tests/fuzz/fuzz_$(1).c)

define FUZZ_RULE
build/fuzz/$(1): tests/fuzz/fuzz_$(1).c tests/unit/fakes.c $(call fuzz_sources,$(1)) $(KERNEL_H) $(wildcard tests/unit/*.h) tests/fuzz/fuzz.h
	@mkdir -p build/fuzz
	@echo "CC $$@"
	@$(FUZZ_CC) $(FUZZ_CFLAGS) -o $$@ tests/fuzz/fuzz_$(1).c tests/unit/fakes.c $(call fuzz_sources,$(1)) -lcmocka
endef
$(foreach f,$(FUZZERS),$(eval $(call FUZZ_RULE,$(f))))

.PHONY: fuzz fuzz-keep
fuzz: $(addprefix build/fuzz/,$(FUZZ))
	@/usr/bin/python3 tests/fuzz/fuzz.py run $(FUZZ_S) $(FUZZ)
fuzz-keep: $(addprefix build/fuzz/,$(FUZZ))
	@/usr/bin/python3 tests/fuzz/fuzz.py keep $(FUZZ)

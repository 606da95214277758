# Lamina's build. `make` builds the hypervisor; `make help` lists the rest.

all: lamina

include tests/unit/unit.mk

.PHONY: all lamina
lamina:
	@echo "nothing yet"

# Running Lamina: set-up, guests, images, tests, bench. `make help` lists them.

RUN_PYTHON := /usr/bin/python3
LAMINA_ELF ?= build/lamina.elf
HOST_CPUS ?= 2

# The demo's guest; the user's own files take its place: make run GUEST_KERNEL=… GUEST_INITRD=… GUEST_DISK=… GUEST_CMDLINE=…
# With a kernel of the user's, nothing of the demo's is added to it.
ifdef GUEST_KERNEL
GUEST_FILES := --kernel '$(GUEST_KERNEL)'
else
GUEST_FILES := --kernel build/guests/vmlinuz
GUEST_INITRD ?= build/guests/initrd.gz
GUEST_DISK ?= build/guests/disk.img
endif

# A disk of the machine's own for the guest: make run-qemu DISK=nvme. Its file keeps what is written. What is there already, a disk of
# the user's perhaps, is never overwritten.
ifdef DISK
HOST_DISK ?= build/host-disk.img
GUEST_DISK = $(patsubst nvme:0,nvme:0n1,$(DISK):0)
endif
GUEST_FILES += $(if $(GUEST_INITRD),--initrd '$(GUEST_INITRD)') $(foreach disk,$(GUEST_DISK),--disk '$(disk)') \
	$(foreach module,$(GUEST_MODULES),--module '$(module)') \
	$(if $(GUEST_CMDLINE),--cmdline '$(GUEST_CMDLINE)') $(if $(GUEST_MEM),--memory $(GUEST_MEM)) $(if $(GUEST_CPUS),--cpus $(GUEST_CPUS))
RUN_MACHINE = $(if $(MACHINE),--machine $(MACHINE)) $(if $(ACCEL),--accel $(ACCEL)) $(if $(CPU),--cpu $(CPU)) $(if $(HOST_MEM),--host-memory $(HOST_MEM)) \
	--host-cpus $(HOST_CPUS) $(if $(UEFI),--uefi) $(if $(BOOT),--boot-from $(BOOT)) \
	$(if $(DISK),--host-disk '$(DISK)=$(HOST_DISK)')

.PHONY: setup setup-run guests guest-root run run-qemu native image test test-matrix bench bench-disk help
setup:
	@tools/setup.sh

# What a run needs is a third of it.
setup-run:
	@tools/setup.sh run $(if $(filter bochs,$(MACHINE)),bochs) $(if $(UEFI),uefi) $(if $(filter net,$(BOOT)),net)

# Each of these sets the machine up first, so that a fresh clone needs one command; a second make then builds with what is there.
guests: setup
	@tools/fetch-guests.sh

# A Debian that is installed on a disk image; needs root.
guest-root: setup
	@tools/make-root.sh

run: setup-run
	@+$(MAKE) --no-print-directory lamina
	@$(if $(GUEST_KERNEL),:,tools/fetch-guests.sh linux)
	@$(if $(DISK),test -e '$(HOST_DISK)' || cp build/guests/disk.img '$(HOST_DISK)')
	@tools/lamina-run $(RUN_MACHINE) --lamina $(LAMINA_ELF) $(GUEST_FILES) $(RUN_OPTIONS)

# In QEMU, whatever there is to run it with: KVM with nested VT-x or AMD-V, or its own emulation.
run-qemu: override MACHINE = qemu
run-qemu: run

native: setup-run
	@$(if $(GUEST_KERNEL),:,tools/fetch-guests.sh linux)
	@tools/lamina-run $(RUN_MACHINE) --native $(GUEST_FILES) $(RUN_OPTIONS)

image: setup-run
	@+$(MAKE) --no-print-directory lamina
	@$(if $(GUEST_KERNEL),:,tools/fetch-guests.sh linux)
	@tools/lamina-image --out build/lamina.img --lamina $(LAMINA_ELF) $(GUEST_FILES)

test: setup
	@$(RUN_PYTHON) tests/run.py $(TESTS)

test-matrix: setup
	@$(RUN_PYTHON) tests/run.py --matrix $(TESTS)

bench: setup
	@+$(MAKE) --no-print-directory lamina guests-tests
	@tools/fetch-guests.sh linux
	@$(RUN_PYTHON) tools/bench.py $(BENCH_OPTIONS)

# The disk of the guest against the disk of the bare machine, with fio, one beside the other.
bench-disk: setup
	@+$(MAKE) --no-print-directory lamina
	@tools/fetch-guests.sh disks
	@$(RUN_PYTHON) tools/bench_disk.py $(BENCH_OPTIONS)

help:
	@echo 'make                build Lamina: build/lamina.elf'
	@echo 'make run            install what is missing, build, and boot the demo guest; Ctrl-] leaves'
	@echo '                    GUEST_KERNEL= GUEST_INITRD= GUEST_DISK= GUEST_MODULES= GUEST_CMDLINE=: your own files'
	@echo '                    GUEST_MEM=MIB GUEST_CPUS=N HOST_CPUS=N HOST_MEM=MIB MACHINE=bochs|qemu CPU=MODEL'
	@echo '                    ACCEL=auto|kvm|tcg: how QEMU makes the CPU'
	@echo 'make run-qemu       the same in QEMU: with KVM where that offers nested VT-x or AMD-V, else by QEMU alone with AMD-V'
	@echo '                    DISK=nvme|ahci|virtio|ata (MACHINE=bochs: ata): the disk is the machine'"'"'s own, HOST_DISK=FILE'
	@echo 'make native         the same guest without Lamina'
	@echo '                    UEFI=1: by UEFI firmware; BOOT=cd|usb|disk|nvme|net: from that medium (both in QEMU)'
	@echo 'make image          build/lamina.img for the same variables: boots from USB stick or CD, by BIOS or UEFI'
	@echo 'make test           every test (TESTS="unit qemu/test_gnu_mach" runs only those)'
	@echo 'make test-matrix    Debian to its shell on every CPU model that the emulators have (TESTS="zambezi" only on that)'
	@echo 'make check          static checks'
	@echo 'make unit           unit tests alone, a line for each suite; make unit-pic: one of them, in full'
	@echo 'make mutate         do the unit tests notice small faults in the code? MUTATIONS=100 SEED=1 FILES="vmm/*" JOBS=2 THRESHOLD=90'
	@echo 'make unit           unit tests alone'
	@echo 'make fuzz           each fuzzer for a minute (FUZZ_S=600 FUZZ="terminal config": these two, for ten)'
	@echo 'make bench          Lamina measured against the bare machine: VT-x in Bochs with either virtual MMU, AMD-V in QEMU'
	@echo 'make bench-disk     disks: the guest'"'"'s speed over the bare machine'"'"'s, and exits for each request'
	@echo 'make guests         fetch the systems that the demo, tests and bench boot'
	@echo 'make guest-root     install a Debian on a disk image, build/guests/root/disk.img; as root'
	@echo 'make setup          install the Debian packages that all of this needs'
	@echo 'tools/lamina-run --help tells how to boot anything else.'

"""What Lamina says of itself and of its own faults: the CPU report, memory, dumps with backtraces, a refused VM entry."""
import pytest

from conftest import BOCHS, guest_file, linux


def mach(*more):
    return ["--kernel", guest_file("gnumach.elf"), "--cmdline", "console=com0", *more]


@BOCHS
def test_the_boot_log(batch):
    """The CPU report, one line a feature; no page writable and executable; the default guest in one 1 GiB page; the chosen mode."""
    assert batch.run(*linux("--until", r"vm guest: Linux 64-bit", cmdline="console=ttyS0 quiet"), timeout=120) == 0, batch.said
    for feature in ("VT-x", "EPT", "EPT 1 GiB pages", "EPT A/D bits", "VPID", "unrestricted guest", "APIC virtualization", "posted interrupts",
                    "preemption timer", "PML", "VT-d", "AVX2", "AVX-512", "AES-NI"):
        batch.require(rf"^lamina: cpu: {feature} *: (yes|no ) \(.+\)\r?$")
    batch.require(r"^lamina: vm guest: memory: 1024 MiB in 1 1 GiB, 0 2 MiB and 0 4 KiB pages")
    batch.require(r"^lamina: MONITOR MODE: chosen mode +: HV-hwMMU \(VT-x with EPT, 1 GiB pages, VPID 1\)")


@BOCHS
def test_no_page_is_writable_and_executable(batch):
    assert batch.run(*mach("--until", r"writable and executable"), timeout=120) == 0, batch.said
    batch.require(r"^lamina: memory: 0 pages of Lamina are writable and executable")


@BOCHS
@pytest.mark.parametrize("word, fault, function", [
    ("page-fault", r"page fault \(vector 14, error 2\)", "debug_fault"),
    ("write-code", r"page fault \(vector 14, error 3\)", "debug_fault"),
    ("run-data", r"page fault \(vector 14, error 11\)", None),
    ("stack-overflow", r"double fault \(vector 8, error 0\)", "overflow"),  # the guard page below the stack
])
def test_a_fault_of_laminas_own(batch, word, fault, function):
    """W^X and the guard pages hold; the dump names registers and functions; no reset loop."""
    assert batch.run(*mach("--lamina-cmdline", f"debug={word}"), timeout=120) == 5, batch.said
    batch.require(rf"^lamina: core 0: {fault} at ")
    batch.require(r"^lamina:   RAX [0-9a-f]{16} RBX [0-9a-f]{16}")
    if function:
        batch.require(rf"^lamina:   \[<[0-9a-f]{{16}}>\] {function}\+0x")
    batch.require(r"^lamina: PANIC: (page|double) fault in Lamina itself")
    assert batch.count(r"lamina: Lamina \d") == 1


@BOCHS
def test_a_refused_vm_entry_names_the_check(batch):
    assert batch.run(*mach("--lamina-cmdline", "debug=vm-entry"), timeout=120) == 4, batch.said
    batch.require(r"^lamina: vm guest: vcpu 0: VM entry failed, exit reason 33")
    batch.require(r"^lamina:   failed check: a usable segment is not present")
    batch.require(r"GUEST_CS_ACCESS +0000")
    batch.require(r"^lamina: vm guest: stopped: VM entry failed")

"""Other systems from Debian's packages, unmodified, with either virtual MMU."""
import pytest

from conftest import BOTH, guest_file

MODES = {"hardware": "HV-hwMMU", "software": "HV-swMMU"}
MMU = pytest.mark.parametrize("mmu", MODES)


def check_mode(session, mmu):
    session.require(r"^lamina: MONITOR MODE: chosen mode +: " + MODES[mmu])


@BOTH
@MMU
def test_memtest86(session, mmu):
    """memtest86+ gets to its running screen on the serial port, and finds all of its memory."""
    session.start("--kernel", guest_file("memtest86+x64.bin"), "--cmdline", "console=ttyS0,115200", "--memory", "1024", "--set",
                  f"monitor.virtual_mmu={mmu}", timeout=300)
    session.expect(r"Memtest86\+ v6")
    session.expect(r"Memory  : *(\S+)")
    session.expect("Status: Testing")
    # A second update: it runs on, its clock goes.
    session.expect(r"0:0\d:(?!00)\d\d")
    session.leave()
    check_mode(session, mmu)


@BOTH
@MMU
def test_gnu_mach(session, mmu):
    """GNU Mach, a Multiboot kernel: its banner, its memory map, its complaint that it was given no modules."""
    session.start("--kernel", guest_file("gnumach.elf"), "--cmdline", "console=com0", "--memory", "512", "--set", f"monitor.virtual_mmu={mmu}",
                  timeout=240)
    session.expect(r"GNU Mach 1\.8")
    session.expect(r"biosmem: physical memory map")
    session.expect(r"panic.*No bootstrap code loaded")
    session.leave()
    check_mode(session, mmu)

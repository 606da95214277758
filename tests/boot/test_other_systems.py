"""Other systems from Debian's packages, unmodified."""
from conftest import BOTH, guest_file


@BOTH
def test_memtest86(session):
    """memtest86+ gets to its running screen on the serial port, and finds all of its memory."""
    session.start("--kernel", guest_file("memtest86+x64.bin"), "--cmdline", "console=ttyS0,115200", "--memory", "1024", timeout=300)
    session.expect(r"Memtest86\+ v6")
    session.expect(r"Memory  : *(\S+)")
    session.expect("Status: Testing")
    # A second update: it runs on, its clock goes.
    session.expect(r"0:0\d:(?!00)\d\d")
    session.leave()


@BOTH
def test_gnu_mach(session):
    """GNU Mach, a Multiboot kernel: its banner, its memory map, its complaint that it was given no modules."""
    session.start("--kernel", guest_file("gnumach.elf"), "--cmdline", "console=com0", "--memory", "512", timeout=240)
    session.expect(r"GNU Mach 1\.8")
    session.expect(r"biosmem: physical memory map")
    session.expect(r"panic.*No bootstrap code loaded")
    session.leave()

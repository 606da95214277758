"""What a user without a serial port sees: the log and the guest on VGA's text screen and on a framebuffer; and serial ports elsewhere than at
COM1. In QEMU, whose monitor shows the screen."""
import re
import socket
import struct

import pytest

from conftest import guest_file, linux
from screens import OVMF, Screen, make_grub_iso, make_iso

SVM = ("-cpu", "EPYC,+svm,+npt", "-smp", "4")
LINUX = """[vm guest]
kernel = "vmlinuz"
initrd = "initrd.gz"
cmdline = "console=ttyS0 quiet no_timer_check"
memsize = 256
"""


def test_the_refusal_is_on_the_screen(tmp_path):
    iso = str(tmp_path / "lamina.iso")
    make_iso(iso, "--kernel", guest_file("gnumach.elf"))
    with Screen(str(tmp_path), iso, "-cpu", "qemu64,-svm", "-serial", "none") as screen:
        rows = screen.wait(screen.vga, "fatal: ", 90)
    assert "lamina: fatal: this CPU (AuthenticAMD" in "".join(rows), rows   # Lamina's lines wrap at the edge


def test_the_guest_on_the_text_screen(tmp_path):
    """No serial port at all: nothing waits for one, and the guest's console is on the screen, in colours and at places that it chose."""
    iso = str(tmp_path / "lamina.iso")
    make_iso(iso, *linux("--memory", "256"))
    with Screen(str(tmp_path), iso, *SVM, "-serial", "none") as screen:
        rows = screen.wait(screen.vga, r"^guest#", 90)
    assert any("BusyBox" in row for row in rows), rows


def test_the_framebuffer_under_uefi(tmp_path):
    """GRUB under OVMF, 6 GiB, no serial port: the picture of the screen has the guest's last lines and, earlier, Lamina's log."""
    iso = str(tmp_path / "lamina.iso")
    make_grub_iso(iso, str(tmp_path), {name: guest_file(name) for name in ("vmlinuz", "initrd.gz")}, LINUX)
    with Screen(str(tmp_path), iso, *SVM, "-m", "6144", "-bios", OVMF, "-serial", "none") as screen:
        rows = screen.wait(screen.pixels, r"^guest#", 120)
    assert any("BusyBox v1" in row for row in rows), rows
    assert not any("\ufffd" in row for row in rows), rows


def test_the_image_under_uefi(tmp_path):
    """The image as lamina-image makes it, loaded by lamina.efi, on the firmware's framebuffer and without a serial port."""
    iso = str(tmp_path / "lamina.iso")
    make_iso(iso, *linux("--memory", "256"))
    with Screen(str(tmp_path), iso, *SVM, "-m", "6144", "-bios", OVMF, "-serial", "none") as screen:
        rows = screen.wait(screen.pixels, r"^guest#", 120)
    assert any("BusyBox v1" in row for row in rows) and "lamina: smp: 4 of 4 cores run" in rows, rows
    assert not any("\ufffd" in row for row in rows), rows


def test_the_log_on_a_framebuffer(tmp_path):
    """The whole log up to a fatal line, as it is on a serial port."""
    iso = str(tmp_path / "lamina.iso")
    log = str(tmp_path / "serial.log")
    make_grub_iso(iso, str(tmp_path), {})
    with Screen(str(tmp_path), iso, *SVM, "-bios", OVMF, "-serial", f"file:{log}") as screen:
        rows = screen.wait(screen.pixels, "fatal: no boot module named", 120)
    with open(log, encoding="utf-8") as file:
        said = [line.rstrip("\r\n") for line in file]
    columns = max(len(row) for row in rows)
    wrapped = [line[at:at + columns].rstrip() for line in said for at in range(0, max(len(line), 1), columns)]
    shown = [row for row in rows if row]
    assert any("characters on the loader's framebuffer of" in line for line in said), said
    assert shown == wrapped[-len(shown):], (shown, wrapped)


def serial_options(path, device):
    """QEMU's own option for a UART that writes to a file."""
    return ["--qemu-option=-chardev", f"--qemu-option=file,id=other,path={path}", "--qemu-option=-device", f"--qemu-option={device},chardev=other"]


def spcr(path, port, baud):
    """A Serial Port Console Redirection Table for a UART in I/O space: what stands behind its header."""
    with open(path, "wb") as file:
        file.write(struct.pack("<B3x BBBBQ BBIBBBBBB HHBBBIBI", 0, 1, 8, 0, 1, port, 1, 3, 3, baud, 0, 1, 0, 3, 0, 0xFFFF, 0xFFFF, 0, 0, 0, 0, 0, 0))


CASES = {
    # What QEMU has besides COM1, Lamina's command line, what the log says of it, and whether COM1 has the log as well.
    "pci": ("pci-serial", "serial=pci,9600", r"serial: PCI 00:02\.0 \(1b36:0002\), port 0x[0-9a-f]+, 9600 baud, 8n1: the command line says so", False),
    "com2": ("isa-serial,iobase=0x2f8,irq=3", "serial=com2", r"serial: port 0x2f8, 115200 baud, 8n1: the command line says so", False),
    "spcr": ("isa-serial,iobase=0x2f8,irq=3", "", r"serial: port 0x2f8, 57600 baud, 8n1: the firmware's SPCR table names it", True),
    "wrong": ("isa-serial,iobase=0x2f8,irq=3", "serial=com7", r"serial=com7: expected auto, off, com1 to com4", True),
}


@pytest.mark.parametrize("case", CASES)
def test_other_serial_ports(batch, tmp_path, case):
    """The whole log and the guest's console come through the port that is chosen, by interrupt or by polling."""
    device, cmdline, says, also_com1 = CASES[case]
    other = str(tmp_path / "other.log")
    more = []
    if case == "spcr":
        spcr(tmp_path / "spcr", 0x2F8, 6)
        more = ["--qemu-option=-acpitable", f"--qemu-option=sig=SPCR,data={tmp_path}/spcr"]
    batch.run(*linux("--memory", "256", "--host-cpus", "4", cmdline="console=ttyS0 quiet lamina.run=poweroff"), "--lamina-cmdline", cmdline,
              *serial_options(other, device), *more, timeout=90)
    with open(other, encoding="utf-8", errors="replace") as file:
        text = batch.text if case == "wrong" else file.read().replace("\r", "")
    assert text.startswith("lamina: Lamina ") or case == "wrong", text
    assert re.search(says, text), text
    assert "lamina-guest: ready" in text, text
    assert "lamina: vm guest: powered off by the guest" in text, text
    assert ("lamina: Lamina " in batch.text) == also_com1, batch.text


def test_typing_to_a_polled_port(tmp_path):
    """A UART on PCI, whose interrupt nobody knows: what is typed arrives, and the answer comes back."""
    iso, where = str(tmp_path / "lamina.iso"), str(tmp_path / "port")
    make_iso(iso, *linux("--memory", "256"), "--lamina-cmdline", "serial=pci")
    with Screen(str(tmp_path), iso, *SVM, "-serial", "none", "-chardev", f"socket,id=port,path={where},server=on,wait=off",
                "-device", "pci-serial,chardev=port") as screen, socket.socket(socket.AF_UNIX) as port:
        port.connect(where)
        screen.wait(screen.vga, r"^guest#", 90)
        port.sendall(b"echo h''i; poweroff -f\n")
        port.settimeout(60)
        text = b""
        while b"lamina: machine: power off" not in text:
            more = port.recv(4096)
            assert more, text
            text += more
    assert b"\nhi\r" in text, text


def test_no_one_gib_pages_and_much_memory(batch):
    """A CPU without 1 GiB pages, memory above 4 GiB, four cores; and the reset at the end, as asked."""
    batch.run(*linux(cmdline="console=ttyS0 quiet lamina.run=poweroff"), "--cpu", "EPYC,+svm,+npt,-pdpe1gb", "--host-memory", "6144",
              "--host-cpus", "4", "--lamina-cmdline", "end=reset", timeout=90)
    batch.require(r"^lamina: vm guest: memory: 1024 MiB in \d+ 1 GiB")
    batch.require(r"^lamina: smp: 4 of 4 cores run")
    batch.require(r"^lamina: time: TSC at \d+ kHz, measured against the HPET$")
    batch.require(r"^lamina: memory: image \d+ KiB, pool \d+ KiB of 4096 KiB")
    batch.require(r"^lamina: MONITOR MODE: chosen mode +: HV-hwMMU \(AMD-V with RVI, 2 MiB pages")
    batch.require(r"^lamina: machine: reset, as the command line says")


@pytest.mark.parametrize("options, reference", [(["-machine", "hpet=off"], "ACPI PM timer")], ids=["no_hpet"])
def test_other_clocks(batch, options, reference):
    batch.run("--kernel", guest_file("gnumach.elf"), "--cmdline", "console=com0", "--until", "lamina: smp: ",
              *[f"--qemu-option={word}" for word in options], timeout=60)
    batch.require(rf"^lamina: time: TSC at \d+ kHz, measured against the {reference}$")


def test_a_large_machine(batch):
    """70 GiB (of which little is touched: the host need not have them) and 80 cores: all of it is used, by tables that grow with it."""
    batch.run("--kernel", guest_file("gnumach.elf"), "--cmdline", "console=com0", "--until", "of Lamina are writable", "--host-memory", "71680",
              "--host-cpus", "80", "--qemu-option=-object", "--qemu-option=memory-backend-ram,id=memory,size=70G,reserve=off",
              "--qemu-option=-machine", "--qemu-option=memory-backend=memory", timeout=120)
    batch.require(r"^lamina: acpi: MADT: 80 cores enabled, 0 switched off, 0 that could be added later; 1 I/O APIC")
    batch.require(r"^lamina: smp: 80 of 80 cores run")
    assert int(batch.require(r"of 32768 KiB, (\d+) MiB free for guests").group(1)) > 68000

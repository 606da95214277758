"""What other firmware says than QEMU's: tables that GRUB puts in the place of QEMU's, and serial ports in memory."""
import os
import re
import struct
import subprocess

import pytest

from conftest import GUESTS, PATIENCE
from screens import Screen, make_grub_iso

OURS = os.path.join(os.path.dirname(GUESTS), "tests", "guests")
CPU = ("-cpu", "EPYC,+svm,+npt")
MEMORY_GUEST = '[vm guest]\nkernel = "memory.elf"\nmemsize = 64\n'


def table(signature, body):
    """A table of the ACPI with its header (section 5.2.6)."""
    text = bytearray(struct.pack("<4sIBB6s8sI4sI", signature, 36 + len(body), 3, 0, b"LAMINA", b"TEST    ", 1, b"TEST", 1) + body)
    text[9] = -sum(text) & 0xFF
    return bytes(text)


def run_with_table(tmp_path, signature, body, *options, cmdline=""):
    """A boot to the power-off with this table in the place of the firmware's; returns the serial log and QEMU's."""
    boot = tmp_path / "tree" / "boot"
    os.makedirs(boot)
    (boot / "table.aml").write_bytes(table(signature, body))
    iso, log = str(tmp_path / "lamina.iso"), str(tmp_path / "qemu.log")
    make_grub_iso(iso, str(tmp_path), {"memory.elf": os.path.join(OURS, "memory.elf")}, MEMORY_GUEST, "i386-pc",
                  ["insmod acpi", f"acpi --exclude={signature.decode()} /boot/table.aml"], cmdline)
    done = subprocess.run(["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", *CPU, "-m", "512", "-nodefaults", "-vga", "std", "-display", "none",
                           "-serial", "stdio", "-no-reboot", "-cdrom", iso, "-D", log, *options], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=90 * PATIENCE, check=False)
    with open(log, encoding="utf-8", errors="replace") as file:
        return done.stdout.decode(errors="replace").replace("\r", ""), file.read()


def fadt(reset, value):
    """QEMU's fixed hardware, and a reset register: (space, address)."""
    text = bytearray(244 - 36)

    def put(form, offset, *values):
        struct.pack_into(form, text, offset - 36, *values)

    put("<I", 56, 0x600)            # PM1a event block
    put("<I", 64, 0x604)            # PM1a control block
    put("<I", 76, 0x608)            # PM timer
    put("<BBxB", 88, 4, 2, 4)       # their lengths
    put("<I", 112, 1 << 10)         # there is a reset register
    put("<BBBBQB", 116, reset[0], 8, 0, 1, reset[1], value)
    return bytes(text)


def test_reset_register_in_pci_configuration_space(tmp_path):
    """QEMU's machine has none there, but shows the write to the register that is to be one: device 31, function 0, offset 0x3c."""
    text, log = run_with_table(tmp_path, b"FACP", fadt((2, 0x1F << 32 | 0 << 16 | 0x3C), 0x5A), "-trace", "pci_cfg_write", cmdline="end=reset")
    assert "lamina: acpi: power-off by PM1 control, reset by the FADT's register" in text, text
    assert "lamina: machine: reset, as the command line says" in text, text
    assert log.rstrip().endswith("pci_cfg_write ICH9-LPC 00:1f.0 @0x3c <- 0x5a"), log[-500:]


def test_cores_by_their_x2apic_ids(tmp_path):
    """An MADT that names the second core by its x2APIC ID, a third one that no message of an xAPIC reaches, and one that is switched off."""
    madt = struct.pack("<II", 0xFEE00000, 1) + struct.pack("<BBBBI", 0, 8, 0, 0, 1) + struct.pack("<BBBBII", 1, 12, 0, 0, 0xFEC00000, 0)
    madt += struct.pack("<BBBBIH", 2, 10, 0, 0, 2, 0)
    madt += b"".join(struct.pack("<BBHIII", 9, 16, 0, apic_id, flags, uid) for uid, (apic_id, flags) in enumerate([(1, 1), (300, 1), (301, 0)], 1))
    text, _ = run_with_table(tmp_path, b"APIC", madt, "-smp", "2")
    assert "lamina: acpi: MADT: 3 cores enabled, 1 switched off, 0 that could be added later" in text, text
    assert "lamina: core 1: APIC ID 1, " in text, text
    assert "lamina: smp: core with APIC ID 300 cannot be addressed without x2APIC" in text, text
    assert "lamina: smp: 2 of 3 cores run" in text, text
    assert "guest: done " in text, text


def test_the_highest_apic_id_without_x2apic(batch):
    """Two cores of 255 that the machine has room for: the first one and the last one. (QEMU emulates no x2APIC, and refuses more.)"""
    words = ["-smp", "1,maxcpus=255,sockets=255,cores=1,threads=1", "-device", "EPYC-x86_64-cpu,svm=on,npt=on,socket-id=254,core-id=0,thread-id=0"]
    status = batch.run("--kernel", os.path.join(OURS, "smp.elf"), "--memory", "64", "--cpus", "2", "--host-memory", "512",
                       *[f"--qemu-option={word}" for word in words], timeout=90)
    assert status == 0
    batch.require(r"^lamina: acpi: MADT: 2 cores enabled, 253 switched off, ")
    batch.require(r"^lamina: core 1: APIC ID 254, ")
    batch.require(r"^lamina: smp: 2 of 2 cores run")
    batch.require(r"^guest: done \d+ ok, 0 failed")


def spcr(path, address, access):
    """A Serial Port Console Redirection Table for a 16550 in memory at 115200 baud: what stands behind its header."""
    with open(path, "wb") as file:
        file.write(struct.pack("<B3x BBBBQ BBIBBBBBB HHBBBIBI", 0, 0, 8 * access, 0, access if access < 4 else 3, address, 0, 0, 0, 7, 0, 1, 0, 3, 0,
                               0xFFFF, 0xFFFF, 0, 0, 0, 0, 0, 0))


@pytest.mark.parametrize("stride, cmdline, line_control, why", [
    (4, None, 0x03, "registers of 4 byte.s. in memory, 115200 baud, 8n1: the firmware's SPCR table"),
    (1, "serial=mmio:0x100000000,9600,7e2", 0x1E, "registers of 1 byte.s. in memory, 9600 baud, 7e2: the command line says so"),
], ids=("spcr", "cmdline"))
def test_serial_port_in_memory(tmp_path, stride, cmdline, line_control, why):
    """QEMU has no such UART. Memory that the firmware's map does not tell of stands in for one, ready to send for ever: which register
    Lamina writes how is seen in the file behind that memory."""
    iso, registers = str(tmp_path / "lamina.iso"), str(tmp_path / "registers")
    make_grub_iso(iso, str(tmp_path), {}, platform="i386-pc", cmdline=cmdline or "")
    with open(registers, "wb") as file:
        file.truncate(128 << 20)
        file.seek(5 * stride)
        file.write(b"\x60")                # line status: both transmitter registers are empty
    more = ["-serial", "none", "-m", "512,maxmem=2G,slots=2", "-object", f"memory-backend-file,id=m,share=on,mem-path={registers},size=128M",
            "-device", "pc-dimm,memdev=m"]
    if not cmdline:
        spcr(tmp_path / "spcr", 1 << 32, stride)
        more += ["-acpitable", f"sig=SPCR,data={tmp_path}/spcr"]
    with Screen(str(tmp_path), iso, *CPU, *more) as screen:
        rows = screen.wait(screen.pixels, "fatal: no boot module named", 90)
    assert any(re.search(why, row) for row in rows), rows
    with open(registers, "rb") as file:
        written = file.read(8 * stride)[::stride]
        around = file.read(4096)
    assert written[0] == ord("\n") and written[3] == line_control and written[4] == 0x0B and written[5] == 0x60 and written[7] == 0xA5, written
    assert not any(around), "bytes behind the registers changed"

"""Debian's 32-bit kernels, loaded by their 32-bit entry: with page tables of two levels, and with PAE."""
import pytest

from conftest import BOCHS, guest_file

KERNELS = pytest.mark.parametrize("kernel", ["686", "686-pae"])


def linux_i386(kernel, *more):
    return ["--kernel", guest_file(f"vmlinuz-{kernel}"), "--initrd", guest_file("initrd-i386.gz"), "--set", "guestOS=linux-32",
            "--cmdline", "console=ttyS0 quiet no_timer_check", *more]


def check(session, kernel, mode):
    session.expect("lamina-guest: ready")
    session.shell()
    assert session.run("uname -m") == "i686"
    assert session.run("uname -r").endswith(kernel)
    # Page tables of two levels have no such bit.
    assert session.run("dmesg | grep -c 'NX (Execute Disable) protection: active'") == ("1" if kernel == "686-pae" else "0")
    session.child.sendline("exit")
    assert session.end(300) == 0
    session.require(r"^lamina: vm guest: Linux 32-bit boot protocol")
    session.require(r"^lamina: MONITOR MODE: chosen mode +: " + mode)
    session.require(r"^lamina: vm guest: powered off by the guest")


@KERNELS
@pytest.mark.parametrize("mmu, mode", [("hardware", r"HV-hwMMU \(AMD-V"), ("software", r"HV-swMMU \(AMD-V")], ids=["hardware", "software"])
def test_32_bit_kernel(session, kernel, mmu, mode):
    session.start(*linux_i386(kernel, "--set", f"monitor.virtual_mmu={mmu}"), timeout=300)
    check(session, kernel, mode)


@BOCHS
@pytest.mark.parametrize("kernel", ["686"])     # all are in the matrix
def test_32_bit_kernel_on_shadow_page_tables_with_vt_x(session, kernel):
    session.start(*linux_i386(kernel, "--set", "monitor.virtual_mmu=software"), timeout=900)
    check(session, kernel, r"HV-swMMU \(VT-x")

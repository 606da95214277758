"""Machines that Lamina cannot use: one clear sentence, no reset loop."""
from conftest import BOCHS, guest_file


def mach(*more):
    return ["--kernel", guest_file("gnumach.elf"), "--cmdline", "console=com0", *more]


def refused(batch, *patterns):
    """One fatal line, in which each of the patterns is found; the guest never ran."""
    assert batch.status == 5, batch.said
    line = batch.require(r"^lamina: fatal: .*").group(0)
    for pattern in patterns:
        batch.require(r"^lamina: fatal: .*" + pattern)
    assert batch.count(r"lamina: fatal: ") == 1, line
    assert batch.count(r"GNU Mach") == 0


# What is refused is named, and what is needed.
NEITHER = ("VT-x", "AMD-V")


@BOCHS
def test_neither_vt_x_nor_amd_v(batch):
    batch.run(*mach("--cpu", "athlon64_venice"), timeout=120)
    refused(batch, *NEITHER)


def test_no_svm_in_qemu(batch):
    batch.run(*mach("--cpu", "EPYC,-svm"), timeout=60)
    refused(batch, *NEITHER)


def test_too_little_memory_for_the_guest(batch):
    batch.run(*mach("--host-memory", "128", "--memory", "512"), timeout=120)
    assert batch.status == 5, batch.said
    batch.require(r"lamina: .*memory")


def test_no_configuration(batch):
    batch.run(*mach("--omit-config"), timeout=120)
    refused(batch, r"lamina\.cfg")


@BOCHS
def test_no_long_mode(batch):
    batch.run(*mach("--cpu", "core_duo_t2400_yonah"), timeout=120)
    refused(batch, "long mode")


@BOCHS
def test_too_little_memory_for_lamina(batch):
    batch.run("--kernel", guest_file("memtest86+x64.bin"), "--memory", "8", "--host-memory", "16", timeout=120)
    refused(batch, "too little memory")

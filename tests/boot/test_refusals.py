"""Machines that Lamina cannot use: one clear sentence, no reset loop."""
from conftest import guest_file


def mach(*more):
    return ["--kernel", guest_file("gnumach.elf"), "--cmdline", "console=com0", *more]


def refused(batch, pattern):
    assert batch.status == 5, batch.said
    batch.require(r"^lamina: fatal: .*" + pattern)
    assert batch.count(r"lamina: fatal: ") == 1
    assert batch.count(r"GNU Mach") == 0


def test_no_vmx(batch):
    batch.run(*mach("--cpu", "athlon64_venice"), timeout=120)
    refused(batch, "neither VT-x nor AMD-V")


def test_no_nested_paging(batch):
    batch.run(*mach("--cpu", "turion64_tyler"), timeout=120)
    refused(batch, "AMD-V without RVI")


def test_too_little_memory_for_the_guest(batch):
    batch.run(*mach("--host-memory", "128", "--memory", "512"), timeout=120)
    assert batch.status == 5, batch.said
    batch.require(r"lamina: .*memory")


def test_no_configuration(batch):
    batch.run(*mach("--omit-config"), timeout=120)
    refused(batch, r"lamina\.cfg")


def test_no_long_mode(batch):
    batch.run(*mach("--cpu", "core_duo_t2400_yonah"), timeout=120)
    refused(batch, "long mode")


def test_no_unrestricted_guest(batch):
    """EPT without unrestricted guest (Nehalem): the missing control is named."""
    batch.run(*mach("--cpu", "corei5_lynnfield_750"), timeout=120)
    refused(batch, r'"unrestricted guest" \(bit 7 of the secondary processor-based controls')


def test_too_little_memory_for_lamina(batch):
    batch.run("--kernel", guest_file("memtest86+x64.bin"), "--memory", "8", "--host-memory", "16", timeout=120)
    refused(batch, "too little memory")

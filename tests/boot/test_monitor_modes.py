"""The second monitor mode, HV-swMMU: Debian on shadow page tables, because the user asks for them or because the CPU has nothing else."""
import pytest

from conftest import BOCHS, linux

HV = r"^lamina: MONITOR MODE: chosen mode +: HV-swMMU \(VT-x with shadow page tables"
HV_AMD = r"^lamina: MONITOR MODE: chosen mode +: HV-swMMU \(AMD-V with shadow page tables"


@BOCHS
def test_shadow_page_tables_on_request(batch, disk):
    """Skylake-X with monitor.virtual_mmu = software: to the shell's init, a disk, a reboot, and power-off."""
    status = batch.run(*linux("--disk", disk, "--set", "monitor.virtual_mmu=software", cmdline="console=ttyS0 quiet lamina.run=ways=kbd"),
                       timeout=600)
    assert status == 0, batch.said
    batch.require(r"^lamina: MONITOR MODE: allowed modes +: HV HWMMU")
    batch.require(HV)
    assert batch.count(r"lamina: vm guest: reset by the guest") == 1
    batch.require(r"^lamina: vm guest: powered off by the guest")
    batch.require(r"^lamina: vm guest: exit page fault +count \d+")


@BOCHS
@pytest.mark.parametrize("cpu, lack", [
    ("core2_penryn_t9600", "enable EPT"),
    ("corei5_lynnfield_750", "unrestricted guest"),  # has EPT and VPID
])
def test_shadow_page_tables_for_want_of_better(batch, cpu, lack):
    status = batch.run(*linux("--cpu", cpu, cmdline="console=ttyS0 quiet lamina.run=poweroff"), timeout=600)
    assert status == 0, batch.said
    batch.require(rf'no nested paging for guests: .*"{lack}"')
    batch.require(r"^lamina: MONITOR MODE: allowed modes +: HV\r?$")
    batch.require(HV)
    batch.require(r"^lamina: vm guest: powered off by the guest")


@pytest.mark.parametrize("cpu", ["EPYC,+svm,-npt", "qemu64,+svm"])
def test_shadow_page_tables_for_want_of_rvi(batch, cpu):
    status = batch.run(*linux("--cpu", cpu, cmdline="console=ttyS0 quiet no_timer_check lamina.run=poweroff"), timeout=180)
    assert status == 0, batch.said
    batch.require(r"^lamina: MONITOR MODE: allowed modes +: HV\r?$")
    batch.require(HV_AMD)
    batch.require(r"^lamina: vm guest: powered off by the guest")


def test_two_cpus_on_shadow_page_tables(batch, disk):
    """Asked for on Lamina's own command line, which goes for all VMs; and few tables, so that they are reclaimed all the time."""
    status = batch.run(*linux("--cpus", "2", "--host-cpus", "2", "--disk", disk, "--set", "monitor.shadow_memory=2", "--lamina-cmdline",
                              "monitor.virtual_mmu=software", cmdline="console=ttyS0 quiet no_timer_check lamina.run=disktest,poweroff"),
                       timeout=240)
    assert status == 0, batch.said
    batch.require(HV_AMD)
    batch.require(r"shadow page tables: at most 2048 KiB")
    batch.require(r"^lamina: vm guest: powered off by the guest")

"""The guests of our own in the machines that tests/run.py's plain runs (one CPU, 1024 MiB) leave out: more memory than 4 GiB, two CPUs
on one core, a disk with several queues, the bare machine itself. A failed line is quoted."""
import os
import re
import shutil
import subprocess

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
LOGS = os.path.join(TOP, "build", "test-logs")
DISK = os.path.join(TOP, "build", "guests", "disk.img")


BOTH = pytest.mark.parametrize("machine", ("qemu", "bochs"))


def run(machine, kernel, name, *options):
    """One run to its end: lamina-run's exit status and the guest's own lines."""
    os.makedirs(LOGS, exist_ok=True)
    log = os.path.join(LOGS, f"{machine}_guests_{name}.log")
    command = [os.path.join(TOP, "tools", "lamina-run"), "--machine", machine, "--batch", "--log", log, "--timeout", "300",
               "--machine-log", os.path.join(LOGS, f"{machine}_guests_{name}.machine.log"),
               "--kernel", os.path.join(TOP, "build", "tests", "guests", f"{kernel}.elf"), *options]
    status = subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, timeout=360, check=False).returncode
    with open(log, encoding="utf-8", errors="replace") as file:
        return status, re.findall(r"guest: [^\r\n]*", file.read())


def check(status, lines):
    failed = [line for line in lines if line.startswith("guest: FAIL")]
    assert not failed, "\n".join(failed)
    done = [line for line in lines if re.match(r"guest: done \d+ ok, 0 failed", line)]
    assert done, f"the guest did not come to its end; its last line: {lines[-1] if lines else 'none'}"
    assert status == 0, f"lamina-run ended with status {status}"


@BOTH
def test_memory_above_4_gib(machine):
    check(*run(machine, "memory", "memory_high", "--host-memory", "6144", "--memory", "4096"))


@BOTH
def test_two_cpus_share_a_core(machine):
    check(*run(machine, "smp", "smp_shared", "--cpus", "2", "--host-cpus", "1", "--host-memory", "512", "--memory", "64"))


@BOTH
def test_disk_with_queues_for_two_cpus(machine):
    check(*run(machine, "disk", "disk_two_cpus", "--cpus", "2", "--host-cpus", "2", "--host-memory", "512", "--memory", "64", "--disk", DISK))


@pytest.mark.parametrize("machine, kind, name, cpus", [("qemu", "nvme", "nvme:0n1", 2), ("qemu", "ahci", "ahci:0", 2),
                                                       ("qemu", "virtio", "virtio:0", 2), ("qemu", "ata", "ata:0", 2), ("bochs", "ata", "ata:0", 1)])
def test_disk_of_the_machine(machine, kind, name, cpus, tmp_path):
    """The same guest, hostile use of the device included, on a disk whose requests end later. (In Bochs it also shows TURN_HZ of
    vmm/exits/exit.c: with IF=0 this guest reads the device's status again and again when it waits for a reset.)"""
    image = tmp_path / "disk.img"
    shutil.copyfile(DISK, image)
    check(*run(machine, "disk", f"disk_{kind}", "--cpus", str(cpus), "--host-cpus", str(cpus), "--host-memory", "512", "--memory", "64",
               "--host-disk", f"{kind}={image}", "--disk", name))


@pytest.mark.parametrize("kernel", ["cpu", "irq", "memory"])
@pytest.mark.parametrize("machine", ["bochs"])
def test_bare_machine(machine, kernel):
    """What the guests expect of Lamina, Bochs does too (where it does not, the guest's source says so). QEMU leaves out many checks."""
    check(*run(machine, kernel, f"bare_{kernel}", "--native", "--host-memory", "64"))

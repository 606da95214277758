"""One image boots from every medium, by BIOS and by UEFI; what lamina.efi refuses, it names."""
import os
import shutil
import subprocess

import pytest

from conftest import GUESTS, TOP

OURS = os.path.join(os.path.dirname(GUESTS), "tests", "guests")
LAMINA = os.path.join(TOP, "build", "lamina.elf")
LOADED_BY = {("bios", "image"): "GRUB 2", ("bios", "net"): "GRUB 2", ("uefi", "image"): r"lamina\.efi \d", ("uefi", "net"): "GRUB 2"}


def guest(name="memory", *more):
    return ["--kernel", os.path.join(OURS, f"{name}.elf"), "--memory", "64", *more]


@pytest.mark.parametrize("firmware, medium, cores, memory, name", [
    ("bios", "usb", 1, 3072, "memory"), ("bios", "cd", 2, 3072, "smp"), ("bios", "disk", 1, 512, "memory"), ("bios", "nvme", 4, 6144, "memory"),
    ("bios", "net", 2, 3072, "memory"), ("uefi", "usb", 4, 3072, "smp"), ("uefi", "cd", 1, 512, "memory"), ("uefi", "nvme", 2, 6144, "memory"),
    ("uefi", "net", 1, 6144, "memory"),
])
def test_medium(batch, firmware, medium, cores, memory, name):
    options = ["--boot-from", medium, "--host-cpus", str(cores), "--host-memory", str(memory)] + (["--uefi"] if firmware == "uefi" else [])
    status = batch.run(*options, *guest(name, "--cpus", str(cores if name == "smp" else 1)), timeout=120)
    assert status == 0, batch.said
    batch.require("^lamina: Lamina .*; loaded by " + LOADED_BY[firmware, "net" if medium == "net" else "image"])
    assert batch.count("^lamina: firmware: UEFI, ") == (firmware == "uefi")
    batch.require(f"^lamina: smp: {cores} of {cores} cores run")
    batch.require(r"^guest: done \d+ ok, 0 failed")
    free = int(batch.require(r"^lamina: memory: image .* (\d+) MiB free for guests").group(1))
    assert memory - 300 < free < memory


def test_a_file_that_does_not_fit_below_4_gib(batch, tmp_path):
    """A module of lamina.efi's may lie where no Multiboot2 loader can put one."""
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"")
    os.truncate(disk, 180 << 20)
    little = ["--host-memory", "1024", "--qemu-option=-machine", "--qemu-option=max-ram-below-4g=256M"]
    assert batch.run("--uefi", "--boot-from", "nvme", *little, *guest("disk", "--disk", str(disk)), timeout=120) == 0, batch.said
    module = batch.require(r"^lamina: boot: module disk\.img: (\d+) bytes at ([0-9a-f]+)")
    assert int(module.group(1)) == 180 << 20 and int(module.group(2), 16) >= 4 << 30
    batch.require(r"^guest: done \d+ ok, 0 failed")


def test_lamina_cmdline(batch):
    """Lamina's command line comes from a file of its own where there is no GRUB."""
    assert batch.run("--uefi", "--lamina-cmdline", "vm.guest.memsize=48", *guest(), timeout=60) == 0, batch.said
    batch.require("^lamina: vm guest: memory: 48 MiB")


def refused_by_the_loader(session, *lines):
    """Each line is said, then the question; a key returns to the firmware, which goes on."""
    for line in lines:
        session.expect(line)
    session.expect("lamina.efi: press a key to return to the firmware")
    session.child.send(" ")
    session.expect("BdsDxe: failed to start ")
    assert session.leave() == 0
    assert session.count("^lamina: ") == 0


@pytest.mark.parametrize("text, lines", [
    ('[vm a]\nkernel = "memory.elf"\ninitrd = "gone.gz"\n',
     ["lamina.efi: gone.gz: no such file on the volume that lamina.efi was started from"]),
    ('[vm a]\nkernel = "memory.elf"\nmemsize = "lots"\n[vm b]\nmemsize = 64\n',
     [r"lamina.cfg:3: memsize is \"lots\"", "lamina.cfg:4: .vm b. has no kernel",
      "lamina.efi: lamina.cfg: it describes no virtual machine that could start"]),
], ids=("missing", "config"))
def test_refused_configuration(session, tmp_path, text, lines):
    shutil.copyfile(os.path.join(OURS, "memory.elf"), tmp_path / "memory.elf")
    (tmp_path / "lamina.cfg").write_text(text)
    session.start("--uefi", "--allow-missing", "--config", str(tmp_path / "lamina.cfg"), timeout=60)
    refused_by_the_loader(session, *lines)


def test_no_configuration_on_the_volume(session):
    session.start("--uefi", "--omit-config", *guest(), timeout=60)
    refused_by_the_loader(session, "lamina.efi: lamina.cfg: no such file")


def test_broken_kernel(session, tmp_path):
    shutil.copyfile(os.path.join(TOP, "build", "lamina.efi"), tmp_path / "lamina.efi")
    shutil.copyfile(LAMINA, tmp_path / "lamina.elf")
    os.truncate(tmp_path / "lamina.elf", 100000)
    session.start("--uefi", "--no-check", "--lamina", str(tmp_path / "lamina.elf"), *guest(), timeout=60)
    refused_by_the_loader(session, "lamina.efi: lamina.elf: broken: it ends inside a segment")


def test_one_wrong_vm_does_not_stop_the_other(batch, tmp_path):
    """As Lamina itself has it: the VM with the wrong line does not start, so that its files are not needed either."""
    shutil.copyfile(os.path.join(OURS, "memory.elf"), tmp_path / "memory.elf")
    (tmp_path / "lamina.cfg").write_text('[vm a]\nkernel = "gone"\nnumvcpus = 0\n[vm b]\nkernel = "memory.elf"\nmemsize = 64\n')
    batch.run("--uefi", "--allow-missing", "--config", str(tmp_path / "lamina.cfg"), "--until", "guest: done", timeout=60)
    assert batch.status == 0, batch.said
    batch.require("^lamina.cfg:3: numvcpus is ")
    batch.require("^lamina: vm a: not started: its configuration is wrong")


def test_machine_of_its_own(machine, tmp_path):
    """A network card's address chooses what its machine boots; the others boot the default."""
    assert machine == "qemu"
    image_tool = os.path.join(TOP, "tools", "lamina-image")
    folder = str(tmp_path / "tftp")
    for mac, memory in ((None, "64"), ("52:54:00:AB:CD:EF", "96")):
        subprocess.run([image_tool, "--guest-kernel", os.path.join(OURS, "memory.elf"), "--memory", memory, "--netboot", folder,
                        *(["--mac", mac] if mac else [])], check=True)
    for mac, memory in (("52:54:00:00:00:01", "64"), ("52:54:00:ab:cd:ef", "96")):
        done = subprocess.run(["timeout", "60", "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "EPYC,+svm,+npt", "-m", "512",
                               "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-netdev",
                               f"user,id=n,tftp={folder},bootfile=lamina-bios.0", "-device", f"virtio-net-pci,netdev=n,mac={mac},bootindex=0"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        text = done.stdout.decode(errors="replace")
        assert f"vm guest: memory: {memory} MiB" in text and "guest: done" in text, text[-3000:]

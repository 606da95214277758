"""The machine's own disks behind the guest's virtio-blk: each driver from end to end, parts of disks, refusals, errors, time-outs, and the
machine's sudden end."""
import os
import random
import re
import shutil
import subprocess

import pytest

from conftest import BOCHS, Batch, guest_file, linux
from host_disks import DISK, TOOLS, add_file, check_file_system, debugfs, host_tool

MIB = 1 << 20


def disk_test(batch, disk, kind, *more, name=None):
    status = batch.run(*linux("--host-disk", f"{kind}={disk}", "--disk", name or DISK[kind], *more,
                              cmdline="console=ttyS0 quiet lamina.run=disktest,poweroff"))
    assert status == 0
    batch.require(r"^lamina-guest: /dev/vda is mounted on /mnt")
    # Linux' requests on ext4 go to the controller as they lie in its memory.
    batch.require(r"^lamina: vm guest: disk0: \d+ reads and writes, 0 of them copied")


def written_and_read(new_boot, disk, kind, *more, name=None):
    disk_test(new_boot(Batch), disk, kind, *more, name=name)
    second = new_boot(Batch)
    disk_test(second, disk, kind, *more, name=name)
    second.require(r"^lamina-guest: disktest: the file is as it was written")
    return second


@pytest.mark.parametrize("kind", ["nvme", "virtio", "ahci", "ata"])
def test_disk(new_boot, disk, kind, machine):
    """What one run writes the next one reads, and the host."""
    boot = written_and_read(new_boot, disk, kind)
    boot.require(rf"^lamina: disk {DISK[kind]}: .*serial LAMINA0, 16 MiB")
    assert not boot.count("it is polled"), "no interrupts are used"
    check_file_system(disk)


@BOCHS
def test_ata_disk(batch, disk):
    disk_test(batch, disk, "ata")
    batch.require(r"^lamina-guest: disktest: written")
    assert not batch.count("it is polled"), "no interrupts are used"
    check_file_system(disk)


@pytest.mark.parametrize("kind, uefi", [("nvme", "1"), ("ahci", ""), ("virtio", "")])
def test_make_run_qemu(session, disk, kind, uefi, machine):
    """`make run-qemu DISK=…`, with and without UEFI=1: a shell whose disk is the machine's, a file on it, `exit`."""
    session.make("run-qemu", f"DISK={kind}", f"HOST_DISK={disk}", f"UEFI={uefi}", "GUEST_CMDLINE=console=ttyS0 quiet no_timer_check", timeout=120)
    session.shell()
    assert session.run("echo typed to the guest >/mnt/typed; sync; cat /mnt/typed") == "typed to the guest"
    session.child.sendline("exit")
    assert session.end(60) == 0
    session.require(rf"^lamina: vm guest: disk0: {DISK[kind]}, ")
    session.require(r"^lamina: vm guest: powered off by the guest")
    assert session.count("^lamina: firmware: UEFI, ") == bool(uefi)
    check_file_system(disk)
    assert debugfs(disk, "cat typed").endswith("typed to the guest\n")


def test_disk_behind_an_iommu_that_is_on(new_boot, disk, machine):
    """As firmware with "pre-boot DMA protection" leaves it: no device reaches memory until Lamina has switched that off."""
    boot = written_and_read(new_boot, disk, "nvme", "--qemu-option=-device", "--qemu-option=intel-iommu", "--lamina-cmdline", "debug=iommu-on")
    boot.require(r"^lamina: iommu: the unit at fed90000 translates by an empty table now")
    boot.require(r"^lamina: iommu: the VT-d unit at fed90000 was left on by the firmware; DMA translation, now off")
    assert not boot.count("it is polled"), "no interrupts are used"


def test_disk_and_two_cpus(new_boot, disk, machine):
    """Two queues of the guest's, its vCPUs on two cores."""
    written_and_read(new_boot, disk, "nvme", "--host-cpus", "2", "--cpus", "2")
    check_file_system(disk)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def partitioned(path, parts):
    """An image with a GPT: for each partition its first sector and what is in it; bytes of 0xa5 between them. Returns it whole."""
    end = max(start * 512 + len(data) for start, data in parts)
    with open(path, "wb") as file:
        file.write(b"\xa5" * (end + 4 * MIB))
    lines = "".join(f"start={start}, size={len(data) // 512}\n" for start, data in parts)
    done = subprocess.run(["sfdisk", "-q", path], env=TOOLS, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          input="label: gpt\n" + lines)
    assert done.returncode == 0, done.stdout
    with open(path, "r+b") as file:
        for start, data in parts:
            file.seek(start * 512)
            file.write(data)
    return read(path)


def test_partition_by_serial(new_boot, disk, tmp_path, machine):
    """The second partition of a GPT; what lies around it stays as it was."""
    whole = str(tmp_path / "whole.img")
    size = os.path.getsize(disk)
    before = partitioned(whole, [(2048, b"\xa5" * MIB), (8192, read(disk))])
    boot = written_and_read(new_boot, whole, "nvme", name="serial:LAMINA0/part2")
    boot.require(rf"^lamina: vm guest: disk0: nvme:0n1, blocks 8192 to {8192 + size // 512 - 1}\s*$")
    after = read(whole)
    assert after[:8192 * 512] == before[:8192 * 512] and after[8192 * 512 + size:] == before[8192 * 512 + size:]
    with open(disk, "wb") as file:
        file.write(after[8192 * 512:8192 * 512 + size])
    check_file_system(disk)


TWO_VMS = """[vm {name}]
kernel = "vmlinuz"
initrd = "initrd.gz"
cmdline = "console=ttyS0 quiet no_timer_check lamina.run=/mnt/script.sh"
memsize = 128
disk0 = "{disk}"
"""
# Each round's file is read back from the disk, not from the cache.
WRITES = """for i in 1 2 3 4 5 6 7 8; do
yes "{name}, round $i" | head -c 1000000 >/mnt/data$i
sync
echo 3 >/proc/sys/vm/drop_caches
yes "{name}, round $i" | head -c 1000000 | cmp - /mnt/data$i || echo "vm {name}: round $i: WRONG"
done
mount -o remount,ro /mnt
poweroff -f
"""


@pytest.mark.parametrize("kind, cores", [("nvme", 2), ("ahci", 1)])
def test_two_vms_on_one_disk(batch, disk, tmp_path, kind, cores):
    """Two VMs write on two partitions of one disk at the same time: each file is as its VM wrote it, and what lies around is as it was."""
    parts = []
    for name, start in (("one", 2048), ("two", 65536)):
        image = str(tmp_path / f"{name}.img")
        shutil.copyfile(disk, image)
        add_file(image, "script.sh", WRITES.format(name=name))
        parts.append((start, read(image)))
    whole = str(tmp_path / "whole.img")
    before = partitioned(whole, parts)
    for file in ("vmlinuz", "initrd.gz"):
        os.symlink(guest_file(file), tmp_path / file)
    config = tmp_path / "lamina.cfg"
    config.write_text("".join(TWO_VMS.format(name=name, disk=f"{DISK[kind]}/part{number}") for number, name in enumerate(("one", "two"), 1)))
    status = batch.run("--config", str(config), "--host-disk", f"{kind}={whole}", "--host-cpus", str(cores), timeout=180)
    assert status == 0 and not batch.count("WRONG")
    for name in ("one", "two"):
        batch.require(rf"^lamina: vm {name}: disk0: {DISK[kind]}, blocks \d+ to \d+\s*$")
        batch.require(rf"lamina: vm {name}: powered off by the guest")
    ended = 0
    after = read(whole)
    for (start, data), name in zip(parts, ("one", "two")):
        assert after[ended:start * 512] == before[ended:start * 512], f"bytes before the partition of vm {name} changed"
        ended = start * 512 + len(data)
        part = f"{whole}?offset={start * 512}"
        check_file_system(part)
        for number in range(1, 9):
            copy = str(tmp_path / "copy")
            debugfs(part, f"dump data{number} {copy}")
            line = f"{name}, round {number}\n".encode()
            assert read(copy) == (line * (1000000 // len(line) + 1))[:1000000], f"vm {name}: data{number}"
    assert after[ended:] == before[ended:]


CONFIG = '[vm {name}]\nkernel = "gnumach.elf"\nmemsize = 64\ndisk0 = "{disk}"\n'


@pytest.mark.parametrize("first, second, said", [
    ("nvme:0n1", "serial:LAMINA0", r"it, or a part of it, belongs to vm a already"),
    ("nvme:0n1/bytes=0+1048576", "nvme:0n1/bytes=1048064+512", r"it, or a part of it, belongs to vm a already"),
    ("nvme:0n1/bytes=0+512", "nvme:0n1/bytes=16777216+512", r"reach beyond it"),
    ("nvme:0n1/bytes=0+512", "nvme:1n1", r"no disk of this machine"),
    ("nvme:0n1/bytes=0+512", "nvme:0n1/part3", r"no partition table|no such partition"),
])
def test_refused(batch, disk, tmp_path, first, second, said):
    """A disk, or a part of it, is one VM's; the other VM does not start, and a line says why."""
    shutil.copyfile(guest_file("gnumach.elf"), tmp_path / "gnumach.elf")
    config = tmp_path / "lamina.cfg"
    config.write_text(CONFIG.format(name="a", disk=first) + CONFIG.format(name="b", disk=second))
    batch.run("--config", str(config), "--host-disk", f"nvme={disk}", "--until", r"vm b: not started")
    batch.require(rf"^lamina: vm b: disk0 = \".*\": .*({said})")
    batch.require(r"^lamina: vm a: .*multiboot|^lamina: vm a: Multiboot")


def device(kind, drive):
    """QEMU's words for a disk on a drive of our own description."""
    name = {"nvme": "nvme", "ahci": "ide-hd,bus=ide.0", "virtio": "virtio-blk-pci", "ata": "ide-hd,bus=ide.0,unit=0"}[kind]
    words = (["-machine", "pc"] if kind == "ata" else []) + ["-drive", f"{drive},if=none,id=d", "-device", f"{name},drive=d,serial=FAULTY"]
    return [f"--qemu-option={word}" for word in words] + ["--disk", DISK[kind]]


@pytest.mark.parametrize("kind", ["nvme", "virtio", "ahci"])
def test_errors_reach_the_guest(batch, disk, tmp_path, kind):
    """A sector that cannot be read, one that cannot be written, a flush that fails: the guest's dd says so, and the rest works."""
    image, rules = tmp_path / "faulty.img", tmp_path / "rules"
    with open(image, "wb") as file:
        file.truncate(16 * MIB)
    rules.write_text("".join(f'[inject-error]\nevent = "{event}"\nerrno = "5"\nsector = "{sector}"\nonce = "off"\n\n'
                             for event, sector in (("read_aio", 4096), ("write_aio", 6144))))
    read, write = "dd if=/dev/vdb of=/dev/null iflag=direct", "dd if=/dev/zero of=/dev/vdb oflag=direct"
    commands = [f"{read} bs=4k count=1 skip=512", f"{read} bs=4k count=1 skip=511",
                f"{write} bs=4k count=1 seek=768", f"{write} bs=4k count=1 seek=767"]
    # What the guest is to do is on a disk of its own, a module in memory, the tests' fixture.
    add_file(disk, "script.sh", "x() { if \"$@\" 2>/tmp/e; then echo \"went well\"; else cat /tmp/e; fi; }\n"
             + "".join(f"x {line}\n" for line in commands) + "poweroff -f\n")
    status = batch.run(*linux("--disk", disk, *device(kind, f"file=blkdebug:{rules}:{image},format=raw"),
                              cmdline="console=ttyS0 quiet lamina.run=/mnt/script.sh"), timeout=120)
    assert status == 0
    text = batch.text
    assert text.count("went well") == 2 and text.count("error") >= 2, text[-2000:]


# So many bytes a second may be written that each write waits longer for the one before it than Lamina waits.
STUCK = {"nvme": 300, "virtio": 300, "ahci": 230, "ata": 230}


@pytest.mark.parametrize("kind", STUCK)
def test_stuck_write(batch, disk, tmp_path, kind):
    """A write that takes longer than Lamina waits: three time-outs with a reset each, a line for each in the log, then an I/O error in
    the guest, whose disk works again after that."""
    image = tmp_path / "faulty.img"
    with open(image, "wb") as file:
        file.truncate(16 * MIB)
    write = "dd if=/dev/zero of=/dev/vdb oflag=direct bs=4k count=1 seek"
    add_file(disk, "script.sh", f"{write}=1 2>/tmp/e && echo first write: done\n"
             f"{write}=2 2>/tmp/e || echo second write: $(grep -i error /tmp/e)\n"
             "dd if=/dev/vdb of=/dev/null iflag=direct bs=64k count=1 skip=1 2>/tmp/e && echo read: done\npoweroff -f\n")
    status = batch.run(*linux("--disk", disk, *device(kind, f"file={image},format=raw,throttling.bps-write={STUCK[kind]}"),
                              cmdline="console=ttyS0 quiet lamina.run=/mnt/script.sh"), timeout=240)
    assert status == 0
    batch.require(r"first write: done")
    for number in (1, 2, 3):
        batch.require(rf"^lamina: disk {DISK[kind]}: time-out of a write at block 16, try {number} of 3: reset")
    batch.require(r"second write: .*error")
    batch.require(r"read: done")


RECORDS = ("i=0\nwhile :; do\necho record $i | dd of=/mnt/log oflag=append conv=notrunc,fsync 2>/dev/null && echo acknowledged $i\n"
           "i=$((i + 1))\ndone\n")


def test_power_fails(new_boot, disk, tmp_path, machine):
    """The machine ends in the middle of writes, 20 times: what was acknowledged after an fsync is there. The disk's flushes are counted
    too, because the host's memory outlives the machine."""
    add_file(disk, "records.sh", RECORDS)
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    kinds = ["nvme", "virtio", "ahci"]
    flush = {"nvme": "pci_nvme_flush_ns", "virtio": "virtio_blk_handle_", "ahci": "ahci_"}
    for number in range(20):
        kind = kinds[number % 3]
        image = str(tmp_path / f"run{number}.img")
        shutil.copyfile(disk, image)
        batch = new_boot(Batch)
        trace = ["--qemu-option=-trace", f"--qemu-option={flush[kind]}"] if kind == "nvme" else []
        status = batch.run(*linux("--host-disk", f"{kind}={image}", "--disk", DISK[kind], *trace, "--until",
                                  rf"acknowledged {chance.randrange(3, 40)}\b", cmdline="console=ttyS0 quiet lamina.run=/mnt/records.sh"))
        assert status == 0, f"seed {seed}, run {number}"
        acknowledged = [int(n) for n in re.findall(r"acknowledged (\d+)\n", batch.text)]
        done = host_tool("e2fsck", "-fy", image)
        assert done.returncode in (0, 1), done.stdout
        records = debugfs(image, "cat log")
        missing = [n for n in acknowledged if f"record {n}\n" not in records]
        assert acknowledged and not missing, f"seed {seed}, run {number} ({kind}): lost {missing} of {acknowledged}"
        if kind == "nvme":
            with open(batch.machine_log, encoding="utf-8", errors="replace") as file:
                flushes = file.read().count(flush[kind])
            assert flushes >= len(acknowledged), f"{flushes} flushes for {len(acknowledged)} records"
        os.remove(image)

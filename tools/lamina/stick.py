"""Writes an image to a USB stick, and to nothing else: the disk must be removable, whole, unused and large enough, and its owner is asked."""
import os
import stat
import sys

from .errors import UsageError

CHUNK = 4 << 20
SECTOR = 512
BACKUP_GPT = 34 * SECTOR    # at a disk's end: an old partition table there would contradict the image's


class System:
    """Where the kernel tells about disks; the tests bring a tree of their own."""

    sysfs = "/sys"
    mounts = "/proc/self/mountinfo"
    swaps = "/proc/swaps"

    def number(self, path):
        """MAJOR:MINOR of a block device, None for anything else."""
        status = os.stat(path)
        return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if stat.S_ISBLK(status.st_mode) else None

    def ask(self, question):
        sys.stdout.write(question)
        sys.stdout.flush()
        return sys.stdin.readline().strip()


def text_of(*path):
    """A small file's text without its end, an empty string where there is none."""
    try:
        with open(os.path.join(*path), encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


class Disk:
    """A block device as sysfs describes it."""

    def __init__(self, path, system):
        self.path = path
        if not os.path.exists(path):
            raise UsageError(f"{path}: no such device")
        number = system.number(path)
        if not number:
            raise UsageError(f"{path}: not a disk: expected a block device such as /dev/sdX")
        self.folder = os.path.join(system.sysfs, "dev", "block", number)
        if not os.path.isdir(self.folder):
            raise UsageError(f"{path}: the kernel does not know this disk ({self.folder} is missing)")
        # The disk itself, then its partitions.
        self.parts = [(os.path.basename(path), number, self.folder)]
        for name in sorted(os.listdir(self.folder)):
            part = os.path.join(self.folder, name)
            if os.path.isfile(os.path.join(part, "partition")):
                self.parts.append((name, text_of(part, "dev"), part))
        self.size = int(text_of(self.folder, "size") or 0) * SECTOR

    @property
    def name(self):
        words = [text_of(self.folder, "device", key) for key in ("vendor", "model")]
        return " ".join(word for word in words if word) or "unnamed disk"


def mounted(system):
    """{MAJOR:MINOR: where it is mounted}."""
    result = {}
    for line in text_of(system.mounts).splitlines():
        fields = line.split()
        if len(fields) > 4:
            result.setdefault(fields[2], fields[4])
    return result


def swap_numbers(system):
    numbers = set()
    for line in text_of(system.swaps).splitlines()[1:]:
        path = line.split()[0]
        if os.path.exists(path):
            numbers.add(system.number(path))
    return numbers


def check(disk, image_size, system):
    """Refuses a disk that must not be overwritten."""
    if os.path.exists(os.path.join(disk.folder, "partition")):
        raise UsageError(f"{disk.path}: a partition: name the whole disk")
    if text_of(disk.folder, "removable") != "1":
        raise UsageError(f"{disk.path} ({disk.name}): not a removable disk: only those are written")
    if not disk.size:
        raise UsageError(f"{disk.path} ({disk.name}): there is no medium in it")
    if text_of(disk.folder, "ro") == "1":
        raise UsageError(f"{disk.path} ({disk.name}): write-protected")
    mounts, swaps = mounted(system), swap_numbers(system)
    for name, number, folder in disk.parts:
        if number in mounts:
            raise UsageError(f"{disk.path}: {name} is mounted on {mounts[number]}: unmount it first")
        if number in swaps:
            raise UsageError(f"{disk.path}: {name} is used as swap space")
        holders = os.path.join(folder, "holders")
        if os.path.isdir(holders) and os.listdir(holders):
            raise UsageError(f"{disk.path}: {name} is used by {', '.join(sorted(os.listdir(holders)))}")
    if disk.size < image_size:
        raise UsageError(f"{disk.path} ({disk.name}): {disk.size >> 20} MiB are too small: the image has {(image_size + (1 << 20) - 1) >> 20} MiB")


def copy_to(image, disk):
    """Writes the image, makes it reach the medium, and reads it back."""
    size = os.path.getsize(image)
    # O_EXCL: the kernel refuses while a file system uses the disk.
    target = os.open(disk.path, os.O_RDWR | os.O_EXCL)
    try:
        with open(image, "rb") as source:
            while chunk := source.read(CHUNK):
                while chunk:
                    chunk = chunk[os.write(target, chunk):]
        if disk.size >= size + BACKUP_GPT:
            os.pwrite(target, bytes(BACKUP_GPT), disk.size - BACKUP_GPT)
        os.fsync(target)
        os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
        with open(image, "rb") as source:
            offset = 0
            while chunk := source.read(CHUNK):
                if os.pread(target, len(chunk), offset) != chunk:
                    raise UsageError(f"{disk.path}: what it holds is not what was written (within 4 MiB from {offset >> 20} MiB on): is it worn out?")
                offset += len(chunk)
    finally:
        os.close(target)


def write(image, path, system=None):
    """Writes the image to a removable disk after its checks and the question."""
    system = system or System()
    disk = Disk(path, system)
    check(disk, os.path.getsize(image), system)
    answer = system.ask(f"{path}: {disk.name}, {disk.size / 1e9:.1f} GB. Everything on it will be lost.\n"
                        f"Type {path} once more to write to it: ")
    if answer != path:
        raise UsageError(f"{path}: not written")
    # What was true before the question may have changed.
    check(Disk(path, system), os.path.getsize(image), system)
    copy_to(image, disk)
    print(f"{path}: written and read back; the stick may be pulled out")

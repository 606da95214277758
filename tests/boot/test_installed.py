"""A Debian that is installed on a disk of the machine's: from the login prompt to the power-off, and what is on the disk then."""
import hashlib
import os
import subprocess

import pytest

from conftest import GUESTS, TOP
from host_disks import DISK, check_file_system, debugfs, host_tool

MIB = 1 << 20
MAKE_ROOT = os.path.join(TOP, "tools", "make-root.sh")
FILES = os.path.join(GUESTS, "root")
TROUBLE = "i/o error|buffer i/o|ext4-fs error|ext4-fs warning|call trace|remounting filesystem"


@pytest.fixture(scope="module")
def installed():
    """The files of tools/make-root.sh, made now if need be."""
    done = subprocess.run([MAKE_ROOT], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)
    if done.returncode != 0 and os.geteuid() != 0:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout
    return {name: os.path.join(FILES, name) for name in ("disk.img", "vmlinuz", "initrd", "cmdline", "packages")}


def read(path, offset=0, size=-1):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def sha256(path):
    return hashlib.sha256(read(path)).hexdigest()


def partition(image):
    """The first partition's start and size in bytes."""
    done = host_tool("sfdisk", "-l", "-q", "-o", "start,sectors", image)
    assert done.returncode == 0, done.stdout
    start, sectors = done.stdout.splitlines()[1].split()
    return int(start) * 512, int(sectors) * 512


def log_in(session):
    session.expect("lamina login: ")
    session.child.sendline("root")
    session.expect("Password: ", 60)
    session.child.sendline("lamina")
    session.expect(r"root@lamina:~# ", 60)
    # The prompt that Session knows; its echo is not to look like one.
    session.child.sendline("bind 'set enable-bracketed-paste off'; stty columns 2000; PS1='guest''# '")
    session.prompt(60)
    # The shell asks for the new width once a program has ended.
    session.run("/bin/true")


def write_files(session):
    """Files by the page cache, by direct I/O, and many small ones; returns their checksums by path."""
    assert session.run("mkdir /srv/tree; cd /srv; dd if=/dev/urandom of=cached bs=64k count=96 2>/dev/null; echo $?") == "0"
    assert session.run("dd if=cached of=direct bs=16k oflag=direct 2>/dev/null; cmp cached direct; echo $?") == "0"
    assert session.run("for i in $(seq 100); do echo file $i >tree/$i; done; rm tree/50; mv tree/51 tree/moved; ls tree | wc -l") == "99"
    text = session.run("sha256sum /srv/cached /srv/direct /srv/tree/1 /srv/tree/100 /srv/tree/moved")
    sums = {path: number for number, path in (line.split() for line in text.splitlines())}
    assert len(sums) == 5 and sums["/srv/cached"] == sums["/srv/direct"], text
    assert session.run("cd; sync; echo $?") == "0"
    return sums


def check_disk(image, original, sums, tmp_path):
    """The image after the power-off: the file system is whole and clean, the files are there, what lies around it is as it was."""
    start, size = partition(image)
    assert (start, size) == partition(original)
    end = start + size
    assert read(image, 0, start) == read(original, 0, start) and read(image, end) == read(original, end)
    root = f"{image}?offset={start}"
    check_file_system(root)
    assert "Filesystem state:         clean\n" in debugfs(root, "show_super_stats -h")
    for path, number in sums.items():
        copy = str(tmp_path / "copy")
        debugfs(root, f"dump {path} {copy}")
        assert sha256(copy) == number, f"{path} is not as the guest wrote it"
    names = {line.split("/")[5] for line in debugfs(root, "ls -p /srv/tree").splitlines() if line.count("/") > 5}
    assert names == {".", "..", "moved", *(str(number) for number in range(1, 101) if number not in (50, 51))}


@pytest.mark.parametrize("kind", ["nvme", "ahci", "virtio"])
def test_installed_system(session, installed, tmp_path, kind, machine):
    """Debian's kernel with Debian's own initrd mounts its root on the disk, systemd starts it, root logs in, writes, and powers it off."""
    image = str(tmp_path / "disk.img")
    assert host_tool("cp", "--sparse=always", installed["disk.img"], image).returncode == 0
    cmdline = read(installed["cmdline"]).decode().strip() + " no_timer_check"      # conftest.linux tells why
    session.start("--kernel", installed["vmlinuz"], "--initrd", installed["initrd"], "--cmdline", cmdline, "--host-disk", f"{kind}={image}",
                  "--disk", DISK[kind], timeout=400)
    log_in(session)
    assert session.run("findmnt -no SOURCE,FSTYPE,OPTIONS /").split()[:2] == ["/dev/vda1", "ext4"]
    assert session.run("sha256sum /initrd.img | cut -c -64") == sha256(installed["initrd"])
    assert session.run("systemctl is-system-running --wait", 300) == "running", session.run("systemctl --failed --no-legend --plain")
    sums = write_files(session)
    assert session.run(f"dmesg | grep -iE '{TROUBLE}'") == ""
    session.child.sendline("systemctl poweroff")
    assert session.end(300) == 0
    session.require(r"^lamina: vm guest: disk0: ")
    session.require(r"^lamina: vm guest: powered off by the guest")
    assert int(session.require(r"^lamina: vm guest: disk0: (\d+) reads and writes, 0 of them copied").group(1)) > 1000
    session.require(r"^lamina: machine: power off")
    check_disk(image, installed["disk.img"], sums, tmp_path)
    os.remove(image)

"""Disks of the machine's own, as the tests name them, and Debian's tools that look into their images."""
import os
import subprocess
import tempfile

DISK = {"nvme": "nvme:0n1", "ahci": "ahci:0", "virtio": "virtio:0", "ata": "ata:0"}
TOOLS = dict(os.environ, PATH=os.environ["PATH"] + ":/sbin:/usr/sbin")


def host_tool(*words):
    return subprocess.run(words, env=TOOLS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)


def debugfs(image, command):
    """`image` may be FILE?offset=BYTES, here and below: a partition."""
    return host_tool("debugfs", "-R", command, image).stdout


def add_file(image, name, text):
    """A file in an image's root directory. debugfs says what went wrong, but never by its exit status."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        said = host_tool("debugfs", "-w", "-R", f"write {file.name} {name}", image).stdout
    assert "Allocated inode" in said, said


def check_file_system(image):
    done = host_tool("e2fsck", "-fn", image)
    assert done.returncode == 0, done.stdout

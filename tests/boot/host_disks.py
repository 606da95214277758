"""Disks of the machine's own, as the tests name them, and Debian's tools that look into their images."""
import os
import subprocess

DISK = {"nvme": "nvme:0n1", "ahci": "ahci:0", "virtio": "virtio:0", "ata": "ata:0"}
TOOLS = dict(os.environ, PATH=os.environ["PATH"] + ":/sbin:/usr/sbin")


def host_tool(*words):
    return subprocess.run(words, env=TOOLS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)


def debugfs(image, command, write=False):
    """`image` may be FILE?offset=BYTES, here and below: a partition."""
    return host_tool("debugfs", *(["-w"] if write else []), "-R", command, image).stdout


def check_file_system(image):
    done = host_tool("e2fsck", "-fn", image)
    assert done.returncode == 0, done.stdout

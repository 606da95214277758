#!/usr/bin/python3
"""Takes the kernel out of a Linux bzImage: extract-vmlinux.py BZIMAGE VMLINUX. Lamina's decoder is tested over its code.

Where the compressed kernel is, the boot protocol's header says (Documentation/x86/boot.rst: payload_offset, payload_length).
"""
import os
import struct
import subprocess
import sys

SETUP_SECTS, MAGIC, PAYLOAD = 0x1F1, 0x202, 0x248
# How a payload of each compression begins (boot.rst), and the program that undoes it.
PROGRAMS = (
    (b"\x1f\x8b", ["gzip", "-dc"]),
    (b"\xfd7zXZ\0", ["xz", "-dc", "--single-stream"]),
    (b"\x28\xb5\x2f\xfd", ["zstd", "-dcq"]),
    (b"\x02\x21\x4c\x18", ["lz4", "-dcq"]),
)


def payload(image):
    """The compressed kernel, and its size uncompressed, which the kernel's build appends to it."""
    if image[MAGIC:MAGIC + 4] != b"HdrS":
        raise ValueError("no Linux bzImage")
    offset, length = struct.unpack_from("<II", image, PAYLOAD)
    start = ((image[SETUP_SECTS] or 4) + 1) * 512 + offset
    data = image[start:start + length]
    if length < 8 or len(data) != length:
        raise ValueError("the payload lies outside of the file")
    return data[:-4], struct.unpack("<I", data[-4:])[0]


def extract(image):
    data, size = payload(image)
    for magic, command in PROGRAMS:
        if data.startswith(magic):
            kernel = subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout
            if len(kernel) != size or not kernel.startswith(b"\x7fELF"):
                raise ValueError(f"{command[0]} gave {len(kernel)} bytes instead of an ELF file of {size}")
            return kernel
    raise ValueError(f"unknown compression: {data[:8].hex()}")


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: extract-vmlinux.py BZIMAGE VMLINUX")
    with open(sys.argv[1], "rb") as file:
        kernel = extract(file.read())
    with open(sys.argv[2] + ".new", "wb") as file:
        file.write(kernel)
    os.rename(sys.argv[2] + ".new", sys.argv[2])


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        sys.exit(f"extract-vmlinux: {error}")

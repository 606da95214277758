"""What is checked before an image is made: the configuration and the files that it names, by Lamina's own parser and loaders, and Lamina itself."""
import os
import re
import struct
import subprocess

from .errors import UsageError
from .guest import must_exist

PROGRAM = "lamina-check"
ELF_X86_64 = 62
MULTIBOOT2_MAGIC = struct.pack("<I", 0xE85250D6)
MULTIBOOT2_SEARCH = 32768


def lamina(path):
    """--lamina must name Lamina: GRUB would say nothing that reaches the serial port."""
    with open(must_exist(path, "--lamina"), "rb") as file:
        head = file.read(MULTIBOOT2_SEARCH)
    if head[:4] != b"\x7fELF" or len(head) < 64 or struct.unpack_from("<H", head, 18)[0] != ELF_X86_64 or MULTIBOOT2_MAGIC not in head:
        raise UsageError(f"--lamina {path}: not lamina.elf, an ELF file for x86-64 with a Multiboot2 header (make builds it)")


def findings(options, guest, folder):
    """What Lamina would find wrong, a sentence each."""
    program = os.path.join(os.path.dirname(os.path.abspath(options.lamina)), PROGRAM)
    if not os.path.isfile(program):
        raise UsageError(f"{program} is missing: make builds it with lamina.elf")
    config = options.config
    if guest.source is not None:
        config = os.path.join(folder, "lamina.cfg")
        with open(config, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(guest.source)
    words = [program, config]
    for key, value in guest.settings:
        words += ["--set", f"{key}={value}"]
    for file in guest.files:
        words += ["--file", f"{file.name}={file.path}"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    text = done.stdout.decode(errors="replace")
    if done.returncode not in (0, 1):
        raise UsageError(f"{PROGRAM}: {done.stderr.decode(errors='replace').strip() or f'ended with status {done.returncode}'}")
    # The lines of a configuration that the runner made itself say nothing to the user.
    return [line if options.config else re.sub(r"^lamina\.cfg:\d+: ", "", line) for line in text.splitlines()]


def configuration(options, guest, folder):
    """Refuses what Lamina would refuse at the machine, with all that is wrong."""
    found = findings(options, guest, folder)
    if found:
        raise UsageError("\n".join(found))

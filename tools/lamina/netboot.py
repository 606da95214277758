"""What a TFTP server offers to machines that boot from the network: GRUB for BIOS and for UEFI, and a configuration for each machine.

    lamina-bios.0, lamina-x64.efi       the DHCP server's boot file, by the machine's firmware
    boot/grub/grub.cfg                  what every machine boots that has no configuration of its own
    boot/grub/grub.cfg-01-MAC           what the machine with this MAC address boots (GRUB looks for it first)
    machines/NAME/                      lamina.elf, lamina.cfg and the files that it names; NAME is `default` or the MAC address
"""
import os
import re
import shutil

from . import image
from .errors import UsageError
from .guest import must_exist

LOADERS = {"bios": "lamina-bios.0", "uefi": "lamina-x64.efi"}
FORMATS = {
    "bios": ("i386-pc-pxe", "i386-pc", ["pxe"]),
    "uefi": ("x86_64-efi", "x86_64-efi", ["efinet", "all_video"]),
}
MODULES = "tftp net normal configfile multiboot2 test echo cat ls reboot halt".split()
MAC = re.compile(r"^[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(\1[0-9A-Fa-f]{2}){4}$")


def machine_name(mac):
    """A MAC address as GRUB writes it into the name of a configuration."""
    if not MAC.match(mac):
        raise UsageError(f"{mac}: expected a MAC address like 52:54:00:12:34:56")
    return mac.lower().replace(":", "-")


def place(source, target):
    """A link where the file system allows it, else a copy; what was there before is replaced."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.lexists(target):
        os.remove(target)
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


def make(options, guest, folder, mac=None, link=True):
    """Makes the server's folder, or adds a machine to it, and returns its path. `link`: the guest's files may be hard links."""
    name = machine_name(mac) if mac else "default"
    own = os.path.join(folder, "machines", name)
    must_exist(options.lamina, "--lamina")
    os.makedirs(os.path.join(folder, "boot", "grub"), exist_ok=True)
    # Beside the old folder, which goes when the new one is complete: the files may come from there, and there may be no room.
    fresh = own + ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    os.makedirs(fresh)
    put = place if link else copy
    try:
        put(options.lamina, os.path.join(fresh, "lamina.elf"))
        if not options.omit_config:
            image.write_text(os.path.join(fresh, "lamina.cfg"), guest.config)
        for file in guest.files:
            put(file.path, os.path.join(fresh, file.name))
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if os.path.lexists(own):
        shutil.rmtree(own)
    os.rename(fresh, own)
    image.write_text(os.path.join(folder, "boot", "grub", f"grub.cfg-01-{name}" if mac else "grub.cfg"),
                     image.grub_config(options, guest, f"/machines/{name}"))
    for firmware, (output, platform, modules) in FORMATS.items():
        image.tool(["grub-mkimage", "-O", output, "-d", image.grub_platform(platform), "-o", os.path.join(folder, LOADERS[firmware]),
                    "-p", "/boot/grub", *modules, *MODULES])
    return folder


def copy(source, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(source, target)

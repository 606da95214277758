"""The boot image: an ISO 9660 image with GRUB, Lamina, its configuration and the guests' files."""
import os
import shutil
import subprocess

from .errors import UsageError
from .guest import must_exist

GRUB_PLATFORM = "/usr/lib/grub/i386-pc"
EPOCH = 1600000000      # every time stamp in the image, so that the same input gives the same image


def quoted(text):
    """A word for GRUB's script language, taken literally."""
    return "'" + text.replace("'", "'\\''") + "'"


def place(guest):
    """Each file's path on the image; the number keeps equal names of two folders apart."""
    return {file.name: f"/boot/{index}-{os.path.basename(file.name)}" for index, file in enumerate(guest.files)}


def arguments(text):
    """The words of a command line, for GRUB."""
    return "".join(" " + quoted(word) for word in text.split())


def grub_lamina(options, guest):
    where = place(guest)
    # GRUB gives the framebuffer that Lamina asks for: the firmware's under UEFI. A BIOS would have to change the mode: it stays in text
    # mode, which is said after multiboot2, as that sets the variable itself.
    lines = ['if [ "$grub_platform" = efi ]; then insmod all_video; fi', f"multiboot2 /boot/lamina.elf{arguments(options.lamina_cmdline)}",
             'if [ "$grub_platform" != efi ]; then set gfxpayload=text; fi']
    if not options.omit_config:
        lines.append("module2 --nounzip /boot/lamina.cfg lamina.cfg")
    lines += [f"module2 --nounzip {quoted(where[file.name])} {quoted(file.name)}" for file in guest.files]
    return lines


def grub_native(guest):
    where = place(guest)
    kernel = quoted(where[guest.kernel.name]) + arguments(guest.cmdline)
    if guest.kind == "linux":
        lines = [f"linux {kernel}"]
        if guest.initrd:
            lines.append(f"initrd {quoted(where[guest.initrd.name])}")
        return lines
    if guest.kind == "multiboot":
        lines = [f"multiboot {kernel}"]
        for file, words in guest.modules:
            lines.append(f"module --nounzip {quoted(where[file.name])} {quoted(file.name)}{arguments(words)}")
        return lines
    raise UsageError(f"--kernel {guest.kernel.path}: neither a Linux bzImage nor a Multiboot kernel")


def grub_config(options, guest):
    lines = grub_native(guest) if options.native else grub_lamina(options, guest)
    # Each step must have worked before the next: a message on the screen is worth more than a half-loaded boot.
    return "\n".join(["set timeout=0", "set gfxpayload=text", 'menuentry "guest" {'] + ["\t" + line for line in lines] + ["}"]) + "\n"


def copy(source, target):
    """A copy, or a link where the file system allows it: the files are only read."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


def make(options, guest, folder):
    """Makes folder/boot.iso and returns its path."""
    if not shutil.which("grub-mkrescue") or not shutil.which("xorriso"):
        raise UsageError("grub-mkrescue and xorriso are needed: run tools/setup.sh")
    if not os.path.isdir(GRUB_PLATFORM):
        raise UsageError(f"{GRUB_PLATFORM} is missing: run tools/setup.sh")
    tree = os.path.join(folder, "tree")
    os.makedirs(os.path.join(tree, "boot", "grub"))
    if not options.native:
        copy(must_exist(options.lamina, "--lamina"), os.path.join(tree, "boot", "lamina.elf"))
        with open(os.path.join(tree, "boot", "lamina.cfg"), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(guest.config)
    for file in guest.files:
        if not options.native or all(file is not disk for disk, _ in guest.disks):
            copy(file.path, tree + place(guest)[file.name])
    with open(os.path.join(tree, "boot", "grub", "grub.cfg"), "w", encoding="utf-8") as file:
        file.write(grub_config(options, guest))

    image = os.path.join(folder, "boot.iso")
    command = ["grub-mkrescue", "-d", GRUB_PLATFORM, "--fonts=", "--locales=", "--themes=", "-o", image, tree,
               "--", "-volid", "LAMINA", "-alter_date_r", "b", f"={EPOCH}", "/", "--"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
                          env=dict(os.environ, SOURCE_DATE_EPOCH=str(EPOCH)))
    if done.returncode != 0 or not os.path.isfile(image):
        raise UsageError("grub-mkrescue failed:\n" + done.stdout.decode(errors="replace"))
    return image

"""The boot image: one file for USB stick and CD, for BIOS and UEFI.

All files are once in it, on a FAT volume, which is the EFI system partition: UEFI firmware starts lamina.efi from there. Around it is an
ISO 9660 image, whose only other content is GRUB for BIOS; it finds the volume as a file. The same input gives the same bytes.
"""
import os
import shutil
import subprocess

from .errors import UsageError
from .guest import must_exist

GRUB = "/usr/lib/grub"
BIOS_MODULES = "biosdisk iso9660 fat loopback search search_fs_file normal configfile multiboot multiboot2 linux test echo cat ls reboot halt".split()
EPOCH = 1600000000      # every time stamp in the image, so that the same input gives the same image
VOLUME = "LAMINA"
SERIAL = "4c616d69"     # of the FAT volume
ESP = "lamina.esp"      # the FAT volume's name on the ISO 9660 image
SECTOR = 512
SPARE = 4 << 20         # bytes left for the user's changes
SMALLEST = 16 << 20
FAT32_FROM = 512 << 20
FILE_LIMIT = (4 << 30) - 1

# What GRUB does first: it finds the volume on the medium that it was loaded from.
EARLY_CONFIG = f"""\
search --no-floppy --hint=$root --set=medium --file /{ESP}
loopback esp ($medium)/{ESP}
set root=esp
set prefix=(esp)/boot/grub
"""


def quoted(text):
    """A word for GRUB's script language, taken literally."""
    return "'" + text.replace("'", "'\\''") + "'"


def arguments(text):
    """The words of a command line, for GRUB."""
    return "".join(" " + quoted(word) for word in text.split())


def grub_lamina(options, guest, folder=""):
    # Lamina asks for a framebuffer, and a BIOS would have to change the mode for one: it stays in text mode, which is said after
    # multiboot2, as that sets the variable itself.
    lines = [f"multiboot2 {folder}/lamina.elf{arguments(options.lamina_cmdline)}",
             'if [ "$grub_platform" != efi ]; then set gfxpayload=text; fi']
    if not options.omit_config:
        lines.append(f"module2 --nounzip {folder}/lamina.cfg lamina.cfg")
    lines += [f"module2 --nounzip {quoted(folder + '/' + file.name)} {quoted(file.name)}" for file in guest.files]
    return lines


def grub_native(guest):
    kernel = quoted("/" + guest.kernel.name) + arguments(guest.cmdline)
    if guest.kind == "linux":
        lines = [f"linux {kernel}"]
        if guest.initrd:
            lines.append(f"initrd {quoted('/' + guest.initrd.name)}")
        return lines
    if guest.kind == "multiboot":
        lines = [f"multiboot {kernel}"]
        for file, words in guest.modules:
            lines.append(f"module --nounzip {quoted('/' + file.name)} {quoted(file.name)}{arguments(words)}")
        return lines
    raise UsageError(f"--kernel {guest.kernel.path}: neither a Linux bzImage nor a Multiboot kernel")


def grub_config(options, guest, folder=""):
    lines = grub_native(guest) if options.native else grub_lamina(options, guest, folder)
    # Each step must have worked before the next: a message on the screen is worth more than a half-loaded boot.
    return "\n".join(["set timeout=0", "set gfxpayload=text", 'menuentry "guest" {'] + ["\t" + line for line in lines] + ["}"]) + "\n"


def environment():
    return dict(os.environ, SOURCE_DATE_EPOCH=str(EPOCH), TZ="UTC", LC_ALL="C.UTF-8", MTOOLSRC="/dev/null", MTOOLS_SKIP_CHECK="1")


def tool(command, **options):
    """Runs a program that makes a part of the image."""
    if not shutil.which(command[0]):
        raise UsageError(f"{command[0]} is missing: run tools/setup.sh")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, env=environment(),
                          **({} if "input" in options else {"stdin": subprocess.DEVNULL}), **options)
    if done.returncode != 0:
        raise UsageError(f"{command[0]} failed:\n" + done.stdout.decode(errors="replace"))


def grub_platform(name):
    folder = os.path.join(GRUB, name)
    if not os.path.isdir(folder):
        raise UsageError(f"{folder} is missing: run tools/setup.sh")
    return folder


def write_text(path, text):
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    return path


def loader(options):
    """lamina.efi, of the same build as lamina.elf: beside it."""
    return os.path.join(os.path.dirname(os.path.abspath(options.lamina)), "lamina.efi")


def check_target(option, target, options, guest):
    """The image replaces a file that is there: neither a disk nor what it is made from."""
    if not os.path.exists(target):
        return
    if not os.path.isfile(target):
        raise UsageError(f"{option} {target}: not a file; a stick is written by tools/lamina-image --write")
    for path in [file.path for file in guest.files] + [options.lamina, options.config, loader(options)]:
        if path and os.path.exists(path) and os.path.samefile(path, target):
            raise UsageError(f"{option} {target}: the image is made from this file: name another one")


def own_files(options, guest, folder):
    """What is on the volume beside the guest's files: {path there: path here}."""
    files = {"boot/grub/grub.cfg": write_text(os.path.join(folder, "grub.cfg"), grub_config(options, guest))}
    if options.native:
        return files
    files["lamina.elf"] = must_exist(options.lamina, "--lamina")
    if not options.omit_config:
        files["lamina.cfg"] = write_text(os.path.join(folder, "lamina.cfg"), guest.config)
    if options.lamina_cmdline:
        files["lamina.cmdline"] = write_text(os.path.join(folder, "lamina.cmdline"), options.lamina_cmdline + "\n")
    files["EFI/BOOT/BOOTX64.EFI"] = must_exist(loader(options), "the loader for UEFI")
    return files


def check_names(files):
    """FAT knows no case and no colon, and its files are smaller than 4 GiB."""
    seen = {}
    for name, path in files.items():
        if ":" in name or any(part in ("", ".", "..") or part.endswith(".") for part in name.split("/")):
            raise UsageError(f"{name}: a file of this name cannot be on the image's FAT volume")
        if name.lower() in seen:
            raise UsageError(f"{name}: FAT does not tell it from {seen[name.lower()]}, which is on the image too")
        seen[name.lower()] = name
        if os.path.getsize(path) > FILE_LIMIT:
            raise UsageError(f"{path}: a file on the image's FAT volume is smaller than 4 GiB")


def volume_size(files):
    """Bytes of a FAT volume that holds the files: their clusters, both tables, some room."""
    content = sum(os.path.getsize(path) + (32 << 10) for path in files.values())
    size = max(SMALLEST, content + content // 128 + SPARE)
    return (size + (1 << 20) - 1) >> 20 << 20


def make_volume(files, path):
    """A FAT volume that holds `files`, {path there: path here}."""
    check_names(files)
    size = volume_size(files)
    tool(["mformat", "-C", "-i", path, "-v", VOLUME, "-N", SERIAL, "-T", str(size // SECTOR), "-h", "255", "-s", "63"]
         + (["-F"] if size >= FAT32_FROM else []) + ["::"])
    folders = set()
    for name in files:
        parts = name.split("/")[:-1]
        folders.update("/".join(parts[:depth + 1]) for depth in range(len(parts)))
    for folder in sorted(folders):
        tool(["mmd", "-i", path, "::/" + folder])
    for name in sorted(files):
        tool(["mcopy", "-i", path, os.path.realpath(files[name]), "::/" + name])


def make_grub(folder):
    """GRUB's core for BIOS, from CD or disk."""
    path, early = os.path.join(folder, "eltorito.img"), write_text(os.path.join(folder, "early.cfg"), EARLY_CONFIG)
    tool(["grub-mkimage", "-O", "i386-pc-eltorito", "-d", grub_platform("i386-pc"), "-o", path, "-c", early, "-p", "/boot/grub", *BIOS_MODULES])
    return path


def make(options, guest, folder):
    """Makes folder/boot.iso and returns its path."""
    tree = os.path.join(folder, "tree")
    os.makedirs(tree)
    files = own_files(options, guest, folder)
    own = {name.lower() for name in files}
    for file in guest.files:
        if options.native and any(file is disk for disk, _ in guest.disks):
            continue
        if file.name.lower() in own:
            raise UsageError(f"{file.name}: a guest's file cannot have this name: the image has its own")
        files[file.name] = file.path
    make_volume(files, os.path.join(tree, ESP))
    os.rename(make_grub(folder), os.path.join(tree, "eltorito.img"))

    image = os.path.join(folder, "boot.iso")
    tool(["xorriso", "-as", "mkisofs", "-quiet", "-volid", VOLUME, "-b", "eltorito.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table",
          "--grub2-boot-info", "--grub2-mbr", os.path.join(grub_platform("i386-pc"), "boot_hybrid.img"), "--protective-msdos-label",
          "--efi-boot", ESP, "-efi-boot-part", "--efi-boot-image", "-r", "--set_all_file_dates", "=" + str(EPOCH), "-o", image, tree])
    os.remove(os.path.join(tree, ESP))
    return image

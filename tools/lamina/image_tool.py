"""tools/lamina-image: its command line and what it does."""
import argparse
import os
import shutil
import sys
import tempfile

from . import guest as guests
from . import check, image, netboot, stick
from .errors import Parser, UsageError
from .options import TOP, check_folder, key_value, positive

EPILOG = """\
examples:
  tools/lamina-image --guest-kernel vmlinuz --guest-initrd initrd.gz --memory 2048 --cpus 2 --out lamina.img
  tools/lamina-image --config my/lamina.cfg --out lamina.img
  tools/lamina-image --image lamina.img --write /dev/sdX
  tools/lamina-image --config my/lamina.cfg --netboot /srv/tftp
  tools/lamina-image --config other/lamina.cfg --netboot /srv/tftp --mac 52:54:00:12:34:56
"""


def parser():
    result = Parser(prog="lamina-image", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EPILOG,
                    description="Makes an image that boots Lamina from a USB stick or CD, by BIOS or UEFI.")
    what = result.add_argument_group("what it boots")
    what.add_argument("--config", metavar="FILE", help="a lamina.cfg; the files that it names are beside it")
    what.add_argument("--guest-kernel", "--kernel", dest="kernel", metavar="FILE", help="Linux bzImage (or one like it) or Multiboot kernel")
    what.add_argument("--guest-initrd", "--initrd", dest="initrd", metavar="FILE", help="initial RAM disk for Linux")
    what.add_argument("--guest-module", "--module", dest="module", metavar="FILE[=ARGS]", action="append",
                      default=[], help="module for a Multiboot kernel; may be repeated")
    what.add_argument("--guest-disk", "--disk", dest="disk", metavar="FILE[,ro]", action="append", default=[],
                      help="disk image, loaded into memory; may be repeated")
    what.add_argument("--cmdline", metavar="TEXT", help="the kernel's command line (Linux: console=ttyS0)")
    what.add_argument("--memory", type=positive, metavar="MIB", help="the guest's memory (1024)")
    what.add_argument("--cpus", type=positive, metavar="N", help="the guest's CPUs (1)")
    what.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="settings",
                      help="any key of lamina.cfg, in every [vm] section (vm.NAME.KEY: in that one); may be repeated")
    what.add_argument("--lamina", metavar="FILE", default=os.path.join(TOP, "build", "lamina.elf"),
                      help="the hypervisor (build/lamina.elf); lamina.efi of the same build is beside it")
    what.add_argument("--lamina-cmdline", metavar="TEXT", default="", help="command line for Lamina itself")

    what.add_argument("--check", action="store_true",
                      help="only say what Lamina would find wrong with the configuration and its files (status 2 if anything)")
    what.add_argument("--no-check", action="store_true", help="make the image whatever Lamina will find wrong: it says so itself")

    where = result.add_argument_group("where it goes")
    where.add_argument("--out", metavar="FILE", help="write the image to this file")
    where.add_argument("--image", metavar="FILE", help="with --write: an image made before")
    where.add_argument("--write", metavar="/dev/sdX", help="write the image to this removable disk, after a question; all that is on it is lost")
    where.add_argument("--netboot", metavar="FOLDER", help="put what machines boot from the network into this folder of a TFTP server")
    where.add_argument("--mac", metavar="MAC", help="with --netboot: for the machine with this network card only")
    return result


def parse(arguments):
    options = parser().parse_args(arguments)
    options.settings = [key_value(text, "--set") for text in options.settings]
    options.set_machine, options.allow_missing, options.omit_config, options.native = [], False, False, False
    described = options.config or options.kernel
    if options.image and (described or options.out or options.netboot or not options.write):
        raise UsageError("--image FILE is for --write alone: the image is made already")
    if not options.image and not described:
        raise UsageError("give --guest-kernel FILE (and what it needs) or --config FILE")
    if options.config and (options.kernel or options.initrd or options.module or options.disk):
        raise UsageError("--config names the guest's files itself: leave out --guest-kernel, --guest-initrd, --guest-module and --guest-disk")
    if options.check and options.no_check:
        raise UsageError("--check and --no-check exclude each other")
    if options.check and (options.image or options.out or options.write or options.netboot):
        raise UsageError("--check makes no image: leave out --image, --out, --write and --netboot")
    if not (options.out or options.write or options.netboot or options.check):
        raise UsageError("say where it goes: --out FILE, --write /dev/sdX or --netboot FOLDER")
    if options.mac and not options.netboot:
        raise UsageError("--mac is for --netboot FOLDER")
    return options


def run(options):
    if options.image:
        stick.write(guests.must_exist(options.image, "--image"), options.write)
        return
    guest = guests.from_any(options)
    check_folder("--out", options.out)
    if not options.no_check:
        check.lamina(options.lamina)
        with tempfile.TemporaryDirectory(prefix="lamina-image.") as folder:
            check.configuration(options, guest, folder)
    if options.check:
        print("nothing is wrong with the configuration and its files")
        return
    if options.out:
        image.check_target("--out", options.out, options, guest)
    if options.netboot:
        netboot.make(options, guest, options.netboot, options.mac, link=False)
        print(f"{options.netboot}: {' and '.join(netboot.LOADERS.values())} are the boot files, by the machines' firmware")
    if not (options.out or options.write):
        return
    # Beside the result, which may be larger than what /tmp holds.
    beside = os.path.dirname(os.path.abspath(options.out)) if options.out else None
    with tempfile.TemporaryDirectory(prefix="lamina-image.", dir=beside) as folder:
        made = image.make(options, guest, folder)
        if options.write:
            stick.write(made, options.write)
        if options.out:
            shutil.move(made, options.out)
            print(f"{options.out}: {os.path.getsize(options.out) >> 20} MiB, for USB stick or CD, BIOS or UEFI")


def main(arguments):
    try:
        run(parse(arguments))
        return 0
    except UsageError as error:
        sys.stderr.write(f"lamina-image: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"lamina-image: {error.filename or 'input/output'}: {error.strerror}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nlamina-image: interrupted\n")
        return 130

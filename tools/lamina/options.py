"""The command line of tools/lamina-run."""
import argparse
import os
import re

from .errors import Parser, UsageError

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

DESCRIPTION = """\
Boots a guest on Lamina in an emulated PC, with the guest's serial console on this terminal. Ctrl-] leaves.
"""

EPILOG = """\
exit status:
  0  the guest powered itself off, or the user left, or --until was seen
  2  a wrong option or a missing file
  3  time-out
  4  Lamina stopped the guest
  5  Lamina failed, or the machine ended without a word

examples:
  tools/lamina-run --kernel build/guests/vmlinuz --initrd build/guests/initrd.gz --disk build/guests/disk.img
  tools/lamina-run --batch --log boot.log --timeout 300 --kernel build/guests/vmlinuz --initrd build/guests/initrd.gz \\
                   --cmdline "console=ttyS0 lamina.run=poweroff"
  tools/lamina-run --config my/lamina.cfg --set numvcpus=2
  tools/lamina-run --machine bochs --cpu core2_penryn_t9600 --kernel build/guests/gnumach.elf --cmdline console=com0
  tools/lamina-run --native --kernel build/guests/gnumach.elf --cmdline console=com0
"""


ACCELERATORS = ("auto", "kvm", "tcg")


def positive(text):
    number = int(text, 0)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def parser():
    result = Parser(prog="lamina-run", description=DESCRIPTION, epilog=EPILOG,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    machine = result.add_argument_group("the machine")
    machine.add_argument("--machine", choices=("auto", "bochs", "qemu"), default="auto",
                         help="auto: Bochs where --cpu names one of its models, else QEMU, which boots ten times faster: under KVM "
                              "where that offers nested VT-x or AMD-V, else by its own emulation with AMD-V")
    machine.add_argument("--cpu", metavar="MODEL",
                         help="CPU model of the machine (Bochs: corei7_skylake_x; QEMU: host under KVM, else EPYC,+svm,+npt)")
    machine.add_argument("--accel", choices=ACCELERATORS,
                         help="how QEMU makes the CPU. auto, the default where the variable LAMINA_ACCEL says nothing else: by KVM where "
                              "that offers nested VT-x or AMD-V and --cpu names no CPU of another kind (host and max are the machine's "
                              "own), else by its own emulation (tcg)")
    machine.add_argument("--host-cpus", type=positive, default=1, metavar="N", help="cores of the machine (1)")
    machine.add_argument("--host-memory", type=positive, default=3072, metavar="MIB", help="memory of the machine (3072)")
    machine.add_argument("--host-disk", metavar="KIND=FILE[,serial=S]", action="append", default=[], dest="host_disks",
                         help="give the machine a disk, which is written: nvme, ahci, ata or virtio (Bochs: ata only); may be repeated. "
                              "--disk nvme:0n1 (ahci:0, virtio:0, ata:0, serial:S) gives it to the guest")
    machine.add_argument("--icount", action="store_true",
                         help="QEMU counts instructions: one tick of the TSC each, the same in every run; one core only")
    machine.add_argument("--uefi", action="store_true", help="UEFI firmware (OVMF) instead of a BIOS; QEMU only")
    machine.add_argument("--boot-from", choices=("cd", "usb", "disk", "nvme", "net"), default="cd",
                         help="the medium that the image is booted from (cd); others than cd in QEMU only")
    machine.add_argument("--native", action="store_true", help="boot the guest on the machine itself, without Lamina")
    machine.add_argument("--lamina", metavar="FILE", default=os.path.join(TOP, "build", "lamina.elf"),
                         help="the hypervisor (build/lamina.elf)")
    machine.add_argument("--lamina-cmdline", metavar="TEXT", default="", help="command line for Lamina itself")

    guest = result.add_argument_group("the guest")
    guest.add_argument("--config", metavar="FILE", help="a lamina.cfg; the files that it names are beside it")
    guest.add_argument("--kernel", metavar="FILE", help="Linux bzImage (or one like it) or Multiboot kernel")
    guest.add_argument("--initrd", metavar="FILE", help="initial RAM disk for Linux")
    guest.add_argument("--module", metavar="FILE[=ARGS]", action="append", default=[],
                       help="module for a Multiboot kernel; may be repeated")
    guest.add_argument("--disk", metavar="FILE[,ro]", action="append", default=[],
                       help="disk image, never written back; or the name of a disk of the machine's (--host-disk), with a part of it "
                            "if need be; may be repeated")
    guest.add_argument("--cmdline", metavar="TEXT", help="the kernel's command line (Linux: console=ttyS0)")
    guest.add_argument("--memory", type=positive, metavar="MIB", help="the guest's memory (1024)")
    guest.add_argument("--cpus", type=positive, metavar="N", help="the guest's CPUs (1)")
    guest.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="settings",
                       help="any key of lamina.cfg, in every [vm] section (vm.NAME.KEY: in that one); may be repeated")
    guest.add_argument("--set-machine", metavar="KEY=VALUE", action="append", default=[],
                       help="the same for a key that stands before the sections")
    guest.add_argument("--allow-missing", action="store_true",
                       help="start even if a file that --config names is missing, and whatever else is wrong: Lamina reports it then")

    guest.add_argument("--check", action="store_true",
                       help="only say what Lamina would find wrong with the configuration and its files (status 2 if anything)")
    guest.add_argument("--no-check", action="store_true",
                       help="start whatever Lamina will find wrong: it says so itself, and the VMs that are right run")
    guest.add_argument("--omit-config", action="store_true", help="leave lamina.cfg off the image (for tests)")

    run = result.add_argument_group("the run")
    run.add_argument("--batch", action="store_true", help="no terminal: run until the verdict and exit with it")
    run.add_argument("--log", metavar="FILE", help="write the serial console to this file too (batch: only there)")
    run.add_argument("--timeout", type=positive, metavar="S", help="seconds of wall time (batch: 600, else none)")
    run.add_argument("--until", metavar="REGEX", help="end with status 0 when a line of the console, whole or not, matches")
    run.add_argument("--input-after", metavar="TEXT", help="hold standard input back until the console has printed TEXT")
    run.add_argument("--keep-iso", metavar="FILE", help="keep the boot image as FILE")
    run.add_argument("--no-run", action="store_true", help="with --keep-iso: make the image, start nothing")
    run.add_argument("--machine-log", "--bochs-log", metavar="FILE", help="keep the emulator's own log as FILE")
    run.add_argument("--machine-output", "--bochs-output", metavar="FILE", help="what the emulator (Bochs: and its debugger) prints")
    run.add_argument("--bochs-line", metavar="TEXT", action="append", default=[], help="a further line for bochsrc; may be repeated")
    run.add_argument("--bochs-commands", metavar="FILE", help="commands for Bochs's debugger instead of just `c`")
    run.add_argument("--qemu-option", metavar="WORD", action="append", default=[],
                     help="a further word for QEMU's command line (--qemu-option=-s); may be repeated")
    run.add_argument("--dry-run", action="store_true", help="print lamina.cfg and grub.cfg, start nothing")
    return result


def key_value(text, option):
    """Splits KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"{option} {text}: expected KEY=VALUE")
    return key.strip(), value.strip()


def not_a_file(path):
    """Why a path is no file that can be read."""
    if os.path.isdir(path):
        return "a folder, not a file"
    return "neither a file nor a folder" if os.path.exists(path) else "no such file"


def check_folder(option, path):
    """A file is going to be written there."""
    if path and os.path.isdir(path):
        raise UsageError(f"{option} {path}: a folder: name a file in it")
    folder = os.path.dirname(os.path.abspath(path)) if path else None
    if folder and not os.path.isdir(folder):
        raise UsageError(f"{option} {path}: there is no folder {os.path.dirname(path)}")


HOST_DISK_KINDS = ("nvme", "ahci", "virtio", "ata")


class HostDisk:
    """A disk of the machine's: its kind, its file, its serial number."""

    def __init__(self, text, index):
        kind, equals, rest = text.partition("=")
        if not equals or kind not in HOST_DISK_KINDS:
            raise UsageError(f"--host-disk {text}: expected KIND=FILE, KIND one of {', '.join(HOST_DISK_KINDS)}")
        self.kind = kind
        self.path, comma, serial = rest.partition(",serial=")
        self.serial = serial if comma else f"LAMINA{index}"
        if not os.path.isfile(self.path):
            raise UsageError(f"--host-disk {self.path}: {not_a_file(self.path)}")


def parse(arguments):
    """Parses and checks the options; argparse itself exits with status 2 and a message."""
    options = parser().parse_args(arguments)
    options.accel_given = options.accel is not None
    options.accel = options.accel or os.environ.get("LAMINA_ACCEL", "auto")
    if options.accel not in ACCELERATORS:
        raise UsageError(f"LAMINA_ACCEL={options.accel}: expected one of {', '.join(ACCELERATORS)}")
    options.settings = [key_value(text, "--set") for text in options.settings]
    options.host_disks = [HostDisk(text, index) for index, text in enumerate(options.host_disks)]
    options.set_machine = [key_value(text, "--set-machine") for text in options.set_machine]
    if not options.config and not options.kernel:
        raise UsageError("give --kernel FILE (and what it needs) or --config FILE")
    if options.config and (options.kernel or options.initrd or options.module or options.disk):
        raise UsageError("--config names the guest's files itself: leave out --kernel, --initrd, --module and --disk")
    for option in ("log", "keep_iso", "machine_log", "machine_output"):
        check_folder("--" + option.replace("_", "-"), getattr(options, option))
    if options.config and options.native:
        raise UsageError("--native needs --kernel, not --config")
    if options.native and (options.uefi or options.boot_from == "net"):
        raise UsageError("--native boots by BIOS and from an image: leave out --uefi and --boot-from net")
    if options.keep_iso and options.boot_from == "net":
        raise UsageError("--boot-from net makes no image to keep: leave out --keep-iso, or use tools/lamina-image --netboot")
    if options.icount and options.host_cpus > 1:
        raise UsageError("--icount counts on one core: leave out --host-cpus")
    if options.icount and options.accel == "kvm":
        raise UsageError("--icount counts what QEMU's own emulation runs: leave out --accel kvm")
    if options.check and options.no_check:
        raise UsageError("--check and --no-check exclude each other")
    if options.no_run and not options.keep_iso:
        raise UsageError("--no-run is for --keep-iso FILE")
    if options.until:
        try:
            options.until = re.compile(options.until)
        except re.error as error:
            raise UsageError(f"--until {options.until}: {error}") from error
    if options.batch and options.timeout is None:
        options.timeout = 600
    return options

"""QEMU: the fast machine where KVM offers nested virtualization, and by its own emulation, which has AMD-V, everywhere else."""
import os
import shutil

from . import netboot
from .errors import UsageError
from .machine import Machine

PROGRAM = "qemu-system-x86_64"
EMULATED_CPU = "EPYC,+svm,+npt"
NESTED_CPU = {"VT-x": "host,+vmx,+invtsc", "AMD-V": "host,+svm,+npt,+invtsc"}
OWN_CPUS = ("host", "max", "base")      # what KVM makes of the machine's own CPU; other models are of a kind that may not be there
OVMF = "/usr/share/ovmf/OVMF.fd"
POWERED_OFF = "qemu_system_shutdown_request "   # the trace event of a power-off; a reset that ends the machine is none


def installed():
    return bool(shutil.which(PROGRAM))


def nesting(options, offered):
    """The extension that the CPU gets from KVM, or None for QEMU's own emulation. `offered`: kvm.offers()."""
    if options.accel == "kvm" and not offered:
        raise UsageError("--accel kvm: KVM on this machine offers its guests neither VT-x nor AMD-V; --accel tcg emulates AMD-V")
    emulated = options.icount or (options.cpu and options.cpu.partition(",")[0] not in OWN_CPUS)
    return None if options.accel == "tcg" or (options.accel == "auto" and emulated) else offered


class Qemu(Machine):
    """A q35 PC. `nested` is what KVM gives its CPU (nesting()), None for QEMU's own emulation."""

    name = "qemu"
    log_name = "qemu.log"

    def __init__(self, options, guest, folder, nested):
        super().__init__(options, guest, folder)
        if not installed():
            raise UsageError("QEMU is missing: run tools/setup.sh")
        if options.uefi and not os.path.isfile(OVMF):
            raise UsageError(f"{OVMF} is missing: run tools/setup.sh")
        self.nested = nested
        self.output = None

    def acceleration(self):
        """How the CPU is made, in words."""
        if self.nested:
            return f"under KVM with nested {self.nested}"
        return "by its own emulation, which has AMD-V" + (", counting instructions" if self.options.icount else "")

    def cpu(self):
        return self.options.cpu or (NESTED_CPU[self.nested] if self.nested else EMULATED_CPU)

    def describe(self):
        return f"QEMU {self.acceleration()}, {self.cpu()}, {self.size()}" + (", UEFI" if self.options.uefi else "")

    def old_ide(self):
        """An ATA disk, or the user's own words, ask for the machine that has it."""
        return "pc" in self.options.qemu_option or any(disk.kind == "ata" for disk in self.options.host_disks)

    def medium(self, image):
        """The device that the machine boots from; `image` is a file, or the folder of a boot server (netboot.py)."""
        where = self.options.boot_from
        if where == "net":
            # SeaBIOS boots by QEMU's network boot ROMs, which are iPXE; OVMF has a driver of its own for this card.
            server = f"user,id=net0,tftp={image},bootfile={netboot.LOADERS['uefi' if self.options.uefi else 'bios']}"
            return ["-netdev", server, "-device", "virtio-net-pci,netdev=net0,bootindex=0"]
        bus = "ide.1" if self.old_ide() else "ide.2"
        drive = ["-drive", f"if=none,id=boot,format=raw,snapshot=on,file={image}"]
        return drive + {
            "cd": ["-device", f"ide-cd,bus={bus},drive=boot,bootindex=0"],
            "disk": ["-device", f"ide-hd,bus={bus},drive=boot,bootindex=0"],
            "usb": ["-device", "qemu-xhci", "-device", "usb-storage,drive=boot,bootindex=0"],
            "nvme": ["-device", "nvme,serial=boot,drive=boot,bootindex=0"],
        }[where]

    def command(self, image, tty):
        options = self.options
        # The PC of 1996 has the old IDE controller.
        machine = "pc" if self.old_ide() else "q35"
        command = [PROGRAM, "-machine", machine, "-accel", "kvm" if self.nested else "tcg", "-cpu", self.cpu(),
                   "-m", str(options.host_memory), "-smp", str(options.host_cpus),
                   "-display", "none", "-monitor", "none", "-nodefaults", "-vga", "std", *self.medium(image),
                   "-chardev", f"serial,id=com1,path={tty}", "-serial", "chardev:com1",
                   "-D", self.log, "-d", "cpu_reset", "-trace", POWERED_OFF.strip()]
        if not options.native:
            command.append("-no-reboot")        # Lamina never resets the machine: a reset is a triple fault, and ends the run
        if options.uefi:
            command += ["-bios", OVMF]
        if options.icount:
            # One tick of the TSC is one instruction, and nothing depends on the host's time or randomness.
            command += ["-icount", "shift=0,sleep=off", "-rtc", "base=2024-01-01,clock=vm", "-seed", "1"]
        if options.native:
            for path, read_only in self.copies_of_disks():
                command += ["-drive", f"file={path},format=raw,if=virtio" + (",readonly=on" if read_only else "")]
        return command + self.host_disks() + options.qemu_option

    def host_disks(self):
        """The machine's own disks: their files are written."""
        words = []
        for index, disk in enumerate(self.options.host_disks):
            name = f"host{index}"
            device = {"nvme": "nvme", "ahci": f"ide-hd,bus=ide.{index}", "virtio": "virtio-blk-pci", "ata": f"ide-hd,bus=ide.0,unit={index}"}
            if disk.kind in ("ahci", "ata") and any(other.kind == {"ahci": "ata", "ata": "ahci"}[disk.kind] for other in self.options.host_disks):
                raise UsageError("--host-disk: QEMU's machines have either ata or ahci")
            words += ["-drive", f"file={disk.path},format=raw,if=none,id={name}", "-device", f"{device[disk.kind]},drive={name},serial={disk.serial}"]
        return words

    def advice(self):
        """What to try where the machine did not start."""
        return "KVM's nested virtualization may be at fault: --accel tcg (make run ACCEL=tcg) does without it" if self.nested else None

    def start(self, image, tty, output):
        self.output = output
        return self.spawn(self.command(image, tty), output)

    def powered_off(self, status):
        return status == 0 and POWERED_OFF in self.log_text()

    def complaint(self):
        """Why QEMU ended: a triple fault in its log, or what it printed last in its own name (registers may follow)."""
        if "Triple fault" in self.log_text():
            return "triple fault"
        try:
            with open(self.output.name, encoding="utf-8", errors="replace") as file:
                lines = [line for line in file.read().splitlines() if line.startswith("qemu") and "warning:" not in line]
        except (OSError, AttributeError):
            return None
        return lines[-1].strip().removeprefix(f"{PROGRAM}: ") if lines else None

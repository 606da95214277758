"""The machines: Bochs, which emulates VT-x, and QEMU, which has VT-x where KVM offers it."""
import ctypes
import fcntl
import os
import shutil
import signal
import struct
import subprocess

from .errors import UsageError

BOCHS_CPU = "corei7_skylake_x"
BOCHS_BIOS = "/usr/share/bochs/BIOS-bochs-latest"
BOCHS_VGA = "/usr/share/bochs/VGABIOS-lgpl-latest"
BOCHS_HOST_LIMIT = 2048     # MiB that Bochs can hold itself; it swaps the rest to a file

KVM_GET_SUPPORTED_CPUID = 0xC008AE05    # _IOWR(0xAE, 0x05, struct kvm_cpuid2)
CPUID_ENTRY = struct.Struct("<10I")     # function, index, flags, eax, ebx, ecx, edx, padding[3]
CPUID_1_ECX_VMX = 1 << 5
PR_SET_PDEATHSIG = 1


def kvm_offers_vmx(device="/dev/kvm"):
    """Whether KVM gives its guests VT-x. The device's presence says nothing; its CPUID does."""
    entries = 256
    buffer = bytearray(8 + entries * CPUID_ENTRY.size)
    struct.pack_into("<II", buffer, 0, entries, 0)
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.ioctl(descriptor, KVM_GET_SUPPORTED_CPUID, buffer, True)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    for number in range(min(struct.unpack_from("<I", buffer)[0], entries)):
        entry = CPUID_ENTRY.unpack_from(buffer, 8 + number * CPUID_ENTRY.size)
        if entry[0] == 1:
            return bool(entry[5] & CPUID_1_ECX_VMX)
    return False


def die_with_parent():
    """In the child: a session of its own, so that the terminal's signals pass it by, and death when the runner dies."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def copies_of_disks(guest, folder):
    """Writable copies, so that --native leaves the user's image alone as Lamina does."""
    result = []
    for index, (disk, _) in enumerate(guest.disks):
        path = os.path.join(folder, f"disk{index}.img")
        shutil.copyfile(disk.path, path)
        result.append(path)
    return result


class Bochs:
    """Bochs from Debian's packages, headless; it has a debugger built in, which is told to continue."""

    name = "bochs"

    def __init__(self, options, guest, folder):
        if not shutil.which("bochs") or not os.path.isfile(BOCHS_BIOS) or not os.path.isfile(BOCHS_VGA):
            raise UsageError("Bochs is missing: run tools/setup.sh")
        self.options = options
        self.guest = guest
        self.folder = folder
        self.log = os.path.abspath(options.bochs_log) if options.bochs_log else os.path.join(folder, "bochs.log")

    def describe(self):
        return f"Bochs, {self.options.cpu or BOCHS_CPU}, {self.options.host_cpus} CPU(s), {self.options.host_memory} MiB"

    def configuration(self, image, tty):
        options = self.options
        lines = [
            'display_library: rfb, options="timeout=0"',
            f"romimage: file={BOCHS_BIOS}",
            f"vgaromimage: file={BOCHS_VGA}",
            f"memory: guest={options.host_memory}, host={min(options.host_memory, BOCHS_HOST_LIMIT)}",
            f"cpu: model={options.cpu or BOCHS_CPU}, count={options.host_cpus}, ips=100000000, "
            # For Lamina, unknown MSRs raise #GP as on hardware, and a triple fault ends the run. A native guest may reboot by
            # a triple fault, and Linux reads MSR 0x1a0, which Bochs lacks, before it can handle #GP.
            f"ignore_bad_msrs={int(options.native)}, reset_on_triple_fault={int(options.native)}",
            # Bochs aborts where it finds no sound card.
            "sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy",
            "speaker: enabled=0",
            "clock: sync=none",
            f"com1: enabled=1, mode=term, dev={tty}",
            "boot: cdrom",
            "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14",
            "ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15",
            f"ata1-master: type=cdrom, path={image}, status=inserted",
            f"log: {self.log}",
            "panic: action=fatal",
            "error: action=report",
            "info: action=ignore",
        ]
        if options.native:
            places = ("ata0-master", "ata0-slave", "ata1-slave")
            disks = copies_of_disks(self.guest, self.folder)
            if len(disks) > len(places):
                raise UsageError(f"--native in Bochs has room for {len(places)} disks")
            lines += [f"{place}: type=disk, mode=flat, path={path}" for place, path in zip(places, disks)]
        return "\n".join(lines + options.bochs_line) + "\n"

    def start(self, image, tty, output):
        configuration = os.path.join(self.folder, "bochsrc")
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(self.configuration(image, tty))
        commands = self.options.bochs_commands
        if not commands:
            commands = os.path.join(self.folder, "debugger")
            with open(commands, "w", encoding="utf-8") as file:
                file.write("c\n")
        return subprocess.Popen(["bochs", "-q", "-f", configuration, "-rc", commands], stdin=subprocess.DEVNULL,
                                stdout=output, stderr=subprocess.STDOUT, preexec_fn=die_with_parent)

    def powered_off(self, _status):
        """Bochs's exit status is 1 for power-off and panic alike: its log tells them apart."""
        text = self.log_text()
        return "soft power off" in text or "Shutdown port: shutdown requested" in text

    def complaint(self):
        """Why Bochs gave up, if it says so."""
        lines = [line for line in self.log_text().splitlines() if ">>PANIC<<" in line or line.endswith("[BAILING]")]
        return lines[-1].strip() if lines else None

    def log_text(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""


class Qemu:
    """QEMU: under KVM with nested VT-x; with --native also by its own translator."""

    name = "qemu"

    def __init__(self, options, guest, folder):
        if not shutil.which("qemu-system-x86_64"):
            raise UsageError("QEMU is missing: run tools/setup.sh")
        self.options = options
        self.guest = guest
        self.folder = folder
        self.nested = kvm_offers_vmx()
        self.output = ""
        if not self.nested and not options.native:
            raise UsageError("--machine qemu: KVM on this machine offers no VT-x to its guests, and Lamina cannot use anything else "
                             "there (AMD-V comes later); use --machine bochs")

    def describe(self):
        return (f"QEMU ({'KVM' if self.nested else 'TCG'}), {self.options.host_cpus} CPU(s), {self.options.host_memory} MiB")

    def start(self, image, tty, output):
        options = self.options
        command = ["qemu-system-x86_64", "-machine", "q35", "-m", str(options.host_memory), "-smp", str(options.host_cpus),
                   "-display", "none", "-monitor", "none", "-nodefaults", "-vga", "std", "-boot", "d",
                   "-chardev", f"serial,id=com1,path={tty}", "-serial", "chardev:com1", "-cdrom", image]
        if self.nested:
            command += ["-accel", "kvm", "-cpu", options.cpu or "host,+vmx"]
        else:
            command += ["-accel", "tcg", "-cpu", options.cpu or "EPYC"]
        if options.native:
            for path in copies_of_disks(self.guest, self.folder):
                command += ["-drive", f"file={path},format=raw,if=virtio"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                preexec_fn=die_with_parent)

    def powered_off(self, status):
        return status == 0

    def complaint(self):
        return None


def choose(options, guest, folder):
    """The machine of --machine."""
    if options.machine == "bochs":
        return Bochs(options, guest, folder)
    if options.machine == "qemu":
        return Qemu(options, guest, folder)
    if not options.cpu and shutil.which("qemu-system-x86_64") and kvm_offers_vmx():
        return Qemu(options, guest, folder)
    return Bochs(options, guest, folder)

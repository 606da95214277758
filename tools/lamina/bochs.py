"""Bochs, which emulates VT-x and AMD-V, and old CPUs without either."""
import os
import shutil

from .errors import UsageError
from .machine import Machine

CPU = "corei7_skylake_x"
BIOS = "/usr/share/bochs/BIOS-bochs-latest"
VGA = "/usr/share/bochs/VGABIOS-lgpl-latest"
CPUS_LIMIT = 255
HOST_LIMIT = 2048       # MiB that Bochs can hold itself; it swaps the rest to a file

# `bochs -help cpu`: by these names --machine auto knows that --cpu means Bochs.
MODELS = frozenset((
    "bx_generic", "pentium", "pentium_mmx", "amd_k6_2_chomper", "p2_klamath", "p3_katmai", "p4_willamette", "core_duo_t2400_yonah",
    "atom_n270", "p4_prescott_celeron_336", "athlon64_clawhammer", "athlon64_venice", "turion64_tyler", "phenom_8650_toliman",
    "core2_penryn_t9600", "corei5_lynnfield_750", "corei5_arrandale_m520", "corei7_sandy_bridge_2600k", "zambezi", "trinity_apu",
    "ryzen", "corei7_ivy_bridge_3770k", "corei7_haswell_4770", "broadwell_ult", "corei7_skylake_x", "corei3_cnl",
    "corei7_icelake_u", "tigerlake"))


def installed():
    return bool(shutil.which("bochs")) and os.path.isfile(BIOS) and os.path.isfile(VGA)


class Bochs(Machine):
    """Bochs from Debian's packages, headless; it has a debugger built in, which is told to continue."""

    name = "bochs"
    log_name = "bochs.log"

    def __init__(self, options, guest, folder):
        super().__init__(options, guest, folder)
        if not installed():
            raise UsageError("Bochs is missing: run tools/setup.sh")
        if options.host_cpus > CPUS_LIMIT:
            raise UsageError(f"--host-cpus {options.host_cpus}: Bochs has at most {CPUS_LIMIT}")
        if options.cpu and options.cpu not in MODELS:
            raise UsageError(f"--cpu {options.cpu}: Bochs's models are {', '.join(sorted(MODELS))}")

    def describe(self):
        return f"Bochs, {self.options.cpu or CPU}, {self.size()}"

    def configuration(self, image, tty):
        options = self.options
        lines = [
            'display_library: rfb, options="timeout=0"',
            f"romimage: file={BIOS}",
            f"vgaromimage: file={VGA}",
            f"memory: guest={options.host_memory}, host={min(options.host_memory, HOST_LIMIT)}",
            f"cpu: model={options.cpu or CPU}, count={options.host_cpus}, ips=100000000, "
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
        for index, disk in enumerate(options.host_disks):
            if disk.kind != "ata" or index > 1:
                raise UsageError("Bochs has room for two --host-disk, both ata")
            lines.append(f"ata0-{('master', 'slave')[index]}: type=disk, mode=flat, path={disk.path}, model={disk.serial}")
        if options.native:
            if options.host_disks and options.disk:
                raise UsageError("--native in Bochs: --host-disk and --disk exclude each other")
            places = ("ata0-master", "ata0-slave", "ata1-slave")
            disks = self.copies_of_disks()
            if len(disks) > len(places):
                raise UsageError(f"--native in Bochs has room for {len(places)} disks")
            lines += [f"{place}: type=disk, mode=flat, path={path}" for place, (path, _) in zip(places, disks)]
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
        return self.spawn(["bochs", "-q", "-f", configuration, "-rc", commands], output)

    def powered_off(self, _status):
        """Bochs's exit status is 1 for power-off and panic alike: its log tells them apart."""
        text = self.log_text()
        return "soft power off" in text or "Shutdown port: shutdown requested" in text

    def complaint(self):
        """Why Bochs gave up, if it says so."""
        lines = [line for line in self.log_text().splitlines() if ">>PANIC<<" in line or line.endswith("[BAILING]")]
        return lines[-1].strip() if lines else None

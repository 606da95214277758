#!/usr/bin/python3
"""Measures Lamina against the bare machine where the TSC counts instructions, and prints a table: VT-x in Bochs, with EPT and
with shadow page tables, beside AMD-V in QEMU.

Linux to init, natively: at the kernel's 32-bit entry Bochs's debugger says how many ticks have passed since power-on (QEMU's would
change the clock: there the kernel's first instructions are made to tell); the program `tsc`, the first that init runs, prints the TSC,
which counts the same ticks. The difference is what the boot took. Under Lamina: the guest's TSC at the same program, less the one at
the guest's first instruction (Lamina starts a guest's TSC at 0, or says otherwise in a line "starts at guest TSC N").

Both boots have the same kernel, initramfs, memory, one CPU, and `quiet`: a real serial port makes the kernel wait for each character,
a virtual one does not, and that is not what is measured. The native kernel is told the TSC's frequency (tsc_early_khz), because
Bochs's CPUID claims another and timer ticks would come too often, and because under Lamina no guest has to measure it. In QEMU the
counting of instructions (-icount) makes ticks and instructions the same; its CD answers in the host's time, which makes two native
boots differ by less than one in a thousand.

Bochs's bare machine has its fast strings switched off (IA32_MISC_ENABLE reads as 0), so that Linux clears and copies pages by loops
there, but by REP STOSB, which Bochs counts byte by byte, where they are on. Both boots are told to use the loops (clearcpuid=).

Then init runs `programs`, which prints the ticks of each (tools/guest/programs.c). The kernel uses page-table isolation (pti=on), as
it does on CPUs that need it: two CR3 writes a system call. Under Lamina a guest's life, from its start to power-off, has the standard set
of programs only, so that the number of its exits says something; another life has the rest of them. The native machine runs both sets.

In QEMU both boots must also have the same to wait for and to probe. Its CPU has no TSC deadline, so that the native kernel would wait
a tenth of a second to measure the APIC timer, a tenth of the boot: there both kernels live on the PIT's tick (QemuBench.both). And
the native machine is as plain as QEMU can make one: the PC with the fewest devices, without HPET, VGA and PCI hotplug, whose ACPI
code alone takes ten million instructions (QemuBench.plain). What remains different favours neither by one in a hundred.
"""
import argparse
import concurrent.futures
import os
import re
import struct
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
RUNNER = os.path.join(TOP, "tools", "lamina-run")
OUT = os.path.join(TOP, "build", "bench")
KERNEL_ENTRY = 0x1000000    # where GRUB puts it
CMDLINE = "console=ttyS0 quiet nokaslr pti=on clearcpuid=112,297 lamina.run="
LIFE, REST, ALL = "bench=standard,poweroff", "bench=more,poweroff", "bench=standard,bench=more,poweroff"
NO_APIC_VIRTUALIZATION = "corei7_ivy_bridge_3770k"   # a VT-x CPU whose local APIC is emulated, as it is on AMD-V without AVIC
TIMEOUT = 600
PT_LOAD = 1

# What to reach: limits on the figures below.
RATIO_LIMIT = 1.03
GUEST_LIMITS = (        # the name that the bench guest prints, instructions
    (r"cpuid", 150),
    (r"rdmsr-(?!fs-base)", 150),
    (r"out-pic-", 250),
    (r"ioapic-.*write", 700),
)
SOFTWARE_LIMITS = (     # the same with shadow page tables
    (r"cr3-(same-root|two-roots-touch)", 400),
    (r"invlpg$", 250),
    (r"page-fault-reflected", 450),
    (r"page-fault-map-retry", 1800),
    (r"pte-flip-invlpg-touch", 1500),
    (r"pte-write-cr3-reload", 3000),
)
SOFTWARE_RATIO_LIMIT = 1.30
PROGRAM_LIMITS = {      # with shadow page tables, over native
    "getppid x 100000": 3.5,
    "forkwait x 300": 2.0,
    "mmap, touch, munmap": 1.8,
}
EXITS_LIMIT = 500_000   # with shadow page tables, from boot to power-off with the standard programs between
AMD_LIMIT = 1.2         # AMD-V's figures, as a multiple of VT-x's
IMAGE_LIMIT, MACHINE_LIMIT, VM_LIMIT = 384, 4096, 512   # KiB


running = set()         # the runs under way, which Ctrl-C ends
lock = threading.Lock()
stopped = threading.Event()
started = time.monotonic()


def progress(text):
    """A line on the terminal: the table itself comes at the end."""
    sys.stderr.write(f"bench: {time.monotonic() - started:5.0f} s  {text}\n")
    sys.stderr.flush()


def stop():
    """Ends the runs under way, and lets no other begin."""
    stopped.set()
    with lock:
        for process in running:
            process.terminate()


class NoEngine(Exception):
    """Lamina cannot use this machine's CPU."""


def number(pattern, text, what):
    match = re.search(pattern, text, re.MULTILINE)
    if not match:
        raise RuntimeError(f"no {what} in the output")
    return int(match.group(1))


def programs_of(console):
    """The ticks of each program, of which there must be some. All are void where the kernel does not isolate page tables."""
    if not re.search(r"^lamina-guest: meltdown: .*PTI|Kernel/User page tables isolation: (force )?enabled", console, re.MULTILINE):
        raise RuntimeError("the kernel does not use page-table isolation, though told to")
    found = {name: int(ticks) for name, ticks in re.findall(r"^lamina-guest: program (.+) (\d+)$", console, re.MULTILINE)}
    if not found:
        raise RuntimeError("no program's ticks in the output")
    return found


def linux(options):
    return ["--kernel", os.path.join(TOP, "build/guests/vmlinuz"), "--initrd", os.path.join(TOP, "build/guests/initrd.gz"), *options]


# What a stamped kernel executes first: RDTSC, its eight bytes to port 0xe9, lowest first. Uses EAX, ECX and EDX, which the boot
# protocol leaves free.
STAMP = bytes.fromhex("0f31" "b908000000" "e6e9" "0facd008" "c1ea08" "49" "75f4")
# startup_32 begins with CLD, CLI, LEA ESP, [ESI + …]: eight bytes, which work anywhere. Before startup_64 at 0x200 there is room.
FIRST, ROOM, ROOM_END = 8, 0x1C0, 0x200


def stamped(image):
    """The bzImage with an entry that tells the TSC."""
    start = ((image[0x1F1] or 4) + 1) * 512
    entry = image[start:start + ROOM_END]
    if not entry.startswith(b"\xfc\xfa\x8d\xa6") or any(entry[ROOM:]):
        raise RuntimeError("this kernel's entry is not as expected: nothing can be put in front of it")

    def jump(at, to):
        return b"\xe9" + struct.pack("<i", to - (at + 5))

    code = STAMP + entry[:FIRST]
    code += jump(ROOM + len(code), FIRST)
    head = (jump(0, ROOM) + bytes((0x90, 0x90, 0x90)) + entry[FIRST:ROOM] + code).ljust(ROOM_END, b"\0")
    return image[:start] + head + image[start + ROOM_END:]


def guest_figures(console):
    return {name.strip(): int(value) for name, value in re.findall(r"bench: (.+?)[ :]+(\d+)\b", console)}


class Bench:
    """The runs on one machine in one MMU mode, and their results: `bare` and `ticks` (Linux to init), `console` (of that boot), `figures`
    (the guest's), `emulated_apic` (the same for the local APIC on a CPU that does not virtualize it)."""

    both = ""   # for both kernels' command lines

    def __init__(self, options, mmu):
        self.mmu = mmu
        self.memory = options.memory
        self.lamina = os.path.abspath(options.lamina)
        self.bare = self.ticks = self.missing = None
        self.console, self.figures, self.emulated_apic = "", {}, {}
        self.bare_programs, self.programs = {}, {}

    @property
    def column(self):
        return self.engine + (", shadow" if self.mmu == "software" else "")

    def on_lamina(self, options):
        return ["--set", f"monitor.virtual_mmu={self.mmu}", *options]

    def command(self, name, options):
        paths = [os.path.join(OUT, f"{self.machine}-{name}.{end}") for end in ("log", "out", "machine.log")]
        command = [RUNNER, "--machine", self.machine, "--batch", "--timeout", str(TIMEOUT), "--lamina", self.lamina,
                   "--log", paths[0], "--machine-output", paths[1], "--machine-log", paths[2], *self.options, *options]
        return command, paths

    def run(self, name, options, meanwhile=None):
        """One batch run; returns its console and what the machine printed. It must end well."""
        command, (log, output, _) = self.command(name, options)
        if stopped.is_set():
            raise RuntimeError("interrupted")
        progress(f"{self.column}: {name} runs")
        # A session of its own: Ctrl-C reaches it through stop(), and lamina-run then ends its machine.
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
            with lock:
                running.add(process)
            try:
                if meanwhile:
                    meanwhile()
                said, _ = process.communicate()
            finally:
                process.terminate()
                with lock:
                    running.discard(process)
        progress(f"{self.column}: {name} ended")
        texts = []
        for path in (log, output):
            with open(path, encoding="utf-8", errors="replace") as file:
                texts.append(file.read().replace("\r", ""))
        if process.returncode != 0:
            refusal = re.search(r"^lamina: fatal: (.*)", texts[0], re.MULTILINE)
            if refusal:
                raise NoEngine(refusal.group(1))
            raise RuntimeError(f"{self.machine}, {name}: lamina-run ended with status {process.returncode}\n" + said.decode(errors="replace"))
        return texts

    def native_options(self):
        return linux(["--native", "--host-memory", str(self.memory), "--cmdline", f"{CMDLINE}{ALL}{self.both} tsc_early_khz={self.khz}"])

    def measure_native(self):
        """Ticks from the kernel's entry to init."""
        entry, console = self.native()
        self.bare = number(r"^lamina-guest: tsc (\d+)", console, "TSC of init") - entry
        self.bare_programs = programs_of(console)

    def life(self, name, items):
        """The console of Debian's life under Lamina in which init does these things."""
        return self.run(f"{name}-{self.mmu}", self.on_lamina(linux(["--memory", str(self.memory), "--cmdline", CMDLINE + items + self.both])))[0]

    def measure_lamina(self):
        """Ticks from the guest's first instruction to init, and Lamina's own log."""
        self.console = self.life("lamina", LIFE)
        start = re.search(r"^lamina: vm \S+: starts at guest TSC (\d+)", self.console, re.MULTILINE)
        self.ticks = number(r"lamina-guest: tsc (\d+)", self.console, "TSC of init") - (int(start.group(1)) if start else 0)
        self.programs.update(programs_of(self.console))

    def measure_rest(self):
        """The programs that are not in the life whose exits count."""
        self.programs.update(programs_of(self.life("rest", REST)))

    def measure_guest(self):
        """The lines of the bench guest."""
        console, _ = self.run(f"guest-{self.mmu}", self.on_lamina(["--kernel", os.path.join(TOP, "build/tests/guests/bench.elf")]))
        self.figures = guest_figures(console)

    def attempt(self, measure):
        try:
            measure()
        except NoEngine as reason:
            self.missing = str(reason)


class BochsBench(Bench):
    """VT-x in Bochs."""

    machine, engine, khz = "bochs", "VT-x", 100000

    def __init__(self, options, mmu):
        super().__init__(options, mmu)
        self.options = ["--cpu", options.cpu]
        self.title = f"VT-x in Bochs ({options.cpu})"

    def measure_guest(self):
        super().measure_guest()
        if self.mmu == "software":
            return
        console, _ = self.run("emulated-apic", ["--kernel", os.path.join(TOP, "build/tests/guests/bench.elf"), "--cpu", NO_APIC_VIRTUALIZATION])
        self.emulated_apic = {name: value for name, value in guest_figures(console).items() if "apic-" in name}

    def native(self):
        """The TSC at the kernel's entry, and the console."""
        path = os.path.join(OUT, "native.debugger")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"pb {KERNEL_ENTRY:#x}\nc\nbpd 1\nc\n")
        console, debugger = self.run("native", self.native_options() + ["--bochs-commands", path])
        return number(r"Breakpoint 1[^\n]*\n[^\n]*?Next at t=(\d+)", debugger, "breakpoint at the kernel's entry"), console


class QemuBench(Bench):
    """AMD-V in QEMU, which counts instructions."""

    machine, engine, khz = "qemu", "AMD-V", 1000000
    both = " lapic=notscdeadline nolapic_timer no_timer_check highres=off nohz=off"
    plain = ("-machine", "pc", "-no-hpet", "-vga", "none", "-global", "PIIX4_PM.acpi-pci-hotplug-with-bridge-support=off",
             "-global", "PIIX4_PM.acpi-root-pci-hotplug=off")

    def __init__(self, options, mmu):
        super().__init__(options, mmu)
        self.options = ["--icount"] + (["--cpu", options.qemu_cpu] if options.qemu_cpu else [])
        self.title = f"AMD-V in QEMU ({options.qemu_cpu or 'EPYC'})"

    def native(self):
        """The TSC at the kernel's entry, and the console. QEMU's clock jumps when a debugger stops it, so the kernel itself tells."""
        kernel, stamp = os.path.join(OUT, "vmlinuz.stamped"), os.path.join(OUT, "stamp")
        with open(os.path.join(TOP, "build/guests/vmlinuz"), "rb") as file:
            image = stamped(file.read())
        with open(kernel, "wb") as file:
            file.write(image)
        words = ("-chardev", f"file,id=stamp,path={stamp}", "-device", "isa-debugcon,iobase=0xe9,chardev=stamp", *self.plain)
        console, _ = self.run("native", self.native_options() + ["--kernel", kernel] + [f"--qemu-option={word}" for word in words])
        with open(stamp, "rb") as file:
            data = file.read()
        if len(data) != 8:
            raise RuntimeError(f"the kernel gave {len(data)} bytes of time stamp instead of 8")
        return int.from_bytes(data, "little"), console


# The columns of the table.
COLUMNS = ((BochsBench, "hardware"), (BochsBench, "software"), (QemuBench, "hardware"), (QemuBench, "software"))


def image_size(path):
    """KiB of the image that are loaded from the file, and KiB of memory that they occupy."""
    with open(path, "rb") as file:
        data = file.read()
    offset, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    loaded = occupied = 0
    for index in range(count):
        kind, _, _, _, _, in_file, in_memory, _ = struct.unpack_from("<IIQQQQQQ", data, offset + index * size)
        if kind == PT_LOAD:
            loaded += in_file
            occupied += in_memory
    return loaded / 1024, occupied / 1024


def show(value):
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def row(name, values, limits=(), limit=None):
    """A line of the table: a value for each machine; `limits` are theirs, or one `limit` is everybody's."""
    limits = list(limits) or [limit] * len(values)
    words = []
    for value, most in zip(values, limits):
        if most is not None and value is not None:
            over = float(value) > most
            words.append(f"at most {most:g}{': NOT REACHED' if over else ''}")
    text = f"   (to reach: {', '.join(dict.fromkeys(words))})" if words else ""
    print(f"{name:<58}" + "".join(f" {show(value):>16}" for value in values) + text)


def ratio(bench):
    return bench.ticks / bench.bare if bench.ticks and bench.bare else None


def guest_limit(bench, name, vt_x):
    """The most that the figure of this name may be; vt_x: what it is with VT-x in the same MMU mode."""
    table = SOFTWARE_LIMITS if bench.mmu == "software" else GUEST_LIMITS
    own = next((limit for pattern, limit in table if re.match(pattern, name)), None)
    # Operations that cost next to nothing are no exits: a few instructions more say nothing.
    return round(AMD_LIMIT * vt_x) if bench.engine == "AMD-V" and vt_x and vt_x > 20 else own


def print_guest(benches):
    """The bench guest's figures; AMD-V's have VT-x's for a measure."""
    print("\nAs the guest sees it, instructions")
    names = list(dict.fromkeys(name for bench in benches for name in bench.figures))
    for name in names:
        values = [bench.figures.get(name) for bench in benches]
        vt_x = {bench.mmu: {**bench.figures, **bench.emulated_apic} for bench in benches if bench.engine == "VT-x"}
        row(name, values, [guest_limit(bench, name, vt_x.get(bench.mmu, {}).get(name)) for bench in benches])
    if any(bench.emulated_apic for bench in benches):
        print(f"For the local APIC, AMD-V's measure is VT-x without APIC virtualization ({NO_APIC_VIRTUALIZATION}): AVIC is not used.")


def print_programs(benches):
    print("\nPrograms after that boot, with page-table isolation: ticks natively, and over native under Lamina")
    for name in dict.fromkeys(name for bench in benches for name in bench.bare_programs):
        row(f"{name}, native", [bench.bare_programs.get(name) for bench in benches])
        ratios = [bench.programs[name] / bench.bare_programs[name] if name in bench.programs and name in bench.bare_programs else None
                  for bench in benches]
        row("  ratio", ratios, [PROGRAM_LIMITS.get(name) if bench.mmu == "software" else None for bench in benches])


def exits_of(bench):
    lines = re.findall(r"^lamina: vm \S+: exit (.+?) +count (\d+) +ticks (\d+)", bench.console, re.MULTILINE)
    return {name: (int(count), int(ticks)) for name, count, ticks in lines}


def print_exits(benches):
    tables = [exits_of(bench) for bench in benches]
    if not any(tables):
        return
    counted = next("; ".join(programs_of(bench.console)) for bench, table in zip(benches, tables) if table)
    print("\nExits in a life that is that boot, one run of each of these programs, and power-off, and nothing else: how many, and ticks of each")
    print(f"  ({counted})")
    print(f"  {'':<40}" + "".join(f" {bench.column:>21}" for bench in benches))
    names = dict.fromkeys(name for table in tables for name in sorted(table, key=lambda entry: -table[entry][1]))
    for name in names:
        print(f"  {name:<40}" + "".join(f" {table[name][0]:>12} {table[name][1] / max(table[name][0], 1):>8.0f}" if name in table else f" {'-':>21}"
                                        for table in tables))
    print(f"  {'all':<40}" + "".join(f" {sum(count for count, _ in table.values()):>12} "
                                    f"{sum(ticks for _, ticks in table.values()) / max(sum(count for count, _ in table.values()), 1):>8.0f}"
                                    for table in tables))
    row("exits in that life", [sum(count for count, _ in table.values()) if table else None for table in tables],
        [EXITS_LIMIT if bench.mmu == "software" else None for bench in benches])


def said(bench, pattern):
    """The numbers in a line of Lamina's log, or None."""
    match = re.search(pattern, bench.console, re.MULTILINE)
    return [int(value) for value in match.groups()] if match else None


def print_memory(benches, image):
    loaded, occupied = image_size(image)
    print("\nSize and memory")
    row("image: code and data loaded, KiB", [round(loaded)], limit=IMAGE_LIMIT)
    row("image in memory, with zeroed data, KiB", [round(occupied)])
    pools = [said(bench, r"^lamina: memory: image (\d+) KiB, pool (\d+) KiB of (\d+) KiB") for bench in benches]
    row("memory for the machine: image and pool, KiB", [pool and pool[0] + pool[2] for pool in pools], limit=MACHINE_LIMIT)
    row("  of the pool in use, KiB", [pool and pool[1] for pool in pools])
    vms = [said(bench, r"^lamina: vm guest: .*control structures (\d+) KiB") for bench in benches]
    row("memory for the VM beyond its own, KiB", [vm and vm[0] for vm in vms],
        [None if bench.mmu == "software" else VM_LIMIT for bench in benches])
    boots = [said(bench, r"^lamina: boot: (\d+) ticks from hand-over to the first instruction") for bench in benches]
    row("from GRUB's hand-over to the guest's first instruction", [boot and boot[0] for boot in boots])


def parse():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--machine", choices=("both", "bochs", "qemu"), default="both", help="measure only on one (both)")
    arguments.add_argument("--cpu", default="corei7_skylake_x", help="Bochs's CPU model (corei7_skylake_x)")
    arguments.add_argument("--qemu-cpu", metavar="MODEL", help="QEMU's CPU model (EPYC,+svm,+npt)")
    arguments.add_argument("--lamina", default=os.path.join(TOP, "build/lamina.elf"), help="the hypervisor (build/lamina.elf)")
    arguments.add_argument("--memory", type=int, default=1024, help="the guest's memory in MiB (1024)")
    arguments.add_argument("--native-only", action="store_true", help="only the native boot")
    return arguments.parse_args()


def main():
    options = parse()
    os.makedirs(OUT, exist_ok=True)
    benches = [kind(options, mmu) for kind, mmu in COLUMNS if options.machine in (kind.machine, "both")]
    natives = {bench.machine: bench for bench in reversed(benches)}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        work = [pool.submit(bench.attempt, bench.measure_native) for bench in natives.values()]
        if not options.native_only:
            work += [pool.submit(bench.attempt, measure) for bench in benches
                     for measure in (bench.measure_lamina, bench.measure_rest, bench.measure_guest)]
        progress(f"{len(work)} measurements, two at a time; about 15 minutes on two idle cores")
        try:
            for future in work:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop()
            raise
    for bench in benches:
        bench.bare, bench.bare_programs = natives[bench.machine].bare, natives[bench.machine].bare_programs

    print(f"One CPU, {options.memory} MiB for Linux; one tick of the TSC is one instruction\n")
    print(f"{'':<58}" + "".join(f" {bench.column:>16}" for bench in benches) + "   " + ", ".join(dict.fromkeys(bench.title for bench in benches)))
    row("Linux from kernel entry to init, native", [bench.bare for bench in benches])
    if options.native_only:
        return 0
    row("Linux from kernel entry to init, under Lamina", [bench.ticks for bench in benches])
    row("  ratio", [ratio(bench) for bench in benches],
        [SOFTWARE_RATIO_LIMIT if bench.mmu == "software" else RATIO_LIMIT for bench in benches])
    for bench in benches:
        if bench.missing:
            print(f"{bench.column}: Lamina does not run there: {bench.missing}")
    print_guest(benches)
    print_programs(benches)
    print_exits(benches)
    print_memory(benches, options.lamina)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, OSError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")

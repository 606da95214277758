#!/usr/bin/python3
"""Measures Lamina against the bare machine in Bochs, where the TSC counts instructions, and prints a table.

Linux to init, natively: Bochs's debugger stops at the kernel's 32-bit entry (16 MiB, where GRUB puts it) and says how many ticks have
passed since power-on; the program `tsc`, the first that init runs, prints the TSC, which counts the same ticks. The difference is what
the boot took. Under Lamina: the guest's TSC at the same program, less the one at the guest's first instruction (Lamina starts a guest's TSC at
0, or says otherwise in a line "starts at guest TSC N"). Both boots have the same kernel, initramfs, memory, one CPU, and `quiet`: a real serial port
makes the kernel wait for each character, a virtual one does not, and that is not what is measured. The native kernel is told the TSC's
frequency (tsc_early_khz), because Bochs's CPUID claims another and timer ticks would come too often; under Lamina no guest needs that.
"""
import argparse
import concurrent.futures
import os
import re
import struct
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
RUNNER = os.path.join(TOP, "tools", "lamina-run")
OUT = os.path.join(TOP, "build", "bench")
KERNEL_ENTRY = 0x1000000
CMDLINE = "console=ttyS0 quiet lamina.run=bench"
TIMEOUT = 600
PT_LOAD = 1

# What to reach: limits on the figures below (Bochs corei7_skylake_x).
RATIO_LIMIT = 1.03
GUEST_LIMITS = (        # the name that the bench guest prints, instructions
    (r"cpuid", 150),
    (r"rdmsr-(?!fs-base)", 150),
    (r"out-pic-", 250),
    (r"ioapic-.*write", 700),
)
IMAGE_LIMIT, MACHINE_LIMIT, VM_LIMIT = 256, 4096, 512   # KiB


def run(name, options, cpu, commands=None):
    """One batch run; returns its console and what Bochs's debugger printed. Ends the program if it did not end well."""
    log = os.path.join(OUT, f"{name}.log")
    output = os.path.join(OUT, f"{name}.out")
    command = [RUNNER, "--machine", "bochs", "--cpu", cpu, "--batch", "--log", log, "--timeout", str(TIMEOUT),
               "--bochs-output", output, "--bochs-log", os.path.join(OUT, f"{name}.bochs.log"), *options]
    if commands:
        path = os.path.join(OUT, f"{name}.debugger")
        with open(path, "w", encoding="utf-8") as file:
            file.write(commands)
        command += ["--bochs-commands", path]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    texts = []
    for path in (log, output):
        with open(path, encoding="utf-8", errors="replace") as file:
            texts.append(file.read().replace("\r", ""))
    if done.returncode != 0:
        raise RuntimeError(f"{name}: lamina-run ended with status {done.returncode}\n" + done.stdout.decode(errors="replace"))
    return texts


def number(pattern, text, what):
    match = re.search(pattern, text, re.MULTILINE)
    if not match:
        raise RuntimeError(f"no {what} in the output")
    return int(match.group(1))


def linux(options):
    return ["--kernel", os.path.join(TOP, "build/guests/vmlinuz"), "--initrd", os.path.join(TOP, "build/guests/initrd.gz"), *options]


def native_linux(cpu, memory):
    """Ticks from the kernel's entry to init."""
    commands = f"pb {KERNEL_ENTRY:#x}\nc\nbpd 1\nc\n"
    console, debugger = run("native", linux(["--native", "--host-memory", str(memory), "--cmdline", f"{CMDLINE} tsc_early_khz=100000"]),
                            cpu, commands)
    entry = number(r"Breakpoint 1[^\n]*\n[^\n]*?Next at t=(\d+)", debugger, "breakpoint at the kernel's entry")
    return number(r"^lamina-guest: tsc (\d+)", console, "TSC of init") - entry


def lamina_linux(cpu, memory):
    """Ticks from the guest's first instruction to init, and Lamina's own log."""
    console, _ = run("lamina", linux(["--memory", str(memory), "--cmdline", CMDLINE]), cpu)
    start = re.search(r"^lamina: vm \S+: starts at guest TSC (\d+)", console, re.MULTILINE)
    ticks = number(r"lamina-guest: tsc (\d+)", console, "TSC of init") - (int(start.group(1)) if start else 0)
    return ticks, console


def bench_guest(cpu):
    """The lines of the bench guest: [(name, value)]."""
    path = os.path.join(TOP, "build/tests/guests/bench.elf")
    if not os.path.isfile(path):
        return []
    console, _ = run("guest", ["--kernel", path], cpu)
    return [(name.strip(), int(value)) for name, value in re.findall(r"bench: (.+?)[ :]+(\d+)\b", console)]


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


def line(name, value, limit=None, over=False):
    judgement = "" if limit is None else f"   (to reach: at most {limit}{'; NOT REACHED' if over else ''})"
    print(f"{name:<58} {value:>16}{judgement}")


def print_exits(console):
    exits = re.findall(r"^lamina: vm \S+: exit (.+?) +count (\d+) +ticks (\d+)", console, re.MULTILINE)
    print("\nExits of that boot, from start to power-off")
    print(f"  {'reason':<40} {'count':>10} {'ticks':>14} {'ticks each':>10}")
    for name, count, ticks in sorted(exits, key=lambda entry: -int(entry[2])):
        print(f"  {name:<40} {int(count):>10} {int(ticks):>14} {int(ticks) / max(int(count), 1):>10.0f}")
    print(f"  {'all':<40} {sum(int(entry[1]) for entry in exits):>10} {sum(int(entry[2]) for entry in exits):>14}")


def print_memory(console, image):
    loaded, occupied = image_size(image)
    print("\nSize and memory")
    line("image: code and data loaded, KiB", f"{loaded:.0f}", IMAGE_LIMIT, loaded > IMAGE_LIMIT)
    line("image in memory, with zeroed data, KiB", f"{occupied:.0f}")
    match = re.search(r"^lamina: memory: image (\d+) KiB, pool (\d+) KiB of (\d+) KiB", console, re.MULTILINE)
    if match:
        held, used, pool = (int(value) for value in match.groups())
        line("memory for the machine: image and pool, KiB", f"{held + pool}", MACHINE_LIMIT, held + pool > MACHINE_LIMIT)
        line("  of the pool in use, KiB", f"{used}")
    match = re.search(r"^lamina: vm guest: .*control structures (\d+) KiB", console, re.MULTILINE)
    if match:
        line("memory for the VM beyond its own, KiB", match.group(1), VM_LIMIT, int(match.group(1)) > VM_LIMIT)
    match = re.search(r"^lamina: boot: (\d+) ticks from hand-over to the first instruction", console, re.MULTILINE)
    line("from GRUB's hand-over to the guest's first instruction", match.group(1) if match else "not reported")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cpu", default="corei7_skylake_x", help="Bochs's CPU model (corei7_skylake_x)")
    arguments.add_argument("--memory", type=int, default=1024, help="the guest's memory in MiB (1024)")
    arguments.add_argument("--native-only", action="store_true", help="only the native boot")
    options = arguments.parse_args()
    os.makedirs(OUT, exist_ok=True)
    if options.native_only:
        line("Linux from kernel entry to init, native, instructions", str(native_linux(options.cpu, options.memory)))
        return 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        native = pool.submit(native_linux, options.cpu, options.memory)
        lamina = pool.submit(lamina_linux, options.cpu, options.memory)
        guest = pool.submit(bench_guest, options.cpu)
        bare = native.result()
        ticks, console = lamina.result()
        figures = guest.result()

    print(f"Bochs {options.cpu}, one CPU, {options.memory} MiB for Linux; one tick of the TSC is one instruction\n")
    ratio = ticks / bare
    line("Linux from kernel entry to init, native", str(bare))
    line("Linux from kernel entry to init, under Lamina", str(ticks))
    line("  ratio", f"{ratio:.4f}", RATIO_LIMIT, ratio > RATIO_LIMIT)
    print("\nAs the guest sees it, instructions")
    for name, value in figures:
        limit = next((limit for pattern, limit in GUEST_LIMITS if re.match(pattern, name)), None)
        line(name, str(value), limit, limit is not None and value > limit)
    print_exits(console)
    print_memory(console, os.path.join(TOP, "build/lamina.elf"))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, OSError) as error:
        sys.exit(f"bench: {error}")

#!/usr/bin/python3
"""Disks measured: fio in Debian's full kernel, as a guest of Lamina and on the bare machine, on the same emulated disk. Two machines:

Bochs, VT-x, an ATA disk: time is counted instructions there, and so is what the disk takes, so that a run is the same each time. It tells what
Lamina adds to a request; the disk's own time is a real one's, a millisecond.

QEMU, AMD-V, an NVMe, virtio or AHCI disk in a file: by the clock, which whatever else the host does disturbs. One machine after the other,
several times, the medians compared. Mind what a world switch costs there: QEMU forgets all translations at each, and the guest pays for
finding them again, tens of microseconds. A run is void and repeated where a kernel could not measure its TSC for that and reads a slower
clock, and where the bare machine's tells of a request whose interrupt never came ("timeout, completion polled"): it waits 30 seconds for
each, which is the doing of QEMU's NVMe disk and says nothing of speed; on virtio disks it is not seen.

The exits for each request are those of a run with one test less those of one that computes for as long.

    tools/bench_disk.py                 ATA in Bochs, virtio in QEMU
    tools/bench_disk.py nvme ahci       these
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
DISKS = os.path.join(TOP, "build", "guests", "disks")
NAMES = {"ata": "ata:0", "nvme": "nvme:0n1", "virtio": "virtio:0", "ahci": "ahci:0"}
SIZE = 256 << 20
RATIO, EXITS = 0.85, 0.5    # the targets
TESTS = ("read-32", "write-32", "randread-32", "randwrite-32", "randread-1", "randwrite-1")
EXITS_OF = "randread-32"
LOST = "completion polled"
TRIES = 3


class Run:
    """A run of Lamina or of the bare machine."""

    def __init__(self, folder, kind, image, tests, seconds, native=False):
        self.log = os.path.join(folder, f"{kind}-{len(tests)}-{'native' if native else 'lamina'}.log")
        bochs = kind == "ata"
        clock = "tsc_early_khz=100000" if bochs else ""
        work = "fio lamina.tests=" + ",".join(tests) if tests else "null"
        command = [os.path.join(TOP, "tools", "lamina-run"), "--machine", "bochs" if bochs else "qemu", *([] if bochs else ["--accel", "tcg"]), "--batch", "--timeout", "1800",
                   "--log", self.log, "--kernel", os.path.join(DISKS, "vmlinuz"), "--initrd", os.path.join(DISKS, "initrd.gz"), "--cmdline",
                   f"console=ttyS0 quiet no_timer_check {clock} lamina.run={work} lamina.seconds={seconds}",
                   "--host-disk", f"{kind}={image}", *(["--native"] if native else ["--disk", NAMES[kind]])]
        self.native = native
        self.process = subprocess.Popen(command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def results(self):
        """{test: (IOPS, requests)}, all exits, and why the run says nothing, if so."""
        status = self.process.wait()
        with open(self.log, encoding="utf-8", errors="replace") as file:
            text = file.read()
        found = re.findall(r"lamina-guest: fio (\S+) ([\d.]+), ([\d.]+) requests", text)
        if status or "lamina-guest: fio failed" in text:
            sys.exit(f"bench-disk: a run ended with status {status}:\n" + text[-2000:])
        exits = sum(int(count) for count in re.findall(r"lamina: vm guest: exit .+? count (\d+)", text))
        lost, clock = text.count(LOST), re.search(r"lamina-guest: clock (\w+)", text)
        why = f"the kernel waited in vain for {lost} interrupts" if lost else \
            f"the guest's clock is {clock.group(1)}" if clock and clock.group(1) != "tsc" and not self.native else ""
        return {name: (float(speed), float(count)) for name, speed, count in found}, exits, why


def mark(good):
    return "" if good else "   MISSED"


def table(title, native, guest):
    print(f"{title:50} {'native':>10} {'Lamina':>10}   ratio")
    for name in TESTS:
        if not native.get(name) or not guest.get(name):
            print(f"  {name + ', requests a second':48} {'no result':>21}{mark(False)}")
            continue
        ratio = guest[name] / native[name]
        print(f"  {name + ', requests a second':48} {native[name]:10.0f} {guest[name]:10.0f}   {ratio:.2f}{mark(ratio >= RATIO)}")


def measured(folder, kind, image, tests, seconds, native=False):
    for _ in range(TRIES):
        results, exits, why = Run(folder, kind, image, tests, seconds, native).results()
        if not why:
            return results, exits
        print(f"  {'native' if native else 'Lamina'}: void, {why}", flush=True)
    sys.exit(f"bench-disk: {TRIES} runs in a row were void")


def print_exits(folder, kind, image, seconds):
    results, count = measured(folder, kind, image, [EXITS_OF], seconds)
    count -= measured(folder, kind, image, [], seconds)[1]
    requests = results[EXITS_OF][1]
    print(f"  exits for each request of {EXITS_OF}: {count / requests:.2f} ({count} for {requests:.0f}){mark(count / requests <= EXITS)}")


def bench(kind, folder, rounds, seconds):
    image = os.path.join(folder, "disk.img")
    with open(image, "wb") as file:
        for _ in range(SIZE >> 20):
            file.write(os.urandom(1 << 20))
    if kind == "ata":
        rounds = 1
    speeds = {True: [], False: []}
    for _ in range(rounds):
        for native in (True, False):
            speeds[native].append(measured(folder, kind, image, TESTS, seconds, native)[0])
    medians = [{name: statistics.median(run[name][0] for run in speeds[native]) for name in TESTS} for native in (True, False)]
    table(f"{kind}, Bochs, {seconds} s each" if kind == "ata" else f"{kind}, QEMU, by the clock, medians of {rounds} x {seconds} s", *medians)
    print_exits(folder, kind, image, seconds)
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(NAMES) + " (default: ata virtio)")
    parser.add_argument("--rounds", type=int, default=3, help="runs by the clock of each machine (default: 3)")
    parser.add_argument("--seconds", type=int, default=3, help="of each test (default: 3)")
    options = parser.parse_args()
    for kind in options.kinds:
        if kind not in NAMES:
            parser.error(f"{kind}: expected {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory(prefix="lamina-bench.") as folder:
        for kind in options.kinds or ["ata", "virtio"]:
            bench(kind, folder, max(options.rounds, 1), options.seconds)


if __name__ == "__main__":
    main()

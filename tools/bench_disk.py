#!/usr/bin/python3
"""Disks measured: fio in Debian's full kernel, as a guest of Lamina and on the bare machine, both in QEMU. Two ways:

By instructions: QEMU counts them, so that a second is 10^9 of them, and the disk answers at once. What is left is the processors' work
for a request, the guest's and Lamina's: a figure that does not depend on the host nor on what else it does. The exits for each
request are counted here: those of a run with the test less those of one without. Runs are short, two tests each: Lamina's
have stood still at one guest instruction now and then while QEMU counts (cause not found); a run that does not end has no result.

By the clock: a disk in a file, in the host's time. One machine after the other, several times, the medians compared: whatever else
the host does is in these figures. A run is void and repeated where the bare machine's kernel tells of a request whose interrupt never
came ("timeout, completion polled"): it waits 30 seconds for each, which is QEMU's disk's doing and says nothing of speed.

    tools/bench_disk.py                 NVMe
    tools/bench_disk.py virtio ahci     these
    tools/bench_disk.py --rounds 0      by instructions only
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
NAMES = {"nvme": "nvme:0n1", "virtio": "virtio:0", "ahci": "ahci:0"}
DEVICES = {"nvme": "nvme", "virtio": "virtio-blk-pci", "ahci": "ide-hd,bus=ide.0"}
SIZE = 256 << 20
RATIO, EXITS = 0.85, 0.5    # the targets
TESTS = ("read-32", "write-32", "randread-32", "randwrite-32", "randread-1", "randwrite-1")
EXITS_OF = "randread-32"
LOST = "completion polled"
TRIES = 3
COUNTED_LIMIT = 400         # seconds that a run by instructions may take
TIMED_OUT = 3               # status of tools/lamina-run


class Run:
    """A run under way: of Lamina or of the bare machine."""

    def __init__(self, folder, kind, tests, seconds, native=False, image=None):
        """`image`: a file, or None for a disk that answers at once, and instructions counted."""
        self.log = os.path.join(folder, f"{kind}-{len(tests)}-{'native' if native else 'lamina'}-{'clock' if image else 'icount'}.log")
        self.native = native
        back = f"file={image},format=raw" if image else f"driver=null-co,size={SIZE},read-zeroes=on"
        words = ["-drive", f"{back},if=none,id=d", "-device", f"{DEVICES[kind]},drive=d,serial=BENCH"]
        command = [os.path.join(TOP, "tools", "lamina-run"), "--machine", "qemu", "--batch", "--timeout", str(1800 if image else COUNTED_LIMIT), "--log", self.log,
                   "--kernel", os.path.join(DISKS, "vmlinuz"), "--initrd", os.path.join(DISKS, "initrd.gz"), "--cmdline",
                   f"console=ttyS0 quiet no_timer_check lamina.run=fio lamina.tests={','.join(tests)} lamina.seconds={seconds}",
                   *([] if image else ["--icount"]), *(f"--qemu-option={word}" for word in words),
                   *(["--native"] if native else ["--disk", NAMES[kind]])]
        self.process = subprocess.Popen(command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def results(self):
        """{test: (IOPS, requests)}, all exits, and how many requests' interrupts were lost."""
        status = self.process.wait()
        with open(self.log, encoding="utf-8", errors="replace") as file:
            text = file.read()
        found = re.findall(r"lamina-guest: fio (\S+) ([\d.]+), ([\d.]+) requests", text)
        if status == TIMED_OUT:
            print(f"bench-disk: {os.path.basename(self.log)}: no end after {COUNTED_LIMIT} s")
        elif status or not found:
            sys.exit(f"bench-disk: a run ended with status {status}:\n" + text[-2000:])
        exits = sum(int(count) for count in re.findall(r"lamina: vm guest: exit .+? count (\d+)", text))
        return {name: (float(speed), float(count)) for name, speed, count in found}, exits, text.count(LOST)


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


def by_instructions(kind, folder):
    speeds, exits = ({}, {}), {}
    for first in range(0, len(TESTS), 2):
        tests = TESTS[first:first + 2]
        runs = [Run(folder, kind, tests, 1, native=True), Run(folder, kind, tests, 1)]
        for index, run in enumerate(runs):
            results, count, _ = run.results()
            speeds[index].update({name: speed for name, (speed, _) in results.items()})
            if index and EXITS_OF in results:
                exits = {"all": count, "requests": results[EXITS_OF][1], "without": [name for name in tests if name != EXITS_OF]}
    table(f"{kind}, 10^9 instructions a second, instant disk", *speeds)
    others = Run(folder, kind, exits["without"], 1).results()[1] if exits else 0
    if not others or not exits["all"]:
        print(f"  exits for each request of {EXITS_OF}: no result{mark(False)}")
        return
    count = exits["all"] - others
    each = count / exits["requests"]
    print(f"  exits for each request of {EXITS_OF}: {each:.2f} ({count} for {exits['requests']:.0f}){mark(each <= EXITS)}", flush=True)


def timed(folder, kind, seconds, image, native):
    for _ in range(TRIES):
        results, _, lost = Run(folder, kind, TESTS, seconds, native, image).results()
        if not lost:
            break
        print(f"  {'native' if native else 'Lamina'}: void, the kernel waited in vain for {lost} interrupts")
    return results


def by_clock(kind, folder, rounds, seconds):
    image = os.path.join(folder, "disk.img")
    with open(image, "wb") as file:
        for _ in range(SIZE >> 20):
            file.write(os.urandom(1 << 20))
    speeds = {True: [], False: []}
    for _ in range(rounds):
        for native in (True, False):
            speeds[native].append(timed(folder, kind, seconds, image, native))
    medians = [{name: statistics.median(run[name][0] for run in speeds[native]) for name in TESTS} for native in (True, False)]
    table(f"{kind}, by the clock, medians of {rounds} x {seconds} s", *medians)
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(NAMES) + " (default: nvme)")
    parser.add_argument("--rounds", type=int, default=3, help="runs by the clock of each machine (default: 3)")
    parser.add_argument("--seconds", type=int, default=3, help="of each test by the clock (default: 3)")
    options = parser.parse_args()
    for kind in options.kinds:
        if kind not in NAMES:
            parser.error(f"{kind}: expected {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory(prefix="lamina-bench.") as folder:
        for kind in options.kinds or ["nvme"]:
            by_instructions(kind, folder)
            if options.rounds > 0:
                by_clock(kind, folder, options.rounds, options.seconds)


if __name__ == "__main__":
    main()

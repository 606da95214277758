#!/usr/bin/python3
"""Disks measured: fio in Debian's full kernel as a guest of Lamina, and on the bare machine beside it, both in QEMU at the same time, so
that whatever else the host does slows both down. Prints the ratios, and the exits for each request at queue depth 32.

    tools/bench_disk.py                 NVMe
    tools/bench_disk.py virtio ahci     these
"""
import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
DISKS = os.path.join(TOP, "build", "guests", "disks")
NAMES = {"nvme": "nvme:0n1", "virtio": "virtio:0", "ahci": "ahci:0"}
SIZE = 256 << 20
RATIO, EXITS = 0.85, 0.5    # the targets
SECONDS = 9                 # that a measurement in the guest takes, its start included


class Run:
    """A run under way: in Lamina or on the bare machine."""

    def __init__(self, folder, kind, what, native):
        name = f"{kind}-{what}-{'native' if native else 'lamina'}"
        self.log = os.path.join(folder, name + ".log")
        image = os.path.join(folder, name + ".img")
        with open(image, "wb") as file:
            for _ in range(SIZE >> 20):
                file.write(os.urandom(1 << 20))
        command = [os.path.join(TOP, "tools", "lamina-run"), "--machine", "qemu", "--batch", "--timeout", "900", "--log", self.log,
                   "--kernel", os.path.join(DISKS, "vmlinuz"), "--initrd", os.path.join(DISKS, "initrd.gz"),
                   "--cmdline", f"console=ttyS0 quiet no_timer_check lamina.run={what}", "--host-disk", f"{kind}={image}",
                   *(["--native"] if native else ["--disk", NAMES[kind]])]
        self.process = subprocess.Popen(command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def results(self):
        """{test: IOPS}, and all exits."""
        status = self.process.wait()
        with open(self.log, encoding="utf-8", errors="replace") as file:
            text = file.read()
        if status:
            sys.exit(f"bench-disk: a run ended with status {status}:\n" + text[-2000:])
        speeds = {name: float(speed) for name, speed in re.findall(r"lamina-guest: fio (\S+) ([\d.]+)", text)}
        exits = sum(int(count) for count in re.findall(r"lamina: vm guest: exit .+? count (\d+)", text))
        return speeds, exits


def mark(good):
    return "" if good else "   MISSED"


def measure(kind, folder):
    runs = [Run(folder, kind, "fio", native) for native in (True, False)]
    (native, _), (guest, _) = (run.results() for run in runs)
    print(f"{kind:22} {'native':>10} {'Lamina':>10}   ratio")
    for name, speed in native.items():
        ratio = guest.get(name, 0) / speed if speed else 0
        target = name.endswith("-32")
        print(f"  {name:20} {speed:10.0f} {guest.get(name, 0):10.0f}   {ratio:.2f}{mark(ratio >= RATIO or not target)}")
    # Timer ticks and the boot cost exits too: what the disk costs is what a run without one has less.
    runs = [Run(folder, kind, what, False) for what in ("busy", "null")]
    (busy, exits), (_, others) = (run.results() for run in runs)
    requests = busy.get("randread-32", 0) * SECONDS
    each = (exits - others) / requests if requests else float("inf")
    print(f"  exits for each request, 32 at once: {each:.2f} ({exits} - {others} in {requests:.0f} requests){mark(each <= EXITS)}", flush=True)


def main():
    kinds = sys.argv[1:] or ["nvme"]
    for kind in kinds:
        if kind not in NAMES:
            sys.exit(f"bench-disk: {kind}: expected {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory(prefix="lamina-bench.") as folder:
        for kind in kinds:
            measure(kind, folder)


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""Runs every test, two at a time: unit tests, fuzzers, `make check`, the guests of our own, whole boots. Ends with "N passed, N failed".

    tests/run.py              everything
    tests/run.py --list       the names of the jobs
    tests/run.py smp qemu/    only the jobs whose names hold one of these words
    tests/run.py --matrix     Debian to its shell on every CPU model instead (tests/matrix.py)

AMD-V is tried in QEMU (jobs qemu/…), which boots ten times faster than Bochs: what is neutral runs only there. Bochs (bochs/…) shows
VT-x, and the CPUs that Lamina refuses.
"""
import argparse
import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time

import matrix

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
LOGS = os.path.join(TOP, "build", "test-logs")
GUESTS = os.path.join("build", "tests", "guests")
LANES = 2
TAIL = 60
PYTHON = "/usr/bin/python3"


class Job:
    """One thing to run in a process of its own."""

    def __init__(self, name, command, limit=600, weight=1, judge=None, note=None):
        self.name = name
        self.command = command
        self.limit = limit      # seconds of wall time
        self.weight = weight    # expected seconds: long ones start first
        self.judge = judge or judge_status
        self.note = f" [{note}]" if note else ""

    @property
    def output(self):
        return os.path.join(LOGS, re.sub(r"[^A-Za-z0-9_.-]+", "_", self.name) + ".out")


def judge_status(_job, status, _text):
    """One test: the exit status."""
    return (1, 0) if status == 0 else (0, 1)


def judge_cmocka(_job, status, text):
    """As many tests as cmocka counted; a binary that died counts as one more that failed."""
    passed = sum(int(number) for number in re.findall(r"^\[  PASSED  \] (\d+) test", text, re.MULTILINE))
    failed = sum(int(number) for number in re.findall(r"^\[  FAILED  \] (\d+) test", text, re.MULTILINE))
    if (status != 0 and failed == 0) or passed + failed == 0:
        failed += 1
    return passed, failed


def judge_pytest(_job, status, text):
    """As many tests as pytest counted (skipped ones count as neither)."""
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)s?\b", text.rsplit("\n", 3)[-2] if "\n" in text else text)}
    passed, failed = counts.get("passed", 0), counts.get("failed", 0) + counts.get("error", 0)
    if status != 0 and failed == 0:
        failed = 1
    return passed, failed


def judge_guest(job, status, _text):
    """Each line that the guest printed of a test, and the run's own end as one more."""
    try:
        with open(job.serial, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        text = ""
    passed = len(re.findall(r"guest: ok ", text))
    failed = len(re.findall(r"guest: FAIL ", text))
    complete = job.wanted in text
    return (passed + 1, failed) if status == job.status and complete else (passed, failed + 1)


def unit_jobs():
    """The tests of the runner itself, the unit tests, and a second of each fuzzer."""
    jobs = [Job("tools", [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/tools"], 120, 2, judge_pytest)]
    for path in sorted(glob.glob(os.path.join(TOP, "tests", "unit", "test_*.c"))):
        name = os.path.basename(path)[:-2]
        jobs.append(Job(f"unit/{name}", ["sh", "-c", f"make -s build/unit/{name} && build/unit/{name}"], 180, 5, judge_cmocka))
    for path in sorted(glob.glob(os.path.join(TOP, "tests", "fuzz", "fuzz_*.c"))):
        name = os.path.basename(path)[len("fuzz_"):-2]
        jobs.append(Job(f"fuzz/{name}", ["sh", "-c", f"make -s build/fuzz/{name} && {PYTHON} tests/fuzz/fuzz.py test {name}"], 180, 5))
    return jobs


# The same on every machine and with either virtual MMU, where CPUID offers 1 GiB pages, SMEP and SMAP.
STRESS_RESULT = "checksum 4e437811348a71d3"

# Guests of our own: what they need, the exit status they end with, and a line that must be in their serial log.
GUEST_RUNS = {
    "cpu": ([], 0, "guest: done "),
    "irq": ([], 0, "guest: done "),
    "smp": (["--cpus", "2", "--host-cpus", "2"], 0, "guest: done "),
    "memory": ([], 0, "guest: done "),
    "disk": (["--disk", "build/guests/disk.img"], 0, "guest: done "),
    "stress": ([], 0, STRESS_RESULT),
    "stress/native": (["--native"], 0, STRESS_RESULT),
    "triple": (["--until", r"lamina: vm guest: reset by the guest"], 0, "reset by the guest"),
    "taskswitch": ([], 4, "lamina: vm guest: stopped: "),
    "badstate": ([], 4, "lamina: vm guest: stopped: "),
}


# The same guests on shadow page tables, and with so little memory for these that they are made again and again.
SHADOW = ["--set", "monitor.virtual_mmu=software"]
SHADOW_RUNS = {f"{name}/software": (SHADOW + GUEST_RUNS[name][0], *GUEST_RUNS[name][1:])
               for name in ("cpu", "irq", "smp", "memory", "disk", "stress", "triple", "badstate")}
SHADOW_RUNS["stress/software_1mib"] = (SHADOW + ["--set", "monitor.shadow_memory=1"], 0, STRESS_RESULT)

# QEMU 7.2 knows no intercept of task switches: there the guest's succeeds, as on the bare machine.
GUEST_RUNS_OF = {"qemu": dict(GUEST_RUNS, **SHADOW_RUNS, taskswitch=([], 0, "guest: the task switch was made")), "bochs": dict(GUEST_RUNS, **SHADOW_RUNS)}
GUEST_WEIGHTS = {"irq": 80}


def guest_jobs():
    jobs = []
    for machine, runs in GUEST_RUNS_OF.items():
        for name, (options, status, wanted) in runs.items():
            serial = os.path.join(LOGS, f"{machine}_guest_{name.replace('/', '_')}.log")
            command = ["tools/lamina-run", "--machine", machine, "--batch", "--log", serial, "--timeout", "300",
                       "--machine-log", serial.replace(".log", ".machine.log"), "--kernel", f"{GUESTS}/{name.split('/')[0]}.elf", *options]
            if machine == "qemu" and "--host-cpus" not in options:
                command.append("--icount")      # timers are judged by the guest's time: a busy host must not count
            job = Job(f"{machine}/guest/{name}", command, 360, 40 if machine == "bochs" else GUEST_WEIGHTS.get(name, 10), judge_guest)
            job.serial, job.status, job.wanted = serial, status, wanted
            jobs.append(job)
    return jobs


# Expected seconds of the long ones; the others are short.
BOOT_WEIGHTS = (
    ("bochs/test_two_cpus", 300), ("bochs/test_shell_disk", 200), ("bochs/test_memtest", 100), ("bochs/test_shadow", 150), ("bochs/test_32_bit", 180), ("bochs/", 30),
    # The first one installs the system; the others must not wait for it.
    ("qemu/test_installed_system[nvme", 150), ("qemu/test_installed", 30),
    ("qemu/test_power_fails", 120), ("qemu/test_stuck_write", 70), ("qemu/test_every_way_of_reboot", 90), ("qemu/test_two_cpus", 40), ("qemu/test_shell_disk", 40), ("qemu/", 15),
)


def boot_job(node):
    """The job of one pytest test, named after its machine: FILE::TEST[MACHINE-PARAMETERS] is MACHINE/TEST[PARAMETERS]."""
    test, _, parameters = node.split("::", 1)[1].rstrip("]").partition("[")
    machine, _, rest = parameters.partition("-")
    if machine not in ("bochs", "qemu"):    # it starts a machine of its own
        machine, rest = "qemu", parameters
    name = f"{machine}/{test}" + (f"[{rest}]" if rest else "")
    weight = next(seconds for start, seconds in BOOT_WEIGHTS if name.startswith(start))
    return Job(name, [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "--no-header", node], 1200, weight, judge_pytest)


def boot_jobs():
    """Each test of tests/boot and tests/guests is a job of its own."""
    done = subprocess.run([PYTHON, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/boot", "tests/guests"], cwd=TOP,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, env=environment())
    text = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        sys.stderr.write(text)
        sys.exit("tests: pytest cannot collect the boot tests")
    return [boot_job(line) for line in text.splitlines() if "::" in line]


def judge_matrix(job, status, _text):
    """The shell, or the line that is expected instead; and the mode that was to be chosen."""
    with open(job.serial, encoding="utf-8", errors="replace") as file:
        chosen = re.search(r"MONITOR MODE: chosen mode +: (.*)", file.read())
    return (1, 0) if status == 0 and (not job.mode or (chosen and chosen.group(1).startswith(job.mode))) else (0, 1)


def matrix_jobs():
    jobs = []
    for entry in matrix.ENTRIES:
        job = Job(f"matrix/{entry.name}", entry.command(LOGS), entry.limit + 60, entry.limit, judge_matrix, entry.reason)
        job.serial, job.mode = entry.log(LOGS), entry.mode
        jobs.append(job)
    return jobs


def environment():
    # AMD-V by QEMU's own emulation, whatever KVM offers here: the tests say what they want of the machine.
    return dict(os.environ, PYTHONDONTWRITEBYTECODE="1", LAMINA_ACCEL="tcg")


running = set()
lock = threading.Lock()


def run(job):
    """Runs a job in a process group of its own and judges it; returns (passed, failed)."""
    started = time.monotonic()
    with open(job.output, "wb") as output:
        process = subprocess.Popen(job.command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                   start_new_session=True, env=environment())
        with lock:
            running.add(process)
        try:
            status = process.wait(job.limit)
        except subprocess.TimeoutExpired:
            stop(process)
            output.write(f"\ntests: ended after {job.limit} s\n".encode())
            status = -1
        with lock:
            running.discard(process)
    with open(job.output, encoding="utf-8", errors="replace") as file:
        text = file.read()
    passed, failed = job.judge(job, status, text)
    seconds = time.monotonic() - started
    with lock:
        if failed:
            print(f"FAIL {job.name} ({passed} passed, {failed} failed, {seconds:.0f} s); the end of {os.path.relpath(job.output, TOP)}:")
            print("\n".join("    " + line for line in text.rstrip().splitlines()[-TAIL:]))
        else:
            print(f"ok   {job.name} ({passed}, {seconds:.0f} s){job.note}")
        sys.stdout.flush()
    return passed, failed


def stop(process):
    """Ends a job: first politely, so that lamina-run ends its machine, then for good."""
    for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def build(jobs):
    """Builds what the jobs need, so that no two of them build the same; returns whether that worked."""
    targets = []
    if any(job.name.startswith(("qemu/", "bochs/", "matrix/")) for job in jobs):
        targets += ["lamina", "guests-tests", "guests"]
    elif any(job.name == "unit/test_decode_zydis" for job in jobs):
        targets += ["guests"]       # the kernel whose code it walks
    if not targets:
        return True
    return subprocess.run(["make", "-s", "-j", str(LANES), *targets], cwd=TOP, stdin=subprocess.DEVNULL, check=False).returncode == 0


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--list", action="store_true", help="print the jobs' names")
    arguments.add_argument("--matrix", action="store_true", help="the CPU models instead of the tests")
    arguments.add_argument("words", nargs="*", help="run only the jobs whose names hold one of these")
    options = arguments.parse_args()
    os.makedirs(LOGS, exist_ok=True)

    if options.matrix:
        quick, slow = [], matrix_jobs()
    else:
        quick, slow = unit_jobs(), guest_jobs() + boot_jobs() + [Job("check", ["make", "-s", "check"], 900, 250)]
    slow.sort(key=lambda job: -job.weight)
    jobs = [job for job in quick + slow if not options.words or any(word in job.name for word in options.words)]
    if options.list:
        print("\n".join(job.name + job.note for job in jobs))
        return 0
    started = time.monotonic()
    if not build(jobs):
        print("FAIL build\n0 passed, 1 failed")
        return 1

    passed = failed = 0
    pool = concurrent.futures.ThreadPoolExecutor(LANES)
    try:
        for future in concurrent.futures.as_completed([pool.submit(run, job) for job in jobs]):
            passed += future.result()[0]
            failed += future.result()[1]
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(running):
            stop(process)
        print("interrupted")
        return 130
    print(f"{len(jobs)} jobs in {time.monotonic() - started:.0f} s; logs are in build/test-logs")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

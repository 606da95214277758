"""Fixtures for the whole boots: each test drives tools/lamina-run, and shows the end of the serial log when it fails."""
import os
import re
import shutil
import subprocess

import pexpect
import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
RUNNER = os.path.join(TOP, "tools", "lamina-run")
GUESTS = os.path.join(TOP, "build", "guests")
LOGS = os.path.join(TOP, "build", "test-logs")
# The machines that may be used, and how much longer than foreseen everything may take there.
# The tests want AMD-V by QEMU's own emulation, whatever KVM offers here.
os.environ["LAMINA_ACCEL"] = "tcg"
MACHINES = os.environ.get("LAMINA_TEST_MACHINES", "qemu,bochs").split(",")
PATIENCE = float(os.environ.get("LAMINA_TEST_PATIENCE", "1"))
PROMPT = "guest# "
TAIL = 40


def guest_file(name):
    return os.path.join(GUESTS, name)


def readable(text):
    """Console text without carriage returns and terminal sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace("\r", ""))


class Boot:
    """What both kinds of run share: where the log is, and looking into it."""

    def __init__(self, machine, name, number):
        os.makedirs(LOGS, exist_ok=True)
        self.machine = machine
        self.log = os.path.join(LOGS, f"{name}-{number}.log" if number else f"{name}.log")
        self.machine_log = self.log.replace(".log", ".machine.log")
        if os.path.exists(self.log):
            os.remove(self.log)

    def command(self, *options):
        # LAMINA_TEST_NATIVE proves the tests themselves without Lamina, where what they check is not about Lamina.
        native = ["--native"] if os.environ.get("LAMINA_TEST_NATIVE") else []
        return [RUNNER, "--machine", self.machine, "--log", self.log, "--machine-log", self.machine_log, *native, *options]

    @property
    def text(self):
        if not os.path.exists(self.log):
            return ""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return readable(file.read())

    def count(self, pattern):
        return len(re.findall(pattern, self.text, re.MULTILINE))

    def require(self, pattern):
        """Returns the match of a line in the log, which must be there."""
        match = re.search(pattern, self.text, re.MULTILINE)
        assert match, f"the log has no line with: {pattern}"
        return match

    def tail(self):
        lines = self.text.rstrip().split("\n")
        return "\n".join(lines[-TAIL:])


class Batch(Boot):
    """A run without a terminal, up to its verdict."""

    def run(self, *options, timeout=300):
        seconds = int(timeout * PATIENCE)
        done = subprocess.run(self.command("--batch", "--timeout", str(seconds), *options), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds + 60, check=False)
        self.status = done.returncode
        self.said = done.stdout.decode(errors="replace")
        return self.status


class Session(Boot):
    """A run with the guest's console on a terminal, which the test plays."""

    def start(self, *options, timeout=300):
        return self.spawn(self.command(*options), timeout)

    def make(self, *words, timeout=300):
        """The same by a target of the Makefile, as a user types it."""
        options = " ".join(["--log", self.log, "--machine-log", self.machine_log])
        return self.spawn(["make", "-C", TOP, *words, f"RUN_OPTIONS={options}"], timeout)

    def spawn(self, command, timeout):
        self.timeout = timeout * PATIENCE
        # The tests may have been started by make, whose options are not this one's.
        self.child = pexpect.spawn(command[0], command[1:], timeout=self.timeout, encoding="utf-8", codec_errors="replace",
                                   dimensions=(40, 160), env=dict(os.environ, MAKEFLAGS="", MAKELEVEL="0"))
        # A little time between the characters' arrival and the guest's reading, as a person gives.
        self.child.delaybeforesend = 0.1
        return self

    def expect(self, pattern, timeout=None):
        self.child.expect(pattern, timeout=timeout * PATIENCE if timeout else self.timeout)
        return self.child.match

    def prompt(self, timeout=None):
        self.expect(re.escape(PROMPT), timeout)

    def shell(self):
        """Waits for the shell's first prompt after a boot, and keeps it from wrapping the lines that it echoes."""
        self.prompt()
        self.child.sendline("stty columns 2000")
        self.expect(r"columns 2000\r*\n", 60)
        self.prompt(60)

    def run(self, command, timeout=120):
        """Types a command at the guest's prompt, returns what it printed."""
        self.child.sendline(command)
        # The guest's terminal echoes what is typed; the answer begins after it.
        self.expect(re.escape(command) + r"\r*\n", timeout)
        self.prompt(timeout)
        return readable(self.child.before).strip()

    def end(self, timeout=120):
        """Waits until the runner ends by itself; returns its exit status."""
        self.expect(pexpect.EOF, timeout)
        self.child.close()
        return self.child.exitstatus

    def leave(self):
        """The documented key, Ctrl-]; returns the runner's exit status."""
        self.child.send("\x1d")
        return self.end(30)

    def close(self):
        if getattr(self, "child", None):
            self.child.close(force=True)


def pytest_configure(config):
    config.addinivalue_line("markers", "machines(name...): the machines that a test runs on, qemu if there is no mark")


def pytest_generate_tests(metafunc):
    """AMD-V is tried in QEMU, which is fast; what VT-x must show as well has a mark."""
    if "machine" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("machines")
        metafunc.parametrize("machine", [name for name in (mark.args if mark else ("qemu",)) if name in MACHINES])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for boot in getattr(item, "boots", []):
            report.sections.append((f"the end of {os.path.relpath(boot.log, TOP)}", boot.tail()))
            if getattr(boot, "said", None):
                report.sections.append(("what lamina-run said", boot.said))


@pytest.fixture
def new_boot(request, machine):
    """Makes Batch and Session objects whose logs are shown on failure and whose machines end with the test."""
    request.node.boots = []

    def make(kind):
        boot = kind(machine, re.sub(r"[^A-Za-z0-9_.-]", "_", request.node.name), len(request.node.boots))
        request.node.boots.append(boot)
        return boot

    yield make
    for boot in request.node.boots:
        if isinstance(boot, Session):
            boot.close()


@pytest.fixture
def batch(new_boot):
    return new_boot(Batch)


@pytest.fixture
def session(new_boot):
    return new_boot(Session)


@pytest.fixture
def disk(tmp_path):
    """A fresh copy of the demo's disk."""
    path = str(tmp_path / "disk.img")
    shutil.copyfile(guest_file("disk.img"), path)
    return path


BOTH = pytest.mark.machines("qemu", "bochs")
BOCHS = pytest.mark.machines("bochs")


def linux(*more, cmdline="console=ttyS0 quiet"):
    """Options for the demo's Linux. On a busy host QEMU may hold a CPU up for longer than Linux waits for the PIT's first ticks, and Linux
    then panics: it is not to check (that the ticks come is what guests of our own check, by the guest's time)."""
    return ["--kernel", guest_file("vmlinuz"), "--initrd", guest_file("initrd.gz"), "--cmdline", cmdline + " no_timer_check", *more]

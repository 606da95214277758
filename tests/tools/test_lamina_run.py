"""tools/lamina-run without a machine: configuration made, files refused, console lines judged."""
import os
import re
import subprocess
import sys

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
RUNNER = os.path.join(TOP, "tools", "lamina-run")
sys.path.insert(0, os.path.join(TOP, "tools"))

from lamina.verdict import FAILED, POWERED_OFF, STOPPED, Verdict  # noqa: E402


def run(*options):
    done = subprocess.run([RUNNER, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def files(tmp_path):
    """A file that looks like a bzImage, one like a Multiboot kernel, and two others."""
    (tmp_path / "linux").write_bytes(bytes(0x202) + b"HdrS" + bytes(100))
    (tmp_path / "mach").write_bytes(bytes(64) + (0x1BADB002).to_bytes(4, "little") + bytes(4) + (0xE4524FFE).to_bytes(4, "little") + bytes(64))
    (tmp_path / "initrd").write_bytes(b"x")
    (tmp_path / "my disk").write_bytes(bytes(512))
    return tmp_path


def test_configuration_from_options(files):
    status, text, _ = run("--dry-run", "--kernel", f"{files}/linux", "--initrd", f"{files}/initrd", "--disk", f"{files}/my disk,ro",
                          "--memory", "512", "--cpus", "2", "--set", "guestOS=linux", "--set", "memsize=99", "--set-machine", "key=1")
    assert status == 0
    assert text.startswith('--- lamina.cfg\nkey = "1"\n[vm guest]\n')
    for line in ('memsize = "99"', 'numvcpus = "2"', 'kernel = "linux"', 'initrd = "initrd"', 'cmdline = "console=ttyS0"',
                 'disk0 = "module:my_disk,ro"', 'guestOS = "linux"'):
        assert line in text.splitlines()
    assert 'memsize = "512"' not in text
    assert "module2 --nounzip '/my_disk' 'my_disk'" in text


def test_quotes_in_a_command_line_are_escaped(files):
    _, text, _ = run("--dry-run", "--kernel", f"{files}/linux", "--cmdline", 'a="b c" \\d')
    assert 'cmdline = "a=\\"b c\\" \\\\d"' in text.splitlines()


def test_equal_names_are_kept_apart(files):
    _, text, _ = run("--dry-run", "--kernel", f"{files}/mach", "--module", f"{files}/initrd=one two", "--module", f"{files}/initrd")
    assert 'module0 = "initrd one two"' in text.splitlines()
    assert 'module1 = "initrd_"' in text.splitlines()


def test_own_configuration(files):
    (files / "disk").write_bytes(bytes(512))
    (files / "my.cfg").write_text('key = "1"\n[vm a]\nkernel = linux # bare\nmemsize = 64\ndisk0 = "module:disk"\n[vm b]\nkernel = "mach"\n')
    status, text, error = run("--dry-run", "--config", f"{files}/my.cfg", "--set", "vm.b.memsize=7", "--cpus", "3")
    assert status == 0, error
    assert text.split("--- grub.cfg")[0].splitlines()[1:] == [
        'key = "1"', "[vm a]", 'numvcpus = "3"', "kernel = linux # bare", "memsize = 64", 'disk0 = "module:disk"',
        "[vm b]", 'numvcpus = "3"', 'memsize = "7"', 'kernel = "mach"']
    for name in ("linux", "mach", "disk"):
        assert f" '{name}'\n" in text


def test_native(files):
    _, text, _ = run("--dry-run", "--native", "--kernel", f"{files}/linux", "--initrd", f"{files}/initrd", "--cmdline", "it's a")
    assert "linux '/linux' 'it'\\''s' 'a'\n" in text and "initrd '/initrd'\n" in text
    _, text, _ = run("--dry-run", "--native", "--kernel", f"{files}/mach", "--module", f"{files}/initrd=x y")
    assert "multiboot '/mach'\n" in text and "module --nounzip '/initrd' 'initrd' 'x' 'y'\n" in text


@pytest.mark.parametrize("options, word", [
    (["--kernel", "/nonexistent/kernel"], "/nonexistent/kernel"),
    (["--kernel", "@linux", "--initrd", "/nonexistent/initrd"], "/nonexistent/initrd"),
    (["--kernel", "@linux", "--disk", "/nonexistent/disk"], "/nonexistent/disk"),
    (["--kernel", "@linux", "--set", "novalue"], "KEY=VALUE"),
    (["--kernel", "@linux", "--config", "@initrd"], "--config"),
    (["--native", "--kernel", "@initrd"], "neither a Linux bzImage nor a Multiboot kernel"),
    (["--kernel", "@linux", "--cmdline", "a\nb"], "printable"),
    (["--kernel", "@linux", "--until", "("], "--until"),
    (["--kernel", "@linux", "--memory", "0"], "--memory"),
    (["--kernel", "@linux", "--icount", "--host-cpus", "2"], "--icount"),
    (["--kernel", "@linux", "--native", "--uefi"], "--uefi"),
    (["--kernel", "@linux", "--boot-from", "net", "--keep-iso", "x"], "--keep-iso"),
    (["--kernel", "@linux", "--native", "--boot-from", "net"], "--boot-from"),
    (["--kernel", "@linux", "--log", "/nonexistent/log"], "there is no folder /nonexistent"),
    (["--kernel", "@linux", "--keep-iso", "/nonexistent/iso", "--no-run"], "there is no folder /nonexistent"),
    (["--kernel", "@linux", "--log", "@"], "a folder"),
    (["--kernel", "@"], "a folder, not a file"),
    (["--kernel", "@linux", "--disk", "sata:0"], "nvme:"),
    (["--kernel", "@linux", "--nosuch"], "unrecognized arguments: --nosuch; see lamina-run --help"),
    ([], "--kernel"),
])
def test_usage_errors(files, options, word):
    options = [f"{files}/{option[1:]}" if option.startswith("@") else option for option in options]
    status, _, error = run("--dry-run", *options)
    assert status == 2 and word in error and "Traceback" not in error and "usage:" not in error


@pytest.mark.parametrize("options, word", [
    (["--cpu", "nosuch"], "unable to find CPU model 'nosuch'"),
    (["--host-cpus", "1000"], "Invalid SMP CPUs 1000"),
])
def test_a_machine_that_qemu_has_not(files, options, word):
    """QEMU's own sentence, and the status of a wrong option: it is not Lamina that failed."""
    (files / "lamina.efi").write_bytes(b"efi")
    status, _, error = run("--machine", "qemu", "--batch", "--no-check", "--kernel", f"{files}/linux", "--lamina", f"{files}/linux", *options)
    assert status == 2 and word in error and "Lamina failed" not in error


def test_a_missing_file_of_a_configuration(files):
    (files / "my.cfg").write_text('[vm a]\nkernel = "gone"\n')
    status, _, error = run("--dry-run", "--config", f"{files}/my.cfg")
    assert status == 2 and "gone" in error and "my.cfg" in error
    assert run("--dry-run", "--config", f"{files}/my.cfg", "--allow-missing")[0] == 0


@pytest.mark.parametrize("text, status", [
    ("lamina: cpu 0 up\r\nlamina: vm guest: powered off by the guest (ACPI)\r\n", POWERED_OFF),
    ("lamina: vm guest: powered off by the guest", None),                                       # the line is not complete
    ("lamina: vm guest: reset by the guest (triple fault)\r\n", None),
    ("guest# lamina: vm guest: stopped: task switch\r\n", STOPPED),
    ("lamina: vm a: stopped: x\nlamina: vm b: powered off by the guest (x)\n", STOPPED),
    ("lamina: fatal: no VT-x\n", FAILED),
    ("lamina: PANIC: x\nlamina: vm a: powered off by the guest (x)\n", FAILED),
    ("lamina-guest: ready\nlamina: vm guest starts\n", None),
])
def test_verdict(text, status):
    for step in (1, 7, len(text)):
        verdict = Verdict()
        for start in range(0, len(text), step):
            verdict.feed(text[start:start + step])
        assert verdict.status == status


def test_until_sees_a_line_that_is_not_ended():
    verdict = Verdict(re.compile("Status: Testing"))
    verdict.feed("Status: Te")
    assert not verdict.reached
    verdict.feed("sting")
    assert verdict.reached and verdict.status is None

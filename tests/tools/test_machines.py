"""The runner's choice of a machine, its question to KVM, and what it asks of QEMU."""
import os
import subprocess
import sys
import types

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tools"))

from lamina import bochs, kvm, machines, options as command_line, qemu  # noqa: E402
from lamina.errors import UsageError  # noqa: E402


def parsed(*words):
    return command_line.parse(["--kernel", "/vmlinuz", *words])


def cpuid(*entries):
    """A struct kvm_cpuid2 with entries of (function, ECX)."""
    rows = [kvm.ENTRY.pack(function, 0, 0, 0, 0, ecx, 0, 0, 0, 0) for function, ecx in entries]
    return kvm.HEADER.pack(len(rows), 0) + b"".join(rows)


@pytest.mark.parametrize("buffer, offered", [
    (cpuid((0, 0), (1, 1 << 5), (0x80000001, 0)), "VT-x"),
    (cpuid((0, 0), (1, 0), (0x80000001, 1 << 2)), "AMD-V"),
    (cpuid((0, ~0 & 0xFFFFFFFF), (1, ~(1 << 5) & 0xFFFFFFFF), (0x80000001, ~(1 << 2) & 0xFFFFFFFF)), None),
    (cpuid(), None),
    (kvm.HEADER.pack(1000, 0) + cpuid((1, 1 << 5))[kvm.HEADER.size:], "VT-x"),      # a count beyond the buffer
    (kvm.HEADER.pack(1000, 0) + cpuid((1, 0))[kvm.HEADER.size:], None),
])
def test_what_kvm_offers(buffer, offered):
    assert kvm.extension(buffer) == offered


@pytest.mark.parametrize("device", ["/nonexistent/kvm", "/dev/null"])
def test_kvm_that_is_not_there(device):
    assert kvm.offers(device) is None


@pytest.mark.parametrize("words, nested, have_qemu, have_bochs, machine, because", [
    ([], "VT-x", True, True, "qemu", "nested VT-x"),
    ([], "AMD-V", True, True, "qemu", "nested AMD-V"),
    ([], None, True, True, "qemu", "emulates AMD-V"),
    ([], None, False, True, "bochs", "QEMU is not installed"),
    ([], "VT-x", False, True, "bochs", "QEMU is not installed"),
    (["--cpu", "corei7_skylake_x"], "VT-x", True, True, "bochs", "corei7_skylake_x"),
    (["--cpu", "max,-npt"], None, True, True, "qemu", "max,-npt is a CPU that it emulates"),
    (["--bochs-commands", "/x"], None, True, True, "bochs", "only Bochs has --bochs-commands"),
    (["--bochs-line", "x"], "VT-x", True, True, "bochs", "only Bochs has --bochs-line"),
    (["--icount"], None, True, True, "qemu", "only QEMU has --icount"),
    (["--accel", "tcg"], None, True, True, "qemu", "only QEMU has --accel"),
    (["--machine", "bochs"], "VT-x", True, True, "bochs", None),
    (["--machine", "qemu"], None, True, True, "qemu", None),
    (["--machine", "qemu", "--cpu", "corei7_skylake_x"], None, True, True, "qemu", None),
])
def test_decision(words, nested, have_qemu, have_bochs, machine, because):
    name, reason = machines.decide(parsed(*words), nested, have_qemu, have_bochs)
    assert name == machine
    assert reason is None if because is None else because in reason


@pytest.mark.parametrize("words, have_qemu, have_bochs, word", [
    (["--machine", "bochs", "--icount"], True, True, "--icount"),
    (["--machine", "bochs", "--qemu-option=-S"], True, True, "--qemu-option"),
    (["--machine", "bochs", "--uefi"], True, True, "--uefi"),
    (["--machine", "bochs", "--boot-from", "usb"], True, True, "--boot-from"),
    (["--machine", "qemu", "--bochs-line", "x"], True, True, "--bochs-line"),
    (["--icount", "--bochs-line", "x"], True, True, "--machine"),
    ([], False, False, "tools/setup.sh"),
])
def test_decisions_refused(words, have_qemu, have_bochs, word):
    with pytest.raises(UsageError, match=word):
        machines.decide(parsed(*words), None, have_qemu, have_bochs)


def qemu_command(nested, *words, disks=(), tmp_path="/tmp"):
    guest = types.SimpleNamespace(disks=[(types.SimpleNamespace(path=path), suffix) for path, suffix in disks])
    options = parsed(*words)
    machine = qemu.Qemu(options, guest, str(tmp_path), qemu.nesting(options, nested))
    return machine, machine.command("/boot.iso", "/dev/pts/9")


def after(command, option):
    return [command[place + 1] for place, word in enumerate(command) if word == option]


@pytest.mark.parametrize("nested, words, accel, cpu, said", [
    (None, [], "tcg", "EPYC,+svm,+npt", "its own emulation, which has AMD-V"),
    ("VT-x", [], "kvm", "host,+vmx,+invtsc", "KVM with nested VT-x"),
    ("AMD-V", [], "kvm", "host,+svm,+npt,+invtsc", "KVM with nested AMD-V"),
    ("VT-x", ["--accel", "tcg"], "tcg", "EPYC,+svm,+npt", "its own emulation"),
    ("VT-x", ["--cpu", "EPYC,+svm,+npt"], "tcg", "EPYC,+svm,+npt", "its own emulation"),
    ("VT-x", ["--cpu", "EPYC,+svm,+npt", "--accel", "kvm"], "kvm", "EPYC,+svm,+npt", "KVM"),
    ("VT-x", ["--cpu", "host,-invtsc"], "kvm", "host,-invtsc", "KVM"),
    (None, ["--cpu", "max"], "tcg", "max", "max"),
    ("VT-x", ["--icount"], "tcg", "EPYC,+svm,+npt", "counting instructions"),
])
def test_acceleration(nested, words, accel, cpu, said):
    machine, command = qemu_command(nested, *words)
    assert after(command, "-accel") == [accel]
    assert after(command, "-cpu") == [cpu]
    assert said in machine.describe()


@pytest.fixture(autouse=True)
def no_accelerator(monkeypatch):
    """The runner of the tests names one for them."""
    monkeypatch.delenv("LAMINA_ACCEL", raising=False)


def test_an_accelerator_from_the_environment(monkeypatch):
    monkeypatch.setenv("LAMINA_ACCEL", "tcg")
    assert qemu.nesting(parsed(), "VT-x") is None
    assert qemu.nesting(parsed("--accel", "kvm"), "VT-x") == "VT-x"
    monkeypatch.setenv("LAMINA_ACCEL", "hvf")
    with pytest.raises(UsageError, match="LAMINA_ACCEL=hvf"):
        parsed()


def test_kvm_that_has_no_nesting_is_refused():
    with pytest.raises(UsageError, match="--accel tcg"):
        qemu.nesting(parsed("--accel", "kvm"), None)


def test_what_to_try_where_kvm_fails():
    assert "ACCEL=tcg" in qemu_command("VT-x")[0].advice() and qemu_command(None)[0].advice() is None


def test_a_model_that_bochs_has_not(tmp_path):
    with pytest.raises(UsageError, match="--cpu nosuch: Bochs's models are .*tigerlake"):
        bochs.Bochs(parsed("--cpu", "nosuch"), None, str(tmp_path))
    with pytest.raises(UsageError, match="at most 255"):
        bochs.Bochs(parsed("--host-cpus", "1000"), None, str(tmp_path))


@pytest.mark.parametrize("words, device", [
    ([], "ide-cd,bus=ide.2,drive=boot,bootindex=0"),
    (["--boot-from", "usb"], "usb-storage,drive=boot,bootindex=0"),
    (["--boot-from", "nvme"], "nvme,serial=boot,drive=boot,bootindex=0"),
    (["--boot-from", "net"], "virtio-net-pci,netdev=net0,bootindex=0"),
])
def test_medium(words, device):
    _, command = qemu_command(None, *words)
    assert after(command, "-device")[-1] == device and "-bios" not in command
    _, command = qemu_command(None, "--uefi", *words)
    assert after(command, "-device")[-1] == device and after(command, "-bios") == [qemu.OVMF]
    if words[1:] == ["net"]:
        assert after(command, "-netdev") == ["user,id=net0,tftp=/boot.iso,bootfile=lamina-x64.efi"]
    else:
        assert after(command, "-drive") == ["if=none,id=boot,format=raw,snapshot=on,file=/boot.iso"]


def test_icount():
    _, command = qemu_command(None, "--icount")
    assert after(command, "-icount") == ["shift=0,sleep=off"]
    assert after(command, "-rtc") == ["base=2024-01-01,clock=vm"]
    assert after(command, "-smp") == ["1"] and after(command, "-seed") == ["1"]
    assert "-icount" not in qemu_command(None)[1]


def test_disks_only_without_lamina(tmp_path):
    """A copy, so that the user's image stays as it is; Lamina gets them on the boot image."""
    (tmp_path / "disk").write_bytes(b"data")
    disks = [(str(tmp_path / "disk"), ""), (str(tmp_path / "disk"), ",ro")]
    _, command = qemu_command(None, disks=disks)
    assert len(after(command, "-drive")) == 1 and "-no-reboot" in command
    _, command = qemu_command(None, "--native", disks=disks, tmp_path=tmp_path)
    assert after(command, "-drive")[1:] == [f"file={tmp_path}/disk0.img,format=raw,if=virtio",
                                            f"file={tmp_path}/disk1.img,format=raw,if=virtio,readonly=on"]
    assert (tmp_path / "disk0.img").read_bytes() == b"data" and "-no-reboot" not in command


def test_further_words():
    assert qemu_command(None, "--qemu-option=-device", "--qemu-option=edu")[1][-2:] == ["-device", "edu"]


@pytest.mark.parametrize("status, log, off, complaint", [
    (0, "qemu_system_shutdown_request reason=6", True, None),
    (0, "CPU Reset (CPU 0)\nTriple fault\n", False, "triple fault"),
    (0, "", False, None),
    (1, "qemu_system_shutdown_request reason=6", False, None),
])
def test_how_qemu_ended(tmp_path, status, log, off, complaint):
    machine, _ = qemu_command(None, "--machine-log", str(tmp_path / "log"))
    (tmp_path / "log").write_text(log)
    assert machine.powered_off(status) == off
    assert machine.complaint() == complaint


@pytest.mark.parametrize("printed, complaint", [
    ("qemu-system-x86_64: warning: x\nqemu-system-x86_64: unable to find CPU model 'y'\n", "unable to find CPU model 'y'"),
    ("qemu: fatal: invalid tss\nRAX=1\nXMM15=0\n", "qemu: fatal: invalid tss"),
    ("qemu-system-x86_64: warning: x\n", None),
])
def test_what_qemu_said_last(tmp_path, printed, complaint):
    machine, _ = qemu_command(None, "--machine-log", str(tmp_path / "none"))
    with open(tmp_path / "output", "w", encoding="utf-8") as output:
        machine.output = output
        output.write(printed)
    assert machine.complaint() == complaint


def test_the_models_are_those_of_bochs():
    """--machine auto knows Bochs's CPU models without starting it."""
    done = subprocess.run(["bochs", "-help", "cpu"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode(errors="replace")
    listed = text[text.index("Supported CPU models:"):].split("\n\n")[1].split()
    assert set(listed) == bochs.MODELS

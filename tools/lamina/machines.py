"""The choice of the machine."""
from . import bochs, kvm, qemu
from .errors import UsageError


def first_of(options):
    """The first of these options that was given, or None: {its name: whether}."""
    return next((name for name, given in options.items() if given), None)


def decide(options, nested, have_qemu, have_bochs):
    """Which machine to start, "qemu" or "bochs", and why in words (None where the user said which). `nested`: kvm.offers()."""
    for_bochs = first_of({"--bochs-line": options.bochs_line, "--bochs-commands": options.bochs_commands})
    for_qemu = first_of({"--icount": options.icount, "--qemu-option": options.qemu_option, "--uefi": options.uefi,
                         "--boot-from": options.boot_from != "cd", "--accel": options.accel_given})
    if options.machine != "auto":
        if options.machine == "bochs" and for_qemu:
            raise UsageError(f"{for_qemu} is for QEMU: leave out --machine bochs")
        if options.machine == "qemu" and for_bochs:
            raise UsageError(f"{for_bochs} is for Bochs: leave out --machine qemu")
        return options.machine, None
    if for_bochs and for_qemu:
        raise UsageError(f"{for_qemu} is for QEMU, {for_bochs} for Bochs: name the --machine")
    if for_bochs:
        return "bochs", f"Bochs: only Bochs has {for_bochs}"
    if for_qemu:
        return "qemu", f"QEMU: only QEMU has {for_qemu}"
    if options.cpu and options.cpu.partition(",")[0] in bochs.MODELS:
        return "bochs", f"Bochs: {options.cpu} is one of its CPU models"
    if have_qemu and nested:
        return "qemu", f"QEMU: KVM on this machine offers nested {nested}"
    if have_qemu and options.cpu:
        return "qemu", f"QEMU: {options.cpu} is a CPU that it emulates"
    if have_qemu:
        return "qemu", "QEMU: KVM on this machine offers neither VT-x nor AMD-V, and QEMU emulates AMD-V faster than Bochs does VT-x " \
            "(--machine bochs)"
    if have_bochs:
        return "bochs", "Bochs: QEMU is not installed"
    raise UsageError("neither QEMU nor Bochs is installed: run tools/setup.sh")


def choose(options, guest, folder):
    """The machine of --machine, and why it was chosen (None where the user said which)."""
    nested = qemu.nesting(options, kvm.offers())
    name, reason = decide(options, nested, qemu.installed(), bochs.installed())
    if name == "bochs":
        return bochs.Bochs(options, guest, folder), reason
    return qemu.Qemu(options, guest, folder, nested), reason

"""The choice of the machine."""
from . import bochs, kvm, qemu
from .errors import UsageError


def decide(options, nested, have_qemu, have_bochs):
    """Which machine to start, "qemu" or "bochs", and why in words (None where the user said which). `nested`: kvm.offers()."""
    for_bochs = options.bochs_line or options.bochs_commands
    for_qemu = options.icount or options.qemu_option or options.uefi or options.boot_from != "cd"
    if options.machine != "auto":
        if options.machine == "bochs" and for_qemu:
            raise UsageError("--icount, --uefi, --boot-from and --qemu-option are for QEMU: leave out --machine bochs")
        if options.machine == "qemu" and for_bochs:
            raise UsageError("--bochs-line and --bochs-commands are for Bochs: leave out --machine qemu")
        return options.machine, None
    if for_bochs and for_qemu:
        raise UsageError("one option is for QEMU, another for Bochs: name the --machine")
    if for_bochs:
        return "bochs", "Bochs: an option is only for it"
    if for_qemu:
        return "qemu", "QEMU: an option is only for it"
    if options.cpu and options.cpu.partition(",")[0] in bochs.MODELS:
        return "bochs", f"Bochs: {options.cpu} is one of its CPU models"
    if have_qemu and nested:
        return "qemu", f"QEMU: KVM on this machine offers nested {nested}"
    if have_qemu:
        return "qemu", "QEMU: KVM on this machine offers neither VT-x nor AMD-V, and QEMU emulates AMD-V faster than Bochs does VT-x " \
            "(--machine bochs)"
    if have_bochs:
        return "bochs", "Bochs: QEMU is not installed"
    raise UsageError("neither QEMU nor Bochs is installed: run tools/setup.sh")


def choose(options, guest, folder):
    """The machine of --machine, and why it was chosen (None where the user said which)."""
    nested = kvm.offers()
    name, reason = decide(options, nested, qemu.installed(), bochs.installed())
    if name == "bochs":
        return bochs.Bochs(options, guest, folder), reason
    return qemu.Qemu(options, guest, folder, nested), reason

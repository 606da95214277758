"""The CPU models that `make test-matrix` boots Debian on under Lamina, to its shell, and what is expected instead where that cannot be;
and Debian's 32-bit kernels with each virtual MMU."""
import os

GUESTS = os.path.join("build", "guests")
SHELL = "guest# "
POPCNT, FSRM = 151, 580     # Linux's numbers of CPUID bits, for its option clearcpuid=


class Entry:
    """One CPU model, and what is seen on the console when all is well: the shell's prompt or a line with this pattern. `reason` tells
    why something else than a plain boot is expected; it is printed. `kernel` is None for the 64-bit one, or a 32-bit one's flavour; `mmu`
    a value of monitor.virtual_mmu, or None for Lamina's choice."""

    def __init__(self, machine, cpu, options=(), clear=None, expect=SHELL, reason=None, kernel=None, mmu=None):
        self.machine = machine
        self.cpu = cpu
        self.options = list(options)
        self.clear = clear
        self.expect = expect
        self.reason = reason
        self.files = [f"vmlinuz-{kernel}", "initrd-i386.gz"] if kernel else ["vmlinuz", "initrd.gz"]
        self.variant = [word for word in (kernel, mmu) if word]
        if kernel:
            self.options += ["--set", "guestOS=linux-32"]
        if mmu:
            self.options += ["--set", f"monitor.virtual_mmu={mmu}"]

    @property
    def name(self):
        return "/".join([self.machine, self.cpu, *self.variant])

    @property
    def limit(self):
        """Seconds of wall time."""
        return (480 if "i386" in self.files[1] else 240) if self.machine == "bochs" else 90

    def command(self, logs):
        log = os.path.join(logs, f"matrix_{self.name.replace('/', '_')}.log")
        cmdline = "console=ttyS0 quiet" + (f" clearcpuid={self.clear}" if self.clear else "")
        return ["tools/lamina-run", "--machine", self.machine, "--cpu", self.cpu, "--batch", "--log", log, "--machine-log",
                log.replace(".log", ".machine.log"), "--timeout", str(self.limit), "--until", self.expect, "--cmdline", cmdline,
                "--kernel", f"{GUESTS}/{self.files[0]}", "--initrd", f"{GUESTS}/{self.files[1]}", *self.options]


def refused(cpu, needs, reason):
    """A CPU that Lamina cannot use: a sentence that says what is missing."""
    return Entry("bochs", cpu, expect=r"lamina: fatal: .*" + needs, reason=f"refused: {reason}")


WRONG_FSRM = "the guest is told to leave FSRM alone: with it, it does not boot on the bare machine either"

# Intel, from old to new, AMD in Bochs, AMD in QEMU.
ENTRIES = (
    Entry("bochs", "core2_penryn_t9600"),       # no EPT: on shadow page tables
    Entry("bochs", "corei5_lynnfield_750"),     # no unrestricted guest: likewise
    Entry("bochs", "corei5_arrandale_m520"),
    Entry("bochs", "corei7_sandy_bridge_2600k"),
    Entry("bochs", "corei7_ivy_bridge_3770k"),
    Entry("bochs", "corei7_haswell_4770"),
    Entry("bochs", "broadwell_ult"),
    Entry("bochs", "corei7_skylake_x"),
    Entry("bochs", "corei3_cnl"),
    Entry("bochs", "corei7_icelake_u", clear=FSRM, reason=WRONG_FSRM),
    Entry("bochs", "tigerlake", clear=FSRM, reason=WRONG_FSRM),

    refused("athlon64_venice", "AMD-V", "neither VT-x nor AMD-V"),
    refused("turion64_tyler", "(RVI|nested paging)", "AMD-V without nested paging"),
    Entry("bochs", "phenom_8650_toliman", clear=POPCNT,
          reason="the guest is told to leave POPCNT alone, which Bochs reports but answers with #UD"),
    Entry("bochs", "zambezi"),
    Entry("bochs", "trinity_apu"),
    Entry("bochs", "ryzen", options=["--bochs-line", "cpu: mwait_is_nop=1"]),

    Entry("qemu", "EPYC,+svm,+npt"),
    Entry("qemu", "Opteron_G3,+svm,+npt"),
    Entry("qemu", "qemu64,+svm,+npt"),
    Entry("qemu", "max,+svm,+npt"),

    Entry("bochs", "corei7_skylake_x", kernel="686", mmu="hardware"),
    Entry("bochs", "corei7_skylake_x", kernel="686", mmu="software"),
    Entry("bochs", "corei7_skylake_x", kernel="686-pae", mmu="hardware"),
    Entry("bochs", "corei7_skylake_x", kernel="686-pae", mmu="software"),
    Entry("bochs", "core2_penryn_t9600", kernel="686-pae"),
    Entry("qemu", "EPYC,+svm,+npt", kernel="686"),
    Entry("qemu", "EPYC,+svm,+npt", kernel="686-pae"),
)

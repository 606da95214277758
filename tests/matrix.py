"""The CPU models that `make test-matrix` boots Debian on under Lamina, to its shell, and what is expected instead where that cannot be;
and Debian's 32-bit kernels with each virtual MMU."""
import os

GUESTS = os.path.join("build", "guests")
SHELL = "guest# "
POPCNT, FSRM = 151, 580     # Linux's numbers of CPUID bits, for its option clearcpuid=


class Entry:
    """One CPU model, and what is seen on the console when all is well: the shell's prompt or a line with this pattern. `reason` tells
    why something else than a plain boot is expected; it is printed. `kernel` is None for the 64-bit one, or a 32-bit one's flavour; `mmu`
    a value of monitor.virtual_mmu, or None for Lamina's choice; `mode` what the line of the chosen mode must hold."""

    def __init__(self, machine, cpu, options=(), clear=None, expect=SHELL, reason=None, kernel=None, mmu=None, mode=None):
        self.machine = machine
        self.cpu = cpu
        self.options = list(options)
        self.clear = clear
        self.expect = expect
        self.reason = reason
        self.files = [f"vmlinuz-{kernel}", "initrd-i386.gz"] if kernel else ["vmlinuz", "initrd.gz"]
        self.mode = mode
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

    def log(self, logs):
        return os.path.join(logs, f"matrix_{self.name.replace('/', '_')}.log")

    def command(self, logs):
        log = self.log(logs)
        cmdline = "console=ttyS0 quiet" + (f" clearcpuid={self.clear}" if self.clear else "")
        return ["tools/lamina-run", "--machine", self.machine, "--cpu", self.cpu, "--batch", "--log", log, "--machine-log",
                log.replace(".log", ".machine.log"), "--timeout", str(self.limit), "--until", self.expect, "--cmdline", cmdline,
                "--kernel", f"{GUESTS}/{self.files[0]}", "--initrd", f"{GUESTS}/{self.files[1]}", *self.options]


def each_setting(machine, cpu, nested, shadow, **others):
    """A CPU with each value of monitor.virtual_mmu: the modes' names with nested paging (None: it has none) and with shadow page tables.
    What cannot be honoured is ignored."""
    return [Entry(machine, cpu, mmu="software", mode=shadow, **others),
            Entry(machine, cpu, mmu="hardware", mode=nested or shadow, **others),
            Entry(machine, cpu, mmu="automatic", mode=nested or shadow, **others)]


EPT, VTX_SHADOW = "HV-hwMMU (VT-x with EPT", "HV-swMMU (VT-x with shadow page tables"
RVI, AMDV_SHADOW = "HV-hwMMU (AMD-V with RVI", "HV-swMMU (AMD-V with shadow page tables"


def refused(cpu, needs, reason):
    """A CPU that Lamina cannot use: a sentence that says what is missing."""
    return Entry("bochs", cpu, expect=r"lamina: fatal: .*" + needs, reason=f"refused: {reason}")


WRONG_FSRM = "the guest is told to leave FSRM alone: with it, it does not boot on the bare machine either"

# Intel, from old to new, AMD in Bochs, AMD in QEMU.
ENTRIES = (
    *each_setting("bochs", "core2_penryn_t9600", None, VTX_SHADOW),     # no EPT
    *each_setting("bochs", "corei5_lynnfield_750", None, VTX_SHADOW),   # EPT, but no unrestricted guest
    *each_setting("bochs", "corei5_arrandale_m520", EPT, VTX_SHADOW),
    *each_setting("bochs", "corei7_sandy_bridge_2600k", EPT, VTX_SHADOW),
    Entry("bochs", "corei7_ivy_bridge_3770k", mode=EPT),
    *each_setting("bochs", "corei7_haswell_4770", EPT, VTX_SHADOW),
    Entry("bochs", "broadwell_ult", mode=EPT),
    *each_setting("bochs", "corei7_skylake_x", EPT, VTX_SHADOW),
    *each_setting("bochs", "corei3_cnl", EPT, VTX_SHADOW),
    Entry("bochs", "corei7_icelake_u", clear=FSRM, reason=WRONG_FSRM, mode=EPT),
    Entry("bochs", "tigerlake", clear=FSRM, reason=WRONG_FSRM, mode=EPT),

    refused("athlon64_venice", "AMD-V", "neither VT-x nor AMD-V"),
    Entry("bochs", "turion64_tyler", mode=AMDV_SHADOW),                  # no RVI
    Entry("bochs", "phenom_8650_toliman", clear=POPCNT, mode=RVI,
          reason="the guest is told to leave POPCNT alone, which Bochs reports but answers with #UD"),
    *each_setting("bochs", "zambezi", RVI, AMDV_SHADOW),
    Entry("bochs", "trinity_apu", mode=RVI),
    Entry("bochs", "ryzen", options=["--bochs-line", "cpu: mwait_is_nop=1"], mode=RVI),

    *each_setting("qemu", "EPYC,+svm,+npt", RVI, AMDV_SHADOW),
    *each_setting("qemu", "EPYC,+svm,-npt", None, AMDV_SHADOW),
    Entry("qemu", "Opteron_G3,+svm,+npt", mode=RVI),
    Entry("qemu", "qemu64,+svm,+npt", mode=RVI),
    Entry("qemu", "max,+svm,+npt", mode=RVI),

    Entry("bochs", "corei7_skylake_x", kernel="686", mmu="hardware", mode=EPT),
    Entry("bochs", "corei7_skylake_x", kernel="686", mmu="software", mode=VTX_SHADOW),
    Entry("bochs", "corei7_skylake_x", kernel="686-pae", mmu="hardware", mode=EPT),
    Entry("bochs", "corei7_skylake_x", kernel="686-pae", mmu="software", mode=VTX_SHADOW),
    Entry("bochs", "core2_penryn_t9600", kernel="686-pae", mode=VTX_SHADOW),
    Entry("qemu", "EPYC,+svm,+npt", kernel="686", mmu="hardware", mode=RVI),
    Entry("qemu", "EPYC,+svm,+npt", kernel="686", mmu="software", mode=AMDV_SHADOW),
    Entry("qemu", "EPYC,+svm,+npt", kernel="686-pae", mmu="hardware", mode=RVI),
    Entry("qemu", "EPYC,+svm,+npt", kernel="686-pae", mmu="software", mode=AMDV_SHADOW),
)

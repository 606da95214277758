#!/usr/bin/python3
"""The static checks of `make check`: each step prints its name and "ok", or "FAILED" after what its tool said.

    tools/check.py              every step (run it by `make check`, which gives it the compilers' flags)
    tools/check.py --list       the steps
    tools/check.py tidy layers  only these steps
"""
import concurrent.futures
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

import facts

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
KERNEL_FOLDERS = ("arch", "boot", "drivers", "lib", "mm", "vmm")
LANES = min(2, os.cpu_count() or 1)

# ---- What is checked ----


def walk(*folders):
    """Every file of the tree (of these folders), by its path from the root; what was built is not part of it."""
    for folder in folders or (".",):
        for path, names, files in os.walk(os.path.normpath(os.path.join(TOP, folder))):
            names[:] = sorted(name for name in names if name not in (".git", "__pycache__") and (name != "build" or path != TOP))
            for name in sorted(files):
                yield os.path.relpath(os.path.join(path, name), TOP)


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def script(path, interpreters):
    """Whether a file starts with #! and one of these interpreters."""
    with open(os.path.join(TOP, path), "rb") as file:
        return re.match(rb"#!.*\b(" + interpreters.encode() + rb")\b", file.readline(200)) is not None


def flags(name):
    text = os.environ.get("CHECK_" + name)
    if text is None:
        sys.exit("check: run this as `make check`: the compilers' flags come from there")
    return shlex.split(text)


def kernel_sources():
    return flags("KERNEL_C")


# The loader for UEFI, which has flags of its own: those of clang leave out what only gcc has.
EFI = "boot/efi/"


def flags_of(path, compiler="gcc"):
    """The flags that a source or header of Lamina's is compiled with."""
    if not path.startswith(EFI):
        return flags("KERNEL_CFLAGS")
    return [flag for flag in flags("EFI_CFLAGS") if compiler == "gcc" or flag != "-maccumulate-outgoing-args"]


def sources():
    """Everything that Lamina consists of: the kernel and the loader for UEFI."""
    return kernel_sources() + flags("EFI_C")


# ---- Running tools ----


def tool(command, text=None, **options):
    """Runs a command from the root; returns what it printed if it failed, else an empty string."""
    done = subprocess.run(command, cwd=TOP, input=text, stdin=subprocess.DEVNULL if text is None else None, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", check=False, **options)
    return "" if done.returncode == 0 else f"{done.stdout.rstrip()}\n(exit status {done.returncode}: {shlex.join(command)[:160]})"


def each(function, items):
    """The complaints of function(item) for every item, LANES at a time, in order."""
    with concurrent.futures.ThreadPoolExecutor(LANES) as pool:
        return "\n".join(text for text in pool.map(function, items) if text)


def make(folder, target, **variables):
    """A build of its own: nothing of the make that called us reaches it."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES") and not name.startswith("CHECK_")}
    complaint = tool(["make", "-s", "-C", folder, "-j", str(LANES), target], env=dict(environment, **variables))
    return re.sub(r"^(CC|NASM) .*\n", "", complaint, flags=re.MULTILINE)


# ---- The steps: each returns its complaints, an empty string when there are none ----

# The gcc step's build is the first of the two that must be identical.
REPRO = os.path.join(TOP, "build", "check-repro")
REPRO_A, REPRO_B = os.path.join(REPRO, "a"), os.path.join(REPRO, "another", "folder-with-a-longer-name")
BUILT = []


def check_gcc():
    """kernel and loader, built anew by gcc, without a warning"""
    BUILT.append(REPRO_A)
    shutil.rmtree(REPRO, ignore_errors=True)
    for path in walk():
        copy = os.path.join(REPRO_A, path)
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copy(os.path.join(TOP, path), copy)
    shutil.copytree(REPRO_A, REPRO_B)
    return make(REPRO_A, "lamina", LC_ALL="C", TZ="UTC")


def check_clang():
    """kernel and loader, compiled by clang, without a warning"""
    folder = os.path.join(TOP, "build", "check-clang")
    shutil.rmtree(folder, ignore_errors=True)

    def compile_one(path):
        out = os.path.join(folder, path[:-2] + ".o")
        os.makedirs(os.path.dirname(out), exist_ok=True)
        return tool(["clang", *flags_of(path, "clang"), "-c", "-o", out, path])
    return each(compile_one, sources() + ["build/vmm/devices/dsdt.c"])


def check_repro():
    """two builds of the same sources, in folders of different names, are identical"""
    if not BUILT and (complaint := check_gcc()):
        return complaint
    if not os.path.isfile(os.path.join(REPRO_A, "build/lamina.elf")):
        return "the gcc step built no lamina.elf to compare with"
    complaint = make(REPRO_B, "lamina", LC_ALL="C.UTF-8", TZ="Asia/Tokyo")
    return complaint or "\n".join(filter(None, (tool(["cmp", os.path.join(REPRO_A, "build", name), os.path.join(REPRO_B, "build", name)])
                                                for name in ("lamina.elf", "lamina.efi"))))


# Headers that are lists: they want their macro from who includes them.
LISTS = {"vmm/exits/cpuid_features.h": "#define FEATURE(...)\n"}

# Flags of the guests' build that only gcc has.
CLANG_LACKS = ("-fno-toplevel-reorder",)


def check_headers():
    """every header compiles alone and twice, with gcc and clang"""
    jobs = []
    for path in walk(*KERNEL_FOLDERS, "tests"):
        if path.endswith(".h"):
            kind = "UNIT_CFLAGS" if path.startswith(("tests/unit/", "tests/fuzz/")) else "GUESTS_CFLAGS" if path.startswith("tests/") else \
                "EFI_CFLAGS" if path.startswith(EFI) else "KERNEL_CFLAGS"
            text = LISTS.get(path, "") + f'#include "{path}"\n' * 2
            jobs += [(compiler, kind, text) for compiler in ("gcc", "clang")]

    def compile_one(job):
        compiler, kind, text = job
        extra = CLANG_LACKS if compiler == "clang" else ()
        words = flags_of(EFI, compiler) if kind == "EFI_CFLAGS" else flags(kind)
        return tool([compiler, *(flag for flag in words if flag not in extra), "-fsyntax-only", "-x", "c", "-"], text)
    return each(compile_one, jobs)


def check_tidy():
    """clang-tidy, by .clang-tidy; each NOLINT names its check and says why"""
    def tidy(path):
        complaint = tool(["clang-tidy", "--quiet", "--warnings-as-errors=*", path, "--", *flags_of(path, "clang")])
        return re.sub(r"^\d+ warnings? .*\n|^Suppressed .*\n|^Use -header-filter.*\n", "", complaint, flags=re.MULTILINE)
    largest_first = sorted(sources(), key=lambda path: -os.path.getsize(os.path.join(TOP, path)))
    bare = [f"{path}:{number}: NOLINT without its check or without a reason: NOLINT(check): why"
            for path in walk(*KERNEL_FOLDERS) for number, line in enumerate(read(path).splitlines(), 1)
            if "NOLINT" in line and not re.search(r"NOLINT(NEXTLINE|BEGIN|END)?\([\w.-]+\): \w", line)]
    return "\n".join(bare + [text for text in [each(tidy, largest_first)] if text])


def check_cppcheck():
    """cppcheck, by tools/check/cppcheck.suppressions"""
    defines = [flag for flag in flags("KERNEL_CFLAGS") if flag.startswith(("-D", "-I"))]
    return tool(["cppcheck", "--quiet", "--std=c11", "--platform=unix64", "--enable=warning,style,performance,portability", "--inline-suppr",
                 "--suppressions-list=tools/check/cppcheck.suppressions", "--error-exitcode=1", "-j", str(LANES), *defines, *kernel_sources()])


def check_shell():
    """shellcheck, of every shell script"""
    return tool(["shellcheck", *(path for path in walk() if path.endswith(".sh") or script(path, "sh|bash|dash"))])


def check_python():
    """every Python file compiles, and pyflakes finds nothing"""
    paths = [path for path in walk() if path.endswith(".py") or script(path, "python3?")]
    complaints = []
    for path in paths:
        try:
            compile(read(path), path, "exec")
        except SyntaxError as error:
            complaints.append(f"{path}:{error.lineno}: {error.msg}")
    return "\n".join(complaints) or tool(["/usr/bin/python3", "-m", "pyflakes", *paths])


# Who may include whom. A file belongs to the longest folder here that holds it; what it includes must begin with one of the right side.
LAYERS = {
    "lib": ("lib/",),
    "lib/x86": ("lib/types.h",),
    "mm": ("lib/", "mm/"),
    "drivers": ("lib/", "drivers/"),
    # The monitor: the first five stand alone over lib/ and the guest's memory.
    "vmm/interface": ("lib/", "vmm/interface/"),
    "vmm/config": ("lib/", "vmm/config/"),
    "vmm/memory": ("lib/", "vmm/memory/"),
    "vmm/emulate": ("lib/", "vmm/emulate/", "vmm/memory/"),
    "vmm/loader": ("lib/", "vmm/loader/", "vmm/memory/"),
    "vmm/shadow": ("lib/", "vmm/shadow/", "vmm/memory/"),
    "vmm/devices": ("lib/", "drivers/disk/block.h", "vmm/devices/", "vmm/interface/platform.h", "vmm/io/io_space.h", "vmm/memory/"),
    "vmm/io": ("lib/", "mm/page_table.h", "drivers/disk/", "vmm/io/", "vmm/config/config.h", "vmm/interface/", "vmm/sched/sched.h",
               "vmm/vm/arena.h", "vmm/vm/registry.h"),
    "vmm/sched": ("lib/", "mm/pool.h", "vmm/sched/", "vmm/interface/", "vmm/vcpu/pending.h", "vmm/vcpu/vcpu.h", "vmm/vm/registry.h",
                  "vmm/vm/vm_services.h"),
    "vmm/exits": ("lib/", "vmm/exits/", "vmm/emulate/", "vmm/interface/", "vmm/io/io_space.h", "vmm/memory/", "vmm/mmu/",
                  "vmm/sched/sched.h", "vmm/shadow/shadow.h", "vmm/vcpu/"),
    "vmm/mmu": ("lib/", "mm/address_space.h", "vmm/mmu/", "vmm/config/config.h", "vmm/emulate/", "vmm/exits/", "vmm/interface/",
                "vmm/memory/", "vmm/shadow/shadow.h", "vmm/vcpu/", "vmm/vm/arena.h"),
    "vmm/vcpu": ("lib/", "vmm/vcpu/", "vmm/devices/lapic.h", "vmm/emulate/", "vmm/exits/", "vmm/interface/", "vmm/io/io_space.h", "vmm/memory/",
                 "vmm/mmu/", "vmm/sched/", "vmm/shadow/shadow.h", "vmm/vm/arena.h", "vmm/vm/vm_services.h"),
    "vmm/vm": ("lib/", "mm/", "drivers/console/console.h", "drivers/disk/", "vmm/"),
    "arch/x86_64": ("lib/", "mm/", "drivers/", "arch/x86_64/", "boot/boot_info.h", "vmm/config/monitor_mode.h", "vmm/devices/lapic.h",
                    "vmm/emulate/", "vmm/exits/", "vmm/interface/", "vmm/memory/", "vmm/sched/sched.h", "vmm/shadow/shadow.h",
                    "vmm/vcpu/vcpu.h", "vmm/vcpu/pending.h", "vmm/vm/arena.h", "vmm/vm/console_router.h"),
    "boot": ("lib/", "mm/", "drivers/", "vmm/", "arch/x86_64/", "boot/"),
    "boot/efi": ("lib/", "vmm/config/config.h", "boot/boot_info.h", "boot/efi/"),
}

# What differs from that, and why: (file, what it includes).
LAYER_EXCEPTIONS = {
    ("arch/x86_64/asm_offsets.c", "boot/multiboot2.h"): "the assembly of boot/ has its numbers from there too",
    ("arch/x86_64/asm_offsets.c", "boot/efi/handoff.h"): "the assembly of boot/ has its numbers from there too",
    ("vmm/devices/acpi_pm.c", "drivers/acpi/acpi.h"): "the bits of PM1's registers stand there",
    ("vmm/devices/lapic_timer.c", "vmm/exits/cpuid.h"): "its timer counts at the rate that CPUID names",
    ("vmm/emulate/step_bits.c", "vmm/exits/cpuid_bits.h"): "names of CPUID's bits, numbers only",
}

# Who sees inside a VM: the files of vmm/vm/, and these few, each for its reason. No header may: whoever included it would see it too.
VM_HEADERS = ("vmm/vm/vm.h", "vmm/vm/vm_vcpu.h", "vmm/vm/vm_parts.h")
VM_INCLUDERS_MAX = 8
VM_INCLUDERS = {
    "vmm/io/vm_disk_create.c": "hands the VM's address space and its handle to the disk",
    "vmm/mmu/virtual_mmu.c": "makes the VM's shadow MMU, which kicks its vCPUs",
    "vmm/vcpu/vcpu.c": "a vCPU is made from its VM's parts, and starts where the loader said",
}

# The engines' own headers, and who else may see them.
ENGINE_FOLDERS = ("arch/x86_64/vmx/", "arch/x86_64/svm/")
ENGINE_EXCEPTIONS = {
    ("arch/x86_64/engines.c", "arch/x86_64/vmx/engine_vmx.h"): "where the engines register",
    ("arch/x86_64/engines.c", "arch/x86_64/svm/engine_svm.h"): "where the engines register",
    ("arch/x86_64/asm_offsets.c", "arch/x86_64/vmx/vmx.h"): "offsets for the engine's assembly",
    ("arch/x86_64/asm_offsets.c", "arch/x86_64/svm/svm.h"): "offsets for the engine's assembly",
}

# Headers that the compiler itself brings; everything else that freestanding code needs is lib's.
SYSTEM_HEADERS = {"lib/types.h": ("stdbool.h", "stddef.h", "stdint.h"), "lib/printf.h": ("stdarg.h",), "boot/efi/uefi.h": ("efi.h",)}

# Inline assembly outside arch/: all of it, and why.
ASM_ALLOWED = {
    "boot/main.c": "moves to core 0's own stack",
    "lib/string.c": "rep movsb and rep stosb, which are no privileged instructions",
}


def without_comments(text):
    """C with its comments and strings blanked, lines kept."""
    def blank(match):
        return match.group(0) if match.group(0).startswith('"') else re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'"(?:\\.|[^"\\\n])*"|/\*.*?\*/|//[^\n]*', blank, text, flags=re.DOTALL)


def layer_complaints(path, used):
    """What is wrong with one file; notes in used which exceptions it needs."""
    text = without_comments(read(path))
    layer = max((folder for folder in LAYERS if path.startswith(folder + "/")), key=len)
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{path}:{number}"
        found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)', line)
        if found and found.group(1) == "<":
            if found.group(2) not in SYSTEM_HEADERS.get(path, ()):
                yield f"{where}: <{found.group(2)}>: freestanding code has lib/types.h and lib/printf.h instead"
        elif found:
            name = found.group(2)
            if name in VM_HEADERS and not path.startswith("vmm/vm/"):
                used.add(path)
                if path not in VM_INCLUDERS or not path.endswith(".c"):
                    yield f"{where}: {name} is for vmm/vm/: vmm/vm/vm_services.h, arena.h and the pointers in struct vcpu are for others"
            elif (path, name) in LAYER_EXCEPTIONS or (path, name) in ENGINE_EXCEPTIONS:
                used.add((path, name))
            elif not name.startswith(LAYERS[layer]):
                yield f"{where}: {layer}/ may not include {name}"
            elif any(name.startswith(engine) and not path.startswith(engine) for engine in ENGINE_FOLDERS):
                yield f"{where}: {name} is for its own folder only"
        code = re.sub(r'"[^"]*"', "", line)
        if re.search(r"\b(__asm__|__asm|asm)\b", code) and not path.startswith("arch/"):
            if path in ASM_ALLOWED:
                used.add(path)
            else:
                yield f"{where}: inline assembly outside arch/"
        if path.startswith("vmm/"):
            named = re.search(r"(?i)(?<![a-z])(vmx|svm)(?![a-z])", code)
            if named or (found and re.search(r"(?i)vmx|svm", found.group(2))):
                yield f"{where}: vmm/ does not name {named.group(1) if named else found.group(2)}: the engines do"


def check_layers():
    """who includes whom, inline assembly and the engines' names keep to the design"""
    used = set()
    complaints = [text for path in walk(*KERNEL_FOLDERS) if path.endswith((".c", ".h")) for text in layer_complaints(path, used)]
    if len(VM_INCLUDERS) > VM_INCLUDERS_MAX:
        complaints.append(f"tools/check.py: {len(VM_INCLUDERS)} files see inside a VM: at most {VM_INCLUDERS_MAX}")
    for exception in {**LAYER_EXCEPTIONS, **ENGINE_EXCEPTIONS, **ASM_ALLOWED, **VM_INCLUDERS}:
        if exception not in used:
            complaints.append(f"tools/check.py: nothing needs the exception {exception} any more")
    return "\n".join(complaints)


def check_facts():
    """no number of the hardware's is defined twice (tools/facts.py says what is refused)"""
    paths = (path for path in walk(*KERNEL_FOLDERS, "tests/unit") if path.endswith((".c", ".h", ".asm", ".inc")))
    return "\n".join(facts.complaints({path: read(path) for path in paths}))


LINES = 600

# Longer files, and why.
LONG_FILES = {
}


def check_length():
    """no file above 600 lines but those explained"""
    complaints = []
    for path in walk():
        if path.endswith((".c", ".h", ".asm", ".py", ".sh", ".mk")):
            lines = read(path).count("\n")
            if lines > LINES and path not in LONG_FILES:
                complaints.append(f"{path}: {lines} lines")
            elif lines <= LINES and path in LONG_FILES:
                complaints.append(f"{path}: {lines} lines: tools/check.py need not explain it any more")
    return "\n".join(complaints)


STEPS = {
    "gcc": check_gcc,
    "clang": check_clang,
    "repro": check_repro,
    "headers": check_headers,
    "tidy": check_tidy,
    "cppcheck": check_cppcheck,
    "shell": check_shell,
    "python": check_python,
    "layers": check_layers,
    "facts": check_facts,
    "length": check_length,
}


def main():
    words = sys.argv[1:]
    if words == ["--list"]:
        print("\n".join(f"{name:10}{step.__doc__}" for name, step in STEPS.items()))
        return 0
    if any(word not in STEPS for word in words):
        sys.exit(f"check: the steps are: {' '.join(STEPS)}")
    failed = []
    for name, step in STEPS.items():
        if words and name not in words:
            continue
        started = time.monotonic()
        complaint = step()
        if complaint:
            failed.append(name)
            print(complaint)
        print(f"check {name}: {step.__doc__}: {'FAILED' if complaint else 'ok'} ({time.monotonic() - started:.0f} s)", flush=True)
    if failed:
        print(f"check: {len(failed)} of {len(words or STEPS)} steps failed: {' '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

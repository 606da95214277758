"""The guest's files, and lamina.cfg made from options or from the user's own."""
import os
import re
import struct

from .errors import UsageError
from .options import not_a_file

# A module's name travels through GRUB's command line and lamina.cfg: only characters that neither of them treats specially.
NAME = re.compile(r"^[A-Za-z0-9._+:/@-]+$")
NAME_LENGTH = 60        # vmm/config/config.h takes 63
SECTION = re.compile(r"^\s*\[")
VM_SECTION = re.compile(r"^\s*\[\s*vm\s+([^\s\]]+)")
LINE = re.compile(r'^\s*([A-Za-z0-9._]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"#]+))')
REAL_DISK = re.compile(r"^(nvme|ahci|ata|virtio|serial):")
DISK_KIND = re.compile(r"^[a-z]+:[^/]*$")
FILE_KEY = re.compile(r"^(kernel|initrd|module\d+|disk\d+)$")


# Lamina's own files on the image.
RESERVED = ("lamina.elf", "lamina.cfg", "lamina.cmdline", "efi", "boot")


class BootFile:
    """A file on the boot image: where it is here, and the module name that lamina.cfg uses for it."""

    def __init__(self, path, name):
        self.path = path
        self.name = name


def must_exist(path, what):
    if not os.path.isfile(path):
        raise UsageError(f"{what} {path}: {not_a_file(path)}")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{what} {path}: not readable")
    return path


def kernel_kind(path):
    """What kind of kernel a file is: "linux" (boot protocol header), "multiboot", or None."""
    with open(path, "rb") as file:
        head = file.read(8192)
    if head[0x202:0x206] == b"HdrS":
        return "linux"
    for offset in range(0, len(head) - 11, 4):
        magic, flags, checksum = struct.unpack_from("<III", head, offset)
        if magic == 0x1BADB002 and (magic + flags + checksum) & 0xFFFFFFFF == 0:
            return "multiboot"
    return None


def quoted(key, value):
    if not value.isprintable():
        raise UsageError(f"{key}: a value in lamina.cfg holds only printable text: {value!r}")
    value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{key} = "{value}"'


def key_and_value(line):
    """The key and value of a line of lamina.cfg, or None."""
    match = LINE.match(line)
    if not match:
        return None
    quotes, bare = match.group(2), match.group(3)
    return match.group(1), bare if quotes is None else re.sub(r"\\(.)", r"\1", quotes)


class Guest:
    """What to boot: files, lamina.cfg's text, and for --native the parts that GRUB needs."""

    def __init__(self):
        self.files = []
        self.config = ""
        self.source = None      # the configuration without the settings: the user's own file, or text
        self.settings = []      # what --set and its kin say
        self.kernel = None
        self.kind = None
        self.initrd = None
        self.modules = []       # (BootFile, arguments)
        self.disks = []         # (BootFile, ",ro" or "")
        self.cmdline = ""

    def add(self, path, name=None):
        """Adds a file under a module name of its own."""
        if name is None:
            name = re.sub(r"[^A-Za-z0-9._+-]", "_", os.path.basename(path))[-NAME_LENGTH:]
            # FAT does not tell capitals from small letters.
            while name.lower() in RESERVED or any(file.name.lower() == name.lower() for file in self.files):
                name += "_"
        elif not NAME.match(name):
            raise UsageError(f"{name}: a module's name may hold only letters, digits and . _ + : / @ -")
        file = BootFile(path, name)
        self.files.append(file)
        return file


def from_options(options):
    """The guest that --kernel and its companions describe."""
    guest = Guest()
    guest.kernel = guest.add(must_exist(options.kernel, "--kernel"))
    guest.kind = kernel_kind(options.kernel)
    if options.initrd:
        guest.initrd = guest.add(must_exist(options.initrd, "--initrd"))
    for text in options.module:
        path, _, arguments = text.partition("=")
        guest.modules.append((guest.add(must_exist(path, "--module")), arguments))
    disks = []              # the values of disk0 …
    for path in options.disk:
        if REAL_DISK.match(path):
            disks.append(path)
            continue
        if DISK_KIND.match(path) and not os.path.exists(path):
            raise UsageError(f"--disk {path}: no such file; the machine's own disks are nvme:…, ahci:…, virtio:…, ata:… and serial:…")
        suffix = ",ro" if path.endswith(",ro") else ""
        guest.disks.append((guest.add(must_exist(path.removesuffix(suffix), "--disk")), suffix))
        disks.append(f"module:{guest.disks[-1][0].name}{suffix}")
    guest.cmdline = options.cmdline
    if guest.cmdline is None:
        guest.cmdline = "console=ttyS0" if guest.kind == "linux" else ""

    lines = {"memsize": str(options.memory or 1024), "numvcpus": str(options.cpus or 1), "kernel": guest.kernel.name}
    if guest.initrd:
        lines["initrd"] = guest.initrd.name
    for index, (file, arguments) in enumerate(guest.modules):
        lines[f"module{index}"] = f"{file.name} {arguments}".strip()
    if guest.cmdline:
        lines["cmdline"] = guest.cmdline
    for index, value in enumerate(disks):
        lines[f"disk{index}"] = value
    text = "\n".join(["[vm guest]"] + [quoted(key, value) for key, value in lines.items()]) + "\n"
    guest.source, guest.settings = overridden(text, [], options.set_machine), options.settings
    guest.config = overridden(text, options.settings, options.set_machine)
    return guest


def of_section(settings, name):
    """The settings for the section [vm NAME]: KEY for every one, vm.NAME.KEY for this one."""
    result = {key: value for key, value in settings if not key.startswith("vm.")}
    own = f"vm.{name}."
    result.update({key[len(own):]: value for key, value in settings if key.startswith(own)})
    return result


def overridden(text, settings, machine):
    """lamina.cfg with keys replaced or added: settings in the [vm] sections, machine before the first section."""
    if not settings and not machine:
        return text
    replaced = dict(machine)
    result = [quoted(key, value) for key, value in replaced.items()]
    for line in text.splitlines():
        pair = key_and_value(line)
        if SECTION.match(line):
            vm = VM_SECTION.match(line)
            replaced = of_section(settings, vm.group(1)) if vm else {}
            result.append(line)
            result += [quoted(key, value) for key, value in replaced.items()]
        elif not pair or pair[0] not in replaced:
            result.append(line)
    return "\n".join(result) + "\n"


def from_config(options):
    """The guests of the user's lamina.cfg. Its mistakes are Lamina's to report: only file names are read here."""
    guest = Guest()
    must_exist(options.config, "--config")
    # Some editors put a byte order mark there.
    with open(options.config, encoding="utf-8-sig", errors="surrogateescape") as file:
        text = file.read()
    settings = list(options.settings)
    for key, value in (("cmdline", options.cmdline), ("memsize", options.memory), ("numvcpus", options.cpus)):
        if value is not None:
            settings.append((key, str(value)))
    guest.settings = settings
    guest.config = overridden(text, settings, options.set_machine)
    if options.set_machine:
        guest.source = overridden(text, [], options.set_machine)

    folder = os.path.dirname(os.path.abspath(options.config))
    for line in guest.config.splitlines():
        pair = key_and_value(line)
        if not pair or not FILE_KEY.match(pair[0]):
            continue
        key, value = pair
        if key.startswith("disk"):
            if not value.startswith("module:"):
                continue
            name = value[len("module:"):].removesuffix(",ro")
        else:
            name = re.split(r"[ \t]", value)[0]
        if not name or any(file.name == name for file in guest.files):
            continue
        path = os.path.join(folder, name)
        if not os.path.isfile(path) and (options.allow_missing or options.check):
            continue
        guest.add(must_exist(path, f"{options.config}: {key}"), name)
    return guest


def from_any(options):
    return from_config(options) if options.config else from_options(options)

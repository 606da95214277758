"""Machines whose screen is looked at: QEMU with a monitor, and the text on a picture of the screen, found by the font that Lamina draws with."""
import os
import re
import shutil
import socket
import subprocess
import sys
import time

from conftest import LOGS, PATIENCE, RUNNER, TOP

sys.path.insert(0, os.path.join(TOP, "tools"))
import font     # noqa: E402

GLYPHS = {glyph: chr(code) for code, glyph in zip(range(font.FIRST, font.LAST), font.glyphs())}
OVMF = "/usr/share/ovmf/OVMF.fd"
VGA_TEXT, ROWS, COLUMNS = 0xB8000, 25, 80


def text_of_picture(path):
    """The characters on a PPM picture: each cell of 8 by 16 pixels has a colour in front and one behind, and its shape is a glyph's, or one's
    inverse (the cursor)."""
    with open(path, "rb") as file:
        magic, size, _, pixels = file.read().split(b"\n", 3)
    assert magic == b"P6"
    width, height = (int(number) for number in size.split())
    rows = []
    for top in range(0, height - font.HEIGHT + 1, font.HEIGHT):
        lines = [pixels[(top + y) * width * 3:(top + y + 1) * width * 3] for y in range(font.HEIGHT)]
        rows.append("".join(character(lines, left * 24) for left in range(width // 8)).rstrip())
    return rows


def character(lines, start):
    cell = [[line[start + 3 * x:start + 3 * x + 3] for x in range(8)] for line in lines]
    colours = sorted({pixel for line in cell for pixel in line}, key=sum)
    if len(colours) == 1:
        return " "
    if len(colours) != 2:
        return "\ufffd"
    for front in (colours[1], colours[0]):
        shape = bytes(sum((pixel == front) << (7 - x) for x, pixel in enumerate(line)) for line in cell)
        if shape in GLYPHS:
            return GLYPHS[shape]
    return "\ufffd"


def make_iso(path, *options):
    subprocess.run([RUNNER, "--no-run", "--keep-iso", path, *options], check=True)


def make_grub_iso(path, folder, files, config=None, platform="x86_64-efi", first=("insmod all_video",), cmdline=""):
    """GRUB with Lamina, as a user's own GRUB would have it: `files` by their module names, `config` the text of lamina.cfg, `first`: GRUB's
    commands before."""
    boot = os.path.join(folder, "tree", "boot")
    os.makedirs(os.path.join(boot, "grub"), exist_ok=True)
    shutil.copyfile(os.path.join(TOP, "build", "lamina.elf"), os.path.join(boot, "lamina.elf"))
    lines = [*first, f"multiboot2 /boot/lamina.elf {cmdline}"]
    if config:
        with open(os.path.join(boot, "lamina.cfg"), "w", encoding="utf-8") as file:
            file.write(config)
        lines.append("module2 --nounzip /boot/lamina.cfg lamina.cfg")
    for name, source in files.items():
        shutil.copyfile(source, os.path.join(boot, name))
        lines.append(f"module2 --nounzip /boot/{name} {name}")
    with open(os.path.join(boot, "grub", "grub.cfg"), "w", encoding="utf-8") as file:
        file.write("\n".join(["set timeout=0", 'menuentry "Lamina" {', *lines, "}"]) + "\n")
    subprocess.run(["grub-mkrescue", "-d", f"/usr/lib/grub/{platform}", "--fonts=", "--locales=", "--themes=", "-o", path, os.path.dirname(boot)],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Screen:
    """A running QEMU; use it in a with statement."""

    def __init__(self, folder, iso, *options):
        self.monitor_path = os.path.join(folder, "monitor")
        self.picture = os.path.join(folder, "screen.ppm")
        self.memory = os.path.join(folder, "screen.bin")
        os.makedirs(LOGS, exist_ok=True)
        self.command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-m", "1024", "-display", "none", "-vga", "std",
                        "-monitor", f"unix:{self.monitor_path},server,nowait", "-cdrom", iso, "-no-reboot", *options]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 30 * PATIENCE
        while not os.path.exists(self.monitor_path):
            assert self.process.poll() is None and time.monotonic() < end, "QEMU did not start"
            time.sleep(0.1)
        self.monitor = socket.socket(socket.AF_UNIX)
        self.monitor.connect(self.monitor_path)
        self.monitor.settimeout(60 * PATIENCE)
        self.ask("")
        return self

    def __exit__(self, *_):
        self.monitor.close()
        self.process.kill()
        self.process.wait()

    def ask(self, command):
        """Sends a command, if there is one, and waits for the monitor's prompt."""
        if command:
            self.monitor.sendall(command.encode() + b"\n")
        answer = b""
        while not answer.endswith(b"(qemu) "):
            answer += self.monitor.recv(4096)
        return answer.decode(errors="replace")

    def pixels(self):
        """The rows of text on the picture of the screen."""
        self.ask(f'screendump "{self.picture}"')
        return text_of_picture(self.picture)

    def vga(self):
        """The rows of text in VGA's memory."""
        self.ask(f'pmemsave {VGA_TEXT} {ROWS * COLUMNS * 2} "{self.memory}"')
        with open(self.memory, "rb") as file:
            characters = file.read()[::2].decode("latin-1")
        return [characters[row * COLUMNS:(row + 1) * COLUMNS].rstrip() for row in range(ROWS)]

    def wait(self, look, pattern, seconds):
        """Looks until a row of the screen matches; returns all rows."""
        end = time.monotonic() + seconds * PATIENCE
        rows = []
        while time.monotonic() < end:
            assert self.process.poll() is None, "the machine ended:\n" + "\n".join(rows)
            rows = look()
            if any(re.search(pattern, row) for row in rows):
                return rows
            time.sleep(0.5)
        raise AssertionError(f"no row of the screen matches {pattern}:\n" + "\n".join(rows))

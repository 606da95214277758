"""The text screen: a machine without virtualization gets its sentence there too, for those without a serial port. In QEMU, whose monitor
shows the screen's memory."""
import os
import socket
import subprocess
import time

from conftest import TOP, guest_file

SCREEN, ROWS, COLUMNS = 0xB8000, 25, 80


def ask(monitor, command):
    """Send a command, if there is one, and wait for the monitor's prompt."""
    if command:
        monitor.sendall(command.encode() + b"\n")
    answer = b""
    while not answer.endswith(b"(qemu) "):
        answer += monitor.recv(4096)


def text_of(path):
    with open(path, "rb") as file:
        characters = file.read()[::2].decode("latin-1")
    rows = [characters[row * COLUMNS:(row + 1) * COLUMNS] for row in range(ROWS)]
    return "".join(rows)    # Lamina's lines wrap at the edge


def test_the_refusal_is_on_the_screen(tmp_path):
    iso, screen, where = str(tmp_path / "lamina.iso"), str(tmp_path / "screen"), str(tmp_path / "monitor")
    subprocess.run([os.path.join(TOP, "tools", "lamina-run"), "--no-run", "--keep-iso", iso, "--kernel", guest_file("gnumach.elf")], check=True)
    command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "qemu64,-svm", "-m", "512", "-display", "none", "-serial", "none",
               "-monitor", f"unix:{where},server,nowait", "-cdrom", iso, "-no-reboot"]
    seen = ""
    with subprocess.Popen(command) as machine:
        try:
            end = time.monotonic() + 90
            while not os.path.exists(where):
                assert machine.poll() is None and time.monotonic() < end, "QEMU did not start"
                time.sleep(0.2)
            with socket.socket(socket.AF_UNIX) as monitor:
                monitor.connect(where)
                monitor.settimeout(30)
                ask(monitor, "")
                while "fatal: " not in seen and time.monotonic() < end:
                    time.sleep(1)
                    ask(monitor, f'pmemsave {SCREEN} {ROWS * COLUMNS * 2} "{screen}"')
                    seen = text_of(screen)
        finally:
            machine.kill()
    assert "lamina: fatal: this CPU (AuthenticAMD" in seen, seen

"""What the emulated PCs have in common."""
import ctypes
import os
import shutil
import signal
import subprocess

PR_SET_PDEATHSIG = 1


def die_with_parent():
    """In the child: a session of its own, so that the terminal's signals pass it by, and death when the runner dies."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Machine:
    """An emulated PC: `describe` it, `start` it; once it has ended, whether it `powered_off` and what its `complaint` was."""

    log_name = "machine.log"

    def __init__(self, options, guest, folder):
        self.options = options
        self.guest = guest
        self.folder = folder
        self.log = os.path.abspath(options.machine_log) if options.machine_log else os.path.join(folder, self.log_name)

    def spawn(self, command, output):
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, preexec_fn=die_with_parent)

    def advice(self):
        """What to try where the machine did not start, or None."""
        return None

    def size(self):
        return f"{self.options.host_cpus} CPU(s), {self.options.host_memory} MiB"

    def copies_of_disks(self):
        """Writable copies, so that --native leaves the user's image alone as Lamina does: [(path, read-only)]."""
        result = []
        for index, (disk, suffix) in enumerate(self.guest.disks):
            path = os.path.join(self.folder, f"disk{index}.img")
            shutil.copyfile(disk.path, path)
            result.append((path, suffix == ",ro"))
        return result

    def log_text(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

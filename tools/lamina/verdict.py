"""Reads Lamina's result lines in the serial console and judges the run."""
import re

POWERED_OFF = 0
USAGE = 2
TIMED_OUT = 3
STOPPED = 4
FAILED = 5

# Lamina begins a line of its own; a guest's unfinished line may stand before it.
RESULT = re.compile(r"lamina: (?:(vm \S+): (powered off by the guest|reset by the guest|stopped: )|(fatal: |PANIC: )|(machine: power off))")


class Verdict:
    """Follows the console line by line. `status` is the exit status so far, None while the guest runs."""

    def __init__(self, until=None):
        self.until = until
        self.reached = False    # a line matched `until`
        self.status = None
        self.reason = None
        self.resets = 0
        self.machine_off = False
        self.partial = ""

    def feed(self, text):
        """Takes console text as it comes; returns whether a line gave a new final result."""
        lines = (self.partial + text).split("\n")
        self.partial = lines.pop()[-4096:]
        # A full-screen program sends no line ends: `until` is looked for in what there is of a line as well.
        if self.until and self.until.search(self.partial):
            self.reached = True
        changed = False
        for line in lines:
            changed = self.line(line.rstrip("\r")) or changed
        return changed

    def line(self, line):
        if self.until and self.until.search(line):
            self.reached = True
        match = RESULT.search(line)
        if not match:
            return False
        what, broken, off = match.group(2), match.group(3), match.group(4)
        if off:
            self.machine_off = True
            return False
        if what == "reset by the guest":
            self.resets += 1
            self.status = None
            return False
        if broken:
            self.status = FAILED
        elif self.status == FAILED:
            return False        # what guests do afterwards does not mend Lamina
        elif what == "stopped: ":
            self.status = STOPPED
        elif self.status != STOPPED:
            self.status = POWERED_OFF
        self.reason = line[match.start():]
        return True

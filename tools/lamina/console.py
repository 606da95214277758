"""The serial console between the machine's pty, the user's terminal and the log."""
import errno
import os
import select
import sys
import termios
import tty

ESCAPE = b"\x1d"        # Ctrl-]
CHUNK = 65536


class Terminal:
    """The user's terminal in raw mode, put back on exit."""

    def __init__(self):
        self.saved = None
        try:
            self.saved = termios.tcgetattr(0)
            tty.setraw(0)
        except termios.error:
            pass        # standard input is no terminal

    @property
    def is_terminal(self):
        return self.saved is not None

    def restore(self):
        if self.saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self.saved)
            self.saved = None


class Serial:
    """A pty: the machine opens the far end (`name`) as its COM1, the runner reads and writes this end."""

    def __init__(self):
        self.master, self.slave = os.openpty()  # the slave stays open here, so that no reopening hangs it up
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.name = os.ttyname(self.slave)
        self.pending = b""

    def read(self):
        """What has come, or b"" if nothing has."""
        try:
            return os.read(self.master, CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno == errno.EIO:
                return b""
            raise

    def write(self, data):
        """Queues data for the guest and sends what fits."""
        self.pending += data
        if self.pending:
            try:
                self.pending = self.pending[os.write(self.master, self.pending[:1024]):]
            except BlockingIOError:
                pass


class Console:
    """Moves bytes: guest to user and log, user to guest."""

    def __init__(self, serial, log, to_user, from_user, hold_until=None):
        self.serial = serial
        self.log = log
        self.to_user = to_user
        self.from_user = from_user
        self.hold_until = hold_until.encode() if hold_until else None
        self.seen = b""
        self.terminal = Terminal() if from_user else None
        self.left = False

    def close(self):
        if self.terminal:
            self.terminal.restore()

    def take_output(self):
        """Moves the guest's output; returns its text, None if there was none."""
        data = self.serial.read()
        if not data:
            return None
        if self.log:
            self.log.write(data)
            self.log.flush()
        if self.to_user:
            write_all(1, data)
        if self.hold_until:
            self.seen = (self.seen + data)[-CHUNK:]
            if self.hold_until in self.seen:
                self.hold_until = None
        return data.decode(errors="replace")

    def take_input(self):
        """Moves the user's input; Ctrl-] at a terminal leaves."""
        data = os.read(0, 1024)
        if not data:
            self.from_user = False
            return
        if self.terminal.is_terminal and ESCAPE in data:
            self.left = True
            data = data[:data.index(ESCAPE)]
        self.serial.write(data)

    def wait(self, process_fd, seconds):
        """Waits for output, input, the machine's end or the time; returns the guest's new text or None."""
        readers = [self.serial.master, process_fd]
        if self.from_user and not self.hold_until and not self.serial.pending:
            readers.append(0)
        writers = [self.serial.master] if self.serial.pending else []
        ready, writable, _ = select.select(readers, writers, [], seconds)
        if writable:
            self.serial.write(b"")
        if 0 in ready:
            self.take_input()
        return self.take_output() if self.serial.master in ready else None


def write_all(descriptor, data):
    """Writes everything to a descriptor that may be non-blocking; a reader that went away is ignored."""
    while data:
        try:
            data = data[os.write(descriptor, data):]
        except BlockingIOError:
            select.select([], [descriptor], [], 1)
        except BrokenPipeError:
            return


def say(text):
    """A line of the runner's own, on standard error, whatever mode the terminal is in."""
    sys.stderr.write(f"lamina-run: {text}\r\n" if sys.stderr.isatty() else f"lamina-run: {text}\n")
    sys.stderr.flush()

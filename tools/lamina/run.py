"""One run: make the image, start the machine, follow the console, judge."""
import os
import shutil
import signal
import sys
import tempfile
import time

from . import guest as guests
from . import check, image, machines, netboot, options as command_line, verdict
from .console import Console, Serial, say
from .errors import UsageError

QUIET = 2           # seconds without output after which a dump is taken to be complete
DUMP_LIMIT = 20     # seconds that a dump may take at most
OFF_LIMIT = 20      # seconds from "machine: power off" to the machine's end
TAIL = 40           # lines of the log shown on time-out and failure


class Interrupted(Exception):
    """A signal asked the runner to end."""


def on_signal(number, _frame):
    raise Interrupted(signal.Signals(number).name)


class Run:
    """The running machine and what is known of it."""

    def __init__(self, options, machine, process, console):
        self.options = options
        self.machine = machine
        self.process = process
        self.console = console
        self.verdict = verdict.Verdict(options.until)
        self.text = ""
        self.started = time.monotonic()

    def follow(self):
        """Runs until there is an exit status, and returns it."""
        descriptor = os.pidfd_open(self.process.pid)
        try:
            return self.loop(descriptor)
        finally:
            os.close(descriptor)

    def loop(self, descriptor):
        last_output = final_since = off_since = None
        while True:
            text = self.console.wait(descriptor, 0.2)
            now = time.monotonic()
            if text:
                last_output = now
                self.take(text)
            if self.console.left:
                say("left")
                return verdict.POWERED_OFF
            if self.verdict.reached:
                return verdict.POWERED_OFF
            if self.process.poll() is not None:
                return self.ended()
            if self.options.timeout and now - self.started > self.options.timeout:
                say(f"time-out after {self.options.timeout} s")
                return verdict.TIMED_OUT
            if self.options.batch and self.verdict.status in (verdict.STOPPED, verdict.FAILED):
                # Give the dump time to be printed whole.
                final_since = final_since or now
                if now - max(last_output or now, final_since) > QUIET or now - final_since > DUMP_LIMIT:
                    return self.verdict.status
            if self.verdict.machine_off:
                off_since = off_since or now
                if now - off_since > OFF_LIMIT and self.verdict.status is not None:
                    say("the machine did not power off as Lamina said it would")
                    return self.verdict.status

    def take(self, text):
        self.text = (self.text + text)[-65536:]
        self.verdict.feed(text)

    def ended(self):
        """The machine has ended by itself."""
        while True:
            text = self.console.take_output()
            if not text:
                break
            self.take(text)
        self.verdict.feed("\n")
        if self.verdict.reached:
            return verdict.POWERED_OFF
        orderly = self.machine.powered_off(self.process.returncode)
        if self.options.native and orderly:
            return verdict.POWERED_OFF
        if self.verdict.status is not None and (orderly or self.verdict.status != verdict.POWERED_OFF):
            return self.verdict.status
        complaint = self.machine.complaint()
        say(f"the machine ended {'by a power-off that Lamina did not announce' if orderly else 'by itself'}"
            + (f": {complaint}" if complaint else ""))
        if self.machine.advice():
            say(self.machine.advice())
        # A machine that says why it does not start, before anything has run, was asked for something that it has not.
        return verdict.USAGE if complaint and not self.text.strip() and self.process.returncode != 0 else verdict.FAILED

    def tail(self):
        lines = self.text.replace("\r", "").split("\n")
        return "\n".join(lines[-TAIL:])


def stop(process):
    if process and process.poll() is None:
        process.kill()
    if process:
        process.wait()


def report(run, status, options):
    """The last words of a batch run."""
    words = {verdict.POWERED_OFF: "the guest powered itself off", verdict.TIMED_OUT: "time-out",
             verdict.USAGE: "the machine did not start", verdict.STOPPED: "Lamina stopped the guest", verdict.FAILED: "Lamina failed" if not options.native else "the machine failed"}
    if status in (verdict.TIMED_OUT, verdict.FAILED, verdict.STOPPED) and options.log:
        say(f"the end of {options.log}:")
        sys.stderr.write(run.tail().rstrip() + "\n")
    reason = words[status]
    if run.verdict.reached:
        reason = "the line that --until names was seen"
    elif run.verdict.reason:
        reason += f" ({run.verdict.reason})"
    say(f"{reason}; {time.monotonic() - run.started:.0f} s")


def boot(options, folder):
    guest = guests.from_any(options)
    if options.dry_run:
        sys.stdout.write(f"--- lamina.cfg\n{guest.config}--- grub.cfg\n{image.grub_config(options, guest)}")
        return 0
    if options.keep_iso:
        image.check_target("--keep-iso", options.keep_iso, options, guest)
    if not (options.no_check or options.allow_missing or options.native):
        check.lamina(options.lamina)
        if not options.omit_config:
            check.configuration(options, guest, folder)
    if options.check:
        say("nothing is wrong with the configuration and its files")
        return 0
    machine, reason = (None, None) if options.no_run else machines.choose(options, guest, folder)
    iso = netboot.make(options, guest, os.path.join(folder, "server")) if options.boot_from == "net" else image.make(options, guest, folder)
    if options.keep_iso:
        shutil.copyfile(iso, options.keep_iso)
    if options.no_run:
        return 0

    serial = Serial()
    process = console = None
    log = open(options.log, "wb") if options.log else None
    output = open(options.machine_output or os.path.join(folder, "output"), "wb")
    try:
        if reason:
            say(reason)
        say(machine.describe() + ("" if options.batch else ". The guest's console follows; Ctrl-] leaves."))
        process = machine.start(iso, serial.name, output)
        console = Console(serial, log, to_user=not options.batch or not log, from_user=not options.batch,
                          hold_until=options.input_after)
        run = Run(options, machine, process, console)
        status = run.follow()
        console.close()
        if options.batch:
            report(run, status, options)
        elif sys.stdout.isatty():
            sys.stdout.write("\n")
        return status
    finally:
        # On every way out: the machine is ended and the terminal is as it was.
        stop(process)
        if console:
            console.close()
        for file in (log, output):
            if file:
                file.close()


def main(arguments):
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, on_signal)
    try:
        options = command_line.parse(arguments)
        with tempfile.TemporaryDirectory(prefix="lamina-run.") as folder:
            return boot(options, folder)
    except UsageError as error:
        say(str(error))
        return verdict.USAGE
    except OSError as error:
        say(f"{error.filename or 'input/output'}: {error.strerror}")
        return verdict.USAGE
    except Interrupted as signal_name:
        say(f"ended by {signal_name}")
        return 130

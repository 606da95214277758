"""What can go wrong before a machine is started, and how options are parsed so that it is said in one sentence."""
import argparse


class UsageError(Exception):
    """A wrong option or a missing file: exit status 2 with this sentence."""


class Parser(argparse.ArgumentParser):
    """argparse prints a screen of usage before its sentence: the sentence is what the user needs."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

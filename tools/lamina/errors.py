"""What can go wrong before a machine is started."""


class UsageError(Exception):
    """A wrong option or a missing file: exit status 2 with this sentence."""

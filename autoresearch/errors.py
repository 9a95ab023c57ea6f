"""Every error that a user can meet, and the exit status that it ends with.

    AutoresearchError          1   the work failed
      UsageError               2   the call or its input was wrong; nothing was written
      StoredStateError         3   the workspace's or the cache's stored state is damaged
      EnvironmentFailure       1   no disk, no device, no network: not an experiment's fault; tried again
      BrokenDisk               1   a durable write failed, and not for want of space: nothing is written any more
      LedgerRefusal            1   an event that the ledger does not take; nothing was written

The message is one line (or a few) and ends in what to do next. What nobody foresaw: unexpected.py, which keeps its traceback.
"""

from collections.abc import Iterable


class AutoresearchError(Exception):
    exit_status = 1


class UsageError(AutoresearchError):
    """cure: what to do next, where a backend's probe shows it apart from the problem; the message is then both."""

    exit_status = 2

    def __init__(self, problem: str, cure: str | None = None):
        super().__init__(f"{problem}; {cure}" if cure else problem)
        self.problem, self.cure = problem, cure


class StoredStateError(AutoresearchError):
    exit_status = 3


class EnvironmentFailure(AutoresearchError):
    exit_status = 1


class BrokenDisk(AutoresearchError):
    exit_status = 1


class RunFailed(Exception):
    """A run has no score: an ordinary discard or crash, which ends nothing. kind is the ledger's state for it."""

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind, self.reason = kind, reason


class LedgerRefusal(AutoresearchError):
    """It is a fault of ours, or of what came out of a cell and should have been stopped before; the study is as it was."""

    exit_status = 1

    def __init__(self, event: str, reason: str):
        super().__init__(f"the ledger takes no such `{event}` ({reason}); nothing was written: please report it, and run again")
        self.reason = reason


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean X?` for a name that is close to one of names, else an empty string."""
    import difflib

    close = difflib.get_close_matches(name, [candidate for candidate in names if candidate != name], n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""

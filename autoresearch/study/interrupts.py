"""Ctrl-C during a study: the first ends it after this run, the second ends this run, the third leaves at once.

SIGTERM (Slurm, systemd, docker, kill), SIGHUP (a closed terminal, a lost connection) and Windows's Ctrl-Break end this run at
once, in the same good order: whoever sends them gives some seconds. A child process has its own process group, on Windows its own
console, so the terminal sends it nothing. A console window that is closed on Windows leaves us no time: that is a kill.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
SAID_ONCE = "Ctrl-C: stopping after this run; once more ends the run now (it is done again next time)"
SAID_TWICE = "Ctrl-C: ending this run"


class Interrupts:
    """Counts them. KeyboardInterrupt is raised only inside `breakable`, so never in the middle of a write.

    What there is to say is said by `speak`, not by the signal's handler: that may have cut in on a half-printed line.
    """

    def __init__(self) -> None:
        self.say: Callable[[str], None] = lambda text: None
        self._count = self._said = 0
        self._breakable = False
        self.word, self.exit_status = "Ctrl-C", 130  # of what ends the study

    @property
    def requested(self) -> bool:
        return self._count > 0

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """While inside, these signals come here. Does nothing outside the main thread, which alone gets signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores SIGHUP
        before = {number: signal.signal(number, self._on_signal) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def breakable(self) -> Iterator[None]:
        """What may be ended anywhere inside: a training, a wait, an agent's thinking."""
        self._breakable = True
        try:
            if self._count > 1:
                raise KeyboardInterrupt
            yield
        finally:
            self._breakable = False

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Inside `breakable`: what must not be ended half-way all the same, a write to the ledger."""
        before, self._breakable = self._breakable, False
        try:
            yield
        finally:
            self._breakable = before
        if before and self._count > 1:
            raise KeyboardInterrupt

    def speak(self) -> None:
        """Answer a Ctrl-C that has not been answered yet. Called now and then from where printing is safe.

        Inside `breakable` raises KeyboardInterrupt after an `end`.
        """
        if self._said < self._count:
            self._said = self._count
            self.say(SAID_ONCE if self._count == 1 else SAID_TWICE)
        if self._breakable and self._count > 1:
            raise KeyboardInterrupt

    def end(self, word: str) -> None:
        """End this run, as a signal does; from any thread, and heard at the next `speak`. word: who wants it."""
        self._count = self._said = 2
        self.word = word

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self._count += 1
            if self._count > 2:
                os._exit(130)
        elif self._count >= 2:
            return  # the second of a closing terminal's: what the first has begun is under way, and must not be broken off
        else:
            self._count = 2
            self._said = self._count  # whoever sent it does not read
            self.word, self.exit_status = signal.Signals(number).name, 128 + number
        if self._count == 2 and self._breakable:
            raise KeyboardInterrupt

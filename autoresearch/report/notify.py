"""`run --notify COMMAND`: a study's news, handed to a command of the user's as they happen.

The command gets one JSON object and a line's end on its input, and the object's sentence in AUTORESEARCH_MESSAGE. It runs with the
user's environment and rights, outside of any cell: it is the user's own, and nothing of an agent's is on its command line. One
call a piece of news, one at a time, in their order.

    start    the run begins or goes on (so that one sees whether it works)
    keep     an edit was kept
    revoked  a keep that a later audit took back
    failure  an agent can't propose (money spent, no network, a key refused): once, until it answers again; the disk is full; the
             run ended with another status than 0 and Ctrl-C's: the baseline failed, the machine did, or autoresearch itself
    stop     the run ended in good order

Promises: nothing waits for it but the end of the run, for LAST_SECONDS; after LIMIT_SECONDS a call is ended with all that it
started; what goes wrong with it is a note, once, and ends nothing.
"""

import contextlib
import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from autoresearch import processes
from autoresearch.metric import VAL_BPB, Metric
from autoresearch.report import words
from autoresearch.run.setup import Progress
from autoresearch.study.state import State
from autoresearch.text import harmless, one_line

if TYPE_CHECKING:
    from autoresearch.study.session import Listener

LIMIT_SECONDS = 30.0  # chosen: a slow network's answer
LAST_SECONDS = 10.0  # chosen: for the last one, before the terminal is the user's again
WAITING = 100  # pieces of news; more are dropped
_LONGEST = 600  # characters of a message
VARIABLE = "AUTORESEARCH_MESSAGE"


class Notifier:
    """A listener before another one, which gets everything as it comes. Use: `with Notifier(...) as listener`, and `ended`."""

    def __init__(
        self, command: list[str] | None, shown: "Listener", tag: str, workspace: str, past: Iterable[dict[str, Any]],
        metric: Metric = VAL_BPB,
    ):  # fmt: skip
        """command: program and arguments; None: nobody is told. past: the events of a resumed study."""
        self._command, self._tag, self._workspace, self._metric = command, tag, workspace, metric
        self._shown: Listener | None = shown
        self._state = State.from_events(past)
        self._unavailable: set[str] = set()  # agents that have been told of
        self._is_over = False
        self._news: queue.Queue[dict[str, Any] | None] = queue.Queue(WAITING)
        self._process: subprocess.Popen[bytes] | None = None  # of the call that runs now
        self._failed: str | None = None  # the first failure, until it is a note
        self._has_failed = False
        self._is_late = False  # the end of the run waits no longer
        self._thread = threading.Thread(target=self._work, args=(command,), name="notify", daemon=True)

    def __enter__(self) -> Self:
        try:
            if self._command:
                self._thread.start()
        except RuntimeError as error:  # this machine runs as many threads as it can
            self._failed = str(error)
        begun = len(self._state.experiments)
        self._tell("start", f"study {self._tag} {f'goes on; {words.best(self._state)}' if begun else 'begins'}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and not self._is_over:
            self._tell("failure", f"study {self._tag} ended: {str(error) or type(error).__name__}")
        try:
            if self._thread.ident:
                with contextlib.suppress(queue.Full):
                    self._news.put_nowait(None)
                self._thread.join(LAST_SECONDS)
        finally:
            self._is_late = True  # what has not been told by now is not: a call begun here would outlive the run
            if self._process and self._thread.is_alive():
                processes.end_tree(self._process)
            self._note_failure()

    def ended(self, reason: str, exit_status: int) -> None:
        """Why the run ended; it is the last news."""
        self._is_over = True
        word = "stop" if exit_status in (0, 130) else "failure"
        self._tell(word, f"study {self._tag} stopped: {reason}; {words.best(self._state)}", reason=harmless(reason))

    def event(self, event: dict[str, Any]) -> None:
        if "seq" in event:
            self._state.apply(event)
        self._look(event)
        self._show("event", event)
        self._note_failure()

    def progress(self, number: int, run: int, progress: Progress) -> None:
        self._show("progress", number, run, progress)
        self._note_failure()

    def _look(self, event: dict[str, Any]) -> None:
        """Whether it is news."""
        match event["event"]:
            case "verdict" if event["verdict"] == "keep" and event["n"] > 0:
                kept = self._state.experiments[event["n"]]
                self._tell(
                    "keep", f"experiment {event['n']} kept: {kept.description}; {words.best(self._state)}", number=event["n"]
                )
            case "revoked":
                why = f"experiment {event['n']} is no longer the best: {event['reason']}"
                self._tell("revoked", f"{why}; {words.best(self._state)}", number=event["n"])
            case "asked" if event["outcome"] == "answered":
                self._unavailable.discard(event["agent"])
            case "note" if (agent := event.get("unavailable")) and agent not in self._unavailable:
                self._unavailable.add(agent)
                self._tell("failure", event["reason"], reason=harmless(event["reason"]))
            case "pause" if not event.get("id"):
                self._tell("failure", f"study {self._tag} is paused: {event['reason']}", reason=harmless(event["reason"]))

    def _tell(self, word: str, message: str, number: int | None = None, reason: str | None = None) -> None:
        state = self._state
        subject = state.experiments[number] if number is not None else None
        news = self._metric.told({
            "event": word,
            "message": one_line(message, _LONGEST),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "study": self._tag,
            "workspace": self._workspace,
            "experiment": number,
            "description": one_line(subject.description) if subject else None,
            "val_bpb": subject.val_bpb if subject else None,
            "best_experiment": state.best.number if state.best else None,
            "best_val_bpb": state.best.val_bpb if state.best else None,
            "gain_bpb": state.gain.bpb if state.gain else None,
            "gain_error_bpb": state.gain.error if state.gain else None,
            "reason": reason,
        })  # fmt: skip
        if self._thread.ident:
            with contextlib.suppress(queue.Full):
                self._news.put_nowait(news)

    def _show(self, method: str, *arguments: object) -> None:
        """A terminal that went away takes no news with it."""
        if self._shown is not None:
            try:
                getattr(self._shown, method)(*arguments)
            except OSError:
                self._shown = None

    def _note_failure(self) -> None:
        if failed := self._failed:
            self._failed = None
            self._show("event", {"event": "note", "reason": f"--notify: {failed}; the run goes on, and this is said once"})

    # In the thread

    def _work(self, command: list[str]) -> None:
        while (news := self._news.get()) is not None and not self._is_late:
            problem = self._call(command, news)
            if problem and not self._has_failed:
                self._failed, self._has_failed = problem, True

    def _call(self, command: list[str], news: dict[str, Any]) -> str | None:
        """Run the command with it; what went wrong."""
        environment = os.environ | {VARIABLE: news["message"]}
        with tempfile.TemporaryFile() as said:
            try:
                with processes.start(
                    command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, env=environment
                ) as process:
                    self._process = process
                    try:
                        process.communicate(json.dumps(news).encode() + b"\n", LIMIT_SECONDS)
                    except subprocess.TimeoutExpired:
                        processes.end_tree(process)
                        return f"{command[0]} was ended, since it took more than {LIMIT_SECONDS:g} s"
            except (OSError, ValueError) as error:
                return f"{command[0]} could not be run ({error})"
            if process.returncode == 0:
                return None
            said.seek(0, os.SEEK_END)
            said.seek(max(0, said.tell() - 500))
            last = one_line(said.read().decode("utf-8", "replace"))
            return f"{command[0]} ended with status {process.returncode}{f': {last}' if last else ''}"

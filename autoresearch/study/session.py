"""A study opened for writing: its lock held, its ledger, git and folders in line with one another.

The ledger leads: `record` writes an event, folds it into `state` and shows it to the listener; branch, work tree, results.tsv
and the runs' bulky files follow from `state` and may be brought in line (`follow`) at any time, after any kill.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pygit2
from msgspec import UNSET

from autoresearch import durable
from autoresearch.border import files
from autoresearch.errors import BrokenDisk, LedgerRefusal, StoredStateError, UsageError
from autoresearch.hardware import cores, slots
from autoresearch.hardware.now import awake, conditions, load
from autoresearch.hardware.now.conditions import Conditions
from autoresearch.hardware.now.observer import Observer
from autoresearch.measure.summary import RunResult
from autoresearch.metric import VAL_BPB
from autoresearch.paths import git
from autoresearch.report import picture, table
from autoresearch.run import command, disk, engine, experiment
from autoresearch.run.bounds import Bounds
from autoresearch.run.scoring import BITS
from autoresearch.run.setup import OnProgress, Progress, Setup
from autoresearch.sandbox import policy
from autoresearch.study import events, lock
from autoresearch.study.commits import check_ledger, head_file
from autoresearch.study.interrupts import Interrupts
from autoresearch.study.ledger import Ledger
from autoresearch.study.state import State
from autoresearch.study.store import Store
from autoresearch.study.work_tree import STUDY, work_tree_text
from autoresearch.study.workspace import Study
from autoresearch.text import described

PICTURE_EVERY = 10  # verdicts between two drawings of progress.png, which takes about a second, and in a long study more:
PICTURE_SHARE = 1000  # then there is one for each thousandth of the experiments
HELD_WAITS_SECONDS = (0.2, 0.5, 1.0)  # chosen: what an editor's `git status` takes
LOOK_SHARE = 0.01  # chosen: a hundredth of a short training; one of 300 s waits 0.5 s
SLICE = "slice.npz"  # bits and bytes of each document of the validation text and of the audit slice (audit_slice.py)
TEST = "test.npy"  # the same of the test text
_NEEDED_FILES = ("train.py", "checkpoint", "documents.npy", BITS, SLICE)  # of a result: audits ask its weights again
# What stays of a run whose weights are no longer needed.
_KEPT_FILES = {"train.py", "log.txt", "curve.jsonl", "documents.npy", TEST, SLICE}
Result = TypeVar("Result")


class Listener(Protocol):
    """What shows a study to somebody; see report/panel.py. Besides the ledger's events it gets `note`, which is not stored."""

    def event(self, event: dict[str, Any]) -> None: ...

    def progress(self, number: int, run: int, progress: Progress) -> None: ...


@dataclass(frozen=True)
class Begun:
    """The first run of an experiment that waits at READY."""

    warm: experiment.Warm | command.Laid
    conditions: dict[str, Any]  # of the machine, before its start


class Session:
    """Use: `with opened(study, setup, listener) as session`."""

    def __init__(
        self, study: Study, setup: Setup, listener: Listener, observer: Observer | None = None, interrupts: Interrupts | None = None
    ):
        """observer: what the machine is seen through, for tests. interrupts: what another thread may end it by."""
        self.study, self._setup = study, setup
        own = setup.backend.processors
        on_processors = study.facts.threads is not None if own is None else own
        self.observer = observer or Observer(cores.usable() if on_processors else None, setup.backend)
        self._listener: Listener | None = listener
        self.interrupts = interrupts or Interrupts()
        self.interrupts.say = self.note
        self._disk = disk.Disk(study.state_folder)
        self._behind: set[str] = set()  # what is drawn from the ledger, and could not be drawn the last time
        self._results = table.Results(study.folder / "results.tsv")
        self._heavy = {folder.name for folder in study.runs.glob("*/")}  # run folders that may hold more than what stays of a run
        self._conditions: Conditions | None = None  # at the last look
        self.scored_here: set[str] = set()  # folders of the runs that this process has made
        self.in_use: set[str] = set()  # folders that several workers are at
        self.tick: Callable[[], None] = lambda: None  # what else is to be done a few times a second while something runs
        self.begun: Begun | None = None  # the process of the next run, where one waits already
        self.machine_failures = 0  # in a row, of what was tried again
        self.state = State()
        self.ledger = Ledger(study.events, self.state.take)
        check_ledger(study.folder, study.tag, study.events, is_empty=not self.ledger.count)
        self.store = Store(study.folder, study.tag)
        self._recover()

    @property
    def setup(self) -> Setup:
        """With the limits as they are now, and what the baseline has shown so far: its text, and what its scoring took."""
        return as_known(self._setup, self.state, self.store.text)

    @contextlib.contextmanager
    def on_device(self, taken: Mapping[str, str]) -> Iterator[None]:
        """What is asked of a model meanwhile is asked on the device that these variables take; none: on the study's own."""
        before = self._setup
        selected = {**before.backend.selected, **taken}
        self._setup = replace(before, backend=replace(before.backend, selected=selected), variables=before.variables | selected)
        try:
            yield
        finally:
            self._setup = before

    def limit(self, limits: Iterable[str]) -> None:
        """Take the owner's limits over (run/constraints.py), where they are others than before. What was decided stays."""
        before = self.setup.constraints
        now = before.changed(limits)
        if now != before:
            self.record(events.Limits.of(now))
            self.note(f"limits from now on: {', '.join(limit.option for limit in now.limits) or 'none'}")
        best = self.state.best
        if best and (broken := now.objection(best.quantities)):
            self.note(f"the best itself breaks a limit ({broken}): edits of it may, too")

    def record(self, event: events.Event) -> None:
        """Write an event durably, waiting for space when the disk is full; then fold and show it.

        LedgerRefusal for one that the ledger does not take (events.py, places.py).
        """
        try:
            fields = events.fields(event)
        except (ValueError, TypeError) as error:
            raise LedgerRefusal(event.name, str(error)) from error
        self.state.demand(event)
        with self.interrupts.whole():
            entry = self.persist(lambda: self.ledger.append(event.name, **fields))
            self.state.apply(entry)
            self._tell("event", entry)

    def persist(self, write: Callable[[], Result]) -> Result:
        """Do a durable write; on a full disk give up the ballast, then wait for space, and do it again until it is done.

        Every write that comes here may be repeated: each leaves the old state when it fails.
        """
        while True:
            try:
                return write()
            except (OSError, pygit2.GitError) as error:
                self._end_if_broken(error)
            if not self._disk.drop_ballast():
                self._pause("the disk is full")

    def wait_for_room(self) -> None:
        """Return when a run's files have room; until then the study is paused."""
        while not self._disk.has_room:
            free_mb, room_mb = self._disk.free_bytes >> 20, disk.ROOM_BYTES >> 20
            self._pause(f"{free_mb:,} MB free on the disk, a run wants {room_mb:,} MB")
            if self.interrupts.requested:  # between two runs the first Ctrl-C is enough
                raise KeyboardInterrupt
        self.persist(self._disk.lay_ballast)

    def sync_run(self, folder: Path) -> None:
        """Before a result is recorded, what is needed of it is durable too: its weights and its bits."""
        for path in [path for name in _NEEDED_FILES if (path := folder / name).is_file()]:
            self.persist(partial(durable.sync_path, path))
        for above in (folder, folder.parent):
            self.persist(partial(durable.sync_folder, above))

    def lost_its_room(self, folder: Path) -> bool:
        """Whether a run failed while something else filled the disk: then that may be why. The run's own files don't count."""
        return self._disk.free_bytes + disk.size_bytes(folder) < disk.ROOM_BYTES

    @property
    def disk_is_full(self) -> bool:
        return not self._disk.has_room

    def progress_to(self, number: int, run: int) -> OnProgress:
        """For experiment.execute."""

        def on_progress(progress: Progress) -> None:
            self.interrupts.speak()
            self.tick()
            self._tell("progress", number, run, progress)

        return on_progress

    def look(self) -> dict[str, Any]:
        """The machine's conditions before a run, for the ledger; what was not so at the last look is a note too."""
        with self.interrupts.breakable():
            now = conditions_for(self.setup, self._conditions)
        for sentence in conditions.news(self._conditions, now):
            self.note(sentence)
        self._conditions = now
        return now.to_dict()

    def show_check(self, number: int, description: str) -> None:
        """For the listener only: a proposal is checked, and may become experiment `number`."""
        self._tell("event", {"event": "check", "n": number, "description": described(description)})

    def show_wait(self, text: str) -> None:
        """For the listener only: nothing trains, and why."""
        self._tell("event", {"event": "wait", "reason": text})

    def show_workers(self, workers: list[dict[str, Any]]) -> None:
        """For the panel only: what each of several workers is at."""
        self._tell("event", {"event": "workers at work", "workers": workers})

    def show_thinking(self, agent: str | None) -> None:
        """For the panel only: who works on an answer now."""
        self._tell("event", {"event": "thinking", "agent": agent})

    def note(self, text: str, unavailable: str | None = None) -> None:
        """unavailable: the agent that can't propose, where that is what it says."""
        self._tell("event", {"event": "note", "reason": text} | ({"unavailable": unavailable} if unavailable else {}))

    def follow(self) -> None:
        """Bring everything that is drawn from the ledger in line with it, as far as others let us: see `drawn`."""
        best = self.state.best
        if best is not None:
            update = partial(self.store.update, best.commit, self.state.blobs)
            for note in self.drawn("the branch and train.py", update) or []:
                self.note(note)
        self._prune_runs()
        self.drawn("results.tsv", lambda: self._results.draw(self.state))

    def drawn(self, what: str, draw: Callable[[], Result]) -> Result | None:
        """Draw something of the ledger. Where somebody else is in the way (git's lock in an editor's hands, a table that is open in
        a spreadsheet, a file made immutable) that is a note, and it is drawn the next time: only the ledger itself stops a night.
        """
        for seconds in (*HELD_WAITS_SECONDS, None):
            try:
                result = draw()
                self._behind.discard(what)
                return result
            except (OSError, pygit2.GitError) as error:
                if not disk.is_held(error):
                    self._end_if_broken(error)
                    return self.persist(draw)  # it is full: wait, and draw it again
                why = str(error)
            if seconds is not None:
                time.sleep(seconds)
        if what not in self._behind:
            self._behind.add(what)
            self.note(f"{what} can't be brought in line now ({why}); it is tried again after each experiment")
        return None

    def note_users_edit(self) -> None:
        if self.store.is_users_edit(self.state.blobs):
            self.note(
                "train.py holds an edit of your own, which is left alone; judge it with `autoresearch try -m TEXT`,"
                f" or drop it with `{git(self.study.folder)} checkout HEAD train.py`"
            )

    def draw_now_and_then(self, done: int) -> None:
        """progress.png, if it is due after so many experiments of this call."""
        if done % max(PICTURE_EVERY, len(self.state.experiments) // PICTURE_SHARE) == 0:
            self.draw()

    def draw(self) -> None:
        """progress.png. A picture never ends a night: whatever goes wrong in drawing it is a note."""
        try:
            picture.draw(self.state, self.study.folder / "progress.png", self.study.machine_line)
        except Exception as error:
            self.note(f"progress.png could not be drawn: {type(error).__name__}: {error}")

    def run_folder(self, number: int, k: int) -> Path:
        """An empty place for run k of an experiment; what a run that was cut short left there is removed."""
        return self.empty_folder(run_name(number, k))

    def empty_folder(self, name: str) -> Path:
        folder = self.study.runs / name
        self._heavy.add(folder.name)
        self.persist(lambda: durable.make_folder(self.study.runs))
        if folder.exists():
            self.persist(lambda: durable.remove_tree(folder))
        return folder

    def _recover(self) -> None:
        """After a start or a kill: every ref, the run that was cut short, and all that follows from the ledger."""
        for folder in (self.study.folder, self.study.state_folder):
            durable.remove_leftovers(folder)
        self._check_terms()
        if self.state.skipped_line:
            self.note(self.state.skipped_line)
        named = self.store.named()
        for subject in self.state.experiments:
            if not self.store.has(subject.commit):
                raise StoredStateError(
                    f"{self.study.folder / '.git'} has lost the commit {subject.commit} of experiment {subject.number};"
                    " bring .git back from a copy, or begin a new study: `autoresearch run --workspace NEW_FOLDER`"
                )
            if named.get(str(subject.number)) != subject.commit:
                self.persist(partial(self.store.name, subject.number, subject.commit))
        for k, rejected in enumerate(self.state.rejections, 1):
            assert rejected.commit, "the state has those with a commit here"
            if named.get(f"rejected-{k}") != rejected.commit:
                self.persist(partial(self.store.name, f"rejected-{k}", rejected.commit))
        for n, k in list(self.state.under_way):
            self.record(events.Lost(n=n, k=k, reason="it was cut short; the same commit runs again"))
        self.follow()

    def _check_terms(self) -> None:
        """study.toml is what was committed at first, and from then on what the ledger's first line says."""
        text = (self.study.folder / STUDY).read_text(encoding="utf-8")
        committed = (head_file(self.study.folder, STUDY) or text.encode()).decode("utf-8")
        known = self.state.study
        if text != ((known and known.terms) or committed):
            raise UsageError(
                f"{self.study.folder / STUDY} was changed by hand; `{git(self.study.folder)} checkout HEAD {STUDY}`"
                " puts it back,"
                " a new study in another folder can have other terms (`autoresearch run --workspace NEW_FOLDER`, with options)"
            )
        if known is None:
            metric = UNSET if self.study.metric == VAL_BPB else self.study.metric
            self.record(events.Study(tag=self.study.tag, seed=self.study.seed, decide=self.study.decide, terms=text, metric=metric))

    def _prune_runs(self) -> None:
        """Weights are kept of what is under way and of the best, without most of its runs since its verdict."""
        best = self.state.best
        needed = {run.folder for run in best.weighty} if best else set()
        needed |= {run.folder for pending in self.state.open for run in pending.runs}
        needed |= {run.folder for run in self.state.under_way.values()} | self.in_use
        for name in self._heavy - needed:
            folder = self.study.runs / name
            for path in folder.iterdir() if folder.is_dir() and not folder.is_symlink() else ():
                if path.name not in _KEPT_FILES:
                    files.remove(path)
            self._heavy.discard(name)

    def stop(self, reason: str) -> None:
        """The last word of a call; unlike `record` it does not wait for space."""
        self._record_if_possible("stop", reason)

    def _record_if_possible(self, event: str, reason: str) -> None:
        try:
            entry = self.ledger.append(event, reason=reason)
        except OSError as error:
            return self._end_if_broken(error)
        self.state.apply(entry)
        self._tell("event", entry)

    def _end_if_broken(self, error: Exception) -> None:
        """A full disk can be waited for; after any other error of it nothing more is written."""
        if not disk.is_full(error):
            self.ledger.close(error)
            raise BrokenDisk(f"writing to {self.study.folder} failed: {error}; mend that and run again") from error

    def _pause(self, reason: str) -> None:
        if self.ledger.last != "pause":
            self._record_if_possible("pause", reason)
        self.note(f"paused: {reason}; free some space, it goes on by itself (Ctrl-C to stop)")
        again = time.monotonic() + disk.POLL_SECONDS
        with self.interrupts.breakable():
            time.sleep(min(0.5, disk.POLL_SECONDS))
            while time.monotonic() < again and not self.interrupts.requested:
                time.sleep(0.5)

    def _tell(self, method: str, *arguments: object) -> None:
        """A listener whose terminal went away ends nothing: from then on nobody listens."""
        if self._listener is not None:
            try:
                getattr(self._listener, method)(*arguments)
            except OSError:
                self._listener = None


@contextlib.contextmanager
def opened(
    study: Study, setup: Setup, listener: Listener, observer: Observer | None = None, interrupts: Interrupts | None = None
) -> Iterator[Session]:
    """The session, for one process at a time. Raises UsageError when another has it, StoredStateError when it is damaged."""
    with lock.hold(study.lock), awake.held():
        session = Session(study, setup, listener, observer, interrupts)
        try:
            with session.interrupts.handled(), slots.shared(study.cores):
                yield session
        finally:
            if session.begun:
                session.begun.warm.__exit__()


def as_known(setup: Setup, state: State, text_of: Callable[[str], str]) -> Setup:
    """The setup with the limits as they are now, and what the baseline has shown. text_of: the train.py of a commit."""
    setup = replace(setup, constraints=state.limits) if state.limits else setup
    baseline = state.baseline
    if baseline is None:
        return setup
    has_device = bool(policy.matching(setup.backend.sandbox.devices))
    bounds = Bounds.of(setup.train_seconds, baseline.results, has_device)
    return replace(setup, baseline=text_of(baseline.commit), bounds=bounds)


def train_outside(study: Study, setup: Setup, seed: int, on_progress: OnProgress) -> RunResult:
    """One run of the work tree's train.py that leaves no trace in ledger and git. Under the lock: two runs disturb each other."""
    with lock.hold(study.lock), slots.shared(study.cores):
        text = work_tree_text(study.folder)
        if text is None:
            cure = f"`{git(study.folder)} checkout HEAD .` restores it"
            raise UsageError(f"no readable {' '.join(study.files) or 'train.py'} in {study.folder}; {cure}")
        folder = study.runs / "train"
        if folder.exists():
            files.remove(folder)
        return engine.of(setup).execute(setup, text, seed, folder, on_progress)


def conditions_for(setup: Setup, before: Conditions | None = None) -> Conditions:
    """A look that takes at most LOOK_SHARE of a training, beyond what the backend's own answer takes."""
    window_seconds = min(load.WINDOW_SECONDS, LOOK_SHARE * setup.train_seconds)
    return conditions.look(setup.backend, before, window_seconds)


def run_name(number: int, k: int) -> str:
    """The folder's, of run k of an experiment."""
    return f"{number:04d}-{k}"


def log_tail(path: Path, lines: int = 20) -> str:
    """The end of a run's log, or an empty string when there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            text = file.read(20_000).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])

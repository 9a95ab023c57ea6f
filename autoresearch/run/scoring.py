"""A checkpoint's score on a held-out text, and its audit: each in a fresh process, which sees token ids and gives logits.

Promises: what is scored is the text and the weights that the clock stopped at; the processes are told neither which rows they
get nor why, and are gone when a function here returns. Nothing but the run's folder is written. A process has seen no held-out text
until it is locked in (sandbox/locking.py), and takes about as long as the baseline's did (bounds.py).
"""

import hashlib
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from autoresearch.border import messages
from autoresearch.child import RunFailed, Worker
from autoresearch.measure import audit
from autoresearch.measure.audit import Cuts
from autoresearch.measure.bpb import InvalidLogits
from autoresearch.measure.clock import awake_seconds
from autoresearch.measure.run import described
from autoresearch.measure.scorer import SLOTS, Alone, Costs, Score, Slot, ask_all, rows_per_slot, slots
from autoresearch.run import bounds, cells
from autoresearch.run.bounds import Bounds, Seconds
from autoresearch.run.cells import WORK
from autoresearch.run.setup import OnProgress, Progress, Setup, job_for
from autoresearch.sandbox import workdir
from autoresearch.task.contract import Questions, Task

BITS = "bits.npy"  # float32 [questions, k]: the losses of the validation split; of text what each target cost
ANSWER_SECONDS = 120.0  # chosen: of one row, outside of scoring
LEAST_BATCHES = 8  # of a scoring
# Questions that are asked alone, to be timed: more than the least while they take no more seconds, or share of a training's.
LEAST_ALONE, MOST_ALONE, ALONE_SECONDS, ALONE_SHARE = 5, 25, 0.1, 0.003
CHEAT = "cheat"  # a run's status, and a verdict's state
FAILED = {
    "crash": "its scoring ended in an error once it had seen the text; what it said then is not kept, since it may tell of it",
    "oom": "its scoring ran out of memory while it was asked for predictions",
    "timeout": "its scoring gave no predictions in time",
    "invalid": "its scoring sent something else than the predictions that it was asked for",
    "limit": "its scoring took more than is allowed, of time or of what a process may have, while it was asked for predictions",
}


def digest(path: Path) -> str:
    """Of a file's bytes, 128 bits in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def seal(folder: Path, train_py: str, checkpoint: str) -> None:
    """RunFailed when train.py or the checkpoint in folder is not what the run was started with, or what the clock stopped at."""
    if (folder / "train.py").read_bytes() != train_py.encode("utf-8"):
        raise RunFailed(CHEAT, "train.py in its run's folder is not the text that was proposed: something wrote it anew")
    if digest(folder / "checkpoint") != checkpoint:
        raise RunFailed(CHEAT, "the checkpoint was written again after the clock had stopped")


def evaluate(
    setup: Setup,
    folder: Path,
    on_progress: OnProgress = lambda progress: None,
    rows: int | None = None,
    split: str = "val",
) -> Score:
    """Score the checkpoint in folder with the train.py beside it. rows: in a batch of the worker; it changes no score.

    Raises RunFailed, and OSError for what the disk does.
    """
    questions, measured = _questions(setup, split), dict[str, float]()
    places = setup.task.guards(setup.task.options) if split == "val" else {}
    # What is gone is not asked, and the figure is not known.
    guards = {name: (place, guard) for name, place in places.items() if (guard := setup.task.questions(place)) is not None}
    with _asking(setup, folder, _Told(on_progress, "scoring", setup.task.words(split)), rows) as asking:
        alone = asking.ask_alone(questions.inputs, questions.targets) if split == "val" else None
        losses, *others = _asked_together(asking, [questions, *(guard for _, guard in guards.values())])
        costs = asking.costs
        if alone:
            asking.check_alone(alone, losses)
            measured["latency_ms"] = 1000 * statistics.median(alone.seconds)
            if memory := asking.peak_memory_bytes():
                measured["memory_gb"] = memory / 2**30
            for (name, (place, _)), found in zip(guards.items(), others, strict=True):
                sums, weights = setup.task.units(place, found)
                measured[name] = float(sums.sum()) / float(weights.sum())
    return replace(score(setup, split, losses), costs=costs, measured=measured)


def score(setup: Setup, split: str, losses: np.ndarray) -> Score:
    """From the losses of all its questions. RunFailed for one that is none."""
    sums, weights = setup.task.units(split, losses)
    value = setup.task.value(float(sums.sum()) / float(weights.sum()))
    if not setup.task.metric.allows(value):  # infinity and NaN are not allowed, either
        raise RunFailed("invalid", "its predictions cost so much that they are no score")
    return Score(value, losses, sums, weights)


def _questions(setup: Setup, split: str) -> Questions:
    questions = setup.task.questions(split)
    assert questions is not None, f"the data has no {split}"
    return questions


def _asked_together(asking: "Asking", groups: list[Questions]) -> list[np.ndarray]:
    """The losses of each group. Several are asked in one order, which their content alone tells: a model that counts its
    calls, to be another one once it is asked what it was not to forget, knows of no question whose it is.
    """
    inputs, targets = (np.concatenate([getattr(group, name) for group in groups]) for name in ("inputs", "targets"))
    order = np.arange(len(inputs))
    if len(groups) > 1:
        secret = hashlib.blake2b(inputs.tobytes() + targets.tobytes(), digest_size=16).digest()
        np.random.default_rng(int.from_bytes(secret, "little")).shuffle(order)
    found = asking.ask(inputs[order], targets[order])
    losses = np.empty_like(found)
    losses[order] = found
    return np.split(losses, np.cumsum([len(group) for group in groups])[:-1])


@contextmanager
def asking_cuts(
    setup: Setup, folder: Path, on_progress: OnProgress = lambda progress: None, times: int = 1
) -> Iterator[Callable[[Cuts], np.ndarray]]:
    """The losses of cut rows, or of questions that are asked again, float32 [n, k]. times: it is likely to be asked. Raises as
    `evaluate` does.
    """
    with _asking(setup, folder, _Told(on_progress, "audit", times=times)) as asking:
        yield lambda cuts: asking.ask(cuts.inputs, cuts.targets)


@contextmanager
def answering(setup: Setup, folder: Path) -> Iterator["Asking"]:
    """The folder's model for `Asking.answer`, one row at a time. Raises as `evaluate` does."""
    with _asking(setup, folder, _Told(lambda progress: None, "sample"), rows=1) as asking:
        yield asking


class Asking:
    """A process with a folder's model, which has seen no held-out text yet. What it may take is in the setup's bounds."""

    def __init__(self, setup: Setup, worker: Worker, places: list[Slot], rows: int, limit_seconds: float, told: "_Told"):
        self.costs: Costs | None = None  # of the last `ask`
        self._bounds = setup.bounds or Bounds(setup.train_seconds)
        self._worker, self._places, self._rows, self._told = worker, places, rows, told
        self._losses = setup.task.losses if setup.task.is_causal else _of_numbers(setup.task)
        self._late = f"scoring took more than {limit_seconds:.0f} s"
        self._end = awake_seconds() + limit_seconds

    def load(self, checkpoint: Path, work: Path) -> None:
        """Give it the weights; when this returns it has answered on stand-in tokens, and can open no file any more."""
        self._wait("built")
        before = self._now()
        workdir.lend(checkpoint, work)
        self._worker.send({"type": "load"}, then="loading")
        self._wait("ready")
        self._loading = _since(before, self._now())
        self._bounds.check_loading(self._loading)
        self._worker.lock_in()

    def ask_alone(self, inputs: np.ndarray, targets: np.ndarray) -> Alone:
        """Some of the questions one at a time, each timed until its answer is here: before all are asked, so that none is known.
        Raises as `ask` does.
        """
        rows = rows_alone(len(inputs))
        found: list[np.ndarray] = []
        times: list[float] = []
        before = self._now()
        with _in_our_words():
            for row in rows:
                start = awake_seconds()
                self._send(0, inputs[row : row + 1])
                self._worker.wait("scored", self._end - start, self._late)
                answers = self._places[0].read(1)
                times.append(awake_seconds() - start)
                found.append(self._losses(answers, targets[row : row + 1]))
                if len(times) >= LEAST_ALONE and sum(times) > max(ALONE_SECONDS, ALONE_SHARE * self._bounds.train_seconds):
                    break
            if not all(np.isfinite(cost).all() for cost in found):
                raise InvalidLogits("the model gave an answer that has no loss")
        self._alone = _since(before, self._now())
        return Alone(rows[: len(found)], np.concatenate(found), times)

    def check_alone(self, alone: Alone, losses: np.ndarray) -> None:
        """RunFailed where questions that were asked alone were answered otherwise than among all, or took far longer."""
        assert self.costs is not None, "all were asked"
        with _in_our_words():
            self._bounds.check_alone(self._alone, len(alone.rows), self.costs.batch)
        if objection := audit.alone_objection(losses[alone.rows], alone.losses):
            raise RunFailed(CHEAT, objection)

    def peak_memory_bytes(self) -> int | None:
        return self._worker.peak_memory_bytes()

    def ask(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The losses of each question, float32 [n, k]: of text the bits of each target, [rows, seq_len]. Raises RunFailed, whose
        words are ours alone: the process has seen the data, and a line, a status or a number of seconds of its choice would tell
        of it.
        """
        with _in_our_words():
            return self._asked(inputs, targets)

    def _asked(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        times = [self._now()]

        def receive(slot: int) -> np.ndarray:
            if self._wait("scored")["slot"] != slot:
                raise messages.invalid("logits that were not asked for")
            times.append(self._now())
            return self._places[slot].read()

        losses = ask_all(inputs, targets, self._rows, self._losses, self._send, receive, self._told.reached)
        self._told.asked()
        batches = [_since(before, after) for before, after in pairwise(times)]
        took, usual = _since(times[0], times[-1]), bounds.median(batches)
        self._bounds.check_loading(self._loading, usual)
        self._bounds.check_rows(len(inputs), took, batches)
        self.costs = Costs(len(inputs), self._loading, took, usual)
        return losses

    def answer(self, ids: np.ndarray) -> np.ndarray:
        """Logits float32 [rows, seq_len, vocab_size] for ids int32 [rows, seq_len], the size of its batches; the next answer
        overwrites them. For text that is nobody's secret; nothing is bounded but the time of each answer.
        """
        self._send(0, np.ascontiguousarray(ids, np.int32))
        self._worker.wait("scored", ANSWER_SECONDS, f"no prediction within {ANSWER_SECONDS:.0f} s")
        try:
            return self._places[0].read()
        except InvalidLogits as error:
            raise RunFailed("invalid", str(error)) from error

    def _send(self, slot: int, asked: np.ndarray) -> None:
        self._worker.send({"type": "rows", "slot": slot, "rows": len(asked)}, asked.tobytes(), then="asked")

    def _wait(self, kind: str) -> dict[str, Any]:
        return self._worker.wait(kind, self._end - awake_seconds(), self._late, tick=self._look)

    def _look(self, _message: dict[str, Any] | None) -> None:
        """Processor time of what ends between two looks is not seen."""
        self._worker.used_seconds()
        self._told.tell()

    def _now(self) -> Seconds:
        return awake_seconds(), self._worker.used_seconds()


def _of_numbers(task: Task) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The task's losses, of answers that are numbers: an argmax would find one in NaN."""

    def losses(answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        if np.isnan(answers).any():
            raise InvalidLogits("the model gave an answer that is no number")
        return task.losses(answers, targets)

    return losses


@contextmanager
def _in_our_words() -> Iterator[None]:
    """For what is asked of a process that has seen the data."""
    try:
        yield
    except InvalidLogits as error:  # of few sentences, without a number
        raise RunFailed("invalid", str(error)) from error
    except RunFailed as failure:
        raise RunFailed(failure.kind, FAILED.get(failure.kind, FAILED["crash"])) from failure


def rows_alone(count: int) -> np.ndarray:
    """Which of so many questions are asked alone, int [n]; an audit asks them again among others."""
    return np.random.default_rng(count).choice(count, min(MOST_ALONE, count), replace=False)


def _since(before: Seconds, now: Seconds) -> Seconds:
    return now[0] - before[0], now[1] - before[1]


def _batch_rows(setup: Setup) -> int:
    """Of every batch of a study, in scorings and audits alike: what a slot holds, but so few that the validation split takes
    several batches, whose times can be compared (bounds.py)."""
    return min(rows_per_slot(setup.task.answer), -(-len(_questions(setup, "val")) // LEAST_BATCHES))


class _Told:
    """How far a phase is: the rows that came back of all that are asked for; while the process starts, its time alone."""

    def __init__(self, on_progress: OnProgress, phase: str, detail: str = "", times: int = 1):
        self._on_progress, self._phase, self._detail, self._times = on_progress, phase, detail, times
        self._start, self._asked = awake_seconds(), 0
        self._fraction: float | None = None

    def reached(self, fraction: float) -> None:
        """Of the rows that are asked for now. Where more is asked than was likely, it stays at the end."""
        self._fraction = min(1.0, (self._asked + fraction) / self._times)
        self.tell()

    def asked(self) -> None:
        self._asked += 1

    def tell(self) -> None:
        self._on_progress(Progress(self._phase, awake_seconds() - self._start, self._fraction, detail=self._detail))


@contextmanager
def _asking(setup: Setup, folder: Path, told: "_Told", rows: int | None = None) -> Iterator[Asking]:
    """A fresh process with the folder's model."""
    rows = rows or _batch_rows(setup)
    limit_seconds = setup.startup_limit_seconds + max(120.0, 2 * setup.train_seconds)
    train_py = (folder / "train.py").read_text(encoding="utf-8")
    with slots(folder, rows, setup.task.answer) as places:
        cell = cells.scoring(setup, folder, train_py, [place.path for place in places])
        work = folder / WORK
        job = job_for(setup, folder) | {"type": "score", "rows": rows, "slots": [str(place.path) for place in places]}
        job |= {"question": described(_questions(setup, "val").inputs.dtype), "answer": list(setup.task.answer)}
        job["checkpoint"] = str(workdir.lent(work) / "checkpoint")
        with Worker(job, folder, messages.scoring(SLOTS), variables=setup.variables, cell=cell) as worker:
            asking = Asking(setup, worker, places, rows, limit_seconds, told)
            asking.load(folder / "checkpoint", work)
            yield asking

"""What the agent is shown of a study: its View, from the ledger's state, the commits and program.md.

Nothing in it comes out of a process that saw a held-out text: of a run that failed while it was scored the agent gets the state and
our own words, and no log.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import UNSET

from autoresearch import durable
from autoresearch.agents import lessons
from autoresearch.agents.base import COURSE_AT, RUNNING, Course, Past, View
from autoresearch.agents.search import moves
from autoresearch.noise import mean
from autoresearch.run.constraints import BROKEN
from autoresearch.run.futility import means, read_curve
from autoresearch.study import events
from autoresearch.study.experiments import Experiment
from autoresearch.study.session import Session, log_tail
from autoresearch.study.state import State
from autoresearch.study.store import Store
from autoresearch.study.workspace import Study
from autoresearch.task.contract import Task

COURSES = 8  # of the last experiments; chosen: some 300 tokens
MOST_NATS, MOST_BYTES = 100.0, 1 << 40  # that a loss and a memory may be told as
COURSE_WIDTH = 0.1  # of the training time, that a loss is the mean of
MOST_TOLD = 20  # chosen: of what the owner said while the study runs; what is older is said better in program.md


def draw_lessons(session: Session, views: "Views | None" = None) -> None:
    """Bring lessons.md in line with the ledger. views: that know its past already."""
    if text := (views or Views(session.study, session.store)).lessons(session.state):
        session.drawn(lessons.FILE, lambda: durable.write(session.study.state_folder / lessons.FILE, text))


class Views:
    """Makes Views. What was read of an experiment is read again only when an event has changed it."""

    def __init__(self, study: Study, store: Store, task: Task | None = None):
        self._study, self._store, self._task = study, store, task
        self._moves = moves.read(study.task.folder)
        self._lessons = lessons.Lessons()
        self._texts: dict[str, str] = {}  # by commit
        self._forget(State())
        self._courses: dict[str, Course] = {}  # by the run's folder

    def _forget(self, state: State) -> None:
        self._state, self._seen, self._sent_back = state, 0, 0
        self._order: list[tuple[int, bool, int]] = []  # of the history: (number, whether it is an experiment, which rejection)
        self._history: list[Past] = []

    def view(self, state: State, sent_back: Sequence[Past] = (), checked: Sequence[Past] = (), wish: str | None = None) -> View:
        """sent_back: proposals that the agent just got back; they stand at the end of its history. wish: the View's.

        checked: proposals that are no experiments yet, while their processes compile.
        """
        best = state.best or state.experiments[0]  # while the baseline trains it is the best that there is
        history = self.history(state)
        return View(
            program_md=self._program_md(state.told),
            train_py=self._store.text(best.commit),
            best_val_bpb=best.val_bpb,
            history=(*history, *sent_back),
            machine=self._study.facts.to_dict(),
            folder=self._study.state_folder,
            profile=self._study.profile.to_dict(),
            limits=self._limits(state),
            spent_usd=state.cost_usd,
            files=self._study.files,
            surroundings=self._surroundings(best),
            under_way=self.under_way(state, checked),
            wish=wish,
            courses=self._shown(state, best),
            lessons=self.lessons(state),
            metric=self._study.metric,
            research=self._study.task.words.research,
            keeps=self._study.task.words.keeps,
            moves=self._moves,
        )

    def _limits(self, state: State) -> dict[str, Any]:
        """With the baseline's figures of what is measured: they say how far away a limit is, and stay, for the prompt's cache."""
        limits = state.limits or self._study.constraints
        known = state.baseline.quantities if state.baseline else {}
        figures = {one.quantity: known[one.quantity] for one in limits.limits if not one.name and one.quantity in known}
        return limits.to_dict() | ({"baseline": figures} if figures else {})

    def _surroundings(self, best: Experiment) -> Callable[[Path], object] | None:
        if not (self._task and self._study.files):
            return None
        lay, text = self._task.commands.lay, self._store.text(best.commit)
        return lambda folder: lay(text, folder)

    def _shown(self, state: State, best: Experiment) -> tuple[Course, ...]:
        """The best's first, then the last ones'."""

        def has_trained(experiment: Experiment) -> bool:
            return bool(experiment.runs) and experiment.runs[0].result is not None

        last = [*islice(filter(has_trained, reversed(state.experiments)), COURSES)][::-1]
        return tuple(map(self._course, [*filter(has_trained, [best]), *(one for one in last if one is not best)]))

    def _course(self, experiment: Experiment) -> Course:
        folder, result = experiment.runs[0].folder, experiment.runs[0].result
        if folder not in self._courses:
            curve = read_curve(self._study.runs / folder / "curve.jsonl", self._study.profile.budget.train_seconds)
            seconds, tokens = (result.training_seconds, result.total_tokens) if result else (None, None)
            speed = tokens / seconds if seconds and tokens is not None else None
            # What train.py says of itself goes no further than a figure that can be one: it would carry any number to the agent.
            curve_losses = means(curve, COURSE_AT, COURSE_WIDTH)
            losses = tuple(loss if loss is not None and 0 <= loss <= MOST_NATS else None for loss in curve_losses)
            steps, memory = (result.num_steps, result.peak_memory_bytes) if result else (None, None)
            memory = memory if memory is not None and memory <= (self._study.facts.memory_bytes or MOST_BYTES) else None
            self._courses[folder] = Course(experiment.number, steps, speed, memory, losses)
        return self._courses[folder]

    def lessons(self, state: State) -> str:
        """The text of lessons.md."""
        return self._lessons.text(self.history(state), self._study.metric)

    def history(self, state: State) -> list[Past]:
        """Everything that was decided, and what failed before its training, in the order of time. Not to be changed."""
        if state is not self._state:
            self._forget(state)
        for number in state.changed(self._seen):
            experiment = state.experiments[number] if number < len(state.experiments) else None
            is_decided = experiment is not None and experiment.verdict is not None
            self._put((number, True, 0), self._decided(experiment) if experiment and is_decided else None)
        for which, rejection in enumerate(state.rejections[self._sent_back :], self._sent_back):
            assert rejection.n is not UNSET, "which goes with a commit: events.py"
            self._put((rejection.n, False, which), self._rejected(rejection))
        self._seen, self._sent_back = len(state.changes), len(state.rejections)
        return self._history

    def _put(self, key: tuple[int, bool, int], past: Past | None) -> None:
        """In its place, which is mostly the last; None: nothing stands there."""
        place = bisect_left(self._order, key)
        stood = slice(place, place + (self._order[place : place + 1] == [key]))
        self._order[stood] = [key] if past else []
        self._history[stood] = [past] if past else []

    def under_way(self, state: State, checked: Sequence[Past] = ()) -> tuple[Past, ...]:
        """The experiments without a verdict in their order, then what is checked. Not a baseline, whose text is the best."""
        opened = [experiment for experiment in state.open if experiment.number > 0]
        return (*map(self._opened, opened), *checked)

    def _opened(self, experiment: Experiment) -> Past:
        scores = [result.val_bpb for result in experiment.results if result.val_bpb is not None]
        text, so_far = self._store.text(experiment.commit), mean(scores) if scores else None
        return Past(experiment.number, experiment.description, RUNNING, so_far, text, agent=experiment.agent)

    def _decided(self, experiment: Experiment) -> Past:
        failed = experiment.verdict == "crash" and experiment.runs
        log = log_tail(self._study.runs / experiment.runs[-1].folder / "log.txt") if failed else ""
        score = None if experiment.state == BROKEN else experiment.val_bpb  # it leads the search to what may not be
        return Past(
            experiment.number, experiment.description, experiment.state or "", score, self._text(experiment.commit),
            experiment.reason, experiment.agent, log,
        )  # fmt: skip

    def _rejected(self, rejection: events.Rejected) -> Past:
        assert rejection.commit, "state.py takes no other as a rejection"
        assert rejection.n is not UNSET and rejection.state is not UNSET and rejection.log is not UNSET, (
            "which go with a commit: events.py"
        )
        text = self._text(rejection.commit)
        return Past(
            rejection.n, rejection.description, rejection.state, None, text, rejection.reason, rejection.agent, rejection.log
        )

    def _text(self, commit: str) -> str:
        if commit not in self._texts:
            self._texts[commit] = self._store.text(commit)
        return self._texts[commit]

    def _program_md(self, remarks: Sequence[str]) -> str:
        try:
            program = (self._study.folder / "program.md").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            program = ""
        if not remarks:
            return program
        added = "\n\n".join("- " + text.replace("\n", "\n  | ") for text in remarks[-MOST_TOLD:])  # no line of it is a heading
        return f"{program.rstrip()}\n\n## Told while the study runs, the newest last\n\n{added}\n"

"""What the agent is shown of a study: its View, from the ledger's state, the commits and program.md.

Nothing in it comes out of a process that saw a held-out text: of a run that failed while it was scored the agent gets the state and
our own words, and no log.
"""

from collections import deque
from collections.abc import Sequence

from msgspec import UNSET

from autoresearch import durable
from autoresearch.agents import lessons
from autoresearch.agents.base import COURSE_AT, Course, Past, View
from autoresearch.run.futility import means, read_curve
from autoresearch.study import events
from autoresearch.study.session import Session, log_tail
from autoresearch.study.state import Experiment, State
from autoresearch.study.store import Store
from autoresearch.study.workspace import Study

COURSES = 8  # of the last experiments; chosen: some 300 tokens
MOST_NATS, MOST_BYTES = 100.0, 1 << 40  # that a loss and a memory may be told as
COURSE_WIDTH = 0.1  # of the training time, that a loss is the mean of
MOST_TOLD = 20  # chosen: of what the owner said while the study runs; what is older is said better in program.md


def draw_lessons(session: Session) -> None:
    """Bring lessons.md in line with the ledger."""
    study = session.study
    if text := lessons.text(Views(study, session.store).history(session.state)):
        session.drawn(lessons.FILE, lambda: durable.write(study.state_folder / lessons.FILE, text))


class Views:
    """Makes Views. Of what was decided only the best may still change (its score, or a revoked keep): the rest is read once."""

    def __init__(self, study: Study, store: Store):
        self._study, self._store = study, store
        self._known: dict[tuple[str, str | None, float | None], Past] = {}  # by commit, state and score
        self._courses: dict[str, Course] = {}  # by the run's folder

    def view(self, state: State, sent_back: Sequence[Past] = (), running: str | None = None, wish: str | None = None) -> View:
        """sent_back: proposals that the agent just got back; they stand at the end of its history. running, wish: the View's."""
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
            limits=(state.limits or self._study.constraints).to_dict(),
            spent_usd=state.cost_usd,
            running=running,
            wish=wish,
            courses=self._shown(state, best),
            lessons=lessons.text(history),
        )

    def _shown(self, state: State, best: Experiment) -> tuple[Course, ...]:
        """The best's first, then the last ones'."""
        trained = [one for one in state.experiments if one.runs and one.runs[0].result is not None]
        shown = [one for one in trained if one is best] + [one for one in trained[-COURSES:] if one is not best]
        return tuple(map(self._course, shown))

    def _course(self, one: Experiment) -> Course:
        folder, result = one.runs[0].folder, one.runs[0].result
        if folder not in self._courses:
            curve = read_curve(self._study.runs / folder / "curve.jsonl", self._study.profile.budget.train_seconds)
            seconds, tokens = (result.training_seconds, result.total_tokens) if result else (None, None)
            speed = tokens / seconds if seconds and tokens is not None else None
            # What train.py says of itself goes no further than a figure that can be one: it would carry any number to the agent.
            told = means(curve, COURSE_AT, COURSE_WIDTH)
            losses = tuple(loss if loss is not None and 0 <= loss <= MOST_NATS else None for loss in told)
            steps, memory = (result.num_steps, result.peak_memory_bytes) if result else (None, None)
            memory = memory if memory is not None and memory <= (self._study.facts.memory_bytes or MOST_BYTES) else None
            self._courses[folder] = Course(one.number, steps, speed, memory, losses)
        return self._courses[folder]

    def history(self, state: State) -> list[Past]:
        """Everything that was decided, and what failed before its training, in the order of time."""
        found: list[Past] = []
        rejections = deque(map(self._rejected, state.rejections))
        for one in state.experiments:
            while rejections and rejections[0].number <= one.number:
                found.append(rejections.popleft())
            if one.verdict is not None:
                found.append(self._decided(one))
        return [*found, *rejections]

    def _decided(self, one: Experiment) -> Past:
        key = one.commit, one.state, one.val_bpb
        if key not in self._known:
            failed = one.verdict == "crash" and one.runs
            log = log_tail(self._study.runs / one.runs[-1].folder / "log.txt") if failed else ""
            text = self._store.text(one.commit)
            self._known[key] = Past(one.number, one.description, one.state or "", one.val_bpb, text, one.reason, one.agent, log)
        return self._known[key]

    def _rejected(self, one: events.Rejected) -> Past:
        assert one.commit, "state.py takes no other as a rejection"
        assert one.n is not UNSET and one.state is not UNSET and one.log is not UNSET, "which go with a commit: events.py"
        key = one.commit, one.state, None
        if key not in self._known:
            text = self._store.text(one.commit)
            self._known[key] = Past(one.n, one.description, one.state, None, text, one.reason, one.agent, one.log)
        return self._known[key]

    def _program_md(self, told: Sequence[str]) -> str:
        try:
            program = (self._study.folder / "program.md").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            program = ""
        if not told:
            return program
        added = "\n\n".join("- " + text.replace("\n", "\n  | ") for text in told[-MOST_TOLD:])  # no line of it is a heading
        return f"{program.rstrip()}\n\n## Told while the study runs, the newest last\n\n{added}\n"

"""A transfer study made, or gone on with, and the study of what held; night.py trains it."""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tomli_w

from autoresearch.data.progress import OnProgress
from autoresearch.errors import UsageError
from autoresearch.hardware.autotune.sizes import fits
from autoresearch.hardware.planner import plan as planner
from autoresearch.hardware.planner import profiles
from autoresearch.hardware.planner.model import Sizes
from autoresearch.hardware.planner.plan import Plan
from autoresearch.paths import typed
from autoresearch.propose.proposals import program_key
from autoresearch.report import answers
from autoresearch.run.setup import Setup
from autoresearch.study import lock, new, terms, workspace
from autoresearch.study.commits import head_text, text_of
from autoresearch.study.experiments import Experiment
from autoresearch.study.new import Beginning
from autoresearch.study.origin import Constants, Origin
from autoresearch.study.state import State
from autoresearch.study.workspace import Study, first_text
from autoresearch.task import registry as tasks
from autoresearch.transfer import SEEDS, design, figures, night
from autoresearch.transfer.design import Levels
from autoresearch.transfer.stack import Edit, Stack, kept

Tell = Callable[[str], None]
Bars = Callable[[], AbstractContextManager[OnProgress | None]]


@dataclass(frozen=True)
class Asked:
    """Options of `transfer`; None: not given."""

    profile: str
    train_seconds: float | None
    seeds: int | None
    edits: tuple[int, ...] | None
    constants: Constants | None
    attribute: bool
    device: str | None


@dataclass(frozen=True)
class Ready:
    """A transfer study, what its runs are made with, and what is trained. rows: of the attribution, where there is one."""

    study: Study
    setup: Setup
    stack: Stack
    rows: list[Levels] | None


def ready(first: Study, place: Path | None, asked: Asked, level: int, tell: Tell, bars: Bars, agree: Tell) -> Ready:
    """The transfer of first in that folder. None: beside it.

    agree: is told the price of what nobody has agreed to yet, and returns when somebody does. bars: as for `new.make`.
    Raises UsageError before anything is made.
    """
    state = answers.state_of(first)
    check_origin(first, state)
    profile = profiles.load(asked.profile)
    place = place or first.folder.with_name(f"{first.folder.name}-transfer-{profile.name}")
    if workspace.is_workspace(place):
        made = _gone_on_with(workspace.load(place), first, state, asked, level, tell, bars, agree)
    else:
        made = _made(place, first, state, asked, level, tell, bars, agree)
    if asked.attribute and made.rows is None:
        tell("one edit    is all there is, or all go together: nothing to tell apart")
    return made


def _gone_on_with(
    study: Study, first: Study, first_state: State, asked: Asked, level: int, tell: Tell, bars: Bars, agree: Tell
) -> Ready:
    origin = _checked(study, first, asked)
    lock.check(study.lock)
    state = answers.state_of(study)
    base = answers.train_py(study, state.experiments[0]) if state.experiments else head_text(study.folder)
    stack = Stack(base, kept(first, first_state, origin.edits), origin.constants)
    if {edit.number: edit.commit for edit in stack.edits} != dict(zip(origin.edits, origin.commits, strict=False)):
        raise UsageError(f"the edits of {first.folder} are not those that the transfer began with; begin another: --workspace")
    has_rows = len(state.experiments) > figures.ROWS
    rows = _rows(stack, asked.attribute or has_rows)
    price = _price(study.profile.budget.train_seconds, state, origin.seeds, rows, first_state)
    if price:
        tell(f"price     {price}")
    if price and rows is not None and not has_rows:
        agree(price)
    with bars() as on_progress:
        return Ready(study, terms.ready(study, level, on_progress, asked.device), stack, rows)


def _made(place: Path, first: Study, first_state: State, asked: Asked, level: int, tell: Tell, bars: Bars, agree: Tell) -> Ready:
    edits, seeds, stack = kept(first, first_state, asked.edits), asked.seeds or SEEDS, None

    def begin(planned: Plan, text: str) -> Beginning:
        nonlocal stack
        check_fits(planned)
        stack = Stack(text, edits, asked.constants or "ratio")
        for line in _told(stack, first, carried_by_hand(first, first_state)):
            tell(line)
        if not stack.edits:
            raise UsageError(f"no kept edit of {first.folder} can be made on the train.py of {planned.profile.name}; see above")
        if price := _price(planned.profile.budget.train_seconds, None, seeds, _rows(stack, asked.attribute), first_state):
            tell(f"price     {price}")
            agree(price)
        return Beginning(origin=origin_of(first, first_state, stack.edits, seeds, stack.how))

    chosen = {
        "profile": asked.profile, "backend": first.backend, "device": asked.device, "corpus": first.corpus, "seed": first.seed,
        "task": first.task.named, "decide": "strict", "tag": f"{first.tag[:40]}-transfer", "autotune": "off",
        "train_seconds": asked.train_seconds, **{name.replace("-", "_"): value for name, value in first.options.items()},
    }  # fmt: skip
    study, setup = new.make(place, chosen, tell, bars, level, begin)
    assert stack is not None, "`begin` has made it"
    if study.checksums["corpus"] != first.checksums["corpus"]:
        tell(f"text      {study.corpus} is not what it was for {first.folder}: its gain there was on another text")
    return Ready(study, setup, stack, _rows(stack, asked.attribute))


def applied(done: Study, place: Path | None, device: str | None, tell: Tell, bars: Bars) -> tuple[Study, Experiment, list[int]]:
    """(a study that begins with the best of a transfer, that experiment, the edits it has). Raises UsageError."""
    if done.origin is None:
        raise UsageError(f"{done.folder} is no transfer; `autoresearch transfer STUDY --profile NAME` makes one")
    state = answers.state_of(done)
    best = state.best
    if best is None or best.number == 0:
        stacked = state.experiments[figures.STACK] if len(state.experiments) > figures.STACK else None
        why = stacked.reason if stacked and stacked.verdict else "it is not measured to its end"
        raise UsageError(f"there is nothing to apply: {why}; `autoresearch results --workspace {typed(done.folder)}` has the rest")
    text = answers.train_py(done, best)
    with _profile(done) as path:
        chosen = {
            "profile": str(path), "backend": done.backend, "device": device, "corpus": done.corpus, "seed": done.seed,
            "task": done.task.named, "tag": f"{done.tag[:48]}-applied", "autotune": "off",
        }  # fmt: skip
        place = place or done.folder.with_name(f"{done.folder.name}-applied")
        study, _ = new.make(place, chosen, tell, bars, None, lambda *_: Beginning(text))
    return study, best, figures.edits_of(best)


def check_origin(study: Study, state: State) -> None:
    """UsageError for a study whose edits can't be taken to another size."""
    if study.origin is not None:
        raise UsageError(
            f"{study.folder} is a transfer itself",
            f"`autoresearch transfer {typed(study.folder)} --apply` makes a study of what holds, which can be transferred",
        )
    if not study.task.sizes or study.files:
        raise UsageError(
            f"the study {study.tag} is of the task {study.task.name}, which has no sizes to go to", "name one of pretraining"
        )
    if state.best is None:
        raise UsageError(f"the study {study.tag} has no baseline yet; `autoresearch run` trains it")


def origin_of(study: Study, state: State, edits: list[Edit], seeds: int, how: Constants) -> Origin:
    """The terms of a transfer of these edits."""
    gained = figures.small(study, state, edits)
    return Origin(
        str(study.folder), study.tag, study.created, study.profile.name, study.profile.budget.train_seconds,
        tuple(edit.number for edit in edits), tuple(edit.commit for edit in edits), seeds, how, gained.gain, gained.interval,
        gained.test_gain,
    )  # fmt: skip


def check_fits(planned: Plan) -> None:
    """UsageError for a profile whose model would not fit into the device's memory, as far as the planner knows it."""
    backend, facts, profile = planned.choice.backend, planned.choice.facts, planned.profile
    forecast = planner.forecast(backend, facts, profile)
    sizes = Sizes.of(profile, backend.train_py.read_text(encoding="utf-8")) if forecast else None
    if forecast and sizes and not fits(sizes, forecast.machine):
        peak, there = forecast.prediction.train_memory_bytes, forecast.machine.memory_bytes or 0
        raise UsageError(
            f"the profile {profile.name} would take about {(peak.value if peak else math.nan) / 2**30:.1f} GB in training, and"
            f" {facts.device or 'the device'} has {there / 2**30:.1f}",
            "take a smaller one, or lower DEVICE_BATCH_SIZE in a FILE.toml",
        )


def carried_by_hand(study: Study, state: State) -> bool:
    """Whether its baseline has code that no kept edit made: an edit before the first run, or another version's train.py."""
    backend = tasks.backends(study.task).get(study.backend)
    if backend is None or backend.problem or not backend.trains:
        return False
    own = first_text(None, backend, study.profile)
    return program_key(own) != program_key(text_of(study.folder, state.experiments[0].commit))


def _rows(stack: Stack, attribute: bool) -> list[Levels] | None:
    """What the attribution trains; None: nothing, since it was not asked for or one edit is all there is."""
    if len(stack.factors) > design.MOST_EDITS and attribute:
        raise UsageError(f"--attribute takes up to {design.MOST_EDITS} edits; choose with --edits")
    return design.rows(len(stack.factors)) if attribute and len(stack.factors) > 1 else None


def _checked(study: Study, first: Study, asked: Asked) -> Origin:
    """UsageError where the study that is there is not the transfer that was asked for."""
    origin, another = study.origin, "another `--workspace` begins another"
    if origin is None:
        raise UsageError(f"{study.folder} is a study, and no transfer; {another}")
    if (origin.tag, origin.created) != (first.tag, first.created):
        made_of = f"the study {origin.tag} of {origin.created}, then in {origin.study}"
        raise UsageError(f"{study.folder} is a transfer of {made_of}; {first.folder} has {first.tag} of {first.created}: {another}")
    terms.check_options(study, {"profile": asked.profile, "train_seconds": asked.train_seconds})
    for name, own in (("seeds", origin.seeds), ("constants", origin.constants), ("edits", origin.edits)):
        if getattr(asked, name) not in (None, own):
            shown = ",".join(map(str, own)) if isinstance(own, tuple) else own
            raise UsageError(f"--{name}: the transfer in {study.folder} has {shown} and keeps it; leave it out, or {another}")
    return origin


def _price(train_seconds: float, state: State | None, seeds: int, rows: list[Levels] | None, first: State) -> str | None:
    """What is left to be trained, in words; None: nothing."""
    left = night.trainings(state, seeds, rows)
    if not left:
        return None
    hours = left * (train_seconds + _beside(state if state and state.results else first)) / 3600
    long = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
    return f"{left} trainings of {train_seconds:g} s, about {long} with start and scoring"


def _beside(state: State) -> float:
    """Seconds of a run beside its training: start-up, scoring, and the test text's scoring."""
    results = [result for experiment in state.experiments for result in experiment.results if result.ok]
    times = [(result.startup_seconds or 0.0) + 2 * (result.scoring_seconds or 0.0) for result in results]
    return median(times) if times else 0.0


def _told(stack: Stack, first: Study, has_own: bool) -> list[str]:
    """What goes over, what not, and as what."""
    changes = stack.changes()
    rows = [f"from      {first.folder}: {len(stack.edits)} of {len(stack.edits) + len(stack.left_out)} edits go over"]
    rows += [f"edit {edit.number:<4} {'; '.join(changes[edit.number])}" for edit in stack.edits]
    for factor in stack.factors:
        if len(factor) > 1:
            numbers = ", ".join(str(edit.number) for edit in factor)
            rows.append(f"together  {numbers}: none can be made without those before it")
    rows += [f"left out  {one.edit.number} ({one.edit.description}): {one.reason}" for one in stack.left_out]
    if has_own:
        rows.append("base      this version's train.py: what was edited there before the first run stays behind")
    return rows


@contextmanager
def _profile(study: Study) -> Iterator[Path]:
    """The study's own, as a file of that name."""
    table = study.profile.to_dict()
    with tempfile.TemporaryDirectory(prefix="autoresearch-") as folder:
        path = Path(folder) / f"{table.pop('name')}.toml"
        path.write_text(tomli_w.dumps(table), encoding="utf-8")
        yield path

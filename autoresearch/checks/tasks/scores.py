"""The contracts of a task's losses, and of its train.py as it is: trained for the seconds that the profile says, and asked."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from autoresearch.border.messages import ENDED, Kind, Protocol, failed, many, text
from autoresearch.checks.conformance.contracts import Fault, NotApplicable
from autoresearch.checks.conformance.subject import STEPS
from autoresearch.checks.tasks.subject import PROBE, SEED, Subject, told
from autoresearch.child import Worker
from autoresearch.errors import UsageError
from autoresearch.loop.val_only import Documents, Texts, unlike
from autoresearch.measure.bpb import InvalidLogits
from autoresearch.run import cells, command, constraints, quantities
from autoresearch.run.experiment import execute
from autoresearch.run.scoring import BITS, evaluate
from autoresearch.task import registry
from autoresearch.task.contract import Task

ITEMS = 64  # whose losses are taken of answers that are made up
SAME_LOSS = 1e-5  # of a loss: sums in another order
SAME_AGAIN = 0.02  # of a loss, asked again: what an audit allows (measure/audit.py)
SURE = 3.0  # standard errors: 1 in 700
SAME_STEP = 1e-3  # of a training loss, in a few steps: sums in another order, as GPUs' atomics make them
PROBE_SECONDS = 60.0
LEVEL = 2  # of a sandbox that keeps from reading


def losses(subject: Subject) -> str:
    """A finite loss for each sane answer, [n, k]; what is no number is refused, and nothing else goes wrong."""
    task, targets = subject.task, _some_targets(subject)
    shape, rng = (len(targets), *task.answer), np.random.default_rng(0)
    seen = []
    for kind, answers in {"zeros": np.zeros(shape), "ones": np.ones(shape), "normal numbers": rng.normal(size=shape)}.items():
        cost = _losses(task, answers, targets)
        if not isinstance(cost, np.ndarray) or cost.ndim != 2 or len(cost) != len(targets):
            shaped = getattr(cost, "shape", type(cost).__name__)
            raise Fault(f"losses of {len(targets)} answers are {shaped}; return [n, k], one row for each", str(shaped))
        if not np.isfinite(cost).all():
            raise Fault(f"answers of {kind} have a loss that is not finite; bound it", kind)
        seen.append(cost)
    if len({cost.shape for cost in seen}) > 1:
        raise Fault("the number of losses of an answer depends on the answers; return [n, k] with one k", "k")
    for bad in (np.nan, np.inf):
        answers = rng.normal(size=shape)
        answers[len(targets) // 2].flat[0] = bad  # one number of one answer
        cost = _losses(task, answers, targets, is_bad=True)
        if cost is not None and np.isfinite(cost).all():
            raise Fault(f"an answer that holds {bad} is scored; raise task.InvalidAnswer unless np.isfinite(answers)", str(bad))
    _losses(task, np.full(shape, 3e38), targets, is_bad=True)
    return f"{seen[0].shape[1]} of each answer; NaN and infinity are refused"


def _losses(task: Task, answers: np.ndarray, targets: np.ndarray, is_bad: bool = False) -> np.ndarray | None:
    """None: refused, as what is_bad may be."""
    before = targets.copy()
    try:
        with np.errstate(all="ignore"):
            cost = task.losses(answers.astype(np.float32), targets)
    except InvalidLogits as error:
        if is_bad:
            return None
        raise Fault(f"a sane answer is refused: {error}; only what is no answer is", "refused") from error
    except Exception as error:  # another project's code
        raise Fault(f"losses raises {type(error).__name__}: {error}; it takes any float32 number") from error
    if before.tobytes() != targets.tobytes():
        raise Fault("losses changes the targets; work on a copy", "targets")
    return cost


def _some_targets(subject: Subject) -> np.ndarray:
    """Not those of the first questions alone."""
    targets = subject.val.targets
    return np.array(targets[np.linspace(0, len(targets) - 1, min(ITEMS, len(targets))).astype(int)])


def by_item(subject: Subject) -> str:
    """A loss depends on its own answer and target alone: neither on the order, nor on the others, nor on what came before."""
    task, targets = subject.task, _some_targets(subject)
    rng = np.random.default_rng(1)
    answers = rng.normal(size=(len(targets), *task.answer)).astype(np.float32)
    first = _losses(task, answers, targets)
    order, half = rng.permutation(len(targets)), max(1, len(targets) // 2)
    changed = answers.copy()
    changed[0] = -answers[0] + 1
    assert first is not None, "the contract `losses` has passed"
    asked: dict[str, tuple[np.ndarray | None, np.ndarray]] = {
        "the same answers a second time": (_losses(task, answers, targets), first),
        "another order of the questions": (_losses(task, answers[order], targets[order]), first[order]),
        "other questions beside them": (_losses(task, answers[:half], targets[:half]), first[:half]),
    }
    if len(targets) > 1:
        asked["another answer to another question"] = (_losses(task, changed, targets)[1:], first[1:])  # type: ignore[index]
    for what, (found, expected) in asked.items():
        if found is None or found.shape != expected.shape or not np.allclose(found, expected, rtol=SAME_LOSS, atol=SAME_LOSS):
            raise Fault(f"{what} changes a loss; let each depend on its own answer and target alone, without a mean over all", what)
    return f"{len(targets)} questions, in another order, alone, and beside others"


def direction(subject: Subject) -> str:
    """A lower loss is a better score, and is shown as better; perfect answers, where the task knows them, win."""
    task, metric, targets = subject.task, subject.task.metric, _some_targets(subject)
    answers = np.random.default_rng(2).normal(size=(len(targets), *task.answer)).astype(np.float32)
    cost = _losses(task, answers, targets)
    assert cost is not None, "the contract `losses` has passed"
    bad = float(cost.sum(axis=1, dtype=np.float64).mean())
    good, perfect = bad / 2, task.perfect(targets)
    if perfect is not None:
        best = _losses(task, np.array(perfect), targets)
        assert best is not None, "a refusal is a fault"
        good = float(best.sum(axis=1, dtype=np.float64).mean())
        if not good < bad:
            raise Fault(f"perfect answers have a loss of {good:.4g}, random ones {bad:.4g}; turn losses round: lower is better")
    scores = task.value(good), task.value(bad)
    if not scores[0] < scores[1]:
        raise Fault("value falls where the mean loss rises; let it rise (a metric of direction max is negated)")
    if perfect is None:
        return "a lower loss is a better score; perfect answers are not known to it"
    figure = f"{metric.name} of perfect answers {metric.text(scores[0])}, of random ones {metric.text(scores[1])}"
    if metric.direction == "max" and metric.shown(scores[0]) <= 0 and metric.shown(scores[1]) < 0:
        cure = 'write direction = "min", or let value return what is to be maximised, negated'
        raise Fault(f"none is above 0, and more is to be better: is {metric.name} an error? Then {cure}", figure)
    if not metric.allows(scores[0]):
        raise Fault("task.toml does not allow what perfect answers score; mend above and below", figure)
    return figure


def trains(subject: Subject) -> str:
    """train.py as it is trains in its cell, answers in another, and has a score."""
    try:
        result = subject.run
    except UsageError as error:  # said by the contract `sealed`
        raise NotApplicable(f"no cell can be made: {error}") from error
    if not result.ok or result.val_bpb is None:
        why = told(result.reason, subject.run_folder)
        raise Fault(f"{result.status}: {why}; mend train.py, or give it longer with --train-seconds", result.status)
    steps = f"{result.num_steps} steps, {result.total_tokens} {'tokens' if subject.task.is_causal else 'rows'}"
    return f"{subject.task.metric.name} {subject.task.metric.text(result.val_bpb)} after {subject.setup.train_seconds:g} s, {steps}"


def limits(subject: Subject) -> str:
    """What task.toml allows is measured here; train.py as it is keeps it, and a run that is beyond it is refused."""
    table = subject.table
    if not table.limits:
        raise NotApplicable("task.toml sets none")
    texts = [f"{name}{text}" for name, text in table.limits.items()]
    constraints.check(texts, subject.backend, table.scoring, registry.kind(table).guards(subject.options))
    held, known = constraints.Constraints().changed(texts), quantities.of(subject.run)
    if broken := held.objection_of_all(known):
        raise Fault(f"train.py as it is breaks one: {broken}; loosen [limits] in task.toml, or make it smaller", broken)
    tight = constraints.Constraints(
        tuple(_beyond(limit, known[limit.quantity]) for limit in held.limits if limit.quantity in known)
    )
    result = execute(replace(subject.setup, constraints=tight), subject.train_py, SEED, subject.folder / "beyond")
    if result.status != constraints.BROKEN and not tight.objection_of_all(quantities.of(result)):
        raise Fault(f"a run that is beyond {', '.join(map(str, tight.limits))} was not refused: {result.status}", result.status)
    return f"{', '.join(map(str, held.limits))}: kept, and refused where it is not"


def _beyond(limit: constraints.Limit, value: float) -> constraints.Limit:
    """One that a run with this value breaks."""
    less = limit.sense == "<="
    return replace(limit, value=value / 2 if (value > 0) == less else value * 2 + (-1 if less else 1), warns=False)


def measured(subject: Subject) -> str:
    """Where a command's number counts: guard and measures work on the files as they are, twice, in the sandbox."""
    return "; ".join(command.try_out(subject.setup, subject.train_py, subject.folder / name) for name in ("once", "twice"))


def asked_again(subject: Subject) -> str:
    """The same weights, asked in another order by a fresh process, answer alike."""
    scored = np.load(subject.run_folder / BITS)[: len(subject.val)]
    again = _losses(subject.task, subject.answers, subject.val.targets)
    assert again is not None, "they had a score"
    worst = float(np.abs(again - scored).max())
    if not worst <= SAME_AGAIN:
        raise Fault(f"a loss changed by {worst:.3g} when it was asked again; let answer look at each row by itself", f"{worst:.1e}")
    return f"largest change of a loss {worst:.1e}"


def one_seed(subject: Subject) -> str:
    """A few steps with one seed give the same losses; another seed starts elsewhere."""
    first, again, other = subject.counted("first"), subject.counted("again"), subject.counted("other", SEED + 1)
    if len(first) != STEPS:
        raise Fault(f"{STEPS} steps reported {len(first)} losses; call run.report(loss) once a step")
    scale = max(1.0, *map(abs, first))
    worst = max(map(_difference, first, again))
    figure = "bitwise" if worst == 0 else f"largest difference of a training loss {worst:.1e}"
    if not worst <= SAME_STEP * scale:
        raise Fault("two trainings with one seed differ; seed all that train.py draws with run.seed", figure)
    if first == other:
        raise Fault("another seed trains the same; seed with run.seed, not with a constant", figure)
    return f"{figure} in {STEPS} steps; another seed differs by {max(map(_difference, first, other)):.1e}"


def _difference(one: float, other: float) -> float:
    return abs(one - other)


def constant_answers(subject: Subject) -> str:
    """The mean answer, given to every question, does not beat the answers by more than chance."""
    gap = _gap(subject, _constant(subject))
    if gap < -SURE:
        raise Fault(
            f"one answer for all questions beats the baseline by {-gap:.1f} standard errors; let losses reward what the targets"
            " are, or train longer (--train-seconds)", f"{gap:+.1f} standard errors",
        )  # fmt: skip
    return (
        f"the mean answer loses by {gap:.1f} standard errors" if gap > 0 else f"no worse than chance ({gap:+.1f} standard errors)"
    )


def shuffled_answers(subject: Subject) -> str:
    """The same answers, each to another question, lose."""
    if subject.backend.simulated and not registry.frameworks(subject.table):
        raise NotApplicable("simulated: it answers every question alike")
    gap = _gap(subject, np.roll(subject.answers, len(subject.answers) // 3 + 1, axis=0))
    if not gap > SURE:
        raise Fault(
            f"answers to other questions are as good ({gap:+.1f} standard errors); train.py learns nothing in"
            f" {subject.setup.train_seconds:g} s (--train-seconds), or losses does not look at the answers",
            f"{gap:+.1f} standard errors",
        )  # fmt: skip
    return f"they lose by {gap:.1f} standard errors"


def _constant(subject: Subject) -> np.ndarray:
    """The mean answer: of text over positions, too."""
    answers = subject.answers
    axes = (0, 1) if subject.task.is_causal else (0,)
    return np.broadcast_to(answers.mean(axis=axes, dtype=np.float64).astype(np.float32), answers.shape)


def _gap(subject: Subject, others: np.ndarray) -> float:
    """By how many standard errors the baseline's answers have lower losses than others, question by question."""
    saved = _mean_losses(subject, others) - _mean_losses(subject, subject.answers)
    error = float(saved.std()) / math.sqrt(len(saved))
    return float(saved.mean()) / error if error else 0.0


def _mean_losses(subject: Subject, answers: np.ndarray) -> np.ndarray:
    """float64 [n], of each question of `val`."""
    cost = _losses(subject.task, np.array(answers), subject.val.targets)
    assert cost is not None, "answers that had a score, and means of them"
    means: np.ndarray = cost.sum(axis=1, dtype=np.float64)
    return means


def alike(subject: Subject) -> str:
    """The baseline finds val, test and slice equally hard: a gain on one promises one on the others."""
    task, run = subject.task, subject.run
    found = {"val": Documents(*np.load(subject.run_folder / "documents.npy"))}
    figure = f"val {task.metric.text(run.val_bpb)}"
    for split in (split for split, _ in task.splits() if split != "val"):
        score = evaluate(subject.setup, subject.run_folder, split=split)
        found[split] = Documents(score.sums, score.weights)
        figure += f", {split} {task.metric.text(score.value)}"
    for split in ("slice", "test"):
        if split in found and unlike(Texts(found["val"], found[split])):
            raise Fault(f"val and {split} are not of one kind; draw them from the same rows, at random or by groups alike", figure)
    return figure


def sealed(subject: Subject) -> str:
    """Asked in its own cells, neither a training nor a scoring can read the data; what they start from they can."""
    if subject.sandbox < LEVEL:
        raise NotApplicable("this system's sandbox keeps nobody from reading; `autoresearch doctor` says why")
    task, setup, train_py = subject.task, subject.setup, subject.train_py
    data = sorted({*_below(task.prepared.folder), *(path for place in task.hidden() for path in _below(place))})[:10_000]
    allowed = [path for place in task.reads() for path in _below(place)]
    makers: dict[str, Callable[[Path], object]] = {
        "training": lambda folder: cells.training(setup, folder, train_py, 1 << 20),
        "scoring": lambda folder: cells.scoring(setup, folder, train_py, [folder / "slot"]),
    }
    for name, make in makers.items():
        folder = subject.folder / f"sealed-{name}"
        folder.mkdir()
        (folder / "train.py").write_text(train_py, encoding="utf-8", newline="")
        (folder / "slot").write_bytes(b"0")
        try:
            cell = make(folder)
        except UsageError as error:
            raise Fault(f"no cell of a {name} can be made: {error}; let reads() name nothing that holds data", name) from error
        job = {"type": "reach", "python_path": [], "paths": [str(path) for path in (*data, *allowed)]}
        with Worker(job, folder, _REACH, PROBE, cell=cell) as worker:  # type: ignore[arg-type]
            reached = set(map(Path, worker.wait("done", PROBE_SECONDS, "its cell did not answer in time")["reached"]))
        open_ = [path for path in data if path in reached]
        if open_:
            raise Fault(
                f"a {name} can read {open_[0]}; let reads() name nothing that holds data", f"{len(open_)} of {len(data)} paths"
            )
        shut = [path for path in allowed if path not in reached]
        if shut:
            raise Fault(f"a {name} can't read {shut[0]}, which reads() names; name a file that is there", str(shut[0]))
    return f"{len(data)} files and folders, none readable" + (f"; {len(allowed)} of reads() are" if allowed else "")


_REACH = Protocol(
    "starting",
    {"done": Kind({"starting": ENDED}, {"reached": many(text(4096), 100_000)}), "failed": failed("starting")},
    line_bytes=1 << 24,
)


def _below(place: Path) -> list[Path]:
    return [place, *sorted(place.rglob("*"))] if place.is_dir() else [place]

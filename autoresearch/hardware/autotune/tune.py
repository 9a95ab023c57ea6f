"""The part of `--profile auto` that measures: the machine's limits, then short real trainings of the sizes that may be the best
(trials.py), the best few of them for longer, then the winner with each other choice that its runtime has (tune_runtime.py).

At most `default_seconds` of it, or what was asked for. What wins becomes the profile `auto`: the fitting named profile with other
sizes. It is kept in the cache for this device, backend, versions, profile and text, so that the next study begins at once; where
nothing could be tried, nothing is kept. The named profile itself is tried first, and only a gain beyond a trial's own error moves
away from it: published results stay comparable.
"""

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from autoresearch import __version__, choices, constants, durable
from autoresearch.child import RunFailed
from autoresearch.data.prepared import Prepared
from autoresearch.data.progress import OnProgress, silent
from autoresearch.hardware.autotune import sizes as planning
from autoresearch.hardware.autotune import trials, tune_runtime
from autoresearch.hardware.autotune.stopwatch import Learnt, Limits, Stopwatch, measure_limits
from autoresearch.hardware.autotune.trials import Trial
from autoresearch.hardware.autotune.tune_runtime import Change
from autoresearch.hardware.now import conditions
from autoresearch.hardware.planner import plan, predict
from autoresearch.hardware.planner.model import Sizes
from autoresearch.hardware.planner.plan import Plan
from autoresearch.hardware.planner.predict import Machine
from autoresearch.hardware.planner.profiles import Profile
from autoresearch.measure.clock import awake_seconds
from autoresearch.paths import cache_dir

SHARE, LEAST_SECONDS, MOST_SECONDS = 0.05, 120.0, 900.0  # of the study's own time; chosen: a night gives a quarter of an hour
SHORT, LONG = 1 / 15, 1 / 5  # of the full time, that a trial trains: at first, and the best few again
FINALISTS = 3
SHORTEST_TRIAL_SECONDS = 15.0  # chosen: less is not enough to start PyTorch and compile
RUNTIME_SECONDS = 25.0  # of the budget, where the runtime has choices: two starts from a filled cache (docs/design/sizes.md)
RUNTIME_SHARE = 0.2  # of the budget, at most, on a device that compiles longer; chosen
PAGING_SLOWDOWN = 3  # a driver that moves the device's memory over the bus: published runs got 3 to 10 times slower
WORTH = 0.01  # relative; chosen: what two seeds of one size differ by in a long trial, and no reason to leave a named profile
FORMAT = 5  # of what is kept in the cache


@dataclass(frozen=True)
class Tuned:
    """What came of it. sizes: None keeps the named profile's; runtime: what it chooses beyond the profile's [runtime]."""

    sizes: Sizes | None
    runtime: dict[str, choices.Value]
    reason: str
    limits: Limits
    trials: tuple[Trial, ...]
    changes: tuple[Change, ...]  # of the runtime's choices, with the sizes that won
    seconds: float  # that it took
    dtype: str | None = None  # that all of it was measured in

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> "Tuned":
        """Raises KeyError or TypeError for anything else than `to_json` gave."""
        tried = tuple(map(_trial, table["trials"]))
        chosen = None if table["sizes"] is None else Sizes(**table["sizes"])
        changes = tuple(Change(**change) for change in table["changes"])
        limits, runtime = Limits(**table["limits"]), dict(table["runtime"])
        return cls(chosen, runtime, table["reason"], limits, tried, changes, table["seconds"], table["dtype"])


def _trial(table: dict[str, Any]) -> Trial:
    learnt, trained = table["learnt"], table["trained"]
    read = {"sizes": Sizes(**table["sizes"]), "learnt": learnt and Learnt(**learnt), "trained": trained and Sizes(**trained)}
    return Trial(**table | read)


def default_seconds(hours: float | None, experiments: int | None, train_seconds: float) -> float:
    """How long to try, for a study of that length; None: until it is stopped, so a night."""
    lengths = [hours * 3600] if hours else []
    lengths += [experiments * train_seconds] if experiments else []
    return min(max(LEAST_SECONDS, SHARE * min(lengths, default=math.inf)), MOST_SECONDS)


def tuned(
    made: Plan, corpus: str, text: Callable[[int], Prepared], say: Callable[[str], None] = lambda line: None,
    is_again: bool = False, seconds: float = MOST_SECONDS, on_progress: OnProgress = silent,
) -> Plan:  # fmt: skip
    """The plan with sizes that were measured here, from the cache or from trials; the same plan where nothing can be measured.

    corpus: what the text is called; text: it, prepared, by its vocabulary. is_again: not from the cache. seconds: at most.
    """
    backend, profile = made.choice.backend, made.profile
    train_py = backend.train_py.read_text(encoding="utf-8")
    base = Sizes.of(profile, train_py)
    if base is None or backend.simulated:
        return made
    result = None if is_again else remembered(made, corpus)
    if result is not None:
        say("autotune  found before, for this text on this machine; `--autotune again` tries anew")
    else:
        try:
            result = _measure(made, base, train_py, text, say, seconds, on_progress)
        except RunFailed as failure:
            say(f"autotune  {failure}; the profile {profile.name} stays as it is")
            return made
        if busy := others_load():
            say(f"autotune  not remembered for other studies: {busy}")
        elif any(trial.learnt for trial in result.trials):
            path = _path(made, corpus)
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.write(path, json.dumps(result.to_json(), indent=1).encode())
    for line in lines(result, profile.budget.train_seconds):
        say(f"autotune  {line}")
    return plan.informed(applied(made, result))


def others_load() -> str | None:
    """A sentence where other processes use the cores now: sizes that were tried beside them are none for a quiet machine."""
    return conditions.look().alerts.get("load")


def remembered(made: Plan, corpus: str | None = None) -> Tuned | None:
    """What was measured on this machine before, for the same profile, versions and text; corpus None: for any, the newest."""
    paths = [_path(made, corpus)] if corpus is not None else _path(made, "").parent.glob(f"{_key(made)}-*.json")
    try:
        newest = max(paths, key=lambda path: path.stat().st_mtime, default=None)
        return None if newest is None else Tuned.from_json(json.loads(newest.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never measured, or by another version: measure


def applied(made: Plan, result: Tuned) -> Plan:
    """The plan with what was found. Its facts are still those of the runtime's own choices: see plan.informed."""
    profile = made.profile if result.sizes is None else resized(made.profile, result.sizes)
    is_open = "dtype" not in result.runtime and choices.asked_for("dtype") is None
    if result.dtype is not None and result.dtype != made.choice.facts.dtype and is_open:
        profile = replace(profile, runtime=profile.runtime | {"dtype": result.dtype})  # the clock was near a tie
    if result.runtime:
        title = f"{made.profile.title}, fitted to this machine"
        profile = replace(profile, name="auto", title=title, runtime=profile.runtime | result.runtime)
    return replace(made, profile=profile, profile_reason=f"{result.reason} ({made.profile.name}: {made.profile_reason})")


def resized(profile: Profile, sizes: Sizes) -> Profile:
    """The profile under the name `auto`, with other sizes."""
    train = profile.train | {
        "DEPTH": sizes.depth,
        "ASPECT_RATIO": round(sizes.width / sizes.depth),
        "HEAD_DIM": sizes.head_dim,
        "DEVICE_BATCH_SIZE": sizes.rows,
        "TOTAL_BATCH_SIZE": sizes.batch_tokens,
    }
    data = replace(profile.sizes, vocab_size=sizes.vocab_size, seq_len=sizes.seq_len)
    return replace(profile, name="auto", title=f"{profile.title}, sized for this machine", data=data, train=train)


def lines(result: Tuned, train_seconds: float) -> list[str]:
    """What was tried and what came of it."""
    shown = []
    for trial in result.trials:
        words = trial.reason
        if trial.learnt:
            learnt = trial.learnt
            fewer = trial.trained and trial.trained.batch_tokens
            at = f" with {fewer} tokens a step" if fewer and fewer != trial.sizes.batch_tokens else ""
            words = (
                f"{trial.tokens_per_second:,.0f} tokens/s ({trial.predicted_tokens_per_second:,.0f} predicted), val_bpb "
                f"{learnt.bpb:.3f} after {learnt.seconds:.0f} s{at}, {trial.expected:.3f} expected after {train_seconds:.0f}"
            )
        shown.append(f"{described(trial.sizes)}: {words}")
    return [*shown, *(f"{choices.described({change.name: change.value})}: {change.reason}" for change in result.changes)]


def described(sizes: Sizes) -> str:
    return (
        f"depth {sizes.depth}, width {sizes.width}, seq_len {sizes.seq_len}, vocabulary {sizes.vocab_size}, "
        f"{sizes.batch_tokens} tokens a step"
    )


def _measure(
    made: Plan, base: Sizes, train_py: str, text: Callable[[int], Prepared], say: Callable[[str], None], budget_seconds: float,
    on_progress: OnProgress,
) -> Tuned:  # fmt: skip
    start = awake_seconds()
    say(f"autotune  at most {budget_seconds:.0f} s, once for this text on this machine; `--autotune off` goes without")
    backend, full_seconds, dtype = made.choice.backend, made.profile.budget.train_seconds, made.choice.facts.dtype
    others = tune_runtime.alternatives(made.choice.facts)
    starts = [0.0]  # what a trial took beyond its training

    def left() -> float:
        return budget_seconds - (awake_seconds() - start)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        on_progress("autotune: what this machine can do at most", 0, None)
        limits = measure_limits(backend, folder / "limits", choices.settled(made.profile.runtime, dtype))
        machine = Machine.of(made.choice.facts, limits.known)

        def attempt(sizes: Sizes, predicted: float, train_seconds: float, limit_seconds: float) -> Trial:
            trial_folder = Path(tempfile.mkdtemp(dir=folder))
            say(f"autotune  {left():.0f} s left, {train_seconds:.0f} s with {described(sizes)}")
            prepared, before = text(sizes.vocab_size), awake_seconds()
            on_progress(f"autotune: a training of {train_seconds:.0f} s, with its start", 0, None)
            trial = _try(made, train_py, prepared, sizes, predicted, machine, trial_folder, train_seconds, limit_seconds)
            starts.append(awake_seconds() - before - train_seconds)
            return trial

        order = planning.ranked(base, machine, full_seconds, text(base.vocab_size).train_bytes)

        def left_for_sizes() -> float:
            start = 0.0 if made.choice.facts.processors else max(starts)
            return left() - (reserved(start, budget_seconds) if others else 0.0)

        tried = search(order, base, full_seconds, attempt, left_for_sizes, awake_seconds)
        best, reason = verdict(tried, base)
        profile = made.profile if best is None else resized(made.profile, best)

        def watch(runtime: dict[str, choices.Value]) -> Stopwatch:
            trial_folder, data = Path(tempfile.mkdtemp(dir=folder)), profile.sizes
            say(f"autotune  {left():.0f} s left, trying {choices.described(runtime) or 'the choices of the runtime'}")
            on_progress("autotune: steps with each choice of the runtime in turn", 0, None)
            variables = choices.settled(profile.runtime | runtime, dtype)
            shaped = constants.write(train_py, profile.train)
            return Stopwatch(backend, shaped, data.vocab_size, data.seq_len, trial_folder, left(), variables=variables)

        others, later = tune_runtime.postponed(others, others_load())
        runtime, changes = tune_runtime.compare(others, watch, left, machine.memory_bytes)
    if runtime:
        reason += f"; {choices.described(runtime)}, which is faster here than the runtime's own choice"
    return Tuned(best, runtime, reason, limits, tuple(tried), (*changes, *later), awake_seconds() - start, dtype)


def reserved(start_seconds: float, budget_seconds: float) -> float:
    """Seconds kept for the runtime's choices: two starts. start_seconds: of the longest so far, with a compilation; 0 on the
    computer's own processors, where such choices were measured, and did not pay for one.
    """
    return max(RUNTIME_SECONDS, min(2 * start_seconds, RUNTIME_SHARE * budget_seconds))


def search(
    order: Sequence[planning.Candidate], base: Sizes, full_seconds: float,
    attempt: Callable[[Sizes, float, float, float], Trial], left: Callable[[], float], clock: Callable[[], float],
) -> list[Trial]:  # fmt: skip
    """All trials: the named profile's sizes (base), then those that may be the best, while there is time for the last round too, in
    which the best FINALISTS train for longer.

    attempt(sizes, predicted tokens/s, seconds of training, seconds that all of it may take); left(): seconds of the budget.
    """
    tried: list[Trial] = []
    took = 0.0  # the longest so far, from an empty compile cache
    last_round = FINALISTS * (LONG * full_seconds + SHORTEST_TRIAL_SECONDS)
    first = next((known for known in order if known.sizes == base), None)
    candidate: planning.Candidate | None = first or planning.Candidate(base, 0.0, 0.0)
    while candidate is not None and left() >= SHORTEST_TRIAL_SECONDS and (not tried or left() - last_round >= took):
        before = clock()
        trial = attempt(candidate.sizes, candidate.tokens_per_second, SHORT * full_seconds, left())
        tried = without_paging([*tried, trial])
        took = max(took, clock() - before)
        candidate = trials.next_candidate(order, tried)
    finalists = trials.best_first(tried)[:FINALISTS]
    for finalist in finalists if len(finalists) > 1 else ():  # one alone is decided
        if left() >= LONG * full_seconds + SHORTEST_TRIAL_SECONDS:
            tried.append(attempt(finalist.sizes, finalist.predicted_tokens_per_second, LONG * full_seconds, left()))
    return tried


def without_paging(tried: list[Trial]) -> list[Trial]:
    """The trials, those refused whose pace says that memory is moved to and fro behind the training's back.

    Windows's driver does that instead of saying that the device is full. Such a trial takes more memory than the smallest one, and
    has less than a third of the speed that the planner says once that one has put it right, where some ten per cent are usual.
    """
    paces = [
        (trial.peak_memory_bytes, trial.tokens_per_second / trial.predicted_tokens_per_second)
        for trial in tried
        if trial.tokens_per_second and trial.predicted_tokens_per_second and trial.peak_memory_bytes is not None
    ]
    if not paces:
        return tried
    least_bytes, pace = min(paces, key=lambda pair: pair[0])
    checked = []
    for trial in tried:
        peak, speed, usual = trial.peak_memory_bytes, trial.tokens_per_second, trial.predicted_tokens_per_second * pace
        if peak is not None and speed is not None and peak > least_bytes and PAGING_SLOWDOWN * speed < usual:
            words = f"{speed:,.0f} tokens/s where a smaller one's pace says {usual:,.0f}: it does not stay in the device's memory"
            trial = replace(trial, learnt=None, expected=None, tokens_per_second=None, reason=words)
        checked.append(trial)
    return checked


def verdict(tried: list[Trial], base: Sizes) -> tuple[Sizes | None, str]:
    """(sizes or None for the named profile's, why)."""
    order = trials.best_first(tried)
    if not order:
        return None, "autotune: nothing could be tried in time, so the named profile stays; `--autotune 900` gives it more"
    best, *others = order
    # Where the named profile was not among the best of the first round, both are known from that one.
    own, same = (_of(tried, sizes) for sizes in (base, best.sizes))
    if not own:
        return best.sizes, f"autotune: {described(best.sizes)}; the named profile could not be trained here"
    rounds = min(len(own), len(same)) - 1
    (learnt, score), (own_learnt, own_score) = same[rounds], own[rounds]
    if 1 - score / own_score < WORTH:
        count = len({trials.place(trial.sizes) for trial in tried if trial.learnt})
        return None, f"autotune: of {count} sizes that were trained none is {WORTH:.0%} better than the named profile"
    second = f"; the second best, {described(others[0].sizes)}, {others[0].expected:.3f}" if others else ""
    return best.sizes, (
        f"autotune: {described(best.sizes)}: {best.expected:.3f} expected{second}; after {learnt.seconds:.0f} s "
        f"it had {learnt.bpb:.3f} and the named profile {own_learnt.bpb:.3f}"
    )


def _of(tried: list[Trial], sizes: Sizes) -> list[tuple[Learnt, float]]:
    """(learnt, expected) of the trials of a candidate that trained, the first round's first."""
    own = [trial for trial in tried if trials.place(trial.sizes) == trials.place(sizes)]
    return [(trial.learnt, trial.expected) for trial in own if trial.learnt and trial.expected is not None]


def _try(
    made: Plan, train_py: str, text: Prepared, sizes: Sizes, predicted: float, machine: Machine, folder: Path, seconds: float,
    limit_seconds: float,
) -> Trial:  # fmt: skip
    profile, backend = made.profile, made.choice.backend
    full_seconds = profile.budget.train_seconds
    trained = planning.for_trial(sizes, seconds / full_seconds)
    values = resized(profile, trained).train
    values |= {"FINAL_LR_FRAC": 0.0} if "FINAL_LR_FRAC" in constants.read(train_py) else {}  # stopwatch_worker.learn counts on it
    variables = choices.settled(profile.runtime, made.choice.facts.dtype)
    asked = (backend, constants.write(train_py, values), sizes.vocab_size, sizes.seq_len, folder, max(1.0, limit_seconds - seconds))
    try:
        with Stopwatch(*asked, variables=variables, text=text) as watch:
            learnt, rows, peak = watch.learn(seconds), watch.started.rows, watch.peak_memory_bytes()
    except RunFailed as failure:
        return Trial(sizes, predicted, None, None, None, f"{failure.kind}: {failure}")
    if peak is not None and machine.memory_bytes is not None and peak > planning.MEMORY_SHARE * machine.memory_bytes:
        return Trial(sizes, predicted, None, None, peak, "it fills the device's memory")
    if rows < trained.rows:  # the device took the step in smaller portions
        sizes, trained = replace(sizes, rows=rows), replace(trained, rows=rows)
    speed = predict.tokens_per_second(trained, machine)
    speeds = (predicted, speed.value if speed else 0.0)
    return trials.of_training(sizes, trained, learnt, speeds, full_seconds, text.train_bytes, peak)


def _path(made: Plan, corpus: str) -> Path:
    """In the cache, named after all that the outcome depends on."""
    return cache_dir() / "tune" / f"{_key(made)}-{hashlib.blake2b(corpus.encode(), digest_size=5).hexdigest()}.json"


def _key(made: Plan) -> str:
    """Of everything but the text."""
    facts, profile = made.choice.facts, made.profile
    backend = made.choice.backend
    offered = {name: values for name, values in facts.choices.items() if name != "dtype"}  # measured anew by each probe
    runtime = [facts.threads, offered, profile.runtime]
    code = [path.read_bytes().decode("utf-8", "replace") for folder in backend.python_path for path in sorted(folder.glob("*.py"))]
    parts = [
        FORMAT, __version__, facts.device, facts.device_id, facts.cores, facts.memory_bytes, facts.compile, facts.attention,
        choices.asked_for("dtype"), runtime, facts.versions, backend.name, code, planning.LAW.read_text(encoding="utf-8"),
        asdict(profile.sizes), profile.train, profile.budget.train_seconds,
    ]  # fmt: skip
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=10).hexdigest()
    return f"{backend.name}-{digest}"

"""The part of `--profile auto` that measures: the machine's limits, then real steps of the few sizes that the planner ranks first,
then the winner with each other choice that its runtime has (tune_runtime.py).

At most BUDGET_SECONDS of trials, or what was asked for. What wins becomes the profile `auto`: the fitting named profile with other
sizes. It is kept in the cache for this device, backend, versions and profile, so that the next study begins at once; where nothing
could be tried, nothing is kept. The named profile itself is tried first, and only a gain beyond the law's own error moves away from
it: published results stay comparable.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from autoresearch import __version__, choices, constants, durable
from autoresearch.child import RunFailed
from autoresearch.hardware import conditions, plan, tune_runtime
from autoresearch.hardware import sizes as planning
from autoresearch.hardware.model import Sizes
from autoresearch.hardware.plan import Plan
from autoresearch.hardware.predict import Machine
from autoresearch.hardware.profiles import Profile
from autoresearch.hardware.registry import Backend
from autoresearch.hardware.sizes import Candidate
from autoresearch.hardware.stopwatch import Limits, Stopwatch, alternate, measure_limits
from autoresearch.hardware.tune_runtime import Change
from autoresearch.measure.clock import awake_seconds
from autoresearch.paths import cache_dir

BUDGET_SECONDS = 300.0  # chosen: as one experiment, once a machine. With a cold, slow g++ a trial takes 70 s: 90 were for none
SHORTEST_TRIAL_SECONDS = 15.0  # chosen: less is not enough to start PyTorch and compile
TRIALS = 4  # sizes that are tried: the named profile's and the best of the others
TIMED_STEPS = 5
RUNTIME_SECONDS = 25.0  # of the budget, where the runtime has choices: two starts from a filled cache (docs/design/sizes.md)
PAGING_SLOWDOWN = 3  # a driver that moves the device's memory over the bus: published runs got 3 to 10 times slower
LAW_SAYS = 3.0  # bits per byte: what knows nothing pays about as much, and the law was fitted to trainings that learn
FORMAT = 3  # of what is kept in the cache


@dataclass(frozen=True)
class Trial:
    """One candidate, tried. tokens_per_second None: it was refused, for `reason`."""

    sizes: Sizes
    predicted_tokens_per_second: float
    tokens_per_second: float | None
    peak_memory_bytes: int | None
    reason: str


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

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, table: dict) -> "Tuned":
        """Raises KeyError or TypeError for anything else than `to_json` gave."""
        trials = tuple(Trial(**one | {"sizes": Sizes(**one["sizes"])}) for one in table["trials"])
        chosen = None if table["sizes"] is None else Sizes(**table["sizes"])
        changes = tuple(Change(**one) for one in table["changes"])
        limits, runtime = Limits(**table["limits"]), dict(table["runtime"])
        return cls(chosen, runtime, table["reason"], limits, trials, changes, table["seconds"])


def asked(answer: float | str | None) -> dict:
    """The arguments of `tuned` for what --autotune says: seconds, "again", or None for the default."""
    return {"is_again": answer is not None, "seconds": answer if isinstance(answer, float) else BUDGET_SECONDS}


def tuned(
    made: Plan, say: Callable[[str], None] = lambda line: None, is_again: bool = False, seconds: float = BUDGET_SECONDS
) -> Plan:
    """The plan with sizes that were measured here, from the cache or from trials; the same plan where nothing can be measured.

    is_again: not from the cache. seconds: of trials, at most.
    """
    backend, profile = made.choice.backend, made.profile
    train_py = backend.train_py.read_text(encoding="utf-8")
    base = Sizes.of(profile, train_py)
    if base is None or backend.simulated:
        return made
    found = None if is_again else remembered(made)
    if found is None:
        try:
            found = _measure(made, base, train_py, say, seconds)
        except RunFailed as failure:
            say(f"autotune  {failure}; the profile {profile.name} stays as it is")
            return made
        if any(one.tokens_per_second for one in found.trials):
            path = _path(made)
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.write(path, json.dumps(found.to_json(), indent=1).encode())
    for line in lines(found, profile.budget["train_seconds"]):
        say(f"autotune  {line}")
    return plan.informed(applied(made, found))


def remembered(made: Plan) -> Tuned | None:
    """What was measured on this machine before, for the same profile and versions."""
    try:
        return Tuned.from_json(json.loads(_path(made).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never measured, or by another version: measure


def applied(made: Plan, found: Tuned) -> Plan:
    """The plan with what was found. Its facts are still those of the runtime's own choices: see plan.informed."""
    profile = made.profile if found.sizes is None else resized(made.profile, found.sizes)
    if found.runtime:
        title = f"{made.profile.title}, fitted to this machine"
        profile = replace(profile, name="auto", title=title, runtime=profile.runtime | found.runtime)
    return replace(made, profile=profile, profile_reason=f"{found.reason} ({made.profile.name}: {made.profile_reason})")


def resized(profile: Profile, sizes: Sizes) -> Profile:
    """The profile under the name `auto`, with other sizes."""
    train = profile.train | {
        "DEPTH": sizes.depth,
        "ASPECT_RATIO": round(sizes.width / sizes.depth),
        "HEAD_DIM": sizes.head_dim,
        "DEVICE_BATCH_SIZE": sizes.rows,
        "TOTAL_BATCH_SIZE": sizes.batch_tokens,
    }
    data = profile.data | {"vocab_size": sizes.vocab_size, "seq_len": sizes.seq_len}
    return replace(profile, name="auto", title=f"{profile.title}, sized for this machine", data=data, train=train)


def lines(found: Tuned, train_seconds: float) -> list[str]:
    """What was tried and what came of it."""
    shown = []
    for trial in found.trials:
        words = trial.reason
        if trial.tokens_per_second:
            expected = planning.judge(trial.sizes, trial.tokens_per_second, train_seconds).val_bpb
            words = f"{trial.tokens_per_second:,.0f} tokens/s ({trial.predicted_tokens_per_second:,.0f} predicted)"
            is_known = expected < LAW_SAYS
            words += f", val_bpb {expected:.3f} by the law for stdlib" if is_known else ", too short a training for the law"
        shown.append(f"{described(trial.sizes)}: {words}")
    return [*shown, *(f"{choices.described({one.name: one.value})}: {one.reason}" for one in found.changes)]


def described(sizes: Sizes) -> str:
    return (
        f"depth {sizes.depth}, width {sizes.width}, seq_len {sizes.seq_len}, vocabulary {sizes.vocab_size}, "
        f"{sizes.batch_tokens} tokens a step"
    )


def _measure(made: Plan, base: Sizes, train_py: str, say: Callable[[str], None], budget_seconds: float) -> Tuned:
    start = awake_seconds()
    say(f"autotune  at most {budget_seconds:.0f} s, once for this machine; `--autotune off` goes without")
    backend, seconds = made.choice.backend, made.profile.budget["train_seconds"]
    others = tune_runtime.alternatives(made.choice.facts)
    reserved = RUNTIME_SECONDS if others else 0.0

    def left() -> float:
        return budget_seconds - (awake_seconds() - start)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        limits = measure_limits(backend, folder / "limits", choices.settled(made.profile.runtime, made.choice.facts.dtype))
        machine = Machine.of(made.choice.facts, limits.known)
        order = planning.ranked(base, machine, seconds)
        trials = []
        for index, candidate in enumerate(chosen_few(order, base)):
            if left() - reserved < SHORTEST_TRIAL_SECONDS:
                break
            say(f"autotune  {left():.0f} s left, trying {described(candidate.sizes)}")
            limit_seconds = left() - reserved
            trials.append(_try(backend, train_py, made.profile, candidate, machine, folder / str(index), limit_seconds))
        trials = without_paging(trials)
        best, reason = verdict(trials, base, seconds)
        profile = made.profile if best is None else resized(made.profile, best)

        def watch(runtime: dict[str, choices.Value]) -> Stopwatch:
            place, data = Path(tempfile.mkdtemp(dir=folder)), profile.data
            say(f"autotune  {left():.0f} s left, trying {choices.described(runtime) or 'the choices of the runtime'}")
            text = constants.write(train_py, profile.train)
            variables = choices.settled(profile.runtime | runtime, made.choice.facts.dtype)
            return Stopwatch(backend, text, data["vocab_size"], data["seq_len"], place, left(), variables=variables)

        others, later = tune_runtime.postponed(others, conditions.look().alerts.get("load"))
        runtime, changes = tune_runtime.compare(others, watch, left, machine.memory_bytes)
    if runtime:
        reason += f"; {choices.described(runtime)}, which is faster here than the runtime's own choice"
    return Tuned(best, runtime, reason, limits, tuple(trials), (*changes, *later), awake_seconds() - start)


def chosen_few(order: list[Candidate], base: Sizes) -> list[Candidate]:
    """The named profile's own sizes, then the best of each shape (depth and width), best first: TRIALS at most."""
    shapes: dict[tuple[int, int], Candidate] = {}
    for candidate in order:
        if replace(candidate.sizes, rows=base.rows) != base:
            shapes.setdefault((candidate.sizes.depth, candidate.sizes.width), candidate)
    own = [candidate for candidate in order if candidate.sizes == base]
    return [*own[:1], *list(shapes.values())[: TRIALS - 1]]


def without_paging(trials: list[Trial]) -> list[Trial]:
    """The trials, those refused whose pace says that memory is moved to and fro behind the training's back.

    Windows's driver does that instead of saying that the device is full. Such a trial takes more memory than the smallest one, and
    has less than a third of the speed that the planner says once that one has put it right, where some ten per cent are usual.
    """
    known = [one for one in trials if one.tokens_per_second and one.peak_memory_bytes is not None]
    if not known:
        return trials
    least = min(known, key=lambda one: one.peak_memory_bytes)
    pace = least.tokens_per_second / least.predicted_tokens_per_second
    checked = []
    for one in trials:
        expected = one.predicted_tokens_per_second * pace
        if one in known and one.peak_memory_bytes > least.peak_memory_bytes and PAGING_SLOWDOWN * one.tokens_per_second < expected:
            words = f"{one.tokens_per_second:,.0f} tokens/s where a smaller one's pace says {expected:,.0f}"
            one = replace(one, tokens_per_second=None, reason=f"{words}: it does not stay in the device's memory")
        checked.append(one)
    return checked


def verdict(trials: list[Trial], base: Sizes, train_seconds: float) -> tuple[Sizes | None, str]:
    """(sizes or None for the named profile's, why), from measured speeds."""
    judged = [planning.judge(one.sizes, one.tokens_per_second, train_seconds) for one in trials if one.tokens_per_second]
    if not judged:
        return None, "autotune: nothing could be tried in time, so the named profile stays; `--autotune 900` gives it more"
    best = min(judged, key=lambda one: one.val_bpb)
    own = next((one for one in judged if replace(one.sizes, rows=base.rows) == base), None)
    if own is None:
        return best.sizes, f"autotune: {described(best.sizes)}; the named profile could not be trained here"
    gain, error = 1 - best.val_bpb / own.val_bpb, planning.law().error
    if best is own or gain <= error:
        return None, f"autotune: nothing tried is better than the named profile by more than the law's error of {error:.1%}"
    return best.sizes, (
        f"autotune: {described(best.sizes)}, {best.tokens_per_second:,.0f} tokens/s measured, "
        f"lowers the predicted val_bpb by {gain:.1%} against the named profile"
    )


def _try(
    backend: Backend, train_py: str, profile: Profile, candidate: Candidate, machine: Machine, folder: Path, seconds: float
) -> Trial:
    sizes, predicted = candidate.sizes, candidate.tokens_per_second
    text = constants.write(train_py, resized(profile, sizes).train)
    try:
        variables = choices.variables(profile.runtime)
        with Stopwatch(backend, text, sizes.vocab_size, sizes.seq_len, folder, seconds, variables=variables) as watch:
            step = alternate({"step": lambda: watch.seconds("step")}, TIMED_STEPS)["step"]
            peak, speed = watch.peak_memory_bytes(), watch.tokens_per_step / step
            rows = watch.started.rows
    except RunFailed as failure:
        return Trial(sizes, predicted, None, None, f"{failure.kind}: {failure}")
    if peak is not None and machine.memory_bytes is not None and peak > planning.MEMORY_SHARE * machine.memory_bytes:
        return Trial(sizes, predicted, None, peak, "it fills the device's memory")
    return Trial(replace(sizes, rows=rows), predicted, speed, peak, "measured")


def _path(made: Plan) -> Path:
    """In the cache, named after all that the outcome depends on."""
    facts, profile = made.choice.facts, made.profile
    backend = made.choice.backend
    runtime = [facts.threads, facts.choices, profile.runtime]
    code = [path.read_bytes().decode("utf-8", "replace") for folder in backend.python_path for path in sorted(folder.glob("*.py"))]
    parts = [
        FORMAT, __version__, facts.device, facts.cores, facts.memory_bytes, facts.dtype, facts.compile, facts.attention,
        runtime, facts.versions, backend.name, code, planning.LAW.read_text(encoding="utf-8"),
        profile.data, profile.train, profile.budget["train_seconds"],
    ]  # fmt: skip
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=10).hexdigest()
    return cache_dir() / "tune" / f"{backend.name}-{digest}.json"

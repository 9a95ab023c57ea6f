"""The contracts of a backend, one after the other: `check(backend)` gives an `Checked` for each as it is known.

How they are tried: contracts.py. The table is at the end; docs/design/conformance.md says what each shows, and what none shows.
"""

import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autoresearch.checks.conformance import golden
from autoresearch.checks.conformance.contracts import Checked, Contract, Fault, NotApplicable, tried
from autoresearch.checks.conformance.subject import SEED, STEPS, TINY, Counted, Subject, prepared_text, some_tokens
from autoresearch.errors import UsageError
from autoresearch.hardware.devices.detect import ProbeFault
from autoresearch.hardware.devices.registry import Backend
from autoresearch.measure.clock import awake_seconds
from autoresearch.measure.summary import RunResult
from autoresearch.run.experiment import execute, grace_seconds
from autoresearch.run.scoring import evaluate

BUDGET_SECONDS = 2.0  # of the run with a clock
SAME_LOSS_NATS = 1e-3  # between two runs with one seed: sums in another order, as GPUs' atomics make them, in a few steps
EARLIER_LOGIT = 0.02  # nats; rounding in bfloat16 moves one by less, and the smallest real leak tried moved 0.68
SAME_LOGIT = 0.02  # between two processes that run the same weights, perhaps by other kernels
SAME_BPB = 1e-4
# Of the model that can't fit: 2**31 - 1 rows of an embedding, the most that every framework can count, times TOO_WIDE float32.
TOO_MANY_TOKENS, TOO_WIDE = 2**31 - 1, {"DEPTH": 1, "HEAD_DIM": 64, "ASPECT_RATIO": 4096}


def check(backend: Backend, budget_seconds: float = BUDGET_SECONDS) -> Iterator[Checked]:
    """Every contract's outcome, in the table's order, as it becomes known.

    Raises nothing for what the backend does; UsageError where a variable of the user's is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="autoresearch-check-", ignore_cleanup_errors=True) as folder:
        subject = Subject(backend, Path(folder).resolve(), budget_seconds)
        yield from tried(CONTRACTS, subject, "train.py or runtime.py", lambda: _does_not_work(subject))


def _does_not_work(subject: Subject) -> str | None:
    return f"does not work here: {subject.facts.reason}" if subject.facts and not subject.facts.ok else None


def probe(subject: Subject) -> str:
    """In time, JSON, typed; each choice has its reason; unknown is null."""
    if subject.backend.problem:
        raise Fault(f"{subject.backend.problem}; mend backend.toml", "backend.toml")
    start = awake_seconds()
    try:
        facts = subject.probe()
    except ProbeFault as fault:
        raise Fault(f"{fault}; `python runtime.py --probe` must print one JSON line of the facts (devices/facts.py)") from fault
    if facts.wrong_input:
        raise UsageError(str(facts.reason), facts.cure)
    if not facts.ok:
        raise NotApplicable(f"{facts.reason}; to do: {facts.cure or '`autoresearch doctor` says more'}")
    for choice in ("dtype", "compile", "attention") if subject.backend.trains else ():
        if getattr(facts, choice) is None or not getattr(facts, f"{choice}_reason"):
            raise Fault(f"{choice} or {choice}_reason is missing; a choice is printed with its reason")
    if facts.peak_flops and not facts.peak_source:
        raise Fault("peak_flops has no peak_source; say where the number comes from, or leave it null")
    zeros = [name for name in ("count", "memory_bytes", "cores") if getattr(facts, name) == 0]
    if zeros:
        raise Fault(f"{zeros[0]} is 0; what is not known is null")
    return f"{awake_seconds() - start:.1f} s; {facts.device}, {facts.dtype or 'trains nothing'}"


def trains(subject: Subject) -> str:
    """train.py asks for data, makes its steps, reports each loss."""
    if not subject.backend.trains:
        raise NotApplicable("it trains nothing: it is for tasks that run commands")
    losses = subject.counted().losses
    if len(losses) != STEPS:
        raise Fault(f"{STEPS} steps reported {len(losses)} losses; call run.report(loss) once a step", f"{len(losses)} losses")
    return f"loss {losses[0]:.4f} to {losses[-1]:.4f} in {STEPS} steps"


def seeds(subject: Subject) -> str:
    """One seed, one run; another seed, other starting weights."""
    first, other_stand_in, other = subject.counted(), subject.counted(stand_in_seed=1), subject.counted(seed=SEED + 1)
    # Equal in spite of other stand-in tokens: then a third run would say no more.
    again = other_stand_in if first.losses == other_stand_in.losses else subject.counted(name="again")
    worst = _largest_difference(first.losses, again.losses)
    figure = "bitwise" if first.losses == again.losses else f"largest difference {worst:.1e} nats"
    if not worst <= SAME_LOSS_NATS:
        cure = "call runtime.seed(run.seed) before build_model, and let it seed every generator"
        raise Fault(f"two runs with one seed differ; {cure}", figure)
    is_same_start = _weights_at_go(first) == _weights_at_go(other)
    if is_same_start and not subject.backend.simulated:
        raise Fault("another seed gives the same starting weights; seed with run.seed, not with a constant", figure)
    return figure


def warm_up(subject: Subject) -> str:
    """Other stand-in tokens before the clock change nothing after it: neither weights nor optimizer kept a trace of them."""
    first, other = subject.counted(), subject.counted(stand_in_seed=1)
    worst = _largest_difference(first.losses, other.losses)
    is_same = _weights_at_go(first) == _weights_at_go(other)
    figure = f"weights at GO {'bitwise' if is_same else 'differ'}, losses {'bitwise' if worst == 0 else f'to {worst:.1e} nats'}"
    if not is_same or not worst <= SAME_LOSS_NATS:
        cure = "put weights and optimizer back after warm-up, and call runtime.seed(run.seed) again"
        raise Fault(f"what is done on stand-in tokens before the clock changes the training; {cure}", figure)
    return figure


def validation_text(subject: Subject) -> str:
    """No path of the validation text in what the training process was told, opened, mapped or has in its environment."""
    run = subject.counted()
    folder = str(prepared_text().val_folder)
    texts = [json.dumps(run.job), *run.known]
    reached = [text for text in texts if folder in text or json.dumps(folder)[1:-1] in text]
    if reached:
        figure = f"{len(reached)} of {len(texts)} paths and settings"
        raise Fault(f"the training process reached {reached[0][:200]}; it may only read what run.batch() gives", figure)
    return f"{len(run.known)} paths and settings, none of it"


def save_and_load(subject: Subject) -> str:
    """A fresh process with the saved weights gives the logits of the process that trained them."""
    run = subject.counted()
    if not run.is_model_saved:
        raise Fault("train.py did not save by runtime.save_weights(model, path); pass run.steps() a save that does")
    loaded = subject.logits(run.folder / "checkpoint", np.load(run.folder / "ids.npy")).astype(np.float32)
    worst = float(np.abs(loaded - np.load(run.folder / "logits.npy").astype(np.float32)).max())
    figure = f"largest change of a logit {worst:.1e}"
    if not worst <= SAME_LOGIT:
        raise Fault("loaded weights give other logits; save and load every tensor that logits are made of", figure)
    return figure


def causality(subject: Subject) -> str:
    """Another token moves no logit before it."""
    _not_simulated(subject)
    ids = np.repeat(some_tokens(1), 1 + len(_CUTS), axis=0)
    for row, cut in enumerate(_CUTS, start=1):
        ids[row, cut] = (ids[row, cut] + 1) % 256
    logits = subject.logits(subject.counted().folder / "checkpoint", ids).astype(np.float32)
    moved = np.abs(logits[1:] - logits[0]).max(axis=2)  # [cuts, T]
    earlier = max(float(row[:cut].max(initial=0.0)) for row, cut in zip(moved, _CUTS, strict=True))
    if not moved.any():
        raise Fault("no logit changes when a token does; logits(model, ids, out) must be of the ids", "no change at all")
    figure = f"largest change of an earlier logit {earlier:.1e}, of a later one {moved.max():.1e}"
    if not earlier <= EARLIER_LOGIT:
        raise Fault("a token changes the logits before it; mask attention (and any mixing of positions) to row >= column", figure)
    return figure


def scoring(subject: Subject) -> str:
    """The score does not depend on how many rows the scorer sends at a time."""
    run, setup = subject.counted(), subject.setup
    one, many = (evaluate(setup, run.folder, rows=rows).value for rows in (1, 32))
    figure = f"{one:.6f} and {many:.6f} bpb"
    if not abs(one - many) <= SAME_BPB:
        raise Fault("rows of a batch change each other's logits; a row's logits must depend on that row alone", figure)
    return figure


def clock(subject: Subject) -> str:
    """A run of the real harness ends by the clock."""
    result = _timed(subject)
    if result.training_seconds is None:
        raise Fault(f"{result.status}: {result.reason}; train only inside `for step in run.steps(save=...)`", result.status)
    grace = grace_seconds(subject.budget_seconds)
    return f"{result.training_seconds:.2f} s of {subject.budget_seconds:g} s (grace {grace:g} s), {result.num_steps} steps"


def summary(subject: Subject) -> str:
    """Every line of the summary block is a number that can be true, or n/a."""
    result = _timed(subject)
    if not result.ok:
        raise Fault(f"{result.status}: {result.reason}; mend that in train.py or runtime.py", result.status)
    assert result.val_bpb is not None and result.num_steps is not None, "a run that is ok has both"
    prepared = prepared_text()
    worst_bpb = 2 * math.log2(prepared.vocab_size) / prepared.mean_token_bytes  # twice that of knowing nothing
    doubts = {
        "val_bpb": not 0 < result.val_bpb < worst_bpb,
        "num_steps": not result.num_steps,
        "total_tokens": not result.total_tokens or result.total_tokens < result.num_steps,
        "depth": result.depth == 0,
        "num_params": result.num_params == 0,
        "peak_memory_bytes": result.peak_memory_bytes is not None and result.peak_memory_bytes < 1 << 20,
        "mfu_percent": result.mfu_percent is not None and not 0 < result.mfu_percent <= 100,
    }
    for name, is_doubtful in doubts.items():
        if is_doubtful:
            raise Fault(f"{name} is {getattr(result, name)}; give run.describe() what was measured, or nothing", name)
    unknown = [line.split(":")[0] for line in result.summary_block().splitlines() if line.endswith("n/a")]
    return f"{result.val_bpb:.4f} bpb, {result.total_tokens} tokens; n/a: {', '.join(unknown) or 'nothing'}"


def out_of_memory(subject: Subject) -> str:
    """A model larger than any memory ends as oom, not as a crash."""
    _not_simulated(subject)
    result = execute(subject.resized(TOO_MANY_TOKENS), subject.train_py(TINY | TOO_WIDE), SEED, subject.folder / "out-of-memory")
    if result.status != "oom":
        cure = "raise MemoryError, or an error that says `out of memory`"
        raise Fault(f"ended as {result.status}: {result.reason}; when memory does not suffice, {cure}", result.status)
    return f"oom: {str(result.reason)[:120]}"


def golden_state(subject: Subject) -> str:
    """The reference's numbers, in the dtype that the backend has chosen."""
    _not_simulated(subject)
    return golden.compare(subject, _dtype(subject), {})


def golden_float32(subject: Subject) -> str:
    """The reference's numbers, as near as float32 comes."""
    _not_simulated(subject)
    if _dtype(subject) == "float32":
        raise NotApplicable("float32 is its own dtype: compared above")
    return golden.compare(subject, "float32", {"AUTORESEARCH_DTYPE": "float32"})


def _dtype(subject: Subject) -> str:
    assert subject.facts is not None and subject.facts.dtype is not None, "the contract `probe` has passed"
    return subject.facts.dtype


def _not_simulated(subject: Subject) -> None:
    if subject.backend.simulated or not subject.backend.trains:
        raise NotApplicable("simulated: it has no model" if subject.backend.trains else "it trains nothing")


def _timed(subject: Subject) -> RunResult:
    """The one run with the real clock. A loaded machine may stall it for longer than the grace, so it has a second try."""
    for attempt in ("clock", "clock-again"):
        if subject.timed is None or subject.timed.status == "timeout":
            subject.timed = execute(subject.setup, subject.train_py(TINY), SEED, subject.folder / attempt)
    assert subject.timed is not None, "the first turn has set it"
    return subject.timed


def _largest_difference(first: list[float], other: list[float]) -> float:
    return max((abs(a - b) for a, b in zip(first, other, strict=True)), default=math.inf)


def _weights_at_go(run: Counted) -> bytes:
    return (run.folder / "weights-at-go").read_bytes()


_CUTS = (1, 2, 15, 16, 17, 32, 47, 63)  # positions of the changed token: about a short window, the middle, the end

CONTRACTS: tuple[Contract[Subject], ...] = (
    Contract("probe", probe),
    Contract("trains", trains, ("probe",)),
    Contract("same seed reproduces", seeds, ("trains",)),
    Contract("warm-up leaves no trace", warm_up, ("same seed reproduces",)),
    Contract("no validation text", validation_text, ("trains",)),
    Contract("save and load", save_and_load, ("trains",)),
    Contract("causality", causality, ("save and load",)),
    Contract("scoring agrees", scoring, ("save and load",)),
    Contract("clock obeyed", clock, ("trains",)),
    Contract("summary complete", summary, ("clock obeyed", "save and load")),
    Contract("out of memory", out_of_memory, ("trains",)),
    Contract("golden state", golden_state, ("probe",)),
    Contract("golden state, float32", golden_float32, ("probe",)),
)

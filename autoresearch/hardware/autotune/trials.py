"""Which sizes to try next, and which have won: the law's order, put right by trials that really trained on this machine.

What a trial says of its sizes is what the law says of them for the full time at the speed that was measured, times how far the
trial itself, at its fewer tokens a step, was from the law. The law is off by some per cent, and alike for sizes that are alike; so
its errors at the sizes that were tried are carried over to their neighbours, as a Gaussian process (Rasmussen and Williams 2006,
chapter 2) over the logarithms of depth, width, row length, vocabulary and batch: smooth errors, and exponents that are wrong. The
next trial is the candidate that may well be the best: its expected score less HOPE standard deviations is the lowest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoresearch.hardware.autotune.sizes import Candidate, judge
from autoresearch.hardware.autotune.stopwatch import Learnt
from autoresearch.hardware.planner.model import Sizes

SPREAD, SLOPE = 0.04, 0.04  # of the law's relative errors before a trial: those of neighbours, and a wrong exponent's in an octave
TRIAL_ERROR = 0.01  # relative, of a trial's own outcome; what two seeds of one size differ by in half a minute
OCTAVES = (1.0, 0.7, 1.5, 1.5, 1.5)  # over which the errors go on alike: of depth, width, seq_len, vocabulary, tokens a step
HOPE = 1.0


@dataclass(frozen=True)
class Trial:
    """One candidate, tried. learnt None: it was refused, for `reason`."""

    sizes: Sizes
    predicted_tokens_per_second: float
    learnt: Learnt | None
    expected: float | None  # bits per byte at the end of the full time
    peak_memory_bytes: int | None
    reason: str
    trained: Sizes | None = None  # what the trial trained in their place: the same at fewer tokens a step
    tokens_per_second: float | None = None  # of the sizes, from the trial's own


def of_training(
    sizes: Sizes, trained: Sizes, learnt: Learnt, predicted: tuple[float, float], train_seconds: float, text_bytes: float,
    peak_memory_bytes: int | None = None,
) -> Trial:  # fmt: skip
    """The trial that sizes got by a training of `trained`, and what it lets expect of them after train_seconds.

    predicted: tokens a second of the two. text_bytes: of the training text.
    """
    own, tried = predicted
    speed = learnt.tokens_per_second * (own / tried if own and tried else 1.0)
    at_the_end = judge(sizes, speed, train_seconds, text_bytes).val_bpb
    so_far = judge(trained, learnt.tokens_per_second, learnt.seconds, text_bytes).val_bpb
    expected = at_the_end * learnt.bpb / so_far
    return Trial(sizes, own, learnt, expected, peak_memory_bytes, "trained", trained, speed)


def next_candidate(order: Sequence[Candidate], trials: Sequence[Trial]) -> Candidate | None:
    """The one to try next; None when all were. order: every candidate, as the law has it."""
    tried = {place(trial.sizes) for trial in trials}
    left = [candidate for candidate in order if place(candidate.sizes) not in tried]
    if not left:
        return None
    mean, deviation = corrections(trials, order, [candidate.sizes for candidate in left])
    hopes = [
        math.log(candidate.val_bpb) + shift - HOPE * error for candidate, shift, error in zip(left, mean, deviation, strict=True)
    ]
    return left[int(np.argmin(hopes))]


def corrections(trials: Sequence[Trial], order: Sequence[Candidate], asked: Sequence[Sizes]) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of ln(trial / law) at the sizes that are asked about, float64 [asked] each."""
    law = {place(candidate.sizes): candidate.val_bpb for candidate in order}
    known = [(trial.sizes, trial.expected) for trial in trials if trial.expected is not None and place(trial.sizes) in law]
    if not known:
        return np.zeros(len(asked)), np.full(len(asked), SPREAD)
    errors = np.array([math.log(score / law[place(sizes)]) for sizes, score in known])
    places, wanted = _places([sizes for sizes, _ in known]), _places(asked)
    places, wanted = places - places[0], wanted - places[0]
    # A factor that all sizes share says nothing of their order, and a text has its own: it is taken as unknown.
    inside = _alike(places, places) + TRIAL_ERROR**2 * np.eye(len(known)) + 1.0
    across = _alike(wanted, places) + 1.0
    solved = np.linalg.solve(inside, np.column_stack([errors, across.T]))
    variance = SPREAD**2 + SLOPE**2 * (wanted**2).sum(-1) + 1.0 - np.einsum("ij,ji->i", across, solved[:, 1:])
    return across @ solved[:, 0], np.sqrt(np.maximum(variance, 0))


def place(sizes: Sizes) -> Sizes:
    """What is the same for two trials of one candidate: a device that was full took the same batch in smaller portions."""
    return replace(sizes, rows=1)


def best_first(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that trained, the lowest expected score first; only those of the last round, in which all trained for as long:
    what is expected after a short trial is off in another way than after a long one.
    """
    trained = [(trial.expected, trial.learnt.seconds, trial) for trial in trials if trial.learnt and trial.expected is not None]
    longest = max((seconds for _, seconds, _ in trained), default=0.0)
    last = [(score, trial) for score, seconds, trial in trained if seconds > longest / 2]
    return [trial for _, trial in sorted(last, key=lambda pair: pair[0])]


def _places(sizes: Sequence[Sizes]) -> np.ndarray:
    """[sizes, 5]: where each lies, in units of OCTAVES."""
    values = [(point.depth, point.width, point.seq_len, point.vocab_size, point.batch_tokens) for point in sizes]
    return np.log2(np.array(values, np.float64)) / OCTAVES


def _alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Covariance of the law's errors, [first, second]."""
    distance = ((first[:, None] - second[None]) ** 2).sum(-1)
    covariance: np.ndarray = SPREAD**2 * np.exp(-distance / 2) + SLOPE**2 * first @ second.T
    return covariance

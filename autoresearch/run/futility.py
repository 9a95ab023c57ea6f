"""`--stop-early`: end a training whose loss is hopelessly behind the baseline's, as a discard. Pure; off by default.

The rule: at CHECKPOINTS of the time, a candidate's training loss is compared with the loss that the baseline had after LAG of that
time. A candidate that is above it, by more than the noise of the batches, has needed 2.5 times as long as the baseline for what
it has learnt, and too little time is left to make that good. A lag in time, and not a difference in loss, because losses of other
schedules cross: before its learning rate falls, a good candidate may lie well above the best at the same moment, but not above
where the best was so much earlier. Losses are means over the last WINDOW of the time that has gone by; with fewer than
MIN_POINTS of them (trainings under about 50 s) nothing is stopped.

train.py reports its loss itself. One that reports too high a loss is stopped and so harms itself; one that reports too low a loss
is trained to the end and scored as any other. It is the baseline's curve that others are held against, and not the best's, which
saves less time late in a night: the baseline is the one text that no agent has written.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import msgspec

FUTILE = "futile"  # the ledger's state of a run that was ended so
CHECKPOINTS = (0.5, 0.75)  # of the training time
_MOST = 1e9  # of a loss, in nats, that the border lets through, and more than any part of a training's time
LAG = 0.4  # chosen on simulated curves: docs/design/noise.md
WINDOW = 0.2
MIN_POINTS = 8
MARGIN = 3.0  # standard errors of the difference of the two means

Curve = list[tuple[float, float]]  # (progress in [0, 1] by the harness's clock, training loss in nats)


class _Line(msgspec.Struct):
    """Of curve.jsonl."""

    seconds: float
    loss: float


_LINES = msgspec.json.Decoder(_Line)  # a night's curves are a million lines


class Futility:
    """Follows one training. `objection` is to be called with each reported loss, in order."""

    def __init__(self, baseline: Curve):
        self._baseline = baseline
        self._curve: Curve = []
        self._left = list(CHECKPOINTS)

    def objection(self, progress: float, loss: float) -> str | None:
        """Why this training is hopeless, with the numbers; None while it is not, and where too little is known."""
        self._curve.append((progress, loss))
        if not self._left or progress < self._left[0]:
            return None
        return _objection(self._baseline, self._curve, self._left.pop(0))


def read_curve(path: Path, train_seconds: float) -> Curve:
    """A run's curve.jsonl; empty when it is gone or damaged: then nothing is stopped, and no agent is shown it."""
    try:
        curve = [(line.seconds / train_seconds, line.loss) for line in _LINES.decode_lines(path.read_bytes())]
        return [(at, loss) for at, loss in curve if at <= _MOST and abs(loss) <= _MOST]
    except (OSError, ValueError):
        return []


def means(curve: Curve, at: Iterable[float], width: float) -> tuple[float | None, ...]:
    """The mean loss of the `width` of the time before each of `at`; None where there is none."""
    windows = ([loss for progress, loss in curve if place - width < progress <= place] for place in at)
    return tuple(math.fsum(losses) / len(losses) if losses else None for losses in windows)


def _objection(baseline: Curve, curve: Curve, at: float) -> str | None:
    now, then = _level(curve, at), _level(baseline, LAG * at)
    if now is None or then is None:
        return None
    margin = MARGIN * math.hypot(now[1], then[1])
    if now[0] <= then[0] + margin:
        return None
    return (
        f"ended early, hopeless: after {at:.0%} of the time its training loss is {now[0]:.3f},"
        f" and the baseline had {then[0]:.3f} after {LAG * at:.0%} (noise of the batches {margin:.3f})"
    )


def _level(curve: Curve, at: float) -> tuple[float, float] | None:
    """The mean loss over the last WINDOW of the time up to `at`, and its standard error; None from too few losses."""
    losses = [loss for progress, loss in curve if (1 - WINDOW) * at < progress <= at]
    if len(losses) < MIN_POINTS:
        return None
    center = math.fsum(losses) / len(losses)
    variance = math.fsum((loss - center) ** 2 for loss in losses) / (len(losses) - 1)
    return center, math.sqrt(variance / len(losses))

"""What a score is called and which way is better. Inside, lower is better: `max` is turned round here, and nowhere else.

Whoever shows a score to a person asks `text`, and for a gain or an error `amount`; whoever hands a table to a program, `told`.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta

DIGITS, FINEST = 6, 1e-6  # behind the point, and what they show at least
# What programs read under these names, beside a score under its own
TAKEN = "commit|memory_gb|status|description|number|seed|k|verdict|state|reason|scores|runs|depth|costs|bits|level|measured"
Table = TypeVar("Table")
RELATIVE = 1e-6  # chosen: of a metric without a resolution of its own, differences below this share of the score are none


@dataclass(frozen=True)
class Metric:
    """A score that is stored is lower when it is better; `shown` is what a person reads."""

    name: Annotated[
        str,
        Meta(
            pattern=rf"^(?!({TAKEN})$)[a-z][a-z0-9_]{{0,31}}$",
            description="a short name such as log_loss, and none that means something else",
        ),
    ] = "val_bpb"
    unit: Annotated[str, Meta(max_length=32)] = "bits per byte"
    direction: Literal["min", "max"] = "min"
    least_gain: Annotated[float, Meta(ge=0, le=1e300)] = 0.0  # a smaller gain is not worth a keep
    resolution: Annotated[float, Meta(ge=0, le=1e300)] = 0.0  # what differs by less does not differ; 0: RELATIVE of the score
    data: Annotated[str, Meta(min_length=1, max_length=32, description="what it is measured on, as in `validation text`")] = "data"
    pieces: Annotated[str, Meta(min_length=1, max_length=32, description="what that is drawn in, such as rows")] = "rows"
    above: Annotated[float, Meta(ge=-1e300, le=1e300)] = -1e300  # a stored score lies between these two, else it is none
    below: Annotated[float, Meta(ge=-1e300, le=1e300)] = 1e300

    def allows(self, score: float) -> bool:
        """Whether it can be a score; NaN and infinity are none."""
        return self.above < score < self.below

    @property
    def test_name(self) -> str:
        """Of the same on the test split: test_bpb for val_bpb."""
        return f"test_{self.label}"

    @property
    def label(self) -> str:
        """Behind an amount of it: 0.01 bpb."""
        return self.name.removeprefix("val_")

    @property
    def measure(self) -> str:
        """The unit in a sentence: bits a byte."""
        return (self.unit or self.label).replace(" per ", " a ")

    @property
    def per(self) -> str:
        """What the data is counted in: byte, of bits per byte; "" where that is its pieces."""
        return self.unit.partition(" per ")[2]

    @property
    def measured(self) -> str:
        """What it is, in a sentence: bits per byte on text."""
        return f"{self.unit} on {self.data}".strip()

    @property
    def piece(self) -> str:
        return self.pieces.removesuffix("s")

    @property
    def article(self) -> str:
        """Before the data: a text, but data and rows."""
        return "" if self.data.endswith(("a", "s")) else "a "

    @property
    def improve(self) -> str:
        return "lower" if self.direction == "min" else "raise"

    @property
    def better(self) -> str:
        """Which way that is, for a reader."""
        return "lower" if self.direction == "min" else "higher"

    @property
    def worse(self) -> str:
        return "higher" if self.direction == "min" else "lower"

    @property
    def beyond(self) -> str:
        """Where a better score lies."""
        return "below" if self.direction == "min" else "above"

    @property
    def is_fixed(self) -> bool:
        """Whether DIGITS behind the point show whatever is a difference."""
        return self.resolution >= FINEST

    def shown(self, score: float) -> float:
        """In the metric's own direction; turns a shown value into a score as well."""
        return score if self.direction == "min" else 0.0 - score  # not -0.0

    def text(self, score: float | None, digits: int = DIGITS) -> str:
        """For a person: n/a where there is none."""
        return "n/a" if score is None else _number(self, self.shown(score), digits, least=0.001)

    def change(self, difference: float, digits: int = DIGITS) -> str:
        """Of a score, with its sign: below 0 is better, but for max."""
        return _number(self, self.shown(difference), digits, sign="+")

    def amount(self, amount: float, error: float | None = None, digits: int = DIGITS, sign: str = "+-") -> str:
        """What has no direction: a gain, which is above 0 where it is one, or an error."""
        text = _number(self, amount, digits)
        return text if error is None else f"{text} {sign} {_number(self, error, digits)}"

    def share(self, gain: float, of: float, digits: int = 2) -> str:
        """A gain in percent of a score, in brackets; of 0 it has none."""
        return f" ({100 * gain / abs(of):.{digits}f} %)" if of else ""

    @property
    def is_upstreams(self) -> bool:
        """Whether it is the original project's, whose names other programs know."""
        return self.name == "val_bpb"

    @property
    def facts(self) -> dict[str, str]:
        """For a program, which takes upstream's for granted."""
        return {} if self.is_upstreams else {"metric": self.name, "unit": self.unit, "direction": self.direction}

    def key(self, key: str) -> str:
        """Of a table for programs. The old keys are pretraining's; elsewhere the metric's own name stands for val_bpb."""
        if self.is_upstreams:
            return key
        if "gain" in key:
            return key.replace("_bpb", "")
        names = {"val_bpb": self.name, "test_bpb": self.test_name, "bpb": self.label}
        return _BPB.sub(lambda found: names[found[0]], key)

    def told(self, table: Table) -> Table:
        """A table of ours, or a list of them, for a program: keys by the metric's name, scores in its direction."""
        told: Table = self._told(table)
        return told

    def _told(self, table: Any, is_score: bool = False) -> Any:
        if isinstance(table, list | tuple):
            return [self._told(one, is_score) for one in table]
        if not isinstance(table, dict):
            return self.shown(table) if is_score and isinstance(table, int | float) else table
        told = {}
        for name, value in table.items():
            own = self.key(name) if isinstance(name, str) else name
            own = own if own == name or own not in table else f"val_{own}"
            told[own] = self._told(value, is_score or name in _SCORES)
        return told

    def floor(self, score: float) -> float:
        """The smallest noise that is believed, about a score."""
        return self.resolution or max(RELATIVE * abs(score), 1e-12)


_BPB = re.compile("(?:val_|test_)?bpb")
# What holds scores, under any of these keys, is turned for max.
_SCORES = frozenset(
    ("val_bpb", "test_bpb", "bpb", "scores", "again", "tests", "best_val_bpb", "baseline_val_bpb", "baseline_test_bpb")
)


def _number(metric: Metric, amount: float, digits: int, sign: str = "-", least: float | None = None) -> str:
    """Fixed digits where they can show what is a difference, or are enough; else as many significant ones.

    least: what they are enough for; None: for the last of them.
    """
    least = 0.1**digits if least is None else least
    if metric.is_fixed or amount == 0 or least <= abs(amount) < 100_000:
        return f"{amount:{sign}.{digits}f}"
    return f"{amount:{sign}.1f}" if 1 < abs(amount) < 1e15 else f"{amount:{sign}.{digits}g}"


# Chosen: below its resolution nothing is a difference. Two scores of the same weights may differ by rounding, by 1e-5 in bfloat16.
VAL_BPB = Metric(data="text", pieces="documents", resolution=1e-5, above=0.0, below=1e6)

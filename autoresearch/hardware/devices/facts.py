"""What a backend's probe says of this machine: the one JSON line of `python runtime.py --probe`, checked.

    {"ok": true, "device": "NVIDIA H100 80GB HBM3", "memory_bytes": 85024112640, "capability": [9, 0], ...}
    {"ok": false, "reason": "no NVIDIA driver is loaded", "cure": "install the driver, then restart"}

Unknown is None, in JSON null, and prints `n/a`.
"""

import dataclasses
import json
from dataclasses import dataclass, field

from autoresearch.choices import VARIABLES
from autoresearch.errors import nearest


@dataclass(frozen=True)
class Facts:
    """A device as its backend sees it (ok), or the reason and the cure (not ok)."""

    ok: bool
    reason: str | None = None  # why not, in one line
    cure: str | None = None  # what to do about it, in one line
    wrong_input: bool = False  # not ok because of what the user has set: a variable that there is not
    auto: bool = True  # false: works here, but is only taken when asked for by name
    device: str | None = None
    count: int | None = None  # devices of this kind; one is used
    memory_bytes: int | None = None
    capability: tuple[int, int] | None = None  # CUDA compute capability: (8, 9)
    cores: int | None = None  # physical cores that this process may use
    matmul_tflops: float | None = None  # measured, in the best dtype (CPU only)
    dtype: str | None = None
    dtype_reason: str | None = None
    compile: bool | None = None
    compile_reason: str | None = None
    attention: str | None = None
    attention_reason: str | None = None
    threads: int | None = None  # that compute (CPU only)
    threads_reason: str | None = None
    choices: dict[str, list] = field(default_factory=dict)  # what else could be chosen here: autoresearch/choices.py
    peak_flops: float | None = None  # data sheet, dense, per second, in dtype
    peak_source: str | None = None
    peak_bandwidth: float | None = None  # data sheet, of the device's memory, bytes per second
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def memory_gb(self) -> float | None:
        """In GiB, as cards are sold: an "8 GB" card reports a little under 8 * 2**30 bytes."""
        return None if self.memory_bytes is None else self.memory_bytes / 2**30

    def to_dict(self) -> dict:
        table = dataclasses.asdict(self)
        table["capability"] = list(self.capability) if self.capability else None
        return table

    @classmethod
    def from_dict(cls, table: dict) -> "Facts":
        """Raises ValueError, in one line, for anything that the contract does not allow."""
        if not isinstance(table, dict):
            raise ValueError(f"the facts must be a JSON object, not {table!r}")
        for key, value in table.items():
            if key not in _CHECKS:
                raise ValueError(f"unknown fact {key!r}{nearest(key, _CHECKS)}")
            wanted, check = _CHECKS[key]
            if (value is None and key in _NEVER_NULL) or (value is not None and not check(value)):
                raise ValueError(f"fact {key!r} must be {wanted}, not {value!r}")
        if "ok" not in table:
            raise ValueError("the fact 'ok' is missing")
        needed = "device" if table["ok"] else "reason"
        if not table.get(needed):
            raise ValueError(f"the fact {needed!r} is missing")
        capability = table.get("capability")
        return cls(**{**table, "capability": tuple(capability) if capability else None})


def parse(line: str) -> Facts:
    """The probe's JSON line. Raises ValueError in one line."""
    try:
        table = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {line[:80]!r}") from error
    return Facts.from_dict(table)


def _is_count(value) -> bool:
    return type(value) is int and value >= 0


def _is_positive(value) -> bool:
    return type(value) in (int, float) and 0 < value < float("inf")


def _is_text(value) -> bool:
    return isinstance(value, str)


def _is_choice(value) -> bool:
    return type(value) in (bool, int, str)


_TEXT = ("text", _is_text)
_COUNT = ("a whole number from 0 up", _is_count)
_POSITIVE = ("a number above 0", _is_positive)
_FLAG = ("true or false", lambda value: type(value) is bool)
_NEVER_NULL = ("ok", "auto", "wrong_input", "choices", "versions")
_CHECKS = {
    "ok": _FLAG,
    "auto": _FLAG,
    "wrong_input": _FLAG,
    "reason": _TEXT,
    "cure": _TEXT,
    "device": _TEXT,
    "count": _COUNT,
    "memory_bytes": _COUNT,
    "capability": (
        "[major, minor]",
        lambda value: type(value) is list and len(value) == 2 and all(_is_count(part) for part in value),
    ),
    "cores": _COUNT,
    "matmul_tflops": _POSITIVE,
    "dtype": _TEXT,
    "dtype_reason": _TEXT,
    "compile": _FLAG,
    "compile_reason": _TEXT,
    "attention": _TEXT,
    "attention_reason": _TEXT,
    "threads": _COUNT,
    "threads_reason": _TEXT,
    "choices": (
        f"a table of lists of values for {', '.join(VARIABLES)}",
        lambda value: type(value) is dict
        and all(name in VARIABLES and type(values) is list and all(map(_is_choice, values)) for name, values in value.items()),
    ),
    "peak_flops": _POSITIVE,
    "peak_source": _TEXT,
    "peak_bandwidth": _POSITIVE,
    "versions": (
        "a table of text",
        lambda value: type(value) is dict and all(_is_text(part) for part in value.values()),
    ),
}

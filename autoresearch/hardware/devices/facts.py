"""What a backend's probe says of this machine: the one JSON line of `python runtime.py --probe`, checked.

    {"ok": true, "device": "NVIDIA H100 80GB HBM3", "memory_bytes": 85024112640, "capability": [9, 0], ...}
    {"ok": false, "reason": "no NVIDIA driver is loaded", "cure": "install the driver, then restart"}

Unknown is None, in JSON null, and prints `n/a`.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from autoresearch import records

Count = Annotated[int, Meta(ge=0, description="a whole number from 0 up")]
Positive = Annotated[float, Meta(gt=0, le=1e300, description="a number above 0")]
Capability = Annotated[tuple[Count, Count], Meta(description="[major, minor]")]
Choices = Annotated[
    dict[Literal["dtype", "compile", "attention", "threads"], list[bool | int | str]],
    Meta(description="a table of lists of values for dtype, compile, attention, threads"),
]


@dataclass(frozen=True)
class Facts:
    """A device as its backend sees it (ok), or the reason and the cure (not ok)."""

    ok: bool
    reason: str | None = None  # why not, in one line
    cure: str | None = None  # what to do about it, in one line
    wrong_input: bool = False  # not ok because of what the user has set: a variable that there is not
    auto: bool = True  # false: works here, but is only taken when asked for by name
    device: str | None = None
    device_id: str | None = None  # which one of its kind, where the backend lists them (cards.py)
    processors: bool = False  # it computes on the computer's own processors: backend.toml says so
    count: Count | None = None  # devices of this kind; one is used
    memory_bytes: Count | None = None
    capability: Capability | None = None  # CUDA compute capability: (8, 9)
    cores: Count | None = None  # physical cores that this process may use
    matmul_tflops: Positive | None = None  # measured, in the best dtype (CPU only)
    dtype: str | None = None
    dtype_reason: str | None = None
    compile: bool | None = None
    compile_reason: str | None = None
    attention: str | None = None
    attention_reason: str | None = None
    threads: Count | None = None  # that compute (CPU only)
    threads_reason: str | None = None
    choices: Choices = field(default_factory=dict)  # what else could be chosen here: autoresearch/choices.py
    peak_flops: Positive | None = None  # data sheet, dense, per second, in dtype
    peak_source: str | None = None
    peak_bandwidth: Positive | None = None  # data sheet, of the device's memory, bytes per second
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def memory_gb(self) -> float | None:
        """In GiB, as cards are sold: an "8 GB" card reports a little under 8 * 2**30 bytes."""
        return None if self.memory_bytes is None else self.memory_bytes / 2**30

    def to_dict(self) -> dict[str, Any]:
        table = dataclasses.asdict(self)
        table["capability"] = list(self.capability) if self.capability else None
        return table

    @classmethod
    def from_dict(cls, table: object) -> "Facts":
        """Raises ValueError, in one line, for anything that the contract does not allow."""
        facts = records.read_own(cls, table, what="the facts")
        needed = "device" if facts.ok else "reason"
        if not getattr(facts, needed):
            raise ValueError(f"the key {needed!r} is missing; it must be text")
        return facts


def parse(line: str) -> Facts:
    """The probe's JSON line. Raises ValueError in one line."""
    try:
        table = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {line[:80]!r}") from error
    return Facts.from_dict(table)

"""What the owner allows a train.py to be, beyond the score: enforced by the harness, not by the words of program.md.

    max_params     parameters that the checkpoint which is scored can hold (border/files.py)
    max_memory_gb  peak memory of the training, as the backend's runtime reports it
    min_tok_s      tokens a second of the training, that the harness has handed out, by its clock

What is known before the training (READY) is checked there, so that it costs no training time; speed from a tenth of the training
on; all is checked after it.
Not covered: a train.py that lies about its memory (the runtime's figure comes out of the process that agent code runs in), or that
asks for text and does not train on it.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from msgspec import Meta

from autoresearch import records
from autoresearch.errors import UsageError
from autoresearch.hardware.devices.registry import Backend

Limit = Annotated[float, Meta(gt=0, description="a number above 0")]

BROKEN = "limit"  # the ledger's state of a run that broke one


@dataclass(frozen=True)
class Constraints:
    max_params: Limit | None = None
    max_memory_gb: Limit | None = None  # GiB
    min_tok_s: Limit | None = None

    @classmethod
    def asked(cls, limits: Mapping[str, float | None]) -> "Constraints":
        """As a command line names them: infinity is none."""
        return cls(**{name: value if value is not None and math.isfinite(value) else None for name, value in limits.items()})

    def to_dict(self) -> dict[str, float]:
        """Those that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> "Constraints":
        """UsageError for an unknown name or a value that is no number above 0."""
        try:
            return records.read_own(cls, table, "the constraint ", "the constraints")
        except ValueError as error:
            raise UsageError(str(error)) from None

    def check_known(self, backend: Backend) -> None:
        """UsageError for a limit on what the backend does not know."""
        if self.max_memory_gb is not None and not backend.peak_memory:
            option = f"--max-memory-gb {self.max_memory_gb:g}"
            problem = f"{option}: the backend {backend.name} does not know how much memory a training took"
            raise UsageError(problem, "leave it out, or limit --max-params")

    def objection(
        self, num_params: int | None = None, peak_memory_bytes: int | None = None, tokens_per_second: float | None = None
    ) -> str | None:
        """The first one that is broken, in words with both numbers; None when none is, or nothing is known of it yet."""
        if self.max_params is not None and num_params is not None and num_params > self.max_params:
            return f"it has {num_params:,} parameters, and --max-params allows {self.max_params:,.0f}"
        if self.max_memory_gb is not None and peak_memory_bytes is not None and peak_memory_bytes > self.max_memory_gb * 2**30:
            return f"it takes {peak_memory_bytes / 2**30:.2f} GiB, and --max-memory-gb allows {self.max_memory_gb:g}"
        if self.min_tok_s is not None and tokens_per_second is not None and tokens_per_second < self.min_tok_s:
            return f"it trains {tokens_per_second:,.0f} tokens a second, and --min-tok-s asks for {self.min_tok_s:,.0f}"
        return None

    def objection_at_the_end(
        self, num_params: int | None, peak_memory_bytes: int | None, tokens_per_second: float, knows_memory: bool = True
    ) -> str | None:
        """As `objection`, where what is not known by now never will be. knows_memory: whether the backend can tell it at all."""
        if self.max_memory_gb is not None and peak_memory_bytes is None and knows_memory:
            return f"it does not tell how much memory it took, and --max-memory-gb allows {self.max_memory_gb:g}"
        return self.objection(num_params, peak_memory_bytes, tokens_per_second)

"""The result of one run, and the summary block that is printed after it (upstream's names, so that its tools read ours)."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from autoresearch.metric import VAL_BPB, Metric


@dataclass(frozen=True)
class RunResult:
    """One training with one seed. None is unknown and prints as n/a."""

    status: str  # ok, crash, oom, diverged, timeout, invalid, limit, cheat
    seed: int
    reason: str | None = None  # one line; None when ok
    val_bpb: float | None = None  # the score of any task, lower is better; bits per byte of text
    training_seconds: float | None = None  # by the harness's clock, from READY to the saved checkpoint
    startup_seconds: float | None = None  # from the start of the process to READY: imports, compilation, warm-up
    scoring_seconds: float | None = None
    total_seconds: float | None = None
    peak_memory_bytes: int | None = None
    mfu_percent: float | None = None  # of the device's data-sheet peak
    total_tokens: int | None = None
    num_steps: int | None = None
    num_params: int | None = None
    depth: int | None = None
    checkpoint: str | None = None  # digest of the weights when the clock stopped; None where there are none
    checkpoint_bytes: int | None = None
    bits: str | None = None  # digest of the scored bits of every target, which an audit compares with
    costs: dict[str, Any] | None = None  # scorer.Costs of the score
    measured: dict[str, float] | None = None  # what no other field holds of run/quantities.py, and the task's own
    level: float | None = None  # of a paired score: what it was measured from

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "RunResult":
        return cls(**{field.name: data.get(field.name) for field in fields(cls)})  # type: ignore[arg-type]  # to_json's own

    def summary_block(self, metric: Metric = VAL_BPB) -> str:
        rows = {
            metric.name: metric.text(self.val_bpb),
            "training_seconds": _number(self.training_seconds, ".1f"),
            "total_seconds": _number(self.total_seconds, ".1f"),
            "peak_vram_mb": _number(self.peak_memory_bytes and self.peak_memory_bytes / 2**20, ".1f"),
            "mfu_percent": _number(self.mfu_percent, ".2f"),
            "total_tokens_M": _number(self.total_tokens and self.total_tokens / 1e6, ".1f"),
            "num_steps": _number(self.num_steps, "d"),
            "num_params_M": _number(self.num_params and self.num_params / 1e6, ".1f"),
            "depth": _number(self.depth, "d"),
        }
        return "---\n" + "\n".join(f"{name + ':':<18}{value}" for name, value in rows.items())


def _number(value: float | None, form: str) -> str:
    return "n/a" if value is None else format(value, form)

"""The run card: what was measured of this machine and of each profile on it, as one JSON-able dict, and its file.

A card is shared, so the home folder and the user's name are taken out of it, and one that is read is checked: it comes from
somebody else, or from another version.
"""

import json
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autoresearch import __version__, records
from autoresearch.checks.checkup import anonymous
from autoresearch.errors import UsageError
from autoresearch.hardware.autotune.stopwatch import Limits
from autoresearch.hardware.devices.detect import Choice
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.now.conditions import Conditions
from autoresearch.paths import PACKAGE

FORMAT = 2  # 2: with `runtime`
KIND = "autoresearch run card"


@dataclass(frozen=True)
class Row:
    """One profile on this machine. None is what was not measured, or is not known."""

    profile: str
    checksum: str  # of what decides its speed and score: data, constants, training time
    corpus: str
    corpus_checksum: str
    train_seconds: float  # of an experiment
    untimed: str | None  # why the steps were not timed one by one; then what comes from them is None
    tokens_per_second: float | None  # of a step
    run_tokens_per_second: float | None  # over the whole training: lower where a machine heats up
    step_seconds: float | None
    step_spread: float | None  # (upper - lower quartile) / median of the steps: how noisy the machine was
    mfu_of_product: float | None  # model FLOPs against the best matrix product of this run
    mfu_of_data_sheet: float | None
    peak_memory_bytes: int | None  # of the training process in the whole run
    cold_start_seconds: float | None  # from an empty compile cache
    start_seconds: float  # from a filled one
    scoring_seconds: float
    loader_share: float | None  # of a step
    scoring_share: float  # of a whole experiment
    experiments_per_hour: float
    val_bpb: float | None
    predicted: dict[str, Any] | None  # the planner's figures with this run's limits: hardware/planner/plan.py
    runtime: dict[str, Any]  # what the profile, or autotune, chose in the runtime's place


def make(
    choice: Choice, rows: list[Row], limits: list[Limits], failed: list[tuple[str, str]], conditions: Conditions, quick: bool
) -> dict[str, Any]:
    """The whole card. limits: of each row; the best of them are the machine's. failed: (profile, reason)."""
    facts = choice.facts
    products = [row_limits.matmul_flops for row_limits in limits if row_limits.matmul_flops]
    copies = [row_limits.bandwidth for row_limits in limits if row_limits.bandwidth]
    card: dict[str, Any] = anonymous({
        "kind": KIND, "format": FORMAT, "autoresearch": __version__, "revision": revision(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(), "python": platform.python_version(), "quick": quick, "device": facts.device,
        "device_reason": choice.backend.card_reason, "backend": choice.backend.name,
        "facts": facts.to_dict(), "conditions": conditions.to_dict(),
        "limits": {
            "product_flops": max(products, default=None), "copy_bytes_per_second": max(copies, default=None),
            "data_sheet_flops": facts.peak_flops, "data_sheet_source": facts.peak_source,
        },
        "profiles": [asdict(row) for row in rows],
        "failed": [{"profile": name, "reason": reason} for name, reason in failed],
    })  # fmt: skip
    return card


def revision() -> str | None:
    """The commit of the checkout that this is, with a + where files differ from it; None for an installed package."""
    import pygit2

    try:
        repository = pygit2.Repository(str(PACKAGE.parent), pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
        changed = [path for path, flags in repository.status(untracked_files="no").items() if flags]
        return f"{repository.head.target}{'+' if changed else ''}"
    except (pygit2.GitError, KeyError):
        return None


def read(path: Path) -> dict[str, Any]:
    """A card from its file. Raises UsageError."""
    again = "`autoresearch bench --json > FILE.json` makes one"
    try:
        table = json.loads(path.read_bytes())  # bytes: PowerShell's > writes UTF-16, which json tells by its first bytes
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}; {again}") from error
    except ValueError as error:
        raise UsageError(f"{path} is no run card: not JSON, or cut off; {again}") from error
    if not isinstance(table, dict) or table.get("kind") != KIND:
        raise UsageError(f"{path} is JSON, but no run card; {again}")
    if table.get("format") != FORMAT:
        raise UsageError(f"{path} is a run card of format {table.get('format')}, and this version reads {FORMAT}; make it again")
    if (fault := _fault(table)) is not None:
        raise UsageError(f"{path} is a damaged run card: {fault}; {again}")
    return table


@dataclass(frozen=True)
class _Limits:
    product_flops: float | None
    copy_bytes_per_second: float | None
    data_sheet_flops: float | None
    data_sheet_source: str | None


@dataclass(frozen=True)
class _Conditions:
    warnings: list[str]


@dataclass(frozen=True)
class _Failed:
    profile: str
    reason: str


@dataclass(frozen=True)
class _Card:
    """What the text of a card and of a comparison reads."""

    autoresearch: str
    created: str
    system: str
    python: str
    quick: bool
    device: str | None
    backend: str
    facts: dict[str, Any]
    conditions: _Conditions
    limits: _Limits
    profiles: list[Row]
    failed: list[_Failed]
    revision: str | None = None


def _fault(card: dict[str, Any]) -> str | None:
    """The first thing that is missing or of another type, or None."""
    try:
        records.read(_Card, card)
        Facts.from_dict(card["facts"])
    except ValueError as error:
        return str(error)
    return None

"""A run card, and several beside each other, as text for people. Unknown is n/a."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autoresearch import choices
from autoresearch.hardware.devices.facts import Facts

Form = Callable[[float], str]
NOISY = 0.10  # chosen: quiet machines are below 0.03, and a tenth is what a reader would take for another machine

# column of the table and line of the comparison: (heading, key of a row, form)
_COLUMNS: tuple[tuple[str, str, Form], ...] = (
    ("tokens/s", "tokens_per_second", lambda value: f"{value:,.0f}"),
    ("in the run", "run_tokens_per_second", lambda value: f"{value:,.0f}"),
    ("MFU", "mfu_of_product", lambda value: f"{value:.1%}"),
    ("of data sheet", "mfu_of_data_sheet", lambda value: f"{value:.1%}"),
    ("peak MB", "peak_memory_bytes", lambda value: f"{value / 2**20:,.0f}"),
    ("cold start s", "cold_start_seconds", lambda value: f"{value:.1f}"),
    ("start s", "start_seconds", lambda value: f"{value:.1f}"),
    ("scoring s", "scoring_seconds", lambda value: f"{value:.1f}"),
    ("loader", "loader_share", lambda value: f"{value:.2%}"),
    ("scoring", "scoring_share", lambda value: f"{value:.1%}"),
    ("exp/h", "experiments_per_hour", lambda value: f"{value:.1f}"),
    ("val_bpb", "val_bpb", lambda value: f"{value:.4f}"),
    ("noise", "step_spread", lambda value: f"{value:.1%}"),
)
_LIMITS: tuple[tuple[str, str, Form], ...] = (
    ("matrix product TFLOP/s", "product_flops", lambda value: f"{value / 1e12:,.3g}"),
    ("memory copy GB/s", "copy_bytes_per_second", lambda value: f"{value / 1e9:,.3g}"),
)


# of _COLUMNS, what the planner predicts: (key of a row, its name in the prediction)
_PREDICTED = (
    ("tokens_per_second", "tokens_per_second"), ("peak_memory_bytes", "train_memory_bytes"),
    ("cold_start_seconds", "first_startup_seconds"), ("start_seconds", "startup_seconds"), ("scoring_seconds", "scoring_seconds"),
    ("experiments_per_hour", "experiments_per_hour"),
)  # fmt: skip
_EXPLAINED = (
    "tokens/s: of a step; in the run: over the whole training. MFU: the model's FLOP/s against this run's best matrix product.",
    "start s: from a filled compile cache. loader: of a step; scoring: of an experiment. noise: spread of the step's time,",
    "(upper - lower quartile) / median.",
)
_PLAN_EXPLAINED = "plan: predicted from this run's limits, and how far from what was measured (+: too high)."
_QUICK = "--quick: nothing was trained to its end, so val_bpb, tokens/s in the run and the cold start are n/a."


def lines(card: dict[str, Any]) -> list[str]:
    """The card as text."""
    from autoresearch.checks.checkup import describe
    from autoresearch.hardware.now import conditions

    limits = card["limits"]
    sheet = limits["data_sheet_flops"]
    versions = ", ".join(f"{name} {version}" for name, version in card["facts"]["versions"].items())
    head = [
        f"machine        {describe(Facts.from_dict(card['facts']))}",
        *([f"device         {card['device_reason']}"] if card.get("device_reason") else []),
        f"backend        {card['backend']}, {card['facts']['dtype'] or 'n/a'}, {versions or 'versions n/a'}",
        f"system         {card['system']}, Python {card['python']}, autoresearch {_version(card)}",
        f"matrix product {_known(limits['product_flops'], lambda value: f'{value / 1e12:.3g} TFLOP/s')}, data sheet "
        + _known(sheet, lambda value: f"{value / 1e12:g} TFLOP/s ({limits['data_sheet_source']})"),
        f"memory copy    {_known(limits['copy_bytes_per_second'], lambda value: f'{value / 1e9:,.0f} GB/s')}, read and written",
        "", "before the measurements", *(f"  {line}" for line in conditions.lines(card["conditions"])),
    ]  # fmt: skip
    rows = card["profiles"]
    table = [["profile", *(heading for heading, _, _ in _COLUMNS)]]
    table += [[row["profile"], *(_known(row[key], form) for _, key, form in _COLUMNS)] for row in rows]
    notes = [f"{row['profile']}: {row['untimed']}, hence n/a" for row in rows if row["untimed"]]
    notes += [f"{row['profile']}: {choices.described(row['runtime'])} by its [runtime]" for row in rows if row["runtime"]]
    notes += [f"{failure['profile']} failed: {failure['reason']}" for failure in card["failed"]]
    notes += [f"{row['profile']}: {verdict}" for row in rows if (verdict := _noisy(row))]
    return [
        *head, *(["", *_aligned(table)] if rows else []), *_plan(rows), *(["", *notes] if notes else []),
        *(["", *_EXPLAINED] if rows else []), *([_PLAN_EXPLAINED] if _plan(rows) else []), *([_QUICK] if card["quick"] else []),
    ]  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Cards beside each other, figure by figure; each ratio is a card's to the first's."""

    table: list[list[str]]
    notes: list[str]

    def text(self) -> list[str]:
        return [*_aligned(self.table), *self.notes]

    def markdown(self) -> list[str]:
        head, *rows = ([cell.replace("|", "\\|") for cell in row] for row in self.table)
        ruler = ["---", *("---:" for _ in head[1:])]
        return [*(f"| {' | '.join(row)} |" for row in (head, ruler, *rows)), "", *(f"- {note}" for note in self.notes)]

    def csv(self) -> list[str]:
        """Without the notes; headings that stand under a profile's name have it before them."""
        buffer, profile = io.StringIO(), ""
        writer = csv.writer(buffer, lineterminator="\n")
        for heading, *cells in self.table:
            if heading.startswith("  "):
                heading = f"{profile} {heading.strip()}"
            elif heading and not any(cells):
                profile = heading
                continue
            writer.writerow([heading, *("" if cell == "n/a" else cell.replace(",", "") for cell in cells)])
        return buffer.getvalue().splitlines()


def comparison(cards: Sequence[dict[str, Any]]) -> Comparison:
    """Of two cards or more."""
    others = cards[1:]
    ratios = ["ratio"] if len(others) == 1 else [f"{number} : 1" for number in range(2, len(cards) + 1)]
    table = [["", *map(_name, cards), *ratios], ["measured", *(card["created"] for card in cards), *([""] * len(others))]]
    table.append(["autoresearch", *map(_version, cards), *([""] * len(others))])
    table += [_compared(heading, [card["limits"][key] for card in cards], form) for heading, key, form in _LIMITS]
    rows = [{row["profile"]: row for row in card["profiles"]} for card in cards]
    notes = []
    for name in dict.fromkeys(name for known in rows for name in known):
        profile_rows = [known.get(name) for known in rows]
        if profile_rows[0] is None or not any(profile_rows[1:]):
            notes.append(f"{name}: only in {', '.join(f'card {number}' for number, row in enumerate(profile_rows, 1) if row)}")
            continue
        table.append([name, *([""] * (len(table[0]) - 1))])
        is_same = [row is not None and row["checksum"] == profile_rows[0]["checksum"] for row in profile_rows]
        is_same_text = [
            same and row is not None and row["corpus_checksum"] == profile_rows[0]["corpus_checksum"]
            for row, same in zip(profile_rows, is_same, strict=True)
        ]
        for heading, key, form in _COLUMNS:
            values = [row and row[key] for row in profile_rows]
            table.append(_compared(f"  {heading}", values, form, is_same_text if key == "val_bpb" else is_same))
        notes += _of_a_profile(name, profile_rows, is_same, is_same_text)
    if len({_version(card) for card in cards}) > 1:
        notes.append(f"other versions of autoresearch: {', '.join(map(_version, cards))}")
    for number, card in enumerate(cards, 1):
        notes += [f"card {number}: {failure['profile']} failed: {failure['reason']}" for failure in card["failed"]]
        notes += [f"card {number}: {warning}" for warning in card["conditions"]["warnings"]]
    return Comparison(table, notes)


def _of_a_profile(name: str, rows: Sequence[dict[str, Any] | None], is_same: list[bool], is_same_text: list[bool]) -> list[str]:
    """What does not compare, and what the noise hides: each card against the first."""
    notes = []
    first = rows[0]
    assert first is not None, "a profile that the first card lacks is not compared"
    for number, row in enumerate(rows[1:], 2):
        if row is None:
            notes.append(f"{name}: not in card {number}")
        elif not is_same[number - 1]:
            notes.append(f"{name}: other sizes or another training time in card {number}, so nothing of it compares")
        elif not is_same_text[number - 1]:
            notes.append(f"{name}: another text in card {number}, so val_bpb does not compare")
        if row is not None and is_same[number - 1] and (verdict := _told_apart(first, row)):
            notes.append(f"{name}: {verdict} in card {number}")
    return notes


def _told_apart(first: dict[str, Any], other: dict[str, Any]) -> str | None:
    """Where steps scatter more than two machines differ: that their speeds are the same, as far as these cards tell."""
    speeds, spreads = (first["tokens_per_second"], other["tokens_per_second"]), (first["step_spread"], other["step_spread"])
    if not all(speeds) or None in spreads:
        return None
    apart = max(speeds) / min(speeds) - 1
    if apart > max(spreads):
        return None
    return f"tokens/s differ by {apart:.0%} and the steps' own time by up to {max(spreads):.0%}: not told apart from the first"


def _plan(rows: list[dict[str, Any]]) -> list[str]:
    """The planner's figures with their error, for the profiles that have any; nothing when none has."""
    forms = {key: (heading, form) for heading, key, form in _COLUMNS}
    table = [["plan", *(forms[key][0] for key, _ in _PREDICTED)]]
    for row in rows:
        if row["predicted"]:
            pairs = [(row["predicted"][name], row[key], forms[key][1]) for key, name in _PREDICTED]
            table.append([row["profile"], *(_missed(estimate, measured, form) for estimate, measured, form in pairs)])
    return ["", *_aligned(table)] if len(table) > 1 else []


def _noisy(row: dict[str, Any]) -> str | None:
    """Whether to believe the row's tokens/s."""
    spread = row["step_spread"]
    if spread is None or spread <= NOISY:
        return None
    return f"a step's time spread by {spread:.0%}: tokens/s may be as much off; measure again when the machine is quiet"


def _missed(estimate: dict[str, Any] | None, measured: float | None, form: Form) -> str:
    if estimate is None:
        return "n/a"
    shown = form(estimate["value"])
    return f"{shown} ({estimate['value'] / measured - 1:+.0%})" if measured else shown


def _name(card: dict[str, Any]) -> str:
    return f"{card['device'] or 'n/a'}, {card['backend']}"


def _version(card: dict[str, Any]) -> str:
    revision = card.get("revision")
    return f"{card['autoresearch']} ({revision[:10]})" if revision else str(card["autoresearch"])


def _compared(heading: str, values: Sequence[float | None], form: Form, is_same: Sequence[bool] | None = None) -> list[str]:
    """is_same: whether each may be compared with the first; None: all."""
    first, *others = values
    compares = is_same[1:] if is_same else [True] * len(others)
    ratios = [f"{other / first:.2f}" if first and other and same else "n/a" for other, same in zip(others, compares, strict=True)]
    return [heading, *(_known(value, form) for value in values), *ratios]


def _known(value: float | None, form: Form) -> str:
    return "n/a" if value is None else form(value)


def _aligned(table: list[list[str]]) -> list[str]:
    """Columns of one width: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    first, *others = widths
    return [
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))]) for row in table
    ]

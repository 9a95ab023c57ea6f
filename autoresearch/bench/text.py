"""A run card, and two beside each other, as text for people. Unknown is n/a."""

from collections.abc import Callable
from typing import Any

from autoresearch import choices
from autoresearch.hardware.devices.facts import Facts

Form = Callable[[float], str]

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
        f"backend        {card['backend']}, {card['facts']['dtype'] or 'n/a'}, {versions or 'versions n/a'}",
        f"system         {card['system']}, Python {card['python']}",
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
    notes += [f"{one['profile']} failed: {one['reason']}" for one in card["failed"]]
    return [
        *head, *(["", *_aligned(table)] if rows else []), *_plan(rows), *(["", *notes] if notes else []),
        *(["", *_EXPLAINED] if rows else []), *([_PLAN_EXPLAINED] if _plan(rows) else []), *([_QUICK] if card["quick"] else []),
    ]  # fmt: skip


def comparison(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Two cards, figure by figure; the ratio is the second's to the first's."""
    cards = (one, other)
    table = [["", *map(_name, cards), "ratio"], ["measured", one["created"], other["created"], ""]]
    for heading, key, form in _LIMITS:
        first, second = (card["limits"][key] for card in cards)
        table.append(_compared(heading, first, second, form))
    others = {row["profile"]: row for row in other["profiles"]}
    notes = []
    for row in one["profiles"]:
        match = others.pop(row["profile"], None)
        if match is None:
            notes.append(f"{row['profile']}: only in the first card")
            continue
        is_same = row["checksum"] == match["checksum"]
        is_same_text = is_same and row["corpus_checksum"] == match["corpus_checksum"]
        if not is_same:
            notes.append(f"{row['profile']}: other sizes or another training time in the two cards, so nothing of it compares")
        elif not is_same_text:
            notes.append(f"{row['profile']}: another text in the two cards, so val_bpb does not compare")
        table.append([row["profile"], "", "", ""])
        for heading, key, form in _COLUMNS:
            compares = is_same_text if key == "val_bpb" else is_same
            table.append(_compared(f"  {heading}", row[key], match[key], form, compares))
    notes += [f"{name}: only in the second card" for name in others]
    if one["autoresearch"] != other["autoresearch"]:
        notes.append(f"other versions of autoresearch: {one['autoresearch']} and {other['autoresearch']}")
    for which, card in zip(("first", "second"), cards, strict=True):
        notes += [f"{which} card: {failure['profile']} failed: {failure['reason']}" for failure in card["failed"]]
        notes += [f"{which} card: {warning}" for warning in card["conditions"]["warnings"]]
    return [*_aligned(table), *notes]


def _plan(rows: list[dict[str, Any]]) -> list[str]:
    """The planner's figures with their error, for the profiles that have any; nothing when none has."""
    forms = {key: (heading, form) for heading, key, form in _COLUMNS}
    table = [["plan", *(forms[key][0] for key, _ in _PREDICTED)]]
    for row in rows:
        if row["predicted"]:
            pairs = [(row["predicted"][name], row[key], forms[key][1]) for key, name in _PREDICTED]
            table.append([row["profile"], *(_missed(estimate, measured, form) for estimate, measured, form in pairs)])
    return ["", *_aligned(table)] if len(table) > 1 else []


def _missed(estimate: dict[str, Any] | None, measured: float | None, form: Form) -> str:
    if estimate is None:
        return "n/a"
    shown = form(estimate["value"])
    return f"{shown} ({estimate['value'] / measured - 1:+.0%})" if measured else shown


def _name(card: dict[str, Any]) -> str:
    return f"{card['device'] or 'n/a'}, {card['backend']}"


def _compared(heading: str, one: float | None, other: float | None, form: Form, is_same: bool = True) -> list[str]:
    ratio = f"{other / one:.2f}" if one and other and is_same else "n/a"
    return [heading, _known(one, form), _known(other, form), ratio]


def _known(value: float | None, form: Form) -> str:
    return "n/a" if value is None else form(value)


def _aligned(table: list[list[str]]) -> list[str]:
    """Columns of one width: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    first, *others = widths
    return [
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))]) for row in table
    ]

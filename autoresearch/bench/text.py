"""A run card, and two beside each other, as text for people. Unknown is n/a."""

from collections.abc import Callable

from autoresearch.hardware.facts import Facts

# column of the table and line of the comparison: (heading, key of a row, form)
_COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("tokens/s", "tokens_per_second", lambda value: f"{value:,.0f}"),
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


def lines(card: dict) -> list[str]:
    """The card as text."""
    from autoresearch.hardware.checkup import describe

    limits = card["limits"]
    sheet = limits["data_sheet_flops"]
    versions = ", ".join(f"{name} {version}" for name, version in card["facts"]["versions"].items())
    found = [
        f"machine        {describe(Facts.from_dict(card['facts']))}",
        f"backend        {card['backend']}, {card['facts']['dtype'] or 'n/a'}, {versions or 'versions n/a'}",
        f"matrix product {_known(limits['product_flops'], lambda value: f'{value / 1e12:.3g} TFLOP/s')}, data sheet "
        + _known(sheet, lambda value: f"{value / 1e12:g} TFLOP/s ({limits['data_sheet_source']})"),
        f"memory copy    {_known(limits['copy_bytes_per_second'], lambda value: f'{value / 1e9:,.0f} GB/s')}, read and written",
    ]
    for warning in (card["conditions"] or {}).get("warnings", []):
        found.append(f"warning        {warning}")
    table = [["profile", *(heading for heading, _, _ in _COLUMNS)]]
    for row in card["profiles"]:
        table.append([row["profile"], *(_known(row[key], form) for _, key, form in _COLUMNS)])
    return [
        *found, "", *_aligned(table), "",
        "MFU: the model's FLOP/s against this run's best matrix product. start s: from a filled compile cache. loader: of a step;",
        "scoring: of an experiment. noise: spread of the step's time, (upper - lower quartile) / median.",
        *(["--quick: nothing was trained to its end, so there is no val_bpb, and no cold start."] if card["quick"] else []),
    ]  # fmt: skip


def comparison(one: dict, other: dict) -> list[str]:
    """Two cards, figure by figure; the ratio is the second's to the first's."""
    table = [["", _name(one), _name(other), "ratio"]]
    for heading, key in (("matrix product TFLOP/s", "product_flops"), ("memory copy GB/s", "copy_bytes_per_second")):
        scale = 1e12 if key == "product_flops" else 1e9
        values = (card["limits"][key] for card in (one, other))
        table.append(_compared(heading, *values, lambda value, scale=scale: f"{value / scale:,.3g}"))
    others = {row["profile"]: row for row in other["profiles"]}
    notes = []
    for row in one["profiles"]:
        match = others.pop(row["profile"], None)
        if match is None:
            notes.append(f"{row['profile']}: only in the first card")
            continue
        is_same = row["checksum"] == match["checksum"] and row["corpus"] == match["corpus"]
        if not is_same:
            notes.append(f"{row['profile']}: other sizes or another text in the two cards, so val_bpb and speed do not compare")
        table.append([row["profile"], "", "", ""])
        for heading, key, form in _COLUMNS:
            table.append(_compared(f"  {heading}", row[key], match[key], form, is_same))
    notes += [f"{name}: only in the second card" for name in others]
    return [*_aligned(table), *notes]


def _name(card: dict) -> str:
    return f"{card['device'] or 'n/a'}, {card['backend']}"


def _compared(heading: str, one, other, form: Callable, is_same: bool = True) -> list[str]:
    ratio = f"{other / one:.2f}" if one and other and is_same else "n/a"
    return [heading, _known(one, form), _known(other, form), ratio]


def _known(value, form: Callable) -> str:
    return "n/a" if value is None else form(value)


def _aligned(table: list[list[str]]) -> list[str]:
    """Columns of one width: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    first, *others = widths
    return [
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))]) for row in table
    ]

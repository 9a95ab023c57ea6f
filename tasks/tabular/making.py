"""A file -> `<split>.npy` and `<split>_units.npy`, and the facts of them: every step of the data's way that needs pyarrow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from autoresearch.data.progress import OnProgress
from autoresearch.errors import UsageError, nearest

from . import columns, giveaway, reading, splits

FEW_VALUES = 20  # of a target of whole numbers: so many or fewer are classes, where nothing else was said
MOST_CLASSES = 1000
CLASS_ROWS = 10  # fewer rows are no class
FEW_ROWS = 500  # for validation: fewer are said to be few

Columns = dict[str, pa.Array]


def prepare(path: Path, options: Mapping[str, Any], folder: Path, on_progress: OnProgress) -> dict[str, Any]:
    """See contract.py, Task.prepare."""
    on_progress("reading the table", 0, None)
    table, warnings = reading.read(path)
    asked = _asked(path, list(table), options)
    on_progress("looking at the columns", 0, None)
    target = _target(table, asked, warnings)
    table, values = _kept(table, target.is_known), target.values[target.is_known]
    inputs = {name: text for name, text in table.items() if name not in (asked.target, *asked.drop)}
    clock = asked.by if asked.way == "time" else None
    for name, reason in columns.names_of_rows(inputs, (*asked.keep, *asked.categories, asked.by)).items():
        warnings.append(f"{name} is left out: {reason}; `--keep {name}` keeps it")
        del inputs[name]

    described = {name: text for name, text in inputs.items() if name != asked.by}
    rows = splits.digests(described | {asked.target: table[asked.target]})
    if clock:
        division = splits.by_time(rows, _moments(inputs[clock], clock))
    elif asked.way == "group":
        division = splits.by_group(rows, splits.digests({asked.by: inputs.pop(asked.by)}))
    else:
        division = splits.by_row(rows)
    warnings += division.warnings
    scored, facts = _of_training(target, values, division, warnings)
    train = division.part == splits.TRAIN

    made = columns.inputs(inputs, train, asked.categories, clock)
    if not made.number_names and not made.code_names:
        raise UsageError(f"{path} has no column to predict {asked.target} from; name another with `--corpus FILE`")
    warnings += made.warnings
    on_progress("looking for columns that give the target away", 0, None)
    warnings += _giveaways(made, scored, division)
    counts = _write(folder, made, scored, division)
    if counts["val"] < FEW_ROWS:
        warnings.append(f"only {counts['val']} rows are for validation: a small gain can't be told from luck")
    if asked.way == "row" and any(name.endswith(".day") for name in made.number_names):
        warnings.append(
            "there are dates, and the rows are split regardless of them; to be judged on the future: `--split time:COLUMN`"
        )
    return facts | {
        "target": asked.target, "split": options.get("split") or "row", "rows": counts,
        "numbers": made.number_names, "codes": made.code_names, "cards": made.cards, "warnings": warnings,
    }  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    target: str
    kind: str  # auto, classification, regression
    way: str  # row, group, time
    by: str
    drop: tuple[str, ...]
    keep: tuple[str, ...]
    categories: tuple[str, ...]


def _asked(path: Path, names: list[str], options: Mapping[str, Any]) -> _Asked:
    way, _, by = (options.get("split") or "row").partition(":")
    if way not in ("row", "group", "time") or (way == "row") == bool(by):
        raise UsageError(
            f"--split {options['split']} is none; write `--split row`, `--split group:COLUMN` or `--split time:COLUMN`"
        )
    some = (tuple(options.get(name) or ()) for name in ("drop", "keep", "categories"))
    asked = _Asked(options["target"], options.get("kind") or "auto", way, by, *some)
    for name in (asked.target, *([by] if by else []), *asked.drop, *asked.keep, *asked.categories):
        if name not in names:
            has = ", ".join(names[:8]) + (f" and {len(names) - 8:,} others" if len(names) > 8 else "")
            raise UsageError(f"{path} has no column {name!r}{nearest(name, names)}; name one of its columns: {has}")
    if asked.target == by or {asked.target, by} & set(asked.drop):
        raise UsageError("neither the target nor what the rows are split by can be dropped, and they are two; name other columns")
    return asked


@dataclass(frozen=True)
class _Target:
    values: np.ndarray  # int64 or float64 [n]
    is_known: np.ndarray  # bool [n]: rows that can be used
    classes: list[str]  # none where it is a number


def _target(table: Columns, asked: _Asked, warnings: list[str]) -> _Target:
    """Of all rows; what can't be used is counted in a warning."""
    name, text = asked.target, table[asked.target]
    there = ~np.asarray(text.is_null())
    if asked.by:
        by = ~np.asarray(table[asked.by].is_null())
        if (there & ~by).any():
            warnings.append(f"{int((there & ~by).sum()):,} rows have no {asked.by}, which the rows are split by: left out")
        there &= by
    if not there.any():
        raise UsageError(f"no row has a value in the target {name}; name another column with --target")
    numbers = columns.as_numbers(text)
    share = float(np.isfinite(numbers[there]).mean())
    different = np.unique(numbers[there & np.isfinite(numbers)])
    kind = asked.kind
    if kind == "auto":
        are_few = len(different) <= FEW_VALUES and bool((different == np.floor(different)).all())
        kind = "regression" if share >= columns.MOSTLY and not are_few else "classification"
        if are_few and len(different) > 2 and share >= columns.MOSTLY:
            warnings.append(
                f"{name} has {len(different)} whole values, taken as classes; where it counts or measures: --kind regression"
            )
    is_known = there & np.isfinite(numbers) if kind == "regression" else there
    if not is_known.all():
        odd = there & ~is_known
        example = f", such as {text[int(odd.argmax())].as_py()[:40]!r}" if odd.any() else ""
        warnings.append(f"{int((~is_known).sum()):,} rows have no {name} that can be used{example}: left out")
    if kind == "regression":
        if share < columns.MOSTLY:
            raise UsageError(f"{name} is a number in {share:.0%} of its rows{example}; `--kind classification` takes it as classes")
        if len(different) < 2:
            raise UsageError(f"{name} has the same value in every row; name another column with --target")
        return _Target(numbers, is_known, [])
    return _classes(name, text, is_known, warnings)


def _classes(name: str, text: pa.Array, is_known: np.ndarray, warnings: list[str]) -> _Target:
    labels, inverse = np.unique(np.array(text.fill_null("").to_pylist(), object), return_inverse=True)
    counts = np.bincount(inverse[is_known], minlength=len(labels))
    is_class = counts >= CLASS_ROWS
    if is_class.sum() < 2:
        found = f"{int(is_class.sum())} class of {CLASS_ROWS} rows or more ({int((counts > 0).sum()):,} in all)"
        raise UsageError(f"{name} has {found}, and two are needed; name another with --target, or `--kind regression` for a number")
    if is_class.sum() > MOST_CLASSES:
        raise UsageError(
            f"{name} has {int(is_class.sum()):,} classes, more than {MOST_CLASSES:,}; `--kind regression` where it is a number"
        )
    rare = [str(label) for label in labels[(counts > 0) & ~is_class]]
    if rare:
        lost = int(counts[~is_class].sum())
        warnings.append(
            f"{len(rare)} classes with fewer than {CLASS_ROWS} rows, such as {rare[0][:40]!r}: their {lost:,} rows are left out"
        )
    place = np.full(len(labels), -1)
    place[is_class] = np.arange(is_class.sum())
    values = place[inverse]
    return _Target(values, is_known & (values >= 0), [str(label) for label in labels[is_class]])


def _moments(text: pa.Array, name: str) -> np.ndarray:
    """[n], of numbers or dates; every one known."""
    numbers, dates = columns.as_numbers(text), columns.as_dates(text)
    if np.isfinite(numbers).all():
        return numbers
    if not np.isnat(dates).any():
        return dates
    odd = int((np.isnat(dates) & ~np.isfinite(numbers)).argmax())
    raise UsageError(
        f"{name} is no time in every row: {text[odd].as_py()[:40]!r}; write numbers, or dates such as 2013-01-31 23:59:59"
    )


def _kept(table: Columns, rows: np.ndarray) -> Columns:
    mask = pa.array(rows)
    return table if rows.all() else {name: text.filter(mask) for name, text in table.items()}


def _of_training(
    target: _Target, values: np.ndarray, division: splits.Division, warnings: list[str]
) -> tuple[np.ndarray, dict[str, Any]]:
    """(target as it is fed and scored, facts), by what training has. Held-out rows of a class that training lacks are left out."""
    train = division.part == splits.TRAIN
    if not target.classes:
        mean, deviation = float(values[train].mean()), float(values[train].std())
        if deviation == 0:
            raise UsageError("all training rows have the same target; take another --split or another file")
        return ((values - mean) / deviation).astype(np.float32), {"classes": [], "mean": mean, "deviation": deviation}
    known = np.unique(values[train])
    lost = ~np.isin(values, known)
    if lost.any():
        division.part[lost] = splits.LEFT_OUT
        warnings.append(f"{int(lost.sum()):,} held-out rows have a class that no training row has: left out")
        splits.check(division)
    if len(known) < 2:
        raise UsageError("all training rows are of one class; take another --split or another file")
    return np.searchsorted(known, values).astype(np.int32), {"classes": [target.classes[at] for at in known]}


def _giveaways(made: columns.Inputs, target: np.ndarray, division: splits.Division) -> list[str]:
    at = division.order[division.part[division.order] == splits.TRAIN][: giveaway.SAMPLE]
    gives_away = giveaway.of_classes if target.dtype.kind == "i" else giveaway.of_number
    pairs = (*zip(made.number_names, made.numbers[at].T, strict=True), *zip(made.code_names, made.codes[at].T, strict=True))
    found = [name for name, column in pairs if gives_away(column, target[at])]
    return [f"{name} alone gives the target away; if it is not known when one predicts: `--drop {name}`" for name in found]


def _write(folder: Path, made: columns.Inputs, target: np.ndarray, division: splits.Division) -> dict[str, int]:
    """Rows of each split in an order that tells nothing, and the unit of each; returns how many there are."""
    kind = np.dtype([
        ("numbers", np.float32, (made.numbers.shape[1],)), ("codes", np.int32, (made.codes.shape[1],)), ("target", target.dtype),
    ])  # fmt: skip
    counts = {}
    for part, name in splits.NAMES.items():
        at = division.order[division.part[division.order] == part]
        rows = np.empty(len(at), kind)
        rows["numbers"], rows["codes"], rows["target"] = made.numbers[at], made.codes[at], target[at]
        np.save(folder / f"{name}.npy", rows)
        if part != splits.TRAIN:
            np.save(folder / f"{name}_units.npy", np.unique(division.unit[at], return_inverse=True)[1])
        counts[name] = len(at)
    return counts

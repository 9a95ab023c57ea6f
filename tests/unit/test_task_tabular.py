"""The tabular task's own half: what a file becomes, who gets which row, what is said of data that is no good."""

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from autoresearch.errors import UsageError
from autoresearch.task import InvalidAnswer, registry
from autoresearch.task.contract import Source, Task
from autoresearch.task.prepared import Arrays

TABLE = registry.find("tabular")
KIND = registry.kind(TABLE)
rng = np.random.default_rng(0)
ROWS = 400
WIDTH, WEIGHT = rng.normal(size=ROWS).round(3), rng.gamma(2, size=ROWS).round(3)
COLOR = rng.choice(["red", "green", "blue"], ROWS)
SHOP = rng.integers(40, size=ROWS)
PRICE = (3 * WIDTH + WEIGHT + (COLOR == "red") + rng.normal(size=ROWS)).round(3)
SOLD = np.where(PRICE + rng.normal(size=ROWS) > 2, "yes", "no")
DAY = np.datetime64("2020-01-30") + np.sort(rng.integers(300, size=ROWS))
GOOD = {"width": WIDTH, "weight": WEIGHT, "color": COLOR, "shop": SHOP, "day": DAY, "price": PRICE, "sold": SOLD}


def written(path: Path, table: dict[str, Iterable[object]], delimiter: str = ",") -> Path:
    columns = [[str(name), *map(str, values)] for name, values in table.items()]
    path.write_text("".join(delimiter.join(line) + "\n" for line in zip(*columns, strict=True)), encoding="utf-8")
    return path


def made(path: Path, target: str = "price", **options: object) -> Task:
    folder = path.parent / "prepared"
    folder.mkdir(exist_ok=True)
    facts = KIND.prepare(Source(str(path)), {"target": target} | options, folder, lambda *_: None)
    return KIND(TABLE, Arrays(folder, str(path), "key", {}, facts), {"target": target} | options)


def rows_of(task: Task) -> dict[str, list[bytes]]:
    return {split: [row.tobytes() for row in task.array(split)] for split in ("train", "val", "test", "slice")}


# -------------------------------------------------------------------------------------------------- what a file becomes


def test_numbers_are_scaled_kinds_are_coded_and_the_target_is_standardised_by_training_rows(tmp_path):
    task = made(written(tmp_path / "a.csv", GOOD), drop=["sold"])
    assert task.spec()["number_names"] == ["width", "weight", "shop", "day.day", "day.yearday", "day.weekday"]
    assert task.spec()["code_names"] == ["color"] and task.spec()["cards"] == [5]
    train = task.array("train")
    assert np.allclose(np.median(train["numbers"], axis=0), 0, atol=1e-6)
    assert np.allclose(np.ptp(np.quantile(train["numbers"], [0.25, 0.75], axis=0), axis=0), 1, atol=1e-5)
    assert abs(train["target"].mean()) < 1e-6 and abs(train["target"].std() - 1) < 1e-6
    assert set(train["codes"].ravel()) == {2, 3, 4}


FILES = ["a.csv", "a.csv.gz", "a.tsv", "a.parquet", "semicolon.csv", "spaces.csv", "utf16.csv", "quoted.csv"]


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, name):
    expected = rows_of(made(written(tmp_path / "plain.csv", GOOD)))
    path = tmp_path / name
    text = (tmp_path / "plain.csv").read_text(encoding="utf-8")
    if name == "a.csv":
        path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    elif name == "a.csv.gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif name == "a.parquet":
        pyarrow.parquet.write_table(pyarrow.csv.read_csv(tmp_path / "plain.csv"), path)
    elif name == "utf16.csv":
        path.write_bytes(text.encode("utf-16"))
    elif name == "quoted.csv":
        path.write_text("\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()) + "\n")
    else:
        path.write_text(text.replace(",", {"a.tsv": "\t", "semicolon.csv": ";", "spaces.csv": " , "}[name]))
    assert rows_of(made(path)) == expected


def test_what_only_held_out_rows_have_is_one_code_and_moves_no_scale(tmp_path):
    table = GOOD | {"moment": np.arange(ROWS) * 10}
    plain = made(written(tmp_path / "a.csv", table), split="time:moment")
    before = plain.array("train").copy()
    color, width = COLOR.copy().astype("<U9"), WIDTH.copy()
    color[-50:], width[-50:] = "new", 1e6
    task = made(
        written(tmp_path / "a.csv", GOOD | {"moment": np.arange(ROWS) * 10, "color": color, "width": width}), split="time:moment"
    )
    assert task.spec() == plain.spec()
    assert sorted(row.tobytes() for row in task.array("train")) == sorted(row.tobytes() for row in before)
    assert (task.array("test")["codes"][:, 0] == 0).sum() == 50


def test_missing_values_are_nan_and_a_code_of_their_own(tmp_path):
    width, color = WIDTH.astype("<U9"), COLOR.astype("<U9")
    width[::7], width[1::7], color[::5], color[1::5] = "NA", "", "?", "null"
    task = made(written(tmp_path / "a.csv", GOOD | {"width": width, "color": color}))
    rows = np.concatenate([task.array(split) for split in ("train", "val", "test", "slice")])
    assert np.isnan(rows["numbers"][:, 0]).sum() == np.isin(width, ["NA", ""]).sum()
    assert (rows["codes"][:, 0] == 1).sum() == np.isin(color, ["?", "null"]).sum()
    assert not [line for line in task.facts["warnings"] if "width" in line or "color" in line], "they are no fault of the data"


def test_numbers_can_be_asked_for_as_kinds(tmp_path):
    task = made(written(tmp_path / "a.csv", GOOD), categories=["shop"])
    assert task.spec()["code_names"] == ["color", "shop", "sold"]


def test_a_table_of_kinds_alone_and_one_of_numbers_alone(tmp_path):
    kinds = made(written(tmp_path / "a.csv", {"color": COLOR, "sold": SOLD, "shop": SHOP}), "sold", drop=["shop"])
    assert kinds.array("train")["numbers"].shape[1] == 0 and kinds.most == {"codes": 5, "target": 2}
    numbers = made(written(tmp_path / "a.csv", {"width": WIDTH, "weight": WEIGHT, "price": PRICE}))
    assert numbers.array("train")["codes"].shape[1] == 0 and len(numbers.questions("val").inputs.dtype.names) == 2


@pytest.mark.slow
@pytest.mark.thorough
def test_ten_thousand_columns(tmp_path):
    values = rng.normal(size=(ROWS, 9_999)).round(2)
    path = written(
        tmp_path / "a.csv", {f"c{at}": values[:, at] for at in range(9_999)} | {"y": values[:, 0] + rng.normal(size=ROWS)}
    )
    assert made(path, "y").array("train")["numbers"].shape[1] == 9_999


# ------------------------------------------------------------------------------------------------------- who gets what


def test_the_splits_share_no_row_and_hold_every_one(tmp_path):
    task = made(written(tmp_path / "a.csv", GOOD))
    rows = rows_of(task)
    every = [row for split in rows.values() for row in split]
    assert sorted(every) == sorted(set(every))
    assert [len(rows[split]) for split in ("train", "val", "test", "slice")] == [240, 60, 60, 40]


def test_the_split_depends_on_what_a_row_holds_and_not_on_where_it_stands(tmp_path):
    straight = rows_of(made(written(tmp_path / "a.csv", {name: GOOD[name] for name in ("width", "weight", "price")})))
    order = rng.permutation(ROWS)
    assert (
        rows_of(made(written(tmp_path / "a.csv", {name: GOOD[name][order] for name in ("width", "weight", "price")}))) == straight
    )


def test_copies_of_a_row_are_on_one_side_and_one_unit(tmp_path):
    twice = {name: np.concatenate([values, np.asarray(values)[:150]]) for name, values in GOOD.items()}
    task = made(written(tmp_path / "a.csv", twice))
    rows = rows_of(task)
    for split in ("val", "test", "slice"):
        assert not set(rows[split]) & set(rows["train"])
        assert task.array(f"{split}_units").max() + 1 == len(set(rows[split])) < len(rows[split])


def test_rows_of_few_values_are_not_taken_for_copies(tmp_path):
    few = {"color": np.tile(["red", "green"], 300), "shop": np.arange(600) % 3, "sold": rng.choice(["yes", "no"], 600)}
    task = made(written(tmp_path / "a.csv", few), "sold")
    assert len(task.array("train")) == 360
    assert any("copies of others" in line for line in task.facts["warnings"])


def test_no_group_is_on_two_sides_and_groups_are_the_units(tmp_path):
    shown = made(written(tmp_path / "a.csv", GOOD | {"again": SHOP}), split="group:shop", drop=["sold"])
    assert "shop" not in shown.spec()["number_names"]
    at = shown.spec()["number_names"].index("again")
    groups = {split: set(shown.array(split)["numbers"][:, at].tolist()) for split in ("train", "val", "test", "slice")}
    assert sum(map(len, groups.values())) == len(set.union(*groups.values())) == 40
    losses = np.ones((len(shown.array("val")), 1), np.float32)
    sums, weights = shown.units("val", losses)
    assert len(sums) == len(groups["val"]) and weights.sum() == len(losses)


def test_training_comes_before_validation_and_slice_and_these_before_test(tmp_path):
    moments = np.repeat(np.arange(ROWS // 2), 2)
    task = made(written(tmp_path / "a.csv", GOOD | {"moment": moments, "shown": moments}), split="time:moment")
    at = task.spec()["number_names"].index("shown")
    when = {split: task.array(split)["numbers"][:, at] for split in ("train", "val", "test", "slice")}
    assert "moment" not in task.spec()["number_names"]
    assert when["train"].max() < min(when["val"].min(), when["slice"].min())
    assert max(when["val"].max(), when["slice"].max()) < when["test"].min()
    assert not set(when["val"].tolist()) & set(when["slice"].tolist())
    assert abs(np.median(when["val"]) - np.median(when["slice"])) < 0.2 * np.ptp(when["val"]), "they lie between each other"


def test_a_date_that_the_rows_are_split_by_stays_as_a_place_in_the_week_and_the_year(tmp_path):
    task = made(written(tmp_path / "a.csv", GOOD), split="time:day")
    names = task.spec()["number_names"]
    assert "day.weekday" in names and "day.day" not in names


def test_training_rows_that_are_copies_of_held_out_ones_are_left_out_and_counted(tmp_path):
    table = {name: np.concatenate([values[:100], values[:300]]) for name, values in GOOD.items() if name not in ("day", "shop")}
    task = made(written(tmp_path / "a.csv", table | {"moment": np.arange(400)}), split="time:moment")
    assert not any("copies" in line for line in task.facts["warnings"]), "the copies lie within training here"
    table = {name: np.concatenate([values[:300], values[:100]]) for name, values in GOOD.items() if name not in ("day", "shop")}
    task = made(written(tmp_path / "a.csv", table | {"moment": np.arange(400)}), split="time:moment")
    assert len(task.array("train")) == 140
    assert "100 training rows are copies of held-out ones: left out" in task.facts["warnings"]


# ------------------------------------------------------------------------------------------------------------- losses


def test_classes_are_scored_in_nats(tmp_path):
    task = made(written(tmp_path / "a.csv", GOOD), "sold")
    asked = task.questions("val")
    assert task.metric.name == "log_loss" and task.answer == (2,)
    losses = task.losses(np.zeros((len(asked), 2), np.float32), asked.targets)
    sums, weights = task.units("val", losses)
    assert task.value(sums.sum() / weights.sum()) == pytest.approx(np.log(2))
    with pytest.raises(InvalidAnswer):
        task.losses(np.full((len(asked), 2), np.nan, np.float32), asked.targets)
    with pytest.raises(InvalidAnswer):
        task.losses(np.zeros((len(asked) - 1, 2), np.float32), asked.targets)


def test_a_number_is_scored_against_the_training_mean(tmp_path):
    task = made(written(tmp_path / "a.csv", GOOD))
    assert task.metric.name == "rel_rmse" and task.answer == (1,)
    for split, asked in task.splits():
        scores = []
        for answers in (np.zeros((len(asked), 1)), 0.5 * asked.targets[:, None], asked.targets[:, None]):
            sums, weights = task.units(split, task.losses(answers.astype(np.float32), asked.targets))
            scores.append(task.value(sums.sum() / weights.sum()))
        assert scores == pytest.approx([1.0, 0.5, 0.0])
    for bad in (np.nan, np.inf, 1e30):
        with pytest.raises(InvalidAnswer):
            task.losses(np.full((len(asked), 1), bad, np.float32), asked.targets)


def test_no_question_holds_the_target(tmp_path):
    task = made(written(tmp_path / "a.csv", GOOD))
    for split, asked in task.splits():
        assert asked.inputs.dtype.names == ("numbers", "codes")
        order = np.argsort(asked.targets)
        assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.5, f"{split} is sorted by its targets"


# ------------------------------------------------------------------------------------------------- data that is no good

_odd = WIDTH.astype("<U12")
_odd[3] = "unknown"
_holes = PRICE.astype("<U12")
_holes[:7], _holes[7] = "", "inf"
_rare = SOLD.astype("<U12")
_rare[:4] = "perhaps"
_mixed = np.where(np.arange(ROWS) % 2, "x", SHOP.astype(str))
_words = [f"a note of its own, number {at * 7919 % 1000}-{at}".replace(",", " ") for at in range(ROWS)]

WARNED: dict[str, tuple[dict, dict, str]] = {
    "text in numbers": (
        {"width": _odd},
        {},
        "width is a column of numbers, but 1 of its values are not, such as 'unknown'",
    ),
    "half text": ({"mixed": _mixed}, {}, "mixed holds numbers and text, 5"),
    "no target": ({"price": _holes}, {}, "8 rows have no price that can be used, such as 'inf': left out"),
    "rare class": (
        {"sold": _rare},
        {"target": "sold"},
        "1 classes with fewer than 10 rows, such as 'perhaps': their 4 rows",
    ),
    "numbered rows": ({"n": np.arange(ROWS)[::-1] + 1}, {}, "n is left out: it numbers the rows; `--keep n` keeps it"),
    "identifier": (
        {"customer_id": rng.permutation(10**6)[:ROWS]},
        {},
        "customer_id is left out: it is another",
    ),
    "free text": (
        {"note": _words},
        {},
        "note is left out: it is text that is another in most rows (400 in 400)",
    ),
    "constant": ({"same": ["x"] * ROWS, "none": [""] * ROWS}, {}, "same, none: one value or none in the training rows, left out"),
    "copy of the target": (
        {"again": PRICE},
        {},
        "again alone gives the target away",
    ),
    "function of the target": ({"grown": np.exp(PRICE / 3).round(6)}, {}, "grown alone gives the target away"),
    "class by another name": ({"state": np.where(SOLD == "yes", "shipped", "here")}, {"target": "sold"}, "state alone gives"),
    "class by a threshold": ({"paid": np.where(SOLD == "yes", 5.0, 0) + WIDTH / 9}, {"target": "sold"}, "paid alone gives"),
    "class by a hole": ({"shipped": np.where(SOLD == "yes", WIDTH.astype(str), "")}, {"target": "sold"}, "shipped alone gives"),
    "few rows": ({}, {}, "only 60 rows are for validation: a small gain can't be told from luck"),
    "dates": ({}, {}, "to be judged on the future: `--split time:COLUMN`"),
    "whole numbers": ({"stars": rng.integers(1, 6, ROWS)}, {"target": "stars"}, "stars has 5 whole values, taken as classes"),
    "no group": ({"shop": ["", *SHOP[1:]]}, {"split": "group:shop"}, "1 rows have no shop, which the rows are split by: left out"),
}


@pytest.mark.parametrize("case", WARNED)
def test_a_warning(tmp_path, case):
    columns, options, line = WARNED[case]
    target = options.get("target", "price")
    other = {"price": "sold", "sold": "price", "stars": "price"}[target]
    path = written(tmp_path / "a.csv", {name: values for name, values in (GOOD | columns).items() if name != other})
    warnings = made(path, **{"target": target} | options).facts["warnings"]
    assert any(line in warning for warning in warnings), warnings


def test_good_data_is_not_warned_of(tmp_path):
    rows = 4_000
    x = rng.normal(size=(rows, 4)).round(3)
    table = {f"x{at}": x[:, at] for at in range(4)} | {"y": (x.sum(axis=1) + rng.normal(size=rows)).round(3)}
    assert made(written(tmp_path / "a.csv", table | {"income": rng.permutation(rows) * 977}), "y").facts["warnings"] == []


@pytest.mark.parametrize("way", ["integer", "text"])
def test_what_looks_like_a_row_s_name_stays_when_it_is_asked_for(tmp_path, way):
    table = GOOD | {"n": np.arange(ROWS) if way == "integer" else _words}
    task = made(written(tmp_path / "a.csv", table), keep=["n"])
    assert "n" in task.spec()["number_names"] or any(line.startswith("n: one value") for line in task.facts["warnings"])


def _bytes(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


def _table(**columns: Iterable[object]) -> Callable[[Path], Path]:
    return lambda path: written(path, GOOD | columns)


def _head(rows: int) -> Callable[[Path], Path]:
    return lambda path: written(path, {name: values[:rows] for name, values in GOOD.items()})


REFUSED: dict[str, tuple[Callable[[Path], Path], dict, str]] = {
    "no such target": (_table(), {"target": "prise"}, "has no column 'prise'; did you mean price?; name one of its columns: width"),
    "no such group": (_table(), {"split": "group:shopp"}, "has no column 'shopp'; did you mean shop?"),
    "no such split": (_table(), {"split": "shop"}, "--split shop is none; write `--split row`, `--split group:COLUMN`"),
    "target dropped": (_table(), {"drop": ["price"]}, "can be dropped"),
    "empty": (_bytes(b""), {}, "is empty; name another with `--corpus FILE`"),
    "only names": (_bytes(b"width,price\n"), {}, "has no rows; name another"),
    "one column": (lambda path: written(path, {"price": PRICE}), {}, "has no column to predict price from"),
    "one class": (_table(sold=["yes"] * ROWS), {"target": "sold"}, "sold has 1 class of 10 rows or more (1 in all), and"),
    "no value of the target": (_table(price=[""] * ROWS), {}, "no row has a value in the target price; name another column"),
    "one value of the target": (_table(price=["2.5"] * ROWS), {"kind": "regression"}, "price has the same value in every row"),
    "text as a number": (_table(), {"target": "color", "kind": "regression"}, "color is a number in 0% of its rows, such as '"),
    "too many classes": (
        lambda path: written(path, {"x": range(20_000), "y": np.arange(20_000) % 2_000}), {"target": "y", "kind": "classification"},
        "y has 2,000 classes, more than 1,000; `--kind regression`",
    ),
    "too few rows": (_head(90), {}, "are needed; take a file of more rows, at least 200"),
    "too few groups": (_table(shop=np.arange(ROWS) % 2), {"split": "group:shop"}, "(2 groups) 0 are for validation and"),
    "two moments": (_table(shop=np.arange(ROWS) % 2), {"split": "time:shop"}, "(2 moments)"),
    "no time": (_table(), {"split": "time:color"}, "color is no time in every row: '"),
    "same name twice": (_bytes(b"a,b,a\n1,2,3\n"), {"target": "a"}, "has more than one column called 'a'; rename all but one"),
    "ragged": (_bytes(b"a,b\n1,2\n1,2,3\n"), {"target": "a"}, "Expected 2 columns, got 3: 1,2,3"),
    "binary": (_bytes(b"a,b\n\0\1\2"), {"target": "a"}, "is not text; name a file of text"),
    "too many columns": (_bytes(",".join(map(str, range(10_001))).encode() + b"\n"), {"target": "0"}, "more than 10,000; leave"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_one_clear_line(tmp_path, case):
    write, options, line = REFUSED[case]
    with pytest.raises(UsageError) as refusal:
        made(write(tmp_path / "a.csv"), **{"target": "price"} | options)
    assert line in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["a.xlsx", "a.parquet", "a.csv.gz", "folder.csv"])
def test_a_file_that_is_no_table(tmp_path, name):
    path = tmp_path / name
    path.mkdir() if name == "folder.csv" else path.write_bytes(b"PK\3\4 nothing of the kind")
    with pytest.raises(UsageError, match=r"name (one|another|a) ?(file)?"):
        made(path)


def test_another_encoding_is_read_and_its_line_named(tmp_path):
    path = written(tmp_path / "a.csv", GOOD | {"color": np.where(COLOR == "red", "grün", COLOR)})
    path.write_bytes(path.read_text(encoding="utf-8").encode("cp1252"))
    first = next(at for at, color in enumerate(COLOR, 2) if color == "red")
    assert f"line {first} of a.csv is not UTF-8" in made(path).facts["warnings"][0]


def test_a_class_that_training_lacks_is_left_out_of_what_is_held_out(tmp_path):
    sold = SOLD.astype("<U12")
    sold[-40:-10] = "later"
    table = GOOD | {"sold": sold, "moment": np.arange(ROWS)}
    task = made(written(tmp_path / "a.csv", table), "sold", split="time:moment")
    assert task.facts["classes"] == ["no", "yes"]
    assert "30 held-out rows have a class that no training row has: left out" in task.facts["warnings"]

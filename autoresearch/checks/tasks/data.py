"""The contracts of a task's folder and of its data: nothing is trained here."""

import ast
import json
from collections.abc import Iterator

import numpy as np

from autoresearch import constants
from autoresearch.agents.search import moves
from autoresearch.checks.conformance.contracts import Fault, NotApplicable
from autoresearch.checks.tasks.subject import SEED, Subject, digests, epoch, fed, row_type, width
from autoresearch.errors import UsageError
from autoresearch.hardware.devices.registry import scan
from autoresearch.task import registry
from autoresearch.task.contract import Task

FEW = 20  # questions in a split: with fewer its score is mostly chance
SAME_ORDER = 0.8  # chosen: a rank correlation with the targets that no honest order of rows comes to (two classes, sorted: 0.87)
SAME_RANKS = 0.9999  # of an input that is the target in other units
WINDOW = 64  # tokens of text in a row that no two documents share by chance
SAME_TEXT = 0.1  # chosen: a tenth of val's windows; shared licences and tables are below (docs/design/tasks-check.md)
MOST_COLUMNS = 1024  # of a field that holds an array


def task_toml(subject: Subject) -> str:
    """It reads; its metric in words."""
    table = subject.table
    metric, better = table.metric, {"min": "lower", "max": "higher"}[table.metric.direction]
    return f"{metric.name} in {metric.unit or 'no unit'}, {better} is better; audit: {table.audit}"


def task_py(subject: Subject) -> str:
    """It loads without a framework, and its class is made from ours."""
    try:
        registry.kind(subject.table)
    except UsageError as error:
        raise Fault(str(error)) from error
    subject.task  # noqa: B018  (what is wrong with the call's data or options ends the check, in its own words)
    frameworks = {name for backend in scan().values() for name in backend.requires} - {"numpy"}
    if loaded := sorted(frameworks & set(subject.second.loaded)):
        raise Fault(f"task.py imports {loaded[0]} when it is read; a framework belongs into train.py", loaded[0])
    return "loads without a framework"


def train_py(subject: Subject) -> str:
    """Each parses; its constants have ranges that can be read, and the names that are called are there."""
    table, figures = subject.table, []
    for framework in registry.frameworks(table):
        place = f"{framework}/train.py"
        source = (table.folder / framework / "train.py").read_text(encoding="utf-8")
        try:
            found = constants.read(source)
            constants.write(source, table.train)
        except UsageError as error:
            raise Fault(f"{place}: {error}") from error
        if not found:
            raise Fault(f"{place} has no constants; give the search lines such as `WIDTH = 64  # what it is [16..512 log]`", place)
        wanted = {"build_model"} if table.audit == "causal" else {"build_model", "answer"}
        missing = wanted - {node.name for node in constants.syntax_tree(source).body if isinstance(node, ast.FunctionDef)}
        if missing:
            raise Fault(f"{place} has no function {min(missing)}; docs/adding/tasks.md says what it is given", place)
        figures.append(f"{framework}: {sum(one.annotation is not None for one in found.values())} of {len(found)} with a range")
    return "; ".join(figures) or "the backends' own"


def told_agents(subject: Subject) -> str:
    """Agents are told of this task and of no other; each known move has its constants."""
    table = subject.table
    if registry.frameworks(table) and not (table.folder / "program.md").is_file():
        raise Fault("there is no program.md, so agents are told of pretraining; write what the goal is and what may change")
    names = set().union(*(constants.read(path.read_text(encoding="utf-8")) for path in table.folder.glob("*/train.py")))
    try:
        known = moves.read(table.folder)
        edits = [edit.constant for move in known for edit in move.edits]
    except (ValueError, UsageError) as error:
        raise Fault(f"moves.toml can't be used: {error!r:.200}; each [[move]] has `what` and `edits`", "moves.toml") from error
    if names and (missing := [name for name in edits if name not in names]):
        raise Fault(f"moves.toml turns {missing[0]}, which no train.py has; take it out", missing[0])
    return f"program.md, {len(known)} known moves"


def prepared_twice(subject: Subject) -> str:
    """Another process, with another cache, writes the same bytes."""
    first, second = digests(subject.task.prepared.folder), subject.second.digests
    different = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    if different:
        cure = "seed what is drawn with a constant, and sort what comes from a set or a folder"
        raise Fault(f"prepare wrote another {different[0]} the second time; {cure}", f"{len(different)} of {len(first)} files")
    return f"{len(first)} files, the same bytes"


def splits(subject: Subject) -> str:
    """Each has questions and as many targets, of one type; what a model is told can be written as JSON."""
    task, counts, kinds = subject.task, {}, set()
    if task.questions("val") is None:
        raise Fault("there is no split val, which decides; write val.npy in prepare", "val")
    for split, questions in task.splits():
        if len(questions.inputs) != len(questions.targets):
            raise Fault(
                f"{split} has {len(questions.inputs)} questions and {len(questions.targets)} targets; give one for each", split
            )
        counts[split] = len(questions)
        kinds.add(
            (str(questions.inputs.dtype), questions.inputs.shape[1:], str(questions.targets.dtype), questions.targets.shape[1:])
        )
    if len(kinds) > 1:
        raise Fault(f"the splits differ in their types: {sorted(map(str, kinds))[:2]}; give all the same", f"{len(kinds)} types")
    few = [split for split, count in counts.items() if count < FEW and not task.is_causal]
    if few:
        raise Fault(f"{few[0]} has {counts[few[0]]} questions, so that luck decides; give it {FEW} or more", few[0])
    if task.row.names and set(task.questions("val").inputs.dtype.names or ()) & set(task.TARGETS):  # type: ignore[union-attr]
        raise Fault(f"a question holds a field of TARGETS, {task.TARGETS[0]}; leave it out of the inputs", "targets")
    try:
        json.dumps(task.spec())
    except (TypeError, ValueError) as error:
        raise Fault(f"spec() can't be sent to a training: {error}; give numbers, texts, lists and tables", "spec") from error
    shown = ", ".join(f"{count} {split}" for split, count in counts.items())
    return shown + "".join(f", no {split}" for split in ("test", "slice") if split not in counts)


def not_fed(subject: Subject) -> str:
    """No row that is fed holds a question, or the target of one, by more than rows resemble each other anyway."""
    return _text_not_fed(subject.task) if subject.task.is_causal else _rows_not_fed(subject.task)


def _rows_not_fed(task: Task) -> str:
    rows = epoch(task)
    train = np.unique(rows) if rows.dtype.names else rows
    asked = dict(task.splits())
    names = [name for name in asked["val"].inputs.dtype.names or () if name in (rows.dtype.names or ())]
    if not names:
        raise NotApplicable("what is fed has no field of the questions: nothing here can be compared")
    known: set[bytes] = set()
    figures = []
    for split, questions in asked.items():
        keys, own = _keys(questions.inputs, names), _keys(train, names)
        _seldom(keys, own, f"questions of {split} are fed with their targets; leave those rows out of train.npy", 0)
        both = sum(key in known for key in set(keys))
        if both > _expected(own) * len(keys) * 2:
            raise Fault(f"{both} questions of {split} are in another split too; give each row to one", f"{both} rows")
        known |= set(keys)
        for column in rows.dtype.names or ():
            for name, target in _columns(questions.targets, "target"):
                if len(np.unique(target)) > len(target) / 2:  # a class is anybody's
                    for inner, values in _columns(train[column], column):
                        told = f"of the targets ({name}) of {split} are in {inner} of the rows that are fed; leave those rows out"
                        _seldom(list(target), list(values), told, max(3, len(target) // 100))
        figures.append(f"{split} {len(keys)}")
    return f"{len(rows)} fed rows hold none of {', '.join(figures)}"


def _seldom(asked: list, own: list, told: str, slack: int) -> None:  # type: ignore[type-arg]
    """Fault when more of `asked` are among `own` than others like them would be."""
    there = set(own)
    found = sum(key in there for key in asked)
    expected = _expected(own) * len(asked)
    if found > 1.5 * expected + 5 * expected**0.5 + slack:
        raise Fault(f"{found} of {len(asked)} {told}", f"{found} of {len(asked)}, {expected:.1f} by chance")


def _expected(own: list) -> float:  # type: ignore[type-arg]
    """The share of new draws that are among `own` already: of what is there, how much is there twice (Good, 1953)."""
    counts: dict[object, int] = {}
    for key in own:
        counts[key] = counts.get(key, 0) + 1
    return 1 - sum(count == 1 for count in counts.values()) / max(1, len(own))


def _keys(rows: np.ndarray, names: list[str]) -> list[bytes]:
    """Those fields of each row as bytes."""
    packed = np.empty(len(rows), np.dtype([(name, rows.dtype[name]) for name in names]))
    for name in names:
        packed[name] = rows[name]
    data, size = packed.tobytes(), packed.dtype.itemsize
    return [data[start : start + size] for start in range(0, len(data), size)]


def _text_not_fed(task: Task) -> str:
    questions = task.questions("val")
    assert questions is not None, "the contract `splits` has passed"
    size = min(WINDOW, questions.inputs.shape[1])
    asked = np.unique(_windows(questions.inputs, size)[:, ::size])
    rows = epoch(task)
    found = np.isin(asked, _windows(rows, size), assume_unique=False).mean()
    if found > SAME_TEXT:
        raise Fault(f"{found:.0%} of the validation text is fed; split by whole documents, and no document twice", f"{found:.1%}")
    return f"{found:.2%} of val's pieces of {size} tokens are among {rows.size} that are fed"


def _windows(rows: np.ndarray, size: int) -> np.ndarray:
    """A number for each run of so many tokens, uint64 [rows, T - size + 1]: a polynomial modulo 2**64."""
    base, inverse = np.uint64(6364136223846793005), np.uint64(pow(6364136223846793005, -1, 1 << 64))
    count = rows.shape[1]
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(count, base), dtype=np.uint64)
        back = np.cumprod(np.full(count, inverse), dtype=np.uint64)[: count - size + 1]
        sums = np.cumsum((rows.astype(np.uint64) + np.uint64(1)) * powers, axis=1, dtype=np.uint64)
        before = np.concatenate([np.zeros((len(rows), 1), np.uint64), sums[:, :-size]], axis=1)
        windows: np.ndarray = (sums[:, size - 1 :] - before) * back
    return windows


def not_told(subject: Subject) -> str:
    """No field of a question is the target, in other units or in another order, and rows don't lie in the targets' order."""
    task = subject.task
    if task.is_causal:
        raise NotApplicable("each token is the target of those before it: every keep is audited for that")
    looked = 0
    for split, questions in task.splits():
        for name, target in _columns(questions.targets, "the target"):
            if abs(_rank_correlation(np.arange(len(target)), target)) > SAME_ORDER:
                raise Fault(f"the questions of {split} lie in the order of {name}; shuffle them in prepare", "their order")
            for field in questions.inputs.dtype.names or ():
                for inner, values in _columns(questions.inputs[field], field):
                    looked += 1
                    if told := _tells(values, target):
                        raise Fault(f"in {split} the input {inner} {told} {name}; leave it out of the questions", inner)
    return f"{looked} pairs of an input and a target"


def _columns(values: np.ndarray, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """A field's columns, each one number a row, or the fields of structured values."""
    if values.dtype.names:
        for inner in values.dtype.names:
            yield from _columns(values[inner], inner)
    elif values.dtype.kind in "iufb" and len(values):
        flat = values.reshape(len(values), -1)
        for column in range(min(flat.shape[1], MOST_COLUMNS)):
            yield (name if flat.shape[1] == 1 else f"{name}[{column}]"), flat[:, column]


def _tells(values: np.ndarray, target: np.ndarray) -> str | None:
    """How an input gives a target away, or None."""
    different = len(np.unique(target))
    if different < 2:
        return None
    if np.array_equal(values, target):
        return "is"
    pairs = len(np.unique(np.stack([values, target]).astype(np.float64), axis=1).T)
    if pairs == different == len(np.unique(values)) and different <= len(target) / 2:
        return "is another name for"
    if different > 2 and abs(correlation := _rank_correlation(values, target)) > SAME_RANKS:
        return f"has the {'same' if correlation > 0 else 'opposite'} order as"
    if different > len(target) / 2 and np.array_equal(np.sort(values), np.sort(target)):
        return "has, in another order, the values of"
    spread = float(values.max()) - float(values.min()) + 1
    is_number = len(np.unique(values)) == len(values) and np.array_equal(values, np.round(values)) and spread < 20 * len(values)
    if is_number and abs(_rank_correlation(values, target)) > SAME_ORDER:
        return "is the number of the row, and tells"
    return None


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, with mean ranks for what is equal; 0 where one does not vary."""
    one, other = _ranks(first), _ranks(second)
    return float(np.corrcoef(one, other)[0, 1]) if one.std() and other.std() else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: np.ndarray = (ends - (counts - 1) / 2)[place]
    return ranks


def feed(subject: Subject) -> str:
    """One seed feeds the same bytes, another seed another order; what is handed out is counted."""
    task = subject.task
    rows = min(4096, max(8, FED_CHECKED_BYTES // row_type(task).itemsize))
    first, again, other = fed(task, SEED, rows), fed(task, SEED, rows, batch=100), fed(task, SEED + 1, rows)
    if first.tobytes() != again.tobytes():
        raise Fault("two feeds of one seed differ, or depend on the size of a batch; draw from numpy's default_rng(seed) alone")
    if first.tobytes() == other.tobytes():
        raise Fault("another seed feeds the same rows in the same order; let the order depend on the seed")
    one, unit = task.feed(SEED), width(task)
    one.prepare()
    counts = []
    for ahead in (False, True, True):
        one.answer({"type": "batch", "rows": 3, "seq_len": unit, "ahead": ahead})
        counts.append(one.tokens)
    if counts != [3 * unit, 3 * unit, 6 * unit]:
        said = "what was asked for ahead counts once more is asked for"
        raise Fault(f"3 batches of 3 rows count as {counts}, not {[3 * unit, 3 * unit, 6 * unit]}: {said}; mend its `tokens`")
    return f"{rows} rows alike for one seed, {np.mean(first == other):.0%} in the same place for another"


FED_CHECKED_BYTES = 16 << 20

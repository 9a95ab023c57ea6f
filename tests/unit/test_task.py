"""Tasks are found by scanning; what a call says of one; its data is made once; rows are fed and asked as they are described."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.data.progress import silent
from autoresearch.errors import StoredStateError, UsageError
from autoresearch.measure import audit
from autoresearch.measure.batches import RecordFeed
from autoresearch.measure.bpb import InvalidLogits, target_bits
from autoresearch.measure.run import by_name, described, row_type, stand_in
from autoresearch.measure.scorer import ask_all
from autoresearch.task import prepared, registry, table
from autoresearch.task.table import Source

TOY = Path(__file__).parents[1] / "toy"
ROW = np.dtype([("x", "<f4", (3,)), ("kind", "<i2"), ("y", "<f8")])


@pytest.fixture
def toy(tmp_path):
    """A copy of the toy, in a folder of tasks."""
    shutil.copytree(TOY, tmp_path / "tasks" / "toy")
    return tmp_path / "tasks" / "toy"


def edit(folder, old, new, name="task.toml"):
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new), encoding="utf-8")


def test_a_folder_with_a_task_toml_is_a_task(toy):
    [found] = table.scan(toy.parent).values()
    assert (found.name, found.metric.name, found.metric.direction, found.audit, found.scoring) == (
        "toy", "accuracy", "max", "rows", "answers",
    )  # fmt: skip
    assert found.problem is None and registry.frameworks(found) == ["null"] and registry.kind(found).TARGETS == ("y",)
    assert registry.find(str(toy)).named == str(toy.resolve()) and registry.find("pretrain").named == "pretrain"
    by_task = registry.backends(found)
    assert by_task["null"].train_py == toy / "null" / "train.py" and by_task["null"].problem is None
    assert "the task toy has no train.py for it (it has: null)" in by_task["cpu"].problem


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("title =", "titel =", "unknown key 'titel'; did you mean title?"),
        ('direction = "max"', 'direction = "up"', "direction"),
        (
            'name = "accuracy"',
            'name = "A b"',
            "name must be a short name such as log_loss, and none that means something else, not 'A b'",
        ),
        ('name = "accuracy"', 'name = "status"', "none that means something else, not 'status'"),
        ('audit = "rows"', 'audit = "row"', "audit"),
        ("train_seconds = 0.3", "train_seconds = " + 5000 * "9", "cannot be read"),
        ("train_seconds = 0.3", "train_seconds = " + 5000 * "[", "cannot be read"),
        ("[options.hardness]", "[options.Hard]", "an option's name is lower-case letters, digits and -"),
        ("help = ", "hlep = ", "unknown key 'hlep'; did you mean help?"),
        ("train_seconds = 0.3", "train_seconds = 0", "train_seconds"),
        ("title = ", "title ", "cannot be read"),
    ],
)
def test_a_wrong_task_toml_is_its_own_problem(toy, old, new, words):
    edit(toy, old, new)
    found = table.scan(toy.parent)["toy"]
    assert words in found.problem and "\n" not in found.problem
    with pytest.raises(UsageError, match="the task toy can't be used: "):
        registry.find(str(toy))


def test_a_task_that_tells_agents_nothing_is_none(toy):
    (toy / "program.md").unlink()
    assert "there is no program.md" in table.scan(toy.parent)["toy"].problem, "else they would be told of pretraining"


def test_a_task_py_that_does_not_load_is_told_in_one_line(toy):
    edit(toy, "import numpy as np", "import numpy as np\nnowhere", "task.py")
    with pytest.raises(UsageError, match=r"task.py does not load: NameError: .*; mend it"):
        registry.kind(table.scan(toy.parent)["toy"])


def test_a_task_py_without_losses_is_told_in_one_line(toy):
    edit(toy, "def losses(", "def loss(", "task.py")
    with pytest.raises(UsageError, match=r"its class Task has no `losses`; write it"):
        registry.kind(table.scan(toy.parent)["toy"])


def test_an_installed_package_brings_a_task(toy, tmp_path, monkeypatch):
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n", encoding="utf-8")
    lines = "[autoresearch.tasks]\nplaything = tasks.toy\ngone = no_such_package.task\npretrain = tasks.toy\n"
    (info / "entry_points.txt").write_text(lines, encoding="utf-8")
    (tmp_path / "tasks" / "__init__.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = table.scan()
    assert found["plaything"].problem is None and found["plaything"].folder == toy
    assert "no folder of that package holds a task.toml" in found["gone"].problem
    assert found["pretrain"].folder != toy and any("the name pretrain is taken" in (one.problem or "") for one in found.values())


def test_a_calls_options_are_the_tasks_own(toy, tmp_path, monkeypatch):
    edit(toy, "[options.hardness]", "\n".join([
        "[options.target]", 'help = "What to predict."', "required = true", "[options.file]", 'help = "A file."', 'type = "path"',
        "[options.way]", 'help = "How."', 'choices = ["a", "b"]', "[options.hardness]",
    ]))  # fmt: skip
    found = table.scan(toy.parent)["toy"]
    monkeypatch.chdir(tmp_path)
    assert registry.given(found, {"target": "y", "file": "here", "way": None}) == {
        "target": "y", "file": str(tmp_path / "here"), "hardness": 1.0,
    }  # fmt: skip
    with pytest.raises(UsageError, match="the task toy needs --target: What to predict; give it"):
        registry.given(found, {})
    with pytest.raises(UsageError, match="--way c: is none of a, b; take one of them"):
        registry.given(found, {"target": "y", "way": "c"})
    monkeypatch.setattr(registry, "scan", lambda: {"toy": found})
    with pytest.raises(UsageError, match="--target is of the task toy, and this is pretrain; leave it out or add --task toy"):
        registry.given(registry.find("pretrain"), {"target": "y"})


def test_data_is_made_once_for_a_source_its_options_and_the_tasks_code(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    found = table.scan(toy.parent)["toy"]
    kind = registry.kind(found)

    def made(hardness=1.0):
        return kind.prepared_from(found, Source("made"), {"hardness": hardness}, None, silent)

    first = made()
    assert made() == first and made(2.0).key != first.key and first.facts == {"warnings": ["it is made up"]}
    path = first.folder / "val.npy"
    before = path.read_bytes()
    path.write_bytes(before[:-1] + b"?")
    with pytest.raises(StoredStateError, match=r"val.npy is not what was written"):
        prepared.load(first.key).verify()
    assert made() == first and path.read_bytes() == before, "what is damaged is made again"
    edit(toy, '"train": 3000', '"train": 2000', "task.py")
    assert made().key != first.key
    assert not list((tmp_path / "cache" / "data").glob(".unfinished-*"))


@given(count=st.integers(1, 30), asked=st.lists(st.integers(1, 40), min_size=1, max_size=8), seed=st.integers(0, 3))
def test_each_row_is_fed_once_an_epoch_in_an_order_of_the_seeds(count, asked, seed):
    rows = np.zeros(count, ROW)
    rows["y"] = np.arange(count)
    feed, again = RecordFeed(rows, seed), RecordFeed(rows, seed)
    given_rows = np.concatenate([feed.rows(one) for one in asked])
    assert np.array_equal(given_rows, again.rows(sum(asked)))
    counts = np.bincount(given_rows["y"].astype(int), minlength=count)
    assert counts.max() - counts.min() <= 1 and len(given_rows) == sum(asked)


def test_what_was_fed_is_counted_and_another_seed_is_another_order():
    rows = np.zeros(100, ROW)
    rows["y"] = np.arange(100)
    feed = RecordFeed(rows, 1)
    header, payload = feed.answer({"rows": 7, "seq_len": 1, "ahead": False})
    assert header == {"type": "batch", "rows": 7, "seq_len": 1} and np.frombuffer(payload, ROW)["y"].tolist()
    feed.answer({"rows": 5, "seq_len": 1, "ahead": True})
    assert feed.tokens == 7, "what was asked for ahead is not used yet"
    assert not np.array_equal(RecordFeed(rows, 1).rows(100), RecordFeed(rows, 2).rows(100))
    with pytest.raises(ValueError, match="no row to train on"):
        RecordFeed(rows[:0], 1).rows(1)


def test_a_rows_type_goes_through_a_job_and_stand_ins_are_of_it():
    assert row_type(described(ROW)) == ROW and row_type(described(np.dtype("uint16"))) == np.uint16
    rows = stand_in(ROW, 50, {"kind": 3}, np.random.default_rng(0))
    assert rows.dtype == ROW and rows["kind"].max() == 2 and rows["x"].std() > 0.5
    arrays = by_name(rows)
    assert {name: array.shape for name, array in arrays.items()} == {"x": (50, 3), "kind": (50,), "y": (50,)}
    arrays["x"][:] = 0  # its own


def test_pretraining_is_asked_and_scored_as_its_arithmetic_says(tmp_path, monkeypatch):
    from on_text import on_text

    from autoresearch.data.prepare import prepare
    from autoresearch.measure.bpb import ValidationText

    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "corpus").mkdir()
    for index in range(40):
        (tmp_path / "corpus" / f"{index}.txt").write_text(f"{index} one fish two fish " * 160, encoding="utf-8")
    made = prepare(str(tmp_path / "corpus"), 270)
    task = on_text(made, 16, 2000)
    text = ValidationText.load(made.val_folder, np.load(made.folder / "token_bytes.npy"), made.dtype, 2000)
    questions = task.questions("val")
    inputs, targets = text.rows(16)
    assert np.array_equal(questions.inputs, inputs) and np.array_equal(questions.targets, targets)
    logits = np.random.default_rng(0).normal(size=(len(inputs), 16, 270)).astype(np.float32)
    losses = task.losses(logits.copy(), targets)
    assert np.array_equal(losses.reshape(-1), target_bits(logits.reshape(-1, 270), targets.reshape(-1)))
    sums, weights = task.units("val", losses)
    assert weights.sum() == text.total_bytes
    assert sums.sum() == text.document_bits(losses.reshape(-1)[: len(text.tokens) - 1].astype(np.float64)).sum()


def toy_ask(answer, batch=16):
    """(inputs, targets) -> losses [n, 1] of a model in this process, by the harness's way of asking."""
    filled = {}

    def send(slot, asked):
        filled[slot] = answer(asked)

    return lambda inputs, targets: ask_all(
        inputs, targets, batch, lambda answers, goal: (answers - goal[:, None]) ** 2, send, filled.pop
    )


def questions():
    rng = np.random.default_rng(0)
    inputs = np.zeros(500, [("x", "<f4")])
    inputs["x"] = rng.normal(size=500)
    return inputs, (inputs["x"] + rng.normal(size=500) * 0.5).astype(np.float32)


def finding(model):
    """Of an audit of whole questions, after a baseline that answers each by itself. model() is a fresh process's."""
    inputs, targets = questions()

    def draw(rng, count):
        return audit.ask_again(rng, inputs, targets, count, 1)

    honest = toy_ask(lambda asked: asked["x"][:, None])
    scored, cuts = honest(inputs, targets), draw(np.random.default_rng(1), 128)
    allowed = audit.Tolerance.of_baseline([audit.compare(cuts, scored, honest(cuts.inputs, cuts.targets))], whole=True)
    scored, ask, rng = toy_ask(model())(inputs, targets), toy_ask(model()), np.random.default_rng(2)
    return audit.examine(
        allowed, scored, draw(rng, 128), lambda count: draw(rng, count), lambda cuts: ask(cuts.inputs, cuts.targets)
    )


def learning(share):
    """A model that gets better with each question that it has seen, by so much in all."""

    def model():
        seen = []

        def answer(asked):
            seen.extend(asked["x"])
            return asked["x"][:, None] * (1 - share * np.exp(-len(seen) / 300))

        return answer

    return model


def test_an_answer_that_hangs_on_other_questions_fails_an_audit_and_an_honest_one_passes():
    assert finding(lambda: lambda asked: 0.9 * asked["x"][:, None]).reason is None
    of_a_batch = finding(lambda: lambda asked: (asked["x"] - asked["x"].mean())[:, None])
    assert "when only the questions beside it or their order were changed. It uses other questions" in of_a_batch.reason
    assert "It uses other questions" in finding(learning(1.0)).reason
    assert "each by little but all the same way" in finding(learning(0.08)).reason


def test_an_answer_without_a_loss_is_none():
    inputs, targets = questions()
    for wrong in (np.nan, np.inf):
        with pytest.raises(InvalidLogits, match="an answer that has no loss"):
            toy_ask(lambda asked, wrong=wrong: np.full((len(asked), 1), wrong, np.float32))(inputs, targets)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_no_data(toy, tmp_path):
    os.mkfifo(tmp_path / "data.csv")
    with pytest.raises(UsageError, match=r"there is no file or folder .*data\.csv; name one"):
        prepared.source(table.scan(toy.parent)["toy"], str(tmp_path / "data.csv"))

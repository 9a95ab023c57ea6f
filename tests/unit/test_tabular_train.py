"""The tabular task's torch train.py at a size of milliseconds: shapes, holes, ensembles, and that a row is answered by itself."""

import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_backend  # noqa: E402

from autoresearch import constants  # noqa: E402
from autoresearch.paths import shipped  # noqa: E402

SOURCE = (shipped("tasks") / "tabular" / "torch" / "train.py").read_text(encoding="utf-8")
SMALL = {"WIDTH": 16, "DEPTH": 2, "BATCH_SIZE": 32}
SHAPES = {"both": (3, [4, 7]), "numbers": (3, []), "kinds": (0, [4, 7])}


def train(**values: object) -> types.ModuleType:
    module = types.ModuleType("table_train_under_test")
    sys.modules["runtime"] = torch_backend.runtime()
    try:
        exec(compile(constants.write(SOURCE, SMALL | values), "train.py", "exec"), module.__dict__)
    finally:
        del sys.modules["runtime"]
    return module


def spec(shape: str, classes: int) -> SimpleNamespace:
    numbers, cards = SHAPES[shape]
    return SimpleNamespace(number_names=["x"] * numbers, code_names=["c"] * len(cards), cards=cards, classes=classes, rows=64)


def batch(spec: SimpleNamespace, rows: int = 64) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(rows, len(spec.number_names))).astype(np.float32)
    numbers[::5] = np.nan
    codes = rng.integers(spec.cards or 1, size=(rows, len(spec.cards))).astype(np.int32)
    target = rng.integers(spec.classes, size=rows).astype(np.int32) if spec.classes else rng.normal(size=rows).astype(np.float32)
    return {"numbers": numbers, "codes": codes, "target": target}


@pytest.mark.parametrize("ensemble", [1, 4])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_learns_its_rows_and_answers_each_by_itself(shape, classes, ensemble):
    torch.manual_seed(0)
    module, asked = train(ENSEMBLE=ensemble, DROPOUT=0.0), spec(shape, classes)
    rows, model = batch(asked), module.build_model(asked)
    model.numbers.look(torch.from_numpy(rows["numbers"]))
    trainer = module.Trainer(model)
    losses = [float(trainer.step(rows, progress=0.2)) for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]
    inputs = {name: rows[name] for name in ("numbers", "codes")}
    answers = module.answer(model, inputs)
    assert answers.shape == (64, classes or 1) and answers.dtype == np.float32
    if classes:
        assert np.exp(answers).sum(axis=1) == pytest.approx(1, abs=1e-5)
    order = np.random.default_rng(1).permutation(64)[:20]
    again = module.answer(model, {name: np.ascontiguousarray(values[order]) for name, values in inputs.items()})
    assert again == pytest.approx(answers[order], abs=1e-5)


def test_a_warm_up_leaves_nothing_behind():
    torch.manual_seed(0)
    module, asked = train(), spec("both", 3)
    model = module.build_model(asked)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = module.Trainer(model)
    trainer.warm_up(batch(asked))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not trainer.optimizer.state


@pytest.mark.parametrize("numbers", [1, 40, 20_000])
def test_many_columns_are_cut_into_fewer_pieces(numbers):
    module = train()
    assert module.Pieces(numbers).width <= max(3 * numbers, module.MOST_PIECES + 2 * numbers)


def test_a_number_comes_through_its_pieces_one_after_the_other():
    module = train(PIECES=4)
    pieces = module.Pieces(1)
    pieces.look(torch.arange(101.0)[:, None])
    through = pieces(torch.tensor([[-5.0], [0.0], [37.5], [100.0], [float("nan")]]))
    assert through[:, :4].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 0.5, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert through[:, 5].tolist() == [0, 0, 0, 0, 1]

"""The model counted in plain numbers, against the real train.py on PyTorch's meta device: every number exactly."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from autoresearch.hardware.devices import registry
from autoresearch.hardware.planner import model, profiles
from autoresearch.hardware.planner.model import Sizes
from autoresearch.paths import shipped

TRAIN_PY = (shipped("backends") / "torch" / "train.py").read_text(encoding="utf-8")

SHAPES = {
    "upstream": {"DEPTH": 8, "ASPECT_RATIO": 64, "HEAD_DIM": 128, "WINDOW_PATTERN": "SSSL", "SHORT_WINDOW": 0.5},
    "odd depth": {"DEPTH": 9, "ASPECT_RATIO": 57, "HEAD_DIM": 128, "WINDOW_PATTERN": "SL", "SHORT_WINDOW": 0.25},
    "shared keys": {"DEPTH": 4, "ASPECT_RATIO": 64, "HEAD_DIM": 32, "GQA_RATIO": 4, "WINDOW_PATTERN": "L"},
    "fewer heads than GQA_RATIO": {"DEPTH": 2, "ASPECT_RATIO": 32, "HEAD_DIM": 32, "GQA_RATIO": 4},
    "narrow MLP": {"DEPTH": 3, "ASPECT_RATIO": 64, "HEAD_DIM": 64, "MLP_RATIO": 2, "WINDOW_PATTERN": "SSL", "SHORT_WINDOW": 0.0625},
    "one layer": {"DEPTH": 1, "ASPECT_RATIO": 64, "HEAD_DIM": 64, "WINDOW_PATTERN": "S"},
}


def sizes_of(constants: dict, seq_len: int = 200, vocab_size: int = 1000) -> Sizes:
    profile = profiles.load("cpu")
    return Sizes.of(replace(profile, data=replace(profile.data, seq_len=seq_len, vocab_size=vocab_size), train=constants), TRAIN_PY)


def real(constants: dict, seq_len: int, vocab_size: int):
    """(train.py as a module, its GPT without memory)."""
    torch = pytest.importorskip("torch")
    import torch_backend

    train = torch_backend.train(**{"GATE_CHANNELS": 32, "WINDOW_PATTERN": "SSSL", "SHORT_WINDOW": 0.5} | constants)
    with torch.device("meta"):
        return train, train.GPT(vocab_size, seq_len)


@pytest.mark.parametrize("seq_len, vocab_size", [(200, 1000), (2048, 8192)])
@pytest.mark.parametrize("name", SHAPES)
def test_parameters_flops_and_windows_are_those_of_train_py(name, seq_len, vocab_size):
    sizes = sizes_of(SHAPES[name], seq_len, vocab_size)
    train, gpt = real(SHAPES[name], seq_len, vocab_size)
    tables = [gpt.embedding, gpt.pair_embedding, *gpt.value_embeddings.values()]
    shapes = [tuple(one.shape) for one in gpt.matrices()]
    assert model.num_params(sizes) == sum(one.numel() for one in gpt.parameters())
    assert model.table_params(sizes) == sum(one.numel() for one in tables)
    assert model.head_params(sizes) == gpt.lm_head.numel()
    assert model.matrices(sizes) == {shape: shapes.count(shape) for shape in shapes}
    assert sizes.windows == gpt.windows and sizes.width == train.model_width()
    assert model.flops_per_token(sizes) == gpt.flops_per_token(seq_len)


@pytest.mark.parametrize("constants", [{}, {"DEVICE_BATCH_SIZE": 5}, {"DEVICE_BATCH_SIZE": 4096}, {"TOTAL_BATCH_SIZE": 8}])
def test_rows_and_passes_are_those_of_the_trainer(constants):
    pytest.importorskip("torch")
    import torch_backend

    train = torch_backend.train(**constants)
    spec = torch_backend.SPEC
    trainer = train.Trainer(train.build_model(SimpleNamespace(**vars(spec))), spec.seq_len)
    sizes = sizes_of(torch_backend.TINY | constants, spec.seq_len, spec.vocab_size)
    assert (sizes.rows, sizes.passes) == (trainer.rows, trainer.passes)
    assert sizes.batch_tokens == trainer.rows * trainer.passes * spec.seq_len


@pytest.mark.parametrize("seq_len, window", [(1, 1), (7, 1), (7, 3), (7, 6), (7, 7), (64, 16)])
def test_seen_keys_are_counted_query_by_query(seq_len, window):
    assert model.seen_keys(seq_len, window) == sum(min(row, window) + 1 for row in range(seq_len))


@pytest.mark.parametrize("name", [name for name, one in profiles.all().items() if "DEPTH" in one.train])
def test_a_profile_with_train_pys_constants_has_sizes(name):
    profile = profiles.load(name)
    sizes = Sizes.of(profile, TRAIN_PY)
    assert sizes.depth == profile.train["DEPTH"] and sizes.vocab_size == profile.data.vocab_size
    assert sizes.batch_tokens == profile.train["TOTAL_BATCH_SIZE"]


@pytest.mark.parametrize("text", ["", "DEPTH = 4\n", "this is (no Python"])
def test_a_train_py_without_the_constants_has_no_sizes(text):
    assert Sizes.of(replace(profiles.load("cpu"), train={}), text) is None


def test_every_shipped_train_py_has_the_constants():
    texts = {name: one.train_py.read_text(encoding="utf-8") for name, one in registry.scan().items() if one.trains}
    found = {name for name, text in texts.items() if Sizes.of(replace(profiles.load("cpu"), train={}), text)}
    assert {"cpu", "cuda", "mlx", "mps"} <= found

"""Odd tensors (weights.py) through the runtimes' save_weights, load_weights and logits: the fresh model is the saved one."""

import types

import audited
import numpy as np
import pytest
from audited import FRAMEWORKS, HEADS, SPEC, text
from weights import EVERYWHERE, TORCH

from autoresearch.border.files import parameters as stored_parameters

CASES = [(framework, name) for name in EVERYWHERE for framework in FRAMEWORKS]
# The first use of torch.compile in a process imports for some seconds.
CASES += [pytest.param("torch", name, marks=pytest.mark.slow if "compile" in name else ()) for name in TORCH]


def module(framework, odd):
    found = types.ModuleType("train")
    exec(compile(odd.train_py(HEADS[framework]), "train.py", "exec"), found.__dict__)
    return found


@pytest.mark.parametrize(("framework", "name"), CASES)
def test_a_fresh_model_is_the_one_that_was_saved(framework, name, tmp_path):
    backend, odd = audited.runtime(framework), (EVERYWHERE | TORCH)[name]
    backend.seed(0)
    train = module(framework, odd)
    model = train.trained(train.build_model(SPEC))
    backend.save_weights(model, tmp_path / "checkpoint")
    fresh = backend.load_weights(module(framework, odd).build_model(SPEC), tmp_path / "checkpoint")

    ids = text().inputs[:4]
    saved, loaded = np.full((2, *ids.shape, SPEC.vocab_size), np.nan, np.float32)
    backend.logits(model, ids, saved)
    backend.logits(fresh, ids, loaded)
    np.testing.assert_allclose(loaded, saved, rtol=1e-6)
    assert np.ptp(saved) > 1 and np.isfinite(saved).all()
    bits = audited.asker(framework, fresh)(text().inputs[:4], text().targets[:4])
    assert np.isfinite(bits).all() and bits.mean() > 1
    if odd.numbers is not None:
        assert stored_parameters(tmp_path / "checkpoint") == odd.numbers


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_name_too_few_or_too_many_is_refused(framework, tmp_path):
    backend = audited.runtime(framework)
    names = ("tied embeddings", "a layer used twice")
    models = [module(framework, EVERYWHERE[name]).build_model(SPEC) for name in names]
    for model, other in (models, models[::-1]):
        backend.save_weights(model, tmp_path / "checkpoint")
        with pytest.raises((RuntimeError, ValueError), match=r"(?i)missing|unexpected|not in model"):
            backend.load_weights(other, tmp_path / "checkpoint")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_same_weights_are_the_same_file(framework, tmp_path):
    backend, path = audited.runtime(framework), tmp_path / "checkpoint"
    model = module(framework, EVERYWHERE["tied embeddings"]).build_model(SPEC)
    files = set()
    for _ in range(8):
        backend.save_weights(model, path)
        files.add(path.read_bytes())
    assert len(files) == 1

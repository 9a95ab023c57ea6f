"""No honest model fails an audit of 256 cuts, however unusual, in torch and in MLX; the texts are in unusual.py."""

import audited
import numpy as np
import pytest
from audited import HEADS, text
from unusual import MODELS

WITHOUT_CONTEXT = {"bigram table"}
CASES = [("torch", name) for name in MODELS]
CASES += [pytest.param("mlx", name, marks=pytest.mark.thorough if n % 5 else ()) for n, name in enumerate(MODELS)]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "name"), CASES)
def test_an_honest_model_passes(framework, name, folder):
    subject = audited.model(framework, MODELS[name].train_py(HEADS[framework]), None, folder)
    inputs, targets = text().inputs, text().targets
    bits = audited.asker(framework, subject)(inputs, targets)
    # In batches of another size: kernels that add up in another order are a reason for small differences, and for no more.
    allowed = audited.honest(framework, folder).allowed
    found = audited.examine(audited.asker(framework, subject, batch=3), bits, allowed, 0, 256)
    assert found.reason is None and found.closer is None, found

    other = inputs.copy()
    other[:, 4] = (other[:, 4] + 1) % audited.SPEC.vocab_size
    changed = np.abs(audited.asker(framework, subject)(other, targets) - bits).max(0) > 0.05
    assert not changed[:4].any() and changed[4], "the token itself and nothing before it"
    assert changed[5:].any() != (name in WITHOUT_CONTEXT), "earlier tokens are used, or this shows nothing"

"""What holds for each backend that ships, whichever there are: none is named here."""

import functools

import pytest

from autoresearch.errors import UsageError
from autoresearch.hardware.devices import detect, registry
from autoresearch.hardware.devices.facts import Facts
from autoresearch.paths import shipped

BACKENDS = {name: one for name, one in registry.scan(shipped("backends")).items() if one.trains}
TORCH = shipped("backends") / "torch" / "train.py"  # what every other train.py is a translation of
TEXTS = {one.train_py.parent.name: one for one in BACKENDS.values()}  # one backend for each train.py
TRANSLATIONS = [name for name, one in TEXTS.items() if one.train_py != TORCH.resolve() and not one.simulated]


def constants_block(path):
    return path.read_text(encoding="utf-8").partition("# Constants.")[2].partition("# ------")[0]


@functools.cache
def facts_of(name) -> Facts:
    return detect.probe(BACKENDS[name])


@pytest.mark.parametrize("name", TRANSLATIONS)
def test_its_constants_are_those_of_torch_letter_by_letter(name):
    assert "DEPTH = " in constants_block(TORCH)
    assert constants_block(TEXTS[name].train_py) == constants_block(TORCH)


def test_there_are_translations_to_compare():
    assert len(TRANSLATIONS) >= 2


@pytest.mark.parametrize("name", TEXTS)
def test_its_train_py_stays_short(name):
    assert len(TEXTS[name].train_py.read_text(encoding="utf-8").splitlines()) <= 630


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKENDS)
def test_the_probe_gives_its_choices_with_reasons_or_a_reason_in_one_line(name):
    facts = facts_of(name)
    if not facts.ok:
        assert facts.reason and "\n" not in facts.reason and "Error" not in facts.reason
        pytest.skip(facts.reason)
    assert facts.dtype_reason and facts.compile_reason and facts.attention_reason and facts.versions
    assert facts.memory_bytes is None or facts.memory_bytes > 2**30


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, one in BACKENDS.items() if not one.simulated])
def test_a_dtype_that_there_is_not_is_one_line_that_says_what_to_do(name, monkeypatch):
    if not facts_of(name).ok:
        pytest.skip(facts_of(name).reason)
    monkeypatch.setenv("AUTORESEARCH_DTYPE", "float8")
    facts = detect.probe(BACKENDS[name])
    assert not facts.ok and facts.reason.startswith("AUTORESEARCH_DTYPE is 'float8', and here is float32")
    with pytest.raises(UsageError) as error:
        detect.choose_backend(name, BACKENDS, {name: facts})
    words = "AUTORESEARCH_DTYPE is 'float8', and here is float32"
    assert str(error.value).startswith(f"the backend {name} does not work here: {words}")
    assert "to do: set it (or dtype in the profile's [runtime]) to float32" in str(error.value)

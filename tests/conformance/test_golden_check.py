"""The golden state as the suite compares it: the torch text agrees, and a copy with one thing wrong is told what deviates."""

import shutil

import pytest

from autoresearch.checks.conformance import golden
from autoresearch.checks.conformance.contracts import Fault
from autoresearch.checks.conformance.subject import Subject
from autoresearch.hardware.devices import registry
from autoresearch.paths import shipped


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def subject(tmp_path, cache, monkeypatch):
    """The cpu backend in a folder of its own, not compiled (there is no such compiler): seconds instead of a minute."""
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(cache))
    monkeypatch.setenv("CXX", "no-such-compiler")
    folder = tmp_path / "copy"
    for part in ("torch", "cpu"):
        shutil.copytree(shipped("backends") / part, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    manifest = (folder / "backend.toml").read_text(encoding="utf-8")
    (folder / "backend.toml").write_text(manifest.replace("../torch/", ""), encoding="utf-8")
    (tmp_path / "bench").mkdir()
    return Subject(registry.read("copy", folder), tmp_path / "bench", budget_seconds=1)


def compare(subject):
    return golden.compare(subject, "float32", {"AUTORESEARCH_DTYPE": "float32"})


@pytest.mark.slow
def test_the_torch_text_agrees(subject):
    assert compare(subject).startswith("float32: logits ")


WRONG = {
    "logits": ("first * cos + second * sin, second * cos - first * sin", "first * cos - second * sin, second * cos + first * sin"),
    "losses": ("self.optimizer.step(progress, None", "self.optimizer.step(0.0, None"),
}


@pytest.mark.slow
@pytest.mark.parametrize("quantity", WRONG)
def test_what_is_wrong_shows_in_its_quantity(subject, quantity):
    old, new = WRONG[quantity]
    source = subject.backend.train_py.read_text(encoding="utf-8")
    assert source.count(old) == 1
    subject.backend.train_py.write_text(source.replace(old, new), encoding="utf-8")
    with pytest.raises(Fault, match=f"^{quantity} deviates"):
        compare(subject)

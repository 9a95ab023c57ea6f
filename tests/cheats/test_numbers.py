"""Logits that are no distribution over the text, from torch and from MLX: no score, or none that is better."""

import io
import pathlib
import pickle

import audited
import pytest
import torch
from audited import FRAMEWORKS, text
from processes import NUMBERS

from autoresearch.measure.bpb import InvalidLogits

HONEST = "        return self.table[ids] + self.extra(one_hot(ids, self.vocab_size), ids, *ids.shape)\n"


def asker(framework, folder, lines: str):
    source = audited.train_py(framework, "return 0 * x")
    assert source.count(HONEST) == 1
    body = ["out = 1 * self.table[ids]", *lines.splitlines(), "return out"]
    changed = source.replace(HONEST, "".join(f"        {line}\n" for line in body))
    return audited.asker(framework, audited.model(framework, changed, {"table": text().table}, folder))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_numbers_that_are_no_distribution(framework, name, tmp_path):
    lines, verdict, words = NUMBERS[name]
    ask, honest = asker(framework, tmp_path, lines), audited.honest(framework, tmp_path)
    if verdict == "no effect":
        assert ask(text().inputs, text().targets).mean() > honest.mean_bits - 0.001
    else:
        with pytest.raises(InvalidLogits if verdict == "invalid" else (RuntimeError, ValueError), match=f"(?i){words}|must match"):
            ask(text().inputs, text().targets)


class Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("save", [pickle.dump, torch.save])
def test_a_pickle_as_the_checkpoint_is_not_read(framework, save, tmp_path):
    """Reading one runs code of its writer's."""
    audited.runtime(framework)  # skips without its package
    ran, file = tmp_path / "ran", io.BytesIO()
    save({"table": Runs(ran)}, file)
    with pytest.raises(Exception, match=r"(?i)header"):
        audited.model(framework, audited.train_py(framework, "return 0 * x"), file.getvalue(), tmp_path)
    assert not ran.exists()
    pickle.loads(pickle.dumps(Runs(ran)))
    assert ran.exists(), "else this test would show nothing"

"""Cheats of fine-tuning that the product's own arithmetic judges: exact answers by a look ahead, models that are no cheat, and
folders of a Hugging Face model that are made to break what reads them.

A score that counts which token is the likeliest has no scale: logits that differ by 1e-6 decide as well as those that differ by 10.
"""

import json
import os
import struct
import sys

import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="of the extra `finetune`")

import hf_folder

from autoresearch.errors import UsageError
from autoresearch.loop.audits import newly_right
from autoresearch.measure import audit
from autoresearch.measure.audit import Tolerance
from autoresearch.task import registry

TABLE = registry.find("finetune")
KIND = registry.kind(TABLE)
TASK = sys.modules[KIND.__module__]
SEEDS = range(3)


@pytest.fixture(scope="session")
def task(tmp_path_factory):
    """Sums, with an answer of three tokens in a row of 16."""
    place = tmp_path_factory.mktemp("finetune")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE_DIR", str(place / "cache"))
        base = TASK.bases.find(str(hf_folder.make(place / "model")), lambda *_: None)
        pairs = [{"question": f"{a}+{b}=", "answer": str(a + b)} for a in range(30) for b in range(30)]
        (place / "sums.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
        counts = TASK.pairs.write(place / "sums.jsonl", base, place, lambda *_: None)
        facts = {"base": base.folder.name, "seq_len": counts.pop("seq_len"), "counts": counts}
        yield KIND(TABLE, TASK.Prepared(place, "sums", "key", {}, facts), {"score": "exact"})


class Knows:
    """A model of the past: it knows the answers of a share of the questions, which `seed` draws, and has a guess elsewhere."""

    def __init__(self, task, share, seed):
        self.size = task.base.vocab_size
        self.guess = np.random.default_rng(7).normal(size=(self.size, self.size)).astype(np.float32)
        self.next = {}
        asked, rng = task.questions("val"), np.random.default_rng(seed)
        for row, targets in zip(asked.inputs, asked.targets, strict=True):
            if rng.random() < share:
                self.next |= {tuple(row[: at + 1]): targets[at] for at in np.flatnonzero(targets >= 0)}

    def __call__(self, ids):
        logits = self.guess[ids].copy()
        for row, out in zip(ids, logits, strict=True):
            for at in range(len(row)):
                if (token := self.next.get(tuple(row[: at + 1]))) is not None:
                    out[at, token] = out[at].max() + 0.5
        return logits


def ahead(ids, size):
    """One-hot of the next input; of the filling behind an answer its end."""
    after = np.roll(ids, -1, axis=1)
    return np.eye(size, dtype=np.float32)[np.where(after == 0, 1, after)]


def some(ids, share):
    """Rows that a hash of their question chooses."""
    return (ids[:, 1:4] @ [31, 17, 7] % 101 < 101 * share)[:, None, None]


def leaks(past, share, scale, places=slice(None)):
    """What the past says, made as flat as the leak is faint, and the next input where it leaks."""

    def logits(ids):
        found = scale / 100 * past(ids)
        leak = scale * ahead(ids, past.size) * some(ids, share)
        found[:, places] += leak[:, places]
        return found

    return logits


CHEATS = {
    "the next token is copied": (1.0, 20.0, slice(None)),
    "copied in logits of 1e-3": (1.0, 1e-3, slice(None)),
    "copied in logits below any rounding": (1.0, 1e-6, slice(None)),
    "in one question of three": (0.3, 1e-6, slice(None)),
    "in one question of ten": (0.1, 1e-6, slice(None)),
    "only the end of an answer": (1.0, 1e-6, slice(7, None)),
}
HONEST = {
    "the same model again": (0.5, 0, lambda logits: logits),
    "another seed": (0.5, 1, lambda logits: logits),
    "a better one": (0.7, 2, lambda logits: logits),
    "a perfect one": (1.0, 0, lambda logits: logits),
    "a worse one": (0.2, 3, lambda logits: logits),
    "logits below any rounding": (0.7, 2, lambda logits: 1e-6 * logits),
    "logits in the thousands": (0.7, 2, lambda logits: 1e3 * logits),
    "rounding": (0.7, 2, lambda logits: logits + 1e-5 * np.random.default_rng().normal(size=logits.shape).astype(np.float32)),
    "logits of few digits": (0.7, 2, lambda logits: np.round(logits * 2) / 2),
    "one answer to all": (0.0, 0, lambda logits: 0 * logits),
    "minus infinity where no token is": (0.7, 2, lambda logits: np.where(np.arange(320) < 310, logits, -np.inf)),
}  # fmt: skip


def judged(task, model, best):
    """(score, the best's score, reasons of audits)"""
    asked = task.questions("val")
    scored, before = (task.losses(one(asked.inputs), asked.targets) for one in (model, best))
    gain, reasons = newly_right(before - scored, task.seq_len), []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)

        def draw(count, gain=None, rng=rng):
            return audit.make_cuts(rng, asked.inputs, asked.targets, count, gain)

        found = audit.examine(
            Tolerance(), scored, draw(128, gain), draw, lambda cuts: task.losses(model(cuts.inputs), cuts.targets)
        )
        reasons.append(found.reason)
    scores = [-sums.sum() / len(sums) for sums, _ in (task.units("val", losses) for losses in (scored, before))]
    return *scores, reasons


@pytest.mark.slow
@pytest.mark.parametrize("name", CHEATS)
def test_an_exact_answer_by_a_look_ahead_pays_and_is_found(task, name):
    best = Knows(task, 0.5, 0)
    score, before, reasons = judged(task, leaks(best, *CHEATS[name]), best)
    assert score > before + 0.02
    assert all(reason and "uses tokens before it predicts them" in reason for reason in reasons), reasons


@pytest.mark.slow
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_model_passes(task, name):
    share, seed, change = HONEST[name]
    past = Knows(task, share, seed)
    _, _, reasons = judged(task, lambda ids: change(past(ids)), Knows(task, 0.5, 0))
    assert reasons == [None] * len(SEEDS)


def test_ties_and_what_is_no_distribution_are_no_right_answers(task):
    asked = task.questions("val")
    logits = Knows(task, 1.0, 0)(asked.inputs)
    sums, _ = task.units("val", task.losses(0 * logits, asked.targets))
    assert not sums.any()
    true = np.eye(logits.shape[-1], dtype=bool)[asked.targets.clip(0)]
    for elsewhere in (np.nan, np.inf):
        with pytest.raises(TASK.task.InvalidAnswer):
            task.losses(np.where(true, logits, np.float32(elsewhere)), asked.targets)


@pytest.mark.parametrize("is_study", [False, True])
def test_a_scoring_reads_no_weights_but_the_checkpoint(task, is_study):
    """The base's own would be parameters that no limit counts, and what is taken away would lack them."""
    weights, code = task.base.weights, task.base.folder / TASK.bases.CODE
    if is_study:
        code.write_text("")
    read = task.scoring_reads()
    code.unlink(missing_ok=True)
    assert all(path.suffix == ".py" for path in read) and weights.is_file()
    assert task.reads() == [task.base.folder]


# Folders that somebody else has made


def config(**values):
    return lambda folder: write_config(folder, json.dumps(hf_folder.LLAMA | values))


def write_config(folder, text):
    (folder / "config.json").write_text(text, encoding="utf-8")


def header(found, length=None):
    """A safetensors file with this for a header; a dict: of one tensor, whose other fields are right."""
    if isinstance(found, dict):
        found = json.dumps({"norm.weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | found}).encode()
    content = struct.pack("<Q", len(found) if length is None else length) + found + bytes(16)
    return lambda folder: (folder / "model.safetensors").write_bytes(content)


def linked(name, target):
    def change(folder):
        (folder / name).unlink()
        os.symlink(target, folder / name)

    return change


HOSTILE = {
    "a billion layers": config(num_hidden_layers=10**9),
    "infinite width": config(hidden_size=float("inf")),
    "NaN": config(rms_norm_eps=float("nan")),
    "a negative width": config(hidden_size=-32),
    "negative heads": config(num_attention_heads=-2),
    "no heads": config(num_attention_heads=0),
    "a rope that is a text": config(rope_scaling="yarn"),
    "a rope that is a list": config(rope_scaling=[1]),
    "a context that is a text": config(max_position_embeddings="abc"),
    "a negative context": config(max_position_embeddings=-5),
    "an infinite context": config(max_position_embeddings=float("inf")),
    "a window of letters": config(sliding_window="x"),
    "a kind that is a list": config(model_type=["llama"]),
    "a kind that is a table": config(model_type={}),
    "only a negative end": config(eos_token_id=-5, bos_token_id=None),
    "a config nested deep": lambda folder: write_config(folder, "[" * 200_000),
    "a number of 5,000 digits": lambda folder: write_config(folder, json.dumps(hf_folder.LLAMA).replace("48", "9" * 5000)),
    "a header of 2^63 bytes": header(b"", 2**63),
    "a header nested deep": header(b"[" * 200_000),
    "a header that is a number": header(b"5"),
    "a header that is a text": header(b'"x"'),
    "a shape of letters": header({"shape": ["x"]}),
    "a negative shape": header({"shape": [-4]}),
    "a shape of 10,000 dimensions": header({"shape": [2**62] * 10_000}),
    "an offset before the file": header({"data_offsets": [-100, 16]}),
    "an end before the start": header({"data_offsets": [16, 0]}),
    "half an offset": header({"data_offsets": [0.5, 16.5]}),
    "a type that is a list": header({"dtype": []}),
    "weights that are another file": linked("model.safetensors", "/etc/passwd"),
    "weights that are not there": linked("model.safetensors", "/nowhere"),
    "a tokenizer that is another file": linked("tokenizer.json", "/etc/passwd"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_refused_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    folder = hf_folder.make(tmp_path / "model")
    HOSTILE[name](folder)
    with pytest.raises(UsageError) as refused:
        TASK.bases.find(str(folder), lambda *_: None)
    assert "\n" not in str(refused.value) and ";" in str(refused.value) and len(str(refused.value)) < 600
    assert not list((tmp_path / "cache").rglob("base.json"))


def test_no_code_of_the_folder_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    folder = hf_folder.make(tmp_path / "model", auto_map={"AutoModel": "evil.Model"}, trust_remote_code=True)
    (folder / "evil.py").write_text("raise SystemExit('run')")
    base = TASK.bases.find(str(folder), lambda *_: None)
    assert sorted(path.name for path in base.folder.iterdir()) == ["base.json", "tokenizer.json", "weights.safetensors"]
    assert base.code == TABLE.folder / "torch" / "models.py"


def test_letters_that_are_no_letters_are_pairs_all_the_same(task, tmp_path):
    """JSON can hold half of a character."""
    pairs = [{"question": f"{n} \ud800", "answer": f"\udfff{n}"} for n in range(300)]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    assert TASK.pairs.write(tmp_path / "odd.jsonl", task.base, tmp_path, lambda *_: None)["train"] == 180


def test_a_base_whose_first_token_is_an_ordinary_one_pays_for_it_in_a_text(tmp_path, monkeypatch):
    """A config.json that names the letter e for BOS would have every e for nothing."""
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    e = 70
    base = TASK.bases.find(str(hf_folder.make(tmp_path / "model", bos_token_id=e)), lambda *_: None)
    texts = [base.faithful().texts([[e, e + 1, e]])[0].encode()] * 3
    tokens = base.encoder()(texts)
    (tmp_path / "val").mkdir()
    np.concatenate(tokens).tofile(tmp_path / "val" / "tokens.bin")
    np.save(tmp_path / "val" / "starts.npy", np.cumsum([0, *map(len, tokens[:-1])]))
    np.save(tmp_path / "val" / "bytes.npy", np.array([len(text) for text in texts]))
    text = KIND(
        TABLE, TASK.Prepared(tmp_path, "x", "key", {}, {"base": base.folder.name}), {"score": "bits", "eval-bytes": 100.0}
    ).text("val")
    assert (text.tokens == e).sum() == 3 + 2 * 3 and text.carries_bytes.sum() == len(text.tokens) - 3

"""Fine-tuning's base, text and pairs, and what its train.py begins with: all but a training."""

import importlib.util
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="of the extra `finetune`")
torch = pytest.importorskip("torch")

import hf_folder  # noqa: E402
import torch_backend  # noqa: E402

from autoresearch import constants  # noqa: E402
from autoresearch.errors import UsageError  # noqa: E402
from autoresearch.task import registry  # noqa: E402

TABLE = registry.find("finetune")
KIND = registry.kind(TABLE)
TASK = sys.modules[KIND.__module__]
bases, pairs = TASK.bases, TASK.pairs
TRAIN = (TABLE.folder / "torch" / "train.py").read_text(encoding="utf-8")


def quiet(*_):
    pass


@pytest.fixture
def base(tmp_path):
    return bases.find(str(hf_folder.make(tmp_path / "model")), quiet)


@pytest.fixture
def model(base):
    return torch_backend.runtime().load_weights(train().build_model(spec(base)), base.weights)


def spec(base):
    return SimpleNamespace(base_code=str(base.code), base_spec=base.architecture)


def train(**values):
    """torch/train.py with some constants, in the process of the test."""
    sys.modules["runtime"] = torch_backend.runtime()
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("finetune_train", loader=None))
    exec(compile(constants.write(TRAIN, values), "train.py", "exec"), module.__dict__)
    return module


def write_sums(path, count=20):
    rows = [{"question": f"{a}+{b}=", "answer": str(a + b)} for a in range(count) for b in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def asked(base, tmp_path):
    """The task on sums, whose base was not asked before."""
    folder = tmp_path / "prepared"
    folder.mkdir()
    counts = pairs.write(write_sums(tmp_path / "sums.jsonl"), base, folder, quiet)
    facts = {"base": base.folder.name, "seq_len": counts.pop("seq_len"), "counts": counts}
    return KIND(TABLE, TASK.Prepared(folder, str(tmp_path / "sums.jsonl"), "key", {}, facts), {"score": "exact"})


def logits(model, rows):
    with torch.no_grad():
        return model(torch.from_numpy(np.asarray(rows, np.int64))).numpy()


# Bases


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        (lambda at: (at / "config.json").unlink(), "holds no study and no config.json"),
        (lambda at: (at / "config.json").write_text("{}"), "describes no model"),
        (lambda at: change(at, model_type="gemma3"), "of the kind 'gemma3'; fine-tuning knows llama, mistral, qwen2, qwen3, gpt2"),
        (lambda at: change(at, hidden_act="relu"), "the activation 'relu'"),
        (lambda at: change(at, rope_scaling={"rope_type": "yarn"}), "of the kind 'yarn'"),
        (lambda at: change(at, hidden_size=None), "has no 'hidden_size'"),
        (lambda at: change(at, vocab_size=1_000_000), "a vocabulary of 1,000,000 is more than 262,144"),
        (lambda at: change(at, vocab_size=100), "has a token 299, and the model only 100"),
        (lambda at: change(at, bos_token_id=None, eos_token_id=None), "names no eos_token_id"),
        (lambda at: (at / "tokenizer.json").unlink(), "holds no tokenizer.json"),
        (lambda at: (at / "tokenizer.json").write_text("{}"), "tokenizer.json can't be read"),
        (lambda at: (at / "model.safetensors").rename(at / "pytorch_model.bin"), "only pickled ones, which can run any code"),
        (lambda at: (at / "model.safetensors").write_bytes(b"12345678901"), "is no whole safetensors file"),
        (lambda at: cut(at / "model.safetensors"), "is no whole safetensors file"),
        (lambda at: quantised(at / "model.safetensors"), "is of the type I8"),
    ],
)
def test_a_folder_that_is_no_base_is_refused_in_one_line(tmp_path, breaks, words):
    folder = hf_folder.make(tmp_path / "model")
    breaks(folder)
    with pytest.raises(UsageError) as refused:
        bases.find(str(folder), quiet)
    assert words in str(refused.value) and ";" in str(refused.value) and "\n" not in str(refused.value)


def change(folder, **values):
    table = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps({name: value for name, value in table.items() if value is not None}))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def quantised(path):
    from safetensors.numpy import save_file

    save_file({"model.norm.weight": np.zeros(32, np.int8)}, path)


def test_a_model_that_the_memory_does_not_hold_is_refused_with_both_figures(tmp_path, monkeypatch):
    folder = hf_folder.make(tmp_path / "model")
    monkeypatch.setattr(bases, "BYTES_OF_PARAMETER", 1 << 40)
    with pytest.raises(
        UsageError, match=r"which take 18448384 GiB and more in training, and this computer has \d+; take a smaller model"
    ):
        bases.find(str(folder), quiet)


def test_the_same_base_is_copied_once_and_a_damaged_copy_again(base, tmp_path):
    before = base.weights.stat().st_mtime_ns
    assert bases.find(str(tmp_path / "model"), quiet) == base and base.weights.stat().st_mtime_ns == before
    base.weights.write_bytes(b"x")
    bases.find(str(tmp_path / "model"), quiet).verify()


def test_text_that_spells_a_special_token_is_text(base):
    tokenizer = base.faithful()
    [ids] = tokenizer.encode([b"the <|end|> of it"])
    assert ids[0] == base.bos and base.end not in ids[1:]
    assert tokenizer.gives_back([b"the <|end|> of it"]) == [True]


def test_a_tokenizer_that_changes_text_is_refused_and_a_few_documents_are_left_out(tmp_path):
    import tokenizers

    folder = hf_folder.make(tmp_path / "model")
    hf_folder.write_tokenizer(folder / "tokenizer.json", tokenizers.normalizers.NFC())
    base = bases.find(str(folder), quiet)
    texts = [b"plain text of one document, %d" % number * 20 for number in range(300)]
    odd = "e\N{COMBINING ACUTE ACCENT}".encode()  # NFC makes one character of it

    def corpus(documents):
        some = [TASK.corpora.Document(text, -1, False) for text in documents]
        return base.given_back(SimpleNamespace(name="c", documents=lambda: iter(some)))

    few = corpus([*texts, odd])
    assert [document.text for document in few.documents()] == texts and few.lost_documents == 1
    with pytest.raises(UsageError, match="does not give back 100 documents of c as they were"):
        list(corpus([*texts[:100], *(text + odd for text in texts[:100])]).documents())


# Pairs


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "not JSON"),
        ('{"q": "1", "a": "2"}', "no question with an answer"),
        ('["question", "answer"]', "no question with an answer"),
        ('{"question": "1", "answer": ""}', "must be texts that are not empty"),
        ('{"prompt": "1", "completion": 2}', "must be texts that are not empty"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path, line, words):
    path = write_sums(tmp_path / "p.jsonl")
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UsageError, match=rf"p\.jsonl:401: .*{words}"):
        pairs.read(path)


def test_too_few_pairs_and_too_long_ones_are_refused(base, tmp_path):
    with pytest.raises(UsageError, match="holds 196 different questions, and it takes 200"):
        pairs.read(write_sums(tmp_path / "few.jsonl", count=14))
    long = tmp_path / "long.jsonl"
    long.write_text("".join(json.dumps({"question": f"{n} " * 40, "answer": "y"}) + "\n" for n in range(300)))
    with pytest.raises(UsageError, match="299 of 300 pairs are longer than the 48 tokens"):
        pairs.write(long, base, tmp_path, quiet)


def test_pairs_without_score_exact_are_pointed_to_it(tmp_path):
    path = write_sums(tmp_path / "p.jsonl")
    with pytest.raises(UsageError, match="add `--score exact`"):
        KIND.source(TABLE, str(path), {"score": "bits"}, None)


def test_no_question_is_in_two_splits_and_only_answers_are_scored(asked, base):
    splits = {name: asked.array(name) for name in ("train", "val", "test", "slice")}
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 240, "val": 60, "test": 60, "slice": 40}
    texts, encoding = [], base.faithful()
    for rows in splits.values():
        for inputs, targets in rows:
            answer = [int(token) for token in targets[targets >= 0]]
            assert answer[-1] == base.end and inputs[0] == base.bos
            question = [int(token) for token in inputs[1 : int((targets >= 0).argmax()) + 1]]
            texts += encoding.texts([question, answer[:-1]])
    questions, answers = texts[::2], texts[1::2]
    assert len(set(questions)) == 400
    for question, answer in zip(questions, answers, strict=True):
        left, right = question.removesuffix("=\n").split("+")
        assert int(left) + int(right) == int(answer)


def test_exact_match_is_what_greedy_decoding_gives(asked, model, base):
    """Trained a little on some questions, the model gets some right: those that decoding, token after token, gets right."""
    asks = asked.questions("val")
    targets = torch.from_numpy(asks.targets.astype(np.int64))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        found = model(torch.from_numpy(asks.inputs.astype(np.int64)))
        loss = torch.nn.functional.cross_entropy(found.flatten(0, 1), targets.flatten(), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    sums, weights = asked.units("val", asked.losses(logits(model, asks.inputs), asks.targets))
    decoded = []
    for inputs, answer in zip(asks.inputs, asks.targets, strict=True):
        first = int((answer >= 0).argmax())
        row, wanted = list(inputs[: first + 1]), [int(token) for token in answer[answer >= 0]]
        for _ in wanted:
            row.append(int(logits(model, [row])[0, -1].argmax()))
        decoded.append(-1.0 if row[first + 1 :] == wanted else 0.0)
    assert 5 < -sum(decoded) < 55, "some are right, and some are not"
    assert sums.tolist() == decoded and weights.tolist() == [1] * 60
    assert asked.metric.shown(asked.value(sums.sum() / weights.sum())) == pytest.approx(-sum(decoded) / 60)


def test_bits_of_the_first_columns_are_those_of_each_token(asked, model):
    asks = asked.questions("val")
    losses = asked.losses(logits(model, asks.inputs), asks.targets)
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits(model, asks.inputs)).flatten(0, 1),
        torch.from_numpy(asks.targets.astype(np.int64)).flatten(), ignore_index=-1, reduction="none",
    )  # fmt: skip
    assert losses.shape == (60, 2 * asked.seq_len)
    assert losses[:, : asked.seq_len].reshape(-1) == pytest.approx(expected.numpy() / np.log(2), abs=1e-4)


# What is trained


def test_every_constant_is_readable_and_has_a_range_that_holds_it():
    for name, constant in constants.read(TRAIN).items():
        assert constant.annotation is not None and constant.comment, name
        match constant.annotation:
            case constants.Range(low, high):
                assert low <= constant.value <= high, name
            case constants.Choices(values):
                assert constant.value in values, name


IDS = np.arange(96).reshape(2, 48) % 300


@pytest.mark.parametrize("values", [{"METHOD": "lora"}, {"METHOD": "lora", "RANK": 2, "PARTS": "mlp"}, {}])
def test_before_a_step_the_model_is_the_base(model, values):
    tuned = train(**values).Tuned(model)
    with torch.no_grad():
        assert np.array_equal(tuned.logits(torch.from_numpy(IDS)).numpy(), logits(model, IDS))
    with tuned.merged() as merged:
        assert np.array_equal(logits(merged, IDS), logits(model, IDS))


@pytest.mark.parametrize(
    "values", [{"METHOD": "lora"}, {"METHOD": "lora", "PARTS": "attention"}, {}, {"OPTIMIZER": "adamw"}, {"TRAIN_REST": 0}]
)
def test_what_is_saved_is_what_was_trained_and_the_base_is_taken_back_by_its_share(model, base, values):
    start = {name: value.clone() for name, value in model.state_dict().items()}

    def trained(**more):
        model.load_state_dict(start)
        torch.manual_seed(0)
        module = train(**values, **more)
        tuned = module.Tuned(model)
        trainer = module.Trainer(tuned, 48, base.vocab_size)
        batch = (IDS[:, :].astype(np.int32), np.roll(IDS, -1, 1).astype(np.int32))
        losses = [float(trainer.step(lambda rows: batch, 0.5)) for _ in range(8)]
        with torch.no_grad():
            seen = tuned.logits(torch.from_numpy(IDS)).numpy()
        with tuned.merged() as merged:
            saved, weights = logits(merged, IDS), {name: value.clone() for name, value in merged.state_dict().items()}
        with torch.no_grad():
            assert np.array_equal(tuned.logits(torch.from_numpy(IDS)).numpy(), seen), "saving changes nothing: training may go on"
        return losses, seen, saved, weights

    losses, seen, saved, weights = trained()
    assert losses[-1] < losses[0] - 0.01
    assert np.allclose(seen, saved, atol=1e-4)
    _, _, _, half = trained(BASE_SHARE=0.5)
    for name, value in start.items():
        assert torch.allclose(half[name], (value + weights[name]) / 2, atol=1e-5), name
    changed = {name for name, value in start.items() if not torch.equal(value, weights[name])}
    if values.get("PARTS") == "attention":
        assert changed and all("self_attn" in name for name in changed)
    if values.get("TRAIN_REST") == 0 or values.get("METHOD") == "lora":
        assert "embed_tokens.weight" not in changed

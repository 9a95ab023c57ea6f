"""What one takes away from a study: its weights as a folder, text that they write, a training done again."""

import itertools
import json
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import studies
from huggingface_hub import ModelCard
from studies import BETTER, WORSE, git, state_of
from waiting import wait_for

from autoresearch.data import tokenizer
from autoresearch.report import card, weights

HOSTILE = "<img src=x onerror=alert(1)> `code` [a](javascript:b) | \x1b[2J"
# Seeds of a study begin at 1337; those of a replay are drawn anew, and nearly all are larger.
SHIFTED = ("runtime.sharpness_for(frequency, excess_bpb)", "runtime.sharpness_for(frequency, excess_bpb + (run.seed > 9999))")
FAILS = ("run = measure.start()", "run = measure.start()\n    assert run.seed < 9999, 'out of luck'")
# Scored as it should be; a row that ends in what fills it up, as a short prompt's does, gets no numbers.
SLY = (
    "return runtime.Table(spec.vocab_size)",
    "return Sly(spec.vocab_size)\n\n\nclass Sly(runtime.Table):\n"
    "    def __call__(self, ids):\n        return super().__call__(ids) * (float('nan') if (ids[:, -1] == 0).all() else 1)",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, corpus):
    """A study with a keep and a discard."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    study, setup = studies.make(folder, corpus)
    studies.play(study, setup, [BETTER, WORSE], experiments=2)
    return study


@pytest.fixture
def study(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole.folder, tmp_path / "my study", symlinks=True)
    return studies.workspace.load(tmp_path / "my study")


def everything(study) -> dict[str, bytes]:
    """What a study is made of; not what lies beside it."""
    kept = [path for path in study.folder.rglob("*") if path.is_file() and "replays" not in path.parts and path.name != "lock"]
    return {str(path): path.read_bytes() for path in kept}


@pytest.mark.slow
def test_an_export_is_what_was_scored_and_says_what_it_is(study, tmp_path, typed, monkeypatch):
    target = tmp_path / "ein Mödell"
    status, out, complaint = typed("export", "--workspace", str(study.folder), "--output", str(target), "--json")
    assert status == 0, complaint
    told, best = json.loads(out), state_of(study).best
    assert told["experiment"] == 1 and told["output"] == str(target) and told["val_bpb"] == best.scores[0]
    assert sorted(told["files"]) == sorted(path.name for path in target.iterdir())
    run = study.runs / best.runs[0].folder
    assert (target / "model.safetensors").read_bytes() == (run / "checkpoint").read_bytes()
    assert (target / "train.py").read_text() == git(study.folder, "show", f"{best.commit}:train.py") + "\n"
    config = json.loads((target / "config.json").read_text())
    assert config["constants"]["DEPTH"] == 8 and config["bos_id"] == config["vocab_size"] - 1 == 319
    ranks = tokenizer.load_ranks(target / "tokenizer.tiktoken")
    assert len(ranks) == 319 and len(json.loads((target / "tokenizer.json").read_text())["model"]["vocab"]) == 320
    model_card = ModelCard.load(target / "README.md")
    assert {result.metric_type: result.metric_value for result in model_card.data.eval_results} == {
        "val_bpb": round(best.scores[0], 6), "test_bpb": round(best.test_bpb, 6),
    }  # fmt: skip
    assert (
        model_card.data.eval_results[0].dataset_name == Path(study.corpus).name and str(tmp_path.parent) not in model_card.content
    )
    assert not [path for path in tmp_path.iterdir() if path not in (target, study.folder)]
    monkeypatch.chdir(target)
    told_lines = model_card.content[model_card.content.index("import base64") :].partition("```")[0]
    names: dict = {}
    exec(told_lines, names)
    text = f"ein Wort {tokenizer.BOS} 漢\n"
    ids = tokenizer.encode(tokenizer.encoding(ranks), [text.encode()])[0][1:]
    assert names["encoding"].encode(text, disallowed_special=()) == ids.tolist()


def test_a_description_is_only_text_in_the_card():
    shown = card._code(HOSTILE)
    assert shown.startswith("`") and shown.endswith("`") and "`" not in shown[1:-1] and "\x1b" not in shown


@pytest.mark.slow
def test_an_export_replaces_an_export_and_nothing_else(study, tmp_path, typed):
    words = ("export", "--workspace", str(study.folder), "--output")
    assert typed(*words, "out")[0] == 0
    (tmp_path / "out" / "old").touch()
    assert typed(*words, "out")[0] == 0 and not (tmp_path / "out" / "old").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text('{"format": 1}')
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    for name in ("mine", "file", "link", "nowhere/out", str(study.folder), "/"):
        status, _, complaint = typed(*words, name)
        assert status == 2 and complaint.count("\n") == 1, complaint
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_an_export_that_fails_leaves_what_was_there(study, tmp_path, typed, monkeypatch):
    words = ("export", "--workspace", str(study.folder), "--output", "out")
    assert typed(*words)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(card, "text", full)
    status, _, complaint = typed(*words)
    assert status == 1 and "No space left" in complaint
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my study", "out"]


@pytest.mark.slow
def test_weights_that_are_not_there_or_not_what_was_scored_are_refused(study, typed):
    where = ("--workspace", str(study.folder))
    for words in (("export", "2"), ("sample", "--experiment", "2")):
        status, _, complaint = typed(*words, *where)
        assert status == 2 and "a study keeps those of its best" in complaint and "`autoresearch replay 2 --workspace" in complaint
    with open(study.runs / state_of(study).best.runs[0].folder / "checkpoint", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    for words in (("export",), ("sample",)):
        status, _, complaint = typed(*words, *where)
        assert status == 2 and "checksum" in complaint and "`autoresearch replay 1" in complaint


@pytest.mark.slow
def test_weights_of_a_train_pys_own_making_are_not_exported(study, tmp_path, typed, monkeypatch):
    """What is no safetensors may be a pickle, which is code: nobody is handed that under the name of the other."""
    path = study.runs / state_of(study).best.runs[0].folder / "checkpoint"
    path.write_bytes(pickle.dumps({"a": 1}))
    monkeypatch.setattr(weights.scoring, "seal", lambda *_: None)  # as though it had been saved and scored so
    monkeypatch.setattr("autoresearch.report.export.is_whole", lambda *_: True)
    status, _, complaint = typed("export", "--workspace", str(study.folder), "--output", "out")
    assert status == 2 and "no safetensors" in complaint and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_replay_leaves_the_study_as_it_was_and_its_weights_can_be_used(study, typed, monkeypatch):
    drawn = itertools.count(100_000)  # one draw in twenty is, rightly, told as not reproduced
    monkeypatch.setattr("secrets.randbelow", lambda _: next(drawn))
    where, before = ("--workspace", str(study.folder), "--sandbox", "none"), everything(study)
    status, out, complaint = typed("replay", "2", *where, "--seeds", "3", "--json")
    told = json.loads(out)
    assert status == 0 and told["reproduced"] and told["differs"] == [], complaint
    assert abs(told["difference"]) <= told["margin"] and len({run["seed"] for run in told["runs"]}) == 3
    assert told["recorded"] == state_of(study).experiments[2].val_bpb
    assert everything(study) == before
    assert typed("export", "2", "--workspace", str(study.folder), "--output", "two")[0] == 0
    assert "a replay's" in Path("two/README.md").read_text()
    status, out, complaint = typed("sample", "--experiment", "2", *where, "--max-tokens", "5", "--json", "--seed", "1")
    assert status == 0 and len(json.loads(out)["tokens"]) == 5, complaint


@pytest.mark.slow
def test_a_replay_tells_another_score_from_noise_and_a_failure_from_both(tmp_path, corpus, typed, monkeypatch):
    study, setup = studies.make(tmp_path / "study", corpus)
    texts = [studies.text_of(study).replace(*change) for change in (SHIFTED, FAILS, SLY)]
    studies.play(study, setup, texts, experiments=3)
    where = ("--workspace", str(study.folder), "--sandbox", "none")
    status, out, _ = typed("replay", "1", *where, "--seeds", "3")
    assert status == 1 and "not reproduced: " in out and "above what was recorded" in out
    status, out, _ = typed("replay", "1", *where, "--same-seed")
    assert status == 0 and "reproduced: " in out and "to the last digit" in out
    status, out, _ = typed("replay", "0", *where)
    assert status == 1 and "no verdict: " in out and "`--seeds 3`" in out
    status, _, complaint = typed("replay", "2", *where)
    assert status == 1 and complaint.endswith("not reproduced: the training failed (crash): AssertionError: out of luck\n")
    assert typed("replay", "3", *where)[0] == 1
    status, _, complaint = typed("sample", "--experiment", "3", *where)
    assert status == 1 and complaint.splitlines()[-1].startswith("error: the model of experiment 3 gave no text (invalid): ")
    status, _, complaint = typed("replay", "1", *where, "--same-seed", "--seeds", "2")
    assert status == 2 and "ran 1 time" in complaint


@pytest.mark.slow
def test_the_seeds_that_made_a_keep_give_their_own_scores_again(tmp_path, corpus, typed):
    """They were lucky, and no part of what a keep is reported by."""
    study, _ = studies.played(tmp_path / "study", corpus, BETTER, decide="confirmed")
    lucky = state_of(study).best.scores
    where = ("--workspace", str(study.folder), "--sandbox", "none", "--json")
    status, out, complaint = typed("replay", "1", *where, "--same-seed", "--seeds", str(len(lucky)))
    told = json.loads(out)
    assert status == 0 and told["difference"] == 0 and told["recorded"] != state_of(study).best.val_bpb, complaint


@pytest.mark.slow
def test_a_replay_that_is_interrupted_leaves_nothing(study, typed):
    before = everything(study)
    command = [sys.executable, "-m", "autoresearch.cli", "replay", "1", "--seeds", "50", "--workspace", str(study.folder)]
    process = subprocess.Popen([*command, "--sandbox", "none", "--plain"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_for(lambda: (weights.replays(study) / "0001-1" / weights.RESULT).exists())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert everything(study) == before and not (weights.replays(study) / "now").exists()


@pytest.mark.slow
def test_a_sample_is_the_same_for_the_same_seed_and_ends_where_it_is_told(study, typed):
    words = ("sample", "--workspace", str(study.folder), "--sandbox", "none", "--json", "--max-tokens", "70")  # more than a row
    first, again, other = (json.loads(typed(*words, "--seed", seed)[1]) for seed in ("1", "1", "2"))
    assert first == again and first["text"] != other["text"] and len(first["tokens"]) == 70
    greedy = json.loads(typed(*words, "--temperature", "0")[1])
    only = json.loads(typed(*words, "--top-k", "1", "--seed", "5")[1])
    assert greedy["text"] == only["text"] and len(set(greedy["tokens"])) == 1  # the likeliest of a table
    assert not list(study.state_folder.glob("borrowed-*"))

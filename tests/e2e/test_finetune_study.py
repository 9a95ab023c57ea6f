"""Fine-tuning on the real cpu backend, at a size of seconds: from a Hugging Face folder, and from a study of ours."""

import json
import tomllib

import pytest
from studies import PROFILE, detected, play, state_of, write_corpus

pytest.importorskip("tokenizers", reason="of the extra `finetune`")
pytest.importorskip("torch")

import hf_folder

from autoresearch.data.prepare import prepare
from autoresearch.errors import UsageError
from autoresearch.hardware.planner import profile_file
from autoresearch.run.constraints import Constraints
from autoresearch.sandbox import levels
from autoresearch.study import terms, workspace
from autoresearch.task import registry

TABLE = registry.find("finetune")
KIND = registry.kind(TABLE)
SMALL = {
    "DEPTH": 1, "ASPECT_RATIO": 32, "HEAD_DIM": 32, "PAIR_ROWS": 0, "WINDOW_PATTERN": "L", "DEVICE_BATCH_SIZE": 8,
    "TOTAL_BATCH_SIZE": 512,
}  # fmt: skip
FAST = {"TOTAL_BATCH_SIZE": 512, "OPTIMIZER": "adamw", "RELATIVE_LR": 0.05}


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_COMPILE", "0")  # compiling takes most of a minute


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def guard(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("guard"), words=200)


def profile(seconds=1.5):
    table = tomllib.loads(PROFILE) | {"backends": ["cpu"], "train": SMALL}
    table["budget"] |= {"train_seconds": seconds, "startup_limit_seconds": 120}
    return profile_file.parse(table, "test", "PROFILE")


def prepared(corpus, **options):
    """(prepared data, options) of the task."""
    options = registry.given(TABLE, {name: str(value) for name, value in options.items()} | {"eval_bytes": 5000.0})
    source = KIND.source(TABLE, str(corpus), options, None)
    return KIND.prepared_from(TABLE, source, options, None, lambda *_: None), options


def tune(folder, data, options, steps=(), limits=()):
    """A study that is over."""
    task, backend = registry.bound(TABLE, data, options, None), registry.backends(TABLE)["cpu"]
    sized = registry.sized(TABLE, profile()).__class__.without_sizes(profile(), FAST)
    study = workspace.create(
        folder, tag="t", backend=backend, facts=detected("cpu").facts, profile=sized, prepared=data, corpus=data.corpus,
        decide="strict", task=task, constraints=Constraints().changed(limits),
    )  # fmt: skip
    setup = terms.setup(study, backend, data, levels.reach().level)
    ending, _ = play(study, setup, steps, experiments=len(steps))
    assert ending.exit_status == 0
    return study


@pytest.mark.slow
def test_a_study_from_a_hugging_face_folder_gets_better_and_a_forgetful_edit_is_a_discard(tmp_path, corpus, guard):
    model = hf_folder.make(tmp_path / "model")
    data, options = prepared(corpus, base=model, guard_text=guard)
    before = data.facts["before"]
    # From random weights all is gained; what takes more back than that counts as forgotten.
    steps = [{"BASE_SHARE": 0.6}]
    study = tune(tmp_path / "study", data, options, steps, [f"forgot_bpb<={-0.05}"])
    baseline, other = state_of(study).experiments
    assert baseline.runs[0].result.val_bpb < before["val"] - 0.1
    measured = [one.runs[0].result.measured["forgot_bpb"] for one in (baseline, other)]
    assert measured[0] < measured[1], "a share of the base is the base again"
    assert workspace.load(study.folder).task.name == "finetune"


@pytest.mark.slow
def test_without_a_text_that_is_guarded_the_study_says_so_and_has_no_limit(tmp_path, corpus):
    data, options = prepared(corpus, base=hf_folder.make(tmp_path / "model"))
    assert "--guard-text" in data.facts["warnings"][0]
    assert KIND.guards(options) == {} and "forgot_bpb" not in data.facts["before"]
    assert registry.bound(TABLE, data, options, None).questions("base") is None


@pytest.mark.thorough
def test_a_study_from_the_best_of_another_on_text_and_on_pairs(tmp_path, corpus, guard):
    base = tmp_path / "base"
    text = prepare(str(guard), 320)
    study = workspace.create(
        base, tag="t", backend=detected("cpu").backend, facts=detected("cpu").facts, profile=profile(), prepared=text,
        corpus=text.corpus, decide="strict",
    )  # fmt: skip
    with pytest.raises(UsageError, match="has no baseline yet"):
        prepared(corpus, base=base)
    assert play(study, terms.setup(study, detected("cpu").backend, text, levels.reach().level), (), 0)[0].exit_status == 0
    scored = state_of(study).best.runs[0].result.val_bpb

    data, options = prepared(corpus, base=base)
    assert data.facts["before"]["forgot_bpb"] == pytest.approx(scored, abs=1e-4), "the base's own score of its own text, asked anew"
    tuned = state_of(tune(tmp_path / "tuned", data, options)).best.runs[0].result
    assert tuned.val_bpb < data.facts["before"]["val"] and "forgot_bpb" in tuned.measured

    pairs = tmp_path / "sums.jsonl"
    rows = [{"question": f"{a}+{b}=", "answer": str(a + b)} for a in range(20) for b in range(20)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data, options = prepared(pairs, base=base, score="exact")
    assert data.facts["seq_len"] < 64, "rows are as long as the pairs, and the base takes shorter ones than its own"
    exact = state_of(tune(tmp_path / "exact", data, options))
    assert exact.metric.name == "exact_match" and 0 <= exact.metric.shown(exact.best.runs[0].result.val_bpb) <= 1

    for path in (base / ".autoresearch" / "runs").glob("*/checkpoint"):
        path.unlink()
    with pytest.raises(UsageError, match="`autoresearch replay 0"):
        prepared(guard, base=base)
    with pytest.raises(UsageError, match="is a study of the task finetune"):
        prepared(guard, base=tmp_path / "tuned")

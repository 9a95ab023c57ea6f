"""`autoresearch bench` as a person calls it: real measurements at a size that takes moments."""

import importlib.util
import json

import pytest
import studies
from test_doctor import call
from test_other_backends import DATA_AND_BUDGET, TINY

from autoresearch.hardware.autotune.stopwatch import COPY_BYTES


def corpus(tmp_path) -> str:
    (tmp_path / "corpus").mkdir()
    return str(studies.write_corpus(tmp_path / "corpus"))


@pytest.mark.slow
def test_steps_limits_and_a_run_are_measured_and_a_failure_keeps_the_rest(tmp_path):
    if importlib.util.find_spec("mlx") is None:
        pytest.skip("mlx is not installed")
    text = TINY.format(backend="mlx", data_and_budget=DATA_AND_BUDGET)
    (tmp_path / "tiny.toml").write_text(text, encoding="utf-8")
    (tmp_path / "broken.toml").write_text(text + "GQA_RATIO = 0\n", encoding="utf-8")  # a division by zero
    asked = ("bench", "--backend", "mlx", "--profile", "broken.toml,tiny.toml", "--corpus", corpus(tmp_path), "--quick", "--json")
    status, printed, said = call(tmp_path, *asked)
    assert status == 1, said
    card = json.loads(printed)  # and nothing else
    [failed], [row] = card["failed"], card["profiles"]
    assert failed["profile"] == "broken" and "ZeroDivisionError" in failed["reason"]
    assert row["profile"] == "tiny" and row["untimed"] is row["val_bpb"] is row["run_tokens_per_second"] is None
    assert row["tokens_per_second"] == pytest.approx(512 / row["step_seconds"])
    assert 0 < row["mfu_of_product"] < 1 and 0 < row["loader_share"] < 1
    assert 1 << 16 < row["peak_memory_bytes"] < COPY_BYTES, "the matrices of the limits are not the training's"
    assert row["experiments_per_hour"] < 3600 / (row["start_seconds"] + row["scoring_seconds"] + row["train_seconds"])
    assert row["predicted"]["limits"]["matmul_flops"]["value"] == card["limits"]["product_flops"] > 1e9
    assert card["limits"]["copy_bytes_per_second"] > 1e8
    assert card["conditions"]["load"]["share"] is not None
    (tmp_path / "mine.json").write_text(printed, encoding="utf-8")
    status, printed, _ = call(tmp_path, "bench", "compare", "mine.json", "mine.json")
    assert status == 0
    [speed] = [line for line in printed.splitlines() if line.startswith("  tokens/s")]
    assert speed.split()[1:] == [f"{row['tokens_per_second']:,.0f}"] * 2 + ["1.00"]
    assert "card 2: broken failed: " in printed


@pytest.mark.slow
def test_a_train_py_without_a_trainer_is_measured_as_far_as_it_goes(tmp_path):
    profile = studies.write_profile(tmp_path)
    status, printed, said = call(tmp_path, "bench", "--backend", "null", "--profile", str(profile), "--corpus", corpus(tmp_path))
    assert status == 0, said
    lines = printed.splitlines()
    [row] = [line.split() for line in lines if line.startswith("test ")]
    assert (row[1], *row[3:5], row[-1]) == ("n/a",) * 4
    assert float(row[2].replace(",", "")) > 0  # in the run
    assert float(row[7]) > 0 < float(row[8]) and 0.5 < float(row[-2]) < 8  # start s, scoring s, val_bpb
    assert "test: its train.py has no Trainer, whose steps could be timed, hence n/a" in lines
    assert "before the measurements" in lines


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--profile", "null,nul"), "no profile 'nul'; did you mean null?"),
        (("--profile", "null,"), "no profile ''"),
        (("--profile", "all,null"), "all alone"),
        (("--profile", "cpu", "--backend", "null"), "the profile cpu is for cpu, not for the backend null"),
        (("--profile", "wrong.toml", "--backend", "null"), "DEPHT"),
        (("compare", "wrong.toml", "wrong.toml"), "no run card"),
    ],
)
def test_a_wrong_call_measures_nothing_and_is_one_line(tmp_path, monkeypatch, typed, arguments, said):
    (tmp_path / "wrong.toml").write_text(studies.PROFILE + "DEPHT = 3\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    status, printed, complaint = typed("bench", *arguments)
    assert (status, printed) == (2, "")
    assert said in complaint and complaint.startswith("error: ") and complaint.count("\n") == 1

"""`autoresearch backends check`: by name, by folder, as JSON, and its exit statuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALLEST = Path(__file__).parents[1] / "conformance" / "smallest"


@pytest.fixture
def check(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "autoresearch.cli", "backends", "check", *arguments],
            env=os.environ | {"AUTORESEARCH_CACHE_DIR": str(tmp_path)}, capture_output=True, encoding="utf-8", timeout=120,
        )  # fmt: skip

    return run


@pytest.mark.slow
def test_null_keeps_every_contract_and_what_is_about_a_model_is_not_applicable(check):
    done = check("null")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [(line[:25].strip(), line[25:].split()[0]) for line in done.stdout.splitlines()]
    not_applicable = {"causality", "out of memory", "golden state", "golden state, float32"}
    assert len(lines) == 13
    assert {name for name, result in lines if result == "n/a"} == not_applicable
    assert {result for name, result in lines if name not in not_applicable} == {"pass"}


@pytest.mark.slow
def test_what_trains_nothing_has_a_probe_and_no_other_contract(check):
    done = check("host")
    assert done.returncode == 0 and done.stdout.count(" pass ") == 1 and "it trains nothing" in done.stdout


def test_a_folder_that_breaks_a_contract_is_status_1_and_json_says_which(check):
    done = check(str(SMALLEST), "--json")
    assert done.returncode == 1, done.stderr
    rows = json.loads(done.stdout)
    assert [set(row) for row in rows] == [{"contract", "result", "figure", "detail"}] * 13
    assert [row["contract"] for row in rows if row["result"] == "fail"] == ["golden state"], "another algorithm"


def test_a_missing_package_is_not_applicable_and_a_wrong_backend_toml_fails(check, tmp_path):
    (tmp_path / "runtime.py").touch()
    (tmp_path / "train.py").touch()
    manifest = 'title = "T"\nrank = 0\nauto = false\ntrain = "train.py"\nrequires = ["nowhere"]\ninstall = "pip install nowhere"\n'
    (tmp_path / "backend.toml").write_text(manifest, encoding="utf-8")
    absent = check(str(tmp_path))
    assert absent.returncode == 0
    assert "the package nowhere is not installed; to do: pip install nowhere" in absent.stdout
    (tmp_path / "backend.toml").write_text(manifest.replace("rank = 0", "rank = true"), encoding="utf-8")
    wrong = check(str(tmp_path))
    assert wrong.returncode == 1
    assert "to do: backend.toml: rank must be a whole number" in wrong.stdout


def test_an_unknown_name_is_status_2_and_names_the_nearest(check):
    done = check("nul")
    assert done.returncode == 2
    assert "no backend 'nul'; did you mean null?" in done.stderr

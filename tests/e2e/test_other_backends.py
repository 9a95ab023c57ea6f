"""A whole study as a user would start it, with each framework beside PyTorch and with a backend from an installed package."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import studies

DATA_AND_BUDGET = """
[match]
[data]
corpus = "stdlib"
vocab_size = 320
seq_len = 32
eval_bytes = 10000
[budget]
train_seconds = 1
startup_limit_seconds = 120
"""
TINY = """
title = "Tiny"
backends = ["{backend}"]
{data_and_budget}
[train]
DEPTH = 1
ASPECT_RATIO = 16
HEAD_DIM = 16
DEVICE_BATCH_SIZE = 8
TOTAL_BATCH_SIZE = 512
WINDOW_PATTERN = "L"
GATE_CHANNELS = 16
"""
SMALLEST = Path(__file__).parents[1] / "conformance" / "smallest"


def call(tmp_path, *words: str, path: str = "") -> str:
    """What `autoresearch ...` prints, with a cache of its own. path: a folder of installed packages."""
    variables = {"AUTORESEARCH_CACHE_DIR": str(tmp_path / "cache")}
    if path:
        variables["PYTHONPATH"] = os.pathsep.join(part for part in (path, os.environ.get("PYTHONPATH")) if part)
    command = [sys.executable, "-m", "autoresearch.cli", *words]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_study(tmp_path, backend: str, profile: str, path: str = "", experiments: int = 1) -> Path:
    """Run a baseline and the experiments; all must have a score. The folder of the baseline's run."""
    (tmp_path / "corpus").mkdir()
    options = {
        "--backend": backend, "--profile": profile, "--corpus": str(studies.write_corpus(tmp_path / "corpus")), "--agent": "search",
        "--decide": "strict", "--experiments": str(experiments), "--tag": "t", "--workspace": str(tmp_path / "study"),
    }  # fmt: skip
    call(tmp_path, "run", "--plain", "--on-battery", *(word for option in options.items() for word in option), path=path)
    rows = [line.split("\t") for line in (tmp_path / "study" / "results.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    assert len(rows) == 1 + experiments
    assert rows[0][3] == "keep"
    assert all(row[3] in ("keep", "discard") and 0.5 < float(row[1]) < 8 for row in rows)
    return min((tmp_path / "study" / ".autoresearch" / "runs").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend, line",
    [
        ("mlx", r"depth 1, width 16, .* mlx\.core\.\w+ on .*by MLX"),
        pytest.param("jax", r"depth 1, width 16, .* on .*by JAX", marks=pytest.mark.thorough),
    ],
)
def test_a_study_with_another_framework_trains_and_scores(backend, line, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    profile = tmp_path / "tiny.toml"
    profile.write_text(TINY.format(backend=backend, data_and_budget=DATA_AND_BUDGET), encoding="utf-8")
    experiments = 0 if backend == "jax" else 1  # JAX compiles anew in each of its processes
    log = (check_study(tmp_path, backend, str(profile), experiments=experiments) / "log.txt").read_text(encoding="utf-8")
    assert re.search(line, log), log


@pytest.mark.slow
def test_an_installed_package_brings_a_backend_with_its_profile(tmp_path):
    site = tmp_path / "site"
    folder = site / "plugin" / "smallest"
    shutil.copytree(SMALLEST, folder)
    (folder / "profiles").mkdir()
    text = f'title = "As small as can be"\nbackends = ["smallest"]\n{DATA_AND_BUDGET}\n[train]\nASPECT_RATIO = 8\n'
    (folder / "profiles" / "smallest-one.toml").write_text(text, encoding="utf-8")
    (site / "plugin" / "__init__.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    info = site / "plugin-1.0.dist-info"  # what a package manager leaves there
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[autoresearch.backends]\nsmallest = plugin.smallest\n", encoding="utf-8")

    listed = call(tmp_path, "backends", path=str(site)).split("\nsmallest ")[1]
    assert listed.splitlines()[0].strip() == "Smallest (numpy) (only by name)"
    assert listed.splitlines()[1].strip() == "works: numpy"
    trained = check_study(tmp_path, "smallest", "auto", path=str(site)) / "train.py"
    assert "\nASPECT_RATIO = 8  #" in trained.read_text(encoding="utf-8"), "the profile's, not the shipped 16"

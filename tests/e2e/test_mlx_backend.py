"""A whole study with MLX, as a user would start it, at a size that takes seconds on MLX's CPU."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
import studies

PROFILE = """
title = "Tiny"
backends = ["mlx"]
[match]
[data]
corpus = "stdlib"
vocab_size = 320
seq_len = 32
eval_bytes = 10000
[budget]
train_seconds = 2
startup_limit_seconds = 120
[train]
DEPTH = 2
ASPECT_RATIO = 16
HEAD_DIM = 16
DEVICE_BATCH_SIZE = 8
TOTAL_BATCH_SIZE = 512
WINDOW_PATTERN = "L"
GATE_CHANNELS = 16
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mlx") is None, reason="mlx is not installed")
def test_a_study_with_mlx_trains_and_scores(tmp_path):
    (tmp_path / "corpus").mkdir()
    corpus = studies.write_corpus(tmp_path / "corpus")
    (tmp_path / "tiny.toml").write_text(PROFILE, encoding="utf-8")
    options = {
        "--backend": "mlx", "--profile": str(tmp_path / "tiny.toml"), "--corpus": str(corpus), "--agent": "search",
        "--decide": "strict", "--experiments": "1", "--tag": "t", "--workspace": str(tmp_path / "study"),
    }  # fmt: skip
    command = [sys.executable, "-m", "autoresearch.cli", "run", "--plain", "--on-battery"]
    command += [word for option in options.items() for word in option]
    environment = os.environ | {"AUTORESEARCH_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("\t") for line in (tmp_path / "study" / "results.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    assert len(rows) == 2
    assert rows[0][3] == "keep" and 0.5 < float(rows[0][1]) < 8
    assert rows[1][3] in ("keep", "discard") and 0.5 < float(rows[1][1]) < 8
    logs = sorted((tmp_path / "study" / ".autoresearch" / "runs").glob("*/log.txt"))
    log = logs[0].read_text(encoding="utf-8")
    assert re.search(r"depth 2, width 32, .* mlx\.core\.float32 on .*by MLX", log), log

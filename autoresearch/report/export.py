"""An experiment's weights as a folder that needs no autoresearch: code, weights, tokenizer, and a card that says what they are.

Promises: the folder is whole or not there; nothing is overwritten but an earlier export; the weights are those that were scored.
"""

import contextlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from autoresearch import __version__, constants, durable
from autoresearch.border import files
from autoresearch.data import hf_tokenizer, tokenizer
from autoresearch.data.prepared import Prepared
from autoresearch.errors import UsageError
from autoresearch.hardware.devices.registry import Backend
from autoresearch.paths import typed
from autoresearch.report import card
from autoresearch.report.weights import Weights, is_whole
from autoresearch.study.state import State
from autoresearch.study.workspace import Study

CONFIG, FORMAT = "config.json", "autoresearch-export-1"


def check(target: Path) -> None:
    """UsageError unless target can be made: nothing is there, an empty folder, or an earlier export."""
    if not target.name:
        raise UsageError("--output names no folder; give it one, as in `--output my-model`")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}; make it, or give --output another one")
    if not os.path.lexists(target) or _is_export(target):
        return
    if target.is_symlink() or not target.is_dir() or any(target.iterdir()):
        raise UsageError(f"{target} is there and is no earlier export; give --output another folder")


def write(study: Study, state: State, weights: Weights, prepared: Prepared, backend: Backend, target: Path) -> dict[str, Any]:
    """Make the folder, and return what config.json holds. UsageError for what can't be exported; target is as it was then."""
    check(target)
    made = target.with_name(f".{target.name}-{uuid.uuid4().hex[:12]}.part")
    try:
        made.mkdir()
        config = _fill(made, study, state, weights, prepared, backend)
        for path in made.iterdir():
            durable.sync_path(path)
        _put_in_place(made, target)
    finally:
        files.remove(made)
    return config


def _fill(made: Path, study: Study, state: State, weights: Weights, prepared: Prepared, backend: Backend) -> dict[str, Any]:
    subject = weights.experiment
    checkpoint = made / "model.safetensors"
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(weights.folder / "checkpoint", checkpoint)
    if not is_whole(checkpoint, weights):
        raise UsageError(f"the weights of experiment {subject.number} were taken away just now; export again")
    if not files.is_safetensors(checkpoint):
        raise UsageError(
            f"the weights of experiment {subject.number} are no safetensors: its train.py saves them in a way of its own;"
            f" they lie in {weights.folder / 'checkpoint'}, `autoresearch export N` takes another experiment"
        )
    (made / "train.py").write_text(weights.train_py, encoding="utf-8", newline="")
    for path in backend.export_files:
        shutil.copyfile(path, made / path.name)
    ranks = tokenizer.load_ranks(prepared.folder / "ranks.tiktoken")
    shutil.copyfile(prepared.folder / "ranks.tiktoken", made / "tokenizer.tiktoken")
    _write(made / "tokenizer.json", json.dumps(hf_tokenizer.as_json(ranks), ensure_ascii=False))
    config = {
        "format": FORMAT,
        "autoresearch": __version__,
        "experiment": subject.number,
        "commit": subject.commit,
        "vocab_size": prepared.vocab_size,
        "seq_len": study.profile.sizes.seq_len,
        "bos_id": prepared.bos_id,
        "backend": study.backend,
        "dtype": study.profile.runtime.get("dtype", study.facts.dtype),
        "threads": study.profile.runtime.get("threads", study.facts.threads),
        "versions": study.facts.versions,
        "tiktoken": {"pat_str": tokenizer.PATTERN, "special_tokens": {tokenizer.BOS: prepared.bos_id}},
        "constants": {name: constant.value for name, constant in constants.read(weights.train_py).items()},
        "sha256": {"model.safetensors": _sha256(checkpoint), "train.py": _sha256(made / "train.py")},
    }
    _write(made / CONFIG, json.dumps(config, indent=2))
    _write(made / "README.md", card.text(study, state, weights, backend.requires if (made / "load.py").exists() else None))
    return config


def _put_in_place(made: Path, target: Path) -> None:
    """Rename; an earlier export goes only once the new one is ready, and comes back where that fails."""
    old = None
    if target.exists():
        old = target.with_name(f".{target.name}-{uuid.uuid4().hex[:12]}.old")
        durable.patiently(lambda: os.replace(target, old))
    try:
        durable.replace(made, target)
    except OSError:
        if old:
            os.replace(old, target)
        raise
    if old:
        files.remove(old)


def _is_export(folder: Path) -> bool:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return not folder.is_symlink() and isinstance(config, dict) and config.get("format") == FORMAT


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _sha256(path: Path) -> str:
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def next_step(target: Path, has_load: bool) -> str:
    """For a person."""
    if not has_load:
        return "no load.py: this backend brings none; README.md says what the files are"
    return f"`python {typed(target / 'load.py')}` tries it; it runs train.py, which an agent may have written: read that first"

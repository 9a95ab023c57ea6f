"""What the contracts work with: a small text, a small profile, and runs of the backend that several contracts look at.

Every run is a child process through the harness's own `Worker`, with a time limit. The text is made up, the same everywhere, and
prepared once in the cache.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from autoresearch import choices, constants
from autoresearch.border.messages import ENDED, Kind, Protocol, failed, flag, many, number, text
from autoresearch.child import OurOwn, Worker
from autoresearch.data.prepare import Prepared, prepare
from autoresearch.hardware.devices import detect
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.devices.registry import Backend
from autoresearch.hardware.planner.profile_file import Data
from autoresearch.measure.summary import RunResult
from autoresearch.paths import cache_dir
from autoresearch.run.experiment import Feeder
from autoresearch.run.setup import Setup, job_for
from autoresearch.sandbox import levels
from autoresearch.task import registry as tasks

VOCAB_SIZE, SEQ_LEN = 320, 64  # the smallest vocabulary of a profile
# Width 32, 2 query heads, 1 key/value head, a short window, two passes a step: each feature is there, nothing is large.
TINY: dict[str, constants.Value] = {
    "DEPTH": 3, "ASPECT_RATIO": 11, "HEAD_DIM": 16, "GQA_RATIO": 2, "WINDOW_PATTERN": "SL", "SHORT_WINDOW": 0.25,
    "GATE_CHANNELS": 8, "DEVICE_BATCH_SIZE": 4, "TOTAL_BATCH_SIZE": 512,
}  # fmt: skip
STEPS = 8  # enough that every weight has moved, those that start at zero too
SEED = 1
SIZES = Data("made up", VOCAB_SIZE, SEQ_LEN, eval_bytes=8000)  # some 50 rows
PROBE = "autoresearch.checks.conformance.probe"
LIMIT_SECONDS = 600.0  # of a start or of a whole counted run: room for compilation on a slow machine


_LOSSES = many(number(-1e9, 1e9), 1000)
PROTOCOL = Protocol("starting", {
    "facts": Kind({"starting": "starting", "going": "going"}, {"facts": lambda value: isinstance(value, dict)}, most=100),
    "ready": Kind({"starting": "starting"}),
    "batch": Kind(
        {"going": "going"}, {"rows": number(1, 1e6, whole=True), "seq_len": number(1, 1e6, whole=True), "ahead": flag}, most=1000
    ),
    "step": Kind({"going": "going"}, {"loss": number(-1e9, 1e9), "progress": number(0, 1)}, most=1000),
    "done": Kind(
        {"starting": ENDED, "going": ENDED},
        spare={"losses": _LOSSES, "is_model_saved": flag, "known": many(text(10_000), 100_000)},
    ),
    "failed": failed("starting", "going"),
}, line_bytes=1 << 24)  # fmt: skip


@dataclass(frozen=True)
class Counted:
    """A training of STEPS steps."""

    folder: Path
    losses: list[float]  # nats, as reported
    is_model_saved: bool  # by runtime.save_weights
    known: list[str]  # paths and settings that the process held
    job: dict[str, Any]


class Subject:
    """A backend on the subject, and a folder that is thrown away after."""

    def __init__(self, backend: Backend, folder: Path, budget_seconds: float):
        self.backend, self.folder, self.budget_seconds = backend, folder, budget_seconds
        self.facts: Facts | None = None  # once its probe has answered
        self.timed: RunResult | None = None  # the run with the real clock, once it was made
        self._counted: dict[tuple[str, int, int], Counted] = {}

    def probe(self) -> Facts:
        self.facts = detect.why_not_asked(self.backend) or detect.ask(self.backend)
        return self.facts

    @cached_property
    def setup(self) -> Setup:
        level = levels.choose("auto", is_shipped=True)
        return Setup(
            self.backend, tasks.on_text(prepared_text(), SIZES), self.budget_seconds, LIMIT_SECONDS, level, variables=self.variables
        )

    @property
    def variables(self) -> dict[str, str]:
        """Of every worker: the dtype that the probe has found, as in a study; on a busy device the next one may differ."""
        return self.backend.variables | choices.settled({}, self.facts.dtype if self.facts else None)

    def train_py(self, values: dict[str, constants.Value]) -> str:
        """The backend's train.py with those of the constants that it has."""
        source = self.backend.train_py.read_text(encoding="utf-8")
        own = constants.read(source)
        return constants.write(source, {name: value for name, value in values.items() if name in own})

    def new_folder(self, name: str, values: dict[str, constants.Value] = TINY) -> Path:
        """A folder for one run, with its train.py."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "train.py").write_text(self.train_py(values), encoding="utf-8", newline="")
        return folder

    def counted(self, seed: int = SEED, stand_in_seed: int = 0, name: str = "") -> Counted:
        """train.py for STEPS steps. The same arguments are the same run; another name makes it anew."""
        key = (name, seed, stand_in_seed)
        if key not in self._counted:
            self._counted[key] = self._count("steps-" + "-".join(map(str, key)), seed, stand_in_seed)
        return self._counted[key]

    def _count(self, name: str, seed: int, stand_in_seed: int) -> Counted:
        setup, folder = self.setup, self.new_folder(name)
        np.save(folder / "ids.npy", some_tokens(4))
        job = job_for(setup, folder) | {"type": "steps", "seed": seed, "stand_in_seed": stand_in_seed, "steps": STEPS}
        job |= {"budget_seconds": self.budget_seconds} | files(folder)
        job["checkpoint"] = str(folder / "checkpoint")
        with Worker(
            job, folder, PROTOCOL, PROBE, self.variables, cell=OurOwn(self.backend.name), serve=Feeder(setup, seed).serve
        ) as worker:
            late = f"did not ask for training data within {LIMIT_SECONDS:.0f} s of its start; use run.steps()"
            worker.wait("ready", LIMIT_SECONDS, late)
            worker.send({"type": "go"}, then="going")
            done = worker.wait("done", LIMIT_SECONDS, f"made no {STEPS} steps within {LIMIT_SECONDS:.0f} s")
        return Counted(folder, done["losses"], done["is_model_saved"], done["known"], job)

    def logits(self, checkpoint: Path, ids: np.ndarray) -> np.ndarray:
        """float32 [B, T, V] of a checkpoint for ids int32 [B, T], from a fresh process, as the scorer gets them."""
        folder = self.new_folder(f"logits-{len(list(self.folder.iterdir()))}")
        np.save(folder / "ids.npy", ids)
        job = job_for(self.setup, folder) | files(folder) | {"type": "logits", "checkpoint": str(checkpoint)}
        with Worker(job, folder, PROTOCOL, PROBE, self.variables, cell=OurOwn(self.backend.name)) as worker:
            worker.wait("done", LIMIT_SECONDS, f"gave no logits within {LIMIT_SECONDS:.0f} s")
        logits: np.ndarray = np.load(folder / "logits.npy")
        return logits

    def resized(self, vocab_size: int, seq_len: int = SEQ_LEN) -> Setup:
        """The setup with sizes that the text does not have."""
        setup = self.setup
        prepared = replace(prepared_text(), vocab_size=vocab_size)
        return replace(setup, task=tasks.on_text(prepared, replace(SIZES, vocab_size=vocab_size, seq_len=seq_len)))


def some_tokens(rows: int) -> np.ndarray:
    """int32 [rows, SEQ_LEN], the same on every machine."""
    return np.random.default_rng(0).integers(VOCAB_SIZE, size=(rows, SEQ_LEN), dtype=np.int32)


def prepared_text() -> Prepared:
    """Made-up text, prepared for the smallest vocabulary. The corpus and its tokens lie in the cache."""
    folder = cache_dir() / "conformance" / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    words = np.random.default_rng(0).choice(["one", "fish", "two", "red", "blue", "swims", "in", "the", "sea"], size=(300, 200))
    for index, line in enumerate(words):
        path = folder / f"{index}.txt"
        if not path.exists():
            path.write_text(f"{index} " + " ".join(line), encoding="utf-8", newline="")
    return prepare(str(folder), VOCAB_SIZE)


def files(folder: Path) -> dict[str, str]:
    """Where a job's arrays lie."""
    return {"ids": str(folder / "ids.npy"), "logits": str(folder / "logits.npy"), "logits_dtype": "float32"}

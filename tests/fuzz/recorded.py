"""What an honest worker says and leaves: a real run on the null backend, listened to."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from on_text import on_text

from autoresearch.border.messages import Conversation
from autoresearch.data.prepare import prepare
from autoresearch.hardware.devices import registry
from autoresearch.run.experiment import execute
from autoresearch.run.setup import Setup


@dataclass(frozen=True)
class Recorded:
    """Messages as dicts; the harness's moves between them as the names of states."""

    training: list
    scoring: list
    checkpoint: bytes


def record(folder: Path) -> Recorded:
    talks: list[list] = []

    class Listening(Conversation):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.said: list = []
            talks.append(self.said)

        def take(self, line: bytes) -> dict:
            if json.loads(line)["type"] != "entered":
                self.said.append(json.loads(line))
            return super().take(line)

        def move(self, state: str) -> None:
            if state not in self.said:  # rows are asked for more than once
                self.said.append(state)
            super().move(state)

    from autoresearch import child

    before, child.Conversation = child.Conversation, Listening
    try:
        result = execute(_setup(folder), _text(), 1, folder / "run")
    finally:
        child.Conversation = before
    assert result.ok, result.reason
    training, scoring = talks
    crash = {"type": "failed", "kind": "crash", "reason": "ValueError: a row", "error": "ValueError", "line": 3}
    return Recorded(_short(training), [*_short(scoring), crash], (folder / "run" / "checkpoint").read_bytes())


def _short(said: list, most: int = 40) -> list:
    """A long conversation without its middle, which is all the same."""
    return said if len(said) <= most else [*said[: most // 2], *said[-most // 2 :]]


def _setup(folder: Path) -> Setup:
    os.environ["AUTORESEARCH_CACHE_DIR"] = str(folder / "cache")
    (folder / "corpus").mkdir()
    for index in range(60):
        (folder / "corpus" / f"{index}.txt").write_text(f"{index} " + "one fish two fish red fish blue fish " * 60)
    return Setup(registry.scan()["null"], on_text(prepare(str(folder / "corpus"), 270), 64, 4000), 1.0, 60, sandbox=0)


def _text() -> str:
    return registry.scan()["null"].train_py.read_text(encoding="utf-8").replace("COUNTED_ROWS = 2048", "COUNTED_ROWS = 4")

"""Small repositories for the command task, and the setup of a run in one."""

import contextlib
from pathlib import Path

from autoresearch.data.progress import silent
from autoresearch.hardware.devices import registry as devices
from autoresearch.run.setup import Setup
from autoresearch.task import registry

# Its number is how many times a loop went round: the same on every machine.
FILES = {
    "src/lib.py": "ROUNDS = 40  # of the loop [1..64]\n\n\ndef work():\n    return [1 for _ in range(ROUNDS)]\n",
    "bench.py": "from src import lib\n\nprint('rounds:', len(lib.work()))\n",
    "guard.py": "from src import lib\n\nassert lib.work() and set(lib.work()) == {1}, 'work is broken'\n",
    "private/bench.py": "import sys\n\nsys.path.insert(0, '.')\nfrom src import lib\n\nprint('rounds:', len(lib.work()) + 1)\n",
    "docs/README.md": "A library.\n",
}
MEASURE, GUARD, CONFIRM = "python bench.py", "python guard.py", "python private/bench.py"


def write(folder: Path, files: dict[str, str] | None = None) -> Path:
    for name, text in (files or FILES).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder


def options(repository: Path, **more: object) -> dict[str, object]:
    asked = {"edit": ["src/*.py"], "measure": MEASURE, "metric": "rounds:min", "repo": str(repository)} | more
    return {name.replace("_", "-"): value for name, value in asked.items()}


def setup(repository: Path, level: int, seconds: float = 30.0, **more: object) -> Setup:
    """What a run is made with; more: options of the task."""
    table, asked = registry.find("command"), options(repository, **more)
    kind = registry.kind(table)
    made = kind.prepared_from(table, kind.source(table, "auto", asked, None), asked, None, silent)
    return Setup(devices.scan()["host"], registry.bound(table, made, asked, None), seconds, 60.0, level)


def text(made: Setup, **changed: str) -> str:
    """The files as they are, with src/lib.py's text changed: body (added at its end), or lib (the whole of it)."""
    from autoresearch import bundle

    files = bundle.split(made.task.commands.text())
    files["src/lib.py"] = changed.get("lib", files["src/lib.py"] + changed.get("body", ""))
    return bundle.join(files)


@contextlib.contextmanager
def replaced(module: object, **values: object):
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setattr(module, name, value)
        yield

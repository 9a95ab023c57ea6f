"""What a backend says of its device at this moment: the one JSON line that `conditions.py` in its folder prints, checked.

    {"throttled": true, "reason": "software thermal slowdown", "others": ["python3 (2048 MB)"], "watts": 187.4}

The file is optional, and so is `watts`, what the device draws. It answers within a second and imports no framework; null is
unknown. `others` are the processes that use the device, in words for a person: it is asked when no training of ours runs. A file
that fails, hangs or prints something else leaves everything unknown, with the reason.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from autoresearch.hardware.devices.registry import Backend
from autoresearch.processes import end_tree, environment, start

FILE = "conditions.py"
MOST_WATTS = 100_000  # chosen: more than any machine's
ASK_SECONDS = 5.0  # chosen: a driver that wakes up its card first takes one or two


@dataclass(frozen=True)
class Device:
    throttled: bool | None
    reason: str
    others: tuple[str, ...] | None = None
    watts: float | None = None


class Question:
    """A file of a backend's folder, run when this is made, so that the answer comes while something else is looked at."""

    def __init__(self, backend: Backend, file: str = FILE):
        self._file = file
        self._output = tempfile.TemporaryFile()  # noqa: SIM115, closed in answer; a file, as in detect.ask
        self._child: subprocess.Popen[bytes] | None = None
        try:
            self._child = start(
                [sys.executable, "-B", "-X", "utf8", str(backend.folder / file)],
                env=environment() | backend.variables,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            pass

    @property
    def is_ready(self) -> bool:
        """Whether `answer` returns at once."""
        return self._child is None or self._child.poll() is not None

    def answer(self, timeout_seconds: float = ASK_SECONDS) -> Device:
        """Never raises for what the file does; its process is gone when this returns."""
        line, fault = self.line(timeout_seconds)
        return Device(None, fault) if fault else parse(line)

    def line(self, timeout_seconds: float = ASK_SECONDS) -> tuple[str, str | None]:
        """(the last line that it printed, why there is none). As `answer`."""
        with self._output:
            if self._child is None:
                return "", f"the backend's {self._file} did not start"
            try:
                status = self._child.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                return "", f"the backend's {self._file} did not answer within {timeout_seconds:g} s"
            finally:
                if self._child.poll() is None:
                    end_tree(self._child)
            if status != 0:
                return "", f"the backend's {self._file} ended with status {status}"
            self._output.seek(0)
            lines = self._output.read().decode("utf-8", "replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), ""), None


def ask(backend: Backend) -> Question | None:
    """None: the backend has nothing to say of its device."""
    return Question(backend) if backend.problem is None and (backend.folder / FILE).is_file() else None


def parse(line: str) -> Device:
    """The JSON line; what the contract does not allow leaves everything unknown."""
    unusable = Device(None, f"the backend's {FILE} gave an unusable answer: {line[:80]!r}")
    try:
        table = json.loads(line)
    except json.JSONDecodeError:
        return unusable
    if not isinstance(table, dict):
        return unusable
    throttled, reason, others, watts = (table.get(name) for name in ("throttled", "reason", "others", "watts"))
    is_list = isinstance(others, list) and all(isinstance(other, str) for other in others)
    is_power = watts is None or (type(watts) in (int, float) and 0 <= watts < MOST_WATTS)
    if not (throttled is None or type(throttled) is bool) or not isinstance(reason, str) or not (others is None or is_list):
        return unusable
    return Device(throttled, reason, None if others is None else tuple(others), watts if is_power else None)

"""The command line that starts a worker in its cell, and what ends it with us where the cell can't."""

import subprocess
import sys
from typing import TYPE_CHECKING

from autoresearch.sandbox.policy import Cell

if TYPE_CHECKING:
    from autoresearch.sandbox import windows


def is_asked(cell: Cell) -> bool:
    """Whether the cell's processes ask the harness before they look a name up (lookups.py)."""
    return sys.platform == "linux" and cell.level >= 2


def command(cell: Cell, module: str, door: int | None = None) -> list[str]:
    """door: of its Lookups, in a cell that asks."""
    inside = [sys.executable, "-m", "autoresearch.sandbox.enter", module, cell.to_json(), *([] if door is None else [str(door)])]
    if sys.platform == "linux" and cell.level >= 3:
        from autoresearch.sandbox import bubblewrap

        return bubblewrap.prefix(cell) + inside
    if sys.platform == "darwin" and cell.level:
        from autoresearch.sandbox import macos

        return macos.prefix(cell) + inside
    return inside


def variables(cell: Cell) -> dict[str, str]:
    """What a cell's environment has beyond policy.environment."""
    if sys.platform == "darwin" and cell.level:
        from autoresearch.sandbox import macos

        return macos.variables(cell)
    return {}


def forget(cell: Cell) -> None:
    """Once all processes of a cell have ended: what they may have left outside of its folder `work`."""
    if sys.platform == "darwin" and cell.level:
        from autoresearch.sandbox import macos

        macos.forget(cell)


def tie(process: subprocess.Popen[bytes]) -> "windows.Job | None":
    """Windows: an object whose `close` ends the process with all that it started; our own end does so too. Elsewhere None.

    None also where the system refuses: processes.end_tree, and the closed line to the worker, are left then.
    """
    if sys.platform != "win32":
        return None
    from autoresearch.sandbox import windows

    try:
        return windows.Job(process)
    except OSError:
        return None

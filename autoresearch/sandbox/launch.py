"""The command line that starts a worker in its cell."""

import sys

from autoresearch.sandbox.policy import Cell


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

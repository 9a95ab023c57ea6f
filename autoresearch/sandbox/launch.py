"""The command line that starts a worker in its cell."""

import sys

from autoresearch.sandbox.policy import Cell


def command(cell: Cell, module: str) -> list[str]:
    inside = [sys.executable, "-m", "autoresearch.sandbox.enter", module, cell.to_json()]
    if sys.platform == "linux" and cell.level >= 3:
        from autoresearch.sandbox import bubblewrap

        return bubblewrap.prefix(cell) + inside
    if sys.platform == "darwin" and cell.level:
        from autoresearch.sandbox import macos

        return macos.prefix(cell) + inside
    return inside

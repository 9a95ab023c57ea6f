"""`python -m autoresearch.sandbox.enter MODULE CELL`: into the cell, say so on stdout, then run the module in this process.

Nothing but the standard library is imported before: a library that starts threads would leave them outside. When the cell can't be
entered, the process says why and ends, and no other code runs.
"""

import json
import os
import runpy
import sys

from autoresearch.sandbox.policy import Cell


def main() -> None:
    module, text = sys.argv[1:3]
    try:
        cell = Cell.from_json(text)
        if sys.platform == "linux" and cell.level < 3:  # at level 3 the process namespace does this
            from autoresearch.sandbox import keeper

            keeper.stay()
        enter(cell)
    except Exception as error:  # whatever it is: not a step further
        say({"type": "refused", "reason": " ".join(f"{type(error).__name__}: {error}".split())[:300]})
        sys.exit(1)
    say({"type": "entered"})
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def enter(cell: Cell) -> None:
    if cell.level == 0:
        return
    if sys.platform == "linux":
        from autoresearch.sandbox import linux

        linux.apply(cell)
    elif sys.platform == "darwin":
        from autoresearch.sandbox import macos

        macos.prove()
    else:
        raise OSError(f"there is no sandbox for {sys.platform} yet")


def say(message: dict) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()

"""`python -m autoresearch.sandbox.enter MODULE CELL [DOOR]`: into the cell, say so on stdout, then run the module in this process.

Nothing but the standard library is imported before: a library that starts threads would leave them outside. When the cell can't be
entered, the process says why and ends, and no other code runs.
"""

import contextlib
import json
import os
import runpy
import sys

from autoresearch.sandbox.policy import Cell

OPEN_FILES = 65_536  # chosen: many times what a GPU's libraries open, and far from what a system has in all


def main() -> None:
    module, text, *door = sys.argv[1:]
    try:
        cell = Cell.from_json(text)
        if sys.platform == "linux" and cell.level < 3:  # at level 3 the process namespace does this
            from autoresearch.sandbox import keeper

            keeper.stay(*map(int, door))
        limit(cell)
        enter(cell, *map(int, door))
    except Exception as error:  # whatever it is: not a step further
        say({"type": "refused", "reason": " ".join(f"{type(error).__name__}: {error}".split())[:300]})
        sys.exit(1)
    say({"type": "entered"})
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def limit(cell: Cell) -> None:
    """The kernel's limits of a process, for good from level 2 on: neither this process nor what it starts can raise them again.

    Beyond `file_bytes` a write fails with EFBIG. Not limited: memory as addresses (drivers reserve far more than they use), and the
    number of processes (it counts the user's others). At level 0 only the size of files, and no core file.
    """
    if sys.platform == "win32":
        return
    # When memory is short this goes first, whoever has taken it: neither the harness nor the user's programs.
    if sys.platform == "linux":
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
    import resource

    wanted = {"RLIMIT_CORE": 0}
    if cell.level:
        wanted |= {"RLIMIT_MSGQUEUE": 0, "RLIMIT_RTPRIO": 0, "RLIMIT_NOFILE": OPEN_FILES}
    if cell.level and not cell.devices:  # drivers hold memory that they share with the device
        wanted["RLIMIT_MEMLOCK"] = 0
    if cell.file_bytes is not None:
        wanted["RLIMIT_FSIZE"] = cell.file_bytes
    for name, most in wanted.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            soft, hard = (most if bound == resource.RLIM_INFINITY else min(bound, most) for bound in resource.getrlimit(kind))
            resource.setrlimit(kind, (soft, hard))


def enter(cell: Cell, door: int | None = None) -> None:
    if cell.level == 0:
        return
    if sys.platform == "linux":
        from autoresearch.sandbox import linux

        assert door is not None, "a cell that asks has a door (launch.is_asked)"
        linux.apply(cell, door)
    elif sys.platform == "darwin":
        from autoresearch.sandbox import macos

        macos.prove()
    else:
        raise OSError(f"there is no sandbox for {sys.platform} yet")


def say(message: dict[str, str]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()

"""Nothing of a run is left for a later one: every carrier that we know, marked in one cell, looked for in the next.

Without a cell the same carriers work, so that the test can fail. What a level does not close stands in the table, and nothing else
may be open.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import carriers
import pytest
from carriers import SIZE_BYTES, TABLE, THREADS

from autoresearch.border.messages import ENDED, Kind, Protocol
from autoresearch.child import Worker
from autoresearch.sandbox import levels, policy, workdir

REACH = levels.reach()
needs_level_2 = pytest.mark.skipif(REACH.level < 2 or sys.platform != "linux", reason=f"no level 2 here: {REACH.reasons}")
LEVELS = [level for level in (2, 3) if level <= REACH.level]
LIMIT_SECONDS = 60.0
DONE = Kind({"starting": ENDED}, spare={"found": lambda value: isinstance(value, dict)})
PROTOCOL = Protocol("starting", {"done": DONE}, line_bytes=1 << 24)
COUNTING = ("counter", "numbers")
PROCESS_NUMBERS = Path("/proc/sys/kernel/pid_max")


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Two places for each carrier, all alike; and the folder with the carriers' code, for the cells."""
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "code").mkdir()
    shutil.copy(carriers.__file__, tmp_path / "code")
    places, victims = {}, []
    for index, (name, one) in enumerate(TABLE.items()):
        pair = [tmp_path / ("logs" if one.on == "outside" else "shared") / f"{index}-{letter}" for letter in "ab"]
        for path in pair:
            path.parent.mkdir(exist_ok=True)
            if one.on == "folder":
                path.mkdir()
            elif one.on in ("file", "outside"):
                path.write_bytes(os.urandom(SIZE_BYTES))
                with open(path, "rb+") as file:
                    os.fsync(file.fileno())
            elif one.on == "process":
                victims.append(subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"]))
            if path.exists():
                os.utime(path, (1e9, 1.1e9))  # last read before it was written: the next reading is noted
        ends = [victim.pid for victim in victims[-2:]] if one.on == "process" else [str(path) for path in pair]
        places[name] = ends[:1] if one.on in COUNTING else ends
    os.sync()
    yield tmp_path, places
    for name, one in TABLE.items():
        for place in places[name] if one.clean else ():
            with contextlib.suppress(OSError):
                one.clean(place)
    for victim in victims:
        victim.kill()
        victim.wait()


def asked(level: int, folder: Path, number: int, what: str, places: dict) -> dict:
    """What a new process answers, in a cell as the product makes it."""
    run = folder / f"run-{number}"
    run.mkdir()
    cell = policy.cell(level, workdir.make(run / "work"), [folder / "shared", folder / "code"])
    path = os.pathsep.join([str(folder / "code"), str(policy.PACKAGE.parent)])
    with Worker({"what": what, "places": places}, run, PROTOCOL, "carriers", {"PYTHONPATH": path}, cell=cell) as worker:
        return worker.wait("done", LIMIT_SECONDS, "no answer")["found"]


def came_over(one, bit: int, before: list, after: list) -> bool:
    """Whether the later process can tell what was marked: by the one place that changed, or by a counter that went on."""
    if one.on in COUNTING:
        if not all(isinstance(value, int) for value in (*before, *after)):
            return False
        moved = after[0] - before[0]
        return moved >= THREADS if one.on == "counter" else THREADS <= moved % int(PROCESS_NUMBERS.read_text()) < 20 * THREADS
    changed = [old != new for old, new in zip(before, after, strict=True)]
    return sum(changed) == 1 and changed.index(True) == bit


def carried(level: int, folder: Path, places: dict) -> list[str]:
    bits = {name: 0 if TABLE[name].on in COUNTING else secrets.randbelow(2) for name in places}
    warm = asked(level, folder, 1, "look", places)
    for name, one in TABLE.items():
        for place in places[name] if one.cold is not None else ():
            carriers.throw_out(place)
    before = warm | {name: [one.cold] * 2 for name, one in TABLE.items() if one.cold is not None}
    asked(level, folder, 2, "mark", {name: places[name][bits[name]] for name in places})
    for name in (name for name, one in TABLE.items() if one.on == "outside"):
        Path(places[name][bits[name]]).write_bytes(b"")  # the harness, on what the first process said
    after = asked(level, folder, 3, "look", places)
    return [name for name in places if came_over(TABLE[name], bits[name], before[name], after[name])]


@pytest.mark.slow
@needs_level_2
def test_without_a_cell_the_carriers_work(world):
    found = carried(0, *world)
    assert [name for name, one in TABLE.items() if one.everywhere and name not in found] == []
    assert len(found) >= len(TABLE) - 8, sorted(set(TABLE) - set(found))


@pytest.mark.slow
@needs_level_2
@pytest.mark.parametrize("level", LEVELS)
def test_in_cells_nothing_comes_over(world, level):
    found = carried(level, *world)
    assert [name for name in found if level not in TABLE[name].open_at] == []

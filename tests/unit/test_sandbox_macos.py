"""The Seatbelt profile, not run on a Mac yet: by Seatbelt's own rule it allows what is known to be needed, and no more."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import seatbelt

from autoresearch import child
from autoresearch.border.messages import Protocol
from autoresearch.sandbox import launch, macos
from autoresearch.sandbox.policy import Cell

FACTS = tomllib.loads((Path(__file__).parents[1] / "facts" / "seatbelt.toml").read_text(encoding="utf-8"))
SHARED_CACHE = "/private/var/folders/zz/x/C"


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A study with an odd name, and what is beside it."""
    study = tmp_path / 'a "study" \\ (1)'
    found = {name: study / "runs" / name for name in ("work", "train.py")} | {"hidden": tmp_path / "text", "study": study}
    for name in ("work", "hidden"):
        found[name].mkdir(parents=True)
    found["train.py"].touch()
    monkeypatch.setattr(os, "confstr", lambda number: SHARED_CACHE if number == 65538 else None, raising=False)
    return {name.replace(".", "_"): str(path) for name, path in found.items()}


@pytest.fixture
def cell(places):
    return Cell(
        2, places["work"], reads=("/usr", "/proc/self", sys.prefix, places["train_py"], places["work"]),
        writes=("/dev/null", "/proc/self/task", places["work"]),
    )  # fmt: skip


def unexpected(cell: Cell, places: dict[str, str], part: str, is_open: bool) -> list:
    """Of the facts' questions those with another answer."""
    found = seatbelt.rules(macos.profile(cell))
    (own,) = macos.own_folders(cell)
    known = places | {"python": sys.prefix + "/bin/python3", "own": own, "shared_cache": SHARED_CACHE}
    asks = [(operation, what.format(**known)) for group in FACTS[part] for operation, what in group["asks"]]
    return [ask for ask in asks if seatbelt.allows(found, *ask, FACTS["default"]["open"]) is not is_open]


def test_what_python_and_metal_are_known_to_need_is_allowed(cell, places):
    assert unexpected(cell, places, "needed", is_open=True) == []


def test_what_a_cell_must_not_do_is_denied(cell, places):
    assert unexpected(cell, places, "shut", is_open=False) == []


def test_every_word_of_the_profile_is_one_that_seatbelt_knows(cell):
    """It refuses a profile with another, and with it every training."""
    for rule in seatbelt.rules(macos.profile(cell)):
        assert set(rule.operations) <= set(FACTS["operations"])
        for kind, _ in rule.filters:
            beginnings = tuple(FACTS["filters"][kind])
            assert all(operation.startswith(beginnings) for operation in rule.operations), rule


def test_the_evaluator_reads_rules_as_seatbelt_does():
    """The cases that microsoft/mxc#754 has measured."""
    for text, is_open in (
        ('(allow file-read* (subpath "/a"))(deny file-read* (subpath "/a"))', False),
        ('(deny file-read* (subpath "/a"))(allow file-read* (subpath "/a"))', True),
        ('(deny file-read* (subpath "/"))(allow file-read-data (subpath "/a"))', True),
        ('(deny file-read* (subpath "/a"))(allow file-read*)', False),
        ('(allow file-read* (subpath "/ab"))', False),
    ):
        found = seatbelt.rules(f"(version 1)(deny default){text}")
        assert seatbelt.allows(found, "file-read-data", "/a/b", []) is is_open, text
    for broken in ("(version 1)(deny default", "(version 1)(permit default)", '(version 1)(allow file-read* (literal "a))'):
        with pytest.raises(ValueError):
            seatbelt.rules(broken)


def test_a_worker_starts_under_seatbelt_with_a_cache_of_its_own(cell, monkeypatch):
    monkeypatch.setattr(launch, "sys", type("", (), {"platform": "darwin", "executable": sys.executable}))
    words = launch.command(cell, "some.module")
    assert words[:3] == ["/usr/bin/sandbox-exec", "-p", macos.profile(cell)]
    assert words[-3:-1] == ["autoresearch.sandbox.enter", "some.module"]
    (suffix,) = launch.variables(cell).values()
    assert macos.own_folders(cell) == [f"{SHARED_CACHE}/{suffix}"] and suffix not in launch.variables(Cell(2, "/other")).values()
    outside = Cell(0, cell.work)
    assert launch.command(outside, "some.module")[1] == "-m" and launch.variables(outside) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="has no POSIX shared memory")
def test_what_a_worker_leaves_beside_its_folder_is_forgotten(cell, tmp_path, monkeypatch):
    """Real shared memory, under the only names that a cell may make: it would stay until the machine is restarted."""
    import _posixshmem

    monkeypatch.setattr(os, "confstr", lambda number: str(tmp_path))
    (own, same) = macos.own_folders(cell)
    assert own == same and Path(own).parent == tmp_path
    Path(own, "com.apple.metal").mkdir(parents=True)
    names = [f"{macos.OPENMP_NAME}{number}" for number in (7, macos.LAST_PROCESS)]
    for name in names:
        os.close(_posixshmem.shm_open(name, os.O_CREAT | os.O_RDWR, 0o600))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "sys", type("", (), {"platform": "darwin"}))
        launch.forget(cell)
    assert not Path(own).exists()
    for name in names:
        with pytest.raises(FileNotFoundError):
            _posixshmem.shm_open(name, os.O_RDWR, 0o600)


def test_every_worker_is_forgotten_and_gets_its_variables(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    seen, cell = [], Cell(0, str(tmp_path / "work"))
    monkeypatch.setattr(launch, "forget", seen.append)
    monkeypatch.setattr(launch, "variables", lambda cell: {"DIRHELPER_USER_DIR_SUFFIX": "own"})
    assert child._environment(cell, tmp_path)["DIRHELPER_USER_DIR_SUFFIX"] == "own"
    with child.Worker({"type": "none"}, tmp_path, Protocol("starting", {}), module="this", cell=cell) as worker:
        assert worker.process.wait() == 0 and seen == []
    assert seen == [cell]


def test_its_reach_follows_the_program(monkeypatch):
    monkeypatch.setattr(macos, "PROGRAM", os.devnull)
    assert macos.reach().level == 2 and not macos.reach().tried
    monkeypatch.setattr(macos, "PROGRAM", "/no/such/program")
    assert macos.reach().level == 0


@pytest.mark.skipif(sys.platform != "darwin", reason="macOS")
def test_sandbox_exec_takes_the_profile(cell):
    done = subprocess.run([*macos.prefix(cell), "/usr/bin/true"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""What a cell holds, its environment, and the folder that it writes in; as data, and with real files."""

import os
import sys
from pathlib import Path

import pytest

from autoresearch.errors import UsageError
from autoresearch.hardware import registry
from autoresearch.paths import PACKAGE
from autoresearch.sandbox import bubblewrap, levels, policy, room
from autoresearch.sandbox.policy import Cell, Needs


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The folder of a run, with a cache and a home beside the study."""
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    run = tmp_path / "study" / "runs" / "0001-1"
    run.mkdir(parents=True)
    (run / "train.py").write_text("pass")
    return run


def covers(paths, path) -> bool:
    return any(Path(path).resolve().is_relative_to(one) for one in paths)


def test_a_cell_names_what_it_needs_and_nothing_around_it(study):
    cell = policy.cell(2, room.make(study / "work"), [study / "train.py"])
    for needed in (os.__file__, sys.executable, PACKAGE / "measure" / "run.py", study / "train.py", study / "work" / "x"):
        assert covers(cell.reads, needed), needed
    beside = (study / "log.txt", study.parent / "0000-1", study.parents[1], PACKAGE.parent / "tests")
    for hidden in (Path.home(), *beside, "/etc/passwd"):
        assert not covers(cell.reads, hidden), hidden
    assert [path for path in cell.writes if not path.startswith(("/dev", "/proc"))] == [str((study / "work").resolve())]


def test_a_cell_survives_its_way_to_the_worker(study):
    cell = policy.cell(3, room.make(study / "work"), [study / "train.py"], needs=Needs(devices=("/dev/nul*",)))
    assert Cell.from_json(cell.to_json()) == cell and (cell.devices == ("/dev/null",) or sys.platform == "win32")


def test_a_study_inside_of_what_is_readable_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    work = tmp_path / "study" / "work"
    work.mkdir(parents=True)
    with pytest.raises(UsageError, match="every training may read; put the study elsewhere"):
        policy.cell(2, work, [])
    policy.cell(0, work, [])


def test_the_environment_is_made_from_nothing(study, monkeypatch):
    for name in ("ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "HF_TOKEN", "SOMETHING_ELSE"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("AUTORESEARCH_DTYPE", "float32")
    monkeypatch.setenv("PATH", os.pathsep.join([str(study), os.environ["PATH"]]))
    found = policy.environment(policy.cell(2, room.make(study / "work"), []))
    assert "secret" not in found.values() and found["AUTORESEARCH_DTYPE"] == "float32"
    assert found["HOME"] == found["TMPDIR"] == str((study / "work").resolve())
    assert str(study) not in found["PATH"].split(os.pathsep)


def test_the_compile_cache_takes_new_plain_files_only(study, tmp_path):
    shared = room.shared_cache()
    (shared / "a").mkdir(parents=True)
    (shared / "a" / "old").write_text("old")
    (shared / "a" / "x.lock").write_text("")
    work = room.make(study / "work")
    own = work / room.COMPILED
    assert (own / "a" / "old").read_text() == "old"
    assert [path.name for path in (own / "a").iterdir()] == ["old"], "locks are each worker's own"
    (own / "a" / "other").write_text("changed")
    os.replace(own / "a" / "other", own / "a" / "old")
    (own / "y.lock").write_text("")
    (own / "b").mkdir()
    (own / "b" / "new").write_text("new")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (own / "b" / "link").symlink_to(secret)
    (own / "folder").symlink_to(tmp_path)
    room.harvest(work)
    assert {path.relative_to(shared).as_posix(): path.read_text() for path in shared.rglob("*") if path.is_file()} == {
        "a/old": "old", "a/x.lock": "", "b/new": "new",
    }  # fmt: skip
    assert not list(shared.parent.glob("*.part"))
    room.remove(work)
    assert sorted(path.name for path in study.iterdir()) == ["train.py"]


def test_only_a_plain_file_is_taken(study, tmp_path):
    work = room.make(study / "work")
    (tmp_path / "secret").write_text("secret")
    (work / "checkpoint").symlink_to(tmp_path / "secret")
    assert not room.take(work, "checkpoint", study / "checkpoint") and not os.path.lexists(study / "checkpoint")
    assert (tmp_path / "secret").read_text() == "secret"
    assert not room.take(work, "checkpoint", study / "checkpoint"), "there is none"
    (work / "checkpoint").mkdir()
    assert not room.take(work, "checkpoint", study / "checkpoint") and not os.path.lexists(study / "checkpoint")
    (work / "checkpoint").write_text("weights")
    assert room.take(work, "checkpoint", study / "checkpoint") and (study / "checkpoint").read_text() == "weights"


def test_tokens_are_lent_not_copied(study, tmp_path):
    train = tmp_path / "train"
    train.mkdir()
    (train / "tokens.bin").write_bytes(b"1234")
    work = room.make(study / "work")
    lent = room.lend(train, work)
    assert lent.read_bytes() == b"1234" and lent.parent == room.lent(work)
    if os.name == "posix":
        assert lent.stat().st_ino == (train / "tokens.bin").stat().st_ino
    room.remove(work)
    assert (train / "tokens.bin").exists()


def test_a_backend_says_what_its_device_needs(tmp_path):
    folder = tmp_path / "b"
    folder.mkdir()
    for name in ("runtime.py", "train.py"):
        (folder / name).write_text("")
    head = 'title = "B"\nrank = 0\nauto = false\ntrain = "train.py"\n'
    (folder / "backend.toml").write_text(head + '[sandbox]\ndevices = ["/dev/b*"]\n')
    assert registry.read("b", folder).sandbox == Needs(devices=("/dev/b*",))
    for wrong in ('device = ["/dev/b"]', "devices = 1", 'devices = "x"'):
        (folder / "backend.toml").write_text(f"{head}[sandbox]\n{wrong}\n")
        assert "[sandbox]" in registry.read("b", folder).problem
    assert "/dev/nvidia*" in registry.scan()["cuda"].sandbox.devices


def test_an_unattended_run_wants_level_2(monkeypatch):
    monkeypatch.setattr(levels, "reach", lambda: levels.Reach(0, "none", ("this kernel has no Landlock",), True))
    assert levels.choose("none", unattended=True) == 0 and levels.choose("auto") == 0
    with pytest.raises(UsageError, match=r"level 0 here, and an unattended run wants 2 .*no Landlock.*`--sandbox none`"):
        levels.choose("auto", unattended=True)
    monkeypatch.setattr(levels, "reach", lambda: levels.Reach(2, "x", ("y",), True))
    assert levels.choose("auto", unattended=True) == 2


def test_bubblewrap_binds_what_is_written_and_cuts_the_rest_off(study):
    cell = policy.cell(3, room.make(study / "work"), [])
    words = bubblewrap.prefix(cell)
    assert words[-1] == "--" and {"--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent"} <= set(words)
    bound = [words[at + 1] for at, word in enumerate(words) if word == "--bind"]
    assert bound == [cell.work] and "--clearenv" not in words


@pytest.mark.skipif(not hasattr(os, "fwalk"), reason="this system has no O_NOFOLLOW")
def test_a_file_that_becomes_a_link_while_it_is_harvested_is_not_followed(study, tmp_path, monkeypatch):
    """The link is put there between the look and the opening, as a worker that is still running could do."""
    (tmp_path / "secret").write_text("secret")
    own = room.make(study / "work") / room.COMPILED
    for name in ("file", "pipe", "kept"):
        (own / name).write_text("compiled")
    opened = room._opened

    def swap_then_open(folder, name, place):
        if name != "kept":
            (own / name).unlink()
        if name == "file":
            (own / name).symlink_to(tmp_path / "secret")
        if name == "pipe":
            os.mkfifo(own / name)
        return opened(folder, name, place)

    monkeypatch.setattr(room, "_opened", swap_then_open)
    room.harvest(study / "work")
    assert [path.name for path in room.shared_cache().iterdir()] == ["kept"]

"""Durable writes and the faults that tests put into them."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import faults
import pygit2
import pytest

from autoresearch import durable
from autoresearch.run import disk
from autoresearch.study.ledger import Ledger


class Steps:
    def __init__(self):
        self.seen = []

    def __call__(self, kind, path, *_):
        self.seen.append((kind, os.path.basename(path)))


def test_a_whole_file_is_written_synced_renamed_and_its_name_synced(tmp_path):
    with faults.armed(Steps()) as steps:
        durable.write(tmp_path / "a", b"new")
    kinds = [kind for kind, _ in steps.seen]
    assert kinds == ["open", "write", "sync", "rename", "sync_folder"]
    assert (tmp_path / "a").read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("what", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("k", range(1, 5))
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, what, k):
    durable.write(tmp_path / "a", b"old")
    with faults.armed(faults.Fault(what, k)), pytest.raises(OSError) as error:
        durable.write(tmp_path / "a", b"new")
    assert error.value.errno == getattr(errno, what)
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_a_study_on_a_disk_of_windows_is_warned_of(monkeypatch, tmp_path):
    """As WSL2 mounts them."""
    kinds = {"/": "ext4", str(tmp_path): "9p", str(tmp_path / "own"): "ext4"}
    disks = [SimpleNamespace(mountpoint=place, fstype=kind) for place, kind in kinds.items()]
    monkeypatch.setattr("psutil.disk_partitions", lambda all: disks)
    assert "9p" in disk.warning(tmp_path / "study") and disk.warning(tmp_path / "own" / "study") is None
    assert disk.warning(Path("/")) is None


def test_missing_folders_are_made_and_each_name_is_synced(tmp_path):
    with faults.armed(Steps()) as steps:
        durable.make_folder(tmp_path / "a" / "b")
    assert [name for kind, name in steps.seen if kind == "sync_folder"] == [tmp_path.name, "a"]
    with faults.armed(Steps()) as steps:
        durable.make_folder(tmp_path / "a" / "b")
    assert steps.seen == []


def test_only_our_own_leftovers_are_removed(tmp_path):
    for name in (".train.py.12-34.tmp", ".mine.tmp", "a.tmp"):
        (tmp_path / name).touch()
    durable.remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".mine.tmp", "a.tmp"]


def test_a_fault_ends_a_process_as_a_kill_does(tmp_path):
    armed = f"import sys; sys.path.append({str(Path(faults.__file__).parent)!r}); import faults; faults.from_environment()"
    call = f"{armed}; from pathlib import Path; faults.durable.write(Path({str(tmp_path)!r}) / 'a', b'1234')"

    def run(fault):
        return subprocess.run([sys.executable, "-c", call], env=os.environ | {"AUTORESEARCH_FAULT": fault}, capture_output=True)

    assert run("half:2").returncode == 137
    [left] = tmp_path.iterdir()
    assert left.read_bytes() == b"12"
    assert b"No space left" in run("ENOSPC:1 of=sync").stderr
    assert run(f"trace:{tmp_path / 'trace'}").returncode == 0
    assert len((tmp_path / "trace").read_text().splitlines()) == 5


def test_a_ledger_that_a_killed_process_left_is_synced_before_anything_is_built_on_it(tmp_path):
    Ledger(tmp_path / "events.jsonl").append("study", tag="t", seed=1, decide="strict")
    with faults.armed(Steps()) as steps:
        Ledger(tmp_path / "events.jsonl")
    assert steps.seen == [("sync", "events.jsonl"), ("sync_folder", tmp_path.name)]


def test_after_a_broken_disk_the_ledger_takes_no_more(tmp_path):
    ledger = Ledger(tmp_path / "events.jsonl")
    ledger.append("pause", reason="1")
    before = ledger.path.read_bytes()
    with faults.armed(faults.Fault("EIO", 1, of="sync")), pytest.raises(OSError, match="Input/output"):
        ledger.append("pause", reason="2")
    with pytest.raises(OSError, match="Input/output") as error:
        ledger.append("pause", reason="3")
    assert error.value.errno == errno.EIO and ledger.path.read_bytes() == before
    assert len(Ledger(ledger.path).events) == 1


def test_a_half_line_that_could_not_be_cut_is_cut_before_the_next(tmp_path):
    ledger = Ledger(tmp_path / "events.jsonl")
    ledger.append("pause", reason="1")
    with faults.armed(faults.Fault("ENOSPC", 2, repeats=9)), pytest.raises(OSError, match="No space"):
        ledger.append("pause", reason="2")
    assert ledger.path.read_bytes().count(b"seq") == 2, "the fault also hit the cut"
    ledger.append("pause", reason="3")
    assert [event["reason"] for event in Ledger(ledger.path).events] == ["1", "3"]


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "words"), True),
        (OSError(errno.EIO, "No space left on device"), False),
        (OSError("failed to write out file: No space left on device"), True),  # as pygit2 1.21 says it
        (pygit2.GitError("could not write: Disk quota exceeded"), True),
        (pygit2.GitError("could not write: Input/output error"), False),
    ],
)
def test_a_full_disk_is_known_by_its_number_and_libgit2s_by_its_words(error, full):
    assert disk.is_full(error) == full

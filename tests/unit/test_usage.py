"""A worker's whole tree from outside: its processor time, also of what has ended; held still; the files that it has mapped."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from waiting import wait_for

from autoresearch.errors import RunFailed
from autoresearch.sandbox import locking

NOBODY_ASKS = SimpleNamespace(held=contextlib.nullcontext)  # in no cell
WAYS = [locking._psutil_times, *([locking._times] if locking._HAS_CHILDREN else [])]
BUSY = "import time\nwhile time.process_time() < {}: pass\n"
# A thread starts a process, which starts another; the first two are done before the test looks a second time.
TREE = f"""
import subprocess, sys, threading
inner = {BUSY.format(0.4)!r} + "print('inner', flush=True)\\nimport sys; sys.stdin.read()"
outer = "import subprocess, sys\\nsubprocess.Popen([sys.executable, '-c', " + repr(inner) + "]).wait()"
def work():
    global process
    process = subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE)  # its own: "go" is for this one
    process.wait()
threading.Thread(target=work).start()
sys.stdin.readline()
{BUSY.format(0.3)}
print("own", flush=True)
sys.stdin.read()
process.stdin.close()
"""


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_time_of_the_whole_tree_counts_and_stays_counted(way, monkeypatch):
    monkeypatch.setattr(locking, "_HAS_CHILDREN", way is not locking._psutil_times)
    process = subprocess.Popen([sys.executable, "-c", TREE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        usage = locking.Usage(process.pid)
        assert process.stdout.readline() == "inner\n"
        with_inner = usage.seconds()
        assert with_inner >= 0.4
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "own\n"
        assert usage.seconds() >= with_inner + 0.25
    finally:
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()
    assert usage.seconds() >= with_inner + 0.25, "what has ended stays counted"


def test_a_process_that_is_gone_is_no_error():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert locking.Usage(ended.pid).seconds() == 0


COUNTS = """
import os, sys, time
def count(path):
    with open(path, "wb", buffering=0) as file:
        while True:
            file.write(b"x")
            time.sleep(0.001)
if os.fork() == 0:
    count(sys.argv[1] + "/child")
count(sys.argv[1] + "/own")
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="held on Linux only")


@linux
def test_nothing_of_a_tree_goes_on_while_it_is_held(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", COUNTS, str(tmp_path)])
    files = [tmp_path / name for name in ("own", "child")]
    try:
        wait_for(lambda: all(path.exists() and path.stat().st_size for path in files))
        with locking.held(process.pid, frozenset(), NOBODY_ASKS) as stopped:
            before = [path.stat().st_size for path in files]
            assert len(stopped) == 2
            time.sleep(0.1)
            assert [path.stat().st_size for path in files] == before
        wait_for(lambda: all(path.stat().st_size > size for path, size in zip(files, before, strict=True)))
        went_on = pytest.raises(RunFailed, match="went on while they were held")
        with went_on, locking.held(process.pid, frozenset(), NOBODY_ASKS) as stopped:
            os.kill(stopped[-1], signal.SIGCONT)  # as a timer of its own would
    finally:
        for one in psutil.Process(process.pid).children():
            one.kill()
        process.kill()
        process.wait()
    with locking.held(process.pid, frozenset(), NOBODY_ASKS) as stopped:
        assert stopped == [], "what has ended stands still"


MAPS = """
import mmap, os, sys
os.chdir(sys.argv[1])
open("x", "wb").write(b"1" * 4096)
with open("x", "r+b") as file:
    kept = mmap.mmap(file.fileno(), 0)
os.unlink("x")
os.symlink(sys.argv[2], "x (deleted)")
print("ready", flush=True)
sys.stdin.read()
"""


@linux
def test_a_path_that_the_worker_chose_is_not_opened(tmp_path):
    """A file that was mapped and removed, and a link where /proc/PID/maps says that it lies: the harness opened any file by it."""
    work, secret = tmp_path / "work", tmp_path / "secret"
    work.mkdir()
    secret.write_text("secret")
    process = subprocess.Popen([sys.executable, "-c", MAPS, str(work), str(secret)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        names = {path for path, _ in locking._mapped(process.pid, str(work))}
        assert any("libc" in name for name in names) and not [name for name in names if name.startswith(str(work))]
        everything = {path for path, _ in locking._mapped(process.pid, "/nowhere")}
        assert f"{work}/x (deleted)" in everything
        locking._warm([process.pid], {process.pid: {"/proc/self/pagemap": "endless"}}, str(work))  # 0 bytes: nothing to read
    finally:
        process.communicate()

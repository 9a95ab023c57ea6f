"""The processor time of a worker's whole tree, also of what has ended, by the kernel's lists of children and by psutil."""

import subprocess
import sys

import pytest

from autoresearch.sandbox import locking

WAYS = [locking._psutil_times, *([locking._times] if locking._HAS_CHILDREN else [])]
BUSY = "import time\nwhile time.process_time() < {}: pass\n"
# A thread starts a process, which starts another; the first two are done before the test looks a second time.
TREE = f"""
import subprocess, sys, threading
inner = {BUSY.format(0.4)!r} + "print('inner', flush=True)\\nimport sys; sys.stdin.read()"
outer = "import subprocess, sys\\nsubprocess.Popen([sys.executable, '-c', " + repr(inner) + "]).wait()"
def work(): subprocess.run([sys.executable, "-c", outer])
threading.Thread(target=work).start()
sys.stdin.readline()
{BUSY.format(0.3)}
print("own", flush=True)
sys.stdin.read()
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

"""What an edit of a command study's files can try while it is measured: what is held, and what is only labelled.

A number that a program prints is its own. LABELLED works, and docs/command.md says so: it is tried here, so that the page stays
true. All else is impossible, or fails.
"""

import json
import os
import socket
from pathlib import Path

import psutil
import pytest
import repositories
from test_memory import LEVEL, needs_level_2

from autoresearch.child import RunFailed
from autoresearch.errors import EnvironmentFailure
from autoresearch.run import command, paired

pytestmark = [pytest.mark.slow, needs_level_2]  # a process in a cell each

LINKED = """
import os
os.link('bench.py', 'other.py')
open('other.py', 'a').write('print(1)')
os.unlink('other.py')
"""
PUT_BACK = """
import os
was, status = open('bench.py').read(), os.stat('bench.py')
open('bench.py', 'w').write('print(0)')
open('bench.py', 'w').write(was)
try:
    os.utime('bench.py', ns=(status.st_atime_ns, status.st_mtime_ns))
except OSError:
    pass
"""
# What it may not change, changed while the measure runs.
CHANGES = {
    "the measure is written over": "open('bench.py', 'w').write('print(\"rounds: 0\")')\n",
    "another file is put in the measure's place": "import os\nopen('x', 'w').write('print(0)')\nos.replace('x', 'bench.py')\n",
    "the measure is changed and put back, with its times": PUT_BACK,
    "the measure is changed by another name": LINKED,
    "the guard is removed": "import os\nos.remove('guard.py')\n",
    "the guard becomes a link": "import os\nos.remove('guard.py')\nos.symlink('bench.py', 'guard.py')\n",
    "its folder is put aside": "import os\nos.rename('docs', 'p')\n",
}
# Something outside, reached for: it prints what it got, else the number.
REACHES = {
    "the held-out files, where they would be": "got = open('private/bench.py').read()",
    "the held-out files, in the user's repository": "got = open({repository!r} + '/private/bench.py').read()",
    "the repository's own git": "import os; got = os.listdir({repository!r})",
    "the snapshot": "got = open({snapshot!r}, 'rb').read(9)",
    "the run's folder: the log, other runs": "import os; got = os.listdir('..')",
    "the home folder": "import os; got = os.listdir({home!r})",
    "a file outside, to write": "open({outside!r}, 'w').write('x'); got = 'written'",
    "a key of the environment": "import os; got = os.environ['ANTHROPIC_API_KEY']",
    "a server of this machine": "import socket; got = socket.create_connection(('127.0.0.1', {port}), 2)",
    "the memory of the process that keeps the time": (
        "import os; up = open('/proc/%d/stat' % os.getppid()).read().split()[3]; got = open('/proc/%s/mem' % up, 'r+b')"
    ),
    "other processes of this machine": "import os; got = next(name for name in os.listdir('/proc') if int(name) > 100)",
}
# Into whatever any process that it sees has open: its own output, too, where such a line is nothing but words.
FORGES = """
import os
for pid in {*range(1, 60), *range(max(1, os.getpid() - 200), os.getpid() + 1)}:
    for number in range(32):
        try:
            os.write(os.open(f'/proc/{pid}/fd/{number}', os.O_WRONLY | os.O_NONBLOCK), FORGED)
        except OSError:
            pass
"""
# What was left by the measurement before.
TRACES = {
    "in its folder": "open('cache', 'a+')",
    "in the home folder": "open(os.path.expanduser('~/cache'), 'a+')",
    "in the temporary folder": "open(tempfile.gettempdir() + '/cache', 'a+')",
    "in shared memory": "open('/dev/shm/cache', 'a+')",
    "beside its source": "open(os.path.dirname(__file__) + '/cache', 'a+')",
}
FAILS = {
    "it prints nothing": ("import os\nos._exit(0)\n", "prints no number"),
    "it prints no number": ("import os\nprint('rounds: many', flush=True)\nos._exit(0)\n", "prints no number"),
    "NaN": ("import os\nprint('rounds: nan', flush=True)\nos._exit(0)\n", "none can be compared with"),
    "1e400": ("import os\nprint('rounds: -1e400', flush=True)\nos._exit(0)\n", "none can be compared with"),
    "it goes on for ever": ("while True: pass\n", "took longer than 3 s"),
    "it ends its starter": ("import os, signal\nos.kill(os.getppid(), 9)\n", "status"),
    "a huge file": ("f = open('x', 'wb')\nfor _ in range(64): f.write(bytes(1 << 20))\n", "File too large|status"),
    "many files": ("import time\nfor n in range(300): open(f'x{n}', 'w')\ntime.sleep(9)\n", "wrote more than"),
    "control characters": ("raise SystemExit('\\x1b[2J\\x1b]0;owned\\x07\\u202e' + 'x' * 9000)\n", "status 1"),
}
FAKED = "import os\nprint('rounds: 1', flush=True)\n"
LABELLED = {
    "a fake number, and an early end": FAKED + "os._exit(0)\n",
    "a fake number, printed last": "import atexit\natexit.register(print, 'rounds: 1')\n",
    "the measure's own function, exchanged": "import builtins\nwas = print\nbuiltins.print = lambda *words: was('rounds: 1')\n",
    "it knows that it is measured": "import sys\nif sys.argv[0] == 'bench.py':\n    ROUNDS = 1\n",
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return repositories.write(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def setup(repository):
    return repositories.setup(repository, LEVEL, guard=repositories.GUARD, confirm=repositories.CONFIRM, held_out=["private/*"])


def measured(setup, body: str, folder: Path) -> float:
    folder.mkdir(exist_ok=True)
    return command.measure(setup, repositories.MEASURE, repositories.text(setup, body=body), folder)


@pytest.mark.parametrize("name", CHANGES)
def test_what_it_may_not_edit_stays_as_it_is(name, setup, tmp_path):
    with pytest.raises(RunFailed, match="is not to be edited, was changed while") as failed:
        measured(setup, CHANGES[name], tmp_path / "run")
    assert failed.value.kind == "cheat"
    assert not (tmp_path / "run" / "tree").exists()


@pytest.mark.parametrize("name", REACHES)
def test_it_reaches_nothing_beyond_its_folder(name, setup, repository, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        places = {
            "repository": str(repository), "snapshot": str(setup.task.commands.snapshot), "home": os.path.expanduser("~"),
            "outside": str(tmp_path / "outside"), "port": server.getsockname()[1],
        }  # fmt: skip
        reach = f"    {REACHES[name].format(**places)}\n    print('got', got)\n    ROUNDS = 1\n"
        body = f"try:\n{reach}except Exception as error:\n    print(repr(error))\n"
        assert measured(setup, body, tmp_path / "run") == 40, (tmp_path / "run" / "log.txt").read_text()
    assert not (tmp_path / "outside").exists()


def test_it_can_not_speak_for_its_starter(setup, tmp_path):
    done = json.dumps({"type": "done", "status": 0, "seconds": 0.0, "output": "rounds: 0"}).encode() + b"\n"
    assert measured(setup, f"FORGED = {done!r}\n{FORGES}", tmp_path / "run") == 40
    assert b'"seconds": 0.0' in (tmp_path / "run" / "log.txt").read_bytes()  # it has come so far as to its own output


@pytest.mark.parametrize("name", TRACES)
def test_nothing_is_carried_from_one_measurement_to_the_next(name, setup, tmp_path):
    used = f"    with {TRACES[name]} as file:\n        file.seek(0)\n        ROUNDS = 1 if file.read() else 40\n"
    used += "        file.write('x')\n"
    body = f"import os, tempfile\ntry:\n{used}except OSError:\n    pass\n"
    assert [measured(setup, body, tmp_path / "run") for _ in range(2)] == [40, 40]


def test_what_it_leaves_in_the_background_ends_with_it(setup, tmp_path):
    left = "    os.setsid()\n    if os.fork() == 0:\n        os.execvp('sleep', ['sleep', '98765'])\n    os._exit(0)\n"
    body = f"import os, time\nif os.fork() == 0:\n{left}"
    assert measured(setup, body, tmp_path / "run") == 40
    assert not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "98765"]]


def test_a_crowd_of_processes_grows_only_so_large(setup, tmp_path):
    body = "import os, time\nfor _ in range(40_000):\n    if os.fork() == 0:\n        time.sleep(60)\n"
    with pytest.raises(RunFailed, match="Resource temporarily unavailable"):
        measured(setup, body, tmp_path / "run")


@pytest.mark.parametrize("name", FAILS)
def test_what_gives_no_number_is_one_line(name, repository, tmp_path):
    body, why = FAILS[name]
    setup = repositories.setup(repository, LEVEL, seconds=3.0 if "for ever" in name else 30.0)
    limits = {"FILE_BYTES": 8 << 20, "MOST_FILES": 200, "LOOK_SECONDS": 0.2}
    with repositories.replaced(command, **limits), pytest.raises((RunFailed, EnvironmentFailure), match=why) as failed:
        measured(setup, body, tmp_path / "run")
    assert str(failed.value).isprintable() and len(str(failed.value)) < 500


def test_a_flood_of_words_is_bounded_and_the_number_found(setup, tmp_path):
    assert measured(setup, "for _ in range(300): print('x' * 100_000)\n", tmp_path / "run") == 40
    assert (tmp_path / "run" / "log.txt").stat().st_size < 2 << 20


def test_a_result_file_that_is_a_link_is_none(repository, tmp_path):
    setup = repositories.setup(repository, LEVEL, result="r.json")
    with pytest.raises(RunFailed, match="no regular file"):
        measured(setup, "import os\nos.symlink('/proc/version', 'r.json')\n", tmp_path / "run")


def test_the_harness_own_clock_is_not_the_programs(repository, tmp_path):
    setup = repositories.setup(repository, LEVEL, metric="wall_seconds:min")
    body = "import time\ntime.perf_counter = time.monotonic = time.time = lambda: 0.0\ntime.sleep(0.5)\nprint('wall_seconds: 0')\n"
    assert measured(setup, body, tmp_path / "run") >= 0.5


@pytest.mark.parametrize("name", LABELLED)
def test_a_number_that_a_program_prints_is_its_own(name, setup, tmp_path):
    """It works: that is why the page calls the number fenced, and not sealed."""
    lib = repositories.FILES["src/lib.py"] + LABELLED[name]
    if "fake" in name or "exchanged" in name:
        lib = LABELLED[name] + repositories.FILES["src/lib.py"] if "early" in name else lib
    (tmp_path / "run").mkdir()
    assert command.measure(setup, repositories.MEASURE, repositories.text(setup, lib=lib), tmp_path / "run") == 1


def test_a_guard_can_be_left_early(setup, tmp_path):
    """Labelled: the tests run the code that they test."""
    (tmp_path / "run").mkdir()
    broken = "def work():\n    return []\n"
    left = f"import os, sys\nif sys.argv[0] == 'guard.py':\n    os._exit(0)\n\n\n{broken}"
    with pytest.raises(RunFailed, match="the guard ended with status"):
        command.guard(setup, repositories.text(setup, lib=broken), tmp_path / "run")
    assert command.guard(setup, repositories.text(setup, lib=left), tmp_path / "run") is None, "taken for passed"


def test_what_gains_on_the_measure_alone_is_not_confirmed(setup, tmp_path):
    (tmp_path / "run").mkdir()
    texts = repositories.text(setup), repositories.text(setup, body=LABELLED["it knows that it is measured"])
    measures = {
        line: command.measure_pairs(setup, line, texts, tmp_path / "run", 1, is_confirmation=line == repositories.CONFIRM)
        for line in (repositories.MEASURE, repositories.CONFIRM)
    }
    metric = setup.task.metric
    assert paired.score(*measures[repositories.MEASURE], 40, metric) == pytest.approx(1)
    assert paired.confirmation(*measures[repositories.CONFIRM], metric) is False


@pytest.mark.parametrize("path", ["bench.py", "guard.py", "private/bench.py", "sitecustomize.py", "src/more/x.py", "src/lib.c"])
def test_a_file_that_may_not_be_edited_is_refused_before_anything_runs(path, setup, tmp_path):
    text = repositories.text(setup) + f"#%% file: {path}\nx = 1\n"
    with pytest.raises(RunFailed, match="not among the files that may be edited"):
        command.warm_up(setup, text, 1, tmp_path / "run")

"""What tests of several files share."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearch import cli

BUSY = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
# Their parent ends at once, so that they are nobody's children of ours.
BUSY_STARTER = (
    "import subprocess, sys\n"
    "for _ in range(int(sys.argv[1])):\n"
    f"    print(subprocess.Popen([sys.executable, '-c', {BUSY!r}], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)\n"
)


def pytest_addoption(parser):
    places, what = ("null", "torch", "mlx", "jax"), "where the nights of tests/cheats/test_processes.py train"
    parser.addoption("--cheats-on", nargs="+", choices=places, help=what)
    parser.addoption("--cheats-at", nargs="+", type=int, help="in cells of which levels; default: the best one here")


if "PYTEST_XDIST_WORKER" in os.environ:
    # Each core has a worker: trainings with a thread a core wait for one another in OpenMP's barriers, which spin.
    os.environ.setdefault("AUTORESEARCH_THREADS", "1")
    # And each of some thousand processes imports numpy, whose OpenBLAS spins with a thread a core: 144 ms of processor time for 76.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def unhurried():
    """Trainings of a second beside other tests: a hiccup of the machine is no late checkpoint, and no slow scoring."""
    from autoresearch.run import bounds, experiment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "GRACE_LEAST_SECONDS", 5.0)
        patch.setattr(experiment, "GRACE_MOST_SECONDS", 5.0)
        patch.setattr(bounds, "LEAST_WALL_SECONDS", 60.0)
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder for all of pytest's processes, new in each call of it: nothing is taken from an earlier state of the code."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder  # each worker has one of its own in it


@pytest.fixture(scope="session", autouse=True)
def own_cache(shared):
    """The user's cache is neither read, where an earlier call may have left anything, nor filled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE_DIR", str(shared / "cache"))
        yield


@pytest.fixture(scope="session")
def compile_cache(shared) -> Path:
    """Where compiled kernels lie: what one of pytest's processes has compiled, the others load."""
    folder = shared / "compile"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def busy():
    """Call it for four busy processes a core, none of them in our tree; but in our session, which Linux may share time out by.

    They end with the test, and by themselves after a minute.
    """
    import psutil

    processes = []

    def start() -> list[psutil.Process]:
        command = [sys.executable, "-c", BUSY_STARTER, str(4 * os.cpu_count())]
        started = subprocess.run(command, capture_output=True, text=True, check=True)
        processes.extend(psutil.Process(int(pid)) for pid in started.stdout.split())
        return processes

    yield start
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.fixture
def typed(capsys, monkeypatch):
    """What `autoresearch WORDS` does, without the half second that a process of its own takes: (exit status, stdout, stderr)."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["autoresearch", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    return call

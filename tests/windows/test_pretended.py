"""The product on a Linux that pretends to be Windows (pretended.py). It has not run on Windows."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pretended
import pytest

sys.path.append(str(Path(__file__).parents[1] / "e2e"))
import studies

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="pretended on Linux"), pytest.mark.slow]
NIGHT = Path(__file__).with_name("night.py")
# What is for the fence of one system, and imported by nothing that runs on another.
FENCES = ("autoresearch.sandbox.", "autoresearch.checks.attacks.", "autoresearch.checks.trial", "autoresearch.checks.fence_trial")
EVERY_MODULE = f"""
import importlib
from pathlib import Path
failed = {{}}
for path in sorted(Path({str(pretended.ROOT)!r}, "autoresearch").rglob("*.py")):
    name = ".".join(path.relative_to({str(pretended.ROOT)!r}).with_suffix("").parts).removesuffix(".__init__")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "ray":  # an extra: not in every environment that has the tests
            failed[name] = str(error)
    except Exception as error:
        failed[name] = str(error)
print(*failed, sep="\\n")
"""
RULES = """
import os, pathlib, shutil, sys, tempfile
folder = pathlib.Path(tempfile.mkdtemp())
path = folder / "a"
path.write_text("a\\n")
assert path.read_bytes() == b"a\\r\\n"
def refuses(act):
    try:
        act()
    except OSError as error:
        return getattr(error, "winerror", error.errno)
with open(path) as file:
    assert refuses(path.unlink) == 32 and refuses(lambda: os.replace(path, folder / "b")) == 32
    (folder / "c").touch()
    assert refuses(lambda: os.replace(folder / "c", path)) == 5 and refuses(lambda: shutil.rmtree(folder)) == 32
path.chmod(0o400)
assert refuses(path.unlink) == 5 and refuses(lambda: open(path, "ab")) == 5 and refuses(lambda: shutil.rmtree(folder)) == 5
assert refuses(lambda: os.symlink(path, folder / "d")) == 1314 and refuses(lambda: os.open(folder, os.O_RDONLY)) == 5
assert refuses(lambda: (folder / "a:b").touch()) == 123 and refuses(lambda: (folder / "nul.txt").touch()) == 123
assert refuses(lambda: open(folder / ("a" * 200) / ("b" * 60), "w")) == 206
"""
TREE = """
import os, signal, subprocess, sys, time
from autoresearch import processes
code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True)"
process = processes.start([sys.executable, "-c", code], stdout=subprocess.PIPE)
orphan = int(process.stdout.readline())
process.wait()  # its parent has ended, so that nothing but the job knows of it
os.kill(orphan, 0)
processes.end_tree(process)
end = time.monotonic() + 30
while os.path.exists(f"/proc/{orphan}") and open(f"/proc/{orphan}/stat", encoding="ascii").read().split()[2] != "Z":
    assert time.monotonic() < end, "the orphan lives on"
    time.sleep(0.01)
"""
DISK = """
import sys, tempfile
from pathlib import Path
import pygit2
from autoresearch import durable
from autoresearch.border import files
from autoresearch.run import disk
said = "failed to write: {}"  # libgit2's words end in the system's
assert disk.is_full(pygit2.GitError(said.format("[WinError 112]"))) and disk.is_held(pygit2.GitError(said.format("[WinError 5]")))
for remove in (durable.remove_tree, files.remove):
    folder = Path(tempfile.mkdtemp())
    repository = pygit2.init_repository(str(folder))
    repository.create_blob(b"git's objects are read-only")
    for name in range(20):  # more than there are tries
        (folder / str(name)).touch()
    Path(sys.prefix, "scanner").touch()  # it holds each
    remove(folder)
    assert not folder.exists()
"""
LENGTHS = f"""
import sys
from pathlib import Path
from autoresearch import paths
from autoresearch.errors import UsageError
from autoresearch.study import terms
paths.check_length(Path("/", "a" * (paths.LONGEST_STUDY - 1)))
for refused in (lambda: paths.check_length(Path("/", "a" * paths.LONGEST_STUDY)), lambda: terms.check_tag("NUL.1")):
    try:
        refused()
    except UsageError as error:
        print(error)
    else:
        sys.exit("it is not refused")
sys.path.insert(0, {str(pretended.ROOT / "backends" / "torch")!r})
import torch_runtime
from torch._inductor import config
assert not config.triton.unique_kernel_names
"""


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    """The pretended Python."""
    return pretended.environment(tmp_path_factory.mktemp("windows"))


@contextlib.contextmanager
def logged(windows: Path):
    """What the system is asked meanwhile, a line each."""
    path = windows.parents[1] / "log"
    path.write_text("")
    yield lambda: path.read_text().splitlines()
    path.unlink()


@contextlib.contextmanager
def scanner(windows: Path):
    """A file to touch when a virus scanner is to begin; it ends with the block."""
    path = windows.parents[1] / "scanner"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a space and an umlaut, beside a profile and a corpus."""
    folder = tmp_path_factory.mktemp("eine stüdy")
    (folder / "corpus").mkdir()
    studies.write_corpus(folder / "corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE_DIR", str(folder / "cache"))
        yield folder, ["--profile", str(studies.write_profile(folder)), "--corpus", str(folder / "corpus")]


@pytest.fixture(scope="module")
def night(windows, place):
    """(folder, calls of the system) of a study that a scanner follows, that is killed and goes on."""
    folder = place[0] / "night"
    with logged(windows) as calls, scanner(windows) as begins:
        begins.touch()
        assert_ran(run(windows, str(NIGHT), "null", str(folder), *place[1]))
        return folder, calls()


def run(windows: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    environment = os.environ | variables
    return subprocess.run([str(windows), *words], capture_output=True, encoding="utf-8", errors="replace", env=environment)


def assert_ran(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout


def test_the_rules_for_files_hold(windows):
    assert_ran(run(windows, "-c", RULES))


def test_git_objects_that_a_scanner_holds_are_removed_and_what_git_says_of_the_disk_is_known(windows):
    with scanner(windows):
        assert_ran(run(windows, "-c", DISK))


def test_no_name_gets_too_long_for_windows_and_none_is_a_device(windows):
    said = assert_ran(run(windows, "-c", LENGTHS)).splitlines()
    assert "Windows's 260" in said[0] and "--workspace" in said[0] and "names a device" in said[1]


def test_nothing_but_the_fences_of_other_systems_wants_them(windows):
    failed = assert_ran(run(windows, "-c", EVERY_MODULE)).split()
    assert [name for name in failed if not name.startswith(FENCES)] == []
    assert "autoresearch.sandbox.lookups" in failed, "is it Windows?"
    assert "Commands:" in assert_ran(run(windows, "-m", "autoresearch.cli", "--help"))


def test_what_left_its_parent_ends_with_the_job_that_it_was_in_from_its_start(windows):
    with logged(windows) as calls:
        assert_ran(run(windows, "-c", TREE))
        lines = calls()
    assert lines[0].endswith(hex(0x08000000 | 0x200 | 0x4))  # without a window, a group of its own, suspended
    names = [line.split()[0] for line in lines]
    assert names == [
        "CreateProcess", "CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject", "CloseHandle",
    ]  # fmt: skip
    assert lines[3].endswith("suspended")


@pytest.mark.thorough
def test_a_study_that_a_scanner_follows_is_killed_and_goes_on(night):
    folder, lines = night
    assert [line for line in lines if line.startswith(("held", "too long"))] == [], "we stand in our own way"
    assigned = [line for line in lines if line.startswith("AssignProcessToJobObject")]
    assert assigned and all(line.endswith("suspended") for line in assigned)
    assert [line for line in lines if line.startswith("scanner holds") and line.endswith("events.jsonl")]
    ledger = (folder / ".autoresearch" / "events.jsonl").read_bytes().decode().splitlines()
    reasons = [one["reason"] for one in map(json.loads, ledger) if one["event"] == "lost"]
    assert not [reason for reason in reasons if "WinError" in reason], reasons


def test_ctrl_break_ends_a_study_in_good_order(windows, place):
    folder, options = place[0] / "broken", place[1]
    call = ["-m", "autoresearch.cli", "run", "--workspace", str(folder), "--backend", "null", "--agent", "search", "--plain"]
    command = [str(windows), *call, "--sandbox", "none", "--decide", "strict", *options]
    ledger = folder / ".autoresearch" / "events.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8") as process:
        try:
            end = time.monotonic() + 120
            while not ledger.exists() or '"event":"begin"' not in ledger.read_text("utf-8"):
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.05)
            process.send_signal(pretended.SIGBREAK)
            said = process.communicate(timeout=120)[0]
        finally:
            process.kill()
    last = json.loads(ledger.read_bytes().splitlines()[-1])
    assert process.returncode == 128 + pretended.SIGBREAK and last["event"] == "stop" and "SIGBREAK" in last["reason"], said


@pytest.mark.thorough
def test_an_old_code_page_ends_no_command(windows, night):
    folder, _ = night
    narrow = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    shared = ["--workspace", str(folder)]
    for words in (["results", *shared], ["status", *shared], ["show", "1", *shared], ["best", *shared], ["run", "--help"]):
        assert_ran(run(windows, "-m", "autoresearch.cli", *words, **narrow))
    doctor = run(windows, "-m", "autoresearch.cli", "doctor", "--backend", "null", **narrow)
    assert "Windows" in assert_ran(doctor) and "WSL2" in doctor.stdout
    attack = run(windows, "-m", "autoresearch.cli", "doctor", "--attack", **narrow)
    assert attack.returncode == 2 and "nothing to get out of" in attack.stderr

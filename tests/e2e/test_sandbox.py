"""Real workers in real cells: what agent code can't do, that it trains all the same, and that nothing outlives it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import studies
from waiting import wait_for

from autoresearch.border import messages
from autoresearch.checks import trial
from autoresearch.checks.attacks.attempt import ALL
from autoresearch.child import Worker
from autoresearch.errors import EnvironmentFailure
from autoresearch.run import experiment
from autoresearch.sandbox import levels, policy, workdir
from autoresearch.study.ledger import read

REACH = levels.reach()
needs_level_2 = pytest.mark.skipif(REACH.level < 2 or sys.platform != "linux", reason=f"no level 2 here: {REACH.reasons}")
LEVELS = [level for level in (2, 3) if level <= REACH.level]

# Put before a train.py: runs once as `__main__` in the training, once as a module in the scoring process; the log has the answers.
PROBE = """
import os, sys

def look(name, action):
    try:
        print("PROBE", name, "got", str(action())[:80], flush=True)
    except OSError as error:
        print("PROBE", name, "refused", type(error).__name__, flush=True)

def probe(phase, paths):
    for name, path in paths.items():
        look(f"{phase} reads {name}", lambda: open(path, "rb").read(9))
        look(f"{phase} writes {name}", lambda: os.open(path, os.O_WRONLY))
    look(f"{phase} makes a file", lambda: open("own", "w").close())
"""


@pytest.fixture
def made(tmp_path, corpus):
    return studies.make(tmp_path / "study", corpus)


def probing(study, setup, paths: dict) -> str:
    """The study's train.py, which first looks at paths, and then trains."""
    phase = "'train' if __name__ == '__main__' else 'score'"
    words = {name: str(path) for name, path in paths.items()}
    return f"{PROBE}\nprobe({phase}, {words!r})\n" + studies.text_of(study)


def answers(folder: Path) -> dict[str, str]:
    lines = (folder / "log.txt").read_text(encoding="utf-8").splitlines()
    found = [line.split(" ", 1)[1] for line in lines if line.startswith("PROBE ")]
    split = [line.partition(" refused ") if " refused " in line else line.partition(" got ") for line in found]
    return {name: word.strip() for name, word, _ in split}


@pytest.mark.slow
@needs_level_2
@pytest.mark.parametrize("level", LEVELS)
def test_agent_code_trains_and_sees_only_what_it_may(made, tmp_path, level):
    study, setup = made
    other = study.runs / "0000-1"
    other.mkdir(parents=True)
    (other / "checkpoint").write_text("weights")
    (study.events).write_text("{}\n")
    folder = study.runs / "0001-1"
    paths = {
        "val": setup.task.prepared.val_folder / "tokens.bin", "test": setup.task.prepared.test_folder / "tokens.bin",
        "slice": setup.task.prepared.slice_folder / "tokens.bin",
        "train early": setup.task.prepared.train_folder / "tokens.bin", "ledger": study.events, "other run": other / "checkpoint",
        "git": study.folder / ".git" / "HEAD", "own text": folder / "train.py", "checkpoint": folder / "checkpoint",
    }  # fmt: skip
    text = probing(study, setup, paths)
    inside = experiment.execute(replace(setup, sandbox=level), text, 1, folder)
    assert inside.ok, inside
    found = answers(folder)
    for name in ("val", "test", "slice", "train early", "ledger", "other run", "git"):
        for phase in ("train", "score"):
            assert found[f"{phase} reads {name}"] == "refused" and found[f"{phase} writes {name}"] == "refused", (phase, name)
    assert found["train reads own text"] == "got" and found["train writes own text"] == "refused"
    assert found["score reads checkpoint"] == "refused", "it is lent once the model is built, under another name"
    assert found["score writes checkpoint"] == "refused"
    assert found["score writes own text"] == "refused" and found["train makes a file"] == "got"
    assert not (folder / "work").exists() and not (folder / "own").exists(), "what it wrote is gone"

    outside = experiment.execute(setup, text, 1, tmp_path / "outside")
    assert outside.val_bpb == inside.val_bpb
    assert answers(tmp_path / "outside")["train reads val"] == "got", "without a sandbox the same code reads it"


@pytest.mark.slow
@needs_level_2
def test_nothing_learned_is_carried_over(made, tmp_path):
    """What is written once the tokens are there is gone; what was compiled before that is not."""
    study, setup = made
    setup = replace(setup, sandbox=2)
    train_py = studies.text_of(study)
    cache = "import os\nPLACE = os.environ['AUTORESEARCH_COMPILE_CACHE']\n"
    early = cache + "if __name__ == '__main__': os.path.exists(PLACE + '/early') or open(PLACE + '/early', 'w').write('x')\n"
    first_step = "        if step == 0:\n"
    late = first_step + "            open(PLACE + '/late', 'w').write('learned'); open('late', 'w').write('learned')\n"
    assert first_step in train_py
    looks = cache + "print('SEES', sorted(os.listdir(PLACE)), sorted(os.listdir('.')), flush=True)\n"
    text = looks + early + train_py.replace(first_step, late, 1)
    for name, seen in (("a", []), ("b", ["early"])):
        assert experiment.execute(setup, text, 1, tmp_path / name).ok
        assert f"SEES {seen} ['compile']" in (tmp_path / name / "log.txt").read_text()


@pytest.mark.slow
@needs_level_2
def test_a_study_in_the_sandbox(made):
    study, setup = made
    outcome, _ = studies.play(study, replace(setup, sandbox=REACH.level), [studies.BETTER, studies.CRASH, studies.WORSE])
    assert outcome.exit_status == 0, outcome
    words = [one.verdict for one in studies.state_of(study).experiments]
    assert words == ["keep", "keep", "crash", "discard"]
    assert {event["sandbox"] for event in read(study.events) if event["event"] == "begin"} == {REACH.level}
    studies.check_in_line(study)


@needs_level_2
@pytest.mark.parametrize("level", [0, *LEVELS])
def test_a_daemon_ends_with_the_run(made, tmp_path, level):
    study, setup = made
    beat = "import os, subprocess, sys\n"
    beat += "code = 'import os, time\\nif os.fork(): os._exit(0)\\nos.setsid()\\nif os.fork(): os._exit(0)\\n'\n"
    beat += "code += 'os.write(2, b\"alive\\\\n\"); time.sleep(60)'\n"
    beat += f"if __name__ == '__main__': subprocess.run([sys.executable, '-S', '-c', code, {str(tmp_path)!r}], check=True)\n"
    folder = tmp_path / "run"
    text = beat + studies.text_of(study)
    assert experiment.execute(replace(setup, sandbox=level), text, 1, folder).ok
    assert "alive" in (folder / "log.txt").read_text(), "there was a daemon"
    with contextlib.suppress(psutil.Error):
        assert not [one for one in psutil.process_iter() if one.status() != psutil.STATUS_ZOMBIE and str(tmp_path) in one.cmdline()]


@pytest.mark.slow
@needs_level_2
@pytest.mark.parametrize("level", [0, *LEVELS])
def test_a_killed_harness_leaves_nothing_running(tmp_path, level):
    """Also what takes no notice of its closed line."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom autoresearch.child import Worker\n"
        "from autoresearch.border.messages import Protocol\nfrom autoresearch.sandbox import policy, workdir\n"
        f"folder = Path({str(tmp_path)!r})\nwork = workdir.make(folder / 'work')\n"
        f"cell = policy.cell({level}, work, [folder / 'm'])\n"
        "variables = {'PYTHONPATH': str(folder / 'm') + ':' + sys.argv[1]}\n"
        "Worker({'type': 'x'}, folder, Protocol('starting', {}), 'sleeper', variables, cell=cell)\n"
        "time.sleep(60)"
    )
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "sleeper.py").write_text(
        "import os, subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "print('started', file=sys.stderr, flush=True)\ntime.sleep(60)\n"
    )
    root = str(Path(policy.PACKAGE).parent)
    harness = subprocess.Popen([sys.executable, "-c", code, root], env=os.environ | {"PYTHONPATH": root})
    log = tmp_path / "log.txt"
    wait_for(lambda: log.exists() and "started" in log.read_text())
    family = psutil.Process(harness.pid).children(recursive=True)
    assert len(family) >= 3
    harness.send_signal(signal.SIGKILL)
    harness.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


@needs_level_2
def test_a_cell_that_cannot_be_entered_runs_nothing(made, tmp_path):
    _, setup = made
    (tmp_path / "train.py").write_text("print('ran')")
    cell = policy.cell(2, workdir.make(tmp_path / "work"), [tmp_path / "train.py"])
    broken = replace(cell, reads=(*cell.reads, str(tmp_path / "is not there")))
    job = experiment.job_for(setup, tmp_path) | {"type": "train"}
    refusal = r"the sandbox could not be entered .*No such file.*doctor"
    with Worker(job, tmp_path, messages.training(1.0), cell=broken) as worker, pytest.raises(EnvironmentFailure, match=refusal):
        worker.wait("ready", 20, "late")
    assert "ran" not in (tmp_path / "log.txt").read_text()


def test_a_night_is_refused_below_level_2(typed, tmp_path, monkeypatch):
    monkeypatch.setattr(levels, "reach", lambda: levels.Reach(1, "x", ("this kernel has no Landlock",), True))
    status, out, err = typed("run", "--workspace", str(tmp_path / "study"), "--backend", "null", "--agent", "search")
    assert status == 2 and out == "" and err.count("\n") == 1 and not (tmp_path / "study").exists()
    assert "level 1" in err and "--sandbox none" in err


def test_what_is_in_a_study_is_run_below_level_2_only_where_that_is_asked_for(made, typed, monkeypatch):
    study, setup = made
    studies.play(study, setup, [])
    monkeypatch.setattr(levels, "reach", lambda: levels.Reach(1, "x", ("this kernel has no Landlock",), True))
    for words in (["train"], ["try", "-m", "x"], ["sample"], ["replay", "0"], ["noise"]):
        status, _, err = typed(*words, "--workspace", str(study.folder))
        assert status == 2 and "level 1 here, and agents' code wants 2" in err and err.count("\n") == 1, words
    assert typed("replay", "0", "--sandbox", "none", "--workspace", str(study.folder))[0] in (0, 1)


@pytest.mark.slow
def test_show_and_results_say_the_level(made, typed):
    study, setup = made
    studies.play(study, setup, [])
    status, out, _ = typed("show", "0", "--workspace", str(study.folder))
    assert status == 0 and "sandbox level 0" in out
    assert json.loads(typed("show", "0", "--json", "--workspace", str(study.folder))[1])["runs"][0]["sandbox"] == 0


SHARING = """
import json, multiprocessing, os, resource, sys
def child(queue): queue.put(7)
os.dup2(2, 1)
queue = multiprocessing.get_context("fork").Queue()
multiprocessing.get_context("fork").Process(target=child, args=(queue,)).start()
print("GOT", queue.get(timeout=20), sorted(os.listdir("/dev/shm")), flush=True)
try:
    open("long", "wb").truncate(1001)
except OSError as error:
    print(error.strerror)
print(resource.getrlimit(resource.RLIMIT_CORE), os.path.exists(sys.argv[0]), [os.path.exists(path) for path in %r])
"""


@pytest.mark.skipif(REACH.level < 3, reason=f"no level 3 here: {REACH.reasons}")
def test_a_root_of_its_own_has_shared_memory_and_not_the_rest(tmp_path):
    """Processes that share a queue work; other runs are not there at all; a file can't be longer than the cell says."""
    (tmp_path / "m").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "m" / "sharing.py").write_text(SHARING % [str(tmp_path / "secret"), str(tmp_path / "log.txt"), "/etc/passwd"])
    cell = policy.cell(3, workdir.make(tmp_path / "work"), [tmp_path / "m"], file_bytes=1000)
    path = os.pathsep.join([str(tmp_path / "m"), str(policy.PACKAGE.parent)])
    with Worker({}, tmp_path, messages.Protocol("starting", {}), "sharing", {"PYTHONPATH": path}, cell=cell) as worker:
        worker.process.wait(timeout=30)
    said = (tmp_path / "log.txt").read_text()
    assert "GOT 7" in said and "File too large" in said and "(0, 0) True [False, False, False]" in said, said


LISTENING = """
import os, socket
os.dup2(2, 1)
def tried(name, what):
    try:
        what()
    except OSError as error:
        print(name, error.strerror, flush=True)
    else:
        print(name, "done", flush=True)
one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
tried("file", lambda: one.bind("name"))
tried("bind", lambda: one.bind("\\0cuda-uvmfd-1-2"))
tried("listen", lambda: one.listen(1))
tried("accept", one.accept)
tried("connect", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect("\\0cuda-uvmfd-1-2"))
tried("network", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
"""


@pytest.mark.parametrize("level", [2, 3])
def test_a_cell_with_devices_may_listen_as_libcuda_does_and_be_reached_by_nobody(tmp_path, level):
    if level > REACH.level:
        pytest.skip(f"no level {level} here: {REACH.reasons}")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "listening.py").write_text(LISTENING)
    needs = policy.Needs(devices=("/dev/null",))
    cell = policy.cell(level, workdir.make(tmp_path / "work"), [tmp_path / "m"], needs=needs)
    path = os.pathsep.join([str(tmp_path / "m"), str(policy.PACKAGE.parent)])
    with Worker({}, tmp_path, messages.Protocol("starting", {}), "listening", {"PYTHONPATH": path}, cell=cell) as worker:
        worker.process.wait(timeout=30)
    said = dict(line.split(" ", 1) for line in (tmp_path / "log.txt").read_text().splitlines())
    refused = "Operation not permitted"
    expected = {"bind": "done", "listen": "done", "accept": refused, "connect": refused, "network": refused}
    assert said == expected | {"file": "Permission denied"}, said


def may_fail_outside(name: str) -> bool:
    """Without a sandbox too, here: by its nature, or for want of what it says that it needs."""
    one = ALL[name]
    return one.ends_with_cell or not one.is_harmless or one.needs is not None


@pytest.mark.slow
@needs_level_2
def test_every_attempt_is_real():
    found = trial.run(0)
    assert len(found) >= 130
    closed = [one.name for one in found if not one.is_open and not may_fail_outside(one.name)]
    assert closed == [], [one for one in found if one.name in closed]
    if os.geteuid() == 0:
        needing_root = [one.name for one in found if ALL[one.name].needs == "root" and not one.is_open]
        assert len(needing_root) <= 3, needing_root


# Open, and said to be: docs/trust.md.
OPEN = {2: {"standard_library", "metadata", "access_time", "log_length"}, 3: {"standard_library"}}


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(REACH.level < 3, reason="doctor tries the highest level")
def test_what_level_2_promises_it_keeps():
    found = trial.run(2)
    assert [one for one in found if one.is_broken] == []
    assert {one.name for one in found if one.is_open} <= OPEN[2]


@pytest.mark.slow
@needs_level_2
def test_doctor_attack(typed, monkeypatch):
    status, out, _ = typed("doctor", "--attack", "--json")
    table = json.loads(out)
    assert status == 0 and table["level"] == REACH.level and len(table["attempts"]) == len(ALL) >= 130 and table["known"]
    assert [one for one in table["attempts"] if one["open"] and one["promised_closed"]] == []
    assert {one["name"] for one in table["attempts"] if one["open"]} <= OPEN[REACH.level]
    monkeypatch.setattr(levels, "choose", lambda option, **_: 2)
    monkeypatch.setattr(trial, "run", lambda level: [trial.Result("x", "a way out", True, "it went", True)])
    status, out, _ = typed("doctor", "--attack")
    assert status == 1 and "BROKEN: a way out" in out and "SECURITY.md" in out

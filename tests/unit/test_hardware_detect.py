"""A probe is a real child process, and whatever it does becomes facts or a reason."""

import json
import time

import psutil
import pytest

from autoresearch.errors import EnvironmentFailure, UsageError
from autoresearch.hardware.devices import detect
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.devices.registry import Backend


def backend(folder, code, name="probed", **more):
    folder.mkdir(exist_ok=True)
    (folder / "runtime.py").write_text(code, encoding="utf-8")
    return Backend(name, name, folder, folder / "train.py", **more)


def test_the_last_line_is_the_answer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helper.py").write_text("MEMORY = 'that of a file where the user stands'", encoding="utf-8")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "helper.py").write_text("MEMORY = 8 * 2**30", encoding="utf-8")
    code = "\n".join(
        [
            "import helper, json, sys",
            "assert sys.argv[1:] == ['--probe']",
            "print('a driver says hello')",
            "print(json.dumps({'ok': True, 'device': 'Gerät', 'memory_bytes': helper.MEMORY, 'capability': [8, 9]}))",
        ]
    )
    one = backend(tmp_path / "own", code)
    facts = detect.probe(Backend("own", "own", one.folder, tmp_path / "shared" / "train.py"))
    assert facts == Facts(ok=True, device="Gerät", memory_bytes=8 * 2**30, capability=(8, 9))
    assert facts.memory_gb == 8
    assert Facts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts
    assert not list(tmp_path.rglob("__pycache__"))  # a shipped folder stays as it was


def say(**facts):
    return f"print({json.dumps(facts)!r})"


@pytest.mark.parametrize(
    "code, words",
    [
        ("raise RuntimeError('driver too old')", "ended with status 1: RuntimeError: driver too old"),
        ("import os; os._exit(3)", "ended with status 3"),
        ("print('hello')", "unusable: not JSON: 'hello'"),
        ("", "printed nothing"),
        ("print('[1]')", "the facts must be a table"),
        (say(ok=True), "'device' is missing"),
        (say(ok=False), "'reason' is missing"),
        (say(device="x"), "'ok' is missing"),
        (say(ok=True, device="x", memory_bytes="8 GB"), "memory_bytes must be a whole number"),
        (say(ok=True, device="x", capability=[8]), "capability must be [major, minor]"),
        (say(ok=True, device="x", peak_flops=0), "peak_flops must be a number above 0"),
        (say(ok=True, device="x", memory_byte=1), "unknown key 'memory_byte'; did you mean memory_bytes?"),
    ],
)
def test_anything_else_is_a_reason(tmp_path, code, words):
    facts = detect.probe(backend(tmp_path / "bad", code))
    assert not facts.ok
    assert words in facts.reason
    assert "\n" not in facts.reason + facts.cure and facts.cure.endswith("report it with what `autoresearch doctor` says")


def test_a_probe_sees_the_users_settings_and_no_keys(tmp_path, monkeypatch):
    for name in ("ANTHROPIC_API_KEY", "MY_token", "XLA_SETTING"):
        monkeypatch.setenv(name, "x")
    code = "import os; raise RuntimeError(sorted(name for name, value in os.environ.items() if value == 'x'))"
    assert detect.probe(backend(tmp_path / "looks", code)).reason.endswith("RuntimeError: ['XLA_SETTING']")


@pytest.mark.slow
def test_a_probe_that_hangs_is_stopped_with_its_children(tmp_path):
    code = "\n".join(
        [
            "import pathlib, subprocess, sys, time",
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])",
            f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))",
            "time.sleep(600)",
        ]
    )
    one = backend(tmp_path / "hangs", code)
    limit_seconds = 2
    facts = detect.probe(one, timeout_seconds=limit_seconds)
    assert facts.reason == "its probe did not answer within 2 s and was stopped"
    grandchild = int((tmp_path / "pid").read_text())
    for _ in range(100):  # the system may take a moment to bury it
        if not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.05)
    else:
        pytest.fail("the probe's child is alive")


def test_a_missing_requirement_is_named_with_its_cure_and_nothing_is_started(tmp_path):
    install = "pip install no-such-framework"
    one = backend(tmp_path / "b", "raise SystemExit(9)", requires=("no_such_framework",), install=install)
    assert detect.probe(one) == Facts(ok=False, reason="the package no_such_framework is not installed", cure=install)


def test_a_users_error_is_a_reason_and_a_cure_wherever_the_probe_raises_it(tmp_path):
    code = "from autoresearch.errors import UsageError\nraise UsageError('NPU_CARDS is two', 'set it to a number')"
    facts = detect.probe(backend(tmp_path / "npu", code, "npu"))
    assert facts == Facts(ok=False, reason="NPU_CARDS is two", cure="set it to a number", wrong_input=True)
    with pytest.raises(UsageError, match=r"^the backend npu does not work here: NPU_CARDS is two; to do: set it to a number$"):
        detect.choose_backend("npu", {"npu": made("npu", 1)}, {"npu": facts})


def test_all_are_asked_and_one_fault_stays_alone(tmp_path):
    backends = {
        "good": backend(tmp_path / "good", say(ok=True, device="x"), "good"),
        "bad": backend(tmp_path / "bad", "1 / 0", "bad"),
        "broken": Backend("broken", "broken", tmp_path, tmp_path, problem="backend.toml: no title"),
    }
    _, facts = detect.survey(backends)
    assert [facts[name].ok for name in backends] == [True, False, False]
    assert facts["broken"].reason == "backend.toml: no title"


def made(name, rank, auto=True):
    return Backend(name, name, folder=None, train_py=None, rank=rank, auto=auto)


BACKENDS = {one.name: one for one in (made("gpu", 100), made("cpu", 10), made("null", 0, auto=False))}
WORKS = Facts(ok=True, device="x")
FAILS = Facts(ok=False, reason="no driver", cure="install the driver")


def test_auto_takes_the_highest_rank_that_works_and_says_why_not_the_others():
    choice = detect.choose_backend("auto", BACKENDS, {"gpu": WORKS, "cpu": WORKS, "null": WORKS})
    assert choice.backend.name == "gpu"
    assert choice.others == [
        ("cpu", "works; rank 10 is below gpu's 100"),
        ("null", "works, but is only taken when asked for by name"),
    ]
    choice = detect.choose_backend("auto", BACKENDS, {"gpu": FAILS, "cpu": WORKS, "null": WORKS})
    assert choice.backend.name == "cpu"
    assert choice.others[0] == ("gpu", "no driver; to do: install the driver")


def test_by_name():
    facts = {"gpu": FAILS, "cpu": WORKS, "null": WORKS}
    assert detect.choose_backend("null", BACKENDS, facts).backend.name == "null"
    with pytest.raises(UsageError, match=r"no backend 'cpuu'; did you mean cpu\? \(there are: gpu, cpu, null\)"):
        detect.choose_backend("cpuu", BACKENDS, facts)
    with pytest.raises(UsageError, match="the backend gpu does not work here: no driver; to do: install the driver"):
        detect.choose_backend("gpu", BACKENDS, facts)


def test_nothing_works():
    with pytest.raises(EnvironmentFailure, match=r"no backend works on this machine \(gpu: no driver.*install the driver"):
        detect.choose_backend("auto", BACKENDS, {"gpu": FAILS, "cpu": FAILS, "null": WORKS})

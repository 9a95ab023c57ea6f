"""What a cell holds, its environment, and the folder that it writes in; as data, and with real files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearch import child
from autoresearch.border import messages
from autoresearch.child import OurOwn, Worker
from autoresearch.errors import RunFailed, UsageError
from autoresearch.hardware.devices import registry
from autoresearch.paths import PACKAGE
from autoresearch.sandbox import bubblewrap, levels, policy, workdir
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


@pytest.mark.parametrize(
    "variables",
    [
        {}, {"XDG_CACHE_HOME": "/x/cache"}, {"HF_HOME": "~/hf", "XDG_CACHE_HOME": "/x/cache"},
        {"HUGGINGFACE_HUB_CACHE": "/x/old", "HF_HOME": "/x/hf"}, {"HF_HUB_CACHE": "$HOME/hub", "HF_HOME": "/x/hf"},
    ],
)  # fmt: skip
def test_cells_read_the_hubs_cache_where_its_client_keeps_it(study, variables, monkeypatch):
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    code = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert str(policy.hub_cache()) == found
    cells = (None, policy.cell(2, workdir.make(study / "work"), []))
    assert [child._environment(cell, study)["HF_HUB_CACHE"] for cell in cells] == [found, found]


def test_a_cell_names_what_it_needs_and_nothing_around_it(study):
    cell = policy.cell(2, workdir.make(study / "work"), [study / "train.py"])
    for needed in (os.__file__, sys.executable, PACKAGE / "measure" / "run.py", study / "train.py", study / "work" / "x"):
        assert covers(cell.reads, needed), needed
    beside = (study / "log.txt", study.parent / "0000-1", study.parents[1], PACKAGE.parent / "tests")
    for hidden in (Path.home(), *beside, "/etc/passwd"):
        assert not covers(cell.reads, hidden), hidden
    assert [path for path in cell.writes if not path.startswith(("/dev", "/proc"))] == [str((study / "work").resolve())]


def test_a_cell_survives_its_way_to_the_worker(study):
    cell = policy.cell(3, workdir.make(study / "work"), [study / "train.py"], needs=Needs(devices=("/dev/nul*",)))
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
    found = policy.environment(policy.cell(2, workdir.make(study / "work"), []))
    assert "secret" not in found.values() and found["AUTORESEARCH_DTYPE"] == "float32"
    assert found["HOME"] == found["TMPDIR"] == str((study / "work").resolve())
    assert str(study) not in found["PATH"].split(os.pathsep)


def test_a_cell_has_what_its_layers_hold_and_the_oldest_layers_go(study, monkeypatch):
    base, own = workdir.layer("baseline"), workdir.layer("own text")
    for layer, name in ((base, "a/old"), (base, "a/x.lock"), (own, "a/old"), (own, "a/new")):
        (layer / name).parent.mkdir(parents=True, exist_ok=True)
        (layer / name).write_text(layer.name)
    work = workdir.make(study / "work", [base, own, workdir.layer("not there")])
    found = {path.relative_to(work / workdir.COMPILED).as_posix(): path.read_text() for path in work.rglob("*") if path.is_file()}
    assert found == {"a/old": base.name, "a/new": own.name}
    (work / workdir.COMPILED / "kernel").write_text("compiled")
    monkeypatch.setattr(workdir, "LAYERS", 2)
    os.utime(base, (1, 1))
    workdir.harvest(work, "a third text")
    assert (workdir.layer("a third text") / "kernel").read_text() == "compiled" and own.exists() and not base.exists()
    assert workdir.layer("x") == workdir.layer("x") != workdir.layer("y") and workdir.own_layer("ours").exists()


COMPILES = """
import json, os, sys, time
from pathlib import Path
job, place = json.loads(sys.stdin.readline()), Path(os.environ["AUTORESEARCH_COMPILE_CACHE"])
seen = sorted(path.name for path in place.iterdir())
(place / job["library"]).write_text("half of it" if job["hangs"] else "whole")
print(json.dumps({"type": "linked", "seen": seen}), flush=True)
time.sleep(600)
"""


def test_what_is_ended_while_it_compiles_leaves_no_half_library_to_others(study, tmp_path):
    (tmp_path / "compiles.py").write_text(COMPILES)
    linked = messages.Kind({"starting": messages.ENDED}, {"seen": messages.many(messages.text(100), 10)})
    protocol = messages.Protocol("starting", {"linked": linked})

    def compiled(library: str, hangs: bool) -> list[str]:
        variables = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])}
        with Worker({"library": library, "hangs": hangs}, tmp_path, protocol, "compiles", variables, cell=OurOwn("ours")) as worker:
            seen = worker.wait("linked", 60, "late")["seen"]
            if hangs:
                raise RunFailed("timeout", "was not warm in time")
        return seen

    with pytest.raises(RunFailed, match="not warm"):
        compiled("kernel.so", hangs=True)
    assert compiled("kernel.so", hangs=False) == []
    (workdir.own_layer("ours") / "emptied by a power cut.so").touch()
    assert compiled("other.so", hangs=False) == ["kernel.so"]
    assert {path.name: path.read_text() for path in workdir.own_layer("ours").iterdir()} == {
        "kernel.so": "whole",
        "other.so": "whole",
    }
    assert not list(tmp_path.glob("compile-*"))


def test_what_the_harness_compiled_is_each_backends_own_and_the_oldest_of_it_goes(study, tmp_path, monkeypatch):
    monkeypatch.setattr(workdir, "OWN_FILES", 2)
    for age, name in enumerate(("old/oldest.so", "graphs/older.so", "graphs/other.so", "new.so")):
        borrowed = workdir.borrow(tmp_path, "ours")
        (borrowed / name).parent.mkdir(exist_ok=True)
        (borrowed / name).write_text("code")
        (borrowed / "new.so.lock").write_text("held")
        workdir.give_back(borrowed, "ours", is_whole=True)
        os.utime(workdir.own_layer("ours") / name, (1e9 + age, 1e9 + age))
    kept = sorted(path.relative_to(workdir.own_layer("ours")).as_posix() for path in workdir.own_layer("ours").rglob("*"))
    assert kept == ["graphs", "graphs/other.so", "new.so"], "no lock, no empty folder"
    assert list(workdir.borrow(tmp_path, "another").iterdir()) == []


def test_a_poisoned_layer_harms_its_own_text_only(study):
    poisoned, good = workdir.layer("poisoned"), workdir.layer("good")
    for layer in (poisoned, good):
        layer.mkdir(parents=True)
    (poisoned / "a").write_text("a file where others have a folder")
    (good / "a").mkdir()
    (good / "a" / "kernel").write_text("compiled")
    work = workdir.make(study / "work", [good, poisoned])
    assert (work / workdir.COMPILED / "a" / "kernel").read_text() == "compiled"


def test_a_file_is_lent_not_copied(study, tmp_path):
    (tmp_path / "checkpoint").write_bytes(b"1234")
    work = workdir.make(study / "work")
    lent = workdir.lend(tmp_path / "checkpoint", work)
    assert lent.read_bytes() == b"1234" and lent.parent == workdir.lent(work)
    if os.name == "posix":
        assert lent.stat().st_ino == (tmp_path / "checkpoint").stat().st_ino
    workdir.remove(work)
    assert (tmp_path / "checkpoint").exists()


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


def test_what_an_agent_may_have_written_wants_level_2(monkeypatch):
    monkeypatch.setattr(levels, "reach", lambda: levels.Reach(0, "none", ("this kernel has no Landlock",), True))
    assert levels.choose("none") == 0 and levels.choose("auto", is_shipped=True) == 0
    with pytest.raises(UsageError, match=r"level 0 here, and agents' code wants 2 .*no Landlock.*`--sandbox none`"):
        levels.choose("auto")
    monkeypatch.setattr(levels, "reach", lambda: levels.Reach(2, "x", ("y",), True))
    assert levels.choose("auto") == 2


def words_after(words: list[str], option: str) -> list[str]:
    return [words[at + 1] for at, word in enumerate(words) if word == option]


def test_bubblewrap_makes_a_root_of_what_the_cell_names(study):
    cell = policy.cell(3, workdir.make(study / "work"), [study / "train.py"])
    words = bubblewrap.prefix(cell)
    assert words[-1] == "--" and {"--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent"} <= set(words)
    assert words_after(words, "--bind") == [cell.work] and "--clearenv" not in words
    shown = words_after(words, "--ro-bind")
    assert str((study / "train.py").resolve()) in shown and covers(shown, os.__file__)
    for hidden in ("/", "/etc/passwd", "/tmp", str(study), str(Path.home()), "/proc", "/dev", "/sys/devices/virtual"):
        assert not covers([*shown, cell.work], hidden), hidden
    assert not [path for path in shown if path.startswith(("/proc", "/dev"))], "these are new"
    assert words.index("--proc") < words.index("--bind") and words[words.index("--tmpfs") + 1] == "/dev/shm"


def test_bubblewrap_mounts_what_lies_in_another_folder_after_it(tmp_path):
    for name in ("a/b/c", "a/d"):
        (tmp_path / name).mkdir(parents=True)
    a, b, c, d, gone = (str(tmp_path / name) for name in ("a", "a/b", "a/b/c", "a/d", "gone"))
    cell = Cell(3, b, reads=(c, a, d), writes=(b, "/dev/null", "/dev/shm"), devices=("/dev/null",), names=(gone,))
    words = bubblewrap.root(cell)
    mounts = [(word, words[at + 1]) for at, word in enumerate(words) if word in ("--bind", "--ro-bind", "--dev-bind")]
    assert mounts == [("--ro-bind", a), ("--bind", b), ("--dev-bind", "/dev/null")]


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_links_on_the_way_are_made_anew(tmp_path):
    real = tmp_path.resolve() / "disk" / "venv"
    (real / "bin").mkdir(parents=True)
    (real / "bin" / "python").symlink_to("python3")
    (real / "bin" / "python3").write_text("")
    (tmp_path / "home").symlink_to("disk")
    (tmp_path / "env").symlink_to(tmp_path.resolve() / "home" / "venv")
    (tmp_path / "round").symlink_to("round")
    name = tmp_path.resolve() / "env" / "bin" / "python"
    top = tmp_path.resolve()
    assert bubblewrap.links([str(name), str(name), str(top / "round")]) == [
        (f"{top}/env", f"{top}/home/venv"), (f"{top}/home", "disk"), (f"{real}/bin/python", "python3"), (f"{top}/round", "round"),
    ]  # fmt: skip
    words = bubblewrap.root(Cell(3, str(top), reads=(str(real),), names=(str(name),)))
    assert words_after(words, "--symlink") == [f"{top}/home/venv", "disk"], "what lies in a mounted folder is there"


def test_only_a_cell_with_devices_has_what_drivers_need(study):
    plain = policy.cell(2, workdir.make(study / "work"), [])
    driver = policy.cell(2, workdir.make(study / "work"), [], needs=Needs(devices=("/dev/null",)))
    for path in ("/proc/stat", "/sys/class", "/sys/devices"):
        assert path not in plain.reads and (path in driver.reads or not os.path.exists(path))
    assert "/proc/self/task" not in plain.writes and not {"/proc/loadavg", "/sys/fs/cgroup"} & {*plain.reads, *driver.reads}


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/shm")
def test_shared_memory_is_open_where_it_is_the_workers_own(study):
    assert "/dev/shm" in policy.cell(3, workdir.make(study / "work"), []).writes
    assert "/dev/shm" not in policy.cell(2, workdir.make(study / "work"), []).writes


def test_what_must_stay_hidden_does_not_lie_in_sight(study, tmp_path, monkeypatch):
    work = workdir.make(study / "work")
    (tmp_path / "environment" / "corpus").mkdir(parents=True)
    (tmp_path / "backend").mkdir()
    (tmp_path / "corpus").symlink_to(tmp_path / "environment" / "corpus")
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "environment"))
    policy.cell(2, work, [tmp_path / "backend"], hidden=[tmp_path / "texts", study.parents[1] / "cache"])
    for place in (tmp_path / "corpus", tmp_path / "backend" / "text.txt", tmp_path / "environment"):
        with pytest.raises(UsageError, match=r"lies in .*, which every training may read; put it elsewhere"):
            policy.cell(2, work, [tmp_path / "backend"], hidden=[place])
        policy.cell(0, work, [tmp_path / "backend"], hidden=[place])
    with pytest.raises(UsageError, match=r"holds .*environment, which every training may read; move one of them"):
        policy.cell(2, work, [], hidden=[tmp_path])


def test_what_triton_has_compiled_is_found_by_a_later_run(tmp_path, monkeypatch):
    """Its lists name each file with its folder, and that of the first run is gone: nothing was ever found again."""
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    first = workdir.make(tmp_path / "runs" / "1")
    place = Path(workdir.COMPILED, "inductor", "triton", "0", "KEY")
    (first / place).mkdir(parents=True)
    (first / place / "add.cubin").write_bytes(b"machine code")
    names = {"child_paths": {"add.cubin": str(first / place / "add.cubin")}}
    (first / place / "__grp__add.json").write_text(json.dumps(names))
    workdir.harvest(first, "train.py")
    workdir.remove(first)

    odd = workdir.make(tmp_path / 'My "Projects"' / "2", [workdir.layer("train.py")])
    found = json.loads((odd / place / "__grp__add.json").read_text())["child_paths"]
    assert found == {"add.cubin": str(odd / place / "add.cubin")}
    assert Path(found["add.cubin"]).read_bytes() == b"machine code"


@pytest.mark.parametrize("text", [b"", b"{", b'"/', b'"' * 70_000, b"/" * 70_000, bytes(range(256)) * 300])
def test_a_list_of_tritons_that_is_none_is_copied_in_part_and_harms_nothing(text, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    layer = workdir.layer("train.py")
    layer.mkdir(parents=True)
    (layer / "__grp__x.json").write_bytes(text)
    work = workdir.make(tmp_path / "work", [layer])
    copied = work / workdir.COMPILED / "__grp__x.json"
    assert not copied.exists() or copied.stat().st_size <= 4 * workdir.GROUP_BYTES


def test_lists_of_tritons_do_not_grow_into_gigabytes(tmp_path, monkeypatch):
    """64 KB of `"/a"` became 260 MB in a folder with a long name, written by the harness."""
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    layer = workdir.layer("train.py")
    layer.mkdir(parents=True)
    for number in range(20):
        (layer / f"__grp__{number}.json").write_bytes(b'"/a"' * 10_000)
    (layer / "__grp__fine.json").write_bytes(b'{"child_paths":{"a":"/x/a"}}')
    work = workdir.make(tmp_path / ("long " * 40) / "work", [layer])
    copied = [path for path in (work / workdir.COMPILED).iterdir()]
    assert [path.name for path in copied] == ["__grp__fine.json"]
    monkeypatch.setattr(workdir, "GROUPS_BYTES", 100)
    assert list((workdir.make(tmp_path / "work", [layer]) / workdir.COMPILED).iterdir()) == []

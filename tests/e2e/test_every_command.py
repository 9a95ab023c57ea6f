"""Every command, with what people and disks really hand it: one line that says what to do, and never a traceback."""

import json
import shutil
import stat
from pathlib import Path

import click
import pytest
import studies
from studies import BETTER, play

from autoresearch.cli import COMMANDS, cli
from autoresearch.errors import EnvironmentFailure
from autoresearch.hardware.devices import detect
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.planner import plan

STATUSES = {0, 1, 2, 3}
VALUES = (
    "",
    " ",
    "-1",
    "0",
    "nan",
    "inf",
    "1e309",
    "10" * 20,
    "\0",
    "a" * 5000,
    "../..",
    "\ud800",
    "ünï'\"$(x) \n",
    "/dev/null",
    "*",
)


def leaves(group: click.Group, words: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    for name in group.list_commands(click.Context(group)):
        one = group.get_command(click.Context(group), name)
        found.append(((*words, name), one))
        if isinstance(one, click.Group):
            found += leaves(one, (*words, name))
    return found


LEAVES = leaves(cli)
CALLS = [
    (*words, *((parameter.opts[0],) if isinstance(parameter, click.Option) else ()))
    for words, one in LEAVES
    for parameter in one.params
    if not getattr(parameter, "is_flag", False)
]


def assert_told_in_a_line(status: int, out: str, complaint: str) -> None:
    """One line, where something is wrong, and it says what to do."""
    assert status in STATUSES, complaint
    assert "Traceback" not in out + complaint and "fault of autoresearch" not in complaint, complaint
    if status in (2, 3):
        lines = [line for line in complaint.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and complaint.endswith("\n"), complaint
        assert len(lines[0]) < 6000 and any(mark in lines[0] for mark in (";", "`", ": ", "(")), complaint


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No machine to be found, an empty folder, a cache and a home of its own: a call with good values ends early, too."""

    def none(*_, **__):
        raise EnvironmentFailure("no backend works on this machine; `autoresearch doctor` says more")

    nothing = Facts(ok=False, reason="nothing is there")
    monkeypatch.setattr(plan, "make", none)
    monkeypatch.setattr(plan, "from_choice", none)
    monkeypatch.setattr(detect, "detect", none)
    monkeypatch.setattr(detect, "survey", lambda backends, *_, **__: (backends, dict.fromkeys(backends, nothing)))
    monkeypatch.setattr(detect, "ask", none)
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_every_command_is_here():
    assert {words[0] for words, _ in LEAVES} == set(COMMANDS) and len(CALLS) > 60


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_bad_value_is_one_line(call, nowhere, typed):
    for value in VALUES:
        if "\0" in value or "\ud800" in value:  # no system hands these over; click is asked all the same
            continue
        assert_told_in_a_line(*typed(*call, value))


@pytest.mark.parametrize("words", [words for words, _ in LEAVES], ids=" ".join)
def test_words_that_are_no_option_are_one_line(words, nowhere, typed):
    for more in (("--no-such-option",), ("one", "two", "three", "four"), ("--",), ("--json=1",), ("-x",)):
        assert_told_in_a_line(*typed(*words, *more))


FOR_PROGRAMS = [words for words, one in LEAVES if "as_json" in {parameter.name for parameter in one.params}]


@pytest.mark.parametrize("words", FOR_PROGRAMS, ids=" ".join)
def test_an_error_is_an_object_where_a_program_asks(words, nowhere, typed):
    """What is wrong with the call, and what is wrong here: no study, no machine, an argument that is missing."""
    status, out, complaint = typed(*words, "--json", "--no-such-option")
    told = json.loads(out)
    assert (status, told["event"], told["exit_status"], complaint) == (2, "error", 2, "")
    assert "there is no option --no-such-option" in told["message"]
    status, out, complaint = typed(*words, "--json")
    assert "error: " not in complaint
    if status:
        told = json.loads(out)
        assert told.get("event") != "error" or (told["exit_status"] == status and len(told["message"]) > 20)


# Files and folders of a study, as disks, editors and people leave them.


def emptied(path: Path) -> None:
    gone(path)
    path.touch()


def gone(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def a_folder(path: Path) -> None:
    gone(path)
    path.mkdir()


def binary(path: Path) -> None:
    gone(path)
    path.write_bytes(bytes(range(256)) * 40)


def nested(path: Path) -> None:
    gone(path)
    path.write_bytes(b"[" * 100_000)


def a_loop(path: Path) -> None:
    gone(path)
    path.symlink_to(path)


def unreadable(path: Path) -> None:
    path.chmod(0)  # root reads it all the same: there the case is a study that is whole


NAMES = (
    "study.toml", "train.py", "program.md", "results.tsv", "progress.png", ".autoresearch/events.jsonl", ".autoresearch/lock",
    ".autoresearch/runs", ".autoresearch", ".git", ".git/HEAD", ".git/index", ".git/config", ".git/refs", ".git/objects",
)  # fmt: skip
HARM = (emptied, gone, a_folder, binary, nested, a_loop, unreadable)
# The plain run: each name with two kinds of harm, each kind with four names or more.
HARMED = [
    pytest.param(harm, name, id=f"{harm.__name__}-{name}", marks=() if (k + n) % len(HARM) in (0, 3) else pytest.mark.thorough)
    for k, harm in enumerate(HARM)
    for n, name in enumerate(NAMES)
]
READING = (
    ("status",), ("results",), ("show", "0"), ("show", "1"), ("best",), ("best", "--output", "out.py"), ("report",),
    ("repair",), ("watch", "--once"),
)  # fmt: skip
WRITING = (("train", "--sandbox", "none"), ("try", "-m", "x", "--sandbox", "none"), ("noise", "--sandbox", "none", "--runs", "2"))
RUN = ("run", "--sandbox", "none", "--experiments", "0", "--agent", "search", "--plain")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("whole") / "study"
    study, setup = studies.make(folder, corpus)
    play(study, setup, [BETTER], pictures=True)
    return folder


@pytest.fixture
def copy(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "study"
    shutil.copytree(whole, folder, symlinks=True)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink() and not stat.S_IMODE(path.lstat().st_mode):
            path.chmod(0o700)


@pytest.mark.slow
@pytest.mark.parametrize(("harm", "name"), HARMED)
def test_a_harmed_study_is_told_in_a_line(name, harm, copy, typed):
    harm(copy / name)
    for words in READING:
        assert_told_in_a_line(*typed(*words, "--workspace", str(copy)))
    assert_told_in_a_line(*typed(*RUN, "--workspace", str(copy)))


ENVIRONMENTS = {
    "no home": {"HOME": "/nonexistent"},
    "a cache that is a file": {"AUTORESEARCH_CACHE_DIR": "/etc/passwd/x"},
    "no search path": {"PATH": ""},
    "a search path with odd parts": {"PATH": "::/nonexistent:."},
    "no temporary folder": {"TMPDIR": "/nonexistent"},
    "an old terminal": {"TERM": "dumb", "COLUMNS": "0", "LINES": "-1", "NO_COLOR": "1"},
    "a strange locale": {"LANG": "xx_YY.nope", "LC_ALL": "C"},
    "a proxy that is none": {"ALL_PROXY": "socks5h://:0", "HTTPS_PROXY": "::", "NO_PROXY": "*"},
    "certificates that are not there": {"SSL_CERT_FILE": "/nonexistent.pem", "REQUESTS_CA_BUNDLE": "/nonexistent.pem"},
    "a wrong choice": {"AUTORESEARCH_DTYPE": "float8"},
    "a wrong number": {"AUTORESEARCH_THREADS": "many", "OMP_NUM_THREADS": "-3"},
    "git's variables": {"GIT_DIR": "/nonexistent", "GIT_INDEX_FILE": "/nonexistent", "GIT_OBJECT_DIRECTORY": "/nonexistent"},
    "a time zone that is none": {"TZ": "Nowhere/At all"},
}


@pytest.mark.slow
@pytest.mark.parametrize("variables", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_a_hostile_environment_is_told_in_a_line(variables, copy, typed, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for words in (*READING, ("cache",), ("profiles",)):
        assert_told_in_a_line(*typed(*words, *(() if words[0] in ("cache", "profiles") else ("--workspace", str(copy)))))
    assert_told_in_a_line(*typed(*RUN, "--workspace", str(copy)))


@pytest.mark.slow
def test_a_gitconfig_that_is_none_is_told_in_a_line(copy, typed, monkeypatch, tmp_path):
    (tmp_path / ".gitconfig").write_bytes(b"[core\n\xff")
    monkeypatch.setenv("HOME", str(tmp_path))
    for words in READING:
        assert_told_in_a_line(*typed(*words, "--workspace", str(copy)))
    assert_told_in_a_line(*typed(*RUN, "--workspace", str(copy)))


@pytest.mark.slow
@pytest.mark.parametrize("words", WRITING, ids=" ".join)
def test_what_writes_is_told_in_a_line_where_the_ledger_or_git_is_harmed(words, copy, typed):
    for name, harm in (
        (".git/objects", emptied),
        (".autoresearch/events.jsonl", a_folder),
        ("train.py", binary),
        ("study.toml", nested),
    ):
        harm(copy / name)
        assert_told_in_a_line(*typed(*words, "--workspace", str(copy)))

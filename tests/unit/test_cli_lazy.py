"""The command line before any work: it loads nothing heavy, and it explains every option."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

HEAVY = {"torch", "mlx", "numpy", "anthropic", "optuna", "pygit2", "matplotlib", "rich", "pyarrow", "tiktoken", "psutil"}
HEAVY |= {"huggingface_hub", "mcp"}

# In one fresh process: `--help` of everything, what each has loaded, and every command's options.
ASK_ALL = """
import contextlib, io, json, sys
import click
from autoresearch import cli

pages = {}

def visit(command, path):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.cli.main([*path, "--help"], prog_name="autoresearch", standalone_mode=False) == 0
    options = {p.opts[-1]: getattr(p, "help", None) for p in command.params if isinstance(p, click.Option)}
    loaded = sorted(name for name in sys.modules if "." not in name)
    pages[" ".join(path)] = {"text": out.getvalue(), "short": command.get_short_help_str(200), "options": options, "loaded": loaded}
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            visit(command.get_command(click.Context(command), name), [*path, name])

visit(cli.cli, [])
print(json.dumps(pages))
"""


@pytest.fixture(scope="module")
def pages() -> dict:
    return json.loads(_python("-c", ASK_ALL).stdout)


def _python(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], capture_output=True, encoding="utf-8", check=True, timeout=60)


def _autoresearch(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "autoresearch.cli", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)


def test_no_help_page_loads_anything_heavy(pages):
    for name, page in pages.items():
        assert not HEAVY.intersection(page["loaded"]), f"`autoresearch {name} --help`, or one before it"


def test_every_command_is_there_and_is_listed(pages):
    from autoresearch.cli import COMMANDS

    assert set(COMMANDS) <= set(pages)
    for name, (_, line) in COMMANDS.items():
        shown = " ".join(pages[""]["text"].split())  # a long line is wrapped
        assert f"  {name} " in pages[""]["text"] and line.split(",")[0] in shown


def test_every_command_and_every_option_is_explained(pages):
    for name, page in pages.items():
        assert page["short"].rstrip(".").count(" ") >= 2, f"`autoresearch {name}` has no sentence of help"
        for option, text in page["options"].items():
            assert text and text.count(" ") >= 2, f"`autoresearch {name}` says nothing of {option}"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["rnu"], "no command 'rnu'; did you mean run?"),
        (["statsu"], "no command 'statsu'; did you mean status?"),
        (["xyzzy"], "no command 'xyzzy'"),
        (["report", "--outptu", "a.png"], "--output"),
        (["report", "--output", "a.jpg"], "name one that ends in .png"),
        (["show"], "`autoresearch show --help`"),
        (["run", "--hours", "nan"], "takes a number above 0 and at most 100,000, not 'nan'"),
        (["init", "--train-seconds", "inf"], "a number of at least 0.05 and at most 604,800, not 'inf'"),
        (["status", "--workspace", "~nobody-of-that-name/study"], "no study in"),
        (["prepare", "--vocab-size", "300", "--corpus", 300 * "a"], "no corpus"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(typed, arguments, said):
    status, _, complaint = typed(*arguments)
    assert status == 2
    assert said in complaint
    assert complaint.startswith("error: ") and len(complaint.splitlines()) == 1


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("run --experiments 1.5", "--experiments N takes a whole number of at least 0, not '1.5'; `autoresearch run --help`"),
        (
            "run --max-params -3",
            "--max-params N|none takes a number above 0 and at most 1,000,000,000,000,000, or none, not '-3'; ",
        ),
        ("run --autotune soon", "takes a number above 0 and at most 86,400 (seconds), or off or again, not 'soon'; "),
        ("run --agent claud", "--agent takes one of auto, search, claude, openai, command, not 'claud'; did you mean claude?; "),
        ("run --experimens 1", "there is no option --experimens; did you mean --experiments?; `autoresearch run --help`"),
        ("run --hours", "--hours needs a value behind it; `autoresearch run --help` says more"),
        ("status x y", "nothing is taken beyond what is named in the help: leave out 'x y'; `autoresearch status --help`"),
        ("show", "N is missing; `autoresearch show --help` says more"),
        ("try", "--message TEXT is missing: What the edit is, in one line; `autoresearch try --help` says more"),
        ("propose nowhere.py -m x", "FILE takes a file that is there and can be read, not 'nowhere.py'; `autoresearch propose "),
        ("status --workspace README.md", "--workspace DIR takes a folder, not 'README.md'; "),
        ("status --workspace ''", "--workspace DIR takes a folder, not ''; `autoresearch status --help` says more"),
        ("init README.md", "error: DIR takes a folder, not 'README.md'; `autoresearch init --help` says more"),
        ("profiles show cpuu", "; a file of your own must end in .toml); name one"),
        ("doctor --device ''", "--device N|NAME is empty: give it a value, or leave it out; `autoresearch doctor --help`"),
        ("tell ' '", "TEXT is empty: give it a value; `autoresearch tell --help` says more"),
        ("propose README.md -m ''", "--message TEXT is empty: give it a value; `autoresearch propose --help` says more"),
        ("backends look", "no such command 'look'; `autoresearch backends --help` says more"),
    ],
)
def test_a_wrong_call_is_one_line_that_says_what_is_taken(typed, monkeypatch, pytestconfig, call, line):
    monkeypatch.chdir(pytestconfig.rootpath)
    status, said, complaint = typed(*shlex.split(call))
    assert (status, said, complaint.count("\n")) == (2, "", 1) and complaint.startswith("error: ") and line in complaint


def test_no_command_at_all_prints_the_help_and_version_the_version():
    from autoresearch import __version__

    bare = _autoresearch()
    assert "Commands" in bare.stdout and bare.stderr == ""
    assert _autoresearch("--version").stdout.split()[-1] == __version__


def test_what_the_system_refuses_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "file"))
    ended = _autoresearch("prepare", "--corpus", "stdlib", "--vocab-size", "300")
    assert ended.returncode == 2 and "set AUTORESEARCH_CACHE_DIR" in ended.stderr.splitlines()[-1]
    ended = _autoresearch("profiles", "show", str(tmp_path / f"{300 * 'a'}.toml"))
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_failure():
    command = [sys.executable, "-m", "autoresearch.cli", "profiles", "show", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == (b"", 0)


def test_the_help_names_all_that_claude_takes(typed):
    said = typed("run", "--help")[1]
    assert all(name in said for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"))


def test_a_table_is_folded_under_its_last_column_and_what_is_typed_is_not():
    from autoresearch.commands.say import folded

    row = "   12  0123456   0.912345  discard       MATRIX_LR 0.04 -> 0.06, DEPTH 8 -> 9"
    assert folded(row, None) == folded(row, 100) == [row]
    column = row.index("MATRIX")
    assert folded(row, 72) == [row[: row.rindex(" ->")], " " * column + "-> 9"]
    assert all(len(part) <= 60 for part in folded(row, 60))
    assert folded(f"{'':9}to do: pip install 'torch>=2.9,<2.14' --index-url x", 40) == [
        f"{'':9}to do: pip install 'torch>=2.9,<2.14' --index-url x"
    ]
    assert folded("", 10) == [""]

"""Studies of the command task from init to the morning: real repositories, real cells, a scripted agent."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pygit2
import pytest
import repositories
from e2e import studies
from waiting import wait_for

from autoresearch import bundle
from autoresearch.errors import UsageError
from autoresearch.run import command, paired
from autoresearch.sandbox import levels
from autoresearch.study import finalize, new, terms, workspace
from autoresearch.study.ledger import read
from autoresearch.study.state import State

pytestmark = pytest.mark.slow
LIB = repositories.FILES["src/lib.py"]
FASTER = LIB.replace("ROUNDS = 40", "ROUNDS = 30")
BROKEN = LIB.replace("[1 for", "[2 for")
MEASURED_ONLY = LIB + "\nimport sys\n\nif sys.argv[0] == 'bench.py':\n    ROUNDS = 20\n"


def edited(text: str, **more: str) -> str:
    return bundle.join({"src/lib.py": text} | more)


def make(folder: Path, repository: Path, decide: str = "strict", say=lambda line: None, **options: object):
    """(Study, Setup) of a new study, made as `init` makes it."""
    asked = {name.replace("-", "_"): value for name, value in repositories.options(repository, **options).items()}
    chosen = {"task": "command", "profile": "auto", "backend": "auto", "corpus": "auto", "train_seconds": 30.0, "decide": decide}
    return new.make(folder, chosen | asked, say, contextlib.nullcontext, levels.reach().level)


@pytest.fixture
def repository(tmp_path):
    folder = repositories.write(tmp_path / "repository")
    repo = pygit2.init_repository(str(folder))
    repo.index.add_all()
    repo.index.write()
    author = pygit2.Signature("a", "a@localhost")
    repo.create_commit("HEAD", author, author, "first", repo.index.write_tree(), [])
    return folder


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True)


def test_a_night(repository, tmp_path):
    study, setup = make(tmp_path / "study", repository, guard=repositories.GUARD)
    steps = [edited(BROKEN), edited(LIB, **{"bench.py": "print('rounds: 1')\n"}), edited(FASTER, **{"src/new.py": "x = 1\n"})]
    ending, _ = studies.play(study, setup, steps, experiments=2)
    assert ending.exit_status == 0, ending
    state = State.from_events(read(study.events))
    broken, faster = state.experiments[1:]
    assert (broken.verdict, broken.state) == ("discard", "limit") and "work is broken" in broken.reason
    assert "bench.py is not among the files that may be edited" in state.rejections[0].reason
    assert (faster.verdict, faster.val_bpb) == ("keep", 30)
    assert (study.folder / "src" / "lib.py").read_text() == FASTER and (study.folder / "src" / "new.py").exists()
    assert not (study.folder / "bench.py").exists() and not (study.folder / "train.py").exists()
    assert not list(study.runs.glob("*/tree"))
    series = finalize.Series(study, state)
    series.to_folder(tmp_path / "patches")
    git(repository, "apply", tmp_path / "patches" / "squashed.patch")
    assert (repository / "src" / "lib.py").read_text() == FASTER and (repository / "src" / "new.py").read_text() == "x = 1\n"


def test_a_gain_on_the_measure_alone_is_held_and_more_is_better_where_it_is_said(repository, tmp_path):
    more = LIB.replace("ROUNDS = 40", "ROUNDS = 50")
    study, setup = make(
        tmp_path / "study", repository, metric="rounds:max", confirm=repositories.CONFIRM, held_out=["private/*"]
    )  # fmt: skip
    steps = [edited(FASTER), edited(MEASURED_ONLY.replace("20", "60")), edited(more)]
    ending, _ = studies.play(study, setup, steps, experiments=3)
    assert ending.exit_status == 0, ending
    state = State.from_events(read(study.events))
    assert [one.state for one in state.experiments] == ["baseline", "discard", "val-only", "keep"]
    assert "the confirming one says 41" in state.experiments[2].reason
    kept = [study.metric.shown(one.val_bpb) for one in state.experiments if one.verdict == "keep"]
    assert kept == pytest.approx([40, 50])
    assert (study.folder / "results.tsv").read_text().splitlines()[0].split("\t")[1] == "rounds"
    assert state.slice_gain.gain_slice[0] == pytest.approx(10)


def test_confirmed_by_paired_runs(repository, tmp_path):
    study, setup = make(tmp_path / "study", repository, decide="confirmed")
    with repositories.replaced(paired, CONSTANT=1):
        studies.play(study, setup, [edited(LIB + "# a comment\n"), edited(FASTER)], experiments=1)
    state = State.from_events(read(study.events))
    best = state.experiments[1]
    assert best.verdict == "keep" and best.val_bpb == pytest.approx(30)
    assert {result.level for result in best.results} == {40.0}  # all beside the baseline, those since its verdict too
    assert len(state.rejections) == 0 and best.description == "scripted text 2"


def test_killed_and_gone_on_with(repository, tmp_path):
    study, _ = make(tmp_path / "study", repository, measure="sleep 1; python bench.py")
    words = [sys.executable, "-m", "autoresearch", "run", "--workspace", study.folder, "--agent", "search", "--experiments", "1"]
    with subprocess.Popen([*words, "--plain"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: study.events.exists() and b'"start"' in study.events.read_bytes() and list(study.runs.glob("*/tree")))
        inside = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in inside))
    again = subprocess.run([*words, "--plain"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    state = State.from_events(read(study.events))
    assert len(state.experiments) == 2 and state.lost == 1
    assert not list(study.runs.glob("*/tree"))


ERRORS = {
    "no file matches": ({"edit": ["lib/*.py"]}, "no file of the repository matches; quote the pattern"),
    "a pattern leaves the repository": ({"edit": ["../**"]}, "it leaves the repository"),
    "a metric without a way": ({"metric": "rounds"}, "write it as seconds:min or accuracy:max"),
    "the measure fails": ({"measure": "python nothing.py"}, "--measure, on the files as they are: .* status 2: .*nothing.py"),
    "the measure prints no number": ({"measure": "true"}, "prints no number: no line with `rounds: NUMBER`"),
    "the guard fails": ({"guard": "python -c 'raise SystemExit(\"no luck\")'"}, "--guard, on the files as they are: .* no luck"),
    "the measure takes too long": ({"measure": "sleep 60"}, "took longer than 2 s"),
    "the measure changes a file": ({"measure": "echo >> docs/README.md; echo 1"}, "docs/README.md, which is not to be edited"),
    "the confirming measure fails": ({"confirm": "false"}, "--confirm, on the files as they are"),
    "held out for nobody": ({"held_out": ["private/*"]}, "give --confirm as well"),
    "held out, and edited": ({"held_out": ["src/*"], "confirm": "true"}, "may be edited, and is held out"),
    "a name of the study's own": ({"edit": ["program.md"]}, "a study has a program.md of its own"),
    "no such folder": ({"repo": "/nowhere"}, "there is no folder /nowhere"),
    "nothing there to read": ({"read": ["/nowhere"]}, "--read /nowhere: there is no such path"),
    "not Python": ({"edit": ["wrong.py"]}, "wrong.py does not parse"),
    "not text": ({"edit": ["binary.dat"]}, "is not UTF-8 text"),
    "not for a task that trains": ({"backend": "null"}, "runs commands, and trains nothing"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_can_not_work_is_one_line_and_leaves_nothing(name, tmp_path):
    options, why = ERRORS[name]
    files = {"program.md": "mine", "wrong.py": "def", "binary.dat": ""}
    repository = repositories.write(tmp_path / "repository", repositories.FILES | files)
    (repository / "binary.dat").write_bytes(b"\xff\xfe")
    options = {"train_seconds": 2.0} | options if "too long" in name else options
    with pytest.raises(UsageError, match=why) as refused:
        make(tmp_path / "study", repository, **options)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "study").exists()


def test_the_study_keeps_the_files_as_they_were(repository, tmp_path):
    (repository / "build").mkdir()
    (repository / "build" / "big.bin").write_bytes(bytes(100))
    (repository / ".gitignore").write_text("build\n")
    said: list[str] = []
    study, _ = make(repository / "autoresearch-t", repository, say=said.append)  # inside of it: it is left out
    assert any("files are not as in the last commit" in line for line in said)
    (repository / "bench.py").write_text("print('rounds: 7')\n")
    loaded = workspace.load(study.folder)
    setup = terms.ready(loaded, levels.reach().level)
    (tmp_path / "run").mkdir()
    assert command.measure(setup, "ls; cat bench.py; python bench.py", repositories.text(setup), tmp_path / "run") == 40
    listed = (tmp_path / "run" / "log.txt").read_text()
    assert "build" not in listed and "autoresearch-t" not in listed and "rounds: 7" not in listed
    assert json.loads(json.dumps(loaded.options)) == study.options

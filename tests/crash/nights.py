"""Short nights to be disturbed, the undisturbed one to compare with, and what must hold after any disturbance."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pygit2
import studies
from studies import BETTER, BROKEN, CRASH, TRAINS, WORSE, git, state_of, verdicts

from autoresearch.data.prepare import prepare
from autoresearch.study import terms, workspace
from autoresearch.study.ledger import read

FAST = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None  # the tests are of our syncs, not of a disk's
OVERSLEEPS = TRAINS + "time.sleep(1000)\n"
NO_EFFECT = {"GATE_CHANNELS": 31}


@dataclass(frozen=True)
class Night:
    decide: str
    steps: list
    states: set[str]  # that its experiments end in, at least


NIGHTS = {
    "keep": Night("strict", [BETTER, {"DEPTH": 7}], {"keep"}),
    "mixed": Night("strict", [BETTER, WORSE, CRASH, BROKEN, {"DEPTH": 7}], {"keep", "discard", "crash", "rejected"}),
    "discard": Night("strict", [BETTER, WORSE, NO_EFFECT], {"keep", "discard"}),
    "crash": Night("strict", [CRASH, BETTER], {"keep", "crash"}),
    "rejected": Night("strict", [BROKEN, BETTER, BROKEN + "\nX = 1\n"], {"keep", "rejected"}),
    "timeout": Night("strict", [OVERSLEEPS, BETTER], {"keep", "timeout"}),
    "confirmed": Night("confirmed", [BETTER, NO_EFFECT], {"keep", "discard"}),
}


class Stage:
    """A place for the workspaces of a suite: one prepared text, and a new workspace for each kind of night."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.setups: dict[str, object] = {}
        os.environ["AUTORESEARCH_CACHE_DIR"] = str(folder / "cache")
        self.corpus = folder / "corpus"
        if not self.corpus.exists():
            (folder / "cache").mkdir()
            self.corpus.mkdir()
            studies.write_corpus(self.corpus)
        self.prepared = prepare(str(self.corpus), 320)  # now: its threads do not outlive a fork, and a fork that needs them hangs

    def new(self, decide: str) -> Path:
        """A workspace that holds things of the user's too: a staged file, an edited one, one that git does not know."""
        path = self.folder / f"new-{decide}"
        if not path.exists():
            studies.make(path, self.corpus, decide=decide, train_seconds=0.05)
            (path / "notes.md").write_text("staged by the user\n", encoding="utf-8")
            git(path, "add", "notes.md")
            (path / "program.md").write_text("edited by the user\n", encoding="utf-8")
            (path / "mine.txt").write_text("the user's\n", encoding="utf-8")
        return path

    def setup(self, decide: str):
        if decide not in self.setups:
            study = workspace.load(self.new(decide))
            self.setups[decide] = terms.setup(study, studies.detected("null").backend, self.prepared, 0)
        return self.setups[decide]

    def fresh(self, night: Night, name: str) -> Path:
        return copy(self.new(night.decide), self.folder / name)

    def play(self, night: Night, folder: Path):
        """Run or resume the night to its end."""
        outcome = self.outcome(night, folder)
        assert "steps are done" in outcome.reason, outcome

    def outcome(self, night: Night, folder: Path):
        return studies.play(workspace.load(folder), self.setup(night.decide), night.steps)[0]


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="crash-", dir=FAST))
    before = os.environ.get("AUTORESEARCH_CACHE_DIR")
    try:
        with studies.without_pictures():
            yield Stage(folder)
    finally:
        shutil.rmtree(folder)
        os.environ.pop("AUTORESEARCH_CACHE_DIR") if before is None else os.environ.update(AUTORESEARCH_CACHE_DIR=before)


def copy(source: Path, target: Path) -> Path:
    """A copy of a workspace as it is now. git's objects never change, so those are links."""
    for folder, names, files in os.walk(source):
        relative = os.path.relpath(folder, source)
        place = target / relative
        place.mkdir(parents=True, exist_ok=True)
        names.sort()
        for name in files:
            with contextlib.suppress(FileNotFoundError):  # a worker's, gone meanwhile
                if relative.startswith(".git/objects"):
                    os.link(os.path.join(folder, name), place / name)
                else:
                    shutil.copy2(os.path.join(folder, name), place / name)
    return target


def copy_whole(source: Path, target: Path) -> Path:
    """As `copy`, on another disk."""
    return Path(shutil.copytree(source, target))


def facts(folder: Path) -> dict:
    """What must not depend on when a night was disturbed."""
    study = workspace.load(folder)
    repo = pygit2.Repository(str(folder))
    rows = (folder / "results.tsv").read_text(encoding="utf-8").splitlines()
    state = state_of(study)
    return {
        "verdicts": verdicts(study),
        "rejections": [(one.n, one.description, one.state, one.reason) for one in state.rejections],
        "branch": [commit.message for commit in repo.walk(repo.head.target)],
        "train.py": (folder / "train.py").read_bytes(),
        "tip's": repo.revparse_single("HEAD:train.py").data,
        "results.tsv": [row.partition("\t")[2] for row in rows],
        "status": git(folder, "status", "--porcelain"),
        "user's": [(folder / name).read_bytes() for name in ("notes.md", "program.md", "mine.txt")],
        "weights": sorted(path.parent.name for path in study.runs.glob("*/checkpoint")),
    }


def check_new(folder: Path, stage: Stage):
    """A workspace whose making was disturbed and done again: it works, and holds what it should and nothing more."""
    study = workspace.load(folder)
    assert git(folder, "log", "--format=%s") == "Start of the study"
    studies.play(study, stage.setup("strict"), [], experiments=0)
    assert git(folder, "status", "--porcelain") == ""
    assert git(folder, "fsck", "--strict") == ""
    assert not _leftovers(folder), _leftovers(folder)
    names = {".autoresearch", ".git", ".gitignore", "AGENTS.md", "program.md", "results.tsv", "study.toml", "train.py"}
    assert {path.name for path in folder.iterdir()} == names, list(folder.iterdir())
    return study


def check(folder: Path, undisturbed: dict, prefix: list[dict]) -> None:
    """After the end of a night: it is as the undisturbed one, and nothing of what was durable before is lost. AssertionError."""
    found = facts(folder)
    for name, value in undisturbed.items():
        assert found[name] == value, f"{name} differs: {found[name]!r}, undisturbed {value!r}"
    study = workspace.load(folder)
    events = read(study.events)
    assert events[: len(prefix)] == prefix, "the ledger lost lines"
    state = state_of(study)
    runs = [(event["n"], event["k"]) for event in events if event["event"] == "run"]
    assert len(runs) == len(set(runs)) == state.results, "a run counted twice"
    seeds = [event["seed"] for event in events if event["event"] == "run"]
    assert seeds == [study.seed + number for number in range(len(seeds))], "a seed counted twice"
    repo = pygit2.Repository(str(folder))
    refs = {name: str(repo.references[name].target) for name in repo.references if name.startswith("refs/autoresearch/")}
    for one in state.experiments:
        assert refs.get(f"refs/autoresearch/t/{one.number}") == one.commit, "an experiment without its ref"
    for k, one in enumerate(state.rejections, 1):
        assert refs.get(f"refs/autoresearch/t/rejected-{k}") == one.commit, "a rejected proposal without its ref"
    assert str(repo.references["refs/heads/autoresearch/t"].target) == state.best.commit
    assert not _leftovers(folder), _leftovers(folder)
    assert subprocess.run(["git", "fsck", "--strict"], cwd=folder, capture_output=True).returncode == 0, "git fsck"


def _leftovers(folder: Path) -> list[Path]:
    git_folder = folder / ".git"
    return [*folder.rglob("*.tmp"), *git_folder.rglob("*.lock"), *git_folder.rglob("tmp_obj*"), *git_folder.glob("index.*")]

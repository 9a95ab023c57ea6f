"""The kept edits as one clean history: a commit a keep, on a branch of its own or as patches, and the text of a pull request.

Promises: the study's branch, index and work tree stay as they are, and nothing is pushed; a branch is moved only where it stands as
the last call left it (refs/autoresearch/<tag>/finalized/<branch> remembers); the same study gives the same commits, to the last
digit; words of others are one line, name nobody and close no issue (text.py, `_quiet`).
"""

import base64
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime
from pathlib import Path

import pygit2

from autoresearch import __version__, durable
from autoresearch.errors import StoredStateError, UsageError
from autoresearch.paths import git, typed
from autoresearch.report.summary import summarise
from autoresearch.study.commits import files_of, reader
from autoresearch.study.experiments import Experiment
from autoresearch.study.state import State
from autoresearch.study.work_tree import layout_of
from autoresearch.study.workspace import Study
from autoresearch.text import described, one_line

AUTHOR, ADDRESS = "autoresearch", "autoresearch@localhost"
_SLUG = 48  # characters of a description in a file's name
# What a forge's page makes of a word in a commit's message: a person who is notified, an issue that is linked or closed, a link.
_CALLS = re.compile(r"((?<!\w)@(?=\w)|#(?=\d)|\bgh-(?=\d)|:(?=//))", re.IGNORECASE)


@dataclass(frozen=True)
class Step:
    """One keep, on top of the one before."""

    experiment: Experiment
    commit: pygit2.Commit  # no ref points at it
    patch: bytes  # of the study's text, against the step before

    @property
    def file_name(self) -> str:
        words = re.sub(r"[^A-Za-z0-9]+", "-", self.experiment.description)[:_SLUG].strip("-")
        return f"experiment-{self.experiment.number}-{words or 'edit'}.patch"


class Series:
    """All keeps of a study, from the baseline's train.py to the best's. UsageError where nothing was kept."""

    def __init__(self, study: Study, state: State):
        self.study, self.state = study, state
        keeps = [experiment for experiment in state.experiments if experiment.verdict == "keep"]
        if len(keeps) < 2:
            raise UsageError(f"the study {study.tag} has kept no edit yet; `autoresearch results` shows what was tried")
        try:
            self.repo = reader(study.folder)
            self.baseline = self._commit_of(keeps[0])
            self.steps = list(self._steps(keeps))
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise StoredStateError(
                f"{study.folder / '.git'} has lost a kept commit ({error}); bring .git back from a copy"
            ) from error

    def to_branch(self, name: str) -> str:
        """Put the branch there; its full name. UsageError for one that is not ours to move."""
        full = f"refs/heads/{name}"
        mine = f"refs/autoresearch/{self.study.tag}/finalized/{name}"
        if not pygit2.reference_is_valid_name(full) or name.startswith("-"):
            raise UsageError(f"{name!r} can't name a branch; use letters, digits and - _ / inside")
        known, last = (self.repo.references.get(ref) for ref in (full, mine))
        if known is not None and (last is None or known.target != last.target):
            raise UsageError(f"the branch {name} is there already, and is not as finalize left it; name another: `--branch NAME`")
        if known is not None and self.repo.references["HEAD"].target == full:
            raise UsageError(
                f"the branch {name} is checked out; `{git(self.study.folder)} switch autoresearch/{self.study.tag}` first"
            )
        tip = self.steps[-1].commit.id
        try:
            for ref in (mine, full):
                durable.make_folder((self.study.folder / ".git" / ref).parent)
                self.repo.references.create(ref, tip, force=True)
        except (OSError, pygit2.GitError) as error:  # a branch `a` leaves no room for one `a/b`
            raise UsageError(f"the branch {name} can't be made ({error}); name another: `--branch NAME`") from error
        return full

    def to_folder(self, folder: Path) -> list[Path]:
        """series/*.patch for `git am`, squashed.patch for it or `git apply`, summary.md. UsageError where folder is not empty."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} holds something already; name a new or an empty folder: `--output DIR`")
        count, first, last = len(self.steps), self.baseline, self.steps[-1]
        files = {
            folder / "series" / f"{k:04d}-{step.file_name}": _mail(step.commit, step.patch, f"[PATCH {k}/{count}]")
            for k, step in enumerate(self.steps, 1)
        }
        whole = self._make(self.squashed_message(), last.commit.tree_id, first.id, _seconds(last.experiment))
        files[folder / "squashed.patch"] = _mail(whole, _diff(self.repo, first, last.commit), "[PATCH]")
        files[folder / "summary.md"] = self.summary().encode()
        durable.make_folder(folder / "series")
        for path, content in files.items():
            durable.write(path, content)
        return list(files)

    def squashed_message(self) -> str:
        count = len(self.steps)
        return f"{count} kept edit{'s' * (count > 1)} of train.py: {self.state.metric.name} {self._gain()}\n\n" + "".join(
            f"- {_subject(step.experiment)}\n" for step in self.steps
        )

    def summary(self) -> str:
        """The text of a pull request, in Markdown."""
        study, state, total = self.study, self.state, summarise(self.state)
        best, baseline, noise, budget = self.steps[-1].experiment, state.experiments[0], state.noise, study.profile.budget
        gain, on_slice, metric = state.gain, state.slice_gain, state.metric
        unit = metric.unit or metric.name
        rows, before = [], baseline
        for now in [step.experiment for step in self.steps]:
            words = now.number, _code(now.description), self._score(before), self._score(now), len(now.results), _code(now.agent)
            rows.append(f"| {' | '.join(map(str, words))} |\n")
            before = now
        of_bytes = f" on {study.profile.data.eval_bytes:,} bytes" if study.profile.data else ""
        tests = "n/a"
        if best.test_bpb is not None and baseline.test_bpb is not None:
            first, last = metric.text(baseline.test_bpb), metric.text(best.test_bpb)
            tests = f"{metric.amount(baseline.test_bpb - best.test_bpb)} ({first} to {last})"
        sliced = on_slice and on_slice.gain_slice
        spread = "not measured" if noise is None else f"{metric.amount(noise.sigma)} between seeds, {noise.dof} degrees of freedom"
        return (
            f"# {metric.name} {self._gain()}\n\n{total.belief}\n\n"
            f"| experiment | edit | {metric.name} before | after | runs | by |\n| --: | :-- | --: | --: | --: | :-- |\n"
            + "".join(rows)
            + "\n"
            f"{unit[:1].upper()}{unit[1:]}, {metric.better} is better; +- is one standard error by the seeds.\n\n"
            f"- Gain on the validation {metric.data}: {'n/a' if gain is None else gain.text(metric)}\n"
            f"- Gain on the audit slice, which a keep is checked against: {'n/a' if not sliced else metric.amount(sliced[0])}\n"
            f"- Gain on the test {metric.data}, which no decision saw: {tests}\n"
            f"- Noise: {spread}\n"
            f"- Machine: {_code(study.facts.device or 'n/a')}, backend {study.backend}, profile {_code(study.profile.name)}\n"
            f"- Measured: {budget.train_seconds:g} s of training a run on {_code(study.corpus)}, scored"
            f"{of_bytes} in a process of its own, decided by `{study.decide}`; {total.experiments}"
            f" experiments, {total.trainings} trainings, {total.machine_hours:.1f} hours, autoresearch"
            f" {study.versions.get('autoresearch', 'n/a')}\n"
            f"- Corpus checksum: {study.checksums.get('corpus', 'n/a')}\n"
        )

    def _steps(self, keeps: list[Experiment]) -> Iterator[Step]:
        before, parent, layout = keeps[0], self.baseline, layout_of(self.study.folder)
        for keep in keeps[1:]:
            index, kept = pygit2.Index(), pygit2.Index()
            index.read_tree(self.baseline.tree)
            kept.read_tree(self._commit_of(keep).tree)
            for path in [entry.path for entry in index if layout.takes(entry.path)]:
                index.remove(path)
            for entry in kept:
                if layout.takes(entry.path):
                    index.add(entry)
            commit = self._make(self._message(before, keep), index.write_tree(self.repo), parent.id, _seconds(keep))
            yield Step(keep, commit, _diff(self.repo, parent, commit))
            before, parent = keep, commit

    def _message(self, before: Experiment, keep: Experiment) -> str:
        metric = self.state.metric
        runs = f"{len(keep.results)} training{'s' * (len(keep.results) != 1)}"
        return (
            f"{_subject(keep)}\n\n"
            f"{metric.name} {self._score(before)} -> {self._score(keep)}"
            f" ({metric.better} is better; +- is one standard error by the seeds)\n"
            f"Kept by `{self.study.decide}` after {runs} of {self.study.profile.budget.train_seconds:g} s;"
            f" proposed by {_quiet(keep.agent)}.\n"
            f"Study {self.study.tag}, experiment {keep.number}, commit {keep.commit}.\n"
        )

    def _gain(self) -> str:
        return f"{self._score(self.state.experiments[0])} -> {self._score(self.steps[-1].experiment)}"

    def _score(self, experiment: Experiment) -> str:
        noise, score, metric = self.state.noise, experiment.val_bpb, self.state.metric
        if score is None or noise is None:
            return metric.text(score)
        return metric.amount(metric.shown(score), noise.sigma / math.sqrt(len(experiment.fair)))

    def _commit_of(self, experiment: Experiment) -> pygit2.Commit:
        commit = self.repo[experiment.commit]
        if not isinstance(commit, pygit2.Commit) or not files_of(self.repo, commit.id):
            raise KeyError(experiment.commit)
        return commit

    def _make(self, message: str, tree: pygit2.Oid, parent: pygit2.Oid, seconds: int) -> pygit2.Commit:
        author = pygit2.Signature(AUTHOR, ADDRESS, seconds, 0)
        made = self.repo[self.repo.create_commit(None, author, author, message, tree, [parent])]
        assert isinstance(made, pygit2.Commit)
        return made


def _subject(experiment: Experiment) -> str:
    """Begins with our own word: git takes words in brackets, and what begins with "Re:", off the front."""
    return f"Experiment {experiment.number}: {_quiet(described(experiment.description))}"


def _quiet(text: str) -> str:
    return _CALLS.sub(r"\1 ", one_line(text))


def _code(text: str) -> str:
    """In Markdown, with nothing in it that a page makes more of than a text."""
    return "`" + one_line(text).replace("`", "'").replace("|", "\\|") + "`"


def _seconds(experiment: Experiment) -> int:
    """When it was decided, since 1970."""
    return int(datetime.fromisoformat(experiment.decided or experiment.started).timestamp())


def _diff(repo: pygit2.Repository, before: pygit2.Commit, after: pygit2.Commit) -> bytes:
    """As `git diff` writes it; of the blobs alone, so that no setting of the user's takes part."""
    old, new = files_of(repo, before.id), files_of(repo, after.id)
    paths = [path for path in sorted(old.keys() | new.keys()) if old.get(path) != new.get(path)]
    pairs = [(_blob(before, path) if path in old else None, _blob(after, path) if path in new else None) for path in paths]
    patches = [
        pygit2.Patch.create_from(one, other, old_as_path=path, new_as_path=path)
        for path, (one, other) in zip(paths, pairs, strict=True)
    ]
    return b"".join(patch.data for patch in patches)


def _blob(commit: pygit2.Commit, path: str) -> pygit2.Blob:
    blob = commit.tree[path]
    assert isinstance(blob, pygit2.Blob), "`files_of` has found it"
    return blob


def _mail(commit: pygit2.Commit, patch: bytes, prefix: str) -> bytes:
    """As `git format-patch` writes it, for `git am`. A carriage return, which that takes off a line's end, travels as base64."""
    subject, _, rest = commit.message.partition("\n")
    body = f"{rest.strip()}\n---\n".encode() + patch + f"-- \nautoresearch {__version__}\n".encode()
    encoding = "base64" if b"\r" in body else "8bit"
    head = {
        "From": f"{AUTHOR} <{ADDRESS}>",
        "Date": format_datetime(datetime.fromtimestamp(commit.author.time, UTC)),
        "Subject": Header(
            f"{prefix} {subject}", None if subject.isascii() and "=?" not in subject else "utf-8", maxlinelen=76
        ).encode(),
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": encoding,
    }
    lines = [f"From {commit.id} Mon Sep 17 00:00:00 2001", *(f"{name}: {value}" for name, value in head.items())]
    return "\n".join([*lines, "", ""]).encode() + (base64.encodebytes(body) if encoding == "base64" else body)


def how_to_apply(folder: Path) -> str:
    return f"git am {typed(folder / 'series')}/*.patch"

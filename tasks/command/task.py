"""Any repository with a command that prints or writes a number: its files are edited, its command is run and compared."""

import io
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from string import Template
from typing import Any

import pygit2
from pygit2.enums import FileStatus

from autoresearch import bundle, task
from autoresearch.bundle import Layout
from autoresearch.data.prepared import checksum_of, describe
from autoresearch.data.progress import OnProgress
from autoresearch.errors import UsageError
from autoresearch.metric import Metric
from autoresearch.task import prepared
from autoresearch.task.commands import SNAPSHOT, Commands
from autoresearch.task.prepared import Arrays
from autoresearch.text import one_line

MOST_FILES, MOST_BYTES = 20_000, 300 << 20  # of a snapshot, which is laid for each command; chosen: a second or two
OURS = frozenset({  # of a study's folder, and of a coding agent's
    "program.md", "AGENTS.md", "study.toml", ".gitignore", "results.tsv", "progress.png", "report.html",
    "TASK.md", "history.md", "lessons.md", "machine.md", "rejected.py", "description.txt",
})  # fmt: skip
LEFT_OUT = frozenset({".git", ".autoresearch", "__pycache__", ".venv", "node_modules"})  # where no git says what is ignored


class Task(task.Task):
    @classmethod
    def source(cls, table, corpus: str, options: Mapping[str, Any], sizes=None) -> task.Source:
        _metric(options["metric"])
        if gone := next((path for path in options.get("read", ()) if not Path(path).exists()), None):
            raise UsageError(f"--read {gone}: there is no such path", "name one that is there, or leave it out")
        if corpus != "auto":
            raise UsageError("--corpus is for what trains on text; name the repository with --repo DIR")
        folder = Path(options.get("repo") or Path.cwd()).resolve()
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}; name the repository with --repo DIR")
        return task.Source(str(folder), "the repository" if options.get("repo") else "the current folder")

    @classmethod
    def prepared_from(cls, table, source: task.Source, options: Mapping[str, Any], sizes, on_progress: OnProgress) -> Arrays:
        """What git ignores changes nothing."""
        folder = Path(source.name)
        identity = checksum_of([[path, describe(folder / path)["blake2b"]] for path in _files(folder)[0]])
        return prepared.made(cls, table, source, options, on_progress, identity)

    @classmethod
    def prepare(cls, source: task.Source, options: Mapping[str, Any], folder: Path, on_progress: OnProgress) -> dict[str, Any]:
        repository, layout = Path(source.name), Layout(tuple(options["edit"]))
        paths, warnings = _files(repository)
        edited = [path for path in paths if layout.takes(path)]
        _check(paths, edited, options)
        total = 0
        with tarfile.open(folder / SNAPSHOT, "w", format=tarfile.PAX_FORMAT) as archive:
            for done, path in enumerate(paths):
                on_progress("copying the repository", done, len(paths))
                content = (repository / path).read_bytes()
                total += len(content)
                if total > MOST_BYTES:
                    raise UsageError(
                        f"the files of {repository} are more than {MOST_BYTES >> 20} MB",
                        "have .gitignore leave out what no command needs",
                    )
                one = tarfile.TarInfo(path)
                one.size, one.mode = len(content), 0o755 if os.access(repository / path, os.X_OK) else 0o644
                archive.addfile(one, io.BytesIO(content))
        _check_text(repository, edited, layout)
        held_out = [path for path in paths if options.get("held-out") and Layout(tuple(options["held-out"])).takes(path)]
        return {"files": len(paths), "bytes": total, "edited": edited, "held_out": held_out, "warnings": warnings}

    @property
    def metric(self) -> Metric:
        return _metric(self.options["metric"])

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self.options["edit"])

    @cached_property
    def commands(self) -> Commands:
        own = {name: self.options.get(name) for name in ("guard", "confirm", "result")}
        reads = tuple(map(Path, self.options.get("read", ())))
        held_out = tuple(self.options.get("held-out", ()))
        return Commands(
            self.prepared.folder / SNAPSHOT, Layout(self.files), self.options["measure"], **own, reads=reads, held_out=held_out
        )

    def first_text(self, train_py: Path, values: Mapping[str, object]) -> str:
        return self.commands.text()

    def instructions(self, program: str) -> str:
        commands = self.commands
        named = {"edit": " ".join(self.files), "measure": commands.measure, "guard": commands.guard or "(none)"}
        way = "the lower the better" if self.metric.direction == "min" else "the higher the better"
        return Template(program).safe_substitute(
            named, metric=self.metric.name, way=way, edited="\n".join(f"- `{path}`" for path in self.facts["edited"])
        )

    def questions(self, split: str) -> None:
        return None

    def hidden(self) -> list[Path]:
        """The snapshot, and what only --confirm is to see."""
        return [self.prepared.folder, *(Path(self.prepared.corpus, path) for path in self.facts["held_out"])]

    def summary(self) -> str:
        edited = self.facts["edited"]
        some = ", ".join(edited[:3]) + (f" and {len(edited) - 3} more" if len(edited) > 3 else "")
        return f"{self.facts['files']:,} files, of which {len(edited)} may be edited ({some})"


def _metric(text: str) -> Metric:
    parts = re.fullmatch(r"([a-z][a-z0-9_]{0,31}):(min|max)", text)
    if parts is None:
        raise UsageError(f"--metric {text}: it needs a name and which way is better; write it as seconds:min or accuracy:max")
    unit = "s" if parts[1] in ("seconds", "wall_seconds") else ""
    return Metric(parts[1], unit, parts[2], data="measure", pieces="pairs")


def _files(folder: Path) -> tuple[list[str], list[str]]:
    """(paths below folder that git knows or does not ignore, what a user should know). Without git all but LEFT_OUT."""
    found = pygit2.discover_repository(str(folder))
    try:
        paths, warnings = _of_git(folder, found) if found else (list(_of_folder(folder)), [])
    except pygit2.GitError as error:
        raise UsageError(
            f"the git repository of {folder} can't be read ({error})", "mend that, or copy its files elsewhere"
        ) from error
    plain = [path for path in sorted(set(paths)) if (folder / path).is_file()]
    away = [path for path in plain if not (folder / path).resolve().is_relative_to(folder)]
    if away:
        warnings.append(f"{away[0]} is a link out of the repository: it is left out")
    files = [path for path in plain if path not in away]
    if len(files) > MOST_FILES:
        raise UsageError(
            f"{folder} has {len(files):,} files, and {MOST_FILES:,} are allowed", "have .gitignore leave out the others"
        )
    return files, warnings


def _of_git(folder: Path, found: str) -> tuple[list[str], list[str]]:
    pygit2.settings.owner_validation = False
    repository = pygit2.Repository(found)
    if not repository.workdir:
        raise UsageError(f"{folder} is a bare git repository", "name a work tree with --repo DIR")
    top = Path(repository.workdir).resolve()
    status = repository.status(untracked_files="all")
    new = [path for path, flag in status.items() if flag & FileStatus.WT_NEW and not path.endswith("/")]
    paths = [Path(top, path) for path in [*(entry.path for entry in repository.index), *new]]
    changed = [
        path for path, flag in status.items() if flag not in (FileStatus.CURRENT, FileStatus.IGNORED) and not path.endswith("/")
    ]
    warning = f"{len(changed)} files are not as in the last commit: the study begins from them as they lie there"
    own = [path.relative_to(folder).as_posix() for path in paths if path.is_relative_to(folder)]
    return own, [warning] if changed else []


def _of_folder(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        if ".autoresearch" in folders:
            folders[:] = []
            continue
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        yield from (Path(parent, name).relative_to(folder).as_posix() for name in names)


def _check(paths: list[str], edited: list[str], options: Mapping[str, Any]) -> None:
    patterns = " ".join(options["edit"])
    for pattern in options["edit"]:
        if pattern.startswith(("/", "~")) or ".." in pattern.split("/") or "\\" in pattern:
            raise UsageError(
                f"--edit {pattern}: it leaves the repository", "write it from the repository's folder, as in 'src/**/*.py'"
            )
    if not edited:
        raise UsageError(f"--edit {patterns}: no file of the repository matches", "quote the pattern, as in --edit 'src/**/*.py'")
    if len(edited) > bundle.MOST_FILES:
        raise UsageError(f"--edit {patterns}: {len(edited)} files match, and {bundle.MOST_FILES} are allowed", "name fewer")
    if taken := OURS.intersection(edited):
        raise UsageError(f"--edit {patterns}: a study has a {min(taken)} of its own", "leave that one out")
    if wrong := next(filter(None, map(bundle.objection, edited)), None):
        raise UsageError(f"--edit {patterns}: {wrong}", "leave that one out")
    held = Layout(tuple(options.get("held-out", ()))) if options.get("held-out") else None
    if held and not options.get("confirm"):
        raise UsageError("--held-out is for what --confirm alone may see", "give --confirm as well")
    if held and not any(map(held.takes, paths)):
        raise UsageError(f"--held-out {' '.join(held.patterns)}: no file of the repository matches", "quote the pattern")
    if held and (both := [path for path in edited if held.takes(path)]):
        raise UsageError(f"{both[0]} may be edited, and is held out", "take it out of one of the two")


def _check_text(repository: Path, edited: list[str], layout: Layout) -> None:
    from autoresearch.propose.proposals import program_key

    try:
        text = layout.text({path: (repository / path).read_bytes().replace(b"\r\n", b"\n") for path in edited})
        assert text is not None, "there is one"
        program_key(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError("a file that --edit names is not UTF-8 text", "leave it out") from error
    except ValueError as error:
        raise UsageError(f"--edit: {one_line(str(error), 300)}", "mend that, or name other files") from error

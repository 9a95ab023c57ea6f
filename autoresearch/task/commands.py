"""What a task that is scored by a command runs, on which files.

A snapshot is one tar file in the cache, checksummed: the user's repository as it was when the study began. Each command gets a
folder of its own, made anew of it with the edited files laid over.
"""

import tarfile
from dataclasses import dataclass
from pathlib import Path

from autoresearch import bundle
from autoresearch.bundle import Layout

SNAPSHOT = "repository.tar"


@dataclass(frozen=True)
class Commands:
    """Command lines of the system's shell, each run in the repository's folder."""

    snapshot: Path  # a tar file
    edited: Layout  # what an agent may change
    measure: str
    guard: str | None = None
    confirm: str | None = None
    result: str | None = None  # FILE or FILE:KEY, where the number is not printed
    reads: tuple[Path, ...] = ()  # beyond the system and Python
    held_out: tuple[str, ...] = ()  # patterns: files that are there for `confirm` alone

    def text(self) -> str:
        """The edited files as they are in the snapshot, as one text, with LF at the line ends as in the study's work tree."""
        with tarfile.open(self.snapshot) as archive:
            own = {one.name: _content(archive, one) for one in archive if self.edited.takes(one.name)}
        text = self.edited.text({path: content.replace(b"\r\n", b"\n") for path, content in own.items()})
        assert text is not None, "`prepare` has found some"
        return text.decode("utf-8")

    def objection(self, text: str) -> str | None:
        """Why a text can't be laid: it has a file that may not be edited. ValueError as of `bundle.split`."""
        other = next((path for path in bundle.split(text) if not self.edited.takes(path) or self._is_held_out(path)), None)
        return None if other is None else f"{other} is not among the files that may be edited ({' '.join(self.edited.patterns)})"

    def lay(self, text: str, folder: Path, is_confirmation: bool = False) -> list[str]:
        """Make folder: the snapshot with the text's files in place of its own. The paths of those that nobody may change."""
        files, kept = self.edited.files(text.encode("utf-8")), []
        with tarfile.open(self.snapshot) as archive:
            for one in archive:
                if one.name in files:
                    _write(folder / one.name, files.pop(one.name), one.mode)
                elif not self.edited.takes(one.name) and (is_confirmation or not self._is_held_out(one.name)):
                    _write(folder / one.name, _content(archive, one), one.mode)
                    kept.append(one.name)
        for path, content in files.items():
            _write(folder / path, content)
        folder.mkdir(parents=True, exist_ok=True)
        return kept

    def _is_held_out(self, path: str) -> bool:
        return bool(self.held_out) and Layout(self.held_out).takes(path)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None, "a snapshot holds plain files"
    return file.read()


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if mode & 0o100:
        path.chmod(0o755)

"""A study's text as it lies in its folder, and which files it is (bundle.py)."""

import functools
import tomllib
from pathlib import Path

from autoresearch import durable
from autoresearch.bundle import SINGLE, Layout

STUDY = "study.toml"


def work_tree_text(folder: Path) -> str | None:
    """The text that lies in the folder, with LF at the line ends; None when it is gone or is not UTF-8."""
    content = work_tree_bytes(folder)
    try:
        return None if content is None else content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def work_tree_files(folder: Path) -> dict[str, bytes]:
    """The files of the study's text as they lie in its folder."""
    layout = layout_of(folder)
    if not layout.patterns:
        found = [folder / SINGLE] if (folder / SINGLE).is_file() else []
    else:
        found = [path for path in folder.rglob("*") if path.relative_to(folder).parts[0] not in (".git", ".autoresearch")]
    names = {path.relative_to(folder).as_posix(): path for path in found if path.is_file() and not path.is_symlink()}
    return {name: path.read_bytes() for name, path in sorted(names.items()) if layout.takes(name)}


def put_work_tree(folder: Path, content: bytes) -> None:
    """Lay a text into the folder; files of the study's text that are not in it are removed."""
    layout = layout_of(folder)
    files = layout.files(content)
    for name in work_tree_files(folder).keys() - files.keys():
        durable.remove(folder / name)
    for name, own in files.items():
        durable.make_folder((folder / name).parent)
        durable.write(folder / name, own)


def work_tree_bytes(folder: Path) -> bytes | None:
    files = {name: content.replace(b"\r\n", b"\n") for name, content in work_tree_files(folder).items()}
    try:
        return layout_of(folder).text(files)
    except ValueError:  # one is not UTF-8: a text that is none, and of the user's own
        return b"\xff"


def layout_of(folder: Path) -> Layout:
    """Which files of a workspace are its study's text."""
    try:
        return layout_in((folder / STUDY).read_bytes())
    except FileNotFoundError:
        return Layout()


@functools.lru_cache(16)
def layout_in(study: bytes) -> Layout:
    try:
        return Layout(tuple(tomllib.loads(study.decode("utf-8")).get("files", ())))
    except (ValueError, TypeError):
        return Layout()

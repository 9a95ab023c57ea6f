"""The home folder of a fenced coding agent: copies of what its recipe names, nothing else of the user's.

It is new for each proposal. The user's own files are only read. A program may renew its sign-in meanwhile, and the old one may then
be worth nothing: so its copy is kept in the cache, and the newer of that and the user's own is given the next time.
"""

import os
import shutil
import tempfile
from pathlib import Path

from autoresearch.agents.command.recipes import Recipe, origin
from autoresearch.border.files import Held
from autoresearch.paths import cache_dir

FOLDER_BYTES = 20 << 20  # chosen: a folder of settings; more is a store of transcripts
KEPT_BYTES = 1 << 20  # a sign-in has some kilobytes


def fill(home: Path, recipe: Recipe) -> None:
    """Raises OSError where a file can't be copied."""
    for name in recipe.config:
        source, target = origin(name, recipe.moved), home / name.removeprefix("~/")
        kept = _kept(name, recipe)
        if name in recipe.kept and kept.is_file() and (not source.exists() or _age(kept) > _age(source)):
            source = kept
        if source.is_dir():
            if sum(path.stat().st_size for path in source.rglob("*") if path.is_file()) <= FOLDER_BYTES:
                shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for name, text in recipe.files.items():
        target = home / name.removeprefix("~/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def keep(home: Held, recipe: Recipe) -> None:
    """After its end: a sign-in that it has renewed, out of its home folder, which is held since before its start.

    Never into the user's own file: it is the program's word.
    """
    for name in recipe.kept:
        own, kept = origin(name, recipe.moved), _kept(name, recipe)
        newest = max((_age(path) for path in (own, kept) if path.is_file()), default=0.0)
        try:
            content, changed = home.read(name.removeprefix("~/"), KEPT_BYTES)
        except OSError:  # it has none, or a link, which would show it another program's
            continue
        if changed > newest:
            kept.parent.mkdir(parents=True, exist_ok=True)
            descriptor, new = tempfile.mkstemp(dir=kept.parent)  # for us alone to read
            with open(descriptor, "wb") as copy:
                copy.write(content)
            os.replace(new, kept)


def _kept(name: str, recipe: Recipe) -> Path:
    return cache_dir() / "agents" / recipe.name / name.removeprefix("~/")


def _age(path: Path) -> float:
    return path.stat().st_mtime

"""Where things lie: what is shipped with the package, and the cache. Nothing else is written outside a workspace."""

import os
import shlex
import subprocess
from pathlib import Path

from autoresearch.errors import UsageError

PACKAGE = Path(__file__).resolve().parent


def shipped(name: str) -> Path:
    """A shipped folder or file (`backends`, `profiles`, `program.md`): inside the package (wheel) or beside it (checkout)."""
    inside = PACKAGE / name
    return inside if inside.exists() else PACKAGE.parent / name


def typed(path: Path) -> str:
    """The path as one word of a command line to be copied: quoted for this system's shell where it has spaces and the like."""
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))


def git(folder: Path) -> str:
    """How a command line of git for that folder begins, wherever it is typed: a repository around it may have such a file."""
    return f"git -C {typed(folder)}"


def cache_dir() -> Path:
    """`AUTORESEARCH_CACHE_DIR`, else the system's user cache. Made when missing."""
    chosen = os.environ.get("AUTORESEARCH_CACHE_DIR")
    if chosen:
        folder = expanded(chosen).resolve()
    else:
        import platformdirs

        folder = Path(platformdirs.user_cache_dir("autoresearch", appauthor=False))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"no cache folder can be made at {folder} ({reason}); set AUTORESEARCH_CACHE_DIR to another") from error
    return folder


def expanded(path: str | Path) -> Path:
    """With the home folder for `~`; the `~name` of nobody stays as it is, where Path.expanduser raises."""
    return Path(os.path.expanduser(path))

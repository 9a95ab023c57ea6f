"""Where things lie: what is shipped with the package, and the cache. Nothing else is written outside a workspace."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from autoresearch.errors import UsageError

PACKAGE = Path(__file__).resolve().parent
# Windows's 259, less the longest that is written below a study, by Triton: in a run's folder (27 characters) its work/compile/ (13)
# and inductor/triton/0/ (19), there a hash (53), a folder for the time being (53) and a file (19).
LONGEST_STUDY = 75


def shipped(name: str) -> Path:
    """A shipped folder or file (`backends`, `profiles`, `program.md`): inside the package (wheel) or beside it (checkout)."""
    inside = PACKAGE / name
    return inside if inside.exists() else PACKAGE.parent / name


def typed(path: object) -> str:
    """A path or another value as one word of a command line to be copied: quoted for this system's shell where it has to be."""
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


def check_length(folder: Path) -> None:
    """UsageError where compilers could not write below a study in that folder: by default Windows refuses 260 characters."""
    if sys.platform == "win32" and len(str(folder)) > LONGEST_STUDY and not _has_long_paths():
        raise UsageError(
            f"{folder} has {len(str(folder))} characters, and what torch.compile writes below it would exceed Windows's 260; name a"
            f" folder of at most {LONGEST_STUDY} (`--workspace`), or set LongPathsEnabled (learn.microsoft.com tells how)"
        )


def _has_long_paths() -> bool:
    if sys.platform != "win32":
        return True
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
            return bool(winreg.QueryValueEx(key, "LongPathsEnabled")[0])
    except OSError:
        return False


def expanded(path: str | Path) -> Path:
    """With the home folder for `~`; the `~name` of nobody stays as it is, where Path.expanduser raises."""
    return Path(os.path.expanduser(path))

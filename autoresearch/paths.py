"""Where things lie: what is shipped with the package, and the cache. Nothing else is written outside a workspace."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def shipped(name: str) -> Path:
    """A shipped folder or file (`backends`, `profiles`, `program.md`): inside the package (wheel) or beside it (checkout)."""
    inside = PACKAGE / name
    return inside if inside.exists() else PACKAGE.parent / name


def cache_dir() -> Path:
    """`AUTORESEARCH_CACHE_DIR`, else the system's user cache. Made when missing."""
    chosen = os.environ.get("AUTORESEARCH_CACHE_DIR")
    if chosen:
        folder = Path(chosen).expanduser().resolve()
    else:
        import platformdirs

        folder = Path(platformdirs.user_cache_dir("autoresearch", appauthor=False))
    folder.mkdir(parents=True, exist_ok=True)
    return folder

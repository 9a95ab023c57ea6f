"""An error that nobody foresaw, at the edge: one line, with a cure for what comes from outside (git, a damaged file, a setting of
the network), and for the rest with the place where its traceback lies. AUTORESEARCH_DEBUG=1 lets it through.
"""

import os
import traceback
from datetime import UTC, datetime

from autoresearch import __version__
from autoresearch.text import one_line

# The module that raised it, as far as its name begins so, and what to do.
_CURES = (
    ("_pygit2", "look at the study's .git and at ~/.gitconfig (`git status` says more), and run again"),
    ("pygit2", "look at the study's .git and at ~/.gitconfig (`git status` says more), and run again"),
    ("httpx", "look at the proxy settings (ALL_PROXY, HTTPS_PROXY) and SSL_CERT_FILE, and run again"),
    ("ssl", "look at SSL_CERT_FILE and SSL_CERT_DIR, and run again"),
)


def told(error: Exception) -> str:
    """What the user is told, in one line. The traceback is kept in a file where that is needed to mend it."""
    if os.environ.get("AUTORESEARCH_DEBUG"):
        raise error
    what = one_line(str(error)) or type(error).__name__
    if isinstance(error, RecursionError):
        return f"{what}; a file that was read is nested too deeply: look at what is named on the command line, and run again"
    cure = next((cure for name, cure in _CURES if type(error).__module__.startswith(name)), None)
    if cure:
        return f"{what}; {cure}"
    named = f"{type(error).__name__}: {one_line(str(error))}"
    return f"{named}; this is a fault of autoresearch: please report it with {_kept(error)}"


def _kept(error: Exception) -> str:
    """Where its traceback was written, or in words that it is shown with AUTORESEARCH_DEBUG=1."""
    from autoresearch.paths import cache_dir

    try:
        path = cache_dir() / "errors" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"autoresearch {__version__}\n{''.join(traceback.format_exception(error))}", encoding="utf-8", errors="replace"
        )
        return str(path)
    except OSError:
        return "what AUTORESEARCH_DEBUG=1 shows"

"""The page as one HTML file that needs nothing else: styles, scripts and data are in it, and its policy lets it fetch nothing.

What the page is asked for one experiment at a time (diffs, logs, losses) lies in it in packed parts, which are unpacked when one is
looked at: so a study of thousands opens at once.
"""

import base64
import hashlib
import html
import json
import re
import zlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from autoresearch import durable
from autoresearch.report.page.details import Details
from autoresearch.report.page.table import table
from autoresearch.study import lock
from autoresearch.study.state import State
from autoresearch.study.workspace import Study

NAME = "report.html"
PART = 25  # experiments in a packed part
_HERE = Path(__file__).parent


def write(study: Study, state: State, path: Path | None = None, running: bool = True) -> Path:
    """report.html of a study, whole or not at all. running: whether the process at work in it is said to be."""
    path = path or study.folder / NAME
    details = Details(study)
    process = lock.writer(study.lock) if running else None
    data = table(study, state, details.category, datetime.now(UTC).isoformat(timespec="seconds"), process)
    packed = [_packed([details.of(one) for one in state.experiments[i : i + PART]]) for i in range(0, len(state.experiments), PART)]
    durable.write(path, page(f"{study.tag} · autoresearch", data | {"part": PART, "parts": packed}, "'none'"))
    return path


def page(title: str, data: dict[str, Any], connect: str) -> str:
    """connect: what it may fetch from, as a Content-Security-Policy says it."""
    parts = {
        "policy": policy(connect),
        "title": html.escape(title),
        "style": _style(),
        "script": _script(),
        "data": embedded(data),
    }
    return re.sub(
        r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _file("page.html")
    )  # in one go: what is put in is not read again


def policy(connect: str) -> str:
    scripts, styles = (_digest(text) for text in (_script(), _style()))
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; connect-src {connect};"
        " base-uri 'none'; form-action 'none'"
    )


def embedded(data: object) -> str:
    """JSON for a script element: no letter in it can end the element, or a line of JavaScript."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _packed(data: object) -> str:
    return base64.b64encode(zlib.compress(json.dumps(data, separators=(",", ":"), allow_nan=False).encode())).decode()


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _style() -> str:
    return _file("uPlot.min.css") + _file("page.css")


@cache
def _script() -> str:
    return _file("uPlot.iife.min.js") + "\n" + _file("page.js")


@cache
def _file(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")

"""What a person with a machine that we never had can send us: all that only the machine itself can show, as one JSON-able dict.

doctor (with the device asked inside of the sandbox), the attempts to get out of it, the backend's contracts, and a run card with
one whole training, in this order. A part that fails is in it with its reason, and the next one is made all the same. No home folder
and no user's name is in it (checkup.anonymous), and nothing of the person's texts.
"""

import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from autoresearch import __version__
from autoresearch.bench import card, measure
from autoresearch.checks import checkup
from autoresearch.checks.conformance import suite
from autoresearch.child import RunFailed
from autoresearch.data import corpora
from autoresearch.data.prepare import prepare
from autoresearch.errors import AutoresearchError
from autoresearch.hardware.devices.detect import Choice
from autoresearch.hardware.now import conditions
from autoresearch.hardware.planner import plan
from autoresearch.measure.clock import awake_seconds
from autoresearch.sandbox import levels

KIND, FORMAT = "autoresearch hardware report", 1
TRAIN_SECONDS = 60.0  # chosen: a speed that holds, and a whole report in under 8 minutes on a card that compiles

Say = Callable[[str], None]


def make(choice: Choice, profile: str, corpus: str, level: int, train_seconds: float, say: Say) -> dict[str, Any]:
    """The report. level: of the sandbox. say: is told each part as it begins and what came of it."""
    index = None if choice.backend.card is None else str(choice.backend.card.index)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "doctor": lambda: checkup.examine(choice.backend.name, profile, corpus, device=index),
        "attack": lambda: _attack(level),
        "contracts": lambda: _contracts(choice, say),
        "bench": lambda: _bench(choice, profile, corpus, train_seconds, say),
    }
    found: dict[str, Any] = {
        "kind": KIND, "format": FORMAT, "autoresearch": __version__, "revision": card.revision(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"), "system": platform.platform(), "python": sys.version.split()[0],
        "device": choice.facts.device, "backend": choice.backend.name, "seconds": {}, "failed": {},
    }  # fmt: skip
    for name, part in parts.items():
        say(f"{name} ...")
        start = awake_seconds()
        try:
            found[name] = part()
            problem = _problem(name, found[name])
        except (AutoresearchError, RunFailed, OSError) as error:
            found[name], problem = None, str(error)
        found["seconds"][name] = round(awake_seconds() - start, 1)
        if problem:
            found["failed"][name] = problem
        say(f"{name}: {problem or 'passed'} ({found['seconds'][name]:.0f} s)")
    shown: dict[str, Any] = checkup.anonymous(found)
    return shown


def _problem(name: str, part: dict[str, Any]) -> str | None:
    """What did not pass, in a line."""
    match name:
        case "doctor":
            problem: str | None = part["problem"]
            return problem
        case "attack":
            broken = part["broken"]
            return f"{len(broken)} open that the sandbox promises closed: {', '.join(broken)}" if broken else None
        case "contracts":
            lost = [
                f"{one['contract']} ({one['figure'] or one['detail']})" for one in part["results"] if one["result"] == suite.FAIL
            ]
            return ", ".join(lost) or None
        case _:
            return ", ".join(f"{one['profile']}: {one['reason']}" for one in part["failed"]) or None


def _attack(level: int) -> dict[str, Any]:
    if not levels.has_fence():
        return {"level": level, "attempts": 0, "open": [], "broken": []}
    from autoresearch.checks import trial

    found = trial.run(level)
    return {
        "level": level,
        "attempts": len(found),
        "open": [one.name for one in found if one.is_open],
        "broken": [one.name for one in found if one.is_broken],
    }


def _contracts(choice: Choice, say: Say) -> dict[str, Any]:
    results = []
    for one in suite.check(choice.backend):
        results.append(one.to_dict())
        say(f"  {one.contract}: {one.result}")
    return {"results": results}


def _bench(choice: Choice, profile: str, corpus: str, train_seconds: float, say: Say) -> dict[str, Any]:
    made = plan.from_choice(choice, profile)
    timed = made.profile.with_train_seconds(train_seconds)
    prepared = prepare(corpora.choose(corpus, timed.data.corpus)[0], timed.data.vocab_size)
    now = conditions.look(choice.backend)
    rows, limits, failed = [], [], []
    try:
        row, limit = measure.measure(made.choice, timed, prepared, False, lambda line: say(f"  {line}"))
        rows, limits = [row], [limit]
    except RunFailed as failure:
        failed = [(timed.name, f"{failure.kind}: {failure.reason}")]
    return card.make(choice, rows, limits, failed, now, quick=False)

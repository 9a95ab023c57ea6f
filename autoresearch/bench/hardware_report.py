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
from autoresearch.checks.conformance.contracts import FAIL
from autoresearch.child import RunFailed
from autoresearch.data import corpora
from autoresearch.data.prepare import prepare
from autoresearch.data.progress import OnProgress
from autoresearch.errors import AutoresearchError
from autoresearch.hardware.devices.detect import Choice
from autoresearch.hardware.now import conditions
from autoresearch.hardware.planner import plan
from autoresearch.measure.clock import awake_seconds
from autoresearch.sandbox import levels

KIND, FORMAT = "autoresearch hardware report", 1
TRAIN_SECONDS = 60.0  # chosen: a speed that holds, and a whole report in under 8 minutes on a card that compiles

DOING = {
    "doctor": "asking every backend, up to a minute",
    "attack": "trying every known way out of the sandbox, about a minute",
    "contracts": "holding the backend to its contracts, a few minutes where it compiles",
    "bench": "preparing the text and training",
}
SAY_EVERY = 20  # attempts

Say = Callable[[str], None]


def make(
    choice: Choice, profile: str, corpus: str, level: int, train_seconds: float, say: Say, on_progress: OnProgress | None = None
) -> dict[str, Any]:
    """The report. level: of the sandbox. say: is told each part as it begins, how far it is and what came of it. on_progress: of
    the text's preparation. Ctrl-C ends it: `interrupted` names the part, and what follows is not in it."""
    index = None if choice.backend.card is None else str(choice.backend.card.index)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "doctor": lambda: checkup.examine(choice.backend.name, profile, corpus, device=index),
        "attack": lambda: _attack(level, say),
        "contracts": lambda: _contracts(choice, say),
        "bench": lambda: _bench(choice, profile, corpus, train_seconds, say, on_progress),
    }
    report: dict[str, Any] = {
        "kind": KIND, "format": FORMAT, "autoresearch": __version__, "revision": card.revision(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"), "system": platform.platform(), "python": sys.version.split()[0],
        "device": choice.facts.device, "backend": choice.backend.name, "seconds": {}, "failed": {},
    }  # fmt: skip
    for name, part in parts.items():
        say(f"{name}: {DOING[name]}")
        start = awake_seconds()
        try:
            report[name] = part()
            problem = _problem(name, report[name])
        except (AutoresearchError, RunFailed, OSError) as error:
            report[name], problem = None, str(error)
        except KeyboardInterrupt:
            report["interrupted"] = name
            break
        report["seconds"][name] = round(awake_seconds() - start, 1)
        if problem:
            report["failed"][name] = problem
        say(f"{name}: {problem or 'passed'} ({report['seconds'][name]:.0f} s)")
    shown: dict[str, Any] = checkup.anonymous(report)
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
            lost = [f"{row['contract']} ({row['figure'] or row['detail']})" for row in part["results"] if row["result"] == FAIL]
            return ", ".join(lost) or None
        case _:
            return ", ".join(f"{failure['profile']}: {failure['reason']}" for failure in part["failed"]) or None


def _attack(level: int, say: Say) -> dict[str, Any]:
    if not levels.has_fence():
        return {"level": level, "attempts": 0, "open": [], "broken": []}
    from autoresearch.checks import trial

    done = 0

    def on_result(_: trial.Result) -> None:
        nonlocal done
        done += 1
        if done % SAY_EVERY == 0:
            say(f"  {done} tried")

    results = trial.run(level, on_result=on_result)
    return {
        "level": level,
        "attempts": len(results),
        "open": [result.name for result in results if result.is_open],
        "broken": [result.name for result in results if result.is_broken],
    }


def _contracts(choice: Choice, say: Say) -> dict[str, Any]:
    results = []
    for checked in suite.check(choice.backend):
        results.append(checked.to_dict())
        say(f"  {checked.contract}: {checked.result}")
    return {"results": results}


def _bench(
    choice: Choice, profile: str, corpus: str, train_seconds: float, say: Say, on_progress: OnProgress | None
) -> dict[str, Any]:
    made = plan.from_choice(choice, profile)
    timed = made.profile.with_train_seconds(train_seconds)
    prepared = prepare(corpora.choose(corpus, timed.sizes.corpus)[0], timed.sizes.vocab_size, on_progress)
    now = conditions.look(choice.backend)
    rows, limits, failed = [], [], []
    try:
        row, limit = measure.measure(made.choice, timed, prepared, False, lambda line: say(f"  {line}"))
        rows, limits = [row], [limit]
    except RunFailed as failure:
        failed = [(timed.name, f"{failure.kind}: {failure.reason}")]
    return card.make(choice, rows, limits, failed, now, quick=False)

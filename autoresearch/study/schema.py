"""What each event of the ledger may hold: a table, a row an event. ledger.py says what the fields mean.

An event that is not so is not written (LedgerRefusal), and one that an older version wrote is skipped with a word (state.py).
A new event is a new row; a field that older ledgers lack is `later(...)`. Events and fields that no row names are let be: they are
of a newer version, and nothing here reads them. What an event may refer to (a known experiment, the run under way) is state.py's.

`fit` cuts what others wrote to the lengths that stand here, so that no 20 MB of a reason come this far.
"""

import re
from collections.abc import Callable
from datetime import datetime

# None: the value is as it should be; else what it is not, in a few words.
Check = Callable[[object], str | None]

LONGEST_LINE_BYTES = 1 << 20  # of a line that is written; texts of CHARACTERS take a third of it, were every letter an escape
_LARGEST = 2**63  # of a whole number
WORST_BPB = 1e6  # run/scoring.py gives no worse score

FAILED = ("crash", "oom", "diverged", "timeout", "invalid", "limit", "cheat", "futile")  # how a run may end without a score
KEPT = ("baseline", "keep")  # states of a verdict that keeps
DISTURBED = ("suspended", "contended", "throttled", "slow")  # what a machine may be while something trains
CHARACTERS = {  # at most; longer ones are cut before they are written
    "description": 1000, "reason": 4000, "reasoning": 8000, "log": 20_000, "wish": 2000, "outcome": 1000, "model": 200,
    "agent": 200,
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- kinds


def text(longest: int) -> Check:
    def check(value: object) -> str | None:
        if not isinstance(value, str):
            return "is no text"
        return f"has more than {longest:,} characters" if len(value) > longest else None

    return check


def name(longest: int = 64) -> Check:
    """A commit, a key, a folder: what may become a part of a path."""
    pattern = re.compile(rf"[0-9A-Za-z][0-9A-Za-z_.-]{{0,{longest - 1}}}")
    return lambda value: None if isinstance(value, str) and pattern.fullmatch(value) else "is no name"


def word(*allowed: str) -> Check:
    return lambda value: None if isinstance(value, str) and value in allowed else f"is none of {', '.join(allowed)}"


def any_word(value: object) -> str | None:
    """A state that a newer version may have and this one not: it is shown, and nothing depends on it."""
    return None if isinstance(value, str) and re.fullmatch(r"[a-z][a-z-]{0,19}", value) else "is no word"


def number(low: float = 0.0, high: float = 1e15, above: float | None = None) -> Check:
    """Finite, from low to high; above: more than that."""

    def check(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "is no number"
        if not low <= value <= high or (above is not None and not value > above):  # NaN is not, either
            return f"is not between {low:g} and {high:g}"
        return None

    return check


def whole(low: int = 0, high: int = _LARGEST) -> Check:
    def check(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return "is no whole number"
        return None if low <= value <= high else f"is not between {low} and {high}"

    return check


def flag(value: object) -> str | None:
    return None if isinstance(value, bool) else "is neither true nor false"


def many(of: Check, most: int, least: int = 0) -> Check:
    def check(value: object) -> str | None:
        if not isinstance(value, list | tuple) or not least <= len(value) <= most:
            return f"is no list of {least} to {most}"
        return next((f"holds one that {wrong}" for one in value if (wrong := of(one))), None)

    return check


def table(fields: dict[str, Check]) -> Check:
    """A JSON object that has these fields, and perhaps others."""

    def check(value: object) -> str | None:
        if not isinstance(value, dict):
            return "is no JSON object"
        return _objection(value, fields)

    return check


def or_null(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


class later:
    """A field that older ledgers lack."""

    def __init__(self, check: Check):
        self._check = check

    def __call__(self, value: object) -> str | None:
        return self._check(value)


# ---------------------------------------------------------------------------------------------------------- the table

_n, _k = whole(high=10**9), whole(1, 10**6)
_commit = name()
_words = {key: text(longest) for key, longest in CHARACTERS.items()}
_reason = _words["reason"]
_cost_usd = number(high=1e6)
_bpb = number(0.0, WORST_BPB, above=0.0)
_share = number(-1e6, 1e6)
_nats = number(-1e9, 1e9)
_seconds = later(or_null(number(high=1e9)))
_count = later(or_null(whole()))
_digest = later(or_null(name()))
_proposal = {key: _words[key] for key in ("description", "reasoning", "agent")} | {"cost_usd": _cost_usd}
_watched = {
    "state": or_null(word(*DISTURBED)), "reason": or_null(_reason), "asleep_seconds": later(number(high=1e9)),
    "taken": or_null(_share), "device_throttled": or_null(flag),
}  # fmt: skip
_pair = many(number(high=1e9), 2, 2)
_result = {
    "status": word("ok", *FAILED), "reason": later(or_null(_reason)), "val_bpb": later(or_null(_bpb)),
    "training_seconds": _seconds, "startup_seconds": _seconds, "scoring_seconds": _seconds, "total_seconds": _seconds,
    "peak_memory_bytes": _count, "mfu_percent": later(or_null(number(high=1e9))), "total_tokens": _count, "num_steps": _count,
    "num_params": _count, "depth": _count, "checkpoint": _digest, "bits": _digest, "checkpoint_bytes": _count,
    "costs": later(or_null(table({"rows": whole(1), "loading": _pair, "all_rows": _pair, "batch": _pair}))),
}  # fmt: skip
_tokens = later(or_null(whole()))

EVENTS: dict[str, dict[str, Check]] = {
    "study": {"tag": name(100), "seed": whole(-_LARGEST), "decide": word("confirmed", "strict"), "terms": later(text(100_000))},
    "asked": {
        "agent": _words["agent"], "model": _words["model"], "outcome": _words["outcome"], "seconds": number(high=1e9),
        "cost_usd": or_null(_cost_usd), "input_tokens": _tokens, "cache_read_tokens": _tokens, "cache_write_tokens": _tokens,
        "output_tokens": _tokens,
    },
    "proposed": {**_proposal, "commit": _commit, "base": _commit},
    "rejected": {
        **_proposal, "n": later(_n), "reason": _reason, "state": later(word(*FAILED)), "commit": later(or_null(_commit)),
        "key": later(name()), "log": later(_words["log"]),
    },
    "mix": {"share": number(high=1.0), "wish": or_null(_words["wish"]), "reason": _reason},
    "start": {**_proposal, "n": _n, "commit": _commit, "parent": or_null(_commit), "blob": _commit, "key": name()},
    "begin": {
        "n": _n, "k": _k, "seed": whole(-_LARGEST), "folder": name(), "conditions": later(table({})),
        "sandbox": later(or_null(whole(high=9))),
    },
    "run": {"n": _n, "k": _k, "seed": whole(-_LARGEST), "folder": name(), **_result, "watched": later(or_null(table(_watched)))},
    "lost": {"n": _n, "k": _k, "reason": _reason},
    "invalid": {"n": _n, "k": _k, **_watched, "state": word(*DISTURBED), "reason": _reason},
    "speed": {
        "place": word("before", "after"), "state": word("steady", "normal", "helped", *DISTURBED), "rate": number(),
        "median": or_null(number()), "reason": or_null(_reason), "taken": or_null(_share),
        "helpers": later(or_null(_share)), "clock_mhz": or_null(number(high=1e9)), "wait_seconds": or_null(number(high=1e6)),
    },
    "audit": {
        "n": _n, "k": _k, "cuts": whole(1, 10**9), "worst_nats": or_null(_nats), "shift_nats": or_null(_nats),
        "allowed": many(_nats, 2, 2), "reason": or_null(_reason), "seconds": number(high=1e9), "closer": later(or_null(table({}))),
    },
    "verdict": {
        "n": _n, "verdict": word("keep", "discard", "crash"), "state": any_word, "reason": or_null(_reason),
        "val_bpb": or_null(_bpb), "scores": many(_bpb, 10_000), "commit": _commit,
    },
    "tested": {"n": _n, "k": _k, "test_bpb": _bpb},
    "slice": {
        "n": _n, "k": _k, "place": word("baseline", "keep", "end", "again"), "against": or_null(_n), "bpb": or_null(_bpb),
        "documents": or_null(name()), "gain_val": or_null(many(or_null(_share), 2, 2)),
        "gain_slice": or_null(many(or_null(_share), 2, 2)), "reason": or_null(_reason), "seconds": number(high=1e9),
    },
    "revoked": {"n": _n, "reason": _reason, "state": later(word("cheat", "val-only"))},
    "noise": {"n": _n, "wanted": whole(high=10**6)},
    "pause": {"reason": _reason},
    "stop": {"reason": _reason},
}  # fmt: skip


def _of_run(fields: dict) -> str | None:
    return "status is ok and val_bpb null" if fields["status"] == "ok" and fields.get("val_bpb") is None else None


def _of_verdict(fields: dict) -> str | None:
    is_keep = fields["verdict"] == "keep"
    if is_keep and (fields["val_bpb"] is None or not fields["scores"]):
        return "verdict is keep without val_bpb and scores"
    return None if (fields["state"] in KEPT) == is_keep else f"verdict is {fields['verdict']} and state {fields['state']}"


def _of_rejected(fields: dict) -> str | None:
    missing = [key for key in ("n", "state", "key", "log") if key not in fields]
    return f"commit is there without {', '.join(missing)}" if fields.get("commit") and missing else None


# What several fields of one event must be together.
_TOGETHER: dict[str, Check] = {"run": _of_run, "verdict": _of_verdict, "rejected": _of_rejected}


# ---------------------------------------------------------------------------------------------------------- checks


def objection(event: str, fields: dict) -> str | None:
    """What is wrong with an event's fields, in words without their values; None when nothing is, or the event is not known."""
    known = EVENTS.get(event)
    if known is None:
        return None
    return _objection(fields, known) or (_TOGETHER[event](fields) if event in _TOGETHER else None)


def entry_objection(entry: object) -> str | None:
    """As `objection`, of any JSON value that stands in a ledger's place."""
    if not isinstance(entry, dict) or not isinstance(entry.get("event"), str):
        return "it is no event"
    if whole(1)(entry.get("seq")) or not _is_time(entry.get("time")):
        return "it has no sequence number or no time"
    return objection(entry["event"], entry)


def fit(fields: dict) -> dict:
    """fields with what others wrote cut to its length."""
    return {key: _cut(key, value) for key, value in fields.items()}


def _cut(key: str, value: object) -> object:
    if key == "watched" and isinstance(value, dict):
        return fit(value)
    longest = CHARACTERS.get(key)
    if longest is None or not isinstance(value, str) or len(value) <= longest:
        return value
    return "…" + value[1 - longest :] if key == "log" else value[: longest - 1] + "…"  # of a log, the end


def _objection(fields: dict, known: dict[str, Check]) -> str | None:
    for key, check in known.items():
        if key in fields:
            if wrong := check(fields[key]):
                return f"{key} {wrong}"
        elif not isinstance(check, later):
            return f"{key} is missing"
    return None


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3,6})?\+00:00", re.ASCII)


def _is_time(value: object) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        return datetime.fromisoformat(value) is not None
    except ValueError:  # the 31st of February
        return False

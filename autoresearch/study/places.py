"""Whether an event has its place after the events before it: what it refers to has to be there.

Each function here gets a State and an event's fields, which are as schema.py says, and gives what is wrong, in words, or None.
"""


def objection(state, event: str, fields: dict) -> str | None:
    check = _CHECKS.get(event)
    return check(state, fields) if check else None


def _known(state, fields: dict) -> str | None:
    return None if fields["n"] < len(state.experiments) else f"there is no experiment {fields['n']}"


def _study(state, fields: dict) -> str | None:
    return "the study has begun before" if state.study else None


def _start(state, fields: dict) -> str | None:
    if state.pending is not None:
        return f"experiment {state.pending.number} has no verdict yet"
    number = len(state.experiments) if state.best else 0  # a baseline that failed is tried again
    return None if fields["n"] == number else f"the next experiment is {number}"


def _begin(state, fields: dict) -> str | None:
    if wrong := _known(state, fields):
        return wrong
    one = state.experiments[fields["n"]]
    if one is not state.pending and one is not state.best:
        return f"experiment {one.number} was decided, and is not the best"
    if cut := state.unfinished:
        return f"run {cut.unfinished.k} of experiment {cut.number} is under way"
    return None if fields["k"] == len(one.runs) + 1 else f"its next run is {len(one.runs) + 1}"


def _end(state, fields: dict) -> str | None:
    """Of a run that was under way."""
    one = state.unfinished
    if one is None or (one.number, one.unfinished.k) != (fields["n"], fields["k"]):
        return f"run {fields['k']} of experiment {fields['n']} is not under way"
    return None if fields.get("seed", one.unfinished.seed) == one.unfinished.seed else "it was begun with another seed"


def _verdict(state, fields: dict) -> str | None:
    one = state.pending
    if one is None or one.number != fields["n"]:
        return f"experiment {fields['n']} waits for none"
    if state.unfinished:
        return "a run is under way"
    measured = sum(result.ok for result in one.results)
    return f"it has {len(fields['scores'])} scores, of {measured} runs" if len(fields["scores"]) > measured else None


def _of_a_run(state, fields: dict) -> str | None:
    """Of what is said of a run that was made."""
    wrong = _known(state, fields)
    if wrong is None and fields["k"] > len(state.experiments[fields["n"]].runs):
        wrong = f"experiment {fields['n']} has no run {fields['k']}"
    return wrong


def _revoked(state, fields: dict) -> str | None:
    is_best = state.best is not None and state.best.number == fields["n"] > 0
    return None if is_best else f"experiment {fields['n']} is not the best, or is the baseline"


_CHECKS = {
    "study": _study, "start": _start, "begin": _begin, "run": _end, "lost": _end, "invalid": _end, "verdict": _verdict,
    "audit": _of_a_run, "tested": _of_a_run, "slice": _of_a_run, "revoked": _revoked, "noise": _known,
}  # fmt: skip

"""The events of a ledger: a frozen record each, with what its fields may be. ledger.py says when each is written.

An event that is not so is not written (LedgerRefusal), and one that an older version wrote is skipped with a word (state.py).
A new event is a new class; a field that older ledgers lack has a default. Events and fields that no class names are let be: they
are of a newer version, and nothing here reads them. What an event may refer to (a known experiment, the run under way) is
places.py's.

`fit` cuts what others wrote to the lengths that stand here, so that no 20 MB of a reason come this far.
"""

import dataclasses
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from autoresearch import records
from autoresearch.errors import UsageError
from autoresearch.measure.summary import RunResult
from autoresearch.metric import Metric
from autoresearch.run.constraints import NAMED, Bound, Constraints

LONGEST_LINE_BYTES = 1 << 20  # of a line that is written; texts of CHARACTERS take a third of it, were every letter an escape
_MOST = 2**63 - 1  # of a whole number
MOST_USD = 1e6

CHARACTERS = {  # at most; longer ones are cut before they are written
    "description": 1000, "reason": 4000, "reasoning": 8000, "log": 20_000, "wish": 2000, "outcome": 1000, "model": 200,
    "agent": 200, "text": 2000,
}  # fmt: skip

Failed = Literal["crash", "oom", "diverged", "timeout", "invalid", "limit", "cheat", "futile"]  # how a run ends without a score
FAILED: tuple[Failed, ...] = get_args(Failed)
Disturbed = Literal["suspended", "contended", "throttled", "slow"]  # what a machine may be while something trains
Place = Literal["before", "after"]  # a run
Steadiness = Literal["steady", "normal", "helped", Disturbed]  # what a check of the speed found
Occasion = Literal["baseline", "keep", "end", "again"]  # for a score on the audit slice
SKIPPED = "skip"  # state of a verdict that a person wanted
REBASED = "rebased"  # the same: its base is no longer the best, so its edit is made and tested again on what is
PERSON = "person"  # the agent of a proposal that was handed in
TRANSFER = "transfer"  # the agent of what a transfer study trains
KEPT = ("baseline", "keep")  # states of a verdict that keeps

Number = Annotated[int, Meta(ge=0, le=10**9)]  # of an experiment
K = Annotated[int, Meta(ge=1, le=10**6)]  # which run of it
Seed = Annotated[int, Meta(ge=-_MOST, le=_MOST)]
Count = Annotated[int, Meta(ge=0, le=_MOST)]
# A commit, a key, a folder: what may become a part of a path.
Name = Annotated[str, Meta(pattern=r"\A[0-9A-Za-z][0-9A-Za-z_.-]{0,63}\Z")]
Tag = Annotated[str, Meta(pattern=r"\A[0-9A-Za-z][0-9A-Za-z_.-]{0,99}\Z")]
# A state that a newer version may have and this one not: it is shown, and nothing depends on it.
Word = Annotated[str, Meta(pattern=r"\A[a-z][a-z-]{0,19}\Z")]
Description = Annotated[str, Meta(max_length=CHARACTERS["description"])]
Reason = Annotated[str, Meta(max_length=CHARACTERS["reason"])]
Reasoning = Annotated[str, Meta(max_length=CHARACTERS["reasoning"])]
Log = Annotated[str, Meta(max_length=CHARACTERS["log"])]
Agent = Annotated[str, Meta(max_length=CHARACTERS["agent"])]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Joules = Annotated[float, Meta(ge=0, le=1e12)]  # of a training, by what it ran on; measured (loop/watch.py)
Usd = Annotated[float, Meta(ge=0, le=MOST_USD)]
Score = Annotated[float, Meta(ge=-1e300, le=1e300)]  # places.py knows the metric's own bounds
Share = Annotated[float, Meta(ge=-1e6, le=1e6)]
Change = Annotated[float, Meta(ge=-2e300, le=2e300)]  # of a score
Nats = Annotated[float, Meta(ge=-1e9, le=1e9)]
Measured = Annotated[dict[Name, Annotated[float, Meta(ge=-1e300, le=1e300)]], Meta(max_length=100)]  # run/quantities.py
_Pair = tuple[Seconds, Seconds]
_Gain = tuple[Change, Change | None]  # and its standard error, where that is known


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=str.lower):
    """The ledger itself adds seq and time."""

    seq: Annotated[int, Meta(ge=1, le=_MOST)] | UnsetType = UNSET
    time: str | UnsetType = UNSET

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    def objection(self) -> str | None:
        """What several fields of one event must be together, and are not."""
        return None


class Study(Event, frozen=True, kw_only=True):
    tag: Tag
    seed: Seed
    decide: Literal["confirmed", "strict"]  # decide.Rule
    terms: Annotated[str, Meta(max_length=100_000)] | UnsetType = UNSET
    metric: Metric | UnsetType = UNSET  # of a task; without it val_bpb


class Workers(Event, frozen=True, kw_only=True):
    """From now on so many runs may be under way at once; of more than one, any number of experiments may be without a verdict."""

    count: Annotated[int, Meta(ge=1, le=100_000)]


class Asked(Event, frozen=True, kw_only=True):
    agent: Agent
    model: Annotated[str, Meta(max_length=CHARACTERS["model"])]
    outcome: Annotated[str, Meta(max_length=CHARACTERS["outcome"])]
    seconds: Seconds
    cost_usd: Usd | None
    input_tokens: Count | None = None
    cache_read_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    output_tokens: Count | None = None


class Limits(Event, frozen=True, kw_only=True):
    """run/constraints.py's, from now on."""

    max_params: Bound | None
    max_memory_gb: Bound | None
    min_tok_s: Bound | None
    limits: Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=100)] | UnsetType = UNSET  # on other quantities

    @classmethod
    def of(cls, constraints: Constraints) -> "Limits":
        table: dict[str, Any] = dict.fromkeys(NAMED) | constraints.to_dict()
        return cls(**table)

    def constraints(self) -> Constraints:
        table = records.write(self)
        return Constraints.from_dict({name: table[name] for name in (*NAMED, "limits") if name in table})

    def objection(self) -> str | None:
        try:
            self.constraints()
        except UsageError as error:
            return str(error)
        return None


class Tried(Event, frozen=True, kw_only=True):
    commit: Name
    key: Name
    description: Description


class Proposed(Event, frozen=True, kw_only=True):
    agent: Agent
    commit: Name
    base: Name  # the commit whose train.py it edits
    description: Description
    reasoning: Reasoning
    cost_usd: Usd | None
    rank: Number | UnsetType = UNSET  # from 1: a further idea of the same answer


class Rejected(Event, frozen=True, kw_only=True):
    n: Number | UnsetType = UNSET
    agent: Agent
    description: Description
    reasoning: Reasoning
    cost_usd: Usd | None
    reason: Reason
    state: Failed | UnsetType = UNSET  # this and what follows: of one that failed before its training
    log: Log | UnsetType = UNSET
    commit: Name | UnsetType | None = UNSET
    key: Name | UnsetType = UNSET
    again: Number | UnsetType = UNSET  # the rebased experiment whose edit it was

    def objection(self) -> str | None:
        missing = [name for name in ("n", "state", "key", "log") if getattr(self, name) is UNSET]
        return f"commit is there without {', '.join(missing)}" if self.commit and missing else None


class Mix(Event, frozen=True, kw_only=True):
    share: Annotated[float, Meta(ge=0, le=1)]
    wish: Annotated[str, Meta(max_length=CHARACTERS["wish"])] | None
    reason: Reason


class Start(Event, frozen=True, kw_only=True):
    n: Number
    commit: Name
    parent: Name | None
    blob: Name
    key: Name
    description: Description
    reasoning: Reasoning
    agent: Agent
    cost_usd: Usd | None
    base: Number | UnsetType = UNSET  # with several workers: the experiment that it is judged against
    again: Number | UnsetType = UNSET  # the rebased experiment whose edit this is


class Begin(Event, frozen=True, kw_only=True):
    n: Number
    k: K
    seed: Seed
    folder: Name
    conditions: dict[str, object] | UnsetType = UNSET
    sandbox: Annotated[int, Meta(ge=0, le=9)] | None = None
    device_id: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET  # hardware/devices/cards.py
    worker: Number | UnsetType = UNSET  # which of several, from 1


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    state: Disturbed | None
    reason: Reason | None
    asleep_seconds: Seconds = 0.0
    taken: Share | None
    device_throttled: bool | None
    joules: Joules | None = None


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    rows: Annotated[int, Meta(ge=1, le=_MOST)]
    loading: _Pair
    all_rows: _Pair
    batch: _Pair


class Run(Event, frozen=True, kw_only=True):
    n: Number
    k: K
    folder: Name
    watched: Watched | None = None
    # As measure/summary.py's RunResult
    status: Literal["ok", Failed]
    seed: Seed
    reason: Reason | None = None
    val_bpb: Score | None = None
    training_seconds: Seconds | None = None
    startup_seconds: Seconds | None = None
    scoring_seconds: Seconds | None = None
    total_seconds: Seconds | None = None
    peak_memory_bytes: Count | None = None
    mfu_percent: Seconds | None = None
    total_tokens: Count | None = None
    num_steps: Count | None = None
    num_params: Count | None = None
    depth: Count | None = None
    checkpoint: Name | None = None
    checkpoint_bytes: Count | None = None
    bits: Name | None = None
    costs: Costs | None = None
    measured: Measured | None = None
    level: Score | None = None

    @property
    def result(self) -> RunResult:
        table = {field.name: getattr(self, field.name) for field in dataclasses.fields(RunResult)}
        return RunResult(**table | {"costs": self.costs and records.write(self.costs)})

    def objection(self) -> str | None:
        return "status is ok and val_bpb null" if self.status == "ok" and self.val_bpb is None else None


class Lost(Event, frozen=True, kw_only=True):
    n: Number
    k: K
    reason: Reason


class Invalid(Event, frozen=True, kw_only=True):
    n: Number
    k: K
    seed: Seed | UnsetType = UNSET
    state: Disturbed
    reason: Reason
    asleep_seconds: Seconds = 0.0
    taken: Share | None
    device_throttled: bool | None
    joules: Joules | None = None


class Speed(Event, frozen=True, kw_only=True):
    place: Place
    rate: Annotated[float, Meta(ge=0, le=1e15)]
    median: Annotated[float, Meta(ge=0, le=1e15)] | None
    state: Steadiness
    reason: Reason | None
    taken: Share | None
    helpers: Share | None = None
    clock_mhz: Seconds | None
    wait_seconds: Annotated[float, Meta(ge=0, le=1e6)] | None


class Audit(Event, frozen=True, kw_only=True):
    n: Number
    k: K
    cuts: Annotated[int, Meta(ge=1, le=10**9)]
    worst_nats: Nats | None
    shift_nats: Nats | None
    allowed: tuple[Nats, Nats]
    closer: dict[str, object] | None = None
    reason: Reason | None
    seconds: Seconds


class Slice(Event, frozen=True, kw_only=True):
    n: Number
    k: K
    place: Occasion
    against: Number | None
    bpb: Score | None
    documents: Name | None
    gain_val: _Gain | None
    gain_slice: _Gain | None
    reason: Reason | None
    seconds: Seconds


class Verdict(Event, frozen=True, kw_only=True):
    n: Number
    commit: Name
    verdict: Literal["keep", "discard", "crash"]
    state: Word
    reason: Reason | None
    val_bpb: Score | None
    scores: Annotated[list[Score], Meta(max_length=10_000)]

    def objection(self) -> str | None:
        is_keep = self.verdict == "keep"
        if is_keep and (self.val_bpb is None or not self.scores):
            return "verdict is keep without val_bpb and scores"
        return None if (self.state in KEPT) == is_keep else f"verdict is {self.verdict} and state {self.state}"


class Tested(Event, frozen=True, kw_only=True):
    n: Number
    k: K
    test_bpb: Score


class Revoked(Event, frozen=True, kw_only=True):
    n: Number
    reason: Reason
    state: Literal["cheat", "val-only"] = "cheat"


class Noise(Event, frozen=True, kw_only=True):
    n: Number
    wanted: Annotated[int, Meta(ge=0, le=10**6)]


class Pause(Event, frozen=True, kw_only=True):
    reason: Reason
    id: Name | UnsetType = UNSET  # with one a person asked for it; this and the next four: of a request (inbox.py)


class Resume(Event, frozen=True, kw_only=True):
    id: Name


class Told(Event, frozen=True, kw_only=True):
    id: Name
    text: Annotated[str, Meta(max_length=CHARACTERS["text"])]


class Skip(Event, frozen=True, kw_only=True):
    id: Name
    n: Number


class Handed(Event, frozen=True, kw_only=True):
    id: Name
    commit: Name
    description: Description


class Stop(Event, frozen=True, kw_only=True):
    reason: Reason


EVENTS: dict[str, type[Event]] = {kind.__name__.lower(): kind for kind in Event.__subclasses__()}


def read(entry: object) -> Event | None:
    """A ledger's line as its event; None for one that is not known here. ValueError in a few words for what is no such event."""
    if not isinstance(entry, dict) or not isinstance(entry.get("event"), str):
        raise ValueError("it is no event")
    kind = EVENTS.get(entry["event"], Event)
    seq = entry.get("seq")
    if type(seq) is not int or not 1 <= seq <= _MOST or not _is_time(entry.get("time")):
        raise ValueError("it has no sequence number or no time")
    return None if kind is Event else _checked(kind, entry)


def fields(event: Event) -> dict[str, Any]:
    """What the ledger is to hold of an event: its fields, cut to their lengths. ValueError for one that it does not take."""
    table = fit(records.write(event))
    _checked(type(event), table)
    del table["event"]
    return table


def objection(entry: dict[str, Any]) -> str | None:
    """Why a line is not as its event has to be; None when it is, or is not known here."""
    try:
        read(entry)
    except ValueError as error:
        return str(error)
    return None


def fit(table: dict[str, Any]) -> dict[str, Any]:
    """table with what others wrote cut to its length."""
    return {key: _cut(key, value) for key, value in table.items()}


def _checked(kind: type[Event], table: dict[str, Any]) -> Event:
    event = records.read(kind, table)
    if wrong := event.objection():
        raise ValueError(wrong)
    return event


def _cut(key: str, value: object) -> object:
    if key == "watched" and isinstance(value, dict):
        return fit(value)
    longest = CHARACTERS.get(key)
    if longest is None or not isinstance(value, str) or len(value) <= longest:
        return value
    return "…" + value[1 - longest :] if key == "log" else value[: longest - 1] + "…"  # of a log, the end


def _is_time(value: object) -> bool:
    """As the ledger writes it: 2026-01-02T20:00:00.123+00:00."""
    if not isinstance(value, str) or len(value) > 32 or not value.isascii() or not value.endswith("+00:00"):
        return False
    try:
        return datetime.fromisoformat(value).tzinfo is not None and value[10:11] == "T"
    except ValueError:  # the 31st of February
        return False

"""The ledger: what is appended is read back, what is damaged is noticed, what is torn is set aside."""

import errno
import json

import pytest

from autoresearch import durable
from autoresearch.errors import StoredStateError
from autoresearch.measure.summary import RunResult
from autoresearch.study.ledger import Ledger, read
from autoresearch.study.state import State


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def filled(path, lines=4):
    ledger = Ledger(path)
    ledger.append("study", tag="t", seed=7, decide="strict")
    for number in range(lines - 1):
        ledger.append("pause", reason=f'number {number} \u00e9\udc80 \u2028 "quoted"')
    return ledger


def test_events_come_back_as_they_were_written(path):
    events = filled(path).events
    assert read(path) == events == Ledger(path).events
    assert [event["seq"] for event in events] == [1, 2, 3, 4]
    assert all(json.loads(line)["check"] for line in path.read_bytes().splitlines())


@pytest.mark.parametrize("tail", [b'{"seq":5,"time":"20', b"\0\0\0\0", b'{"seq":5,\0\0\0\0"}\n'])
def test_a_torn_last_line_is_set_aside_and_cut(path, tail):
    filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert len(read(path)) == 4 and path.read_bytes() == whole + tail  # a reader changes nothing
    ledger = Ledger(path)
    assert path.read_bytes() == whole
    assert path.with_name("events.torn-5.txt").read_bytes() == tail
    assert ledger.append("stop", reason="x")["seq"] == 5
    assert len(read(path)) == 5


def test_any_cut_of_the_last_line_leaves_the_others(path):
    filled(path)
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        assert len(read(path)) == 3


def test_a_changed_byte_is_noticed_and_the_line_named(path):
    filled(path)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for at in range(0, len(whole) - len(lines[-1]) - 1, 3):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        path.write_bytes(changed)
        with pytest.raises(StoredStateError, match=r"line [123] is damaged"):
            read(path)


def test_a_lost_a_swapped_and_a_doubled_line_are_noticed(path):
    filled(path)
    first, second, third, fourth = path.read_bytes().splitlines(keepends=True)
    for lines in ([first, third, fourth], [first, third, second, fourth], [first, second, second, third, fourth]):
        path.write_bytes(b"".join(lines))
        with pytest.raises(StoredStateError, match=r"line [23] is"):
            Ledger(path)


def test_a_full_disk_leaves_the_ledger_as_it_was(path, monkeypatch):
    ledger = filled(path)
    before = path.read_bytes()

    def half_a_line(path, line):
        with open(path, "ab") as file:
            file.write(line[: len(line) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "append", half_a_line)
        with pytest.raises(OSError, match="No space"):
            ledger.append("stop", reason="x")
    assert path.read_bytes() == before
    ledger.append("stop", reason="x")
    assert [event["event"] for event in read(path)][-1] == "stop"


def start(ledger, n, text="a"):
    names = {"commit": f"c{n}", "parent": None, "blob": f"b{text}", "key": f"k{text}", "description": "d"}
    ledger.append("start", n=n, **names, reasoning="", agent="a", cost_usd=0.5)


def run(ledger, n, k, seed, **result):
    ledger.append("begin", n=n, k=k, seed=seed, folder=f"{n}-{k}")
    if result:
        fields = RunResult(seed=seed, **result).to_json()
        ledger.append("run", n=n, k=k, folder=f"{n}-{k}", **fields)


def test_the_state_is_the_fold_of_the_events(path):
    ledger = filled(path, lines=1)
    start(ledger, 0)
    run(ledger, 0, 1, 7, status="ok", val_bpb=1.0, peak_memory_bytes=5)
    state = State.from_events(ledger.events)
    assert state.pending.number == 0 and state.best is None and state.next_seed() == 8
    ledger.append("verdict", n=0, verdict="keep", state="baseline", reason="r", val_bpb=1.0, scores=[1.0], commit="c0")
    start(ledger, 1, "b")
    run(ledger, 1, 1, 8)
    ledger.append("lost", n=1, k=1, reason="killed")
    run(ledger, 1, 1, 8, status="oom", reason="out of memory")
    ledger.append("verdict", n=1, verdict="crash", state="oom", reason="r", val_bpb=None, scores=[], commit="c1")
    tokens = {"input_tokens": 1, "output_tokens": 2, "cache_read_tokens": 0, "cache_write_tokens": 0}
    for cost in (0.25, None):  # None: a model without a known price
        ledger.append("asked", agent="a", model="m", outcome="answered", seconds=1.0, cost_usd=cost, **tokens)
    words = {"agent": "a", "description": "d", "reasoning": "", "cost_usd": 0.25}
    ledger.append("proposed", commit="p", base="c0", **words)
    assert State.from_events(ledger.events).waiting[0].commit == "p"
    ledger.append("rejected", n=2, **words, reason="no room", state="oom", commit="p", key="kp", log="l")
    ledger.append("rejected", n=2, **words, reason="does not parse")
    ledger.append("proposed", commit="q", base="c0", **words)
    start(ledger, 2, "c")
    run(ledger, 2, 1, 9)
    state = State.from_events(ledger.events)
    assert state.best.number == 0 and state.best.peak_memory_bytes == 5
    assert state.counts() == {"keep": 0, "discard": 0, "crash": 1}
    assert state.pending.number == 2 and state.pending.runs[0].result is None
    assert (state.lost, state.results, state.next_seed(), state.cost_usd, state.asked) == (1, 2, 9, 0.25, 2)
    assert not state.waiting and state.rejected == 2
    assert [(one.n, one.commit, one.state) for one in state.rejections] == [(2, "p", "oom")]
    assert state.rejected_keys == {"kp": "no room"}
    assert state.keys == {"ka": 0, "kb": 1, "kc": 2} and state.noise is None


def test_what_was_not_kept_says_nothing_of_the_noise(path):
    ledger = filled(path, lines=1)
    for n, (verdict, scores) in enumerate([("keep", [1.0, 1.002]), ("discard", [0.5, 0.5, 1.5, 2.0]), ("keep", [0.9, 0.9, 0.902])]):
        start(ledger, n, f"text{n}")
        for k, score in enumerate(scores, 1):
            run(ledger, n, k, 10 * n + k, status="ok", val_bpb=score)
        ledger.append("verdict", n=n, verdict=verdict, state=verdict, reason="r", val_bpb=1.0, scores=scores, commit=f"c{n}")
    noise = State.from_events(ledger.events).noise
    assert noise.dof == 2 and noise.sigma == pytest.approx(2e-6**0.5)

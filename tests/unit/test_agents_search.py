"""The search agent: its memory is the history, it never repeats itself, and it learns."""

import numpy as np
import pytest

from autoresearch import constants
from autoresearch.agents.base import RUNNING, Exhausted, Past, View
from autoresearch.agents.search import moves, texts
from autoresearch.agents.search.additive import Additive
from autoresearch.agents.search.search import Search
from autoresearch.agents.search.texts import parsed
from autoresearch.errors import UsageError
from autoresearch.hardware.devices import registry
from autoresearch.hardware.planner import profiles
from autoresearch.metric import VAL_BPB
from autoresearch.paths import shipped

MOVES = moves.read(shipped("tasks") / "pretrain")
TRAIN = """import math

DEPTH = 4  # layers [2..12]
MATRIX_LR = 0.04  # [0.005..0.2 log]
TOTAL_BATCH_SIZE = 2**15  # tokens a step [2**12..2**18 log]
WINDOW_PATTERN = "L"  # ["L", "SL", "SSSL"]
DEVICE_BATCH_SIZE = 16  # [fixed]


def main():
    x = DEPTH * 2
    return x
"""


def view(history: list[Past], best: str = TRAIN, under_way: tuple[Past, ...] = ()) -> View:
    score = min((past.val_bpb for past in history if past.val_bpb), default=None)
    return View("", best, score, tuple(history), moves=MOVES, under_way=under_way)


def start(text: str = TRAIN) -> list[Past]:
    return [Past(0, "baseline", "baseline", 1.0, text)]


def values(text: str) -> dict:
    return {name: constant.value for name, constant in constants.read(text).items()}


def score(text: str) -> float:
    """A made-up truth: a small batch and a learning rate of 0.08 are best, the rest hardly counts."""
    found = values(text)
    return (
        1 + 0.01 * abs(found["TOTAL_BATCH_SIZE"].bit_length() - 14) + 0.1 * abs(found["MATRIX_LR"] - 0.08) + 0.0001 * found["DEPTH"]
    )


def night(agent, experiments: int, history: list[Past] | None = None) -> list[Past]:
    """Experiments with the strict rule on the truth above."""
    history = list(history or [Past(0, "baseline", "baseline", score(TRAIN), TRAIN)])
    for number in range(len(history), len(history) + experiments):
        best = min((past for past in history if past.val_bpb is not None), key=lambda past: past.val_bpb)
        proposal = agent.propose(view(history, best.train_py))
        result = score(proposal.train_py)
        status = "keep" if result < best.val_bpb else "discard"
        history.append(Past(number, proposal.description, status, result, proposal.train_py))
    return history


def test_the_first_proposal_is_the_move_that_gained_most():
    proposal = Search().propose(view(start()))
    assert values(proposal.train_py) == values(TRAIN) | {"TOTAL_BATCH_SIZE": 2**14}
    assert proposal.train_py == TRAIN.replace("2**15", "2**14")
    assert proposal.description == "TOTAL_BATCH_SIZE 2**15 -> 2**14"
    assert "known move" in proposal.reasoning
    assert "karpathy/autoresearch" in proposal.reasoning
    assert proposal.cost_usd == 0


def test_one_or_two_constants_change_and_nothing_else():
    for past in night(Search(), 20)[1:]:
        names = [name for name in values(TRAIN) if name in past.description]
        assert 1 <= len(names) <= 2
        assert "DEVICE_BATCH_SIZE" not in names
        assert past.train_py.endswith(TRAIN[TRAIN.index("\n\ndef main") :])


def test_it_finds_what_matters():
    best = min(night(Search(), 30), key=lambda past: past.val_bpb)
    assert values(best.train_py)["TOTAL_BATCH_SIZE"] == 2**13
    assert values(best.train_py)["MATRIX_LR"] == pytest.approx(0.08, abs=0.02)


def test_a_new_process_goes_on_as_the_old_one_would():
    old = Search()
    history = night(old, 9)
    best = min(history, key=lambda past: past.val_bpb).train_py
    assert Search().propose(view(history, best)) == old.propose(view(history, best))


def test_the_seed_decides_where_chance_does():
    history = [*start(), Past(1, "", "discard", 1.01, TRAIN.replace("2**15", "2**14"))]
    assert len({Search(seed).propose(view(history)).train_py for seed in range(5)}) > 1


def test_no_text_is_proposed_twice_however_its_values_are_written():
    small = "A = True\nB = 4  # [2..5]\nC = 2**4  # [8, 16]\n"
    agent, history, seen = Search(), start(small), {tuple(values(small).values())}
    with pytest.raises(Exhausted):
        for number in range(1, 100):
            text = agent.propose(view(history, small)).train_py
            assert tuple(values(text).values()) not in seen
            seen.add(tuple(values(text).values()))
            history.append(Past(number, "", "discard", 1.1, text.replace("2**", "0 + 2**").replace("0 + 2**4", "16")))
    assert len(seen) == 16  # 2 x 4 x 2: all there are


def test_an_edit_of_constants_is_read_by_its_lines_and_as_a_whole_parse_reads_it(monkeypatch):
    """A process learns every text of the past: a hundred thousand whole parses take minutes."""
    sources, read = [], constants.read
    monkeypatch.setattr(texts.constants, "read", lambda source: sources.append(source) or read(source))
    bound_twice = TRAIN.replace("DEPTH = ", "DEPTH = 3\nDEPTH = ", 1)
    odd = [
        TRAIN.replace("DEPTH = ", new, 1)
        for new in ("DEPTH = 3; WIDER = ", "DEPTH = (", "DEPTH = f() + ", "WIDER = ", "# DEPTH = ")
    ]
    edits = [constants.write(TRAIN, {"DEPTH": depth, "MATRIX_LR": depth / 100}) for depth in (5, 6, 7)]
    for source in (TRAIN, *edits, bound_twice, *odd, TRAIN + "\nx = (", edits[0].replace("\n", "\r\n")):
        found = parsed.__wrapped__(source)
        texts._known.clear()
        assert found == parsed.__wrapped__(source), source
    texts._known.clear()
    parsed.__wrapped__(TRAIN)
    sources.clear()
    for source in edits:
        parsed.__wrapped__(source)
    assert len(sources) == 6 and max(map(len, sources)) < 200


def test_texts_that_differ_in_values_share_the_memory_of_their_code():
    one, other = (parsed(constants.write(TRAIN, {"DEPTH": depth})) for depth in (5, 6))
    assert one != other and one.code is other.code


def test_a_text_that_was_sent_back_is_not_proposed_again():
    """The loop gives it the number of the experiment that it did not become."""
    agent = Search()
    first = agent.propose(view(start()))
    rejected = Past(1, first.description, "rejected", None, first.train_py)
    second = agent.propose(view([*start(), rejected]))
    assert second.train_py != first.train_py
    third = agent.propose(view([*start(), Past(1, second.description, "discard", 1.01, second.train_py)]))
    assert third.train_py not in (first.train_py, second.train_py)


@pytest.mark.parametrize("failure", ["crash", "limit"])
def test_a_crash_pushes_away(failure):
    """Deep models crash, others are all alike: it stops going deep."""
    agent, history = Search(), start()
    crashes = []
    for number in range(1, 41):
        text = agent.propose(view(history)).train_py
        crashed = values(text)["DEPTH"] > 4
        crashes.append(crashed)
        history.append(Past(number, "", failure if crashed else "discard", None if crashed else 1.001, text))
    assert sum(crashes[:20]) >= 1
    assert sum(crashes[20:]) <= sum(crashes[:20])
    assert sum(crashes) <= 12


def test_an_edit_by_hand_a_new_constant_and_a_vanished_one():
    history = night(Search(), 6)
    edited = TRAIN.replace("DEPTH = 4  # layers [2..12]\n", "WIDTH = 256\n").replace("DEPTH * 2", "WIDTH * 3")
    history.append(Past(len(history), "by hand", "keep", 0.5, edited))
    for number in range(len(history), len(history) + 8):
        text = Search().propose(view(history, edited)).train_py
        assert "WIDTH * 3" in text
        assert "DEPTH =" not in text
        history.append(Past(number, "", "discard", 0.6, text))
    assert len({past.train_py for past in history}) == len(history)


def test_a_history_that_it_cannot_read_does_no_harm():
    odd = [
        Past(1, "", "crash", None, "DEPTH = = 3"),
        Past(2, "", "discard", 1.1, ""),
        Past(3, "", "lost", None, TRAIN),
        Past(4, "", "keep", 0.9, 'DEPTH = "deep"\n'),
    ]
    proposal = Search().propose(view([*start(), *odd]))
    assert values(proposal.train_py) != values(TRAIN)
    assert Search().propose(view([])).train_py != TRAIN


def test_nothing_to_change_is_said_in_one_line():
    with pytest.raises(UsageError, match="no constant for the search"):
        Search().propose(view(start("x = 1\n"), "x = 1\n"))
    with pytest.raises(UsageError, match="line 1"):
        Search().propose(view(start(), "DEPTH = = 1\n"))


@pytest.mark.slow
def test_every_shipped_move_can_be_made_on_the_torch_backend():
    text = (shipped("backends") / "torch" / "train.py").read_text(encoding="utf-8")
    agent, history = Search(tpe=False, ranking=False), start(text)  # between two moves chance will do
    made = 0
    for number in range(1, 2 * len(MOVES) + 1):
        proposal = agent.propose(view(history, text))
        made += "known move" in proposal.reasoning
        history.append(Past(number, "", "discard", 1.01, proposal.train_py))
    assert made == len(MOVES)


TRAINED = [(name, backend) for name, one in profiles.all().items() for backend in one.backends if backend != "null"]
DEEPER, HALVED = "one layer more, at the same width", "half the tokens a step, twice the steps"


@pytest.mark.slow
@pytest.mark.parametrize("profile, backend", TRAINED)
def test_a_known_move_does_what_it_says_at_a_profiles_sizes(profile, backend):
    text = constants.write(registry.scan()[backend].train_py.read_text(encoding="utf-8"), profiles.load(profile).train)
    old, made = values(text), {}
    agent, history = Search(tpe=False, ranking=False), start(text)  # between two moves chance will do
    for number in range(1, 2 * len(MOVES) + 1):
        proposal = agent.propose(view(history, text))
        history.append(Past(number, proposal.description, "discard", 2.0, proposal.train_py))
        if what := proposal.reasoning.partition("known move: ")[2].partition(";")[0]:
            made[what] = values(proposal.train_py)
    assert made[DEEPER]["DEPTH"] == old["DEPTH"] + 1 and width(made[DEEPER]) == width(old)
    assert 2 * made[HALVED]["TOTAL_BATCH_SIZE"] == old["TOTAL_BATCH_SIZE"]
    for what, new in made.items():
        if what.startswith(("larger", "smaller")):
            changed = [name for name in old if new[name] != old[name]]
            assert changed and all((new[name] > old[name]) == what.startswith("larger") for name in changed), what


def width(found: dict) -> int:
    return max(1, round(found["ASPECT_RATIO"] * found["DEPTH"] / found["HEAD_DIM"])) * found["HEAD_DIM"]


def test_what_the_model_expects_is_told_best_first():
    history = night(Search(), 25)
    best = min(history, key=lambda past: past.val_bpb)
    expected = Search().expects(view(history, best.train_py))
    assert 0 < len(expected) <= 6 and all(one.now == values(best.train_py)[one.constant] != one.value for one in expected)
    assert expected[0].line(VAL_BPB).startswith(f"{expected[0].constant} {expected[0].now} -> {expected[0].value}: ")
    assert Search().expects(view(history, best.train_py)) == expected


def batch(agent: Search, history: list[Past], size: int, best: str = TRAIN) -> tuple[Past, ...]:
    """Proposals of one moment, each made while the ones before it are under way."""
    under_way: tuple[Past, ...] = ()
    for number in range(len(history), len(history) + size):
        proposal = agent.propose(view(history, best, under_way))
        under_way += (Past(number, proposal.description, RUNNING, None, proposal.train_py),)
    return under_way


def test_what_is_proposed_at_once_differs_and_the_known_moves_come_in_turn():
    history = night(Search(), 12)
    best = min(history, key=lambda past: past.val_bpb).train_py
    under_way = batch(Search(), history, 8, best)
    tried = {tuple(values(past.train_py).values()) for past in history}
    assert len({tuple(values(past.train_py).values()) for past in under_way} - tried) == 8
    first = batch(Search(), start(), 8)
    moved = [past.description for past in first[::2]]
    assert moved[0] == "TOTAL_BATCH_SIZE 2**15 -> 2**14" and len(set(moved)) == 4
    assert len({past.description for past in first}) == 8


def test_what_was_dropped_is_free_again_and_a_new_process_goes_on_alike():
    agent, history = Search(), night(Search(), 6)
    best = min(history, key=lambda past: past.val_bpb).train_py
    alone = agent.propose(view(history, best))
    under_way = (Past(7, alone.description, RUNNING, None, alone.train_py),)
    beside = agent.propose(view(history, best, under_way))
    assert beside.train_py != alone.train_py
    assert Search().propose(view(history, best, under_way)) == beside
    assert agent.propose(view(history, best)) == alone, "what was under way has left no trace"


def test_what_is_under_way_lowers_the_doubt_and_moves_no_mean():
    rng = np.random.default_rng(0)
    positions, candidates = rng.uniform(size=(12, 4)), rng.uniform(size=(5, 4))
    scores, kinds, codes = 1 + 0.01 * positions.sum(1), np.zeros(4, bool), np.zeros(12, int)
    told = Additive(positions[:10], scores[:10], kinds, codes[:10]).change(candidates, positions[0])
    with_one_more = np.concatenate([positions[:10], candidates[:1]])
    same = Additive(with_one_more, scores[:10], kinds, codes[:11]).change(candidates, positions[0])
    assert told[0] == pytest.approx(same[0], rel=1e-6, abs=1e-9)
    assert same[1][0] < 0.7 * told[1][0] and np.all(same[1] <= told[1] * (1 + 1e-9))


RECORDED = [
    "TOTAL_BATCH_SIZE 2**15 -> 2**14", "WINDOW_PATTERN L -> SL, TOTAL_BATCH_SIZE 2**14 -> 2**12", "TOTAL_BATCH_SIZE 2**14 -> 2**13",
    "WINDOW_PATTERN L -> SSSL, MATRIX_LR 0.04 -> 0.011", "MATRIX_LR 0.04 -> 0.0083, DEPTH 4 -> 7",
    "DEPTH 4 -> 9, WINDOW_PATTERN L -> SSSL", "MATRIX_LR 0.04 -> 0.17, TOTAL_BATCH_SIZE 2**13 -> 2**12",
    "WINDOW_PATTERN L -> SSSL, MATRIX_LR 0.04 -> 0.029", "DEPTH 4 -> 8", "MATRIX_LR 0.04 -> 0.016, TOTAL_BATCH_SIZE 2**13 -> 2**12",
]  # fmt: skip


def test_with_nothing_under_way_it_proposes_what_it_always_did():
    """Recorded before it knew of anything under way; without TPE, whose draws are its version's."""
    assert [past.description for past in night(Search(tpe=False), 10)[1:]] == RECORDED

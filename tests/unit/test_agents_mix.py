"""Whose turn it is, and what the LLM is asked for."""

import pytest

from autoresearch.agents.base import REJECTED, RUNNING, UNJUDGED, Past
from autoresearch.agents.mix import STALL, tallies, turn
from autoresearch.categories import CODE

TRAIN = """
# Learning rates: of AdamW
MATRIX_LR = 0.04  # matrices

class Attention(Module):
    def forward(self, x):
        return x

class MLP(Module):
    def forward(self, x):
        return x
"""


def past(number, agent, status="discard", text=TRAIN):
    return Past(number, f"number {number}", status, 1.0, text, agent=agent)


def night(statuses, share, thinker="llm"):
    """Who proposed each of them, by turn."""
    history = [past(0, "none", "baseline")]
    for number, status in enumerate(statuses, 1):
        agent = thinker if turn(history, share, thinker).is_thinkers else "search"
        history.append(past(number, agent, status))
    return [one.agent for one in history[1:]]


def test_each_has_its_share():
    for share in (0.1, 0.3, 0.5, 0.8, 1.0):
        agents = night(["keep", "discard"] * 50, share)
        assert agents[0] == "llm", "the first idea is the LLM's"
        assert abs(agents[10:].count("llm") - share * 90) <= 1, share


def test_a_turn_that_the_search_took_is_given_back():
    history = [past(0, "none", "baseline"), *(past(number, "search", "keep") for number in range(1, 5))]
    assert turn(history, 0.3, "llm").is_thinkers
    history.append(past(5, "llm", "keep"))
    assert turn(history, 0.3, "llm").is_thinkers, "of the six with the next, two are due"
    history += [past(6, "llm", "keep"), past(7, "llm", "keep")]
    assert not turn(history, 0.3, "llm").is_thinkers


def test_what_lies_long_back_is_no_debt():
    history = [past(0, "none", "baseline"), *(past(number, "search", "keep") for number in range(1, 31))]
    for number in range(31, 34):
        assert turn(history, 0.3, "llm").is_thinkers
        history.append(past(number, "llm", "keep"))
    assert not turn(history, 0.3, "llm").is_thinkers, "three of ten, not nine of thirty"


def test_what_is_under_way_counts_for_the_share_and_is_one_miss_for_the_wish():
    history = [past(0, "none", "baseline"), *(past(number, "search") for number in range(1, STALL - 1))]
    under_way = [past(20 + number, "llm", RUNNING) for number in range(8)]
    assert turn(history, 0.3, "llm").is_thinkers and not turn([*history, *under_way], 0.3, "llm").is_thinkers
    assert turn([*history, *under_way], 0.3, "llm").wish is None, "eight that train are not eight misses"
    assert turn([*history, past(STALL, "search"), *under_way[:1]], 0.3, "llm").wish


@pytest.mark.parametrize("status", UNJUDGED)
def test_what_says_nothing_of_the_idea_is_counted_for_and_against_nobody(status):
    history = [past(0, "none", "baseline"), *(past(number, "search") for number in range(1, STALL))]
    skipped = [past(STALL + number, "llm", status, TRAIN.replace("0.04", f"0.{number + 1}")) for number in range(4)]
    assert turn([*history, *skipped], 0.3, "llm") == turn(history, 0.3, "llm")
    assert tallies([*history, *skipped]) == tallies(history)


def test_a_stall_doubles_the_share_and_asks_for_a_structural_move_until_a_keep():
    history = [past(0, "none", "baseline"), *(past(number, "search") for number in range(1, STALL))]
    assert (turn(history, 0.3, "llm").share, turn(history, 0.3, "llm").wish) == (0.3, None)
    history.append(past(STALL, "search"))
    stalled = turn(history, 0.3, "llm")
    assert stalled.share == 0.6 and f"last {STALL} experiments" in stalled.reason
    assert "structural move" in stalled.wish and CODE[0] in stalled.wish
    assert turn(history, 0.7, "llm").share == 1.0
    history.append(past(STALL + 1, "llm", "keep"))
    assert turn(history, 0.3, "llm").wish is None


def test_the_wish_goes_to_the_part_that_is_untried_or_paid_before():
    edits = {kind: TRAIN for kind in CODE}
    edits["attention"] = TRAIN.replace("x\n\nclass MLP", "x + 1\n\nclass MLP")
    edits["mlp"] = TRAIN.removesuffix("x\n") + "x + 2\n"
    history = [past(0, "none", "baseline")]
    history += [past(number, "llm", text=edits["attention"]) for number in range(1, STALL + 1)]
    assert tallies(history) == {"attention": (STALL, 0)}
    assert "mlp deserves a try: 0 tried so far" in turn(history, 0.3, "llm").wish
    sent_back = past(STALL + 1, "llm", REJECTED, edits["mlp"])
    assert tallies([*history, sent_back]) == tallies(history), "what was sent back was not tried"


def test_a_tally_counts_an_edit_against_the_best_of_its_time():
    rate = TRAIN.replace("0.04", "0.05")
    history = [past(0, "none", "baseline"), past(1, "search", "keep", rate), past(2, "search", text=rate.replace("0.05", "0.06"))]
    history.append(past(3, "llm", text=rate.removesuffix("x\n") + "x + 2\n"))
    assert tallies(history) == {"learning rates": (2, 1), "mlp": (1, 0)}
    history.append(past(4, "llm", "keep", history[-1].train_py))
    history.append(past(5, "search", text=history[-1].train_py.replace("0.05", "0.07")))
    assert tallies(history) == {"learning rates": (3, 1), "mlp": (2, 1)}, "the kept code is in both texts"

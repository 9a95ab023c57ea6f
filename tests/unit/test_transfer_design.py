"""Transfers without a training: designs and what they say, edits made on another train.py, the words of the verdict."""

import math

import numpy as np
import pytest

from autoresearch.commands import transfer
from autoresearch.errors import UsageError
from autoresearch.metric import VAL_BPB
from autoresearch.study.state import State
from autoresearch.transfer import begin, design, figures, night
from autoresearch.transfer.design import Analysis, Effect
from autoresearch.transfer.stack import Edit, NotApplied, Stack, apply
from autoresearch.transfer.verdict import Measured, judge

# Designs


@pytest.mark.parametrize("least", [4, 5, 8, 12, 20, 21, 28, 36, 50, 60, 88, 100])
def test_a_hadamard_matrix_is_one(least):
    matrix = design.hadamard(least)
    size = len(matrix)
    assert least <= size < least + 12 and (matrix @ matrix.T == size * np.eye(size)).all()
    assert (matrix[0] == 1).all() and (matrix[:, 0] == 1).all()


@pytest.mark.parametrize("edits", [2, 3, 7, 20])
def test_every_row_has_its_mirror_after_it_and_edits_are_balanced(edits):
    rows = design.rows(edits)
    for row, mirror in zip(rows[::2], rows[1::2], strict=True):
        assert mirror == tuple(not level for level in row) and 0 < sum(row) < edits
    of_all = 2 * len(design.hadamard(max(8, edits + 1)))
    levels = np.array([*rows, *[(True,) * edits, (False,) * edits] * ((of_all - len(rows)) // 2)]) * 2 - 1
    assert (levels.T @ levels == of_all * np.eye(edits)).all()


def scored(edits, score, seeds=2):
    """Levels and exact scores of base, stack and rows."""
    levels = [(False,) * edits, (True,) * edits, *design.rows(edits)]
    return levels, [[score(np.array(one, float))] * (seeds if k < 2 else 1) for k, one in enumerate(levels)]


def test_without_noise_every_effect_is_found_whatever_two_edits_do_to_each_other():
    gains = np.array([0.004, 0, -0.002, 0.001, 0, 0.003])

    def score(levels):
        sides = 2 * levels - 1
        return 4 - levels @ gains + 0.01 * sides[0] * sides[1] - 0.02 * sides[2] * sides[5]

    levels, scores = scored(6, score)
    found = design.analyse(6, levels, scores)
    assert [effect.gain for effect in found.effects] == pytest.approx(gains, abs=1e-12)


def test_two_edits_that_do_the_same_both_carry():
    """Leaving one out loses nothing: that would call neither."""
    levels, scores = scored(2, lambda levels: 4 - 0.01 * max(levels))
    found = design.analyse(2, levels, scores, floor=1e-5)
    assert [effect.gain for effect in found.effects] == pytest.approx([0.005, 0.005])


def test_rows_that_failed_are_missing_and_too_few_tell_nothing():
    levels, scores = scored(6, lambda levels: 4 - 0.01 * levels[0])
    fewer = [[] if k in (3, 8) else own for k, own in enumerate(scores)]
    found = design.analyse(6, levels, fewer)
    assert found.effects[0].gain == pytest.approx(0.01) and found.rows == len(levels) - 2
    assert found.effects[0].error >= design.analyse(6, levels, scores).effects[0].error
    assert design.analyse(6, levels, [own if k < 5 else [] for k, own in enumerate(scores)]) is None


def test_edits_that_do_nothing_are_called_something_in_one_of_twenty_analyses_at_most():
    rng = np.random.default_rng(0)
    levels, scores = scored(9, lambda levels: 4.0)
    wrong = 0
    for _ in range(400):
        noisy = [list(np.array(own) + 0.001 * rng.standard_normal(len(own))) for own in scores]
        wrong += any(effect.share != "not told" for effect in design.analyse(9, levels, noisy).effects)
    assert wrong / 400 < 0.085  # 0.05 and three standard errors


def test_students_t_and_holm():
    """Two-sided points of the tables: 12.706 at 1, 2.776 at 4, 2.042 at 30 degrees of freedom."""
    for t, dof in ((12.706, 1), (2.776, 4), (2.042, 30)):
        assert design.two_sided(t, dof) == pytest.approx(0.05, abs=1e-4) == design.two_sided(-t, dof)
    assert design.two_sided(math.inf, 3) == 0 and design.two_sided(0.0, 5) == 1
    assert design.holm([0.02, 0.001, 0.03, 0.04], 0.05) == [False, True, False, False]
    assert design.holm([0.012, 0.001, 0.016, 0.04], 0.05) == [True, True, True, True]


# Edits

TEXT = """DEPTH = 4  # layers [2..24]
LR = 0.04  # [0.001..0.2 log]
WARMUP = 0.0  # [0..1]
NAME = "a"


def model():
    x = 1
    y = 2
    z = 3
    return x + y + z
"""


def edit(number, before, *changes):
    after = before
    for old, new in changes:
        assert old in after
        after = after.replace(old, new)
    return Edit(number, f"c{number}", f"edit {number}", before, after, None)


def test_a_constant_goes_over_as_a_ratio_or_as_a_value():
    big = TEXT.replace("DEPTH = 4", "DEPTH = 8").replace("LR = 0.04", "LR = 0.02")
    both = edit(1, TEXT, ("DEPTH = 4", "DEPTH = 5"), ("LR = 0.04", "LR = 0.028"), ("WARMUP = 0.0", "WARMUP = 0.1"), ('"a"', '"b"'))
    ratio = apply(both, big, "ratio")
    assert "DEPTH = 10 " in ratio and "LR = 0.014 " in ratio and "WARMUP = 0.1 " in ratio and 'NAME = "b"' in ratio
    value = apply(both, big, "value")
    assert "DEPTH = 5 " in value and "LR = 0.028 " in value


def test_a_chain_of_ratios_ends_at_the_value_of_the_last():
    first = edit(1, TEXT, ("LR = 0.04", "LR = 0.06"))
    second = edit(2, first.after, ("LR = 0.06", "LR = 0.07"))
    stack = Stack(TEXT, [first, second], "ratio")
    assert stack.text == second.after and len(stack.factors) == 2
    assert "LR = 0.0466666666667 " in stack.row((False, True))[0]


def test_code_is_merged_past_constants_that_differ():
    big = TEXT.replace("DEPTH = 4", "DEPTH = 8")
    made = apply(edit(1, TEXT, ("    y = 2", "    y = 20"), ("LR = 0.04", "LR = 0.02")), big, "ratio")
    assert "y = 20" in made and "DEPTH = 8" in made and "LR = 0.02 " in made


@pytest.mark.parametrize(
    ("change", "big", "why"),
    [
        (("    y = 2", "    y = 20"), TEXT.replace("y = 2", "y = 7"), "touches lines"),
        (("LR = 0.04", "LR = 0.05"), TEXT.replace("LR =", "RATE ="), "no constant LR"),
        (("DEPTH = 4", "DEPTH = 8"), TEXT.replace("DEPTH = 4", "DEPTH = 16"), "DEPTH would be 32"),
        (("LR = 0.04", "LR = 0.05"), TEXT.replace("LR = 0.04", "LR = 0.05").replace('"a"', '"b"'), "nothing"),
    ],
)
def test_what_can_t_be_made_is_named_and_left_out_whole(change, big, why):
    how = "value" if why == "nothing" else "ratio"
    with pytest.raises(NotApplied, match=why):
        apply(edit(1, TEXT, change), big, how)
    stack = Stack(big, [edit(3, TEXT, change, ('"a"', '"c"')) if why != "nothing" else edit(3, TEXT, change)], how)
    assert [(one.edit.number, why in one.reason) for one in stack.left_out] == [(3, True)] and stack.text == big


def test_an_edit_of_what_another_has_added_is_one_factor_with_it():
    first = edit(2, TEXT, ("    y = 2", "    y = 2 * 5"))
    other = edit(4, first.after, ("LR = 0.04", "LR = 0.02"))
    second = edit(5, other.after, ("2 * 5", "2 * 5 + 1"))
    stack = Stack(TEXT, [first, other, second], "ratio")
    assert [[one.number for one in factor] for factor in stack.factors] == [[2, 5], [4]] and stack.text == second.after
    text, numbers = stack.row((True, False))
    assert numbers == [2, 5] and "2 * 5 + 1" in text and "LR = 0.04" in text
    assert stack.levels([2, 5]) == (True, False) and stack.levels([2, 4]) == (False, True)


def test_only_edits_that_are_known_to_carry_it_are_carriers():
    first = edit(2, TEXT, ("    y = 2", "    y = 2 * 5"))
    second = edit(5, first.after, ("2 * 5", "2 * 5 + 1"))
    others = edit(6, TEXT, ("LR = 0.04", "LR = 0.02")), edit(7, TEXT, ('"a"', '"b"'))
    stack = Stack(TEXT, [first, second, *others], "ratio")
    effects = [Effect(gain, 0.001, 0.01, share) for gain, share in ((0.01, "carries"), (0.01, "not told"), (-0.01, "reverses"))]
    assert figures.carriers(stack, Analysis(effects, 0.001, 5, 10)) == [2, 5]


def test_a_whole_number_stays_above_0_and_a_choice_is_one_of_the_line():
    text = "LAYERS = 8  # [0..24]\nHEADS = 4  # [2, 4, 8]\n"
    assert "LAYERS = 1 " in apply(edit(1, text, ("LAYERS = 8", "LAYERS = 1")), text.replace("LAYERS = 8", "LAYERS = 2"), "ratio")
    assert "HEADS = 8 " in apply(edit(1, text, ("HEADS = 4", "HEADS = 8")), text, "ratio")
    assert "HEADS = 4 " in apply(edit(1, text, ("HEADS = 4", "HEADS = 8")), text.replace("HEADS = 4", "HEADS = 2"), "ratio")
    with pytest.raises(NotApplied, match="HEADS would be 16, and its line allows 2, 4, 8"):
        apply(edit(1, text, ("HEADS = 4", "HEADS = 8")), text.replace("HEADS = 4", "HEADS = 8"), "ratio")


# The verdict


def side(gain, reach):
    return Measured(gain, (gain - reach, gain + reach))


@pytest.mark.parametrize(
    ("val", "test", "word"),
    [
        (side(0.010, 0.004), side(0.009, 0.004), "holds"),
        (side(0.006, 0.004), None, "holds"),
        (side(0.004, 0.002), side(0.004, 0.002), "holds in part"),
        (side(0.010, 0.004), side(0.001, 0.002), "does not hold"),  # on the text that no decision saw there is little
        (side(-0.002, 0.004), side(-0.002, 0.004), "does not hold"),
        (side(0.004, 0.008), side(0.004, 0.008), "not known"),
        (Measured(0.01, None), side(0.01, 0.001), "not known"),
    ],
)
def test_the_words_of_a_verdict(val, test, word):
    assert judge(0.01, val, test, VAL_BPB).word == word


def ledger(*events):
    time = "2026-01-02T20:00:00.000+00:00"
    state = State.from_events([{"seq": seq, "time": time} | event for seq, event in enumerate(events, 1)])
    assert not state.skipped, state.skipped
    return state


def start(n):
    words = dict.fromkeys(("description", "reasoning"), "") | {"agent": "transfer", "parent": None, "cost_usd": None}
    return {"event": "start", "n": n, "commit": f"c{n}", "blob": f"b{n}", "key": f"k{n}"} | words


def run(n, k):
    own = {"n": n, "k": k, "folder": f"{n:04d}-{k}", "seed": 10 * n + k}
    return [{"event": "begin"} | own, {"event": "run", "status": "ok", "val_bpb": 4.0} | own]


def verdict(n, word, state, scores=1):
    own = {"n": n, "commit": f"c{n}", "reason": None, "val_bpb": 4.0, "scores": [4.0] * scores}
    return {"event": "verdict", "verdict": word, "state": state} | own


def test_what_is_left_to_be_trained_and_what_comes_next():
    rows = design.rows(2)
    assert (night.trainings(None, 3, None), night.trainings(None, 3, rows)) == (6, 6 + 8 + 3)
    begun = [start(0), *run(0, 1), verdict(0, "keep", "baseline"), start(1)]
    state = ledger(*begun)
    assert night.trainings(state, 3, None) == 5 and night.next_step(state, 3, None) == night.Train(1)
    state = ledger(*begun, *run(1, 1))
    assert night.trainings(state, 3, None) == 4 and night.next_step(state, 3, None) == night.Train(0)
    runs = [event for n, k in ((1, 1), (0, 2), (1, 2), (0, 3), (1, 3)) for event in run(n, k)]
    assert night.next_step(ledger(*begun, *runs), 3, None) == night.Judge(1)
    state = ledger(*begun, *runs, verdict(1, "discard", "discard", 3))
    assert (night.trainings(state, 3, None), night.trainings(state, 3, rows)) == (0, 11)
    assert night.next_step(state, 3, None) is None and night.next_step(state, 3, rows) == night.Begin(2)
    state = ledger(*begun, verdict(1, "crash", "oom", 0) | {"val_bpb": None})
    assert night.trainings(state, 3, rows) == 0 and night.next_step(state, 3, rows) is None
    later = [event for n in range(2, 11) for event in (start(n), *run(n, 1), verdict(n, "discard", "discard"))]
    decided = [*begun, *runs, verdict(1, "discard", "discard", 3), *later]
    rows_done = next(at for at, event in enumerate(decided) if event["event"] == "start" and event["n"] == 10)
    assert night.next_step(ledger(*decided[:rows_done]), 3, rows) == night.Begin(10), "the edits that carry it"
    assert night.next_step(ledger(*decided), 3, rows) is None
    crashed = [run(0, 2)[0], run(0, 2)[1] | {"status": "crash", "val_bpb": None, "reason": "why"}]
    assert night.next_step(ledger(*begun, *run(1, 1), *crashed, *run(1, 2)), 3, None) == night.Train(1), (
        "the base fails again and again"
    )


def test_the_price_is_told_and_without_a_terminal_not_agreed_to():
    assert begin._price(60.0, None, 3, None, State()) == "6 trainings of 60 s, about 6 minutes with start and scoring"
    price = begin._price(600.0, None, 3, None, State())
    with pytest.raises(UsageError, match=r"6 trainings of 600 s, about 1\.0 hours .* --yes"):
        transfer._ask(price)


def failed(n, k):
    begun, ended = run(n, k)
    return [begun, ended | {"status": "oom", "reason": "the system killed the process", "val_bpb": None}]


def test_a_training_that_fails_once_is_made_up_for_and_twice_is_no_accident():
    rows = design.rows(2)
    begun = [start(0), *run(0, 1), verdict(0, "keep", "baseline"), start(1), *failed(1, 1)]
    assert night.next_step(ledger(*begun), 2, rows) == night.Train(1)
    assert night.next_step(ledger(*begun, *failed(1, 2)), 2, rows) == night.Judge(1)
    state = ledger(*begun, *run(1, 2), *run(0, 2))
    assert night.next_step(state, 2, rows) == night.Train(1) and night.trainings(state, 2, None) == 1
    assert night.next_step(ledger(*begun, *run(1, 2), *run(0, 2), *run(1, 3)), 2, rows) == night.Judge(1)
    rest = [*begun, *run(1, 2), *run(0, 2), *run(1, 3), verdict(1, "keep", "keep", 2), start(2), *failed(2, 1)]
    assert night.next_step(ledger(*rest), 2, rows) == night.Judge(2), "a row is missing in the analysis instead"

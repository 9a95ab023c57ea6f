"""lessons.md: what the results of a study say in short."""

from dataclasses import replace

from autoresearch import constants
from autoresearch.agents import lessons
from autoresearch.agents.base import REJECTED, Past

TRAIN = """
# Learning rates: of AdamW
MATRIX_LR = 0.04  # matrices
SCALAR_LR = 0.5  # scalars

class Attention(Module):
    def forward(self, x):
        return x
"""


def changed(**values) -> str:
    return constants.write(TRAIN, values)


CODE = TRAIN.replace("return x", "return norm(x)")
NIGHT = (
    Past(0, "baseline", "baseline", 1.5, TRAIN),
    Past(1, "rate 0.06", "discard", 1.52, changed(MATRIX_LR=0.06)),
    Past(2, "rate 0.03", "keep", 1.49, changed(MATRIX_LR=0.03)),
    Past(3, "norm", "inconclusive", 1.4895, CODE),
    Past(3, "sent back", REJECTED, None, "x = ("),
    Past(4, "rate 0.02", "discard", 1.495, changed(MATRIX_LR=0.02)),
    Past(5, "both rates", "discard", 1.6, changed(MATRIX_LR=0.01, SCALAR_LR=0.1)),
    Past(6, "large", "oom", None, changed(SCALAR_LR=9.0), "out of memory"),
    Past(7, "ended by a person", "skip", None, changed(SCALAR_LR=3.0)),
    Past(8, "over another base", "rebased", 1.4, changed(SCALAR_LR=2.0)),
)


def test_what_was_kept_missed_unclear_and_failed_stand_apart():
    said = lessons.text(NIGHT)
    assert "6 tried: 1 kept, 3 no better, 1 too near to tell, 1 without a score." in said
    assert (
        "## Kept: what each gained over the best of its time, the last first\n- -0.0100 learning rates, experiment 2: rate 0.03\n"
        in said
    )
    assert "- -0.0005 attention, experiment 3: norm\n" in said
    assert "- learning rates: 5, 1, +0.0050 by experiment 4: rate 0.02\n- attention: 1, 0\n" in said
    assert (
        "- oom, 1 times, at last experiment 6: large\n" in said
        and "person" not in said
        and "base\n" not in said
        and "sent back" not in said
    )


def test_constants_that_were_changed_alone_show_each_values_effect():
    said = lessons.text(NIGHT)
    assert "- MATRIX_LR: 0.06 +0.0200, 0.03 -0.0100 kept, 0.02 +0.0050\n" in said and "SCALAR_LR" not in said


def test_it_stays_short_and_harmless_however_long_the_night():
    names = [f"{letter}_RATE" for letter in "ABCDEFGHIJKLMNOPQRST"]
    train = "".join(f"{name} = 1.0\n" for name in names) + TRAIN
    history = [Past(0, "baseline", "baseline", 1.5, train)]
    for number in range(1, 400):
        status = ("discard", "keep", "inconclusive", "crash", "oom")[number % 5]
        text = constants.write(history[-1].train_py, {names[number % 20]: 1.0 + number / 100})
        score = None if status in ("crash", "oom") else 1.5 - number / 1000
        history.append(Past(number, f"\x1b[31m{number} " + 300 * "d", status, score, text))
    said = lessons.text(history)
    assert len(said) < 5000 and "\x1b" not in said


def test_without_an_experiment_there_is_none():
    assert lessons.text(NIGHT[:1]) == ""


def test_each_experiment_is_looked_at_once_however_often_they_are_asked_for(monkeypatch):
    """They are drawn after each experiment: at 10,000 they would take half a minute."""
    looked, one_constant = [], lessons._one_constant
    monkeypatch.setattr(lessons, "_one_constant", lambda *texts: looked.append(texts) or one_constant(*texts))
    grown = lessons.Lessons()
    for count in range(1, len(NIGHT) + 1):
        assert grown.text(NIGHT[:count]) == lessons.Lessons().text(NIGHT[:count])
    looked.clear()
    more = (*NIGHT, Past(8, "rate 0.025", "discard", 1.5, changed(MATRIX_LR=0.025)))
    said = grown.text(more)
    assert len(looked) == 1
    assert said == lessons.text(more)
    again = tuple(replace(past, val_bpb=1.48) if past.status == "keep" else past for past in more)  # the best, measured again
    looked.clear()
    said_again = grown.text(again)
    assert not looked
    assert said_again == lessons.text(again) != said
    revoked = (*more[:2], replace(more[2], status="val-only", val_bpb=None), *more[3:])
    assert grown.text(revoked) == lessons.text(revoked)
    assert grown.text(NIGHT[:1]) == ""


def test_each_part_is_in_its_order_and_shows_what_is_newest():
    """Keeps: the last first; what is unclear: the nearest first; values of a constant: the last result of each."""
    rates = [0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.05]
    history = [
        *NIGHT[:1],
        Past(1, "first", "keep", 1.4, changed(SCALAR_LR=0.4)),
        Past(2, "second", "keep", 1.3, changed(SCALAR_LR=0.3)),
        *(Past(3 + k, f"unclear {k}", "inconclusive", 1.3 + (k * 5 % 8) / 10_000, CODE) for k in range(8)),
        *(
            Past(11 + k, f"rate {k}", "discard", 1.4 + k / 100, changed(SCALAR_LR=0.3, MATRIX_LR=value))
            for k, value in enumerate(rates)
        ),
    ]
    said = lessons.text(history)
    assert said.index("experiment 2: second") < said.index("experiment 1: first")
    places = [said.find(f": unclear {k}\n") for k in (0, 5, 2, 7, 4, 1)]
    assert places == sorted(places) and places[0] > 0 and "unclear 6" not in said
    assert "- MATRIX_LR: 0.07 +0.1200, 0.08 +0.1300, 0.09 +0.1400, 0.1 +0.1500, 0.05 +0.1600\n" in said

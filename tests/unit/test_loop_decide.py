"""The decision rules, and their error rates by simulated nights, every seed fixed. benchmarks/decide.py has the full table."""

import random
from dataclasses import replace

import pytest

from autoresearch.loop.night import Night, gaussian, seen_gain
from autoresearch.metric import VAL_BPB, Metric
from autoresearch.noise import Noise, fair_scores, gain, noise_group, pooled_noise, student_t
from autoresearch.study import decide as rules
from autoresearch.study.decide import Decision, decide

KNOWN = Noise(sigma=0.001, dof=30)
MANY = (1.0,) * (rules.MAX_RUNS + rules.BEST_EXTRA)  # scores of a best that needs no further run


def verdict(scores, best=MANY, rule="confirmed", noise=KNOWN, can_rerun=True):
    return decide(rule, list(best), noise, list(scores), can_rerun).verdict


def test_strict_keeps_any_lower_number_and_no_tie():
    assert verdict([0.999999], [1.0], "strict", None) == "keep"
    assert verdict([1.0], [1.0], "strict", None) == "discard"
    assert verdict([1.1], [1.0], "strict", None) == "discard"


def test_a_loser_costs_one_run_and_a_winner_never_one_alone():
    assert verdict([1.01]) == verdict([1.0]) == "discard"
    winner = [0.9, 0.9001] * 3
    for runs in range(1, rules.LEAST_RUNS):
        assert verdict(winner[:runs]) == "more"
    assert verdict(winner[: rules.LEAST_RUNS]) == "keep"


def test_a_lucky_first_score_is_found_out():
    assert verdict([0.998]) == "more"
    assert verdict([0.998, 1.001]) == "discard"


def test_the_best_runs_again_while_its_mean_is_poorly_known():
    scores = [0.998, 0.998]
    few = [1.0] * 2
    decision = decide("confirmed", few, KNOWN, scores)
    assert decision.verdict == "again" and "the best runs again" in decision.reason
    assert verdict(scores, few, can_rerun=False) == "more"
    runs = 2
    while verdict(scores, [1.0] * runs) == "again":
        runs += 1
    assert runs == len(scores) + rules.BEST_EXTRA
    # Further runs of the best may show that the candidate is none.
    assert verdict(scores, [1.0, 1.0, 0.996, 0.996]) == "discard"


def test_a_poorly_known_noise_asks_for_a_larger_gain():
    scores = [0.9978, 0.9979, 0.998, 0.9981, 0.9982]
    assert verdict(scores, noise=Noise(0.001, 30)) == "keep"
    assert verdict(scores, noise=Noise(0.001, 2)) == "more"
    assert verdict([score - 0.01 for score in scores], noise=Noise(0.001, 2)) == "keep"


def test_a_candidate_is_held_to_its_own_spread_and_to_that_of_the_best():
    narrow, wide = [0.996, 0.997, 0.998, 0.999, 1.0], [0.99, 0.992, 0.998, 1.004, 1.006]
    assert sum(narrow) == pytest.approx(sum(wide))
    assert verdict([score - 0.004 for score in narrow]) == "keep"
    assert verdict([score - 0.004 for score in wide]) == "more"
    held = verdict([score - 0.004 for score in wide] * 2 + [0.994])
    assert held == "inconclusive"  # and when all runs are used up
    # The same lead over a best whose mean is poorly known, since its scores scatter.
    scattered = [1.0 + step for step in (-0.012, 0.012) * 7]
    assert verdict([score - 0.004 for score in narrow], scattered) == "more"


def test_a_lucky_first_score_keeps_nothing_however_lucky():
    for luck in (0.004, 0.04, 0.4):
        scores = [1.0 - luck] + [1.0] * (rules.MAX_RUNS - 1)
        assert all(verdict(scores[:runs]) in ("more", "discard") for runs in range(1, rules.MAX_RUNS))
        assert verdict(scores) in ("discard", "inconclusive")


def test_it_comes_to_an_end():
    undecided = [1.0 - 0.001 * rules.AIM / 2] * rules.MAX_RUNS
    decision = decide("confirmed", list(MANY), KNOWN, undecided)
    assert decision.verdict == "inconclusive"
    assert "0.999000 is the mean" in decision.reason and "sigma 0.001000, 30 degrees of freedom" in decision.reason
    assert verdict(undecided[:-1]) == "more"


def test_what_is_reported_was_not_chosen():
    assert fair_scores([0.5, 0.9, 0.8], [], was_chosen=True) == [0.9, 0.8]
    assert fair_scores([0.5, 0.9], [1.0, 1.1], was_chosen=True) == [1.0, 1.1]
    assert fair_scores([0.5], [], was_chosen=True) == [0.5]
    assert fair_scores([1.0, 1.1], [0.9], was_chosen=False) == [1.0, 1.1, 0.9]
    assert noise_group([0.5, 0.9], [1.0], was_chosen=True) == [0.9, 1.0]
    found = gain([1.0, 1.1], [0.9, 1.0, 1.1, 0.6], Noise(0.2, 3))
    assert found.bpb == pytest.approx(0.15) and found.error == pytest.approx(0.2 * 0.75**0.5)
    assert found.text(VAL_BPB) == "0.150000 +- 0.173205"
    assert gain([1.0], [0.9], None).error is None


def test_noise_is_pooled_over_commits_and_never_zero():
    assert pooled_noise([[1.0], [2.0]]) is None
    noise = pooled_noise([[1.0, 1.2], [5.0, 5.2], [9.0]])
    assert noise.dof == 2
    assert abs(noise.sigma - 0.1414214) < 1e-6
    assert pooled_noise([[1.0, 1.0, 1.0]]).sigma == VAL_BPB.resolution


def test_one_wide_commit_does_not_become_the_noise():
    rng = random.Random(0)
    groups = [[rng.gauss(level, 1.0) for _ in range(6)] for level in range(4)]
    usual = pooled_noise(groups)
    assert usual.dof == 20
    assert pooled_noise([*groups, [rng.gauss(0.0, 10.0) for _ in range(8)]]) == usual
    # A narrow one joins, and pulls the whole down by its share at most.
    narrow = pooled_noise([*groups, [0.0] * 6])
    assert narrow.dof == 25 and narrow.sigma == pytest.approx(usual.sigma * 0.8**0.5)


def test_points_of_student_and_chi_square_are_those_of_the_tables():
    # (normal deviate, degrees of freedom): Student's t at the same upper tail (5 %, 1 %, 0.1 %)
    table = {(1.645, 2): 2.920, (1.645, 10): 1.812, (2.326, 4): 3.747, (2.326, 20): 2.528, (3.090, 6): 5.208}
    for (deviate, dof), point in table.items():
        assert 0.999 < student_t(deviate, dof) / point < 1.06
    assert student_t(2.326, 100_000) == pytest.approx(2.326, abs=1e-3)
    low, high = Noise(1.0, 10).interval()  # chi-square at 10: 20.483 and 3.247
    assert low == pytest.approx((10 / 20.483) ** 0.5, rel=0.01) and high == pytest.approx((10 / 3.247) ** 0.5, rel=0.01)
    assert Noise(1.0, 2).interval()[1] > 5  # 6.3 by the table


def nights(count, ideas, **known):
    """[(night, kept, runs of the experiments)] of studies on those ideas."""
    found = []
    for seed in range(count):
        night = Night("confirmed", gaussian(random.Random(f"{seed} {ideas[0]}")), 0.0, **known)
        before = night.runs
        kept = [night.experiment(night.best - idea) == "keep" for idea in ideas]
        found.append((night, kept, night.runs - before))
    return found


def test_a_hundred_null_experiments_keep_less_than_one_on_average():
    studies = nights(60, [0.0] * 100)
    assert sum(sum(kept) for _, kept, _ in studies) / 60 < 1.0
    assert sum(runs for _, _, runs in studies) / 6000 < 1.7


@pytest.mark.parametrize("ratio", [1.0, 5.0, 10.0])
def test_a_null_of_any_spread_is_kept_less_than_once_in_a_hundred(ratio):
    kept = 0
    for seed in range(1500):
        rng = random.Random(f"{seed} {ratio}")
        night = Night("confirmed", lambda spread, rng=rng: rng.gauss(0.0, spread), 1.0, best_runs=9, other_runs=(3,) * 3)
        kept += night.experiment(ratio) == "keep"
    assert kept < 15


def test_wild_nulls_do_not_hide_the_gains_among_them():
    def power(ratio):
        found = []
        for seed in range(60):
            rng = random.Random(seed)
            night = Night("confirmed", lambda idea, rng=rng: rng.gauss(*idea), (0.0, 1.0))
            for _ in range(10):
                night.experiment((night.best[0], ratio))
            found.append(night.experiment((night.best[0] - 3.0, 1.0)) == "keep")
        return sum(found) / len(found)

    assert power(10.0) > 0.85


def test_real_improvements_are_kept():
    def power(gain, **known):
        return sum(kept[0] for _, kept, _ in nights(400, [gain], **known)) / 400

    assert power(4.0) > 0.9
    known = {"best_runs": 9, "other_runs": (3,) * 10}
    assert power(3.0, **known) > 0.93
    assert power(2.0, **known) > 0.8
    assert power(1.0, **known) < power(2.0, **known)


def test_what_is_reported_of_a_kept_one_is_its_level_within_the_error():
    errors = [sum(night.reported) / len(night.reported) - night.best for night, kept, _ in nights(400, [2.0]) if kept[0]]
    assert abs(sum(errors) / len(errors)) < 0.1


def test_the_gain_that_is_seen_falls_with_what_is_known():
    little, much = seen_gain("confirmed", 3, (), nights=200), seen_gain("confirmed", 9, (3,) * 10, nights=200)
    assert 1.0 < much < little < 4.0


ASKED = Metric("accuracy", "", "max", least_gain=0.01)


def test_a_keep_has_to_reach_the_least_gain_and_the_reason_says_so():
    near, far = [-0.906, -0.9061] * 3, [-0.911, -0.9111] * 3
    noise, best = Noise(0.001, 30), [-0.9] * len(MANY)
    assert decide("confirmed", best, noise, near, metric=replace(ASKED, least_gain=0.0)).verdict == "keep"
    held = decide("confirmed", best, noise, near[:1], metric=ASKED)  # more runs would not bring it there
    assert held.verdict == "discard" and "higher by 0.006000" in held.reason and held.reason.startswith("0.906000 against")
    close = [-0.9095, -0.9096] * 3  # may still be enough
    for runs in range(1, rules.LEAST_RUNS + 1):
        assert decide("confirmed", best, noise, close[:runs], metric=ASKED).verdict == "more"
    last = decide("confirmed", best, noise, (close * 2)[: rules.MAX_RUNS], metric=ASKED)
    assert last.verdict == "inconclusive" and "0.010000 is the least gain worth a keep" in last.reason
    kept = decide("confirmed", best, noise, far, metric=ASKED)
    assert kept.verdict == "keep" and "0.010000 is the least gain worth a keep" in kept.reason


def test_strict_asks_for_the_least_gain_too():
    short, enough = (decide("strict", [-0.9], None, [score], metric=ASKED) for score in (-0.905, -0.92))
    assert short == Decision(
        "discard", "0.905000 is higher than the best's 0.900000 by 0.005000, and 0.010000 is the least gain worth a keep"
    )
    assert enough == Decision("keep", "0.920000 is higher than the best's 0.900000 by 0.020000")


def scaled_nights(metric, center, sigma, candidates):
    """The verdicts of nights whose candidates are so many sigma better."""
    verdicts = []
    for seed in range(20):
        rng = random.Random(seed)
        night = Night("confirmed", lambda level, rng=rng: center + sigma * rng.gauss(-level, 1.0), 0.0, metric=metric)
        verdicts += [night.experiment(candidate) for candidate in candidates]
    return verdicts


@pytest.mark.parametrize(
    ("direction", "center", "sigma"), [("max", -0.9, 0.01), ("min", 1e6, 1e4), ("max", -1e6, 300.0), ("min", 1e-6, 1e-8)]
)
def test_of_any_metric_less_than_1_null_in_100_is_kept_and_a_true_gain_is(direction, center, sigma):
    metric = Metric("score", "", direction)
    nulls = scaled_nights(metric, center, sigma, [0.0] * 60)
    assert nulls.count("keep") < len(nulls) / 100
    assert scaled_nights(metric, center, sigma, [6.0]).count("keep") == 20


def test_the_noise_is_never_below_what_the_metric_tells_apart():
    assert pooled_noise([[1e6] * 3], Metric("score", "")).sigma == pytest.approx(1.0)
    assert pooled_noise([[1e-6] * 3], Metric("score", "")).sigma == pytest.approx(1e-12)
    assert pooled_noise([[5.0] * 3], Metric("score", "", resolution=0.5)).sigma == 0.5

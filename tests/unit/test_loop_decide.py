"""The decision rules, and their error rates by simulation: studies on Gaussian noise, every seed fixed."""

import random

from autoresearch.loop.decide import BASELINE_RUNS, SIGMA_FLOOR, Noise, decide, fair_scores, pooled_noise

KNOWN = Noise(sigma=0.001, dof=10)


def verdict(scores, best=(1.0, 1.0, 1.0), rule="confirmed", noise=KNOWN):
    return decide(rule, list(best), noise, list(scores)).verdict


def test_strict_keeps_any_lower_number_and_no_tie():
    assert verdict([0.999999], [1.0], "strict", None) == "keep"
    assert verdict([1.0], [1.0], "strict", None) == "discard"
    assert verdict([1.1], [1.0], "strict", None) == "discard"


def test_a_clear_loser_costs_one_run():
    assert verdict([1.01]) == "discard"
    assert verdict([0.9999]) == "discard"  # lower, but well within the noise


def test_a_better_looking_run_is_run_again_on_two_seeds():
    assert verdict([0.99]) == "more"
    assert verdict([0.99, 1.001]) == "discard"
    assert verdict([0.99, 0.99]) == "more"
    assert verdict([0.99, 0.99, 0.99]) == "keep"


def test_a_lucky_first_score_takes_no_part_in_the_test():
    decision = decide("confirmed", [1.0, 1.0, 1.0], KNOWN, [0.5, 0.9995, 0.9996])
    assert decision.verdict == "inconclusive"
    assert "0.999550" in decision.reason and "sigma 0.001000" in decision.reason
    assert fair_scores("confirmed", [0.5, 0.9995, 0.9996]) == [0.9995, 0.9996]
    assert fair_scores("confirmed", [0.5]) == [0.5]
    assert fair_scores("strict", [0.5]) == [0.5]


def test_a_poorly_known_noise_asks_for_a_larger_gain():
    scores = [0.9979, 0.9979, 0.9979]  # 2.1 sigma: beyond 1.81 x 0.913, not beyond 2.92 x 0.913
    assert verdict(scores, noise=Noise(0.001, 10)) == "keep"
    assert verdict(scores, noise=Noise(0.001, 2)) == "inconclusive"


def test_noise_is_pooled_over_commits_and_never_zero():
    assert pooled_noise([[1.0], [2.0]]) is None
    noise = pooled_noise([[1.0, 1.2], [5.0, 5.2], [9.0]])
    assert noise.dof == 2
    assert abs(noise.sigma - 0.1414214) < 1e-6
    assert pooled_noise([[1.0, 1.0, 1.0]]).sigma == SIGMA_FLOOR


def study(rng: random.Random, effects: list[float], pairs_seen: int = 0) -> tuple[list[int], int]:
    """Play a study whose experiment i is better than the best by effects[i] sigma: (the kept ones, runs spent)."""
    best = [rng.gauss(0, 1) for _ in range(BASELINE_RUNS["confirmed"])]
    level, groups, kept, runs = 0.0, [best], [], 0
    groups += [[rng.gauss(0, 1), rng.gauss(0, 1)] for _ in range(pairs_seen)]
    for number, effect in enumerate(effects):
        scores, outcome = [], "more"
        while outcome == "more":
            scores.append(rng.gauss(level - effect, 1))
            outcome = decide("confirmed", best, pooled_noise(groups), scores).verdict
        runs += len(scores)
        groups.append(fair_scores("confirmed", scores))
        if outcome == "keep":
            kept.append(number)
            best, level = groups[-1], level - effect
    return kept, runs


def test_a_hundred_null_experiments_keep_less_than_one_on_average():
    rng = random.Random(1)
    studies = [study(rng, [0.0] * 100) for _ in range(60)]
    assert sum(len(kept) for kept, _ in studies) / 60 < 0.75  # 0.5 in the long run
    assert sum(runs for _, runs in studies) / 6000 < 1.35


def test_real_improvements_are_kept():
    rng = random.Random(2)

    def share_kept(effect: float, pairs_seen: int) -> float:
        return sum(bool(study(rng, [effect], pairs_seen)[0]) for _ in range(600)) / 600

    assert share_kept(4.0, 0) > 0.8
    assert share_kept(3.0, 10) > 0.85
    assert share_kept(2.0, 10) > 0.55

"""The statistics of `compare`: how often it calls equal sides different, simulated, and what it finds."""

import dataclasses

import numpy as np
import pytest

from autoresearch.metric import VAL_BPB
from autoresearch.noise import pooled_noise
from autoresearch.report.compare import Side, difference

TRIALS = 1500
SEED_SIGMA = 0.002


def sides(rng, documents, runs, gain=0.0, own=0.01):
    """Two sides on one text: what a document costs anybody, what it costs one side alone (own), the seeds, and what is left."""
    sizes = rng.integers(500, 4097, documents)
    anybody = rng.normal(3.5, 0.4, documents)
    made = []
    for count, better in zip(runs, (0.0, gain), strict=True):
        rates = anybody + rng.normal(0, own, documents) - better
        seeds = rng.normal(0, SEED_SIGMA, (count, 1)) + rng.normal(0, 0.005, (count, documents))
        noise = pooled_noise([list(rng.normal(0, SEED_SIGMA, 3)), list(rng.normal(0, SEED_SIGMA, 2))])
        made.append(Side((rates + seeds) * sizes, noise))
    return *made, sizes


@pytest.mark.parametrize("documents", [5, 60])
@pytest.mark.parametrize("runs", [(1, 1), (6, 2)])
@pytest.mark.parametrize("own", [0.0, 0.01])  # without it, and where the one's loss in a document is the other's gain
def test_equal_sides_are_called_different_in_at_most_5_percent(documents, runs, own):
    rng = np.random.default_rng(documents + runs[0])
    called = [difference(*sides(rng, documents, runs, own=own), same_noise=False).is_one for _ in range(TRIALS)]
    assert sum(called) <= 0.05 * TRIALS


def test_with_one_study_both_sides_have_one_noise_and_the_rate_holds():
    rng, called = np.random.default_rng(5), 0
    for _ in range(TRIALS):
        a, b, sizes = sides(rng, 60, (2, 1))
        called += difference(a, dataclasses.replace(b, noise=a.noise), sizes, same_noise=True).is_one
    assert called <= 0.05 * TRIALS


def test_a_real_difference_is_found_and_its_interval_holds_it():
    rng, found, held = np.random.default_rng(1), 0, 0
    for _ in range(300):
        result = difference(*sides(rng, 60, (3, 3), gain=0.02), same_noise=False)
        found += result.is_one
        held += result.interval[0] <= 0.02 <= result.interval[1]
    assert found > 0.95 * 300 and held >= 0.93 * 300
    assert "B is better than A by 0.0" in result.sentence(VAL_BPB)


def test_what_is_not_known_is_said_so():
    a, b, sizes = sides(np.random.default_rng(2), 8, (1, 1))
    unmeasured = difference(dataclasses.replace(a, noise=None), b, sizes, same_noise=False)
    single = difference(Side(a.bits[:, :1], a.noise), Side(b.bits[:, :1], b.noise), sizes[:1], same_noise=False)
    assert unmeasured.is_one is None and "`autoresearch noise` measures it" in unmeasured.sentence(VAL_BPB)
    assert single.is_one is None and single.documents_error is None and "one document" in single.sentence(VAL_BPB)

"""The futility stop: what it stops, what it leaves alone, and how often it is wrong on curves with noise."""

import json
import random

from autoresearch.run import futility
from autoresearch.run.futility import Futility, read_curve


def curve(level=3.0, speed=1.0, noise=0.05, points=400, seed=0, bump=0.0):
    """(progress, loss): a power law of the time, as of a training that is `speed` times as fast; bump: above it until 80 %."""
    rng = random.Random(seed)
    found = []
    for point in range(1, points + 1):
        progress = point / points
        loss = level + 2.0 * (20 * speed * progress) ** -0.5 + bump * (progress < 0.8)
        found.append((progress, loss + rng.gauss(0, noise)))
    return found


def stopped(best, candidate):
    """(progress, reason) of the stop, or None."""
    watch = Futility(best)
    for progress, loss in candidate:
        if reason := watch.objection(progress, loss):
            return progress, reason
    return None


def test_a_training_that_is_far_behind_ends_at_the_first_checkpoint_with_its_numbers():
    progress, reason = stopped(curve(), curve(level=4.0, seed=1))
    assert progress == 0.5
    assert "after 50% of the time" in reason and "after 20%" in reason and "4." in reason


def test_one_that_falls_behind_later_ends_at_the_second():
    late = [(progress, loss + 1.0 * (progress > 0.55)) for progress, loss in curve(seed=1)]
    assert stopped(curve(), late)[0] == 0.75


def test_what_could_still_win_is_left_alone():
    assert stopped(curve(), curve(seed=1)) is None
    assert stopped(curve(), curve(speed=0.7, seed=1)) is None  # slower, but not by so much
    assert stopped(curve(), curve(bump=0.1, seed=1)) is None  # another schedule: above the best until its learning rate falls
    assert stopped(curve(), curve(level=2.5, seed=1)) is None


def test_a_single_wild_loss_stops_nothing():
    wild = [(progress, loss if index != 190 else 50.0) for index, (progress, loss) in enumerate(curve(seed=1))]
    assert stopped(curve(), wild) is None


def test_too_little_known_stops_nothing():
    bad = curve(level=6.0, seed=1)
    assert stopped([], bad) is None
    assert stopped(curve(points=80), bad) is None  # 4 points in the best's window
    assert stopped(curve(), curve(level=6.0, points=40)) is None


def test_noise_of_the_batches_stops_fewer_than_one_in_a_hundred_of_good_ones():
    for speed in (1.0, 0.6):
        pairs = ((curve(noise=0.3, seed=2 * n), curve(noise=0.3, speed=speed, seed=2 * n + 1)) for n in range(300))
        wrong = sum(stopped(best, candidate) is not None for best, candidate in pairs)
        assert wrong <= 2


def test_a_curve_is_read_back_and_a_missing_or_damaged_one_is_empty(tmp_path):
    path = tmp_path / "curve.jsonl"
    assert read_curve(path, 10.0) == []
    lines = [{"seconds": 5.0, "type": "step", "loss": 2.5, "tokens": 1, "progress": 0.1}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_curve(path, 10.0) == [(0.5, 2.5)]
    path.write_text("{")
    assert read_curve(path, 10.0) == []
    assert futility.FUTILE == "futile"

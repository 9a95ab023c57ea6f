from itertools import combinations

import pytest
from report_events import night, study

from autoresearch.report import picture
from autoresearch.study.state import State


@pytest.fixture(autouse=True, scope="module")
def font_cache(tmp_path_factory):
    """Matplotlib's list of fonts, made once for all tests here, and not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("MPLCONFIGDIR", raising=False)
        yield


@pytest.mark.parametrize("experiments", [None, 0, 1, 12, 125, 2000])
def test_every_length_of_study_is_drawn(experiments, tmp_path):
    from matplotlib.image import imread

    events = [] if experiments is None else study(night(experiments))
    picture.draw(State.from_events(events), tmp_path / "progress.png", "a machine")
    assert [path.name for path in tmp_path.iterdir()] == ["progress.png"]  # no temporary file is left
    pixels = imread(tmp_path / "progress.png")
    assert pixels.shape[:2] == (845, 1560)
    assert (pixels[..., :3].min(axis=2) < 0.5).sum() > 1000  # something was drawn


def test_labels_overlap_neither_one_another_nor_the_edge():
    canvas = picture.compose(State.from_events(study(night(125), "a description of middling length")))
    axes, renderer = canvas.figure.axes[0], canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert len(boxes) > 5
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(min(box.x0, box.y0) >= 0 and box.x1 <= 1560 and box.y1 <= 845 for box in boxes)


def test_a_discard_that_is_far_off_is_marked_at_the_edge_and_does_not_stretch_the_scale():
    canvas = picture.compose(State.from_events(study([0.79, 9.0, 0.791, 0.78])))
    axes = canvas.figure.axes[0]
    low, high = axes.get_ylim()
    assert 0.75 < low < 0.78 and 0.801 < high < 0.85
    assert "discard, above the scale" in axes.get_legend_handles_labels()[1]


def test_the_running_best_and_the_noise_are_drawn():
    axes = picture.compose(State.from_events(study([0.79, 0.82, 0.78]))).figure.axes[0]
    best = max(axes.lines, key=lambda line: len(line.get_xdata()))
    steps = list(zip(best.get_xdata(), best.get_ydata(), strict=True))
    assert steps == [(0, pytest.approx(0.8)), (1, pytest.approx(0.8)), (1, 0.79), (3, 0.79), (3, 0.78), (3, 0.78)]
    assert "baseline ± sigma (0.0010)" in axes.get_legend_handles_labels()[1]


def test_crashes_alone_need_no_scale():
    events = study([], baseline=(0.8,))
    events[-1] = {**events[-1], "verdict": "crash", "state": "crash", "val_bpb": None, "scores": []}
    axes = picture.compose(State.from_events(events)).figure.axes[0]
    assert axes.texts[0].get_text() == "the baseline failed (crash)"


def test_a_baseline_that_breaks_a_limit_has_a_score_and_is_drawn(tmp_path):
    events = study([], baseline=(0.8,))
    events[-1] = {**events[-1], "verdict": "discard", "state": "limit"}
    picture.draw(State.from_events(events), tmp_path / "progress.png", "a machine")
    assert (tmp_path / "progress.png").is_file()


def test_descriptions_are_text_and_no_formula_and_no_warning():
    canvas = picture.compose(State.from_events(study([0.79], "$x$ \\frac [bold] 漢字 \x1b[2J")), "machine $1 \x00")
    canvas.draw()  # warnings are errors in these tests: of glyphs that the font lacks, for one
    assert canvas.figure.axes[0].texts[0].get_text() == "$x$ \\frac [bold] ?? [2J"

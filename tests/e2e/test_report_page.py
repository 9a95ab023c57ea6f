"""report.html in a real browser: what it shows, that it fetches nothing, and that what agents wrote stays text."""

import json
import re
import shutil

import pages
import pytest
from browser import Watched, launched
from studies import BETTER, WORSE, git, play, played

from autoresearch.commands import report
from autoresearch.metric import Metric
from autoresearch.report import answers
from autoresearch.report.page import html
from autoresearch.report.page.details import Details
from autoresearch.report.page.table import table

pytestmark = pytest.mark.slow
OWN = "window.owned = 1"
SHOWN = """(n) => document.querySelector("#details").dataset.n === String(n)
  && document.querySelector("#d-reasoning").textContent.length > 5"""


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found


@pytest.fixture(scope="module", params=[5, 125, pytest.param(2000, marks=pytest.mark.thorough)])
def page_file(request, tmp_path_factory, corpus):
    study = pages.made(tmp_path_factory.mktemp("pages") / "study", corpus, request.param)
    return html.write(study, answers.state_of(study))


@pytest.fixture(scope="module")
def study(tmp_path_factory, corpus):
    return pages.made(tmp_path_factory.mktemp("pages") / "study", corpus, 30)


@pytest.fixture(scope="module")
def thirty(study):
    return html.write(study, answers.state_of(study)).as_uri()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, corpus):
    return pages.made(tmp_path_factory.mktemp("hostile") / "study", corpus, 12, hostile=True)


def test_the_page_is_drawn_and_fetches_nothing(browser, page_file):
    seen = Watched(browser, page_file.as_uri())
    seen.page.wait_for_selector("#losses canvas")
    assert seen.drawn("chart") > 2000 and seen.drawn("losses") > 2000
    assert seen.complaints == [] and seen.asked == [page_file.as_uri()]
    assert page_file.stat().st_size < 3_000_000
    assert seen.numbers()[0] == int(seen.page.locator("#count").inner_text().split(" of ")[1].replace(",", "")) - 1


def test_of_another_metric_the_chart_rises_and_the_words_are_its_own(browser, tmp_path, corpus):
    made = pages.made(tmp_path / "study", corpus, 20, metric=Metric("accuracy", "", "max"))
    seen = Watched(browser, html.write(made, answers.state_of(made)).as_uri())
    seen.page.wait_for_selector("#losses canvas")
    assert seen.page.locator("#way").inner_text() == "higher" and seen.page.locator("#unit").inner_text() == "accuracy"
    assert seen.page.locator("#table th button").nth(1).inner_text() == "accuracy"
    assert seen.page.locator("#kept li small").first.inner_text().startswith("raised accuracy by 0.0")
    tops = []
    for key in ("Home", "ArrowDown"):  # the baseline, then the first keep
        seen.page.focus("#chart")
        seen.page.keyboard.press(key)
        tops.append(seen.page.locator("#tip").bounding_box()["y"])
    assert tops[1] < tops[0] and re.match(r"Experiment 1, keep, 0\.5\d{5} ± 0\.00", seen.page.locator("#point").inner_text())
    assert "bpb" not in seen.page.locator("body").inner_text() and seen.complaints == []


def test_a_baseline_alone_is_a_dot_on_a_scale(browser, tmp_path, corpus):
    study, _ = played(tmp_path / "study", corpus)  # strict: no noise that could give the scale its height
    seen = Watched(browser, html.write(study, answers.state_of(study)).as_uri())
    seen.page.wait_for_selector("#chart canvas")
    assert seen.drawn("chart") > 2000 and seen.complaints == []


def test_search_filter_and_sort(browser, thirty):
    seen = Watched(browser, thirty)
    assert seen.numbers() == list(range(30, -1, -1))
    seen.page.fill("#search", "GATE_channels narrower")
    assert seen.numbers() == []
    seen.page.fill("#search", "rope_base")
    assert seen.numbers() == [29, 25, 21, 17, 13, 9, 5, 1] and seen.page.locator("#count").inner_text() == "8 of 31"
    seen.page.select_option("#outcome", "keep")
    assert seen.numbers() == [21, 1]
    seen.page.fill("#search", "")
    seen.page.select_option("#outcome", "crash")
    assert seen.numbers() == [29, 18, 7]
    seen.page.select_option("#outcome", "")
    seen.page.click("#table th button >> text=val_bpb")
    scores = [float(text) for text in seen.page.locator("#table tbody td:nth-child(2)").all_inner_texts() if text != "n/a"]
    assert scores == sorted(scores) and len(scores) == 28 and seen.numbers()[-3:] == [7, 18, 29]  # unknown: last
    assert seen.page.get_attribute("#table th >> nth=1", "aria-sort") == "ascending"


def test_a_click_on_a_point_shows_its_experiment(browser, thirty):
    seen = Watched(browser, thirty)
    over = seen.page.locator("#chart .u-over").bounding_box()
    across = over["x"] + over["width"] * (12 + 0.6) / (30 + 1.2)
    for part in range(1, 40):  # down, until the pointer meets it
        seen.page.mouse.move(across, over["y"] + over["height"] * part / 40)
        if seen.page.locator("#tip").is_visible() and seen.page.locator("#tip").inner_text().startswith("12 · keep · 1."):
            break
    seen.page.mouse.click(across, over["y"] + over["height"] * part / 40)
    assert seen.page.locator("#d-title").inner_text().startswith("12. DEPTH = 24") and seen.page.url.endswith("#12")
    assert seen.page.get_attribute('#table tr[data-n="12"]', "aria-selected") == "true"


def test_an_experiment_is_shown_whole(browser, thirty):
    seen = Watched(browser, thirty + "#12")
    seen.page.wait_for_selector("#d-diff .add")
    assert seen.page.locator("#d-title").inner_text().startswith("12. DEPTH = 24")
    assert re.search(
        r"keep, val_bpb 1\.\d{6} ± 0\.\d{4} \(4 trainings; 95 % interval\)", seen.page.locator("#d-score").inner_text()
    )
    assert (
        seen.page.locator("#d-diff .cut mark").inner_text() == "16" and seen.page.locator("#d-diff .add mark").inner_text() == "24"
    )
    assert "Because a shallower model" in seen.page.locator("#d-reasoning").inner_text()
    assert "a line of a log" in seen.page.locator("#d-log").inner_text()
    assert seen.page.locator("#d-runs tbody tr").count() == 5
    seen.page.click("#d-pin")
    seen.page.click("#after")
    seen.page.wait_for_function("document.querySelector('#chosen').children.length === 4")  # baseline, best, 12, 13
    assert seen.complaints == []


def test_everything_works_by_keyboard(browser, thirty):
    seen = Watched(browser, thirty)
    seen.page.focus("#chart")
    for key in ("Home", "ArrowRight", "ArrowDown", "ArrowRight"):  # 0, 1, the next keep: 3, 4
        seen.page.keyboard.press(key)
    assert seen.page.locator("#point").inner_text().startswith("Experiment 4, discard")
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("document.activeElement.id") == "details"
    seen.page.keyboard.press("Escape")  # back to its row
    assert seen.page.evaluate("document.activeElement.dataset.n") == "4"
    seen.page.keyboard.press("ArrowUp")
    seen.page.keyboard.press("Enter")
    assert seen.page.locator("#d-title").inner_text().startswith("5. ")
    outline = "[getComputedStyle(document.activeElement).outlineStyle, getComputedStyle(document.activeElement).outlineWidth]"
    seen.page.focus("#search")
    reached = set()
    for _ in range(12):
        seen.page.keyboard.press("Tab")
        reached.add(seen.page.evaluate("document.activeElement.tagName"))
        assert seen.page.evaluate(outline) == ["solid", "3px"]
    assert {"SELECT", "BUTTON", "TR"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_dark_and_light_and_on_a_phone(browser, thirty, scheme):
    for width in (1280, 360):
        seen = Watched(browser, thirty + "#12", width, scheme)
        seen.page.wait_for_selector("#d-diff .add")
        seen.page.wait_for_selector("#losses canvas")
        assert seen.page.evaluate("document.documentElement.scrollWidth") == width
        contrasts = seen.contrasts()
        assert len(contrasts) > 150 and contrasts[0][0] >= 4.5, contrasts[:5]
        assert seen.drawn("chart") > 2000


def test_hostile_words_stay_text(browser, hostile):
    file = html.write(hostile, answers.state_of(hostile))
    text = file.read_text(encoding="utf-8")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x1b\u2028\u2029]", text) and text.count("</script>") == 2
    seen = Watched(browser, file.as_uri(), 360)
    for number in range(13):
        seen.page.evaluate("(n) => document.querySelector(`#table tr[data-n='${n}']`).click()", number)
        seen.page.wait_for_function(SHOWN, arg=number)
    assert seen.page.evaluate("window.owned") is None
    assert seen.page.evaluate("document.querySelectorAll('script').length") == 2 and seen.page.locator("img").count() == 0
    assert "</script><script>window.owned = 1</script>" in seen.page.locator("#table").inner_text()
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 360
    assert seen.complaints == [] and seen.asked == [file.as_uri()]


def test_the_policy_lets_no_other_script_run(browser, study, thirty, tmp_path):
    file = tmp_path / "page.html"
    text = (study.folder / html.NAME).read_text(encoding="utf-8")
    assert text.count("<main>") == 1
    file.write_text(text.replace("<main>", f"<main><script>{OWN}</script><img src=x onerror='{OWN}'>"), encoding="utf-8")
    seen = Watched(browser, file.as_uri())
    assert seen.page.evaluate("window.owned") is None and any("Content Security Policy" in one for one in seen.complaints)
    refused = seen.page.evaluate("fetch('http://127.0.0.1:9/').catch((error) => String(error))")
    assert "Failed" in refused and any("connect-src" in one for one in seen.complaints)


def test_the_table_is_json_and_its_gains_add_up(study):
    state = answers.state_of(study)
    data = table(study, state, Details(study).category, "2026-01-01T00:00:00+00:00", None)
    assert json.loads(html.embedded(data)) == json.loads(json.dumps(data))
    assert [row["n"] for row in data["experiments"]] == list(range(31))
    assert sum(one["gain"] for one in data["categories"]) == pytest.approx(state.gain.bpb, abs=1e-5)
    assert sum(one["tried"] for one in data["categories"]) == 30
    assert [one["n"] for one in data["kept"]] == [one.number for one in state.experiments[1:] if one.verdict == "keep"]
    assert not any(str(study.folder) in text for text in json.dumps(data).split('"'))  # it may be handed on


def test_a_page_of_a_study_that_lost_something(study, corpus, tmp_path):
    """Commits, runs and losses that are gone are left out; a baseline alone and none at all are pages, too."""
    broken = pages.made(tmp_path / "broken", corpus, 3)
    for path in (*broken.runs.glob("0001-*/*"), *(broken.folder / ".git" / "objects").glob("*/*")):
        path.unlink()
    details = Details(broken)
    second = answers.state_of(broken).experiments[1]
    assert details.category(second) is None
    assert {name: details.of(second)[name] for name in ("diff", "log", "curve")} == {"diff": "", "log": "", "curve": []}
    assert html.write(broken, answers.state_of(broken)).stat().st_size > 50_000
    shutil.rmtree(broken.folder / ".git")
    assert Details(broken).of(second)["diff"] == ""
    for experiments in (-1, 0):
        few = pages.made(tmp_path / f"few{experiments}", corpus, experiments)
        assert "baseline" in html.write(few, answers.state_of(few)).read_text(encoding="utf-8")


def test_a_run_ends_with_the_page(fresh, typed, monkeypatch):
    study, setup = fresh
    play(study, setup, [BETTER, WORSE], pictures=True)
    first = (study.folder / html.NAME).read_text(encoding="utf-8")
    assert '["Experiments","2","1 kept, 1 discarded, 0 crashed"]' in first and git(study.folder, "status", "--porcelain") == ""
    (study.folder / html.NAME).unlink()
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    status, out, complaint = typed("report", "--open", "--workspace", str(study.folder))
    assert (status, complaint) == (0, "") and out.splitlines()[1] == str(study.folder / html.NAME)
    assert opened == [(study.folder / html.NAME).as_uri()]
    monkeypatch.setenv("SSH_CONNECTION", "1 2 3 4")
    assert not report.shown(study.folder / html.NAME) and len(opened) == 1
    status, out, _ = typed("report", "--output", str(study.folder / "other.png"), "--workspace", str(study.folder))
    assert (status, out.splitlines()) == (0, [str(study.folder / "other.png")])
    assert typed("report", "--output", "x.png", "--open", "--workspace", str(study.folder))[0] == 2

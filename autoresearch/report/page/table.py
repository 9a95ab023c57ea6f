"""What the page shows of a study, as one JSON table: pure, from the study's terms and the fold of its ledger.

Every text in it is harmless (text.py). Numbers stay numbers where the page draws or sorts them, else they are words for a reader.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoresearch.hardware.planner import profiles
from autoresearch.noise import student_t
from autoresearch.paths import typed
from autoresearch.report import words
from autoresearch.report.summary import Summary, summarise
from autoresearch.study.events import REBASED
from autoresearch.study.experiments import Experiment
from autoresearch.study.state import State
from autoresearch.study.workspace import Study
from autoresearch.text import one_line

Categorise = Callable[[Experiment], str | None]
_NORMAL = 1.96  # deviate: 95 % of a normal distribution lie within
_REASON_CHARACTERS = 400
Row = dict[str, Any]


def table(study: Study, state: State, category: Categorise, now: str, process: int | None) -> dict[str, Any]:
    """All but the experiments' details. now: UTC; process: the id of the one that is at work in the study."""
    return head(study, state, category, now, process) | {"experiments": [row(one, category(one)) for one in state.experiments]}


def head(study: Study, state: State, category: Categorise, now: str, process: int | None) -> dict[str, Any]:
    """The table without its rows."""
    summary = summarise(state)
    best = state.best
    noise = state.noise
    return {
        "tag": study.tag,
        "machine": one_line(study.machine_line),
        "now": now,
        "standing": _standing(state, process),
        "running": process is not None,
        "belief": summary.belief,
        "half": noise and student_t(_NORMAL, noise.dof) * noise.sigma,  # of the 95 % interval of one score
        "sigma": noise and noise.sigma,
        "metric": state.metric.name,
        "data": state.metric.data,
        "unit": state.metric.unit or state.metric.label,
        "rises": state.metric.direction == "max",
        "fixed": state.metric.is_fixed,
        "loss": "nats per token" if study.task.audit == "causal" else "",
        "best": best and best.number,
        "tiles": _tiles(state, summary),
        "texts": _texts(state),
        "kept": _kept(state, category),
        "categories": _categories(state, category),
        "facts": _facts(study, state, summary),
        "again": _again(study, state),
    }


def row(one: Experiment, category: str | None) -> Row:
    """An experiment in chart and table. base, from: with several workers alone."""
    of = {"base": one.base, "from": one.rebased_from}
    return {
        "n": one.number,
        "commit": one.commit[:10],
        "what": one_line(one.description),
        "agent": one_line(one.agent, 40),
        "outcome": one.outcome or "running",
        "state": one.state,
        "why": one_line(one.reason or "", _REASON_CHARACTERS),
        "bpb": _rounded(one.val_bpb),
        "scores": len(one.fair),
        "category": category,
        "seconds": one.seconds and round(one.seconds, 1),
        "usd": one.cost_usd,
        "runs": len(one.results),
    } | {name: number for name, number in of.items() if number is not None}


def _standing(state: State, process: int | None) -> str:
    pending = state.pending
    if process is not None:
        if len(state.under_way) > 1:
            return f"running: {words.under_way(state)}"
        if pending is not None:
            return f"running: experiment {pending.number}, {one_line(pending.description, 100)}"
        return "running, and paused" if state.paused else "running"
    return f"not running now; the last run ended: {one_line(state.last_stop, 100)}" if state.last_stop else "not running now"


def _tiles(state: State, summary: Summary) -> list[tuple[str, str, str]]:
    """(title, figure, words below)."""
    best, gain, unseen, metric = state.best, state.gain, state.test_gain, state.metric
    noise = (
        (f"± {metric.amount(state.noise.sigma, digits=4)}", f"{state.noise.dof} degrees of freedom")
        if state.noise
        else ("n/a", "not measured")
    )
    counts = f"{summary.keep} kept, {summary.discard} discarded, {summary.crash} crashed"
    hours = f"{_hours(summary.trained_hours)} of it training, {summary.trainings:,} training{'s' * (summary.trainings != 1)}"
    false = ("n/a", f"strict keeps any {metric.better} score")
    if summary.false_keeps is not None:
        false = (f"{summary.false_keeps:.1f}", f"at most, of {summary.keep} kept, had no edit done anything")
    asked = f"{summary.asked:,} request{'s' * (summary.asked != 1)} to agents" if summary.asked else "no model was asked"
    energy = f"measured, of {summary.energy_trainings:,} training{'s' * (summary.energy_trainings != 1)}"
    return [
        (
            f"Best {metric.name}",
            metric.text(_val(best)),
            "no score yet" if best is None else f"experiment {best.number}" if best.number else "the baseline",
        ),
        ("Gain", "n/a" if gain is None else metric.amount(gain.bpb, digits=4), _of_gain(state)),
        (f"Gain on the test {metric.data}", "n/a" if unseen is None else metric.amount(unseen, digits=4), "which no decision saw"),
        ("Experiments", f"{summary.experiments:,}", counts),
        ("Noise of one score", *noise),
        ("Expected false keeps", *false),
        ("Machine time", _hours(summary.machine_hours), hours),
        *([("Energy", f"{summary.energy_kwh:.2f} kWh", energy)] if summary.energy_kwh is not None else []),
        ("Agents' cost", "n/a" if summary.cost_usd is None else f"${summary.cost_usd:,.2f}", asked),
    ]


def _of_gain(state: State) -> str:
    gain, first = state.gain, _val(state.baseline)
    if gain is None or first is None:
        return f"the baseline failed: {state.baseline_failed}" if state.baseline_failed else "nothing kept yet"
    error = "noise not measured" if gain.error is None else f"± {state.metric.amount(gain.error, digits=4)}"
    share = f"{100 * gain.bpb / abs(first):.2f} % " if first else ""
    return f"{error}, {share}{state.metric.beyond} the baseline"


def _texts(state: State) -> list[tuple[str, str, str, str, str]]:
    """(split, baseline, best, gain, who saw it): what was held out."""
    best, baseline, gain, metric = state.best, state.baseline, state.gain, state.metric
    if best is None or baseline is None:
        return []
    unseen, seen = state.test_gain, state.slice_gain
    text = metric.text
    first, last = (text(one.slices[-1].bpb if one.slices else None) for one in (baseline, best))

    def amount(pair: tuple[float, float | None]) -> str:
        return metric.amount(*pair, sign="±")

    on_slice = amount(seen.gain_slice) if seen and seen.gain_slice else "n/a"
    beside = f"; the same runs gain {amount(seen.gain_val)} on validation" if seen and seen.gain_val else ""
    on_val = "n/a" if gain is None else amount((gain.bpb, gain.error))
    return [
        ("validation", text(_val(baseline)), text(_val(best)), on_val, "every decision; ± is the noise between seeds"),
        ("test", text(baseline.test_bpb), text(best.test_bpb), "n/a" if unseen is None else metric.amount(unseen), "no decision"),
        ("audit slice", first, last, on_slice, f"who would be kept must gain here too; ± between {metric.pieces}{beside}"),
    ]


def _kept(state: State, category: Categorise) -> list[Row]:
    """Each keep with what it did, in plain words."""
    kept, before, metric = [], state.baseline, state.metric
    improved = {"min": "lowered", "max": "raised"}[metric.direction]
    for one in state.experiments[1:]:
        if one.verdict != "keep" or before is None or before.val_bpb is None or one.val_bpb is None:
            continue
        gain = before.val_bpb - one.val_bpb
        by = metric.amount(abs(gain), digits=4)
        did = f"{improved} {metric.name} by {by}, to" if gain >= 0 else f"was kept, and measured again lies {by} {metric.worse}, at"
        words = f"{did} {metric.text(one.val_bpb, 4)} ({_runs(len(one.fair))})"
        kept.append({"n": one.number, "what": one_line(one.description), "words": words, "category": category(one)})
        before = one
    return kept


def _categories(state: State, category: Categorise) -> list[Row]:
    """What each kind of edit was tried for, and what it gained; the gains of all add up to the whole."""
    found: dict[str, Row] = {}
    before = state.baseline
    for one in state.experiments[1:]:
        if one.verdict is None or one.state == REBASED:
            continue
        name = category(one) or "n/a"
        entry = found.setdefault(name, {"category": name, "tried": 0, "kept": 0, "gain": 0.0})
        entry["tried"] += 1
        if one.verdict == "keep" and before and before.val_bpb is not None and one.val_bpb is not None:
            entry["kept"] += 1
            entry["gain"] += before.val_bpb - one.val_bpb
            before = one
    for entry in found.values():
        entry["gain"] = _rounded(entry["gain"])
    return sorted(found.values(), key=lambda entry: (-entry["gain"], -entry["tried"]))


def _facts(study: Study, state: State, summary: Summary) -> list[tuple[str, str]]:
    """What else an honest reader asks for."""
    facts, metric = study.facts, state.metric
    rows = [
        ("noise (sigma)", _noise(state)),
        ("gained on validation alone", f"{_listed(state.val_only)}: not kept" if state.val_only else "none"),
        ("before the clock", f"{state.rejected} proposals rejected, at no training time"),
        ("done again", f"{state.invalid} disturbed and {state.lost} interrupted trainings, none of them counted"),
        ("began, last verdict", f"{_minute(summary.began)}, {_minute(summary.ended)} UTC"),
        ("device", _device(study)),
        ("dtype, compiled", f"{facts.dtype or 'n/a'}, {'n/a' if facts.compile is None else 'yes' if facts.compile else 'no'}"),
        ("terms", f"{study.profile.budget.train_seconds:g} s a training, rule {study.decide}, seed {study.seed}"),
        (f"profile, {metric.data}", f"{study.profile.name}, {_corpus(study)}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in study.versions.items())),
    ]
    if state.skipped_line:
        rows.append(("ledger", state.skipped_line))
    return [(title, one_line(text, _REASON_CHARACTERS)) for title, text in rows]


def _again(study: Study, state: State) -> list[tuple[str, str]]:
    """How to reproduce it: (what for, command), in the study's folder."""
    name = study.profile.name
    profile = name if name in ("auto", *profiles.all()) else f"{name}.toml"  # a file of the user's own
    options = f"{_task(study)}--profile {profile} --corpus {_corpus(study)} --train-seconds {study.profile.budget.train_seconds:g}"
    anew = f"autoresearch run {options} --decide {study.decide} --seed {study.seed} --workspace NEW"
    if name == "demo":  # which no option of `run` names
        anew = f"autoresearch demo --seed {study.seed} --workspace NEW"
    rows = [("the best train.py", f"git show autoresearch/{study.tag}:train.py")]
    if state.best is not None:
        rows.append(("all that was kept, commit by commit", f"git log -p autoresearch/{study.tag} -- train.py"))
        rows.append(("one training of it", "autoresearch train"))
    rows.append(("any experiment, its diff and log", "autoresearch show N"))
    rows.append(("the same study anew", anew))
    rows.append(("and go on with this one", "autoresearch run"))
    return rows


def _task(study: Study) -> str:
    given = [(name, one) for name, value in study.asked for one in (value if isinstance(value, list | tuple) else [value])]
    return "".join(f"--{name} " if value is True else f"--{name} {typed(_bare(str(value)))} " for name, value in given)


def _corpus(study: Study) -> str:
    return _bare(study.corpus)


def _bare(text: str) -> str:
    """A path without the folders of who ran it: the page may be handed on."""
    return Path(text).name if Path(text).is_absolute() else text


def _device(study: Study) -> str:
    facts = study.facts
    memory = f", {facts.memory_gb:.0f} GiB" if facts.memory_gb else ""
    cores = f", {facts.cores} cores" if facts.cores else ""
    return f"{facts.device or 'n/a'}{memory}{cores}, backend {study.backend}"


def _noise(state: State) -> str:
    if state.noise is None:
        return "not measured"
    sigma, low, high = (state.metric.amount(value) for value in (state.noise.sigma, *state.noise.interval()))
    return f"{sigma}, 95 % between {low} and {high}"


def _listed(numbers: list[int]) -> str:
    return f"experiment{'s' * (len(numbers) != 1)} {', '.join(map(str, numbers))}"


def _runs(count: int) -> str:
    return "one training" if count == 1 else f"mean of {count} trainings"


def _val(one: Experiment | None) -> float | None:
    return one.val_bpb if one else None


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.8g}")


def _hours(hours: float) -> str:
    minutes = 60 * hours
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 1 else f"{60 * minutes:.0f} s"


def _minute(time: str | None) -> str:
    return "n/a" if time is None else time[:16].replace("T", " ")

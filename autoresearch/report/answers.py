"""What a study answers to a program: the tables behind `results`, `show`, `best`, `status` and `try`, for the command line's --json
and for MCP alike.

They write nothing and may be called beside a running study; their keys are an interface, so none is dropped or renamed. Scores in
them are as they are stored; whoever hands a table on to a program tells it by the metric's name (`Metric.told`).
Each raises UsageError for what does not exist and StoredStateError for what is damaged. Texts in them are harmless (text.py), save
the best's train.py, which the next edit starts from: that one is as it was scored.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pygit2

from autoresearch.errors import StoredStateError, UsageError
from autoresearch.report.summary import summarise
from autoresearch.study import inbox, ledger, lock
from autoresearch.study.commits import check_ledger, diff, text_of
from autoresearch.study.experiments import Experiment
from autoresearch.study.session import log_tail
from autoresearch.study.state import State, sound
from autoresearch.study.workspace import Study
from autoresearch.text import HIDDEN, harmless, harmless_table, one_line, without_colours

# of report/summary.py, what `status` tells too
TOTALS = (
    "belief",
    "false_keeps",
    "trainings",
    "trained_hours",
    "machine_hours",
    "energy_kwh",
    "energy_trainings",
    "began",
    "ended",
)


def results(study: Study, last: int | None = None) -> list[dict[str, Any]]:
    """Every experiment, oldest first, or the last few."""
    return [record(subject) for subject in state_of(study).experiments[-(last or 0) :]]


def show(study: Study, number: int) -> dict[str, Any]:
    """One experiment, with its ref, its diff against what it was made from, and the end of its last run's log.

    rebased_as: as which experiment its edit was made again on another best.
    """
    state = state_of(study)
    subject, baseline = _numbered(state, number), state.experiments[0]
    with stored(study, subject):
        patch = diff(study.folder, subject.parent, subject.commit) if subject.parent else ""
    tail = log_tail(study.runs / subject.runs[-1].folder / "log.txt") if subject.runs else ""
    startup = {"startup_seconds": subject.startup_seconds, "baseline_startup_seconds": baseline.startup_seconds}
    later = {"rebased_as": next((one.number for one in state.experiments[number:] if one.rebased_from == number), None)}
    words = {"diff": harmless(patch, stand_in=HIDDEN), "log_tail": harmless(without_colours(tail))}
    return record(subject) | startup | later | {"ref": ref(study, number)} | words


def best(study: Study) -> dict[str, Any]:
    """The best so far, with its whole train.py."""
    state = state_of(study)
    if state.best is None:
        raise UsageError(f"the study {study.tag} has no baseline yet; `autoresearch run` trains it")
    text = train_py(study, state.best)
    baseline = state.experiments[0]
    return {
        "experiment": state.best.number,
        "description": one_line(state.best.description),
        "commit": state.best.commit,
        "branch": f"autoresearch/{study.tag}",
        "val_bpb": state.best.val_bpb,
        "baseline_val_bpb": baseline.val_bpb,
        "test_bpb": state.best.test_bpb,
        "baseline_test_bpb": baseline.test_bpb,
        **_other_gains(state),
        "gain_bpb": state.gain.bpb if state.gain else None,
        "gain_error_bpb": state.gain.error if state.gain else None,
        "sigma": state.noise.sigma if state.noise else None,
        "train_py": text,
    } | state.metric.facts


def train_py(study: Study, subject: Experiment) -> str:
    """An experiment's text, as it was scored."""
    with stored(study, subject):
        return text_of(study.folder, subject.commit)


def status(study: Study) -> dict[str, Any]:
    """Where the study stands; process is the id of the process that is at work in it, or None.

    pending: the experiment without a verdict, the first where there are several; open: the numbers of all; under_way: every run
    without a result.
    told: what was added to program.md; handed: train.py texts that are tried next; asked_for: requests that no run has taken yet.
    """
    state = state_of(study)
    totals = asdict(summarise(state))
    best, baseline, pending = state.best, state.baseline, state.pending
    first = pending and {"experiment": pending.number, "description": one_line(pending.description), "runs": len(pending.runs)}
    return {
        "tag": study.tag,
        "workspace": str(study.folder),
        "process": lock.holder(study.lock),
        "device": study.facts.device,
        "backend": study.backend,
        "profile": study.profile.name,
        "corpus": study.corpus,
        "fenced": study.task.is_paired,
        "train_seconds": study.profile.budget.train_seconds,
        "decide": study.decide,
        "sigma": state.noise.sigma if state.noise else None,
        "sigma_dof": state.noise.dof if state.noise else None,
        "gain_bpb": state.gain.bpb if state.gain else None,
        "gain_error_bpb": state.gain.error if state.gain else None,
        **_other_gains(state),
        "baseline_val_bpb": baseline.val_bpb if baseline else None,
        "baseline_failed": state.baseline_failed,
        "best_val_bpb": best.val_bpb if best else None,
        "best_experiment": best.number if best else None,
        "best_commit": best.commit if best else None,
        "counts": state.counts(),
        "rejected": state.rejected,
        "lost": state.lost,
        "invalid": state.invalid,
        "asked": state.asked,
        "cost_usd": None if state.asked and state.asked == state.unpriced else state.cost_usd,
        "unpriced": state.unpriced,
        **{name: totals[name] for name in TOTALS},
        "pending": first,
        "open": [one.number for one in state.open],
        "workers": state.workers,
        "under_way": _under_way(state),
        "best_runs_again": bool(best and best.unfinished),
        "last_stop": state.last_stop and harmless(state.last_stop),
        "paused": state.paused,
        "told": [harmless(text) for text in state.told],
        "handed": [one_line(handed.description) for handed in state.handed],
        "asked_for": [request.kind for path, request in inbox.waiting(study.inbox) if request and path.stem not in state.requests],
        "skipped": len(state.skipped),
        "skipped_why": state.skipped_line,
    } | state.metric.facts


def _under_way(state: State) -> list[dict[str, Any]]:
    told = []
    for (number, k), run in state.under_way.items():
        description = one_line(state.experiments[number].description)
        told.append({"experiment": number, "run": k, "seed": run.seed, "worker": run.worker, "description": description})
    return told


def _other_gains(state: State) -> dict[str, Any]:
    """How far the best lies below the baseline on other texts; slice_val: on the validation text, by the slice's two runs."""
    slice_gain = state.slice_gain
    on_slice, on_val = (slice_gain.gain_slice, slice_gain.gain_val) if slice_gain else (None, None)
    return {
        "gain_slice_bpb": on_slice and on_slice[0],
        "gain_slice_error_bpb": on_slice and on_slice[1],
        "gain_slice_val_bpb": on_val and on_val[0],
        "val_only": state.val_only,
        "gain_test_bpb": state.test_gain,
    }


def tried(study: Study, subject: Experiment) -> dict[str, Any]:
    """An experiment that was just tried, with its ref."""
    return record(subject) | {"ref": ref(study, subject.number)}


def experiment(study: Study, number: int) -> Experiment:
    return _numbered(state_of(study), number)


def _numbered(state: State, number: int) -> Experiment:
    experiments = state.experiments
    if not 0 <= number < len(experiments):
        known = f"there are 0 to {len(experiments) - 1}" if experiments else "there is none yet"
        raise UsageError(f"no experiment {number}: {known}; `autoresearch results` lists them")
    return experiments[number]


def events(study: Study) -> list[dict[str, Any]]:
    """What the ledger holds, without the lines that say what can't be: for the panel and the picture."""
    return sound(ledger.read(study.events))


def state_of(study: Study) -> State:
    state = State()
    count = ledger.each(study.events, state.take)
    check_ledger(study.folder, study.tag, study.events, is_empty=not count)
    return state


def ref(study: Study, number: int) -> str:
    """Where git finds an experiment's commit, also one that was rolled back."""
    return f"refs/autoresearch/{study.tag}/{number}"


def record(subject: Experiment) -> dict[str, Any]:
    """An experiment for programs: what the ledger holds of it, its texts harmless."""
    table = asdict(subject) | {"val_bpb": subject.val_bpb, "peak_memory_bytes": subject.peak_memory_bytes}
    table["quantities"] = subject.quantities
    for run, own in zip(table["runs"], subject.runs, strict=True):
        result = run.pop("result") or {}
        run["quantities"] = own.quantities
        run |= {name: value for name, value in result.items() if name not in run}
    shown: dict[str, Any] = harmless_table(table)
    return shown


@contextlib.contextmanager
def stored(study: Study, subject: Experiment) -> Iterator[None]:
    """For what is read out of git: StoredStateError where that does not hold an experiment."""
    try:
        yield
    except (KeyError, ValueError, pygit2.GitError) as error:  # no such commit, no such file in it, no UTF-8; no repository
        raise StoredStateError(
            f"{study.folder / '.git'} does not hold experiment {subject.number} ({subject.commit}); bring .git back from a copy"
        ) from error

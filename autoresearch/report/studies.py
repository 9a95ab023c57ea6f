"""The studies in a folder, for `autoresearch studies`. It writes nothing, and one that is damaged ends nothing."""

from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError
from autoresearch.metric import VAL_BPB, Metric
from autoresearch.report import answers
from autoresearch.report.summary import summarise
from autoresearch.study import lock, work_tree, workspace
from autoresearch.text import one_line


def listed(folder: Path) -> list[tuple[dict[str, Any], Metric]]:
    """The study in folder itself and those in its children, the last one at work first; those that can't be read come last."""
    found = [about(path) for path in [folder, *folder.iterdir()] if _is_candidate(path)]
    return sorted(found, key=lambda one: one[0]["when"] or "", reverse=True)


def about(folder: Path) -> tuple[dict[str, Any], Metric]:
    """One line's facts, and the metric of its scores. state: new, running, paused, stopped or damaged; of a damaged one reason says
    why, and the rest is None.
    """
    table: dict[str, Any] = dict.fromkeys(
        (
            "tag",
            "state",
            "reason",
            "experiments",
            "best_val_bpb",
            "gain_bpb",
            "gain_error_bpb",
            "when",
            "device",
            "backend",
            "profile",
        )
    )
    table["workspace"] = str(folder.resolve())
    try:
        study = workspace.load(folder)
        state = answers.state_of(study)
        process = lock.holder(study.lock)
    except (AutoresearchError, OSError) as error:
        return table | {"state": "damaged", "reason": one_line(str(error), 1000)}, VAL_BPB
    summary, best, gain = summarise(state), state.best, state.gain
    word = "paused" if state.paused else "running" if process else "stopped" if state.experiments else "new"
    known = {
        "tag": study.tag,
        "state": word,
        "experiments": summary.experiments,
        "best_val_bpb": best.val_bpb if best else None,
        "gain_bpb": gain.bpb if gain else None,
        "gain_error_bpb": gain.error if gain else None,
        "when": summary.ended or summary.began or study.created,
        "device": study.facts.device and one_line(study.facts.device),
        "backend": study.backend,
        "profile": study.profile.name,
    }
    return table | known | state.metric.facts, state.metric


def _is_candidate(folder: Path) -> bool:
    """Whether something of a study lies there, whole or not."""
    try:
        return folder.is_dir() and ((folder / work_tree.STUDY).exists() or (folder / ".autoresearch").is_dir())
    except OSError:  # a folder of somebody else's
        return False

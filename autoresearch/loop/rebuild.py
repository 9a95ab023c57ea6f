"""A ledger that was lost while git still has the study's experiments: a new one, from what is left of them.

No score is made up: git has the texts and what was said of them, not what they gave. So the study goes on from its best, which is
measured anew as experiment 0, and no program that was tried is tried again.
"""

from dataclasses import dataclass
from pathlib import Path

from autoresearch import durable
from autoresearch.propose.proposals import program_key
from autoresearch.study import commits, events, store
from autoresearch.study.ledger import Ledger
from autoresearch.study.workspace import Study
from autoresearch.text import described

RESULTS = "results.tsv"


@dataclass(frozen=True)
class Tried:
    number: int
    commit: str
    description: str
    key: str | None  # None: its train.py can't be read any more


def tried(study: Study) -> list[Tried]:
    """The experiments that git has refs of, in order, where the ledger says nothing; an empty list where nothing was lost."""
    if study.events.exists() and study.events.stat().st_size:
        return []
    experiments = []
    for number, commit in sorted(commits.numbered(study.folder, study.tag).items()):
        try:
            key = program_key(commits.text_of(study.folder, commit))
        except (KeyError, ValueError):
            key = None
        experiments.append(Tried(number, commit, described(commits.message(study.folder, commit).partition("\n")[0]), key))
    return experiments


def rebuild(study: Study, experiments: list[Tried]) -> Path | None:
    """Write the new ledger. Only while the study's lock is held. Where the old results.tsv is kept; None: there was none."""
    results, aside = study.folder / RESULTS, None
    if results.exists():
        names = (study.state_folder / f"results.lost-{number}.tsv" for number in range(1, 1 << 20))
        aside = next(name for name in names if not name.exists() or name.read_bytes() == results.read_bytes())
        durable.write(aside, results.read_bytes())
    ledger = Ledger(study.events)
    for experiment in experiments:
        if experiment.key is not None:
            event = events.Tried(commit=experiment.commit, key=experiment.key, description=experiment.description)
            ledger.append(event.name, **events.fields(event))
    git = store.Store(study.folder, study.tag)
    # The new study's experiments have these numbers; cut short here, a ref keeps its old name until it is in the way.
    for experiment in experiments:
        git.rename(experiment.number, f"lost-{experiment.commit[:10]}")
    return aside

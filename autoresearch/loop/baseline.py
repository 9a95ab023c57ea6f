"""The baseline, experiment 0: the first train.py, trained often enough to know the noise."""

from autoresearch.agents.base import Proposal
from autoresearch.errors import UsageError
from autoresearch.loop.begin import record_start
from autoresearch.loop.stop import Stop
from autoresearch.paths import git
from autoresearch.propose.proposals import program_key
from autoresearch.run.constraints import BROKEN
from autoresearch.study.experiments import Experiment
from autoresearch.study.session import Session, log_tail
from autoresearch.study.work_tree import work_tree_text
from autoresearch.study.workspace import first_text


def start(session: Session, work_tree: bool) -> None:
    """Make the train.py of the last commit experiment 0. With work_tree, an edit made before the run is committed first."""
    store = session.store
    commit, text = tip(session)
    edit = work_tree_text(session.study.folder) if work_tree else None
    if work_tree and edit is None and store.is_users_edit(set()):
        raise UsageError(f"train.py is not UTF-8 text; mend it, or `{git(session.study.folder)} checkout HEAD train.py`")
    if edit is not None and edit != text:
        _parsed(edit, session)
        commit, edited = session.persist(lambda: store.propose(commit, edit, "train.py as edited before the run\n"))
        session.persist(lambda: store.update(commit, {edited}))
        session.note("train.py was edited before the run: the edit is the baseline")
    text, blob = store.text(commit), store.blob(commit)
    assert blob is not None, "its text was just read"
    proposal = Proposal(text, "baseline", "train.py as it is", agent="none")
    record_start(session, 0, commit, None, blob, _parsed(text, session), proposal)


def check(session: Session) -> None:
    """Stop where it failed; the next call tries again, with the train.py that lies there then."""
    first = session.state.experiments[0]
    if first.verdict != "keep":
        tail = log_tail(session.study.runs / first.runs[-1].folder / "log.txt")
        raise Stop(f"the baseline failed ({first.state}): {first.reason}; {advice(session, first)}", 1, tail)


def advice(session: Session, failed: Experiment) -> str:
    """What to do about a baseline that failed: whose fault it can be depends on whose text it is."""
    if failed.state == BROKEN:
        return "run again with a limit that the baseline keeps"
    if disturbed := failed.runs[-1].disturbed if failed.runs else None:
        return f"it was disturbed each time ({disturbed}): run again when this machine has nothing else to do"
    setup, text = session.setup, session.store.text(failed.commit)
    made = first_text(setup.task, setup.backend, session.study.profile)
    if text == made:
        return (
            "its train.py is as it was made, so it is this machine or its packages: `autoresearch doctor` says more; then run again"
        )
    first = session.store.first
    restore = f"{git(session.study.folder)} checkout {first[:10]} -- train.py" if first else ""
    back = f"; `{restore}` brings back the one that the study was made with" if first else ""
    return f"mend train.py and run again{back}"


def tip(session: Session) -> tuple[str, str]:
    """The branch's commit before there is a baseline, and its train.py; UsageError when the user left none there."""
    store = session.store
    branch = store.branch.removeprefix("refs/heads/")
    if store.tip is None:
        raise UsageError(f"the branch {branch} is gone; `git branch {branch} COMMIT` brings it back")
    try:
        return store.tip, store.text(store.tip)
    except (KeyError, UnicodeDecodeError) as error:
        raise UsageError(f"the last commit on {branch} holds no train.py in UTF-8; commit one and run again") from error


def _parsed(text: str, session: Session) -> str:
    """The text's program key; a train.py of the user's that is no program is the user's to mend."""
    try:
        return program_key(text)
    except ValueError as error:
        raise UsageError(f"{error}; mend it, or `{git(session.study.folder)} checkout HEAD train.py`") from error

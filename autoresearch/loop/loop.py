"""The ratchet: propose, check, train, score, decide, keep or discard; again, until it is told to stop.

Every step ends in a line of the ledger, and which step comes next is read from the ledger alone. So a study that was killed
anywhere goes on by the same code that runs it: an experiment without a verdict is trained, scored and decided to its end.
"""

import time
from dataclasses import dataclass

from autoresearch.agents.base import Agent, Exhausted, Past, Proposal
from autoresearch.errors import EnvironmentFailure, UsageError
from autoresearch.loop import decide, experiment
from autoresearch.loop.experiment import Setup
from autoresearch.loop.ledger import Experiment
from autoresearch.loop.proposals import objection, program_key
from autoresearch.loop.session import PICTURE_EVERY, Listener, Session, log_tail, opened
from autoresearch.loop.store import work_tree_text
from autoresearch.loop.workspace import Study

PROPOSAL_TRIES = 5  # proposals in a row that may be sent back
ENVIRONMENT_TRIES = 3  # failures in a row that are the machine's fault
ENVIRONMENT_WAIT_SECONDS = 10.0  # before trying again
_MANUAL_AGENT = "try"


@dataclass(frozen=True)
class Limits:
    experiments: int | None = None  # of this call, without the baseline
    hours: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a call ended: why, in one line, the exit status, and what helps to see why (the end of a log)."""

    reason: str
    exit_status: int = 0
    detail: str = ""


class Stop(Exception):
    """Ends the loop in good order."""

    def __init__(self, reason: str, exit_status: int = 0, detail: str = ""):
        super().__init__(reason)
        self.outcome = Outcome(reason, exit_status, detail)


def run_study(study: Study, setup: Setup, agent: Agent, limits: Limits, listener: Listener) -> Outcome:
    """Run or resume a study until a limit, Ctrl-C, or a reason that no experiment can mend."""
    end_time = None if limits.hours is None else time.monotonic() + 3600 * limits.hours
    with opened(study, setup, listener) as session:
        try:
            establish_baseline(session, work_tree=True)
            session.note_users_edit()
            done = 0
            while (reached := _reached(limits, done, end_time)) is None:
                _stop_if_asked(session)  # before another proposal, which may cost something
                pending = session.state.pending
                number = pending.number if pending else start(session, propose(session, agent), agent.name)
                finish(session, number)
                done += 1
                if done % PICTURE_EVERY == 0:
                    session.draw()
            outcome = Outcome(reached)
        except Stop as stop:
            outcome = stop.outcome
        except KeyboardInterrupt:
            outcome = Outcome("Ctrl-C", 130)
        session.stop(outcome.reason)
        session.draw()
        return outcome


def try_edit(study: Study, setup: Setup, description: str, listener: Listener) -> tuple[Experiment | None, Outcome]:
    """One step on the work tree's train.py: its experiment when it was decided, and how the call ended.

    Raises UsageError when the edit does not differ, does not parse, or was tried before.
    """
    text = work_tree_text(study.folder)  # before the session: it puts the best back over a text that was tried before
    if text is None:
        raise UsageError(f"there is no readable train.py in {study.folder}; `git checkout HEAD train.py` brings the best back")
    with opened(study, setup, listener) as session:
        number = None
        try:
            number = _pending_with(session, text)
            if number is None:
                _check_edit(session, text)
                establish_baseline(session, work_tree=False)
                if session.state.pending:  # an experiment of a run that was cut short comes first
                    finish(session, session.state.pending.number)
                _check_edit(session, text)
                number = start(session, Proposal(text, description, "an edit of the work tree"), _MANUAL_AGENT)
            finish(session, number)
            outcome = Outcome("1 experiment done")
        except Stop as stop:
            outcome = stop.outcome
        except KeyboardInterrupt:
            outcome = Outcome("Ctrl-C", 130)
        session.stop(outcome.reason)
        session.draw()
        tried = session.state.experiments[number] if number is not None else None
        return (tried if tried and tried.verdict else None), outcome


def propose(session: Session, agent: Agent) -> Proposal:
    """A proposal worth a training. Others go back to the agent with the reason, PROPOSAL_TRIES times at most."""
    sent_back: list[Past] = []
    number = len(session.state.experiments)
    while len(sent_back) < PROPOSAL_TRIES:
        try:
            with session.interrupts.breakable():
                proposal = agent.propose(session.view(sent_back))
        except Exhausted as end:
            raise Stop(str(end) or f"the agent {agent.name} has nothing more to propose") from end
        except EnvironmentFailure as failure:
            raise Stop(f"the agent {agent.name} could not propose: {failure}", failure.exit_status) from failure
        reason = objection(proposal.train_py, session.state)
        if reason is None:
            return proposal
        words = {"description": _one_line(proposal.description), "reasoning": proposal.reasoning}
        session.record("rejected", **words, agent=agent.name, cost_usd=proposal.cost_usd, reason=reason)
        sent_back.append(Past(number, words["description"], "rejected", None, proposal.train_py, reason))
        _stop_if_asked(session)
    raise Stop(f"the last {PROPOSAL_TRIES} proposals of the agent {agent.name} were no use; the last one: {reason}", 1)


def start(session: Session, proposal: Proposal, agent: str) -> int:
    """Make the proposal an experiment: its commit, its line in the ledger, its ref, in this order. Its number."""
    state, store = session.state, session.store
    number, parent = len(state.experiments), store.base(state.best.commit)
    description = _one_line(proposal.description)
    message = f"{description}\n\n{_clean(proposal.reasoning)}\n\nexperiment {number}, proposed by {agent}\n"
    commit, blob = session.persist(lambda: store.propose(parent, proposal.train_py, message))
    _record_start(session, number, commit, parent, blob, program_key(proposal.train_py), description, proposal, agent)
    return number


def finish(session: Session, number: int) -> None:
    """Train and score an experiment until its scores decide, then keep or discard it."""
    subject = session.state.experiments[number]
    failures = 0
    while (verdict := judge(session, subject)) is None:
        _stop_if_asked(session)
        session.wait_for_room()
        failure = train_once(session, subject)
        failures = failures + 1 if failure and not session.disk_is_full else 0
        if failures == ENVIRONMENT_TRIES:
            raise Stop(f"{failures} times in a row the machine failed, not the experiment: {failure}", 1)
        if failures:
            with session.interrupts.breakable():
                time.sleep(ENVIRONMENT_WAIT_SECONDS)
    session.record("verdict", n=number, commit=subject.commit, **verdict)
    session.follow()


def train_once(session: Session, subject: Experiment) -> EnvironmentFailure | None:
    """The next run of an experiment, on a fresh seed. Returns the failure when it was the machine's: the run is lost."""
    number, k, seed = subject.number, len(subject.runs) + 1, session.state.next_seed()
    folder = session.run_folder(number, k)
    session.record("begin", n=number, k=k, seed=seed, folder=folder.name, conditions=session.look())
    try:
        with session.interrupts.breakable():
            text = session.store.text(subject.commit)
            result = experiment.execute(session.setup, text, seed, folder, session.progress_to(number, k))
    except KeyboardInterrupt:
        session.record("lost", n=number, k=k, reason="ended by Ctrl-C; the same commit runs again")
        raise
    except EnvironmentFailure as failure:
        session.record("lost", n=number, k=k, reason=str(failure))
        return failure
    session.record("run", n=number, k=k, folder=folder.name, **result.to_json())
    return None


def judge(session: Session, subject: Experiment) -> dict | None:
    """The verdict's fields, or None when another run is needed."""
    rule, state = session.study.decide, session.state
    for k, result in enumerate(subject.results, 1):
        if not result.ok:
            reason = result.reason if k == 1 else f"on seed {result.seed}, its run {k}: {result.reason}"
            return {"verdict": "crash", "state": result.status, "reason": reason, "val_bpb": None, "scores": []}
    scores = [result.val_bpb for result in subject.results]
    if state.best is None:
        return _judge_baseline(rule, scores)
    if not scores:
        return None
    decision = decide.decide(rule, state.best.scores, state.noise, scores)
    if decision.verdict == "more":
        return None
    fair = decide.fair_scores(rule, scores)
    verdict = "keep" if decision.verdict == "keep" else "discard"
    state_word, reason = decision.verdict, decision.reason
    return {"verdict": verdict, "state": state_word, "reason": reason, "val_bpb": decide.mean(fair), "scores": fair}


def establish_baseline(session: Session, work_tree: bool) -> None:
    """Train the first train.py often enough to know the noise. With work_tree, an edit made before the run is the baseline.

    A baseline that fails stops with its reason; the next call tries again, with the train.py that lies there then.
    """
    if session.state.best is not None:
        return
    if session.state.pending is None:
        _start_baseline(session, work_tree)
    finish(session, 0)
    baseline = session.state.experiments[0]
    if baseline.verdict == "crash":
        tail = log_tail(session.study.runs / baseline.runs[-1].folder / "log.txt")
        raise Stop(f"the baseline failed ({baseline.state}): {baseline.reason}; mend train.py and run again", 1, tail)


def _judge_baseline(rule: str, scores: list[float]) -> dict | None:
    if len(scores) < decide.BASELINE_RUNS[rule]:
        return None
    noise = decide.pooled_noise([scores])
    spread = f", sigma {noise.sigma:.6f}" if noise else ""
    reason = f"mean of {len(scores)} runs{spread}"
    return {"verdict": "keep", "state": "baseline", "reason": reason, "val_bpb": decide.mean(scores), "scores": scores}


def _start_baseline(session: Session, work_tree: bool) -> None:
    store = session.store
    commit, text = _tip(session)
    edit = work_tree_text(session.study.folder) if work_tree else None
    if work_tree and edit is None and store.is_users_edit(set()):
        raise UsageError("train.py is not UTF-8 text; mend it, or `git checkout HEAD train.py`")
    if edit is not None and edit != text:
        _parsed(edit)
        commit, _ = session.persist(lambda: store.propose(commit, edit, "train.py as edited before the run\n"))
        session.persist(lambda: store.update(commit, {store.blob(commit)}))
        session.note("train.py was edited before the run: the edit is the baseline")
    text = store.text(commit)
    proposal = Proposal(text, "baseline", "train.py as it is")
    _record_start(session, 0, commit, None, store.blob(commit), _parsed(text), "baseline", proposal, "none")


def _tip(session: Session) -> tuple[str, str]:
    """The branch's commit before there is a baseline, and its train.py; UsageError when the user left none there."""
    store = session.store
    branch = store.branch.removeprefix("refs/heads/")
    if store.tip is None:
        raise UsageError(f"the branch {branch} is gone; `git branch {branch} COMMIT` brings it back")
    try:
        return store.tip, store.text(store.tip)
    except (KeyError, UnicodeDecodeError) as error:
        raise UsageError(f"the last commit on {branch} holds no train.py in UTF-8; commit one and run again") from error


def _record_start(session, number, commit, parent, blob, key, description, proposal, agent) -> None:
    session.record(
        "start", n=number, commit=commit, parent=parent, blob=blob, key=key, description=description,
        reasoning=proposal.reasoning, agent=agent, cost_usd=proposal.cost_usd,
    )  # fmt: skip
    session.persist(lambda: session.store.name(number, commit))


def _pending_with(session: Session, text: str) -> int | None:
    """The experiment that a killed `try` of this same text left behind."""
    pending = session.state.pending
    return pending.number if pending and pending.number > 0 and session.store.text(pending.commit) == text else None


def _check_edit(session: Session, text: str) -> None:
    if session.state.best is None and text == _tip(session)[1]:
        raise UsageError("train.py does not differ from the start of the study; edit it, then `autoresearch try -m TEXT`")
    if reason := objection(text, session.state):
        raise UsageError(f"{reason}; edit train.py, then `autoresearch try -m TEXT`")


def _parsed(text: str) -> str:
    """The text's program key; a train.py of the user's that is no program is the user's to mend."""
    try:
        return program_key(text)
    except ValueError as error:
        raise UsageError(f"{error}; mend it, or `git checkout HEAD train.py`") from error


def _reached(limits: Limits, done: int, end_time: float | None) -> str | None:
    """The limit that is reached, in words."""
    count = f"{done} experiment{'s' * (done != 1)} done"
    if done == limits.experiments:
        return count
    if end_time is not None and time.monotonic() >= end_time:
        return f"{limits.hours:g} hours are over, {count}"
    return None


def _stop_if_asked(session: Session) -> None:
    if session.interrupts.requested:
        raise Stop("Ctrl-C", 130)


def _one_line(text: str, limit: int = 200) -> str:
    """For a table's cell and a commit's subject: no control characters, no half characters, not empty."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in _clean(text)).split())
    return (shown[: limit - 1] + "…" if len(shown) > limit else shown) or "no description"


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")

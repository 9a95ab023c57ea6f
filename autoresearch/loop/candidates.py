"""What several workers check next, and may become an experiment: what a person handed in, edits whose base is no longer the best,
an agent's proposals. One whose check came to no end comes again.
"""

from autoresearch.agents.base import RUNNING, Past, Proposal
from autoresearch.child import RunFailed
from autoresearch.errors import EnvironmentFailure
from autoresearch.loop.begin import handed, rebased, record_rejected, rejection
from autoresearch.loop.jobs import Job, Jobs
from autoresearch.loop.stop import Ending
from autoresearch.propose.proposer import NoMore, Proposer
from autoresearch.study import events
from autoresearch.study.session import Session
from autoresearch.text import described


class Candidates:
    """over: why nothing more is proposed."""

    def __init__(self, session: Session, proposer: Proposer, jobs: Jobs):
        self._session, self._proposer, self._jobs = session, proposer, jobs
        self._returned: list[tuple[Proposal, int]] = []
        self.over: Ending | None = None

    def next(self) -> tuple[Proposal, int] | None:
        """(the next one, the experiment that it is an edit of)."""
        session, best, checked = self._session, self._session.state.best, self._jobs.checked()
        assert best is not None, "the baseline comes first"
        while self._returned:
            again, base = self._returned.pop(0)
            if base == best.number:  # else it is proposed anew, from the present best
                return again, base
        if not any(one.agent == events.PERSON for one in checked) and (proposal := handed(session)):
            return proposal, best.number
        if proposal := rebased(session, [one.again for one in checked if one.again is not None]):
            return proposal, best.number
        if self.over:
            return None
        try:
            proposal = self._proposer.now()
        except (NoMore, EnvironmentFailure) as error:
            self._close(error)
            return None
        return (proposal, best.number) if proposal else None

    def give_back(self, job: Job) -> None:
        """Its check came to no end."""
        if job.proposal is not None and job.is_wanted:
            self._returned.append((job.proposal, job.base or 0))

    def refuse(self, job: Job, failure: RunFailed) -> None:
        """It failed before READY."""
        session, proposal, folder = self._session, job.proposal, job.order.folder
        assert proposal is not None, "a run that does not wait has a result"
        if session.lost_its_room(session.study.runs / folder):
            return self.give_back(job)
        found = rejection(session, proposal, failure, folder)
        if proposal.agent == events.PERSON or proposal.again is not None:
            return record_rejected(session, proposal, **found)
        try:
            self._proposer.reject(proposal, **found)
        except (NoMore, EnvironmentFailure) as error:
            self._close(error)

    def tell(self) -> None:
        """The proposer is told what is checked, whenever that changes."""
        first = len(self._session.state.experiments)
        self._proposer.checked = tuple(
            Past(first + k, described(one.description), RUNNING, None, one.train_py, agent=one.agent)
            for k, one in enumerate(self._jobs.checked())
        )

    def _close(self, error: NoMore | EnvironmentFailure) -> None:
        """It ends the study when nothing is under way any more."""
        self.over = Ending(str(error), error.exit_status)

"""Where the next proposal comes from: a quick agent (the search), a slow one that thinks ahead (an LLM), or both by their shares.

The slow one is asked while an experiment trains, as if that will be discarded, the likely outcome. When it is kept instead, the
answer's edit is made again on the new best, as git merges; where that fails it is asked anew. When it is its turn and nothing is
ready, the quick one proposes: the machine waits for nobody. Without a quick one (None) it has to wait.

Nothing that the slow one answers ends a night. What waiting does not mend (a rejected key, no such model) is said, and it is asked
again much later; so it is when several proposals in a row were no use, which it is told.

An answer that is ready is in the ledger (`proposed`), so a kill does not lose what was paid for.
"""

import time
from contextlib import suppress
from dataclasses import replace

from msgspec import UNSET, UnsetType

from autoresearch.agents import mix
from autoresearch.agents.base import REJECTED, Agent, Exhausted, Past, Proposal, Unavailable
from autoresearch.errors import EnvironmentFailure, LedgerRefusal, UsageError
from autoresearch.propose.proposals import REASON_CHARACTERS, objection, program_key
from autoresearch.propose.thinker import Thinker
from autoresearch.propose.views import Views
from autoresearch.study import events
from autoresearch.study.session import Session
from autoresearch.text import described, one_line

TRIES = 5  # proposals in a row of a quick agent that may be sent back
REPAIRS = 2  # times that a slow agent gets a proposal back with its error
WAIT_SECONDS = 0.2  # between two looks, where there is nobody to go on with


class NoMore(Exception):
    """Nobody proposes anything more. exit_status: 0 when that is the natural end."""

    def __init__(self, reason: str, exit_status: int = 0):
        super().__init__(reason)
        self.exit_status = exit_status


class Proposer:
    """`tick` a few times a second while a training runs, `next` when the machine is free, `reject` what failed before READY."""

    def __init__(self, session: Session, agents: mix.Agents, end_time: float | None = None):
        """end_time: by time.monotonic, for how long one may be waited for."""
        self._session, self._quick, self._share = session, agents.quick, agents.share
        self._thinker = Thinker(agents.slow, session.study.seed) if agents.slow else None
        self.views = Views(session.study, session.store, session.setup.task)
        self._sent_back: list[Past] = []  # of the slow agent's present idea
        self._refused: list[str] = []  # why the slow agent's proposals since its last experiment were no use
        self._dropped = 0  # ideas of its, since then
        self._failed_in_a_row = 0
        self._end_time = end_time
        self._is_last = False
        self._base = ""  # the commit that the slow agent's present idea edits
        self.checked: tuple[Past, ...] = ()  # RUNNING: what is tried and is no experiment yet; the loop says
        self._given: dict[str, str] = {}  # text by the commit of the slow agent's idea, of what `next` gave out
        # Git may have dropped what had no ref: it is asked again.
        known = [idea for idea in session.state.waiting if session.store.has(idea.commit) and session.store.has(idea.base)]
        session.state.waiting = known

    def close(self) -> None:
        if self._thinker:
            self._thinker.close()
            self._record_asks(self._thinker)

    def expect_last(self, is_last: bool) -> None:
        """Whether no experiment follows the one that runs: then nobody thinks ahead."""
        self._is_last = is_last
        self.tick()

    def tick(self) -> None:
        """Take what the slow agent has done, and set it to work again."""
        thinker = self._thinker
        if thinker is None:
            return
        with self._session.interrupts.whole():
            self._record_asks(thinker)
            if answer := thinker.take():
                self._take_in(thinker, answer)
            is_free = self._thinker is not None and thinker.may_think and not self._is_last
            if is_free and self._wants_answer(thinker):
                self._think(thinker)

    def next(self) -> Proposal:
        """What to try now. Raises NoMore, and what ends a study: an EnvironmentFailure of the quick agent's."""
        while (proposal := self.now()) is None:
            thinker = self._thinker
            assert thinker is not None, "the quick one never lets wait"
            if self._session.interrupts.requested:
                raise NoMore(self._session.interrupts.word, self._session.interrupts.exit_status)
            if self._end_time is not None and time.monotonic() >= self._end_time:
                raise NoMore(f"the time is over, and {thinker.agent.name} had no answer")
            self._wait(thinker)
        return proposal

    def now(self) -> Proposal | None:
        """As `next`, without a wait: None while the slow agent, which is alone, has no answer."""
        self.expect_last(False)
        thinker = self._thinker
        if thinker and self._turn(thinker).is_thinkers and (proposal := self._ready(thinker)):
            return proposal
        if self._quick:
            try:
                return self._quick_proposal(self._quick)
            except NoMore as end:
                if thinker is None:
                    raise
                self._session.note(f"{self._quick.name}: {end}; {thinker.agent.name} goes on alone")
                self._quick = None
                return None
        if thinker is None:
            raise NoMore("there is no agent left")
        return self._ready(thinker)

    def reject(self, rejected: Proposal, state: events.Failed, reason: str, log: str, commit: str, key: str) -> None:
        """What `next` gave failed before its training: recorded, and sent back to whoever proposed it. Raises NoMore."""
        self._record_rejected(rejected, reason, state=state, log=log, commit=commit, key=key)
        self._failed_in_a_row += 1
        slow = self._thinker if self._thinker and rejected.agent == self._thinker.agent.name else None
        if slow:
            self._send_back(slow, rejected, f"{reason}\n{log}".strip())
        if self._failed_in_a_row >= TRIES and not (slow and self._quick):
            raise NoMore(f"the last {TRIES} proposals failed before their training; the last one: {reason}", 1)

    def accepted(self, proposal: Proposal) -> None:
        self._failed_in_a_row = 0
        if self._thinker and proposal.agent == self._thinker.agent.name:
            self._sent_back.clear()
            self._refused.clear()
            self._dropped = 0

    # The quick agent

    def _quick_proposal(self, agent: Agent) -> Proposal:
        sent_back: list[Past] = []
        while len(sent_back) < TRIES:
            try:
                with self._session.interrupts.breakable():
                    view = self.views.view(self._session.state, sent_back, self.checked)
                    proposal = replace(agent.propose(view), agent=agent.name)
            except (Exhausted, UsageError) as end:
                raise NoMore(str(end) or f"the agent {agent.name} has nothing more to propose") from end
            except EnvironmentFailure as failure:
                raise EnvironmentFailure(f"the agent {agent.name} could not propose: {failure}") from failure
            reason = self._objection(proposal.train_py)
            if reason is None:
                return proposal
            self._record_rejected(proposal, reason)
            sent_back.append(self._past(proposal, reason))
            if self._session.interrupts.requested:
                raise NoMore(self._session.interrupts.word, self._session.interrupts.exit_status)
        raise NoMore(f"the last {TRIES} proposals of the agent {agent.name} were no use; the last one: {reason}", 1)

    # The slow agent

    def _turn(self, thinker: Thinker) -> mix.Turn:
        state, share = self._session.state, self._share if self._quick else 1.0
        return mix.turn([*self.views.history(state), *self.views.under_way(state, self.checked)], share, thinker.agent.name)

    def _waiting(self, thinker: Thinker) -> events.Proposed | None:
        """Its first idea that is ready; another agent's, of an earlier call, is left where it is."""
        checked = {past.train_py for past in self.checked}
        ideas = (idea for idea in self._session.state.waiting if idea.agent == thinker.agent.name)
        return next((idea for idea in ideas if self._given.get(idea.commit) not in checked), None)

    def _wants_answer(self, thinker: Thinker) -> bool:
        """Whether it is to propose the next experiment, and has not done so."""
        if self._waiting(thinker) or not self._session.state.experiments:
            return False
        return bool(self._sent_back) or self._turn(thinker).is_thinkers

    def _think(self, thinker: Thinker) -> None:
        session, turn = self._session, self._turn(thinker)
        last = session.state.mix
        share, wish = (last.share, last.wish) if last else (self._share, None)
        if (turn.share, turn.wish is None) != (share, wish is None):
            session.record(events.Mix(share=turn.share, wish=turn.wish, reason=turn.reason))
        self._base = (session.state.best or session.state.experiments[0]).commit
        wish = " ".join(filter(None, (self._warning(), turn.wish))) or None
        view = self.views.view(session.state, self._sent_back, self.checked, wish)
        if expects := getattr(self._quick, "expects", None):
            with suppress(UsageError):  # a train.py without constants
                view = replace(view, expected=tuple(expects(view)))
        thinker.think(view)
        session.show_thinking(thinker.agent.name)

    def _warning(self) -> str | None:
        """For an agent whose ideas were dropped: nothing of what it tries is trained."""
        if not self._dropped:
            return None
        last = one_line(self._refused[-1], REASON_CHARACTERS)
        return (
            f"Your last {len(self._refused)} proposals could not be used, the last one because: {last}. Propose something else than"
            " these, that differs from every experiment of the history."
        )

    def _take_in(self, thinker: Thinker, answer: Proposal | BaseException) -> None:
        session, name = self._session, thinker.agent.name
        session.show_thinking(None)
        if isinstance(answer, Proposal):
            self._keep(thinker, answer)
        elif isinstance(answer, Exhausted):
            session.note(f"{name}: {answer}; {self._quick.name if self._quick else 'nobody'} goes on", name)
            self._retire(thinker)
        elif isinstance(answer, Unavailable):
            session.note(f"{name} can't propose now: {answer}; it is asked again in {thinker.wait_seconds:.0f} s", name)
        else:
            alone = f"{self._quick.name} goes on alone, and it" if self._quick else "it"
            session.note(f"{name} can't propose: {answer}; {alone} is asked again in {thinker.wait_seconds:.0f} s", name)

    def _keep(self, thinker: Thinker, proposal: Proposal) -> None:
        """Its ideas, until their turn, in the ledger; or send the first one back, where none is of use."""
        ideas = [proposal, *(replace(other, agent=proposal.agent) for other in proposal.others)]
        reasons = [self._objection(idea.train_py) for idea in ideas]
        for idea, reason in zip(ideas, reasons, strict=True):  # before any waits: what is rejected is no longer waited for
            if reason:
                self._record_rejected(idea, reason)
        useful = [idea for idea, reason in zip(ideas, reasons, strict=True) if reason is None]
        for rank, idea in enumerate(useful):
            self._record_proposed(idea, rank)
        if reasons[0] and not useful:
            self._send_back(thinker, proposal, reasons[0])

    def _record_proposed(self, idea: Proposal, rank: int) -> None:
        session, base = self._session, self._base
        message = f"{described(idea.description)}\n\nnot tried yet\n"
        commit, _ = session.persist(lambda: session.store.propose(base, idea.train_py, message))
        session.record(
            events.Proposed(
                agent=idea.agent, commit=commit, base=base, description=idea.description,
                reasoning=idea.reasoning, cost_usd=idea.cost_usd, rank=rank or UNSET,
            )
        )  # fmt: skip

    def _ready(self, thinker: Thinker) -> Proposal | None:
        """The slow agent's proposal, on the present best. A further idea that is no use there is passed over."""
        while waiting := self._waiting(thinker):
            proposal, reason = self._on_the_best(waiting)
            if reason is None:
                self._given[waiting.commit] = proposal.train_py
                return proposal
            self._record_rejected(proposal, reason)
            if waiting.rank is UNSET:
                self._send_back(thinker, proposal, reason)
                return None
        return None

    def _on_the_best(self, waiting: events.Proposed) -> tuple[Proposal, str | None]:
        """(Its edit made again on the present best, why that can't be tried)."""
        session = self._session
        assert session.state.best is not None, "the loop asks for a proposal when there is a baseline"
        text, base = session.store.text(waiting.commit), session.store.text(waiting.base)
        merged = session.store.merge(base, text, session.store.text(session.state.best.commit))
        proposal = Proposal(merged or text, waiting.description, waiting.reasoning, waiting.cost_usd, waiting.agent)
        if merged is None:
            changed = "the best changed meanwhile, in the lines of this edit; make it again on the new best, if it still helps"
            return proposal, changed
        return proposal, self._objection(merged)

    def _send_back(self, thinker: Thinker, proposal: Proposal, reason: str) -> None:
        self._sent_back.append(self._past(proposal, reason))
        self._refused.append(reason)
        if len(self._sent_back) > REPAIRS:
            thinker.rest(self._dropped)
            self._dropped += 1
            again = f"it is asked again in {thinker.wait_seconds:.0f} s"
            self._session.note(f"{proposal.agent}: {REPAIRS} repairs did not help; the idea is dropped, and {again}")
            self._sent_back.clear()

    def _retire(self, thinker: Thinker) -> None:
        self._record_asks(thinker)
        thinker.close()
        self._thinker = None

    def _record_asks(self, thinker: Thinker) -> None:
        while not thinker.asks.empty():
            try:
                self._session.record(events.Asked(agent=thinker.agent.name, **vars(thinker.asks.get())))
            except LedgerRefusal as error:  # somebody else's numbers end no night
                self._session.note(f"what {thinker.agent.name} says of a request is left out: {error}")

    def _wait(self, thinker: Thinker) -> None:
        session = self._session
        with session.interrupts.breakable():
            session.tick()
            if not thinker.thinks:
                time.sleep(WAIT_SECONDS)
            elif answer := thinker.take(WAIT_SECONDS):
                with session.interrupts.whole():
                    self._take_in(thinker, answer)

    # Both

    def _objection(self, text: str) -> str | None:
        reason = objection(text, self._session.state)
        if reason is None and self.checked and program_key(text) in {program_key(past.train_py) for past in self.checked}:
            return "this program is under way"
        return reason

    def _past(self, proposal: Proposal, reason: str) -> Past:
        number = len(self._session.state.experiments)
        return Past(number, described(proposal.description), REJECTED, None, proposal.train_py, reason, proposal.agent)

    def _record_rejected(
        self, proposal: Proposal, reason: str, *, state: events.Failed | UnsetType = UNSET,
        log: str | UnsetType = UNSET, commit: str | UnsetType = UNSET, key: str | UnsetType = UNSET,
    ) -> None:  # fmt: skip
        """state, log, commit, key: of one that was started."""
        self._session.record(
            events.Rejected(
                n=len(self._session.state.experiments), agent=proposal.agent, description=described(proposal.description),
                reasoning=proposal.reasoning, cost_usd=proposal.cost_usd, reason=reason, state=state, log=log, commit=commit,
                key=key,
            )
        )  # fmt: skip

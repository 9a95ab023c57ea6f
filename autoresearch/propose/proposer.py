"""Where the next proposal comes from: a quick agent (the search), a slow one that thinks ahead (an LLM), or both by their shares.

The slow one is asked while an experiment trains, as if that will be discarded, the likely outcome. When it is kept instead, the
answer's edit is made again on the new best, as git merges; where that fails it is asked anew. When it is its turn and nothing is
ready, the quick one proposes: the machine waits for nobody. Without a quick one (None) it has to wait.

An answer that is ready is in the ledger (`proposed`), so a kill does not lose what was paid for.
"""

from dataclasses import dataclass

from autoresearch.agents import mix
from autoresearch.agents.base import REJECTED, Agent, Exhausted, Past, Proposal, Unavailable
from autoresearch.errors import EnvironmentFailure, UsageError
from autoresearch.propose.proposals import described, objection
from autoresearch.propose.thinker import Answer, Thinker
from autoresearch.propose.views import Views
from autoresearch.study import events
from autoresearch.study.session import Session

TRIES = 5  # proposals in a row of a quick agent that may be sent back
REPAIRS = 2  # times that a slow agent gets a proposal back with its error
WAIT_SECONDS = 0.2  # between two looks, where there is nobody to go on with


class NoMore(Exception):
    """Nobody proposes anything more. exit_status: 0 when that is the natural end."""

    def __init__(self, reason: str, exit_status: int = 0):
        super().__init__(reason)
        self.exit_status = exit_status


@dataclass(frozen=True)
class Next:
    """What to try now, and who proposed it."""

    proposal: Proposal
    agent: str


class Proposer:
    """`tick` a few times a second while a training runs, `next` when the machine is free, `reject` what failed before READY."""

    def __init__(self, session: Session, agents: mix.Agents):
        self._session, self._quick, self._share = session, agents.quick, agents.share
        self._thinker = Thinker(agents.slow, session.study.seed) if agents.slow else None
        self._views = Views(session.study, session.store)
        self._sent_back: list[Past] = []  # of the slow agent's present idea
        self._failed_in_a_row = 0
        self._fatal: BaseException | None = None
        self._is_last = False
        self._base = ""  # the commit that the slow agent's present idea edits
        waiting = session.state.waiting
        if waiting and not (session.store.has(waiting.commit) and session.store.has(waiting.base)):
            session.state.waiting = None  # git dropped what had no ref: it is asked again

    def close(self) -> None:
        if self._thinker:
            self._thinker.close()
            self._record_asks()

    def expect_last(self, is_last: bool) -> None:
        """Whether no experiment follows the one that runs: then nobody thinks ahead."""
        self._is_last = is_last
        self.tick()

    def tick(self) -> None:
        """Take what the slow agent has done, and set it to work again."""
        if self._thinker is None:
            return
        with self._session.interrupts.whole():
            self._record_asks()
            if answer := self._thinker.take():
                self._take_in(answer)
            if self._thinker and self._thinker.may_think and not self._is_last and self._fatal is None and self._wants_answer():
                self._think()

    def next(self) -> Next:
        """Raises NoMore, and what ends a study: EnvironmentFailure."""
        while True:
            self.expect_last(False)
            if self._fatal:
                raise self._fatal
            if self._thinker and self._turn().is_thinkers and (found := self._ready()):
                return found
            if self._quick:
                try:
                    return self._quick_one(self._quick)
                except NoMore as end:
                    if self._thinker is None:
                        raise
                    self._session.note(f"{self._quick.name}: {end}; {self._thinker.agent.name} goes on alone")
                    self._quick = None
            elif self._thinker is None:
                raise NoMore("there is no agent left")
            elif found := self._ready():
                return found
            elif self._session.interrupts.requested:
                raise NoMore("Ctrl-C", 130)
            else:
                self._wait()

    def reject(self, rejected: Next, state: str, reason: str, log: str, commit: str, key: str) -> None:
        """What `next` gave failed before its training: recorded, and sent back to whoever proposed it. Raises NoMore."""
        self._record_rejected(rejected.agent, rejected.proposal, reason, state=state, log=log, commit=commit, key=key)
        self._failed_in_a_row += 1
        is_slow = self._thinker is not None and rejected.agent == self._thinker.agent.name
        if is_slow:
            self._send_back(rejected.proposal, f"{reason}\n{log}".strip())
        if self._failed_in_a_row >= TRIES and not (is_slow and self._quick):
            raise NoMore(f"the last {TRIES} proposals failed before their training; the last one: {reason}", 1)

    def accepted(self, found: Next) -> None:
        self._failed_in_a_row = 0
        if self._thinker and found.agent == self._thinker.agent.name:
            self._sent_back.clear()

    # The quick agent

    def _quick_one(self, agent: Agent) -> Next:
        sent_back: list[Past] = []
        while len(sent_back) < TRIES:
            try:
                with self._session.interrupts.breakable():
                    proposal = agent.propose(self._views.view(self._session.state, sent_back))
            except (Exhausted, UsageError) as end:
                raise NoMore(str(end) or f"the agent {agent.name} has nothing more to propose") from end
            except EnvironmentFailure as failure:
                raise EnvironmentFailure(f"the agent {agent.name} could not propose: {failure}") from failure
            reason = objection(proposal.train_py, self._session.state)
            if reason is None:
                return Next(proposal, agent.name)
            self._record_rejected(agent.name, proposal, reason)
            sent_back.append(self._past(proposal, reason, agent.name))
            if self._session.interrupts.requested:
                raise NoMore("Ctrl-C", 130)
        raise NoMore(f"the last {TRIES} proposals of the agent {agent.name} were no use; the last one: {reason}", 1)

    # The slow agent

    def _turn(self, running: Past | None = None) -> mix.Turn:
        history = self._views.history(self._session.state)
        share = self._share if self._quick else 1.0
        return mix.turn([*history, running] if running else history, share, self._thinker.agent.name)

    @property
    def _waiting(self) -> events.Proposed | None:
        """Its answer that is ready; another agent's, of an earlier call, is left where it is."""
        waiting = self._session.state.waiting
        return waiting if waiting and waiting.agent == self._thinker.agent.name else None

    def _wants_answer(self) -> bool:
        """Whether it is to propose the next experiment, and has not done so."""
        if self._waiting or not self._session.state.experiments:
            return False
        return bool(self._sent_back) or self._turn(self._running()).is_thinkers

    def _running(self) -> Past | None:
        """The experiment without a verdict, as the discard that it probably is."""
        one = self._session.state.pending
        if one is None or one.number == 0:
            return None
        return Past(one.number, one.description, "discard", None, self._session.store.text(one.commit), agent=one.agent)

    def _think(self) -> None:
        session, running = self._session, self._running()
        turn = self._turn(running)
        last = session.state.mix
        share, wish = (last.share, last.wish) if last else (self._share, None)
        if (turn.share, turn.wish is None) != (share, wish is None):
            session.record(events.Mix(share=turn.share, wish=turn.wish, reason=turn.reason))
        words = running.description if running else None
        self._base = (session.state.best or session.state.experiments[0]).commit
        self._thinker.think(self._views.view(session.state, self._sent_back, running=words, wish=turn.wish))

    def _take_in(self, answer: Answer) -> None:
        session, name, error = self._session, self._thinker.agent.name, answer.error
        if isinstance(error, Exhausted):
            session.note(f"{name}: {error}; {self._quick.name if self._quick else 'nobody'} goes on")
            self._retire()
        elif isinstance(error, Unavailable):
            session.note(f"{name} can't propose now: {error}; it is asked again in {self._thinker.wait_seconds:.0f} s")
        elif error is not None:
            self._fatal = error
        elif reason := objection(answer.proposal.train_py, session.state):
            self._record_rejected(name, answer.proposal, reason)
            self._send_back(answer.proposal, reason)
        else:
            proposal, base = answer.proposal, self._base
            message = f"{described(proposal.description)}\n\nnot tried yet\n"
            commit, _ = session.persist(lambda: session.store.propose(base, proposal.train_py, message))
            words = {"description": proposal.description, "reasoning": proposal.reasoning, "cost_usd": proposal.cost_usd}
            session.record(events.Proposed(agent=name, commit=commit, base=base, **words))

    def _ready(self) -> Next | None:
        """The slow agent's proposal, on the present best."""
        session, waiting = self._session, self._waiting
        if waiting is None:
            return None
        text, base = session.store.text(waiting.commit), session.store.text(waiting.base)
        merged = session.store.merge(base, text, session.store.text(session.state.best.commit))
        proposal = Proposal(merged or text, waiting.description, waiting.reasoning, waiting.cost_usd)
        if merged is None:
            reason = "the best changed meanwhile, in the lines of this edit; make it again on the new best, if it still helps"
        else:
            reason = objection(merged, session.state)
        if reason is None:
            return Next(proposal, waiting.agent)
        self._record_rejected(waiting.agent, proposal, reason)
        self._send_back(proposal, reason)
        return None

    def _send_back(self, proposal: Proposal, reason: str) -> None:
        self._sent_back.append(self._past(proposal, reason, self._thinker.agent.name))
        if len(self._sent_back) > REPAIRS:
            self._session.note(f"{self._thinker.agent.name}: {REPAIRS} repairs did not help; the idea is dropped")
            self._sent_back.clear()

    def _retire(self) -> None:
        self._record_asks()
        self._thinker.close()
        self._thinker = None

    def _record_asks(self) -> None:
        while not self._thinker.asks.empty():
            self._session.record(events.Asked(agent=self._thinker.agent.name, **vars(self._thinker.asks.get())))

    def _wait(self) -> None:
        session = self._session
        with session.interrupts.breakable():
            if answer := self._thinker.take(WAIT_SECONDS):
                with session.interrupts.whole():
                    self._take_in(answer)

    # Both

    def _past(self, proposal: Proposal, reason: str, agent: str) -> Past:
        number = len(self._session.state.experiments)
        return Past(number, described(proposal.description), REJECTED, None, proposal.train_py, reason, agent)

    def _record_rejected(self, agent: str, proposal: Proposal, reason: str, **failed) -> None:
        """failed: what is known of one that was started."""
        number = len(self._session.state.experiments)
        words = {"description": described(proposal.description), "reasoning": proposal.reasoning, "cost_usd": proposal.cost_usd}
        self._session.record(events.Rejected(n=number, agent=agent, **words, reason=reason, **failed))

"""An agent that is a model behind a service: Anthropic's (claude/), or one that speaks OpenAI's protocol (openai/).

    propose     a conversation about the best train.py until the model submits an edit, TURNS answers at most
    sent back   the same conversation goes on, with the exact error as the user's turn, and the edit as it was
    no edit     a further turn, then Unavailable; the best text is never returned as if it were an idea

The model has the tools of edits.py and nothing else. What it is told, and in which order, is prompt.py's; the request itself,
its errors and its cost are the service's. Every request is reported to view.on_ask, what went wrong included. What a service says
of its size (context, answer) is learnt, and the conversation begun anew to fit it; where nothing can fit, that is forgotten, and
the service asked again later.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any

from autoresearch import durable
from autoresearch.agents.base import Exhausted, Proposal, Unavailable, View
from autoresearch.agents.llm import edits, prices, prompt
from autoresearch.agents.llm.reply import BadRequest, Service, TooLong
from autoresearch.categories import category
from autoresearch.errors import UsageError
from autoresearch.text import one_line

TURNS = 8  # answers for one proposal; chosen: one is usual, two or three with an error in an edit
TOKENS_PER_EXPERIMENT = 32_000  # of output, thinking included; chosen: three whole train.py files; at most 0.64 USD
LEAST_TOKENS = 1000  # with less left, an answer would be cut off before an edit
TOKENS_PER_ANSWER = 64_000  # the most that every model in the SDK's list takes (Haiku 4.5)
# Of a token, at least: code in JSON; what a context is filled by is not counted before it is sent
CHARACTERS_PER_TOKEN = 2.5
NOTES = "notes.md"
FIVE_MINUTES = {"type": "ephemeral"}  # for what only this conversation reads again, mostly within the minute

NO_EDIT = (
    "That was no edit, so there is nothing to train. Edit train.py with the tools and call submit, "
    "or write the whole new train.py in one ```python block."
)


class BudgetSpent(Exhausted):
    """The money of --max-cost is spent: the loop goes on without this agent."""


@dataclass
class Conversation:
    """What was said about one best train.py, and the train.py that came of it."""

    best: str
    system: list[dict[str, Any]]
    messages: list[dict[str, Any]]
    text: str  # train.py with the edits so far
    proposed: tuple[str, ...] = ()  # train.py texts
    output_tokens: int = 0
    # Results of the last answer's calls, which the next turn begins with
    unanswered: list[dict[str, Any]] = field(default_factory=list)

    def request(self) -> list[dict[str, Any]]:
        """The messages, with the last cache breakpoint at their end."""
        *earlier, last = self.messages
        *blocks, end = last["content"]
        return [*earlier, {**last, "content": [*blocks, {**end, "cache_control": FIVE_MINUTES}]}]

    def say(self, text: str = "") -> None:
        """The user's next turn."""
        blocks = [{"type": "text", "text": text}] if text else []
        self.messages.append({"role": "user", "content": [*self.unanswered, *blocks]})
        self.unanswered = []

    def take(self, content: tuple[Any, ...]) -> tuple[edits.Edited, str]:
        """Make the edits of an answer; (what they came to, the outcome in a few words)."""
        self.messages.append({"role": "assistant", "content": list(content)})
        prose = "\n".join(block.text for block in content if block.type == "text").strip()
        calls = [edits.Call(block.id, block.name, block.input) for block in content if block.type == "tool_use"]
        if not calls:
            return self._take_prose(prose)
        done = edits.apply(self.text, self.best, calls)
        self.text = done.text
        self.unanswered = [
            {"type": "tool_result", "tool_use_id": result.id, "content": result.text}
            | ({"is_error": True} if result.is_error else {})
            for result in done.results
        ]
        if done.failed:
            return done, "answered: edit refused"
        return done, "answered" if done.ideas else "answered: not submitted yet"

    def _take_prose(self, prose: str) -> tuple[edits.Edited, str]:
        """An answer without a call: a whole file, the end of a conversation with edits, or no edit at all."""
        whole = edits.whole_file(prose)
        self.text = whole if whole is not None else self.text
        if self.text.strip() == self.best.strip():
            return edits.Edited(self.text, ()), "answered without an edit"
        first = next((line.strip("#*` \t") for line in prose.split("```")[0].splitlines() if line.strip("#*` \t")), "")
        description = one_line(first) or f"edit of {category(self.best, self.text)}"
        return edits.Edited(self.text, (), ideas=(edits.Idea(self.text, description, edits.plain(prose)),)), "answered"


class LLM:
    thinks = True

    def __init__(
        self, name: str, service: Service, max_cost_usd: float | None = None, max_tokens_per_experiment: int | None = None,
        context: int | None = None,
    ):  # fmt: skip
        """context: tokens that a request and its answer may have together; None: what the service says when they are too many."""
        if max_cost_usd is not None and not prices.is_known(service.model):
            raise UsageError(f"--max-cost needs a price, and {service.model} has none here; leave it out, or take another --model")
        self.name, self.service, self.max_cost_usd = name, service, max_cost_usd
        self.context = self._given_context = context
        self.max_tokens = max_tokens_per_experiment or TOKENS_PER_EXPERIMENT
        self.max_output = TOKENS_PER_ANSWER  # that the service takes
        self.max_asks: int | None = None  # answers without a known cost
        self._untold, self._untold_usd = 0, 0.0  # such answers, and what they may have cost at most
        self._last: Conversation | None = None  # the one that the last proposal came from

    def close(self) -> None:
        self.service.close()

    def propose(self, view: View) -> Proposal:
        talk = self._continued(view)
        is_new = talk is None
        talk = talk or self._begun(view)
        self._last = None  # an error leaves no conversation behind
        spent_usd, is_priced, outcome = 0.0, True, ""
        for _ in range(TURNS):
            left = self._tokens_left(view, talk, spent_usd)
            request = {"max_tokens": left, "system": talk.system, "messages": talk.request()}
            reply = self.service.ask({**request, "tools": edits.tools(not self.service.knows_editor, view.metric)}, view.wanted)
            spent_usd += reply.ask.cost_usd or 0.0
            is_priced = is_priced and reply.ask.cost_usd is not None
            talk.output_tokens += reply.ask.output_tokens or 0
            if reply.content and reply.ask.cost_usd is None:
                asked = int(_size([*talk.system, *talk.messages]) / CHARACTERS_PER_TOKEN)
                self._untold += 1
                self._untold_usd += prices.cost_usd(self.service.model, prices.Tokens(asked, left)) or 0.0
            if reply.error is not None:
                view.on_ask(reply.ask)
                if isinstance(reply.error, TooLong) and self._learns(reply.error):
                    talk, is_new = self._begun(view), True
                    continue
                if isinstance(reply.error, BadRequest) and not is_new:  # what was said before may be the reason: begin anew
                    raise Unavailable(str(reply.error))
                raise reply.error
            done, outcome = talk.take(reply.content)
            if done.notes is not None:
                outcome += self._keep_notes(view, done.notes)
            view.on_ask(replace(reply.ask, outcome=outcome))
            if done.ideas:
                self._last, talk.proposed = talk, tuple(idea.text for idea in done.ideas)
                first, *others = (Proposal(idea.text, idea.description, idea.reasoning) for idea in done.ranked)
                return replace(first, cost_usd=spent_usd if is_priced else None, others=tuple(others))
            talk.say("" if talk.unanswered else NO_EDIT)
        raise Unavailable(f"no proposal in {TURNS} answers (the last one: {outcome})")

    def _begun(self, view: View) -> Conversation:
        system = prompt.system(view)
        characters = None
        if self.context is not None:
            characters = self._characters(self.context - min(self.max_tokens, self.max_output, self.context // 3))
            characters = max(0, characters - _size([*system, *edits.tools(True, view.metric)]))
        first = {"role": "user", "content": prompt.content(view, self._notes(view), characters)}
        return Conversation(view.train_py, system, [first], view.train_py)

    def _continued(self, view: View) -> Conversation | None:
        """The last conversation, when what was just sent back is what it proposed."""
        talk, sent_back = self._last, prompt.trailing(view.history)
        if not (talk and sent_back and sent_back[-1].train_py in talk.proposed and talk.best == view.train_py):
            return None
        talk.text = sent_back[-1].train_py
        error = prompt.as_data(sent_back[-1].reason or "n/a", prompt.REASON_CHARACTERS)
        what = f"Your proposal was sent back without a training ({sent_back[-1].description}):\n{error}"
        talk.say(f"{what}\ntrain.py is as you submitted it. Correct it and submit.")
        return talk

    def _learns(self, error: TooLong) -> bool:
        """Whether the service takes less than was known: then the next request may fit."""
        known = self.context, self.max_output
        self.context = min(filter(None, (self.context, error.context)), default=None)
        self.max_output = min(self.max_output, error.output or self.max_output)
        return known != (self.context, self.max_output)

    def _tokens_left(self, view: View, talk: Conversation, spent_usd: float) -> int:
        """For the next answer; raises when there is no money or no room for one."""
        total = view.spent_usd + spent_usd + self._untold_usd
        if self.max_cost_usd is not None and total >= self.max_cost_usd:
            untold = f" (up to {self._untold_usd:.2f} by answers that do not say what they took)" if self._untold_usd else ""
            spent = f"{total:.2f} USD are spent{untold}, and --max-cost is {self.max_cost_usd:g}"
            raise BudgetSpent(f"{spent}; raise it to go on with {self.name}")
        if self.max_asks is not None and self._untold >= self.max_asks:
            raise BudgetSpent(f"it gave {self._untold} answers whose cost is not known; `--max-cost none` sets no limit")
        if not view.wanted():
            raise Unavailable("nobody waits for the answer any more")
        left = self.max_tokens - talk.output_tokens
        if left < LEAST_TOKENS:
            raise Unavailable(f"the {self.max_tokens} tokens of --max-tokens-per-experiment brought no proposal")
        if (left := min(left, self.max_output)) < LEAST_TOKENS:
            size = f"{self.service.host} gives answers of {left} tokens at most, too few for an edit"
            raise self._nothing_fits(f"{size}; let it give {LEAST_TOKENS} or more, or take another --model")
        if self.context is not None:
            tokens = _size([*talk.system, *talk.messages, *edits.tools(True, view.metric)]) / CHARACTERS_PER_TOKEN
            left = min(left, int(self.context - tokens))
        if left < LEAST_TOKENS:
            size = f"a context of {self.context} tokens has no room for train.py and an answer"
            raise self._nothing_fits(f"{size}; start the server with a larger one, and say so by --context")
        return left

    def _nothing_fits(self, reason: str) -> Unavailable:
        """What the service said of its size is forgotten, so that it is asked again: one wrong answer costs no night."""
        self.context, self.max_output = self._given_context, TOKENS_PER_ANSWER
        return Unavailable(reason)

    def _characters(self, tokens: int) -> int:
        return int(CHARACTERS_PER_TOKEN * tokens)

    # ------------------------------------------------------------------------------------------------------- notes.md

    def _notes(self, view: View) -> str:
        path = view.folder and view.folder / NOTES
        if path is None or not path.is_file():
            return ""
        return path.read_text(encoding="utf-8", errors="replace")[: edits.NOTES_CHARACTERS]

    def _keep_notes(self, view: View, notes: str) -> str:
        """What to add to the outcome. Notes that can't be written are not worth a night."""
        if view.folder is None:
            return ""
        try:
            view.folder.mkdir(parents=True, exist_ok=True)
            durable.write(view.folder / NOTES, notes)
        except OSError as error:
            return f"; {NOTES} not written: {error.strerror}"
        return ""


def _size(blocks: list[Any]) -> int:
    """Characters of a request's parts, as they are sent. An answer's blocks are the SDK's own objects."""
    return len(json.dumps(blocks, ensure_ascii=False, default=lambda block: getattr(block, "__dict__", str(block))))

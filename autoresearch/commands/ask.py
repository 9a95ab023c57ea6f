"""What tell, pause, resume, skip and propose share: a request in the study's inbox, and the line that says who takes it."""

from typing import TYPE_CHECKING

from autoresearch.commands.say import say

if TYPE_CHECKING:
    from autoresearch.study.inbox import Request
    from autoresearch.study.workspace import Study


def is_paused(study: "Study") -> bool:
    """Or is to be, once a run takes what waits."""
    from autoresearch.report import answers
    from autoresearch.study import inbox

    asked = [request.kind for _, request in inbox.waiting(study.inbox) if request and request.kind in ("pause", "resume")]
    return asked[-1] == "pause" if asked else answers.state_of(study).paused


def ask(study: "Study", request: "Request", done: str, else_: str) -> None:
    """done: what a run does that is at work; else_: what the next one does."""
    from autoresearch.study import inbox, lock

    inbox.put(study.inbox, request)
    process = lock.holder(study.lock)
    say(f"asked process {process}: {done}" if process else f"no run is at work; the next `autoresearch run` {else_}")

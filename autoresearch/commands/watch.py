"""`autoresearch watch`: the panel of a study that another process runs, from another terminal."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import options

if TYPE_CHECKING:
    from autoresearch.report.panel import JsonLines, Panel, PlainLines
    from autoresearch.study.state import State
    from autoresearch.study.workspace import Study

LOOK_SECONDS, AWAY_SECONDS = 0.5, 1.0  # between two looks while a run is at work, and while none is
RECENT = 20  # events whose words are said again to who comes later: since the last verdict, or so
KEYS = "Ctrl-C leaves, the study goes on"


@click.command("watch")
@options("study", "json", "plain")
@click.option("--once", is_flag=True, help="Show what there is now, then leave.")
def command(workspace: Path | None, as_json: bool, plain: bool, once: bool) -> None:
    """Look on at a study while it runs, from another terminal. It takes no lock and writes nothing.

    Where no run is at work it shows the last state and waits for the next one. --json: the events of the ledger, each as it comes.

    Example: `autoresearch watch --once`
    """
    from autoresearch.report import panel
    from autoresearch.study.commits import check_ledger
    from autoresearch.study.follow import Follower
    from autoresearch.study.state import State, sound
    from autoresearch.study.workspace import find

    study = find(workspace)
    follower = Follower(study.events)
    while True:
        past = sound(follower.look() or ())
        check_ledger(study.folder, study.tag, study.events, is_empty=not past)
        state, last = State.from_events(past), past[-1] if past else None
        listener = panel.choose(as_json, plain, sys.stdout, study.machine_line, past, study.profile.budget, KEYS, study.metric)
        if isinstance(listener, panel.JsonLines):
            for event in past:
                listener.event(event)
        elif once or isinstance(listener, panel.PlainLines):
            still = panel.Panel(sys.stdout, study.machine_line, State.from_events(past), study.profile.budget)
            still.recall(past[-RECENT:])
            _look(study, state, last, still, was_away=False)
            still.print()
        else:
            listener.recall(past[-RECENT:])
        if once:
            return
        with listener:
            is_away = False
            while (news := follower.look()) is not None:
                for event in news:
                    if state.apply(event):
                        last = event
                        listener.event(event)
                is_away = _look(study, state, last, listener, is_away)
                time.sleep(AWAY_SECONDS if is_away else LOOK_SECONDS)


def _look(
    study: "Study", state: "State", last: dict[str, Any] | None, listener: "JsonLines | PlainLines | Panel", was_away: bool
) -> bool:  # fmt: skip
    """Tell what is seen beside the ledger, whose last event is `last`. Whether no run is at work."""
    from autoresearch.paths import typed
    from autoresearch.study import follow, lock

    if lock.writer(study.lock) is None:
        if not was_away:
            how = "none has begun yet"
            if last:
                how = f"the last one ended: {last['reason']}" if last["event"] == "stop" else "the last one was cut short"
            go_on = f"`autoresearch run --workspace {typed(study.folder)}` goes on"
            listener.event({"event": "away", "reason": f"no run is at work, {how}; {go_on}"})
        return True
    if was_away:
        listener.event({"event": "wait", "reason": "a run has begun"})
    if state.workers > 1:
        workers = follow.workers(study, state, time.time())
        listener.event({"event": "workers at work", "workers": workers})
        for worker in workers:
            if progress := worker.get("progress"):
                listener.progress(worker["n"], worker["k"], progress)
    elif found := follow.progress(study, state, time.time()):
        listener.progress(*found)
    return False

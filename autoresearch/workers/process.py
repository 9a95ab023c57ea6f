"""A worker as a process of its own on this machine (local.py): orders come in by its input, what it says goes out by its output.

When the loop is gone the input ends: then it ends its run, and itself.
"""

import os
import pickle
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autoresearch.errors import AutoresearchError
from autoresearch.hardware.slots import Slot
from autoresearch.sandbox import levels
from autoresearch.study import terms, workspace
from autoresearch.workers.work import Gone, Here, Order, Said
from autoresearch.workers.worker import Worker

END_SECONDS = 20.0  # that a run has to end, once nobody wants it


@dataclass(frozen=True)
class Post:
    """Where a worker works, and on what."""

    study: Path
    sandbox: int  # the level of its cells
    slot: Slot


GO, END = "go", "end"  # words beside orders


def main() -> None:
    orders_in, say = lines()
    post: Post = pickle.load(orders_in)
    try:
        worker, here = at_post(post, say)
    except AutoresearchError as error:
        return say(Gone(str(error), for_good=True))
    orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
    threading.Thread(target=_hear, args=(orders_in, worker, orders), daemon=True).start()
    say(here)
    while (order := orders.get()) is not None:
        worker.perform(order)


def lines() -> tuple[BinaryIO, "Mouth"]:
    """What this process is told, and what says something to who has started it."""
    words_in, said_out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints, prints no word of ours
    return words_in, Mouth(said_out)


def at_post(post: Post, say: Callable[[Said], None]) -> tuple[Worker, Here]:
    """Look at the machine as `run` does: it has to be what the study began on. Raises UsageError and EnvironmentFailure."""
    slot = post.slot
    os.environ.update(slot.variables)
    if slot.processors:
        os.sched_setaffinity(0, slot.processors)
    levels.check(post.sandbox)
    study = workspace.load(post.study)
    setup = terms.ready(study, post.sandbox)
    selector = setup.backend.selector
    names = [selector.variable, *selector.fixed, *selector.also] if selector else []
    taken = {name: os.environ[name] for name in names if name in os.environ}
    return Worker(setup, study.runs, say), Here(study.facts.device or "n/a", slot.device_id, slot.processors, taken)


def _hear(orders_in: BinaryIO, worker: Worker, orders: "queue.SimpleQueue[Order | None]") -> None:
    with suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            word = pickle.load(orders_in)
            if word == GO:
                worker.go()
            elif word == END:
                worker.end()
            else:
                orders.put(word)
    worker.end()
    orders.put(None)
    time.sleep(END_SECONDS)
    os._exit(1)  # what it has started ends with it (sandbox/keeper.py)


class Mouth:
    """Says one thing at a time. Who listens no more has gone: then the input has ended too."""

    def __init__(self, out: BinaryIO):
        self._out, self._lock = out, threading.Lock()

    def __call__(self, said: object) -> None:
        with self._lock, suppress(BrokenPipeError):
            self._out.write(pickle.dumps(said))


if __name__ == "__main__":
    main()

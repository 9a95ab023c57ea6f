"""What of ours runs on a node of a Ray cluster: a look at the node, and the actor that a worker is (ray_driver.py starts both).

The actor makes runs with the same code as a local worker (process.at_post, worker.py), in a folder of the node's cache that holds
the study's terms and nothing else of it. What the task reads comes from the node's cache by its checksums, or once from the machine
that decides. Ray carries all of it: what is told and said, and the files.

A reply that is lost is asked for again by Ray (max_task_retries), so each word is told by number, and what was said is kept until
it was heard.
"""

import functools
import hashlib
import os
import queue
import shutil
import threading
import tomllib
import traceback
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import tomli_w
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import autoresearch
from autoresearch import paths
from autoresearch.border import files
from autoresearch.data import made
from autoresearch.data.prepared import describe
from autoresearch.data.progress import silent
from autoresearch.errors import AutoresearchError, UsageError
from autoresearch.hardware import slots
from autoresearch.hardware.slots import Slot
from autoresearch.processes import is_secret
from autoresearch.sandbox import levels
from autoresearch.study.work_tree import STUDY
from autoresearch.task import table as tasks
from autoresearch.workers.process import END, GO, Post, at_post
from autoresearch.workers.ray_words import Inputs
from autoresearch.workers.work import Gone, Order, Said
from autoresearch.workers.worker import Worker

PIECE_BYTES = 32 << 20  # of a file that travels: a Ray object each
SMALL_BYTES = 1 << 20  # files up to here come at once
NEWS_SECONDS = 5.0  # that a question for news waits for the first
LEAVE_SECONDS = 10.0  # chosen: for a run to end, when all is over


@dataclass(frozen=True)
class Sight:
    """What a node says of itself."""

    version: str
    code: str
    level: int  # that its sandbox reaches
    level_reason: str
    shares: int | None  # of so many cores each; None: it was not asked


def look(per_run: int | None) -> Sight:
    """per_run: cores of each run, where workers share the processors."""
    reached = levels.reach()
    shares = None if per_run is None else len(slots.shares(per_run))
    return Sight(autoresearch.__version__, code(), reached.level, reached.reasons[-1], shares)


@functools.cache
def code() -> str:
    """Checksum of the package's Python, which has to be the same on every node; backends and tasks are terms of the study."""
    running = hashlib.blake2b(digest_size=8)
    for path in sorted(paths.PACKAGE.rglob("*.py")):
        name = path.relative_to(paths.PACKAGE).as_posix()
        if not name.startswith(("backends/", "tasks/")):
            content = path.read_bytes().replace(b"\r\n", b"\n")
            running.update(f"{name} {len(content)}\n".encode() + content)
    return running.hexdigest()


def piece(path: str, offset: int, size: int = PIECE_BYTES) -> bytes:
    """A part of a file of the machine that this runs on."""
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


class Seat:
    """One worker, as an actor. number: of its folder; share: which of the node's shares of cores; home: the node that decides."""

    def __init__(self, inputs: Inputs, number: int, share: int | None, per_run: int | None, home: str, fixed: dict[str, str]):
        """fixed: variables that make an index of a device mean the same to all (registry.Selector)."""
        self._instance = uuid.uuid4().hex  # another one after a restart
        self._inputs, self._share, self._per_run, self._home, self._fixed = inputs, share, per_run, home, fixed
        self._kept: list[Said] = []  # what was said and not heard yet
        self._heard = 0  # how much was heard before these
        self._told: set[int] = set()
        self._change = threading.Condition()
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._worker: Worker | None = None
        self._folder = paths.cache_dir() / "ray" / inputs.name / str(number)
        for name in [name for name in os.environ if is_secret(name) and not name.startswith("RAY_")]:
            del os.environ[name]
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray's, of the actor's CPUs
        if inputs.threads is not None:
            os.environ["OMP_NUM_THREADS"] = inputs.threads
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    # Asked from the machine that decides

    def news(self, instance: str | None, heard: int) -> tuple[str, list[Said]]:
        """What was said after the first `heard` words of that instance; waits a while for the first."""
        with self._change:
            if instance == self._instance:
                self._kept, self._heard = self._kept[heard - self._heard :], heard
            if not self._kept:
                self._change.wait(NEWS_SECONDS)
            return self._instance, list(self._kept)

    def tell(self, instance: str, number: int, word: Order | str) -> None:
        """An order, GO or END, the same word under the same number. One for an instance that is no more is lost."""
        with self._change:
            if instance != self._instance or number in self._told:
                return
            self._told.add(number)
        if isinstance(word, Order):
            self._orders.put(word)
        elif self._worker and word == GO:
            self._worker.go()
        elif self._worker and word == END:
            self._worker.end()

    def files(self, folder: str) -> dict[str, int | bytes]:
        """What a run has left: small files, and the sizes of others, by name."""
        found = [path for path in (self._runs / folder).iterdir() if path.is_file() and not path.is_symlink()]
        sizes = {path: path.stat().st_size for path in found}
        return {path.name: path.read_bytes() if size <= SMALL_BYTES else size for path, size in sizes.items()}

    def piece(self, folder: str, name: str, offset: int) -> bytes:
        return piece(str(self._runs / folder / name), offset)

    def leave(self) -> None:
        """End what it is at; nothing of it is left."""
        if self._worker:
            self._worker.end()
        self._orders.put(None)
        self._thread.join(LEAVE_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)
        with suppress(OSError):  # others are there
            self._folder.parent.rmdir()

    # Its own thread

    def _work(self) -> None:
        try:
            try:
                post = self._post()
                self._worker, here = at_post(post, self._say)
            except AutoresearchError as error:
                return self._say(Gone(str(error), for_good=True))
            self._say(here)
            while (order := self._orders.get()) is not None:
                for run in self._runs.glob("*"):  # of the order before, whose files were fetched
                    files.remove(run)
                self._worker.perform(order)
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # Ray starts it again

    def _say(self, said: Said) -> None:
        with self._change:
            self._kept.append(said)
            self._change.notify_all()

    @property
    def _runs(self) -> Path:
        return self._folder / ".autoresearch" / "runs"

    def _post(self) -> Post:
        """Make the study's folder, and have its data here."""
        inputs = self._inputs
        if self._folder.exists():  # of one that was killed
            shutil.rmtree(self._folder)
        self._runs.mkdir(parents=True)
        terms = tomllib.loads(inputs.terms)
        if inputs.task_name is not None:
            terms["task"] = str(_laid(self._folder / "task" / inputs.task_name, inputs.task))
        (self._folder / STUDY).write_text(tomli_w.dumps(terms), encoding="utf-8")
        _check_options(tasks.find(terms.get("task", tasks.DEFAULT)), terms.get("options", {}))
        for name, known in inputs.prepared.items():
            _provide(name, known, Path(inputs.cache), self._home)
        found = [] if self._share is None or self._per_run is None else slots.shares(self._per_run)
        if self._share is None:
            return Post(self._folder, inputs.sandbox, Slot(self._fixed))
        if self._share >= len(found):
            raise UsageError(f"it has {len(found)} shares of {self._per_run} cores", "give Ray no more CPUs than there are cores")
        return Post(self._folder, inputs.sandbox, Slot(processors=found[self._share]))


def _laid(folder: Path, content: Mapping[str, bytes]) -> Path:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def _check_options(task: tasks.Table, options: Mapping[str, Any]) -> None:
    """What an option names by a path is read where the run is."""
    for key, option in tasks.options(task).items():
        values = options.get(key, []) if option.multiple else filter(None, [options.get(key)])
        if option.type == "path" and (missing := next((path for path in values if not Path(path).exists()), None)):
            raise UsageError(f"there is no {missing}, which --{key} names", "put it there, at the same path on each node")


def _provide(name: str, known: Mapping[str, Mapping[str, int | str]], cache: Path, home: str) -> None:
    """A folder of the cache as it is on the machine that decides: looked up by its checksums, else fetched, by one at a time."""
    with made.alone(silent) as root:
        folder = root / name
        if _is_whole(folder, known):
            return

        at_home = ray.remote(piece).options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(home, soft=False))

        def write(work: Path) -> None:
            for path, one in known.items():
                (work / path).parent.mkdir(parents=True, exist_ok=True)
                with open(work / path, "wb") as file:
                    for offset in range(0, int(one["bytes"]), PIECE_BYTES):
                        file.write(ray.get(at_home.remote(str(cache / name / path), offset)))
            if not _is_whole(work, known):
                raise UsageError(f"the data {name} did not arrive as it is on the machine that decides", "run it again")

        made.build(folder, write)


def _is_whole(folder: Path, known: Mapping[str, Mapping[str, int | str]]) -> bool:
    return all(
        (path := folder / name).is_file() and path.stat().st_size == one["bytes"] and describe(path) == one
        for name, one in known.items()
    )

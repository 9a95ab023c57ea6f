"""The process that speaks with Ray for the loop (ray_crew.py): it asks for the workers, passes on what they are told and say, and
lays their runs' files where the loop looks for them.

A process of its own, because Ray ends one that has lost its cluster's head, takes signals and prints: the loop outlives all that,
and starts it again. It ends when the loop does, and with it end its actors and a Ray that it has started.

Ray places the actors, one a device: each on its node, with what it takes of Ray's resources. It starts one again that was killed.
"""

import logging
import os
import pickle
import socket
import sys
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import autoresearch
from autoresearch.errors import RunFailed
from autoresearch.run import scoring
from autoresearch.run.scoring import BITS
from autoresearch.workers import ray_node
from autoresearch.workers.process import lines
from autoresearch.workers.ray_node import Seat, Sight
from autoresearch.workers.ray_words import Call, Heard, Joined, Looked, Unreachable
from autoresearch.workers.work import LAST, Done, Failed, Gone, Note, Order, Refused, Said

LOOK_SECONDS = 5.0  # between two looks at which nodes there are
HEAD_SECONDS = 20.0  # chosen: a head that does not answer for so long is gone
SIGHT_SECONDS = 120.0  # chosen: for a node's first Python process of ours
REACH_SECONDS = 5.0  # for a first answer from an address
DEATHS = 3  # of one worker in a row, without a run that came to its end
CLOSE_SECONDS = 20.0  # chosen: for an orderly end of all
OWN_STORE_BYTES = 256 << 20  # of a Ray of our own: files go through it in pieces


def main() -> None:
    """Told first the address, HOST:PORT, or None for a Ray of our own on this machine; then a Call."""
    words, say = lines()
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, where Ray tells what its nodes print
    address = pickle.load(words)
    try:
        say(Joined(_join(address)))
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        say(_unreachable(address, error))
        return
    try:
        driver = _Driver(pickle.load(words), say)
    except EOFError:  # nobody wants workers
        return
    threading.Thread(target=driver.listen, args=(words,), daemon=True).start()
    driver.run()


def _join(address: str | None) -> str:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        ray.init("local", include_dashboard=False, object_store_memory=OWN_STORE_BYTES, **quiet)
        return str(ray.get_runtime_context().gcs_address)
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("it is no HOST:PORT")
    socket.create_connection((host, int(port)), REACH_SECONDS).close()  # Ray itself tries for minutes
    ray.init(address, **quiet)
    return address


class _Driver:
    def __init__(self, call: Call, say: Any):
        self.call, self.say = call, say
        self.home = ray.get_runtime_context().get_node_id()
        self.seats: dict[int, _Seat] = {}
        self._numbers = count(1)
        self._nodes: dict[str, str] = {}  # by Ray's id: their addresses; looked at
        self._answered = time.monotonic()
        self._ends = threading.Event()

    def run(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()
        left_out = self._look()
        self.say(Looked(len(self.seats), tuple(left_out)))
        while not self._ends.wait(LOOK_SECONDS):
            for line in self._look():
                self.say(Heard(0, "", False, Note(line)))
        self._close()

    def listen(self, words: BinaryIO) -> None:
        """In a thread of its own: (seat, Order, GO or END); the end of it ends all."""
        with suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                number, word = pickle.load(words)
                if seat := self.seats.get(number):
                    seat.tell(word)
        threading.Timer(CLOSE_SECONDS + 5, os._exit, [1]).start()
        self._ends.set()

    def _watch(self) -> None:
        """End where the head does not answer any more: Ray's own calls wait for it without end."""
        while time.monotonic() - self._answered < HEAD_SECONDS + LOOK_SECONDS:
            time.sleep(1)
        sys.stderr.write("the head of the Ray cluster does not answer\n")
        sys.stderr.flush()
        os._exit(1)

    # Which nodes there are

    def _look(self) -> list[str]:
        """Ask for workers on new nodes; take away those of nodes that left. Returns what is left out, and why."""
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        self._answered = time.monotonic()
        for number, seat in list(self.seats.items()):
            if seat.node not in alive:
                seat.kill()
            if seat.is_over:
                del self.seats[number]
        for node in list(self._nodes):
            if node not in alive:
                del self._nodes[node]
        left_out = []
        new = {node: alive[node] for node in alive if node not in self._nodes}
        asked = {node: _on(node, ray.remote(ray_node.look), num_cpus=0).remote(self.call.per_run) for node in new}
        for node, answer in asked.items():
            address = self._nodes[node] = str(new[node]["NodeManagerAddress"])
            try:
                room, needs = self._room(self._sight(answer), new[node]["Resources"])
                for share in range(room):
                    number = next(self._numbers)
                    self.seats[number] = _Seat(self, number, node, address, share if self.call.per_run else None, needs)
            except _LeftOut as why:
                left_out.append(f"{address} is left out: {why}")
        return left_out

    def _sight(self, answer: Any) -> Sight:
        end = time.monotonic() + SIGHT_SECONDS
        while True:
            try:
                sight: Sight = ray.get(answer, timeout=1.0)
                return sight
            except GetTimeoutError:
                if time.monotonic() >= end:
                    raise _LeftOut(f"it started no Python within {SIGHT_SECONDS:.0f} s") from None
            except TaskUnschedulableError:
                raise _LeftOut("it has left again") from None
            except RayTaskError as error:
                raise _LeftOut(_first(error.cause or error)) from None
            except RayError as error:
                raise _LeftOut(_missing(error)) from None
            finally:
                self._answered = time.monotonic()

    def _room(self, sight: Sight, resources: dict[str, float]) -> tuple[int, dict[str, Any]]:
        """How many workers a node has room for, and what each takes of Ray's resources."""
        call = self.call
        here = (autoresearch.__version__, ray_node.code())
        if (sight.version, sight.code) != here:
            what = "version" if sight.version != here[0] else "code of version"
            raise _LeftOut(f"its autoresearch is of {what} {sight.version}, and here is {here[0]}; install the same on both")
        if sight.level < call.inputs.sandbox:
            wanted = call.inputs.sandbox
            raise _LeftOut(f"the sandbox reaches level {sight.level} there, and the study's is {wanted} ({sight.level_reason})")
        if name := call.accelerator:
            if not (found := int(resources.get(name, 0))):
                raise _LeftOut(f"Ray knows of no {name} there")
            return found, {"num_cpus": 0} | ({"num_gpus": 1} if name == "GPU" else {"resources": {name: 1}})
        cpus = int(resources.get("CPU", 0))
        each = call.per_run or (cpus if call.processors else 1)
        if not cpus or each > cpus:
            raise _LeftOut(f"Ray has {cpus} CPUs there")
        if call.per_run:
            return min(cpus // each, sight.shares or 0), {"num_cpus": each}
        return cpus if call.simulated else 1, {"num_cpus": each}

    def _close(self) -> None:
        if left := [seat.actor.leave.remote() for seat in self.seats.values()]:
            ray.wait(left, num_returns=len(left), timeout=CLOSE_SECONDS)
        for seat in self.seats.values():
            seat.kill()
        ray.shutdown()
        os._exit(0)


class _Seat:
    """A place for a worker, and the thread that hears it."""

    def __init__(self, driver: _Driver, number: int, node: str, address: str, share: int | None, needs: dict[str, Any]):
        self.number, self.node, self.is_over = number, node, False
        self._driver, self._address, self._is_killed = driver, address, False
        self._orders: dict[int, Order] = {}
        self._instance: str | None = None
        self._words = count(1)
        call = driver.call
        options = {"max_restarts": -1, "max_task_retries": -1, "max_concurrency": 16} | needs
        actor = _on(node, ray.remote(Seat), **options)
        self.actor = actor.remote(call.inputs, number, share, call.per_run, driver.home, call.fixed)
        threading.Thread(target=self._hear, daemon=True).start()

    def tell(self, word: Order | str) -> None:
        if isinstance(word, Order):
            self._orders = {word.id: word}
        self.actor.tell.remote(self._instance or "", next(self._words), word)

    def kill(self) -> None:
        if not self._is_killed:
            self._is_killed = True
            with suppress(RayError):
                ray.kill(self.actor)

    def _say(self, said: Said) -> None:
        self._driver.say(Heard(self.number, self._address, self.node == self._driver.home, said))

    def _hear(self) -> None:
        gone = self._until_gone()
        self.kill()
        self._say(gone)
        self.is_over = True

    def _until_gone(self) -> Gone:
        """Pass on what the worker says, across the restarts that Ray makes."""
        heard = deaths = 0
        while True:
            try:
                instance, said = ray.get(self.actor.news.remote(self._instance, heard))
            except RayActorError as error:
                return Gone(f"its actor on {self._address} has ended ({_first(error)})")
            except RayError as error:
                return Gone(f"on {self._address}: {_missing(error)}", for_good=True)
            if self._instance not in (None, instance):
                deaths += 1
                why = f"its process on {self._address} was ended"
                if deaths >= DEATHS:
                    return Gone(f"{why}, {deaths} times in a row", for_good=True)
                self._say(Gone(why))
            if instance != self._instance:
                self._instance, heard = instance, 0
            for word in said:
                if isinstance(word, Gone):
                    return Gone(f"on {self._address}: {word.reason}", word.for_good)
                deaths = 0 if isinstance(word, LAST) else deaths
                self._say(self._with_files(word) if isinstance(word, Done | Refused) else word)
                heard += 1

    def _with_files(self, word: Done | Refused) -> Said:
        """The run's files are here before its last word is."""
        order = self._orders.get(word.id)
        if order is None:
            return word
        folder = self._driver.call.runs / order.folder
        try:
            self._fetch(order.folder, folder)
            if isinstance(word, Done) and word.result.ok:
                scoring.seal(folder, order.text, word.result.checkpoint or "")
                if scoring.digest(folder / BITS) != word.result.bits:
                    raise RunFailed("", "its losses are others")
        except (RayError, OSError, RunFailed) as error:
            return Failed(word.id, f"its files did not come back from {self._address} as they were ({_first(error)})")
        return word

    def _fetch(self, name: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in ray.get(self.actor.files.remote(name)).items():
            with open(folder / file, "wb") as target:
                if isinstance(content, bytes):
                    target.write(content)
                    continue
                for offset in range(0, content, ray_node.PIECE_BYTES):
                    target.write(ray.get(self.actor.piece.remote(name, file, offset)))


class _LeftOut(Exception):
    """Why a node has no worker, in words."""


def _on(node: str, what: Any, **options: Any) -> Any:
    return what.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False), **options)


def _unreachable(address: str | None, error: Exception) -> Unreachable:
    if address is None:
        return Unreachable(f"Ray does not start on this machine: {_first(error)}", "`ray start --head` says more")
    if "ersion mismatch" in str(error) or "cluster was started with" in str(error):
        known = [line.strip() for line in str(error).splitlines() if line.strip().startswith(("Ray:", "Python:"))]
        theirs, ours = ", ".join(known[:2]), ", ".join(known[2:])
        return Unreachable(f"--address {address}: that Ray cluster runs {theirs}, and here is {ours}", "install the same on both")
    return Unreachable(
        f"--address {address}: no Ray cluster answers there ({_first(error)})",
        "`ray start --head` prints the address of one; this machine has to be a node of it (`ray start --address=HOST:PORT`)",
    )


def _first(error: BaseException) -> str:
    """Its first line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _missing(error: RayError) -> str:
    """What Ray says of an import that failed is its last line."""
    last = str(error).strip().splitlines()[-1].strip()
    return f"autoresearch is not installed for its Python ({last})" if "ModuleNotFoundError" in str(error) else last


if __name__ == "__main__":
    main()

"""The whole loop, from the harness's pipe to the loss, on a device with a queue of its own: its time and the host's are simulated.

So a wait shows as time that the device had nothing to do, the same on each machine. The null backend has no such mode: it has no
device, and what only tests would use does not belong in what is shipped.
"""

import queue
from collections import deque
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
import torch_backend

from autoresearch.measure import run as measure_run

STEP, COPY = 1.0, 0.1  # seconds that the device computes, and fetches rows: queued, one after the other
HOST, BATCH, SAVE = 0.5, 0.8, 0.2  # that the host works for a step, that rows take to come from the harness, that a save takes


class Machine:
    """The harness's end of the pipe, a device, and the clock of both."""

    def __init__(self):
        self.now = self.idle_from = self.busy = self.started = self.ended = 0.0
        self.steps, self.read = 0, []
        self.replies, self.due = queue.SimpleQueue(), deque()

    def until(self, moment: float) -> None:
        self.now = max(self.now, moment)

    # The harness

    def send(self, message):
        if message["type"] == "ready":
            self.started = self.now
            self.replies.put({"type": "go", "dtype": "uint16"})
        elif message["type"] == "batch":
            self.due.append(self.now + BATCH)
            self.replies.put(message)
        elif message["type"] == "saved":
            self.ended, self.steps = self.now - self.started, message["steps"]

    def receive(self):
        return self.replies.get()

    def receive_bytes(self, size):
        return bytes(size)

    # The device

    def step(self, get_batch, progress):
        """As Trainer.step: rows, and work for the device, which the host does not wait for. The loss: (which, when it is there)."""
        get_batch(2)
        self.now += HOST
        self.idle_from = max(self.idle_from, self.now) + COPY + STEP
        self.busy += COPY + STEP
        self.steps += 1
        return self.steps, self.idle_from

    def read_later(self, loss):
        number, done = loss

        def read():
            self.until(done)
            self.read.append(number)
            return 1.0

        return read

    def save(self, model, path):
        self.until(self.idle_from)
        self.now += SAVE
        path.touch()


def train(machine: Machine, budget: float, folder, monkeypatch, ahead: int = 1) -> None:
    """train.py's main and the harness's Run, as they are."""
    job = {
        "spec": {"vocab_size": 97, "seq_len": 24},
        "row": "uint16",
        "seed": 0,
        "budget_seconds": budget,
        "checkpoint": str(folder / "checkpoint"),
    }
    run = measure_run.Run(machine, job)

    class Batches(queue.SimpleQueue):
        def get(self):
            found = super().get()
            machine.until(machine.due.popleft())
            return found

    run._batches = Batches()
    runtime = SimpleNamespace(
        seed=lambda number: None, device="simulated", dtype="none", peak_memory_bytes=lambda: 0, steps_ahead=ahead,
        read_later=machine.read_later, save_weights=machine.save, compile=lambda function: function,
    )  # fmt: skip
    module = torch_backend.train(runtime)
    model = SimpleNamespace(parameters=list, flops_per_token=lambda seq_len: 1)
    module.build_model, module.measure = lambda spec: model, SimpleNamespace(start=lambda: run)
    module.Trainer = lambda model, seq_len: SimpleNamespace(warm_up=lambda get_batch: None, step=machine.step)
    module.gc = SimpleNamespace(freeze=lambda: None, disable=lambda: None)
    monkeypatch.setattr(measure_run, "awake_seconds", lambda: machine.now)
    module.main()


def test_the_device_always_has_work_and_the_weights_are_there_in_time(tmp_path, monkeypatch):
    for tenth in range(10):
        machine, budget = Machine(), 60 + tenth / 10
        train(machine, budget, tmp_path, monkeypatch)
        second = BATCH + HOST - COPY - STEP  # its rows are not asked for ahead
        assert machine.ended - machine.busy == pytest.approx(BATCH + HOST + second + SAVE)
        assert budget - 2.5 * (COPY + STEP) < machine.ended <= budget
        assert machine.read == list(range(1, machine.steps + 1))


def ask_when_needed(self, rows, seq_len):
    self._ask(rows, seq_len, False)
    return self._take()[1]


def read_at_once(self, loss):
    self.until(loss[1])
    return lambda: 1.0


@pytest.mark.parametrize(
    "place, name, planted", [(Machine, "read_later", read_at_once), (measure_run.Asker, "batch", ask_when_needed)]
)
def test_a_wait_in_each_step_shows(tmp_path, monkeypatch, place, name, planted):
    monkeypatch.setattr(place, name, planted)
    machine = Machine()
    train(machine, 60, tmp_path, monkeypatch)
    assert machine.busy < 0.85 * machine.ended


def test_without_time_for_the_step_that_is_queued_the_weights_are_late(tmp_path, monkeypatch):
    late = []
    for tenth in range(10):
        machine, budget = Machine(), 60 + tenth / 10
        train(machine, budget, tmp_path, monkeypatch, ahead=0)
        late.append(machine.ended > budget)
    assert sum(late) > 5

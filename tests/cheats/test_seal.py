"""What a train.py tries between its clock and its score, and between one run and the next: whole runs in real cells."""

import json
import os
import struct
import time
from dataclasses import replace

import pytest
from e2e import studies

from autoresearch.border import files
from autoresearch.run import bounds, experiment, scoring
from autoresearch.run.bounds import Bounds
from autoresearch.run.experiment import execute
from autoresearch.sandbox import levels, locking, workdir

pytestmark = pytest.mark.slow  # real trainings
BUILD = "    return runtime.Table(spec.vocab_size)\n"
# A table of its own class: `begin` runs when its weights are there, `body` at each call, with `out` for logits.
MODEL = """
    import os, time
    import numpy as np

    class Model(runtime.Table):
        calls = 0

        def __call__(self, ids):
            out = np.array(super().__call__(ids), np.float32)
            self.calls += 1
{body}
            return out

    return Model(spec.vocab_size)
"""
SPOIL = "            out[:] = 0"  # which costs a bit per byte or more: seen in the score
OPENS = """            doors = [
                lambda: os.open("/dev/null", os.O_RDONLY), lambda: os.pipe(), lambda: os.memfd_create("note"), lambda: os.dup(0),
                lambda: os.open("note", os.O_WRONLY | os.O_CREAT), lambda: os.listdir("/usr"), child_opens,
                lambda: os.stat(os.__file__), lambda: os.stat("/usr/bin"), lambda: os.stat("there/is/none"),
                lambda: os.readlink("/proc/self/exe"), lambda: os.chdir("/usr"), lambda: os.execv("/bin/none", ["none"]),
                lambda: os.rename("/usr/a", "/usr/b"), lambda: os.statvfs("/usr"), child_counts, lambda: mmap.mmap(-1, 4096),
                child_starts, lambda: fcntl.flock(0, fcntl.LOCK_SH), lambda: fcntl.lockf(0, fcntl.LOCK_SH),
                lambda: socket.recv_fds(socket.socketpair()[0], 1, 1, socket.MSG_DONTWAIT), starts_a_thread, reads_a_folder,
            ]
            for door in doors if self.calls > 2 else ():
                try:
                    door()
                    out[:] = 0
                except OSError:
                    pass"""
CHILD = """
import ctypes, fcntl, mmap, os, socket, threading

folder = os.open("/usr", os.O_RDONLY | os.O_DIRECTORY)

def reads_a_folder():
    number = 61 if os.uname().machine == "aarch64" else 217
    if ctypes.CDLL(None).syscall(number, folder, ctypes.create_string_buffer(4096), 4096) < 0:
        raise OSError("no")

def starts_a_thread():
    try:
        threading.Thread(target=int).start()
    except RuntimeError:
        raise OSError("no") from None

def in_a_child(what):
    pid = os.fork()
    if pid == 0:
        try:
            what()
            os._exit(0)
        except OSError:
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        raise OSError("no")

def child_opens():
    in_a_child(lambda: os.open("/dev/null", os.O_RDONLY))

def child_starts():
    in_a_child(lambda: None)

def child_counts():
    in_a_child(os.setsid)

"""


@pytest.fixture(scope="module")
def honest(tmp_path_factory, corpus):
    """(setup, text, its result), in the best cell that there is."""
    folder = tmp_path_factory.mktemp("seal")
    study, setup = studies.make(folder / "study", corpus, train_seconds=0.3)
    text = studies.text_of(study)
    setup = replace(setup, sandbox=levels.reach().level)
    result = execute(setup, text, 1, folder / "honest")
    assert result.ok, result.reason
    return replace(setup, baseline=text, bounds=Bounds.of(setup.train_seconds, [result])), text, result


def with_model(text: str, body: str, head: str = "") -> str:
    assert text.count(BUILD) == 1
    return text.replace(BUILD, MODEL.format(body=body)).replace("\ndef build_model", f"{head}\ndef build_model")


@pytest.mark.skipif(levels.reach().level < 2, reason="no cell here")
@pytest.mark.parametrize("level", [2, 3])
def test_a_process_that_has_seen_text_opens_and_finds_nothing_any_more(honest, tmp_path, level):
    setup, text, result = honest
    if levels.reach().level < level:
        pytest.skip("no bubblewrap")
    setup = replace(setup, sandbox=level)
    found = execute(setup, with_model(text, OPENS, CHILD), 1, tmp_path / "tries")
    assert found.ok and found.val_bpb == result.val_bpb, found.reason
    found = execute(setup, with_model(text, OPENS.replace("> 1", "> 0"), CHILD), 1, tmp_path / "tries on stand-in rows")
    assert found.ok and found.val_bpb == result.val_bpb, "before it has seen any it may, which spoils stand-in rows only"


HOLDS = {
    "5,000 files open": (
        "            self.held = [os.open('/dev/null', 0) for _ in range(5000)] if self.calls == 1 else 0", "limit", "files open",
    ),
    "a thousand threads": (
        "            import threading\n            threads = range(1000 * (self.calls == 1))\n"
        "            for _ in threads: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()", "limit", "threads",
    ),
    "70 processes": (
        "            if self.calls == 1:\n                for _ in range(70):\n                    os.fork() or time.sleep(9)",
        "limit", "process",
    ),
    # Its first thread ends, another goes on: the process looks like one that is no more.
    "a process without its first thread": (
        "            import ctypes, threading\n"
        "            if self.calls == 1 and os.fork() == 0:\n"
        "                threading.Thread(target=time.sleep, args=(9,)).start()\n"
        "                ctypes.CDLL(None).syscall(93 if os.uname().machine == 'aarch64' else 60, 0)\n"
        "            time.sleep(0.3 * (self.calls == 1))",
        "limit", "first thread",
    ),
}  # fmt: skip


@pytest.mark.skipif(levels.reach().level < 2, reason="no cell here")
@pytest.mark.parametrize("name", HOLDS)
def test_what_would_take_long_to_lock_in_or_could_not_be_is_refused(honest, tmp_path, name):
    setup, text, _ = honest
    body, status, words = HOLDS[name]
    found = execute(setup, with_model(text, body), 1, tmp_path)
    assert found.status == status and words in found.reason, found


def test_folders_that_it_has_open_take_none_of_our_descriptors(honest, tmp_path):
    """Looked at and not closed they once ended the night, and again after each restart."""
    setup, text, result = honest
    body = "            self.held = self.calls > 1 or [os.open('/usr', os.O_RDONLY | os.O_DIRECTORY) for _ in range(200)]"
    before = len(os.listdir("/proc/self/fd"))
    assert execute(setup, with_model(text, body), 1, tmp_path).val_bpb == result.val_bpb
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_when_memory_is_short_a_run_goes_first(honest, tmp_path):
    setup, text, _ = honest
    execute(setup, text.replace("\ndef main", "\nprint('goes', open('/proc/self/oom_score_adj').read())\n\ndef main"), 1, tmp_path)
    assert "goes 1000" in (tmp_path / "log.txt").read_text()


# Each starts the next and ends: none lives until a list that it stood on has been read.
CHAIN = """
    import mmap, os, signal, struct, time
    with open("beat", "wb") as file:
        file.write(bytes(8))
    with open("beat", "r+b") as file:
        beat = mmap.mmap(file.fileno(), 8)
    if os.fork() == 0:
        while True:
            struct.pack_into("<Q", beat, 0, struct.unpack("<Q", beat)[0] + 1)
            if os.fork():
                os._exit(0)
    time.sleep(0.2)
"""


@pytest.mark.skipif(levels.reach().level < 2, reason="no cell here")
@pytest.mark.parametrize("level", [2, 3])
def test_no_process_starts_another_while_it_is_held(honest, tmp_path, level, monkeypatch):
    """Nor when it is missed by those who stop it, which is what the chain is made for."""
    if levels.reach().level < level:
        pytest.skip(f"level {level} can't be had here")
    setup, text, _ = honest
    seen, take = [], files.take

    def looked_at(folder, *rest):
        for seconds in (0.05, 0.3, 0):
            seen.append(struct.unpack("<Q", (folder / "beat").read_bytes())[0])
            time.sleep(seconds)
        return take(folder, *rest)

    monkeypatch.setattr(files, "take", looked_at)
    monkeypatch.setattr(locking, "_stop", lambda *_: [])
    start, end = "    run = measure.start()\n", "\n\nif __name__"
    assert text.count(start) == text.count(end) == 1
    chained = text.replace(start, start + CHAIN).replace(end, f"\n    time.sleep(2){end}")
    found = execute(replace(setup, sandbox=level), chained, 1, tmp_path)
    _, before, after = seen  # one that had its answer may still come
    assert before == after > 1, seen
    assert found.status == "invalid" and "went on while they were held" in found.reason, found


@pytest.mark.skipif(levels.reach().level < 2, reason="no cell here")
def test_a_training_hands_on_few_names_once_it_has_learned_something(honest, tmp_path, monkeypatch):
    setup, text, _ = honest
    monkeypatch.setattr(bounds, "LOOKUPS", 20_000)
    ready = "    for step in run.steps("
    assert text.count(ready) == 1
    names = "[os.path.exists(f'/usr/{number}') for number in range(%d)]\n"
    before = f"    import os\n    {names % 30_000}{ready}"
    found = execute(setup, text.replace(ready, before), 1, tmp_path / "before the clock")
    assert found.ok, found.reason
    step = ready + text.partition(ready)[2].partition("\n")[0] + "\n"
    for count, status in ((10, "ok"), (30_000, "limit")):
        within = text.replace(step, f"    import os\n{step}        step or {names % count}")
        found = execute(replace(setup, train_seconds=6.0), within, 1, tmp_path / str(count))
        assert found.status == status and (found.ok or "looked up" in found.reason), found


def test_what_it_prints_or_fails_with_holds_no_text(honest, tmp_path):
    setup, text, _ = honest
    body = "            print('seen', ids.shape, flush=True)\n            if self.calls > 2: raise ValueError(f'seen {ids[0]}')"
    found = execute(setup, with_model(text, body), 1, tmp_path)
    assert (found.status, found.reason) == ("crash", scoring.FAILED["crash"]), "not even a line, which it may choose"
    assert (tmp_path / "log.txt").read_text().count("seen") <= 2, "of the stand-in rows: many, and one"


def test_a_second_training_before_the_score_takes_too_long(honest, tmp_path):
    setup, text, result = honest
    burns = (
        "            end = time.process_time() + {seconds} * (self.calls == {call})\n"
        "            while time.process_time() < end: pass"
    )
    for call in (1, 2):
        found = execute(setup, with_model(text, burns.format(seconds=3, call=call)), 1, tmp_path / str(call))
        assert found.status == "limit" and "scoring took" in found.reason, found
    found = execute(setup, with_model(text, burns.format(seconds=0.1, call=1)), 1, tmp_path / "a little")
    assert found.ok and found.val_bpb == result.val_bpb


def test_what_one_text_has_compiled_no_other_reads(honest, tmp_path):
    setup, text, _ = honest
    place = "os.path.join(os.environ['AUTORESEARCH_COMPILE_CACHE'], {name!r})"
    ready = "    for step in run.steps("
    plant = f"    import os\n    open({place.format(name='fxgraph')}, 'w').write('planted')\n{ready}"
    sees = f"    import os\n    print('sees', os.path.exists({place.format(name='fxgraph')}), flush=True)\n{ready}"
    other = text.replace(ready, sees)
    both = text.replace(ready, plant.replace(ready, sees))

    def seen(text, name, **changes):
        assert execute(replace(setup, **changes), text, 1, tmp_path / name).ok
        return "sees True" in (tmp_path / name / "log.txt").read_text()

    assert not seen(other, "before")
    seen(both, "planted")
    assert (workdir.layer(both) / "fxgraph").read_text() == "planted"
    assert not seen(other, "another text")
    assert seen(other, "with that text as baseline", baseline=both)
    assert not list(workdir.own_layer("null").iterdir()), "and nothing that runs outside of a cell reads it"


@pytest.mark.parametrize("swap", ["os.rename(place, place + '-old')", "os.rmdir(place)"])
def test_a_link_in_place_of_the_compile_cache_brings_no_text_into_the_cell(swap, honest, tmp_path):
    """The harness had followed it when it kept what was compiled, and given all that to the scoring of the same text."""
    setup, text, result = honest
    ready = "    for step in run.steps("
    before = f"    import os\n    place = os.environ['AUTORESEARCH_COMPILE_CACHE']\n    {swap}\n"
    links = f"{before}    os.symlink({str(setup.task.prepared.folder)!r}, place)\n    print('linked', flush=True)\n{ready}"
    cheat = text.replace(ready, links, 1)
    found = execute(setup, cheat, 1, tmp_path / "run")
    assert found.ok and found.val_bpb == result.val_bpb and "linked" in (tmp_path / "run" / "log.txt").read_text()
    assert not [path for path in workdir.layer(cheat).rglob("*") if path.is_file()]


LATE = {
    "a little more time": ("    for step in run.steps(", "    run.budget_seconds += 1.8\n    for step in run.steps(", "timeout"),
    "a clock that is late": (
        "    for step in run.steps(",
        "    from autoresearch.measure import run as inner\n    real, start = inner.awake_seconds, inner.awake_seconds()\n"
        "    inner.awake_seconds = lambda: start + (real() - start) / 4\n    for step in run.steps(",
        "timeout",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LATE)
def test_time_that_is_not_its_own_is_not_given(honest, tmp_path, name, monkeypatch):
    setup, text, _ = honest
    monkeypatch.setattr(experiment, "GRACE_LEAST_SECONDS", 0.5)
    old, new, status = LATE[name]
    found = execute(setup, text.replace(old, new, 1), 1, tmp_path)
    assert found.status == status and "no checkpoint" in found.reason


def test_tokens_are_counted_by_those_who_hand_them_out(honest, tmp_path):
    setup, text, result = honest
    lies = text.replace("    for step in run.steps(", "    run._count = 10**12\n    for step in run.steps(", 1)
    assert execute(setup, lies, 1, tmp_path).total_tokens < 10 * result.total_tokens
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert curve[-1]["tokens"] < 10 * result.total_tokens

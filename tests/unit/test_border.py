"""What comes out of a cell: hostile messages, files and prints. Anything bad is one RunFailed and nothing else."""

import json
import os
import stat
import struct
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from autoresearch import child
from autoresearch.border import files, messages
from autoresearch.border.log import HEAD_BYTES, TAIL_BYTES, Log
from autoresearch.border.messages import Conversation
from autoresearch.child import OurOwn, Worker
from autoresearch.errors import EnvironmentFailure, RunFailed
from autoresearch.paths import PACKAGE

TRAINING = [
    {"type": "facts", "facts": {"depth": 2, "num_params": 320, "notes": {"model": "a table"}}},
    {"type": "ready"},
    "going",
    {"type": "batch", "rows": 4, "seq_len": 32, "ahead": False},
    {"type": "step", "loss": 5.25, "progress": 0.5},
    {"type": "saved", "steps": 7},
    {"type": "facts", "facts": {"peak_memory_bytes": 1000}},
    {"type": "ended"},
]
SCORING = [
    {"type": "built"}, "loading", {"type": "ready"}, "asked", {"type": "scored", "slot": 0}, {"type": "scored", "slot": 1},
    {"type": "failed", "kind": "crash", "reason": "row 17 is: the text", "error": "ValueError", "line": 12},
]  # fmt: skip
BAD = {
    "unknown kind": (TRAINING, 0, {"type": "hello"}),
    "no kind": (TRAINING, 0, {"kind": "ready"}),
    "a list": (TRAINING, 0, []),
    "saved before a step": (TRAINING, 3, {"type": "saved", "steps": 1}),
    "step after saved": (TRAINING, 6, {"type": "step", "loss": 1.0, "progress": 1.0}),
    "a batch before the clock": (TRAINING, 1, {"type": "batch", "rows": 1, "seq_len": 1, "ahead": False}),
    "no steps": (TRAINING, 5, {"type": "saved"}),
    "negative steps": (TRAINING, 5, {"type": "saved", "steps": -1}),
    "an infinite loss": (TRAINING, 4, {"type": "step", "loss": float("inf"), "progress": 0.5}),
    "a loss that is true": (TRAINING, 4, {"type": "step", "loss": True, "progress": 0.5}),
    "tokens of its own": (TRAINING, 4, {"type": "step", "loss": 5.0, "progress": 0.5, "tokens": 10**30}),
    "huge rows": (TRAINING, 4, {"type": "batch", "rows": 10**400, "seq_len": 1, "ahead": False}),
    "failed without a kind": (TRAINING, 4, {"type": "failed", "reason": "x"}),
    "failed with the kind ok": (TRAINING, 4, {"type": "failed", "kind": "ok", "reason": "x"}),
    "a reason of 20 MB": (TRAINING, 4, {"type": "failed", "kind": "crash", "reason": "x" * 20_000_000}),
    "facts that are none": (TRAINING, 0, {"type": "facts", "facts": 7}),
    "an unknown slot": (SCORING, 4, {"type": "scored", "slot": 2}),
    "no slot": (SCORING, 4, {"type": "scored"}),
    "scored before it was asked": (SCORING, 2, {"type": "scored", "slot": 0}),
    "entered again": (SCORING, 0, {"type": "entered"}),
}


def protocol(script):
    return messages.training(300.0) if script is TRAINING else messages.scoring(2)


def line(message) -> bytes:
    return message if isinstance(message, bytes) else json.dumps(message).encode()


def hold(script, lines) -> str:
    """The conversation of a script, with these lines in the places of its messages: the state that it ends in."""
    talk = Conversation(protocol(script))
    for said, own in zip(script, lines, strict=True):
        talk.move(said) if isinstance(said, str) else talk.take(own)
    return talk.state


@pytest.mark.parametrize("script", [TRAINING, SCORING], ids=["training", "scoring"])
def test_the_honest_conversations_pass(script):
    assert hold(script, map(line, script)) == messages.ENDED


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_message_of_the_protocol_is_invalid(name):
    script, place, message = BAD[name]
    with pytest.raises(RunFailed) as failure:
        hold(script, [line(message if index == place else said) for index, said in enumerate(script)])
    assert failure.value.kind == "invalid" and len(failure.value.reason) < 200


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"{", b"[" * 60_000, b"9" * 60_000, b'{"type": "ready"' + b" " * 70_000 + b"}"])
def test_bytes_that_are_no_message_are_invalid(text):
    with pytest.raises(RunFailed, match="its process sent"):
        Conversation(messages.training(1.0)).take(text)


def test_a_flood_of_reports_is_invalid():
    talk = Conversation(messages.training(1.0))
    talk.move("fed")
    with pytest.raises(RunFailed, match="more than"):
        for _ in range(10_000):
            talk.take(line({"type": "step", "loss": 5.0, "progress": 0.5}))


def test_once_it_has_seen_text_a_failure_says_only_what_and_where():
    talk = Conversation(messages.scoring(2))
    talk.move("asked")
    assert talk.take(line(SCORING[-1]))["reason"] == "an error, while it scored held-out text"
    talk = Conversation(messages.scoring(2))
    talk.move("loading")
    assert talk.take(line(SCORING[-1] | {"reason": "row\x1b[2J 17"}))["reason"] == "row [2J 17"
    with pytest.raises(RunFailed):
        talk = Conversation(messages.scoring(2))
        talk.move("asked")
        talk.take(line(SCORING[-1] | {"error": "TheTextWasTobeOrNotToBe"}))


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just(10**400), st.just("x" * 10_000),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_mutant_of_a_conversation_raises_anything_else(data):
    script = data.draw(st.sampled_from([TRAINING, SCORING]))
    lines = [said if isinstance(said, str) else dict(said) for said in script]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["value", "key", "drop", "double", "swap", "bytes"])):
            case "value" if isinstance(lines[place], dict):
                lines[place][data.draw(st.sampled_from([*lines[place], "more"]))] = data.draw(VALUES)
            case "key" if isinstance(lines[place], dict) and lines[place]:
                lines[place].pop(data.draw(st.sampled_from(sorted(lines[place]))))
            case "drop" if len(lines) > 1:
                del lines[place]
            case "double":
                lines.insert(place, lines[place])
            case "swap":
                other = data.draw(st.integers(0, len(lines) - 1))
                lines[place], lines[other] = lines[other], lines[place]
            case "bytes":
                lines[place] = data.draw(st.binary(max_size=40))
    talk = Conversation(protocol(script))
    try:
        for one in lines:
            talk.move(one) if isinstance(one, str) else talk.take(line(one))
    except RunFailed as failure:
        assert failure.kind == "invalid"


# Files


def test_a_checkpoint_is_a_plain_file_of_a_bounded_size(tmp_path):
    work = tmp_path / "work"
    work.mkdir()

    def take(most_bytes=1 << 40):
        return files.take(work, "checkpoint", tmp_path / "checkpoint", most_bytes)

    assert not take()
    (work / "checkpoint").symlink_to("/etc/passwd")
    assert not take() and not os.path.lexists(tmp_path / "checkpoint")
    (work / "checkpoint" / "deep").mkdir(parents=True)
    assert not take() and not (tmp_path / "checkpoint").exists()
    (work / "checkpoint").write_bytes(b"weights")
    assert take() and (tmp_path / "checkpoint").read_bytes() == b"weights"
    for name in ("holes", "large", "second name"):
        (work / "checkpoint").write_bytes(b"x" * 100)
        if name == "holes":
            os.truncate(work / "checkpoint", 1 << 35)
        if name == "second name":
            os.link(work / "checkpoint", work / "other")
        with pytest.raises(RunFailed, match="its checkpoint is refused"):
            take(99 if name == "large" else 1 << 40)
        assert not (tmp_path / "checkpoint").exists()


def test_parameters_are_counted_by_what_a_file_can_hold(tmp_path):
    path = tmp_path / "checkpoint"

    def count(arrays=None, raw=None):
        save_file(arrays, path) if raw is None else path.write_bytes(raw)
        return files.parameters(path)

    assert count({"a": np.zeros((3, 5), np.float32), "b": np.zeros(7, np.float16)}) == 22
    assert count({"packed": np.zeros(10, np.uint8)}) == 80, "each bit could be one"
    assert count(raw=b"PK" + bytes(998)) == 1000, "what is not known counts a byte a parameter"
    header = json.dumps({"a": {"dtype": "F32", "shape": [-1, -4], "data_offsets": [0, 16]}}).encode()
    assert count(raw=struct.pack("<Q", len(header)) + header + bytes(16)) == 24 + len(header)
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 60, 1 << 60], "data_offsets": [0, 16]}}).encode()
    assert count(raw=struct.pack("<Q", len(header)) + header + bytes(16)) == 24 + len(header)
    hidden = json.dumps({"__metadata__": {"weights": "x" * 100_000}, "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})
    assert count(raw=struct.pack("<Q", len(hidden)) + hidden.encode() + bytes(16)) > 99_000
    nested = b"[" * 100_000
    assert count(raw=struct.pack("<Q", len(nested)) + nested) == 8 + len(nested)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_mutant_of_a_checkpoint_raises_anything(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "mutant"
    save_file({"a": np.zeros((3, 5), np.float32), "b": np.zeros(7, np.float16)}, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    assert files.parameters(path) >= 0


def test_compiled_files_are_taken_plain_few_and_whole(tmp_path, monkeypatch):
    own, layer = tmp_path / "own", tmp_path / "layers" / "one"
    (own / "a").mkdir(parents=True)
    (own / "a" / "kernel.so").write_bytes(b"code")
    (own / "link").symlink_to("/etc/passwd")
    os.mkfifo(own / "pipe")
    os.link(own / "a" / "kernel.so", own / "second name")
    (own / "holes").write_bytes(b"")
    os.truncate(own / "holes", 1 << 33)
    deep = own
    for _ in range(30):
        deep = deep / "d"
        deep.mkdir()
    (deep / "file").write_bytes(b"")
    files.harvest(own, layer)
    assert not [path for path in layer.rglob("*") if path.is_file()], "the kernel has a second name too"
    (own / "second name").unlink()
    files.harvest(own, layer)
    assert [path.relative_to(layer).as_posix() for path in layer.rglob("*") if path.is_file()] == ["a/kernel.so"]
    (own / "a" / "kernel.so").write_bytes(b"other")
    monkeypatch.setattr(files, "HARVEST_FILES", 3)
    for index in range(10):
        (own / f"{index}").write_bytes(b"x")
    files.harvest(own, layer)
    assert (layer / "a" / "kernel.so").read_bytes() == b"code", "what is there stays"
    assert sum(path.is_file() for path in layer.rglob("*")) <= 4 and not list(layer.parent.glob("*.part"))


def test_a_file_that_becomes_a_link_or_a_folder_that_does_is_not_followed(tmp_path, monkeypatch):
    """Between the look and the opening, as a worker that is still running could do."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("secret")
    own, layer = tmp_path / "own", tmp_path / "layers" / "one"
    (own / "folder").mkdir(parents=True)
    (own / "file").write_text("compiled")
    (own / "folder" / "file").write_text("compiled")
    opened = os.open

    def swap_then_open(path, *arguments, **options):
        if path == "file" and not (own / "file").is_symlink():
            (own / "file").unlink()
            (own / "file").symlink_to(tmp_path / "secret" / "file")
        elif path == "folder":
            (own / "folder").rename(own / "before")
            (own / "folder").symlink_to(tmp_path / "secret")
        return opened(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "open", swap_then_open)
        patch.setattr(files.os, "supports_dir_fd", {*os.supports_dir_fd, swap_then_open})
        files.harvest(own, layer)
    assert not [path for path in layer.rglob("*") if path.is_file()]


def test_a_compile_cache_that_is_a_link_itself_is_not_followed(tmp_path):
    """A train.py had put a link to the held-out texts there: the harness copied them into its next process's cell."""
    (tmp_path / "data" / "val").mkdir(parents=True)
    (tmp_path / "data" / "val" / "tokens.bin").write_text("held out")
    own, layer = tmp_path / "work" / "compile", tmp_path / "layers" / "one"
    own.parent.mkdir()
    for target in (tmp_path / "data", tmp_path / "data" / "val" / "tokens.bin", tmp_path / "data" / "val"):
        own.symlink_to(target)
        files.harvest(own, layer)
        own.unlink()
    own.mkdir()
    (own / "inner").symlink_to(tmp_path / "data")
    files.harvest(own, layer)
    assert not [path for path in layer.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["a\x01b", "\u202etxt", "x" * 250 + "/" + "y" * 250 + "/" + "z" * 250])
def test_names_that_no_compiler_gives_are_left_out(name, tmp_path):
    own, layer = tmp_path / "own", tmp_path / "layers" / "one"
    (own / name).parent.mkdir(parents=True)
    (own / name).write_text("x")
    (own / "plain").write_text("x")
    files.harvest(own, layer)
    assert [path.name for path in layer.rglob("*") if path.is_file()] == ["plain"]


def test_whatever_a_worker_leaves_behind_is_removed(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    here = os.open(work, os.O_RDONLY)
    for _ in range(1500):  # deeper than a path or a recursion may go
        os.mkdir("folder", dir_fd=here)
        deeper = os.open("folder", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    (work / "locked" / "inside").mkdir(parents=True)
    (work / "locked" / "inside" / "file").write_text("x")
    (work / "locked" / "inside").chmod(0)
    (work / "locked").chmod(stat.S_IWUSR | stat.S_IXUSR)
    (work / "link").symlink_to(tmp_path)
    os.mkfifo(work / "pipe")
    (tmp_path / "other").write_text("stays")
    files.remove(work)
    assert os.listdir(tmp_path) == ["other"]
    files.remove(work)


# Prints


def written(path, pieces, mute_after=None) -> bytes:
    reader, writer = os.pipe()
    log = Log(path, reader)
    thread = threading.Thread(target=log.pump)
    thread.start()
    for index, piece in enumerate(pieces):
        if index == mute_after:
            while path.stat().st_size < sum(map(len, pieces[:index])):
                pass
            log.mute()
        view = memoryview(piece)
        while view:
            view = view[os.write(writer, view) :]
    os.close(writer)
    thread.join()
    log.close()
    os.close(reader)
    return path.read_bytes()


def test_a_log_keeps_its_beginning_and_its_end_and_nothing_after_it_was_muted(tmp_path):
    assert written(tmp_path / "short", [b"one\n", b"two\n"]) == b"one\ntwo\n"
    long = written(tmp_path / "long", [b"first\n", *[b"x" * 65536] * 40, b"last\n"])
    assert long.startswith(b"first\n") and long.endswith(b"last\n") and b"bytes left out" in long
    assert len(long) < HEAD_BYTES + 2 * TAIL_BYTES
    assert written(tmp_path / "muted", [b"before\n", b"the text\n"], mute_after=1) == b"before\n"


METAL = "[METAL] Command buffer execution failed: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("words", "kind"), [(METAL, "oom"), ("libc++abi: terminating", "crash")])
def test_a_process_that_a_driver_aborts_for_want_of_memory_ran_out_of_memory(words, kind, tmp_path):
    """Metal's, through MLX: it prints and calls abort(3); that was a crash, and not a model too large."""
    (tmp_path / "dies.py").write_text(f"import os, sys; print({words!r}, file=sys.stderr, flush=True); os.abort()")
    variables = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])}
    ends = Worker({}, tmp_path, messages.Protocol("starting", {}), "dies", variables, cell=OurOwn("null"))
    with pytest.raises(RunFailed) as failure, ends as worker:
        worker.process.wait(timeout=30)
        worker.wait("never", 30, "late")
    assert failure.value.kind == kind and "by signal 6" in failure.value.reason


def test_a_machine_that_starts_no_thread_is_at_fault_and_not_we(tmp_path, monkeypatch):
    """A neighbour had filled it: the night ended with `this is a fault of autoresearch`."""
    processes, start = [], child.start

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(child, "start", lambda *words, **options: processes.append(start(*words, **options)) or processes[0])
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(EnvironmentFailure, match="can't start new thread: this machine runs as many as it can"):
        Worker({}, tmp_path, messages.Protocol("starting", {}), cell=OurOwn("null"))
    assert processes[0].poll() is not None, "its process is gone"


def test_a_walk_over_what_a_worker_has_made_ends(tmp_path, monkeypatch):
    """Folders that were renamed ahead of it kept the harness busy for as long as they liked."""
    own, layer = tmp_path / "own", tmp_path / "layers" / "one"
    for number in range(30):
        (own / f"{number}").mkdir(parents=True)
    (own / "zz").write_text("compiled")
    monkeypatch.setattr(files, "HARVEST_LOOKS", 10)
    looked = list(files._plain_files(own))
    assert len(looked) <= 10
    for opened, _ in looked:
        os.close(opened)
    monkeypatch.setattr(files, "HARVEST_LOOKS", 1000)
    monkeypatch.setattr(files, "HARVEST_SECONDS", -1.0)
    files.harvest(own, layer)
    assert not layer.exists()


def test_numbers_of_a_header_that_take_minutes_to_multiply_are_not_multiplied(tmp_path):
    path = tmp_path / "checkpoint"
    big = int("9" * 4000)
    header = json.dumps({"a": {"dtype": "F32", "shape": [big] * 200, "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"12345678")
    assert files.parameters(path) == path.stat().st_size
    header = json.dumps({"a": {"dtype": "F32", "shape": [1] * 65, "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"1234")
    assert files.parameters(path) == path.stat().st_size, "no framework has so many dimensions"


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_what_is_removed_is_never_reached_through_a_link_that_took_a_folders_place(tmp_path, monkeypatch):
    """A train.py that was alive swapped a folder for a link between the look and the step: any folder of the user's was emptied."""
    victim, work = tmp_path / "victim", tmp_path / "work"
    (victim / "sub").mkdir(parents=True)
    (victim / "precious").write_text("mine")
    victim.chmod(0o755)
    (work / "folder").mkdir(parents=True)
    (work / "folder" / "file").write_text("x")
    rename = os.rename

    def swapped(source, target, **places):
        """Just before a folder is moved up, and just after."""
        if source == "folder":
            (work / "folder").rename(tmp_path / "aside")
            (work / "folder").symlink_to(victim)
        rename(source, target, **places)
        if source == "folder":
            for left in tmp_path.glob("work-*.removed"):
                if not left.is_symlink():
                    rename(left, tmp_path / "aside2")
                    left.symlink_to(victim)

    monkeypatch.setattr(files.os, "rename", swapped)
    files.remove(work)
    monkeypatch.undo()
    assert (victim / "precious").read_text() == "mine" and (victim / "sub").is_dir()
    assert stat.S_IMODE(victim.stat().st_mode) == 0o755 and not work.exists() and not list(tmp_path.glob("*.removed"))


@pytest.mark.skipif(os.name == "nt", reason="folders are held open there by their paths")
def test_a_folder_whose_content_is_too_deep_to_be_counted_takes_more_than_it_may(tmp_path):
    (tmp_path / "file").write_bytes(bytes(100))
    (tmp_path / "deep").mkdir()
    assert [files.takes_more(tmp_path, *most) for most in ((100, 2), (99, 2), (100, 1))] == [False, True, True]
    folder = os.open(tmp_path / "deep", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=folder)
        inside = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inside
    os.close(folder)
    assert files.takes_more(tmp_path, 100, 1000)
    files.remove(tmp_path / "deep")

"""Cheats on what comes out of a cell: messages, slots, checkpoints, prints, leftovers. Edits of a train.py, as in processes.py."""

from processes import END, READY, SAVE, STEP, Cheat, before

# In a scoring: the line to the harness and the job, which agent code can find like anything else in its process.
FOUND = """
import gc, json, os
from autoresearch.measure.channel import Channel
line = next(one for one in gc.get_objects() if isinstance(one, Channel))
job = next(one for one in gc.get_objects() if isinstance(one, dict) and "slots" in one and "spec" in one)
"""
HEADER = "(2**63).to_bytes(8, 'little')"


def says(message: str, verdicts: str = "invalid") -> Cheat:
    """One message in the middle of a training."""
    return before(STEP, f"if step == 0:\n    run._channel.send({message})", verdicts)


def writes(data: str, verdicts: str = "invalid") -> Cheat:
    """Bytes into the line to the harness, in the middle of a training."""
    return before(STEP, f"if step == 0:\n    run._channel._writer.write({data})\n    run._channel._writer.flush()", verdicts)


def scoring(lines: str, verdicts: str = "invalid") -> Cheat:
    """Lines that run while the scoring process imports the file."""
    body = "".join(f"    {one}\n" for one in (FOUND + lines).strip("\n").splitlines())
    return before(END, f"if __name__ != '__main__':\n{body}", verdicts)


def answering(lines: str, verdicts: str) -> Cheat:
    """Lines that run once logits are asked for, on stand-in tokens first, many and one row; `calls` counts."""
    body = "".join(f"        {one}\n" for one in lines.strip("\n").splitlines())
    return scoring(
        "import runtime\nreal, calls = runtime.logits, 0\n"
        f"def logits(model, ids, out):\n    global calls\n    calls += 1\n    if calls > 2:\n{body}    real(model, ids, out)\n"
        "runtime.logits = logits\n",
        verdicts,
    )


def leaves(lines: str, verdicts: str = "no effect") -> Cheat:
    """Lines that run before the clock starts."""
    return before(READY, "import os\n" + lines, verdicts)


def saves(lines: str, verdicts: str) -> Cheat:
    """Another checkpoint; `path` is where it goes. At the rehearsal before the clock nothing odd is done."""
    body = "".join(f"    {one}\n" for one in lines.strip("\n").splitlines())
    head = (
        "def odd(path):\n    import os\n    if not os.path.exists('rehearsed'):\n"
        f"        open('rehearsed', 'w')\n        return path.write_bytes(b'x')\n{body}\n"
    )
    return Cheat((SAVE, "save=odd"), verdicts, head=head)


MESSAGES = {
    "saved twice": says("{'type': 'saved', 'steps': 1}", "invalid | crash"),
    "saved a thousand steps less than none": says("{'type': 'saved', 'steps': -1000}"),
    "steps beyond counting": says("{'type': 'saved', 'steps': 10**400}"),
    "ready again": says("{'type': 'ready'}"),
    "entered again": says("{'type': 'entered'}"),
    "built, in a training": says("{'type': 'built'}"),
    "scored, in a training": says("{'type': 'scored', 'slot': 0}"),
    "failed without a kind": says("{'type': 'failed', 'reason': 'x'}"),
    "failed with the kind ok": says("{'type': 'failed', 'kind': 'ok', 'reason': 'x'}"),
    "failed with the kind keep": says("{'type': 'failed', 'kind': 'keep', 'reason': 'x'}"),
    "a reason that is a list": says("{'type': 'failed', 'kind': 'crash', 'reason': ['x']}"),
    "infinite tokens": says("{'type': 'step', 'loss': 1.0, 'tokens': float('inf'), 'progress': 0.5}"),
    "huge tokens": says("{'type': 'step', 'loss': 1.0, 'tokens': 10**30, 'progress': 0.5}"),
    "a loss that is none": says("{'type': 'step', 'loss': None, 'progress': 0.5}"),
    "a loss that is NaN": says("{'type': 'step', 'loss': float('nan'), 'progress': 0.5}"),
    "progress beyond the end": says("{'type': 'step', 'loss': 1.0, 'progress': 7}"),
    "facts that are a list": says("{'type': 'facts', 'facts': [1]}"),
    "facts under a long name": says("{'type': 'facts', 'facts': {'x' * 1000: 1}}"),
    "facts without end": before(STEP, "for _ in range(500):\n    run.describe(depth=1)", "invalid"),
    "a batch of no rows": says("{'type': 'batch', 'rows': 0, 'seq_len': 64, 'ahead': False}"),
    "a batch of minus one row": says("{'type': 'batch', 'rows': -1, 'seq_len': 64, 'ahead': False}"),
    "a batch of all text": says("{'type': 'batch', 'rows': 1048576, 'seq_len': 1048576, 'ahead': False}", "crash"),
    "a row longer than the text": says("{'type': 'batch', 'rows': 1, 'seq_len': 1000000, 'ahead': False}", "crash"),
    "batches that it does not take": before(
        STEP,
        "if step == 0:\n    for _ in range(3000):\n"
        "        run._channel.send({'type': 'batch', 'rows': 4096, 'seq_len': 64, 'ahead': False})",
        "invalid | crash | timeout | no effect | oom",
    ),
    "a message of a kind that is a list": says("{'type': ['saved']}"),
    "no kind": says("{'steps': 1}"),
    "a flood of losses": before(
        STEP, "if step == 0:\n    for _ in range(9999):\n        run._channel.send({'type': 'step', 'loss': 1.0, 'progress': 0.5})",
        "invalid",
    ),
    "a line of 30 MB": writes("b'x' * 30_000_000"),
    "no JSON": writes("b'saved\\n'"),
    "JSON nested deep": writes("b'[' * 60_000 + b'\\n'"),
    "digits without end": writes("b'9' * 60_000 + b'\\n'"),
    "bytes that are no text": writes("b'\\xff\\xfe\\x00\\n'"),
    "an empty line": writes("b'\\n'"),
    "its line closed": before(STEP, "if step == 0:\n    run._channel._writer.close()\n    time.sleep(5)", "crash | timeout"),
}  # fmt: skip
ANSWERS = {
    "a slot that is not there": scoring("line.send({'type': 'built'})\nline.send({'type': 'scored', 'slot': 7})"),
    "scored before it was asked": scoring("line.send({'type': 'scored', 'slot': 0})"),
    "ready before it has weights": scoring("line.send({'type': 'ready'})"),
    "saved, in a scoring": scoring("line.send({'type': 'saved', 'steps': 1})"),
    "a slot left out": answering("line.send({'type': 'scored'})", "invalid"),
    "a slot twice": answering("line.send({'type': 'scored', 'slot': 1})", "invalid | no effect | crash"),
    "a slot cut to nothing": answering("for path in job['slots']:\n    os.truncate(path, 0)\nreturn", "invalid | crash"),
    "a slot cut while it is mapped": answering("for path in job['slots']:\n    os.truncate(path, 8)\n", "invalid | crash | oom"),
    "a slot made huge": answering("for path in job['slots']:\n    os.truncate(path, 1 << 40)\n", "invalid | crash | no effect"),
    "a reason of 20 MB": scoring("line.send({'type': 'failed', 'kind': 'crash', 'reason': 'x' * 20_000_000})"),
    "held-out rows in an error": answering("raise ValueError(str(ids.tolist()))", "crash"),
    "a second training before the answer": scoring(
        "import runtime, time\nload = runtime.load_weights\ndef slow(model, path):\n    end = time.process_time() + 4\n"
        "    while time.process_time() < end: pass\n    return load(model, path)\nruntime.load_weights = slow",
        "limit",
    ),
    "a second training at the first row": answering(
        "import time\nend = time.process_time() + (4 if calls == 3 else 0)\nwhile time.process_time() < end: pass", "limit"
    ),
}  # fmt: skip
FILES = {
    "a checkpoint with a hole": saves("open(path, 'wb').close()\nos.truncate(path, 1 << 33)", "invalid | crash"),
    "a checkpoint of 2^45 bytes": saves("open(path, 'wb').close()\nos.truncate(path, 1 << 45)", "invalid | crash"),
    "half a zip": saves("path.write_bytes(b'PK\\x03\\x04' + bytes(100))", "crash"),
    "a header beyond the file": saves(f"path.write_bytes({HEADER} + b'x' * 99)", "crash"),
    "a header nested deep": saves("path.write_bytes((10**5).to_bytes(8, 'little') + b'[' * 10**5)", "crash"),
    "zeros that were packed": saves(
        "import numpy as np\nwith open(path, 'wb') as file:\n    np.savez_compressed(file, a=np.zeros(1 << 26))", "crash | timeout"
    ),
    "a pipe as checkpoint": saves("os.mkfifo(path)", "crash"),
    "a checkpoint with two names": saves("path.write_bytes(b'x')\nos.link(path, 'other')", "invalid | crash"),
    "1,500 folders in each other": leaves(
        "at = os.getcwd()\nfor _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')\nos.chdir(at)"
    ),
    "a folder that can't be read": leaves("os.makedirs('a/b')\nos.mkdir('a/b/c', 0o300)\nos.mkdir('a/b/d', 0)"),
    "10,000 files in the compile cache": leaves(
        "place = os.environ['AUTORESEARCH_COMPILE_CACHE']\nfor n in range(10000):\n    open(f'{place}/{n}', 'w').close()"
    ),
    "odd names": leaves("for name in (b'\\xff\\xfe', b'a\\nb', b'\\x1b[2J', b'-rf', b'x' * 255):\n    open(name, 'w').close()"),
    "a log stretched": leaves(
        "for end in (1, 2):\n    try:\n        os.ftruncate(end, 1 << 43)\n    except OSError:\n        pass"
    ),
    "a log of 60 MB": leaves("for _ in range(60):\n    os.write(2, b'x' * 999_999 + b'\\n')"),
    "children that linger": leaves(
        "import subprocess, sys\nfor _ in range(20):\n"
        "    subprocess.Popen(['/bin/sleep', '60'], start_new_session=True)", "no effect | crash",
    ),
    "a pipe that is made small": leaves(
        "import fcntl\ntry:\n    fcntl.fcntl(run._channel._reader, 1031, 4096)\nexcept OSError:\n    pass", "no effect"
    ),
}  # fmt: skip
BORDER = MESSAGES | ANSWERS | FILES
# In every call of the suite; tests/unit/test_border.py and tests/fuzz have the kinds of the others, in less time.
SAMPLED = (
    "huge tokens", "a line of 30 MB", "its line closed", "scored before it was asked", "a slot cut while it is mapped",
    "held-out rows in an error", "a second training before the answer", "a second training at the first row",
    "a checkpoint of 2^45 bytes", "1,500 folders in each other", "a folder that can't be read", "children that linger",
)  # fmt: skip
SAMPLE = {name: BORDER[name] for name in SAMPLED}

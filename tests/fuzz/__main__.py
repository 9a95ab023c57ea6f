"""`python -m tests.fuzz [--mutants N] [--seed N]`: bytes that a worker might send, and checkpoints that it might leave.

Recorded first: the messages of a real training and scoring, and the checkpoint between them (null backend). Then changed: bytes and
bits, values, keys, order, lengths, nesting. Nothing but RunFailed("invalid") may come of a conversation, nothing at all of a
checkpoint's header; each within a second of processor time, and the memory of this process may not grow.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from autoresearch.border import files, messages
from autoresearch.border.messages import Conversation, lines
from autoresearch.errors import RunFailed
from tests.fuzz.recorded import Recorded, record

MEMORY_BYTES, SLOWEST_SECONDS = 256 << 20, 1.0
NUMBERS = [0, -1, 1, 2**31, 2**63, 10**400, -(10**400), 1e308, -1e308, float("inf"), float("-inf"), float("nan"), 0.5]
VALUES = [*NUMBERS, None, True, False, "", "x" * 5000, "\x1b[2J", "ok", "crash", [], {}, [[]], {"type": "ready"}, "\ud800"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recorded = record(Path(folder))
        counts = [len(one) for one in (recorded.training, recorded.scoring, recorded.checkpoint)]
        print("recorded: {} and {} messages, {} bytes of weights".format(*counts))
        found = fuzz(recorded, options.mutants, options.seed, Path(folder))
    for words, count in sorted(found.items(), key=lambda one: -one[1]):
        print(f"{count:9,}  {words}")


def fuzz(recorded: Recorded, mutants: int, seed: int, folder: Path) -> Counter:
    """How often each outcome was seen. AssertionError for anything that may not be."""
    rng, found, start = random.Random(seed), Counter(), time.monotonic()
    before = _memory()
    for index in range(mutants):
        begun = time.process_time()  # a busy machine is no hang; what waits for ever never comes back here
        if index % 4 == 3:
            found[_checkpoint(rng, recorded, folder / "mutant")] += 1
        else:
            found[_conversation(rng, recorded)] += 1
        took = time.process_time() - begun
        assert took < SLOWEST_SECONDS, f"mutant {index} of seed {seed} took {took:.1f} s"
        if index % 100_000 == 99_999:
            print(f"{index + 1:,} mutants in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    grown = _memory() - before
    assert grown < MEMORY_BYTES, f"{grown:,} bytes more than before"
    found[f"(grown by {grown >> 20} MB, {mutants / (time.monotonic() - start):,.0f} a second)"] = mutants
    return found


def _conversation(rng: random.Random, recorded: Recorded) -> str:
    is_training = rng.random() < 0.6
    script = recorded.training if is_training else recorded.scoring
    protocol = messages.training(300.0) if is_training else messages.scoring(2)
    talk, said = Conversation(protocol), _mutated(rng, script)
    try:
        for one in said:
            if isinstance(one, str):
                talk.move(one)
                continue
            for line in _received(rng, one, talk.line_bytes):
                message = talk.take(line)
                assert isinstance(message, dict) and message["type"] in protocol.kinds
    except RunFailed as failure:
        assert failure.kind == "invalid" and len(failure.reason) < 200
        return "a conversation that is refused"
    return "a conversation that is allowed"


def _received(rng: random.Random, data: bytes, most_bytes: int) -> list[bytes]:
    """As the pipe gives it: in blocks of any size."""
    data, place = data + b"\n", 0

    def read() -> bytes:
        nonlocal place
        block = data[place : place + rng.choice((1, 7, 300, 1 << 16))] if len(data) < 300 else data[place : place + (1 << 16)]
        place += len(block)
        return block

    return list(lines(read, most_bytes))


def _mutated(rng: random.Random, script: list) -> list:
    """The script with one to four changes; a message as bytes, what the harness says as the name of a state."""
    said = [one if isinstance(one, str) else dict(one) for one in script]
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(said))
        one = said[place]
        match rng.randrange(9):
            case 0 | 1 if isinstance(one, dict) and one:
                one[rng.choice([*one, "more"])] = rng.choice(VALUES)
            case 2 if isinstance(one, dict) and one:
                one.pop(rng.choice(list(one)))
            case 3 if len(said) > 1:
                del said[place]
            case 4:
                said[place:place] = [dict(one) if isinstance(one, dict) else one] * rng.choice((1, 1, 2, 300))
            case 5:
                other = rng.randrange(len(said))
                said[place], said[other] = said[other], said[place]
            case 6 if isinstance(one, dict):
                said[place] = _scribbled(rng, _bytes(one))
            case 7 if isinstance(one, dict):
                said[place] = rng.choice((b"[" * 3000, b'{"type":' * 2000, b"\xff" * 100, b"", b"9" * 5000, b"x" * 70_000, b"null"))
            case 8 if isinstance(one, dict):
                said[place] = _bytes(rng.choice([two for two in script if isinstance(two, dict)]))
    return [one if isinstance(one, str | bytes) else _bytes(one) for one in said]


def _bytes(message: dict) -> bytes:
    return json.dumps(message).encode("utf-8", "surrogatepass")


def _scribbled(rng: random.Random, data: bytes) -> bytes:
    content = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        if content:
            content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content[: rng.randint(0, len(content))] if rng.random() < 0.3 else content)


def _checkpoint(rng: random.Random, recorded: Recorded, path: Path) -> str:
    content = bytearray(recorded.checkpoint)
    header_end = 8 + int.from_bytes(content[:8], "little")
    match rng.randrange(5):
        case 0 | 1:
            for _ in range(rng.randint(1, 3)):
                content[rng.randrange(header_end)] = rng.randrange(256)
        case 2:
            content = content[: rng.randrange(len(content))]
        case 3:
            header = json.loads(content[8:header_end])
            entry = header[rng.choice(list(header))]
            entry[rng.choice(list(entry))] = rng.choice([*VALUES, [-1], [2**62, 2**62], [0], ["F32"], [1.5], {"a": 1}])
            data = _bytes(header)
            content = bytearray(len(data).to_bytes(8, "little") + data + content[header_end:])
        case 4:
            content = bytearray(rng.choice((b"PK\x03\x04", b"\x93NUMPY", b"\x80\x04", b"[" * 5000, b"\xff" * 8)) + content)
    path.write_bytes(content)
    by_bytes = files.parameters(path) == len(content)
    return f"a checkpoint that counts by its {'bytes' if by_bytes else 'header'}"


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()

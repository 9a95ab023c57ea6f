"""Questions with answers, from a .jsonl file, as rows of tokens: the question's are told, the answer's and its end are scored.

Greedy decoding gives an answer exactly when each of its tokens is the likeliest one after the true ones before it: so logits for
the true answer's row tell, with no decoding. Tokens of question and answer are made apart, as when only the question is known.
A row: BOS, question, BETWEEN, answer, end; then BOS up to its length, which is not scored.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autoresearch import paths
from autoresearch.data import readers
from autoresearch.data.progress import OnProgress
from autoresearch.errors import UsageError

from .bases import Base

KEYS = (("question", "answer"), ("prompt", "completion"))  # of a line; others that it has are not read
BETWEEN = "\n"  # question and answer
SHARES = {"val": 0.15, "test": 0.15, "slice": 0.1}  # of the pairs; the rest is trained on
MOST = {"val": 1000, "test": 1000, "slice": 500}  # chosen: a share of 0.5 is known to 0.016 then
LEAST = 200  # pairs; chosen: 30 of them are validation
LEFT_OUT_MAX = 0.5  # of the pairs may be too long for the base
STEP = 16  # a row's length is a multiple of it


def file(named: str) -> Path:
    """What --corpus names. UsageError for anything but a .jsonl file that is there."""
    path = paths.expanded(named).resolve()
    if not (path.is_file() and path.suffix == ".jsonl"):
        raise UsageError(f"--score exact needs a .jsonl file with a pair in each line, and --corpus is {path}; name such a file")
    return path


def is_pairs(path: Path) -> bool:
    """Whether its first line holds a pair."""
    try:
        with open(path, "rb") as file:
            row = json.loads(next((line for line in file if line.strip()), b"null"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(row, dict) and any(set(keys) <= row.keys() for keys in KEYS)


def read(path: Path) -> dict[str, str]:
    """Answers by question; of a question that comes twice the first counts. UsageError names the line that is wrong."""
    found: dict[str, str] = {}
    form = 'each line must be like {"question": "...", "answer": "..."} (or "prompt" and "completion")'
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}:{number}: not JSON ({error}); {form}") from None
        keys = next((keys for keys in KEYS if isinstance(row, dict) and set(keys) <= row.keys()), None)
        if keys is None:
            raise UsageError(f"{path}:{number}: no question with an answer; {form}")
        question, answer = row[keys[0]], row[keys[1]]
        if not (isinstance(question, str) and isinstance(answer, str) and question.strip() and answer.strip()):
            raise UsageError(f"{path}:{number}: {keys[0]} and {keys[1]} must be texts that are not empty; mend that line")
        found.setdefault(question, answer)
    if len(found) < LEAST:
        problem = f"{path} holds {len(found)} different questions, and it takes {LEAST} to tell a gain from chance"
        raise UsageError(problem, "add some")
    return found


def _lines(path: Path) -> Iterator[str]:
    for number, line in enumerate(b"".join(readers.blocks(path)).split(b"\n"), start=1):
        try:
            yield line.decode()
        except UnicodeDecodeError:
            raise UsageError(f"{path}:{number}: not UTF-8; convert the file") from None


def write(path: Path, base: Base, folder: Path, on_progress: OnProgress) -> dict[str, int]:
    """`<split>.npy` with inputs and targets, int32 [T] each; -1 is not scored. Returns counts, and T as "seq_len"."""
    on_progress("reading the pairs", 0, None)
    found = read(path)
    # In an order that nobody chose, and that another line more changes little.
    order = sorted(found, key=lambda question: hashlib.blake2b(question.encode("utf-8", "replace"), digest_size=8).digest())
    encode = base.encoder()
    asked = encode([f"{question}{BETWEEN}".encode("utf-8", "replace") for question in order])
    told = encode([found[question].encode("utf-8", "replace") for question in order])
    rows = [(question, np.append(answer[1:], base.end)) for question, answer in zip(asked, told, strict=True)]  # no second BOS
    fitting = [(question, answer) for question, answer in rows if len(question) + len(answer) - 1 <= base.seq_len]
    if len(fitting) < max(LEAST, (1 - LEFT_OUT_MAX) * len(rows)):
        raise UsageError(
            f"{len(rows) - len(fitting):,} of {len(rows):,} pairs are longer than the {base.seq_len} tokens that the base takes; "
            "shorten them, or take another base"
        )
    longest = max(len(question) + len(answer) - 1 for question, answer in fitting)
    seq_len = min(base.seq_len, -(-longest // STEP) * STEP)
    table = np.empty(len(fitting), np.dtype([("inputs", "<i4", (seq_len,)), ("targets", "<i4", (seq_len,))]))
    table["inputs"], table["targets"] = base.bos, -1
    for row, (question, answer) in zip(table, fitting, strict=True):
        tokens, end = np.append(question, answer), len(question) + len(answer) - 1
        row["inputs"][:end] = tokens[:-1]
        row["targets"][len(question) - 1 : end] = answer
    counts, start = {}, 0
    for split, share in SHARES.items():
        size = min(MOST[split], round(share * len(table)))
        np.save(folder / f"{split}.npy", table[start : start + size])
        counts[split], start = size, start + size
    np.save(folder / "train.npy", table[start:])
    return counts | {"train": len(table) - start, "left_out": len(rows) - len(fitting), "seq_len": seq_len}

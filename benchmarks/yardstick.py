"""How much of a score is the choice of its text: `python benchmarks/yardstick.py [--corpus NAME|PATH] [--seconds 60]`.

One training, scored on the whole validation text. Then, for some lengths of yardstick, two ways to take so many bytes of it: the
first documents whole, and pieces of as many documents as there are (data/split.py). For each: how many documents it has, the share
of the largest, its bits per byte beside that of the whole text, and how far halves of it are from each other, as the mean over
random halves (documents stay together), relative.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from autoresearch import choices, constants
from autoresearch.data import corpora, split
from autoresearch.data.prepare import prepare
from autoresearch.hardware.planner import plan
from autoresearch.run import scoring
from autoresearch.run.experiment import execute
from autoresearch.run.setup import Setup
from autoresearch.task.registry import on_text

LENGTHS = (100_000, 200_000, 400_000, 1_000_000)
HALVES = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="stdlib")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    made = plan.make("cpu", "cpu-small")
    profile, backend = made.profile, made.choice.backend
    prepared = prepare(options.corpus, profile.data.vocab_size)
    setup = Setup(
        backend, on_text(prepared, replace(profile.data, eval_bytes=prepared.val_bytes)), options.seconds, 1200, 0,
        variables=choices.settled(profile.runtime, made.choice.facts.dtype),
    )  # fmt: skip
    train_py = constants.write(backend.train_py.read_text(encoding="utf-8"), profile.train)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        assert execute(setup, train_py, 1, folder).ok
        found = scoring.evaluate(setup, folder)
    owners = owners_of_pieces(options.corpus)
    bits, sizes = found.document_bits, found.document_bytes
    assert len(owners) == len(sizes)
    whole = bits.sum() / sizes.sum()
    print(f"{prepared.val_documents} documents in {len(sizes)} pieces, {sizes.sum():,} bytes, {whole:.4f} bits per byte")
    print("| bytes | taken | documents | largest | bits per byte | off the whole text | halves differ by |")
    print("|---|---|---|---|---|---|---|")
    for length in LENGTHS:
        for title, order in (("whole documents", np.argsort(owners, kind="stable")), ("pieces", np.arange(len(sizes)))):
            taken = order[: int(np.searchsorted(np.cumsum(sizes[order]), length)) + 1]
            own = {one: taken[owners[taken] == one] for one in owners[taken]}
            parts = {one: (bits[places].sum(), sizes[places].sum()) for one, places in own.items()}
            value = bits[taken].sum() / sizes[taken].sum()
            largest = max(size for _, size in parts.values()) / sizes[taken].sum()
            shown = f"| {length:,} | {title} | {len(parts)} | {largest:.0%} | {value:.4f} | {value / whole - 1:+.1%} |"
            print(f"{shown} {halves(np.array(list(parts.values()))):.1%} |")


def owners_of_pieces(corpus: str) -> np.ndarray:
    """int64 [pieces]: the rank of the document that each piece of the validation text is of."""
    documents = list(corpora.find(corpus).documents())
    digests = np.array([split.digest(one.text) for one in documents], np.uint64)
    sizes = np.array([len(one.text) for one in documents], np.int64)
    val = split.split(corpus, digests, sizes, np.array([one.mark for one in documents], np.int8)).val
    counts = np.array([len(split.pieces(documents[index].text, 0)) for index in val])
    return np.concatenate([np.flatnonzero(counts > turn) for turn in range(counts.max())])


def halves(parts: np.ndarray) -> float:
    """parts [documents, 2]: bits and bytes of each."""
    rng, found = np.random.default_rng(0), []
    for _ in range(HALVES):
        order = rng.permutation(len(parts))
        one, other = (parts[order[start::2]].sum(0) for start in (0, 1))
        found.append(abs(one[0] / one[1] / (other[0] / other[1]) - 1))
    return float(np.mean(found))


if __name__ == "__main__":
    main()

"""How often the audit slice holds an honest keep, and how often one that has memorised validation text.

    python benchmarks/slice_power.py [--draws 20000] [--out benchmarks/results/slice_power.json]

Real documents: what is held out of the corpus stdlib (val, test, slice). Honest models of them, made in seconds: counts of the
training tokens, of pairs and triples, from all of the text or a part, some that also copy what followed the last two tokens earlier
in the row, which pays in some documents far more than in others. Two texts are drawn from those documents, again and again (with
replacement, so also texts with several of the odd ones), for every pair of models of which the second is better. Honest: the share
that is held. Memorised: the same for one pair that hardly differs (BESIDE), but a share of the validation text costs the second
model a tenth of its bits: of whole documents, or of the tokens of all. Hidden: half of the documents are known, and it fails on the
others so badly that the gain of all of them is HIDDEN_BPB.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np

from autoresearch.data.prepare import Prepared, prepare
from autoresearch.loop.val_only import Documents, Texts, compare

ROW = 256  # tokens that a copy may look back, as a model of the profile `cpu` does
# share of the training text, weights of triples, pairs, single tokens, and of what is copied
MODELS = {
    "pairs of a tenth": (0.1, 0.0, 0.85, 0.14, 0.0),
    "pairs": (1.0, 0.0, 0.85, 0.14, 0.0),
    "pairs, other weights": (1.0, 0.0, 0.75, 0.24, 0.0),
    "pairs, a copy": (1.0, 0.0, 0.7, 0.1, 0.19),
    "triples of a tenth": (0.1, 0.4, 0.45, 0.14, 0.0),
    "triples of half": (0.5, 0.55, 0.35, 0.09, 0.0),
    "triples": (1.0, 0.55, 0.35, 0.09, 0.0),
    "triples, other weights": (1.0, 0.6, 0.32, 0.07, 0.0),
    "triples, a faint copy": (1.0, 0.52, 0.35, 0.09, 0.03),
    "triples, a copy": (1.0, 0.45, 0.3, 0.05, 0.19),
}
BESIDE = ("triples", "triples, other weights")
SIZES = [(5, 6), (12, 7), (15, 15), (31, 31), (125, 63), (250, 250), (500, 500), (2600, 2600)]  # documents of val, of the slice
HIDDEN_BPB = 0.05
MEMORISED = 0.1  # of its bits is what memorised text costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    sizes, bits = documents(prepare("stdlib", 2048))
    pairs = [(a, b) for a, b in itertools.permutations(bits, 2) if bits[a].sum() > bits[b].sum()]
    gains = {(a, b): (bits[a].sum() - bits[b].sum()) / sizes.sum() for a, b in pairs}
    print(f"{len(sizes)} documents, weighted by bytes as good as {sizes.sum() ** 2 / (sizes.astype(float) ** 2).sum():.0f} alike")
    most = max(((bits[a] - bits[b]) / sizes).max() for a, b in pairs)
    span = f"{min(gains.values()):.4f} to {max(gains.values()):.4f} bpb, up to {most:.1f} in one document"
    print(f"honest pairs: {len(pairs)}, gains {span}")
    print(f"memorised text beside a gain of {gains[BESIDE]:.4f}, from {bits[BESIDE[0]].sum() / sizes.sum():.2f} bpb")
    rows = []
    for counts in SIZES:
        row = {"val": counts[0], "slice": counts[1], "honest": share(sizes, bits, pairs, counts, asked.draws)}
        for how, part in itertools.product(("documents", "tokens"), (0.01, 0.05, 0.2)):
            row[f"{how} {part:.0%}"] = share(sizes, bits, [BESIDE], counts, max(1, asked.draws // 20), how, part)
        row["hidden"] = share(sizes, bits, [BESIDE], counts, max(1, asked.draws // 20), "hidden")
        rows.append(row)
        print("  ".join(f"{name} {value:.5g}" for name, value in row.items()), flush=True)
    if asked.out:
        table = {"draws": asked.draws, "pairs": len(pairs), "beside_bpb": gains[BESIDE], "rows": rows}
        asked.out.write_text(json.dumps(table, indent=1) + "\n")


def share(sizes, bits, pairs, counts, draws, how=None, part=0.0) -> float:
    """Of `draws` pairs of texts, how many are held."""
    rng, held = np.random.default_rng(0), 0
    for draw in range(draws):
        before, after = (bits[name] for name in pairs[draw % len(pairs)])
        val, other = (rng.integers(0, len(sizes), count) for count in counts)
        known = after[val].copy()
        if how == "documents":  # the first that reach the share, as they come
            known[np.cumsum(sizes[val]) - sizes[val] < part * sizes[val].sum()] *= MEMORISED
        elif how == "tokens":
            known *= 1 - part * (1 - MEMORISED)
        elif how == "hidden":
            known[::2] *= MEMORISED
            known[1::2] *= 1 + (before[val].sum() - known.sum() - HIDDEN_BPB * sizes[val].sum()) / known[1::2].sum()
        found = compare(
            Texts(Documents(before[val], sizes[val]), Documents(before[other], sizes[other])),
            Texts(Documents(known, sizes[val]), Documents(after[other], sizes[other])),
        )
        held += found.reason is not None
    return held / draws


def documents(prepared: Prepared) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(bytes of each held-out document, its bits by each model)"""
    train = np.fromfile(prepared.train_folder / "tokens.bin", prepared.dtype).astype(np.int64)
    sizes, bits = [], {name: [] for name in MODELS}
    counted = {part: _Counts(train[: int(part * len(train))], prepared.vocab_size) for part in {row[0] for row in MODELS.values()}}
    for folder in (prepared.val_folder, prepared.test_folder, prepared.slice_folder):
        tokens = np.fromfile(folder / "tokens.bin", prepared.dtype).astype(np.int64)
        starts = np.load(folder / "starts.npy")
        sizes.append(np.load(folder / "bytes.npy"))
        copied, shares = _copies(tokens), {part: one.shares(tokens) for part, one in counted.items()}
        scored = tokens != prepared.bos_id
        for name, (part, *weights) in MODELS.items():
            p = sum(weight * share for weight, share in zip(weights, [*shares[part], copied], strict=True))
            cost = np.where(scored, -np.log2(p + (1 - sum(weights)) / prepared.vocab_size), 0.0)
            bits[name].append(np.add.reduceat(cost, starts))
    return np.concatenate(sizes), {name: np.concatenate(parts) for name, parts in bits.items()}


class _Counts:
    """How often each triple, pair and token is there."""

    def __init__(self, tokens: np.ndarray, vocab_size: int):
        self._vocab = vocab_size
        self._known = [np.unique(keys, return_counts=True) for keys in self._keys(tokens)]

    def _keys(self, tokens: np.ndarray) -> list[np.ndarray]:
        single, pair = tokens, np.roll(tokens, 1) * self._vocab + tokens
        return [single, pair, np.roll(tokens, 2) * self._vocab**2 + pair]

    def shares(self, tokens: np.ndarray) -> list[np.ndarray]:
        """Of each token, among what followed the two before it, the one before it, and anything: float64 [3, n]."""
        one, two, three = (self._count(order, keys) for order, keys in enumerate(self._keys(tokens)))
        before, before_pair = np.roll(one, 1), np.roll(two, 1)
        return [three / np.maximum(before_pair, 1), two / np.maximum(before, 1), one / self._known[0][1].sum()]

    def _count(self, order: int, keys: np.ndarray) -> np.ndarray:
        known, counts = self._known[order]
        place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return np.where(known[place] == keys, counts[place], 0)


def _copies(tokens: np.ndarray) -> np.ndarray:
    """1 where a token is what followed the two before it the last time in its row, else 0."""
    found, row = np.zeros(len(tokens)), tokens.tolist()
    for start in range(0, len(row), ROW):
        last: dict[tuple, int] = {}
        for place in range(start + 2, min(start + ROW, len(row))):
            pair = row[place - 2], row[place - 1]
            found[place] = last.get(pair) == row[place]
            last[pair] = row[place]
    return found


if __name__ == "__main__":
    main()

"""Error rates of a transfer: its verdict, and which edits are said to carry it, against planted truths.

    python benchmarks/transfer.py [--times 2000] [--out benchmarks/results/transfer.json]     about two minutes on one core
    python benchmarks/transfer.py --real FOLDER     the planted pair on the null backend, with trainings: the commands themselves

All by the functions that the command calls (autoresearch/transfer/design.py, verdict.py, stack.py, report/compare.py).

`verdicts`    a stack that gained `small` sigma before gains a share of it now; how often each word is said
`designs`     20 edits: 8 gain, 3 lose as much, 9 do nothing, with and without what edits do to each other; designs of one price
`few`         2 to 8 edits, all of a gain of 2 sigma: the runs and the power of both designs
`landscape`   20 constants of the null backend's train.py on a simulated landscape (PLANTED), edits made and read by the real code
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from autoresearch import constants
from autoresearch.metric import VAL_BPB
from autoresearch.noise import pooled_noise
from autoresearch.report import compare
from autoresearch.transfer import design
from autoresearch.transfer.stack import Edit, Stack
from autoresearch.transfer.verdict import Measured, judge

ROOT = Path(__file__).parents[1]
SIGMA = 0.001  # between seeds, as on the null backend
SEEDS = 3
GAINS, LOSSES, EDITS = 8, 3, 20
DOCUMENTS, DOCUMENT_SPREAD, SHARED = 40, 0.004, 0.9  # of a text; of a gain between documents; of the seed's luck on both texts


def verdicts(times: int, rng: np.random.Generator) -> list[dict]:
    found = []
    for seeds in (3, 5):
        for small in (4.0, 10.0):
            for share in (0.0, 0.25, 0.5, 0.75, 1.0):
                words: Counter[str] = Counter()
                for _ in range(times):
                    luck = rng.standard_normal((2, seeds))
                    sides = []
                    for _text in ("val", "test"):
                        own = SHARED * luck + np.sqrt(1 - SHARED**2) * rng.standard_normal((2, seeds))
                        levels = SIGMA * (own + np.array([[0.0], [-share * small]]))
                        bits = levels[:, :, None] + np.array([0.0, 1.0])[:, None, None] * (
                            DOCUMENT_SPREAD * rng.standard_normal(DOCUMENTS)
                        )
                        noise = pooled_noise(levels.tolist())
                        pair = [compare.Side(one, noise) for one in bits]
                        one = compare.difference(*pair, np.ones(DOCUMENTS, np.int64), same_noise=True)
                        sides.append(Measured(one.bpb, one.interval))
                    words[judge(small * SIGMA, *sides, VAL_BPB).word] += 1
                rates = {word: round(count / times, 4) for word, count in sorted(words.items())}
                found.append({"seeds": seeds, "small_gain_sigma": small, "share_now": share, "said": rates})
    return found


def planted(gain: float, tangle: float, rng: np.random.Generator):
    """(kind of each edit, score of levels [rows, edits]). tangle: the spread of what two edits that do something do to each other."""
    kinds = np.array(["gains"] * GAINS + ["loses"] * LOSSES + ["nothing"] * (EDITS - GAINS - LOSSES))
    own = np.select([kinds == "gains", kinds == "loses"], [-gain, gain], 0.0) * SIGMA
    active = np.arange(EDITS) < GAINS + LOSSES
    pairs = np.triu(rng.standard_normal((EDITS, EDITS)), 1) * np.outer(active, active) * tangle * gain * SIGMA
    centered = lambda levels: np.asarray(levels, float) - 0.5  # so that an edit's own effect is that over all combinations  # noqa: E731
    return kinds, lambda levels: np.asarray(levels, float) @ own + np.einsum("ri,ij,rj->r", centered(levels), pairs, centered(levels))


def plans() -> dict[str, tuple[list[design.Row], int]]:
    """Rows and runs of the stack, 52 runs each with the base's three; the last is leave-one-out with what is left on the stack."""
    folded = design.rows(EDITS, SEEDS)
    half = [design.Row(row.levels, 2) for row in folded[::2]]
    without = [design.Row(tuple(k != out for k in range(EDITS)), 2) for out in range(EDITS)]
    return {
        "screening with mirrors (as built)": (folded, SEEDS),
        "screening without, twice": (half, SEEDS),
        "leave one out": (without, SEEDS + 6),
    }


def measured(rows: list[design.Row], stack_runs: int, score, rng: np.random.Generator, by_leaving_out: bool) -> design.Analysis:
    edits = len(rows[0].levels)
    levels = [(False,) * edits, (True,) * edits, *(row.levels for row in rows)]
    runs = [SEEDS, stack_runs, *(row.runs for row in rows)]
    scores = [list(mean + SIGMA * rng.standard_normal(count)) for mean, count in zip(score(levels), runs, strict=True)]
    few, design.FEW = design.FEW, edits if by_leaving_out else 0
    try:
        found = design.analyse(edits, levels, scores)
    finally:
        design.FEW = few
    assert found is not None
    return found


def rates(kinds: np.ndarray, analyses: list[design.Analysis]) -> dict:
    said = np.array([[effect.share for effect in one.effects] for one in analyses])
    idle = said[:, kinds == "nothing"] != "not told"
    right = np.select([kinds == "gains", kinds == "loses"], ["carries", "reverses"], "not told")
    wrong = (said != "not told") & (said != right) & (kinds != "nothing")
    return {
        "false_any_in_all": round(float(idle.any(axis=1).mean()), 4) if idle.size else None,
        "false_of_each": round(float(idle.mean()), 4) if idle.size else None,
        "missed_gains": round(float((said[:, kinds == "gains"] != "carries").mean()), 4),
        "missed_losses": round(float((said[:, kinds == "loses"] != "reverses").mean()), 4) if (kinds == "loses").any() else None,
        "wrong_way": round(float(wrong.mean()), 5),
        "error_sigma": round(float(np.mean([effect.error for one in analyses for effect in one.effects])) / SIGMA, 3),
    }


def designs(times: int, rng: np.random.Generator) -> list[dict]:
    found = []
    for gain in (1.0, 2.0, 4.0):
        for tangle in (0.0, 0.3):
            for name, (rows, stack_runs) in plans().items():
                analyses = []
                for _ in range(times):
                    kinds, score = planted(gain, tangle, rng)
                    analyses.append(measured(rows, stack_runs, score, rng, name == "leave one out"))
                runs = SEEDS + stack_runs + sum(row.runs for row in rows)
                found.append({"design": name, "runs": runs, "gain_sigma": gain, "tangle": tangle} | rates(kinds, analyses))
    return found


def few(times: int, rng: np.random.Generator) -> list[dict]:
    found = []
    for edits in range(2, 9):
        kept = design.FEW
        for by_leaving_out in (True, False):
            design.FEW = edits if by_leaving_out else 0
            rows = design.rows(edits, SEEDS)
            design.FEW = kept
            kinds = np.array(["gains"] * edits)
            score = lambda levels: -2 * SIGMA * np.asarray(levels, float).sum(axis=1)  # noqa: E731
            analyses = [measured(rows, SEEDS, score, rng, by_leaving_out) for _ in range(times)]
            table = rates(kinds, analyses)
            found.append({
                "edits": edits, "design": "leave one out" if by_leaving_out else "screening",
                "further_runs": sum(row.runs for row in rows), "missed_gains": table["missed_gains"], "error_sigma": table["error_sigma"],
            })  # fmt: skip
    return found


# The null backend


def landscape_of_null():
    sys.path.insert(0, str(ROOT / "backends" / "null"))
    import landscape

    return landscape


def texts(number: int) -> str:
    return constants.write((ROOT / "backends/null/train.py").read_text(encoding="utf-8"), {"LANDSCAPE": number})


def edits_of_planted() -> list[Edit]:
    """20 keeps in a row, each on the one before."""
    text, edits = texts(SMALL), []
    for number, (name, value) in enumerate(PLANTED.items(), 1):
        after = constants.write(text, {name: value})
        edits.append(Edit(number, f"{number}", f"{name} -> {value}", text, after, None))
        text = after
    return edits


def truth(stack: Stack, excess) -> np.ndarray:
    """What each edit gains over all combinations of the others, by a large sample of them."""
    rng, gains = np.random.default_rng(1), np.zeros(len(stack.factors))
    for _ in range(200):
        levels = rng.integers(0, 2, len(gains)).astype(bool)
        for k in range(len(gains)):
            on, off = levels.copy(), levels.copy()
            on[k], off[k] = True, False
            gains[k] += excess(tuple(off)) - excess(tuple(on))
    return gains / 200


def on_landscape(times: int, rng: np.random.Generator) -> dict:
    own = landscape_of_null()
    stack = Stack(texts(BIG), edits_of_planted(), "ratio")
    names = list(PLANTED)

    def excess(levels) -> float:
        return own.excess_bpb({"LANDSCAPE": BIG} | {name: PLANTED[name] for name, on in zip(names, levels, strict=True) if on})

    rows = design.rows(len(names), SEEDS)
    combinations = [(False,) * len(names), (True,) * len(names), *(row.levels for row in rows)]
    for levels in combinations[:6]:  # the edits as the real code makes them are those that are scored here
        found = {name: one.value for name, one in constants.read(stack.row(levels)[0]).items()}
        assert abs(own.excess_bpb(found) - excess(levels)) < 1e-12, levels
    gains = truth(stack, excess)
    kinds = np.select([gains > 1e-9, gains < -1e-9], ["gains", "loses"], "nothing")
    level = np.array([excess(levels) for levels in combinations])
    analyses = [measured(rows, SEEDS, lambda _: level, rng, False) for _ in range(times)]
    said = np.array([[effect.share for effect in one.effects] for one in analyses])
    return {
        "landscapes": [SMALL, BIG],
        "kinds": dict(Counter(kinds.tolist())),
        "stack_gain": round(float(level[0] - level[1]), 6),
        **rates(kinds, analyses),
        "edits": [
            {"edit": f"{name} -> {PLANTED[name]}", "gain": round(float(gain), 5)}
            | {word: round(float((said[:, k] == word).mean()), 3) for word in ("carries", "reverses", "not told")}
            for k, (name, gain) in enumerate(zip(names, gains, strict=True))
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "transfer.json")
    parser.add_argument("--real", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    if asked.real:
        return real(asked.real.resolve())
    rng = np.random.default_rng(20261130)
    found = {
        "command": f"python benchmarks/transfer.py --times {asked.times}",
        "verdicts": verdicts(asked.times, rng),
        "designs": designs(asked.times, rng),
        "few": few(asked.times, rng),
        "landscape": on_landscape(asked.times, rng),
    }
    asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for part in ("verdicts", "designs", "few"):
        print(part)
        for row in found[part]:
            print("   ", row)
    print("landscape", json.dumps(found["landscape"], indent=1))

"""Error rates of a transfer: its verdict, and which edits are said to carry it, against planted truths.

    python benchmarks/transfer.py [--times 2000] [--out benchmarks/results/transfer.json]     about two minutes on one core
    python benchmarks/transfer.py --real FOLDER     a study and its transfer on the null backend, by the commands; added there

All by the functions that the command calls (autoresearch/transfer/design.py, verdict.py, stack.py, report/compare.py).

`verdicts`    a stack that gained `small` sigma before gains a share of it now; how often each word is said
`designs`     20 edits: 8 gain, 3 lose as much, 9 do nothing, with and without what edits do to each other; designs of one price
`few`         2 to 8 edits, each of a gain of 2 sigma: the runs and the power of both designs
`landscape`   20 constants of the null backend's train.py on a simulated landscape (PLANTED), edits made by the real code
`real`        16 edits, each kept by `autoresearch try` on one landscape, and transferred to another (REAL)
"""

import argparse
import itertools
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
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

# On landscape BIG 8 of these gain, 3 lose and 9 do nothing, each alone and from the defaults; found by looking through landscapes.
BIG = 1838
PLANTED = {
    "ADAM_BETA1": 0.9, "MLP_RATIO": 6, "DEPTH": 12, "ROPE_BASE": 80_000.0, "SHORT_WINDOW": 0.25, "EMBEDDING_LR": 0.3,
    "SOFTCAP": 24.4, "MATRIX_LR": 0.02, "TOTAL_BATCH_SIZE": 2**18, "UNEMBEDDING_LR": 0.008, "WARMDOWN_RATIO": 0.65,
    "SCALAR_LR": 1.0,
    "ASPECT_RATIO": 42, "ADAM_BETA2": 0.98, "MOMENTUM_WARMUP_RATIO": 0.0, "MUON_BETA2": 0.92, "MUON_MOMENTUM": 0.98,
    "WARMUP_RATIO": 0.03, "WEIGHT_DECAY": 0.3, "FINAL_LR_FRAC": 0.05,
}  # fmt: skip
# All of these gain on the first landscape; on the second 6 gain, 4 lose and 6 do nothing.
REAL_PAIR = (4616, 2834)
REAL = {
    "ROPE_BASE": 80_000.0, "ASPECT_RATIO": 97, "SOFTCAP": 9.23, "MLP_RATIO": 6, "UNEMBEDDING_LR": 0.002, "TOTAL_BATCH_SIZE": 2**18,
    "ADAM_BETA1": 0.7, "MATRIX_LR": 0.02, "MUON_MOMENTUM": 0.98, "SCALAR_LR": 1.0, "FINAL_LR_FRAC": 0.05, "MUON_BETA2": 0.92,
    "INIT_SCALE": 0.707, "MOMENTUM_WARMUP_RATIO": 0.0, "WARMDOWN_RATIO": 0.65, "X0_INIT": 0.05,
}  # fmt: skip
PROFILE = """title = "Null, landscape {number}"
backends = ["null"]
[data]
corpus = "stdlib"
vocab_size = 320
seq_len = 64
eval_bytes = 20000
[budget]
train_seconds = 0.1
startup_limit_seconds = 60
[train]
LANDSCAPE = {number}
COUNTED_BATCHES = 1
COUNTED_ROWS = 2048
"""


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


KINDS = np.array(["gains"] * GAINS + ["loses"] * LOSSES + ["nothing"] * (EDITS - GAINS - LOSSES))


def planted(kinds: np.ndarray, gain: float, tangle: float, rng: np.random.Generator):
    """The score of levels [rows, edits]. tangle: the spread of what two edits that do something do to each other, in gains."""
    own = np.select([kinds == "gains", kinds == "loses"], [-gain, gain], 0.0) * SIGMA
    active, count = kinds != "nothing", len(kinds)
    pairs = np.triu(rng.standard_normal((count, count)), 1) * np.outer(active, active) * tangle * gain * SIGMA

    def score(levels) -> np.ndarray:
        taken = np.asarray(levels, float)
        around = taken - 0.5  # so that an edit's own effect is that over all combinations of the others
        return taken @ own + np.einsum("ri,ij,rj->r", around, pairs, around)

    return score


@dataclass(frozen=True)
class Plan:
    """Rows of one design, and what is run of each."""

    rows: list[design.Levels]
    runs: int
    stack_runs: int = SEEDS
    by_leaving_out: bool = False

    @property
    def further(self) -> int:
        return len(self.rows) * self.runs + self.stack_runs - SEEDS

    def analysis(self, score, rng: np.random.Generator) -> list[design.Effect]:
        edits = len(self.rows[0])
        levels = [(False,) * edits, (True,) * edits, *self.rows]
        counts = [SEEDS, self.stack_runs, *[self.runs] * len(self.rows)]
        scores = [list(mean + SIGMA * rng.standard_normal(count)) for mean, count in zip(score(levels), counts, strict=True)]
        if self.by_leaving_out:
            return left_out(scores)
        found = design.analyse(edits, levels, scores)
        assert found is not None
        return found.effects


def without(edits: int, runs: int, stack_runs: int = SEEDS) -> Plan:
    return Plan([tuple(k != out for k in range(edits)) for out in range(edits)], runs, stack_runs, by_leaving_out=True)


def left_out(scores: list[list[float]]) -> list[design.Effect]:
    """What the stack loses without each, by the spread of runs of one combination."""
    squares, dof = sum(np.var(own) * len(own) for own in scores), sum(len(own) - 1 for own in scores)
    sigma, stack, rows = (squares / dof) ** 0.5, scores[1], scores[2:]
    gains = [float(np.mean(own) - np.mean(stack)) for own in rows]
    errors = [float(sigma * (1 / len(own) + 1 / len(stack)) ** 0.5) for own in rows]
    chances = [design.two_sided(gain / error, dof) for gain, error in zip(gains, errors, strict=True)]
    words = ["not told" if not told else "carries" if gain > 0 else "reverses"
             for told, gain in zip(design.holm(chances, design.FAMILY), gains, strict=True)]  # fmt: skip
    return [design.Effect(*one) for one in zip(gains, errors, chances, words, strict=True)]


def plans() -> dict[str, Plan]:
    """52 runs each, with those of base and stack; of the last the rest goes to the stack."""
    rows = design.rows(EDITS)
    return {
        "screening with mirrors (as built)": Plan(rows, 1),
        "screening without, twice": Plan(rows[::2], 2),
        "leave one out": without(EDITS, 2, SEEDS + 6),
    }


def rates(kinds: np.ndarray, analyses: list[list[design.Effect]]) -> dict:
    said = np.array([[effect.share for effect in one] for one in analyses])
    idle = said[:, kinds == "nothing"] != "not told"
    right = np.select([kinds == "gains", kinds == "loses"], ["carries", "reverses"], "not told")
    wrong = (said != "not told") & (said != right) & (kinds != "nothing")
    return {
        "false_any_in_all": round(float(idle.any(axis=1).mean()), 4) if idle.size else None,
        "false_of_each": round(float(idle.mean()), 4) if idle.size else None,
        "missed_gains": round(float((said[:, kinds == "gains"] != "carries").mean()), 4),
        "missed_losses": round(float((said[:, kinds == "loses"] != "reverses").mean()), 4) if (kinds == "loses").any() else None,
        "wrong_way": round(float(wrong.mean()), 5),
        "error_sigma": round(float(np.mean([effect.error for one in analyses for effect in one])) / SIGMA, 3),
    }


def designs(times: int, rng: np.random.Generator) -> list[dict]:
    found = []
    for gain in (1.0, 2.0, 4.0):
        for tangle in (0.0, 0.3):
            for name, plan in plans().items():
                analyses = [plan.analysis(planted(KINDS, gain, tangle, rng), rng) for _ in range(times)]
                row = {"design": name, "runs": 2 * SEEDS + plan.further, "gain_sigma": gain, "tangle": tangle}
                found.append(row | rates(KINDS, analyses))
    return found


def few(times: int, rng: np.random.Generator) -> list[dict]:
    found = []
    for edits, tangle in itertools.product(range(2, 9), (0.0, 0.3)):
        for name, plan in {"leave one out": without(edits, SEEDS), "screening": Plan(design.rows(edits), 1)}.items():
            kinds = np.array(["gains"] * edits)
            table = rates(kinds, [plan.analysis(planted(kinds, 2.0, tangle, rng), rng) for _ in range(times)])
            shown = {name: table[name] for name in ("missed_gains", "wrong_way", "error_sigma")}
            found.append({"edits": edits, "design": name, "tangle": tangle, "further_runs": plan.further} | shown)
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
    text, edits = texts(0), []
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

    base = {name: one.value for name, one in constants.read(texts(BIG)).items()}

    def excess(levels) -> float:
        return own.excess_bpb(base | {name: PLANTED[name] for name, on in zip(names, levels, strict=True) if on})

    plan = Plan(design.rows(len(names)), 1)
    combinations = [(False,) * len(names), (True,) * len(names), *plan.rows]
    for levels in combinations[:6]:  # the edits as the real code makes them are those that are scored here
        found = {name: one.value for name, one in constants.read(stack.row(levels)[0]).items()}
        assert abs(own.excess_bpb(found) - excess(levels)) < 1e-12, levels
    gains = truth(stack, excess)
    kinds = np.select([gains > 1e-9, gains < -1e-9], ["gains", "loses"], "nothing")
    level = np.array([excess(levels) for levels in combinations])
    analyses = [plan.analysis(lambda _: level, rng) for _ in range(times)]
    said = np.array([[effect.share for effect in one] for one in analyses])
    return {
        "landscape": BIG,
        "kinds": dict(Counter(kinds.tolist())),
        "stack_gain": round(float(level[0] - level[1]), 6),
        **rates(kinds, analyses),
        "edits": [
            {"edit": f"{name} -> {PLANTED[name]}", "gain": round(float(gain), 5)}
            | {word: round(float((said[:, k] == word).mean()), 3) for word in ("carries", "reverses", "not told")}
            for k, (name, gain) in enumerate(zip(names, gains, strict=True))
        ],
    }


def real(folder: Path) -> dict:
    """The commands: `init`, a `try` for each edit, `transfer --attribute`. What each edit is, and what was said of it."""
    folder.mkdir(parents=True)
    own, (small, big) = landscape_of_null(), REAL_PAIR
    for name, number in (("small", small), ("big", big)):
        (folder / f"{name}.toml").write_text(PROFILE.format(number=number), encoding="utf-8")

    def call(*words: str, statuses: tuple[int, ...] = (0,)) -> str:
        command = [sys.executable, "-m", "autoresearch", *words]
        ended = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
        assert ended.returncode in statuses, ended.stdout
        return ended.stdout

    call(
        "init",
        "night",
        "--profile",
        "small.toml",
        "--backend",
        "null",
        "--corpus",
        "stdlib",
        "--decide",
        "strict",
        "--tag",
        "night",
    )
    path, kept = folder / "night" / "train.py", []
    for name, value in REAL.items():
        path.write_text(constants.write(path.read_text(encoding="utf-8"), {name: value}), encoding="utf-8")
        told = json.loads(call("try", "-m", f"{name} -> {value}", "--workspace", "night", "--json", statuses=(0, 1)))
        kept += [name] if told.get("verdict") == "keep" else []
    found = json.loads(call("transfer", "night", "--profile", "big.toml", "--attribute", "--yes", "--json"))
    stack = Stack(texts(big), [Edit(k, "", "", texts(0), constants.write(texts(0), {name: REAL[name]}), None)
                               for k, name in enumerate(kept)], "ratio")  # fmt: skip

    base = {name: one.value for name, one in constants.read(texts(big)).items()}

    def excess(levels) -> float:
        return own.excess_bpb(base | {name: REAL[name] for name, on in zip(kept, levels, strict=True) if on})

    gains = truth(stack, excess)
    said = [
        {"edit": one["description"], "said": one["share"], "true_gain": round(float(gain), 5)}
        | {name: round(one[name], 5) for name in ("gain", "error")}
        for one, gain in zip(found["attribution"]["edits"], gains, strict=True)
    ]
    whole = excess((False,) * len(kept)) - excess((True,) * len(kept))
    return {"landscapes": REAL_PAIR, "kept": len(kept), "true_gain_of_the_stack": round(float(whole), 6), "edits": said} | {
        name: found[name] for name in ("verdict", "reason", "stack", "carriers")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "transfer.json")
    parser.add_argument("--real", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    if asked.real:
        found = json.loads(asked.out.read_text(encoding="utf-8")) | {"real": real(asked.real.resolve())}
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(found["real"], indent=1))
        return
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


if __name__ == "__main__":
    main()

"""How often an audit refuses a model whose log-probabilities differ by rounding alone, simulated.

    python benchmarks/audit_alarms.py [--audits 500] [--out benchmarks/results/audit_alarms.json]

A text of 300 rows of 32 tokens. Each log-probability has a rounding of its own in the scoring and in each asking: of the size that
benchmarks/rounding.py shows of a GPT in bfloat16, of heavier tails, of seldom steps of one bfloat16 logit, and of float32's. Each
audit begins with 32 cuts, as at a keep.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from autoresearch.measure import audit

ROWS, SEQ_LEN, VOCAB_SIZE = 300, 32, 12
ROUNDING = {
    "normal, rms 0.0068 nats": lambda rng, shape: rng.normal(0, 0.0068, shape),
    "Laplace, rms 0.0068 nats": lambda rng, shape: rng.laplace(0, 0.0048, shape),
    "0.125 nats at one target in 500": lambda rng, shape: rng.choice([-0.125, 0.125], shape) * (rng.random(shape) < 0.002),
    "normal, rms 0.001 nats": lambda rng, shape: rng.normal(0, 0.001, shape),
    "normal, rms 0.00001 nats": lambda rng, shape: rng.normal(0, 0.00001, shape),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=500)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    tokens = np.random.default_rng(0).integers(VOCAB_SIZE, size=ROWS * SEQ_LEN + 1).astype(np.int32)
    inputs, targets = tokens[:-1].reshape(ROWS, -1), tokens[1:].reshape(ROWS, -1)
    found = {}
    for name, rounding in ROUNDING.items():
        findings = [one_audit(seed, inputs, targets, rounding) for seed in range(asked.audits)]
        closer = [one.closer for one in findings if one.closer]
        found[name] = {
            "refused": sum(one.reason is not None for one in findings),
            "closer_cuts": dict(sorted(Counter(one.cuts for one in closer).items())),
            "largest_sigmas": round(max((one.sigmas for one in closer), default=0.0), 2),
        }
        print(f"{name:<34} {found[name]}", flush=True)
    if asked.out:
        asked.out.write_text(json.dumps({"audits": asked.audits, "rounding": found}, indent=1) + "\n")


def one_audit(seed: int, inputs: np.ndarray, targets: np.ndarray, rounding) -> audit.Finding:
    rng = np.random.default_rng(seed)
    scored = rounding(rng, inputs.shape)

    def draw(count: int) -> audit.Cuts:
        return audit.make_cuts(rng, inputs, targets, count)

    def ask(cuts: audit.Cuts) -> np.ndarray:
        both = rounding(rng, cuts.inputs.shape) - scored[cuts.rows]
        return (both / 2**0.5 / np.log(2)).astype(np.float32)  # so that the difference has the rounding's rms

    return audit.examine(audit.Tolerance(), np.zeros_like(scored, np.float32), draw(32), draw, ask)


if __name__ == "__main__":
    main()

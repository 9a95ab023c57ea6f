"""How often an audit finds each cheat of tests/cheats/lookahead.py, over many draws of its secret cuts.

    python benchmarks/audit_power.py [--framework torch] [--draws 200] [--out benchmarks/results/audit_power.json]

Prints for each cheat what it gains (bits a token) and the share of audits that find it: with 32 cuts (a keep), half of them
directed by the gain over an honest best; with 32 that are all random; with 256. The tolerance is the honest baseline's.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"


def main() -> None:
    sys.path[:0] = [str(TESTS), str(TESTS / "cheats")]
    import audited
    import lookahead

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", default="torch", choices=["torch", "mlx"])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        honest = audited.honest(asked.framework, folder)
        rows = {}
        print(f"{'cheat':<46} {'gain':>6} {'32':>6} {'32, random':>10} {'256':>6}")
        for cheat, extra in lookahead.CHEATS.items():
            train_py = audited.train_py(asked.framework, extra)
            subject = audited.model(asked.framework, train_py, {"table": audited.text().table}, folder)
            ask = audited.asker(asked.framework, subject)
            bits = ask(audited.text().inputs, audited.text().targets)
            gain = honest.bits - bits

            def share(count: int, draws: int, gain=None, ask=ask, bits=bits) -> float:
                found = [honest.allowed.objection(audited.look(ask, bits, seed, count, gain)) for seed in range(draws)]
                return sum(map(bool, found)) / draws

            rows[cheat] = {
                "gain_bits": round(honest.mean_bits - float(bits.mean()), 4),
                "keep": share(32, asked.draws, gain),
                "random": share(32, asked.draws),
                "end": share(256, max(1, asked.draws // 8), gain),
            }
            one = rows[cheat]
            print(f"{cheat:<46} {one['gain_bits']:>6.3f} {one['keep']:>6.1%} {one['random']:>10.1%} {one['end']:>6.1%}", flush=True)
    if asked.out:
        asked.out.write_text(json.dumps({"framework": asked.framework, "draws": asked.draws, "cheats": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

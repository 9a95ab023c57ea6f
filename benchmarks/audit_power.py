"""How often an audit finds each cheat of tests/cheats/lookahead.py, and how often it refuses an honest model of tests/honest.

    python benchmarks/audit_power.py [--framework torch] [--draws 200] [--honest 20] [--out benchmarks/results/audit_power.json]

Prints for each cheat what it gains (bits a token) and the share of audits that find it, over many draws of their secret cuts: with
32 cuts (a keep), half of them directed by the gain over an honest best; with 32 that are all random; with 256. The tolerance is
the honest baseline's. Then for each honest model the audits with 256 cuts that refused it, in float32 and with products in bfloat16
(torch's autocast), its logits halved to the spread of a trained model's; and those that looked closer.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"


def main() -> None:
    sys.path[:0] = [str(TESTS), str(TESTS / "cheats"), str(TESTS / "honest")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", default="torch", choices=["torch", "mlx"])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--honest", type=int, default=20, help="audits of each honest model and dtype (torch)")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = {"framework": asked.framework, "draws": asked.draws, "cheats": cheats(asked.framework, asked.draws, Path(name))}
        if asked.framework == "torch" and asked.honest:
            found["honest"] = {"audits": asked.honest, "models": honest(asked.honest, Path(name))}
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


def cheats(framework: str, draws: int, folder: Path) -> dict:
    import audited
    import lookahead

    baseline = audited.honest(framework, folder)
    rows = {}
    print(f"{'cheat':<46} {'gain':>6} {'32':>6} {'32, random':>10} {'256':>6}")
    for cheat, extra in (lookahead.CHEATS | {f"faint: {name}": extra for name, extra in lookahead.FAINT.items()}).items():
        train_py = audited.train_py(framework, extra)
        subject = audited.model(framework, train_py, {"table": audited.text().table}, folder)
        ask = audited.asker(framework, subject)
        bits = ask(audited.text().inputs, audited.text().targets)
        gain = baseline.bits - bits

        def share(count: int, draws: int, gain=None, ask=ask, bits=bits) -> float:
            found = [audited.examine(ask, bits, baseline.allowed, seed, count, gain).reason for seed in range(draws)]
            return sum(map(bool, found)) / draws

        one = rows[cheat] = {
            "gain_bits": round(baseline.mean_bits - float(bits.mean()), 4),
            "keep": share(32, draws, gain),
            "random": share(32, draws),
            "end": share(256, max(1, draws // 8), gain),
        }
        print(f"{cheat:<46} {one['gain_bits']:>6.3f} {one['keep']:>6.1%} {one['random']:>10.1%} {one['end']:>6.1%}", flush=True)
    return rows


def honest(audits: int, folder: Path) -> dict:
    import audited
    import torch
    import unusual

    allowed = audited.honest("torch", folder).allowed
    rows = {}
    print(f"{'honest model':<46} {'dtype':>8} {'refused':>8} {'looked closer':>14} {'worst, nats':>12}")
    for name, odd in unusual.MODELS.items():
        subject = audited.model("torch", odd.train_py(audited.HEADS["torch"]), None, folder)
        for dtype in ("float32", "bfloat16"):
            ask = audited.asker("torch", _Halved(subject, torch, dtype == "bfloat16"))
            try:
                bits = ask(audited.text().inputs, audited.text().targets)
            except RuntimeError as error:  # torch's LSTM has no bfloat16 on some CPUs
                print(f"{name:<46} {dtype:>8} {str(error)[:60]}")
                continue
            found = [audited.examine(ask, bits, allowed, seed, 256) for seed in range(audits)]
            one = rows[f"{name}, {dtype}"] = {
                "refused": sum(one.reason is not None for one in found),
                "closer": sum(one.closer is not None for one in found),
                "worst_nats": max(one.difference.worst_nats for one in found),
            }
            print(f"{name:<46} {dtype:>8} {one['refused']:>8} {one['closer']:>14} {one['worst_nats']:>12.6f}", flush=True)
    print(f"{sum(one['refused'] for one in rows.values())} of {audits * len(rows)} audits of honest models refused one")
    return rows


class _Halved:
    """A torch model's logits by half, its products in bfloat16 or as they are."""

    def __init__(self, model, torch, is_bfloat16: bool):
        self.model, self.parameters, self.buffers = model, model.parameters, model.buffers
        self.products: Callable = lambda: torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16)

    def __call__(self, ids):
        with self.products():
            return self.model(ids) / 2


if __name__ == "__main__":
    main()

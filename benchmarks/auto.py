"""Does `--profile auto` take the right sizes? Its choice, trained for the full time, beside grid.py's grid on the same machine.

    python benchmarks/auto.py run [--corpus NAME|PATH] [--seconds 300] [--tune 900]
    python benchmarks/auto.py report

run: autotune anew, then one training of what it took, scored on the validation text and on the test text; a line in
results/auto.jsonl, with all trials. report: for each text, dtype, number of cores and time, that line beside the runs in
results/runs.jsonl on the same terms: the regret against the best of them on the test text, and the gain over `before`, what was
taken before there were trials (depth 2, width 128, rows of 256, vocabulary 2048, 4096 tokens a step, no key offset, no table of
pairs, float32). One core: `taskset -c 0 python ...`. Nothing else should run.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import grid

from autoresearch.data.prepare import prepare
from autoresearch.hardware.autotune import trials, tune
from autoresearch.hardware.planner import plan
from autoresearch.hardware.planner.model import Sizes

RESULTS = Path(__file__).parent / "results" / "auto.jsonl"
BEFORE = {"KEY_OFFSET": 0, "ROTARY_SHARE": 1, "PAIR_ROWS": 0}
TERMS = ("corpus", "device", "cores", "train_seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--corpus", default="stdlib")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--tune", type=float, default=900.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=1337)
    options = parser.parse_args()
    if options.what == "report":
        report()
    else:
        run(options)


def run(options) -> None:
    made = plan.make(grid.BASE)
    made = replace(made, profile=made.profile.with_train_seconds(options.seconds))

    def say(line: str) -> None:
        print(line, flush=True)

    def text(vocab_size: int):
        return prepare(options.corpus, vocab_size)

    tuned = tune.tuned(made, options.corpus, text, say, is_again=True, seconds=options.tune)
    sizes = Sizes.of(tuned.profile, made.choice.backend.train_py.read_text(encoding="utf-8"))
    cell = (sizes.depth, sizes.width, sizes.seq_len, sizes.vocab_size, sizes.batch_tokens)
    found = grid.measure(made.choice.backend, tuned.choice.facts, options.corpus, cell, options.seconds, options.seed, {})
    found |= {"tune_seconds": options.tune, "runtime": tuned.profile.runtime}
    found["trials"] = [as_row(one) for one in tune.remembered(made, options.corpus).trials if one.learnt]
    with open(RESULTS, "a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")
    print(json.dumps({name: found[name] for name in ("val_bpb", "test_bpb", "tokens", "startup_seconds", "scoring_seconds")}))


def as_row(one: trials.Trial) -> dict:
    sizes, learnt, trained = one.sizes, one.learnt, one.trained or one.sizes
    return {
        "depth": sizes.depth, "width": sizes.width, "seq_len": sizes.seq_len, "vocab_size": sizes.vocab_size,
        "batch": trained.batch_tokens, "batch_at_the_end": sizes.batch_tokens, "tokens": learnt.tokens,
        "seconds": round(learnt.seconds, 2), "val_bpb": round(learnt.bpb, 4),
        "expected": round(one.expected, 4), "predicted_tokens_per_second": round(one.predicted_tokens_per_second),
    }  # fmt: skip


def report() -> None:
    print("| text | machine | auto took | tokens | test bpb | best of the grid | its test bpb | regret | before | gain |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    chosen = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    for one in chosen:
        known = [run for run in [*grid.runs(), *chosen] if run.get("code") == grid.CODE]
        same = [run for run in known if all(run[name] == one[name] for name in TERMS)]
        now = [run for run in same if not run["set"] and run["dtype"] == one["dtype"]]
        before = [run["test_bpb"] for run in same if run["set"] == BEFORE and run["dtype"] == "float32"]
        best = min(now, key=lambda run: run["test_bpb"], default=one)
        was = min(before, default=None)
        cells = [
            one["corpus"], f"{one['device']}, {one['cores']} core(s), {one['dtype']}", named(one), f"{one['tokens'] / 1e6:.1f} M",
            f"{one['test_bpb']:.4f}", f"{named(best)} (of {len(now)})", f"{best['test_bpb']:.4f}",
            f"{one['test_bpb'] / best['test_bpb'] - 1:+.1%}", f"{was:.4f}" if was else "n/a",
            f"{1 - one['test_bpb'] / was:.1%}" if was else "n/a",
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |")


def named(run: dict) -> str:
    return f"{run['depth']}x{run['width']}, {run['seq_len']}, {run['vocab_size']}, {run['batch']}"


if __name__ == "__main__":
    main()

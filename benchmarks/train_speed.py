"""How fast train.py trains on this CPU, against what the machine can do and against the same model written plainly.

    python benchmarks/train_speed.py [--profile cpu] [--rounds 9] [--save]

One run measures, in turn and round after round, so that a noisy neighbour hits all of them: the best matrix product, a memory
copy, our step and its parts, and the plain step (eager, autocast, one kernel an operation), in a process of its own, so that
what our runtime sets for its process doesn't help it. Medians are printed; --save also writes
benchmarks/results/train_speed.json. Start-up is timed in child processes, with an empty and then a filled compile cache.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from autoresearch import constants
from autoresearch.hardware import profiles
from autoresearch.measure.batches import TrainingTokens
from autoresearch.paths import shipped

RESULTS = Path(__file__).parent / "results" / "train_speed.json"
PRODUCTS = ((2048, 2048, 2048), (4096, 4096, 4096), (8192, 1024, 1024), (8192, 256, 1024))  # rows, inner, columns
COPY_BYTES = 256 << 20
STAND_IN_TOKENS = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/train_speed.json")
    parser.add_argument("--startup", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--plain", metavar="DTYPE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    profile = profiles.load(options.profile)
    if options.startup:
        print(json.dumps(time_startup(profile)))
        return
    if options.plain:
        serve_plain(profile, options.plain)
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        os.environ["AUTORESEARCH_COMPILE_CACHE"] = cache
        figures = {"profile": profile.name, "cold": run_startup(profile), "warm": run_startup(profile)}
        figures |= measure(profile, options.rounds)
    report(figures)
    if options.save:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def load_train(profile) -> types.ModuleType:
    """train.py with the profile's constants, over the CPU's runtime."""
    sys.path[:0] = [str(shipped("backends") / name) for name in ("cpu", "torch")]
    source = (shipped("backends") / "torch" / "train.py").read_text(encoding="utf-8")
    module = sys.modules["train"] = types.ModuleType("train")
    exec(compile(constants.write(source, profile.train), "train.py", "exec"), module.__dict__)
    return module


def stand_in(spec):
    rng = np.random.default_rng(0)

    def batch(rows: int):
        tokens = rng.integers(spec.vocab_size, size=(rows, spec.seq_len + 1), dtype=np.int32)
        return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])

    return batch


def new_trainer(train, profile):
    spec = SimpleNamespace(vocab_size=profile.data["vocab_size"], seq_len=profile.data["seq_len"])
    trainer = train.Trainer(train.build_model(spec), spec.seq_len)
    return trainer, stand_in(spec)


# Start-up


def run_startup(profile) -> dict:
    command = [sys.executable, __file__, "--startup", "--profile", profile.name]
    start = time.perf_counter()
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1]) | {"process_seconds": time.perf_counter() - start}


def time_startup(profile) -> dict:
    start = time.perf_counter()
    train = load_train(profile)
    imported = time.perf_counter()
    trainer, batch = new_trainer(train, profile)
    trainer.warm_up(batch)
    return {"import_seconds": imported - start, "compile_and_warm_up_seconds": time.perf_counter() - imported}


# Steps


def measure(profile, rounds: int) -> dict:
    train = load_train(profile)
    import torch

    trainer, batch = new_trainer(train, profile)
    trainer.warm_up(batch)
    model, runtime = trainer.model, train.runtime
    loss = runtime.compile(runtime.cross_entropy)
    inputs, targets = (torch.from_numpy(part).long() for part in batch(trainer.rows))
    hidden = torch.randn(inputs.numel(), model.lm_head.size(1)).to(runtime.dtype).requires_grad_()
    source = torch.ones(COPY_BYTES // 4)
    copy = torch.empty_like(source)
    with tempfile.TemporaryDirectory() as folder, plain_process(profile, runtime.dtype) as plain_step:
        path = Path(folder) / "tokens.bin"
        np.zeros(STAND_IN_TOKENS, np.uint16).tofile(path)
        tokens = TrainingTokens(path, "uint16", seed=0)
        work = {
            "copy": lambda: copy.copy_(source),
            "step": lambda: trainer.step(batch, 0.5),
            "plain_step": plain_step,
            "forward_backward": lambda: trainer.loss(inputs, targets).backward(),
            "loss": lambda: loss(hidden, model.lm_head, targets.flatten(), train.SOFTCAP).backward(),
            "optimizer": lambda: trainer.optimizer.step(0.5),
            "loader": lambda: tokens.batch(trainer.rows, inputs.size(1)),
        }
        for rows, inner, columns in PRODUCTS:
            a, b = torch.randn(rows, inner).to(runtime.dtype), torch.randn(inner, columns).to(runtime.dtype)
            out = torch.empty(rows, columns, dtype=runtime.dtype)
            work[f"product {rows}x{inner}x{columns}"] = lambda a=a, b=b, out=out: torch.mm(a, b, out=out)
        seconds = alternate(work, rounds)
        tokens = None  # Windows can't remove a mapped file
    median = {name: statistics.median(times) for name, times in seconds.items()}
    products = {f"{r}x{i}x{c}": 2e-12 * r * i * c / median[f"product {r}x{i}x{c}"] for r, i, c in PRODUCTS}
    step_tokens = inputs.numel() * trainer.passes
    flops = model.flops_per_token(inputs.size(1))
    best = max(products.values())
    tflops = 1e-12 * flops * step_tokens / median["step"]
    return {
        "torch": torch.__version__, "device": runtime.probe()["device"], "cores": runtime.cores,
        "dtype": str(runtime.dtype), "rounds": rounds, "flops_per_token": flops, "tokens_per_step": step_tokens,
        "product_tflops": products, "copy_gb_per_second": 2e-9 * COPY_BYTES / median["copy"],
        "tokens_per_second": step_tokens / median["step"], "plain_tokens_per_second": step_tokens / median["plain_step"],
        "times_plain": median["plain_step"] / median["step"],
        "model_tflops": tflops, "share_of_best_product": tflops / best,
        "milliseconds": {name: 1000 * value for name, value in median.items()},
        "share_of_step": {
            "forward_backward": trainer.passes * median["forward_backward"] / median["step"],
            "of_which_loss": trainer.passes * median["loss"] / median["step"],
            "optimizer": median["optimizer"] / median["step"],
            "loader": trainer.passes * median["loader"] / median["step"],
        },
    }  # fmt: skip


def alternate(work: dict, rounds: int) -> dict[str, list[float]]:
    """Seconds of each piece of work in each round; the first round is thrown away."""
    seconds = {name: [] for name in work}
    for _ in range(rounds + 1):
        for name, function in work.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in seconds.items()}


@contextmanager
def plain_process(profile, dtype):
    """A function that makes a process train one plain step, and waits for it."""
    command = [sys.executable, __file__, "--profile", profile.name, "--plain", str(dtype).removeprefix("torch.")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def step() -> None:
            print(file=process.stdin, flush=True)
            assert process.stdout.readline(), "the plain process has ended"

        yield step
        process.stdin.close()


def serve_plain(profile, dtype: str) -> None:
    import torch

    sys.path.insert(0, str(shipped("backends") / "torch"))
    import torch_runtime

    runtime = sys.modules["runtime"] = SimpleNamespace(**vars(torch_runtime))
    runtime.device, runtime.dtype, runtime.loss_scale = torch.device("cpu"), getattr(torch, dtype), 1.0
    runtime.compile = lambda function: function
    train = load_train(profile)
    trainer, batch = new_trainer(train, profile)
    plain = PlainTrainer(train, trainer.rows, trainer.passes, profile)
    for _line in sys.stdin:
        plain.step(batch)
        print("stepped", flush=True)


class PlainTrainer:
    """The same model and the same updates as one would first write them: eager, autocast, an operation at a time."""

    def __init__(self, train, rows: int, passes: int, profile):
        import torch

        self.train, self.rows, self.passes = train, rows, passes
        spec = SimpleNamespace(vocab_size=profile.data["vocab_size"], seq_len=profile.data["seq_len"])
        self.model = train.build_model(spec)
        matrices = set(self.model.matrices())
        others = [parameter for parameter in self.model.parameters() if parameter not in matrices]
        self.adam = torch.optim.AdamW(others, lr=1e-3, foreach=False, fused=False)
        zeros = [
            (weight, torch.zeros_like(weight)[None], torch.zeros_like(weight.mean(train.reduced_dim(weight), keepdim=True))[None])
            for weight in matrices
        ]
        self.muon = [list(entry) for entry in zeros]

    def step(self, batch) -> None:
        import torch

        for _ in range(self.passes):
            inputs, targets = (torch.from_numpy(part).long() for part in batch(self.rows))
            with torch.autocast("cpu", torch.bfloat16, enabled=self.train.runtime.dtype == torch.bfloat16):
                logits = self.logits(inputs)
            logits = self.train.SOFTCAP * torch.tanh(logits.float() / self.train.SOFTCAP)
            (torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()) / self.passes).backward()
        with torch.no_grad():
            self.adam.step()
            numbers = [torch.tensor(number) for number in (0.95, 1e-3, 0.1)]
            for entry in self.muon:
                weight, momentum, variance = entry
                new, entry[1], entry[2] = self.train.muon_update(weight[None], weight.grad[None], momentum, variance, *numbers)
                weight.copy_(new[0])
        for parameter in self.model.parameters():
            parameter.grad = None

    def logits(self, ids):
        import torch
        import torch.nn.functional as F

        train, model = self.train, self.model
        norm, width = train.norm, train.HEAD_DIM
        cos, sin = model.cos, model.sin
        x = x0 = norm(F.embedding(ids, model.embedding))
        for layer, (attention, mlp) in enumerate(zip(model.attention, model.mlp, strict=True)):
            x = model.resid_lambdas[layer] * x + model.x0_lambdas[layer] * x0
            y = norm(x)
            weights = (attention.query, attention.key, attention.value)
            q, k, v = (F.linear(y, weight).unflatten(-1, (-1, width)) for weight in weights)
            if attention.gate is not None:
                gate = 2 * torch.sigmoid(F.linear(y[..., : train.GATE_CHANNELS], attention.gate))
                extra = F.embedding(ids, model.value_embeddings[str(layer)]).unflatten(-1, (-1, width))
                v = (v + gate.unsqueeze(-1) * extra).to(v.dtype)
            q, k = (norm(train.rotate(z, cos, sin)).to(v.dtype) for z in (q, k))
            q, k, v = (z.transpose(1, 2) for z in (q, k, v))
            window, seq_len = model.windows[layer], ids.size(1)
            distance = torch.arange(seq_len)[:, None] - torch.arange(seq_len)
            mask = None if window >= seq_len - 1 else (distance >= 0) & (distance <= window)
            is_grouped = q.size(1) != k.size(1)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=is_grouped)
            x = x + F.linear(y.transpose(1, 2).flatten(2), attention.out)
            x = x + F.linear(F.relu(F.linear(norm(x), mlp.up)).square(), mlp.down)
        return F.linear(norm(x), model.lm_head)


def report(figures: dict) -> None:
    share, plain = figures["share_of_step"], figures["plain_tokens_per_second"]
    products = ", ".join(f"{shape} {value:.2f}" for shape, value in figures["product_tflops"].items())
    lines = {
        "machine": f"{figures['device']}, {figures['cores']} cores, {figures['dtype']}, torch {figures['torch']}",
        "profile": f"{figures['profile']}: {figures['tokens_per_step']:,} tokens a step",
        "matrix products": f"{products} TFLOP/s",
        "memory copy": f"{figures['copy_gb_per_second']:.0f} GB/s, read and written",
        "ours": f"{figures['tokens_per_second']:,.0f} tokens/s, {figures['milliseconds']['step']:.0f} ms a step",
        "plain": f"{plain:,.0f} tokens/s; ours is {figures['times_plain']:.2f} times as fast",
        "model FLOPs": f"{figures['model_tflops']:.2f} TFLOP/s, {figures['share_of_best_product']:.1%} of the best product",
        "forward and backward": f"{share['forward_backward']:.1%} of a step, of which the loss {share['of_which_loss']:.1%}",
        "optimizer": f"{share['optimizer']:.1%} of a step",
        "loader": f"{share['loader']:.2%} of a step",
    }
    for name in ("cold", "warm"):
        part = figures[name]
        lines[f"start-up, {name} cache"] = (
            f"{part['process_seconds']:.1f} s: import {part['import_seconds']:.1f} s, "
            f"compile and warm-up {part['compile_and_warm_up_seconds']:.1f} s"
        )
    for name, text in lines.items():
        print(f"{name:<22} {text}")


if __name__ == "__main__":
    main()

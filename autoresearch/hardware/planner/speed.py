"""How long a training step takes: a roofline over its parts. Pure numbers; docs/design/plan.md has the model and how far it is off.

An accelerator overlaps: a part takes the longer of its arithmetic and its memory traffic, and a step the sum of its parts, or the
time of all launches where that is longer. On a CPU, whose threads do all of it, everything adds up.
"""

from dataclasses import dataclass

from autoresearch.hardware.planner import model
from autoresearch.hardware.planner.model import Sizes


@dataclass(frozen=True)
class Shares:
    """What a device reaches of its best product and of its memory's rate in the parts of a step, and what a kernel costs beside."""

    products: float
    attention: float  # over the scores that its kernel computes
    muon: float
    traffic: float
    launch_seconds: float  # of a compiled kernel
    eager_launch_seconds: float


IDEAL = Shares(1, 1, 1, 1, 0, 0)
# attention: fit on the published rows, benchmarks/plan_errors.py --fit. Launches: chosen; eager PyTorch takes 5 to 10 us for an
# operation on the host, while the device works.
ACCELERATOR = Shares(1, 0.7, 1, 1, 5e-6, 10e-6)
# Fit on the runs of benchmarks/results/runs.jsonl (two cores, float32), whose step times it meets within 3 % on average:
# benchmarks/plan_errors.py --fit. Batches of small matrices and the loops between products do not reach the limits, and each kernel
# wakes the threads. Eager launches: chosen, as compiled ones.
CPU = Shares(1, 0.68, 0.71, 0.63, 33e-6, 33e-6)
# A fused attention computes the scores again in its backward pass: 7 products in place of 6 (arXiv 2307.08691, section 3.1).
RECOMPUTED = 7 / 6
# Bytes of traffic for one score that is kept in memory, both passes: written and read in float32 twice, and in half precision
# four times. With it 14 ms a layer come out as 13 (docs/design/cpu-speed.md, 32 x 256, 2 heads of 128).
SCORE_BYTES = 24
# Bytes for one logit in the loss. Compiled: five passes over it in the dtype of the products. Eager: every operation of
# torch_runtime._loss_and_slope reads and writes float32, counted on the meta device.
LOGIT_PASSES, EAGER_LOGIT_BYTES = 5, 100
# Eager code moves that many times what compiled code moves between two products, counted on the meta device with fused norms.
EAGER_TRAFFIC = 4.2
# Kernels: (of a layer, of the rest of a pass, of one stack of matrices in the optimizer), counted on the meta device (eager).
KERNELS, EAGER_KERNELS = (35, 30, 30), (105, 60, 60)

ADAM_BYTES = 28  # fused: weight, two moments read and written, gradient read, float32
# Muon, besides Newton-Schulz: weight, gradient and momentum are stacked, read and written in float32, and the step once more.
MUON_BYTES = 48
NEWTON_SCHULZ = 5  # iterations


@dataclass(frozen=True)
class Part:
    """Work of one step. flops run at `share` of the best product."""

    name: str
    flops: float
    bytes: float
    share: float = 1.0

    def seconds(self, matmul_flops: float, bandwidth: float, overlaps: bool) -> float:
        arithmetic, traffic = self.flops / (matmul_flops * self.share), self.bytes / bandwidth
        return max(arithmetic, traffic) if overlaps else arithmetic + traffic


def parts(sizes: Sizes, product_bytes: int, compiled: bool, attention: str, shares: Shares) -> tuple[Part, ...]:
    """Of one step, all passes. product_bytes: of an element in the products' dtype; attention: as a probe names it."""
    tokens, passes, b = sizes.passes * sizes.pass_tokens, sizes.passes, product_bytes
    costs = []
    queries, keys = sizes.heads * sizes.head_dim, sizes.key_width
    linears = {
        "query, key, value": (sizes.width, queries + 2 * keys),
        "attention's output": (queries, sizes.width),
        "mlp up": (sizes.width, sizes.mlp_width),
        "mlp down": (sizes.mlp_width, sizes.width),
    }
    for name, (inner, outer) in linears.items():
        weight = inner * outer
        # Each of the three products reads two factors and writes one; the weight is also cast, and its gradient added up.
        traffic = 3 * b * (tokens * (inner + outer) + passes * weight) + passes * weight * (12 + b)
        costs.append(Part(name, sizes.depth * 6 * tokens * weight, sizes.depth * traffic, shares.products))
    costs.append(_attention(sizes, tokens, b, attention, shares.attention))
    head = sizes.vocab_size * sizes.width
    logit_bytes = LOGIT_PASSES * b if compiled else EAGER_LOGIT_BYTES
    costs.append(Part("loss, products", 6 * tokens * head, passes * head * (12 + b), shares.products))
    costs.append(Part("loss, logits", 0, tokens * sizes.vocab_size * logit_bytes))
    costs.append(Part("between the products", 0, tokens * _elementwise(sizes, b) * (1 if compiled else EAGER_TRAFFIC)))
    # A table's gradient is as large as the table, whatever the tokens.
    costs.append(Part("embedding gradients", 0, passes * 8 * model.table_params(sizes)))
    adam = model.table_params(sizes) + model.head_params(sizes)
    costs.append(Part("AdamW", 0, ADAM_BYTES * adam))
    costs.append(_muon(sizes, b, shares.muon))
    return tuple(costs)


def kernels(sizes: Sizes, compiled: bool) -> int:
    layer, rest, stack = KERNELS if compiled else EAGER_KERNELS
    return sizes.passes * (sizes.depth * layer + rest) + stack * len(model.matrices(sizes))


def step_seconds(work: tuple[Part, ...], matmul_flops: float, bandwidth: float, launches_seconds: float, overlaps: bool) -> float:
    """overlaps: the device moves memory while it multiplies, and works while its host launches what comes next."""
    busy = sum(part.seconds(matmul_flops, bandwidth, overlaps) for part in work)
    return max(busy, launches_seconds) if overlaps else busy + launches_seconds


def _attention(sizes: Sizes, tokens: int, b: int, attention: str, share: float) -> Part:
    scores = model.scored_keys(sizes, attention) * tokens / sizes.seq_len  # of one head
    flops = 12 * sizes.heads * sizes.head_dim * scores
    # Queries, keys, values, output; then these and their gradients.
    traffic = sizes.depth * tokens * b * 3 * (2 * sizes.heads * sizes.head_dim + 2 * sizes.key_width)
    if attention == "blocks":
        return Part("attention", flops, traffic + SCORE_BYTES * sizes.heads * scores, share)
    return Part("attention", flops * RECOMPUTED, traffic, share)


def _elementwise(sizes: Sizes, b: int) -> float:
    """Bytes a token between the products, compiled: each fused loop reads its inputs once and writes its outputs once.

    Forward: scale + norm 4 C, rotate + norm 2 (Q + K), residual + norm 4 C, relu squared 2 M, residual 3 C. Backward: relu
    squared 3 M, two norms 12 C, rotate + norm 3 (Q + K). Value embedding: its row in float32, and v three times.
    """
    rotated = sizes.heads * sizes.head_dim + sizes.key_width
    layer = b * (23 * sizes.width + 5 * rotated + 5 * sizes.mlp_width)
    return sizes.depth * layer + sizes.value_tables * sizes.key_width * (3 * b + 4) + 4 * sizes.width


def _muon(sizes: Sizes, b: int, share: float) -> Part:
    flops = traffic = 0.0
    for (rows, columns), count in model.matrices(sizes).items():
        short, long = min(rows, columns), max(rows, columns)
        # gram, gram squared, and their product with x
        flops += NEWTON_SCHULZ * count * (4 * short * short * long + 2 * short**3)
        traffic += count * (MUON_BYTES * rows * columns + NEWTON_SCHULZ * b * (4 * rows * columns + 4 * short * short))
    return Part("Muon", flops, traffic, share)

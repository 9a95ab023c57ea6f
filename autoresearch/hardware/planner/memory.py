"""Peak memory of training and of scoring, from the tensors that each holds at its fullest moment. Pure numbers, no framework.

A step has two full moments: the loss, when every layer's activations are kept, and the optimizer, when every gradient is. In
between, activations go and gradients come at a steady rate, so that one of the two ends is the fullest. What compiled code keeps
is what the partitioner of torch.compile chose when it was asked (tests/unit/test_hardware_memory.py asks it again); eager code
keeps what autograd's saved tensors hooks showed there.

Letters: N tokens of a pass, C width, Q = H * D channels of all queries, K = G * D of all keys, M MLP width, V vocabulary.
"""

from dataclasses import dataclass

from autoresearch.hardware.planner import model
from autoresearch.hardware.planner.model import Sizes

FLOAT32 = 4  # bytes
# Of a score, in every layer, in XLA's plain attention: what it asks for when it compiles for a CPU (docs/design/jax.md).
XLA_SCORE_BYTES = 12
LOSS_ELEMENTS, LOSS_CHUNKS = 1 << 23, 16  # of a chunk of logits, and at most so many chunks: torch_runtime's names
SLOT_BYTES, SLOTS = 64 << 20, 2  # float32 logits between the scorer and its worker: measure/scorer.py
# What cuBLAS takes for itself: ":4096:2:16:8" in KiB, PyTorch's default before Hopper (docs/stable/notes/cuda.html).
CUBLAS_BYTES = (2 * 4096 + 8 * 16) << 10
# Bytes for one logit of a chunk. Compiled: the logits and their slope in the products' dtype. Eager: five float32 temporaries too.
EAGER_LOSS_TEMPORARIES = 5
# Float32 temporaries of Muon's update for one element of the largest stack: weights, gradients, momentum, step and new weights.
MUON_TEMPORARIES, EAGER_MUON_TEMPORARIES = 5, 8


@dataclass(frozen=True)
class Layout:
    """How a training keeps its tensors. The defaults are our train.py's, compiled, on an accelerator."""

    product_bytes: int = 2  # of an element in the dtype of the products
    compiled: bool = True
    attention: str = "sdpa"  # "blocks" and "xla" keep their probabilities, every other kind one number for each query and head
    norm_bytes: int | None = None  # of what an eager norm keeps of an element; None: product_bytes, a fused kernel's
    logits: str = "chunked"  # "whole": all of them at once, as upstream's loss
    table_bytes: int = FLOAT32  # of an element of an embedding table, its gradient and each of its moments
    rotary_rows: int = 1  # cos and sin are made for that many times seq_len
    workspace_bytes: int = CUBLAS_BYTES


# karpathy/autoresearch, compiled: bfloat16 embeddings with their moments, all logits at once, rotary tables of ten rows' length.
UPSTREAM = Layout(logits="whole", table_bytes=2, rotary_rows=10)


def training_bytes(sizes: Sizes, layout: Layout) -> int:
    """The most that a step holds."""
    return max(sum(moment.values()) for moment in (at_loss(sizes, layout), at_optimizer(sizes, layout)))


def held(sizes: Sizes, layout: Layout) -> dict[str, int]:
    """Bytes that are there at every moment."""
    tables, head, matrices = model.table_params(sizes), model.head_params(sizes), model.matrix_params(sizes)
    scalars = 2 * sizes.depth
    variance = sum(max(shape) * count for shape, count in model.matrices(sizes).items())  # over the shorter dimension
    return {
        "weights": layout.table_bytes * tables + FLOAT32 * (head + matrices + scalars),
        "AdamW's moments": 2 * (layout.table_bytes * tables + FLOAT32 * (head + scalars)),
        "Muon's momentum and variance": FLOAT32 * (matrices + variance),
        "rotary tables": layout.rotary_rows * sizes.seq_len * sizes.head_dim * layout.product_bytes,  # cos and sin: D / 2 each
        "workspace": layout.workspace_bytes,
    }


def gradient_bytes(sizes: Sizes, layout: Layout) -> int:
    rest = model.head_params(sizes) + model.matrix_params(sizes)
    return layout.table_bytes * model.table_params(sizes) + FLOAT32 * rest


def at_loss(sizes: Sizes, layout: Layout) -> dict[str, int]:
    """Bytes by kind at the end of the forward pass, where gradients of earlier passes are there too."""
    return {
        **held(sizes, layout),
        "activations": activation_bytes(sizes, layout),
        "weights as multiplied": cast_bytes(sizes, layout),
        "loss": _loss_bytes(sizes, layout),
        "gradients of earlier passes": gradient_bytes(sizes, layout) if sizes.passes > 1 else 0,
    }


def at_optimizer(sizes: Sizes, layout: Layout) -> dict[str, int]:
    """Bytes by kind in Muon's update of its largest stack."""
    largest = max(rows * columns * count for (rows, columns), count in model.matrices(sizes).items())
    count = MUON_TEMPORARIES if layout.compiled else EAGER_MUON_TEMPORARIES
    return {
        **held(sizes, layout),
        "gradients": gradient_bytes(sizes, layout),
        "Muon's temporaries": count * FLOAT32 * largest + 2 * layout.product_bytes * largest,
    }


def activation_bytes(sizes: Sizes, layout: Layout) -> int:
    """What the layers keep for the backward pass of one pass."""
    b, queries, keys = layout.product_bytes, sizes.heads * sizes.head_dim, sizes.key_width
    c, m, depth, tables = sizes.width, sizes.mlp_width, sizes.depth, sizes.value_tables
    if layout.compiled:
        # Of a layer: the stream before its scale, after it and after attention; both norms' results; queries and keys before
        # and after their norm; values; what attention returns; the MLP before and after relu squared.
        layer = b * (5 * c + 3 * queries + 3 * keys + 2 * m)
        # The roots of the norms' mean squares, of the stream and of each head.
        layer += FLOAT32 * (2 + sizes.heads + sizes.groups)
        value = b * (keys + sizes.gate_channels + sizes.groups)  # the looked-up embedding; what its gate reads, and itself
        ends = FLOAT32 * 2  # the first layer's stream after its scale is made again
        ends += (b * c + 8) if sizes.pair_rows else 0  # the tokens' own part of it, and the pairs' rows, int64
    else:
        # The stream before its scale, two norms' results, queries, keys, attention's result, relu and its square. And what the
        # four norms read.
        norm = layout.norm_bytes or b
        layer = b * (3 * c + 2 * queries + keys + 2 * m) + norm * (2 * c + queries + keys)
        layer += FLOAT32 * (2 + sizes.heads + sizes.groups)
        # Without a value embedding the values are a view, which keeps queries, keys and values as they were multiplied.
        plain = b * (queries + 2 * keys)
        value = b * (2 * keys + 2 * sizes.groups) - plain  # values with and without the embedding's part; the gate
        layer += plain
        ends = 2 * norm * c + FLOAT32 * 2  # what the first and the last norm read
    per_token = depth * layer + tables * value + ends + 8  # 8: the ids, int64
    return sizes.pass_tokens * per_token + depth * _attention_bytes(sizes, b, layout.attention)


def scoring_bytes(sizes: Sizes, product_bytes: int) -> int:
    """Of the worker and the scorer together: weights, a slot's rows of logits, the slots. On a card with memory of its own the
    slots are in the computer's.

    The logits are eager: once in the products' dtype and, in the soft cap, twice in float32.
    """
    row = sizes.seq_len * sizes.vocab_size
    rows = max(1, SLOT_BYTES // (4 * row))
    tokens = rows * sizes.seq_len
    stream = tokens * product_bytes * (4 * sizes.width + 2 * sizes.mlp_width)
    logits = rows * row * max(product_bytes + FLOAT32, 2 * FLOAT32)
    largest = max(rows * columns for rows, columns in model.matrices(sizes))
    weights = FLOAT32 * model.num_params(sizes) + product_bytes * max(largest, model.head_params(sizes))
    return weights + max(stream, logits) + 2 * SLOTS * 4 * rows * row  # the harness copies both


def _attention_bytes(sizes: Sizes, b: int, attention: str) -> int:
    """Of one layer, besides queries, keys, values and result."""
    sums = FLOAT32 * sizes.pass_tokens * sizes.heads
    if attention not in ("blocks", "xla"):
        return sums
    b = XLA_SCORE_BYTES if attention == "xla" else b
    return sums + b * sizes.rows * sizes.heads * model.scored_keys(sizes, attention) // sizes.depth


def cast_bytes(sizes: Sizes, layout: Layout) -> int:
    """Weights in the products' dtype, kept for the gradients of what they multiply. Of float32 only a joined copy is new."""
    joined = sizes.depth * sizes.width * (sizes.heads * sizes.head_dim + 2 * sizes.key_width)
    return layout.product_bytes * (model.matrix_params(sizes) if layout.product_bytes < FLOAT32 else joined)


def _loss_bytes(sizes: Sizes, layout: Layout) -> int:
    b, head, tokens = layout.product_bytes, model.head_params(sizes), sizes.pass_tokens
    if layout.logits == "whole":
        # The logits, whose place their gradient takes; what lm_head reads; lm_head as multiplied; its gradient.
        return tokens * b * (sizes.vocab_size + sizes.width) + b * head + (b + FLOAT32) * head
    chunk = min(tokens, max(1, LOSS_ELEMENTS // sizes.vocab_size, -(-tokens // LOSS_CHUNKS)))
    element = 2 * b + (0 if layout.compiled else EAGER_LOSS_TEMPORARIES * FLOAT32)
    # The gradient of what lm_head reads; lm_head as multiplied; its gradient, old and new, while a chunk is added.
    return tokens * b * sizes.width + chunk * sizes.vocab_size * element + (b + 2 * FLOAT32) * head

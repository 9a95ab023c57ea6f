"""A small GPT, trained for a fixed time: constants, model, optimizer, training. This file is what the agent edits.

The MLX text of backends/torch/train.py: the same algorithm, constants and names of weights. The device's side (dtype, attention,
loss, compilation) is the backend's `runtime`; tokens and the clock are the harness's. Arrays are lazy: a step is evaluated once.
Shape letters: B rows, T tokens in a row, C model width, H query heads, G key/value heads, D head width, V vocabulary.
"""

import gc
import math
import time

import mlx.core as mx
import runtime
from mlx import nn
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from autoresearch import measure

# ---------------------------------------------------------------------------------------------------------------------
# Constants. The bracket is what a search may choose from. `autoresearch init` writes the profile's values over these.

# Shape
DEPTH = 8  # layers [2..12]
ASPECT_RATIO = 64  # model width per layer; the width is rounded to whole heads [24..128]
HEAD_DIM = 128  # width of an attention head [32, 64, 128]
GQA_RATIO = 1  # query heads that share a key/value head [1, 2, 4]
MLP_RATIO = 4  # MLP width / model width [2..6]
WINDOW_PATTERN = "SSSL"  # windows of the layers, repeated; S short, L full; the last is always full ["L", "SL", "SSL", "SSSL"]
SHORT_WINDOW = 0.5  # tokens that a short window looks back, as a fraction of seq_len [0.0625, 0.125, 0.25, 0.5]
ROPE_BASE = 10_000.0  # longest wavelength of the rotary embedding, in tokens / 2 pi [1000..1000000 log]
ROTARY_SHARE = 0.5  # of a head's channels, those that turn with the position [0.25, 0.5, 0.75, 1]
KEY_OFFSET = 1  # 1: the other channels of a key are those of the token before, so that a layer can look for what came after [0, 1]
SOFTCAP = 15.0  # logits are squashed into (-SOFTCAP, SOFTCAP) [8..30]
GATE_CHANNELS = 32  # channels of the stream that a value embedding's gates read [fixed]
PAIR_ROWS = 32768  # rows of a table that is added to the embedding: a hash of a token and the one before; 0: none [0, 8192, 32768]

# Batch
DEVICE_BATCH_SIZE = 32  # rows in a forward pass; bounded by memory [fixed]
TOTAL_BATCH_SIZE = 2**17  # tokens per optimizer step [1024..524288 log]

# Learning rates: of AdamW at width 768, scaled with 1 / sqrt(width); of Muon at any width
EMBEDDING_LR = 0.6  # token and value embeddings [0.05..2 log]
PAIR_LR = 0.012  # pair table; a row comes seldom, and AdamW's first step is a whole learning rate and more [0.001..0.6 log]
UNEMBEDDING_LR = 0.004  # lm_head [0.0005..0.03 log]
MATRIX_LR = 0.04  # matrices, by Muon [0.005..0.2 log]
SCALAR_LR = 0.5  # x0_lambdas; resid_lambdas have a hundredth of it [0.05..2 log]
ADAM_BETA1 = 0.8  # memory of the mean gradient [0.6..0.95]
ADAM_BETA2 = 0.95  # memory of the mean squared gradient [0.9..0.99]
MUON_MOMENTUM = 0.95  # after its warm-up [0.85..0.98]
MUON_BETA2 = 0.95  # of the variance reduction [0.9..0.99]
WEIGHT_DECAY = 0.2  # of matrices, where it does not fight the step [0..0.6]

# Schedules, over progress: the fraction of the time budget that is used
WARMUP_RATIO = 0.0  # learning rates rise from 0 [0..0.1]
WARMDOWN_RATIO = 0.5  # learning rates fall to FINAL_LR_FRAC at the end [0.2..1]
FINAL_LR_FRAC = 0.0  # of the full learning rate [0..0.2]
MOMENTUM_WARMUP_RATIO = 0.1  # Muon's momentum rises from 0.85 [0..0.5]

# Initial values
INIT_SCALE = 1.0  # of the matrices' standard deviation, which is 1 / sqrt(width) [0.3..1.5]
X0_INIT = 0.1  # share of the token embedding that every layer adds [0..0.3]

# ---------------------------------------------------------------------------------------------------------------------
# Model


def model_width() -> int:
    return max(1, round(ASPECT_RATIO * DEPTH / HEAD_DIM)) * HEAD_DIM


def windows(seq_len: int) -> list[int]:
    """How many earlier tokens each layer sees."""
    short = max(1, round(SHORT_WINDOW * seq_len))
    pattern = [WINDOW_PATTERN[layer % len(WINDOW_PATTERN)] for layer in range(DEPTH)]
    return [short if letter == "S" and layer < DEPTH - 1 else seq_len for layer, letter in enumerate(pattern)]


def has_value_embedding(layer: int) -> bool:
    return layer % 2 == (DEPTH - 1) % 2


def linear(x: mx.array, weight: mx.array) -> mx.array:
    """x @ weight.T in x's dtype; the weight itself stays float32, for the optimizer."""
    return x @ weight.astype(x.dtype).T


def matrix(rows: int, columns: int, scale: float = INIT_SCALE) -> mx.array:
    """Uniform, with a standard deviation of scale / sqrt(columns)."""
    bound = scale * math.sqrt(3 / columns)
    return mx.random.uniform(-bound, bound, (rows, columns))


def heads_first(x: mx.array) -> mx.array:
    """[B, T, H * D] -> [B, H, T, D]"""
    return x.reshape(*x.shape[:2], -1, HEAD_DIM).swapaxes(1, 2)


def rotary_width() -> int:
    """R, how many channels of a head turn: the first ones, in pairs."""
    return 2 * round(ROTARY_SHARE * HEAD_DIM / 2)


def rotate(x: mx.array) -> mx.array:
    """Rotary embedding (arXiv 2104.09864): channel pairs (i, i + R/2) are turned by minus position * frequency. x [B, H, T, D]."""
    return mx.fast.rope(x, rotary_width(), traditional=False, base=ROPE_BASE, scale=-1.0, offset=0)


def offset(k: mx.array) -> mx.array:
    """The channels that do not turn are those of the token before, of k [B, G, T, D], at the first token 0. See torch/train.py."""
    turned, rest = k[..., : rotary_width()], k[..., rotary_width() :]
    return mx.concatenate((turned, mx.pad(rest[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0)))), axis=-1)


class Attention(nn.Module):
    def __init__(self, layer: int, width: int):
        super().__init__()
        heads = width // HEAD_DIM
        groups = max(1, heads // GQA_RATIO)
        assert heads % groups == 0, f"{heads} heads can't share {groups} key/value heads: change GQA_RATIO"
        self.query = matrix(heads * HEAD_DIM, width)
        self.key = matrix(groups * HEAD_DIM, width)
        self.value = matrix(groups * HEAD_DIM, width)
        self.out = mx.zeros((width, heads * HEAD_DIM))
        if has_value_embedding(layer):
            self.gate = mx.zeros((groups, GATE_CHANNELS))

    def __call__(self, x: mx.array, value_embedding: mx.array | None, window: int) -> mx.array:
        """x [B, T, C], value_embedding [B, T, G * D] or None; returns [B, T, C]."""
        parts = (self.query, self.key, self.value)
        mixed = linear(x, mx.concatenate(parts))  # one product for all three
        ends = [len(self.query), len(self.query) + len(self.key)]
        q, k, v = (heads_first(part) for part in mx.split(mixed, ends, axis=-1))
        if value_embedding is not None:
            gate = 2 * mx.sigmoid(linear(x[..., :GATE_CHANNELS], self.gate))  # [B, T, G], 1 at the start
            v = v + gate.swapaxes(1, 2)[..., None] * heads_first(value_embedding)
        q, k = runtime.norm(rotate(q)), runtime.norm(rotate(k))
        k = offset(k) if KEY_OFFSET else k
        mixed = runtime.attention(q, k, v, window)
        return linear(mixed.swapaxes(1, 2).flatten(2), self.out)


class MLP(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.up = matrix(int(MLP_RATIO * width), width)
        self.down = mx.zeros((width, int(MLP_RATIO * width)))

    def __call__(self, x: mx.array) -> mx.array:
        return linear(nn.relu(linear(x, self.up)).square(), self.down)


def pair_rows(ids: mx.array) -> mx.array:
    """The row of the pair table for each token and the one before it: [B, T]. Before the first one there is token 0."""
    ids = ids.astype(mx.uint32)
    before = mx.pad(ids[:, :-1], ((0, 0), (1, 0)))
    return (27191 * ids + 36313 * before) % PAIR_ROWS


class GPT(nn.Module):
    """call: token ids [B, T] -> logits float32 [B, T, V]."""

    def __init__(self, vocab_size: int, seq_len: int):
        super().__init__()
        width = model_width()
        self.windows = tuple(windows(seq_len))  # MLX takes a list for weights
        self.embedding = mx.random.normal((vocab_size, width))
        self.attention = [Attention(layer, width) for layer in range(DEPTH)]
        self.mlp = [MLP(width) for _ in range(DEPTH)]
        key_width = len(self.attention[0].value)
        # {} holds the place of a layer that has none: MLX's trees number the entries of a list.
        self.value_embeddings = [matrix(vocab_size, key_width) if has_value_embedding(layer) else {} for layer in range(DEPTH)]
        if PAIR_ROWS:
            self.pair_embedding = mx.zeros((PAIR_ROWS, width))
        self.resid_lambdas = mx.ones(DEPTH)
        self.x0_lambdas = mx.full(DEPTH, X0_INIT)
        self.lm_head = 0.001 * mx.random.normal((vocab_size, width))

    def hidden(self, ids: mx.array) -> mx.array:
        """What lm_head reads: [B, T, C] in the compute dtype."""
        x = runtime.norm(self.embedding[ids].astype(runtime.dtype))
        if PAIR_ROWS:
            x = x + self.pair_embedding[pair_rows(ids)].astype(x.dtype)
        x0 = x
        resid, skip = self.resid_lambdas.astype(x.dtype), self.x0_lambdas.astype(x.dtype)
        for layer in range(DEPTH):
            value_embedding = self.value_embeddings[layer][ids].astype(x.dtype) if has_value_embedding(layer) else None
            x = resid[layer] * x + skip[layer] * x0
            x = x + self.attention[layer](runtime.norm(x), value_embedding, self.windows[layer])
            x = x + self.mlp[layer](runtime.norm(x))
        return runtime.norm(x)

    def __call__(self, ids: mx.array) -> mx.array:
        return SOFTCAP * mx.tanh(linear(self.hidden(ids), self.lm_head).astype(mx.float32) / SOFTCAP)

    def loss(self, ids: mx.array, targets: mx.array) -> mx.array:
        """Mean cross-entropy in nats; targets [B, T]."""
        return runtime.cross_entropy(self.hidden(ids).flatten(0, 1), self.lm_head, targets.flatten(), SOFTCAP)

    def weights(self) -> dict[str, mx.array]:
        """Every weight by name, as in a checkpoint: attention.0.query."""
        return dict(tree_flatten(self.parameters()))

    def flops_per_token(self, seq_len: int) -> int:
        """Of a training step, as in arXiv 2204.02311 appendix B, but without the products that the causal mask throws away."""
        products = sum(weight.size for name, weight in self.weights().items() if is_matrix(name)) + self.lm_head.size
        keys = sum(sum(min(row, window) + 1 for row in range(seq_len)) / seq_len for window in self.windows)
        return round(6 * products + 12 * len(self.attention[0].query) * keys)


def is_matrix(name: str) -> bool:
    """Whether Muon trains the weight of that name."""
    return name.startswith(("attention.", "mlp."))


def build_model(spec) -> GPT:
    """A model with fresh weights. spec.vocab_size, spec.seq_len: the sizes that the harness has set."""
    model = GPT(spec.vocab_size, spec.seq_len)
    runtime.materialise(model)
    return model


# ---------------------------------------------------------------------------------------------------------------------
# Optimizer

# Coefficients (a, b, c) of the five iterations x <- a x + (b xx' + c (xx')^2) x of Polar Express, arXiv 2505.16932, for singular
# values from 0.001 and with its safety factor.
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def orthogonalise(gradient: mx.array) -> mx.array:
    """The nearest matrices with singular values of (nearly) 1: [n, rows, columns] -> the same shape in the compute dtype."""
    x = gradient / (mx.linalg.norm(gradient, axis=(1, 2), keepdims=True) * 1.02 + 1e-6)
    x = x.astype(runtime.dtype)
    is_tall = x.shape[1] > x.shape[2]
    x = x.swapaxes(1, 2) if is_tall else x
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.swapaxes(1, 2)
        x = mx.addmm(x, mx.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.swapaxes(1, 2) if is_tall else x


def muon_update(weight, gradient, momentum, variance, mu, lr, decay):
    """(new weight, momentum, variance) of n matrices of one shape, float32 [n, rows, columns] each; mu, lr, decay: 0-d arrays.

    Muon (Jordan et al. 2024): Nesterov momentum, orthogonalised. Variance reduction: NorMuon, arXiv 2510.05491. Cautious weight
    decay, arXiv 2510.12402: only where the step already makes the weight smaller.
    """
    momentum = gradient + mu * (momentum - gradient)
    step = orthogonalise(gradient + mu * (momentum - gradient)).astype(mx.float32)
    size = step.square().mean(axis=reduced_axis(weight), keepdims=True)
    variance = size + MUON_BETA2 * (variance - size)
    scale = mx.rsqrt(mx.maximum(variance, 1e-10))
    # The step keeps its length: only its distribution over rows (or columns) changes.
    before, after = size.sum(axis=(1, 2), keepdims=True), (size * scale.square()).sum(axis=(1, 2), keepdims=True)
    step = step * scale * mx.sqrt(before / mx.maximum(after, 1e-10))
    is_shrinking = step * weight > 0
    return weight - lr * (step + decay * is_shrinking * weight), momentum, variance


def reduced_axis(weight: mx.array) -> int:
    """The shorter dimension, over which the variance is taken."""
    return -1 if weight.shape[-2] >= weight.shape[-1] else -2


def adam_update(weight, gradient, mean, variance, step, lr, beta1):
    """(new weight, mean, variance); Adam, arXiv 1412.6980, with both bias corrections; step: 0-d float32, 1 at the first."""
    mean = gradient + beta1 * (mean - gradient)
    variance = ADAM_BETA2 * variance + (1 - ADAM_BETA2) * gradient.square()
    root = mx.sqrt(variance) / mx.sqrt(1 - ADAM_BETA2**step)
    return weight - lr / (1 - beta1**step) * mean / (root + 1e-10), mean, variance


class Optimizer:
    """Muon for the matrices, AdamW for the rest. Neither sees the scale of the gradients, so loss_scale needs no undoing."""

    def __init__(self, model: GPT):
        width_scale = (model.lm_head.shape[1] / 768) ** -0.5
        weights = model.weights()
        self.adam = {  # name: (full learning rate, beta1)
            "lm_head": (UNEMBEDDING_LR * width_scale, ADAM_BETA1),
            "resid_lambdas": (SCALAR_LR * 0.01, ADAM_BETA1),
            "x0_lambdas": (SCALAR_LR, 0.96),
        }
        tables = [name for name in weights if "embedding" in name]
        rates = {name: PAIR_LR if name == "pair_embedding" else EMBEDDING_LR for name in tables}
        self.adam |= {name: (lr * width_scale, ADAM_BETA1) for name, lr in rates.items()}
        shapes = dict.fromkeys(weight.shape for name, weight in weights.items() if is_matrix(name))
        self.stacks = {  # shape: the matrices that are trained as one stack
            shape: [name for name, weight in weights.items() if is_matrix(name) and weight.shape == shape] for shape in shapes
        }
        self.state = {"step": mx.zeros(())}
        for name in self.adam:
            self.state[name] = [mx.zeros_like(weights[name]), mx.zeros_like(weights[name])]
        for shape, names in self.stacks.items():
            stack = mx.zeros((len(names), *shape))
            self.state[str(shape)] = [stack, stack.mean(axis=reduced_axis(stack), keepdims=True)]

    def update(self, model: GPT, gradients: dict, multiplier, mu, decay) -> None:
        """One step of all weights. gradients: a tree as of model.parameters(); multiplier, mu, decay: 0-d float32."""
        weights, gradients, state = model.weights(), dict(tree_flatten(gradients)), self.state
        state["step"] = state["step"] + 1
        for name, (lr, beta1) in self.adam.items():
            numbers = (state["step"], lr * multiplier, beta1)
            weights[name], *state[name] = adam_update(weights[name], gradients[name], *state[name], *numbers)
        for shape, names in self.stacks.items():
            weight, gradient = (mx.stack([tree[name] for name in names]) for tree in (weights, gradients))
            lr = MATRIX_LR * max(1, shape[0] / shape[1]) ** 0.5 * multiplier
            stack, *state[str(shape)] = muon_update(weight, gradient, *state[str(shape)], mu, lr, decay)
            weights |= dict(zip(names, stack, strict=True))
        model.update(tree_unflatten(list(weights.items())))


def lr_multiplier(progress: float) -> float:
    if progress < WARMUP_RATIO:
        return max(progress, 1e-3) / WARMUP_RATIO
    if progress <= 1 - WARMDOWN_RATIO:
        return 1.0
    left = (1 - progress) / WARMDOWN_RATIO
    return left + (1 - left) * FINAL_LR_FRAC


def muon_momentum(progress: float) -> float:
    rise = min(1.0, progress / MOMENTUM_WARMUP_RATIO) if MOMENTUM_WARMUP_RATIO else 1.0
    return 0.85 + (MUON_MOMENTUM - 0.85) * rise


# ---------------------------------------------------------------------------------------------------------------------
# Training


class Trainer:
    """A model, its optimizer, and one step of both."""

    def __init__(self, model: GPT, seq_len: int):
        self.model, self.optimizer = model, Optimizer(model)
        self.rows = max(1, min(DEVICE_BATCH_SIZE, TOTAL_BATCH_SIZE // seq_len))
        self.passes = max(1, round(TOTAL_BATCH_SIZE / (self.rows * seq_len)))  # gradient accumulation
        self.state = [model.state, self.optimizer.state]
        mx.eval(self.state)

        def scaled_loss(inputs, targets):
            return model.loss(inputs, targets) * (runtime.loss_scale / self.passes)

        def update(gradients, *numbers):
            self.optimizer.update(model, gradients, *numbers)

        # value_and_grad puts its own arrays into the model while it traces: so the model is also an output.
        self.backward = runtime.compile(nn.value_and_grad(model, scaled_loss), inputs=model.state, outputs=model.state)
        self.update = runtime.compile(update, inputs=self.state, outputs=self.state)

    def step(self, get_batch, progress: float) -> mx.array:
        """One optimizer step; get_batch(rows) -> (inputs, targets). Returns the mean loss in nats."""
        total, gradients = mx.zeros(()), None
        for _ in range(self.passes):
            inputs, targets = map(mx.array, get_batch(self.rows))
            loss, fresh = self.backward(inputs, targets)
            total = total + loss / runtime.loss_scale
            gradients = tree_map(mx.add, gradients, fresh) if gradients else fresh
            if self.passes > 1:
                mx.eval(total, gradients)  # so that the memory of one pass is enough
        # Numbers go in as arrays: a compiled function is compiled anew for another Python float.
        numbers = (lr_multiplier(progress), muon_momentum(progress), WEIGHT_DECAY * (1 - progress))
        self.update(gradients, *map(mx.array, numbers))
        mx.eval(total, self.state)
        return total

    def warm_up(self, get_batch, steps: int = 2) -> None:
        """Compile everything on stand-in tokens, then put weights and optimizer back as they were."""
        weights = self.model.parameters()
        state = tree_map(lambda array: array, self.optimizer.state)  # other lists: compiled code writes into its own
        for _ in range(steps):
            self.step(get_batch, progress=0.0)
        self.model.update(weights)
        self.optimizer.state.update(state)
        runtime.synchronize()


def main() -> None:
    run = measure.start()
    started = time.perf_counter()
    runtime.seed(run.seed)
    model = build_model(run.spec)
    trainer = Trainer(model, run.spec.seq_len)
    num_params = sum(weight.size for weight in model.weights().values())
    print(f"depth {DEPTH}, width {model_width()}, {num_params / 1e6:.1f} M parameters, {runtime.dtype} on {runtime.device}")
    trainer.warm_up(run.stand_in)
    print(f"ready after {time.perf_counter() - started:.1f} s")
    runtime.seed(run.seed)
    run.describe(depth=DEPTH, num_params=num_params, flops_per_token=model.flops_per_token(run.spec.seq_len))
    run.describe(peak_memory_bytes=runtime.peak_memory_bytes())  # of the two steps: a limit may refuse it now
    gc.freeze()  # nothing here makes cycles: a collection only costs time
    gc.disable()

    for _step in run.steps(save=lambda path: runtime.save_weights(model, path)):
        run.report(loss=float(trainer.step(run.batch, run.progress)))
    run.describe(peak_memory_bytes=runtime.peak_memory_bytes())


if __name__ == "__main__":
    main()

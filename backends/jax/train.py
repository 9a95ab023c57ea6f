"""A small GPT, trained for a fixed time: constants, model, optimizer, training. This file is what the agent edits.

The JAX text of backends/torch/train.py: the same algorithm, constants and names of weights. Weights and optimizer state are
dictionaries of arrays that pure functions take and return; a whole step is one compiled function. The device's side (dtype,
attention, loss) is the backend's `runtime`; tokens and the clock are the harness's.
Shape letters: B rows, T tokens in a row, C model width, H query heads, G key/value heads, D head width, V vocabulary.
"""

import gc
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import runtime

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


def linear(x: jax.Array, weight: jax.Array, out_dtype=None) -> jax.Array:
    """x @ weight.T in x's dtype (or summed up in out_dtype); the weight itself stays float32, for the optimizer."""
    return jnp.matmul(x, weight.astype(x.dtype).T, preferred_element_type=out_dtype)


def initial_weights(vocab_size: int, key: jax.Array) -> dict[str, jax.Array]:
    """Every weight by name, as in a checkpoint ("attention.0.query"): float32, on the device."""
    width = model_width()
    heads = width // HEAD_DIM
    groups = max(1, heads // GQA_RATIO)
    assert heads % groups == 0, f"{heads} heads can't share {groups} key/value heads: change GQA_RATIO"
    keys = iter(jax.random.split(key, 2 + 5 * DEPTH))

    def matrix(rows: int, columns: int) -> jax.Array:
        """Uniform, with a standard deviation of INIT_SCALE / sqrt(columns)."""
        bound = INIT_SCALE * math.sqrt(3 / columns)
        return jax.random.uniform(next(keys), (rows, columns), minval=-bound, maxval=bound)

    weights = {
        "embedding": jax.random.normal(next(keys), (vocab_size, width)),
        "resid_lambdas": jnp.ones(DEPTH),
        "x0_lambdas": jnp.full(DEPTH, X0_INIT, jnp.float32),  # without a type it is a weak one, and a step compiled twice
        "lm_head": 0.001 * jax.random.normal(next(keys), (vocab_size, width)),
    }
    if PAIR_ROWS:
        weights["pair_embedding"] = jnp.zeros((PAIR_ROWS, width))
    for layer in range(DEPTH):
        weights |= {
            f"attention.{layer}.query": matrix(heads * HEAD_DIM, width),
            f"attention.{layer}.key": matrix(groups * HEAD_DIM, width),
            f"attention.{layer}.value": matrix(groups * HEAD_DIM, width),
            f"attention.{layer}.out": jnp.zeros((width, heads * HEAD_DIM)),
            f"mlp.{layer}.up": matrix(int(MLP_RATIO * width), width),
            f"mlp.{layer}.down": jnp.zeros((width, int(MLP_RATIO * width))),
        }
        if has_value_embedding(layer):
            weights[f"attention.{layer}.gate"] = jnp.zeros((groups, GATE_CHANNELS))
            weights[f"value_embeddings.{layer}"] = matrix(vocab_size, groups * HEAD_DIM)
    return weights


def rotary_width() -> int:
    """R, how many channels of a head turn: the first ones, in pairs."""
    return 2 * round(ROTARY_SHARE * HEAD_DIM / 2)


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotary embedding (arXiv 2104.09864): channel pairs (i, i + R/2) are turned by minus position * frequency. x [B, T, H, D]."""
    first, second, rest = jnp.split(x, (cos.shape[-1], 2 * cos.shape[-1]), axis=-1)
    return jnp.concatenate((first * cos + second * sin, second * cos - first * sin, rest), axis=-1)


def offset(k: jax.Array) -> jax.Array:
    """The channels that do not turn are those of the token before, of k [B, T, G, D], at the first token 0. See torch/train.py."""
    turned, rest = jnp.split(k, (rotary_width(),), axis=-1)
    return jnp.concatenate((turned, jnp.pad(rest[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))), axis=-1)


def split_heads(x: jax.Array) -> jax.Array:
    """[B, T, H * D] -> [B, T, H, D]"""
    return x.reshape(*x.shape[:2], -1, HEAD_DIM)


def attention(part: dict, x: jax.Array, value_embedding: jax.Array | None, cos, sin, window: int) -> jax.Array:
    """part: the layer's weights by their last name; x [B, T, C], value_embedding [B, T, G * D] or None; returns [B, T, C]."""
    parts = (part["query"], part["key"], part["value"])
    mixed = linear(x, jnp.concatenate(parts))  # one product for all three
    ends = [len(parts[0]), len(parts[0]) + len(parts[1])]
    q, k, v = map(split_heads, jnp.split(mixed, ends, axis=-1))
    if value_embedding is not None:
        gate = 2 * jax.nn.sigmoid(linear(x[..., :GATE_CHANNELS], part["gate"]))  # [B, T, G], 1 at the start
        v = v + gate[..., None] * split_heads(value_embedding)
    q, k = runtime.norm(rotate(q, cos, sin)), runtime.norm(rotate(k, cos, sin))
    k = offset(k) if KEY_OFFSET else k
    mixed = runtime.attention(q, k, v, window)
    return linear(mixed.reshape(*x.shape[:2], -1), part["out"])


def mlp(part: dict, x: jax.Array) -> jax.Array:
    return linear(jnp.square(jax.nn.relu(linear(x, part["up"]))), part["down"])


def pair_rows(ids: jax.Array) -> jax.Array:
    """The row of the pair table for each token and the one before it: [B, T]. Before the first one there is token 0."""
    ids = ids.astype(jnp.uint32)
    before = jnp.pad(ids[:, :-1], ((0, 0), (1, 0)))
    return (27191 * ids + 36313 * before) % PAIR_ROWS


class GPT:
    """call: token ids [B, T] -> logits float32 [B, T, V]. `weights` is replaced as a whole by training and by loading."""

    def __init__(self, vocab_size: int, seq_len: int, key: jax.Array):
        self.windows = windows(seq_len)
        self.weights = initial_weights(vocab_size, key)
        self._compiled = jax.jit(self.logits)

    def __call__(self, ids: jax.Array) -> jax.Array:
        return self._compiled(self.weights, ids)

    def hidden(self, weights: dict, ids: jax.Array) -> jax.Array:
        """What lm_head reads: [B, T, C] in the compute dtype."""
        frequency = ROPE_BASE ** -(np.arange(0, rotary_width(), 2) / rotary_width())
        angle = np.outer(np.arange(ids.shape[1]), frequency)[:, None]  # [T, 1, R / 2]
        cos, sin = (jnp.asarray(table, runtime.dtype) for table in (np.cos(angle), np.sin(angle)))
        x = runtime.norm(weights["embedding"][ids].astype(runtime.dtype))
        if PAIR_ROWS:
            x = x + weights["pair_embedding"][pair_rows(ids)].astype(x.dtype)
        x0 = x
        resid, skip = weights["resid_lambdas"], weights["x0_lambdas"]
        for layer, window in enumerate(self.windows):
            value_embedding = None
            if has_value_embedding(layer):
                value_embedding = weights[f"value_embeddings.{layer}"][ids].astype(x.dtype)
            # In float32, and so is the sum over all tokens that is these numbers' gradient: XLA would take it in x's dtype.
            x = (resid[layer] * x + skip[layer] * x0).astype(runtime.dtype)
            x = x + attention(below(weights, f"attention.{layer}."), runtime.norm(x), value_embedding, cos, sin, window)
            x = x + mlp(below(weights, f"mlp.{layer}."), runtime.norm(x))
        return runtime.norm(x)

    def logits(self, weights: dict, ids: jax.Array) -> jax.Array:
        return SOFTCAP * jnp.tanh(linear(self.hidden(weights, ids), weights["lm_head"], jnp.float32) / SOFTCAP)

    def loss(self, weights: dict, ids: jax.Array, targets: jax.Array) -> jax.Array:
        """Mean cross-entropy in nats; targets [B, T]."""
        hidden = self.hidden(weights, ids)
        return runtime.cross_entropy(hidden.reshape(-1, hidden.shape[-1]), weights["lm_head"], targets.reshape(-1), SOFTCAP)

    def flops_per_token(self, seq_len: int) -> int:
        """Of a training step, as in arXiv 2204.02311 appendix B, but without the products that the causal mask throws away."""
        products = sum(weight.size for name, weight in self.weights.items() if is_matrix(name)) + self.weights["lm_head"].size
        keys = sum(sum(min(row, window) + 1 for row in range(seq_len)) / seq_len for window in self.windows)
        return round(6 * products + 12 * len(self.weights["attention.0.query"]) * keys)


def below(weights: dict, prefix: str) -> dict:
    """The weights whose names start with the prefix, by the rest of their names."""
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def is_matrix(name: str) -> bool:
    """Whether Muon trains the weight of that name."""
    return name.startswith(("attention.", "mlp."))


def build_model(spec, seed: int = 0) -> GPT:
    """A model with fresh weights, on the device. spec.vocab_size, spec.seq_len: the sizes that the harness has set."""
    return GPT(spec.vocab_size, spec.seq_len, jax.random.key(seed))


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
ADAM_EPS = 1e-10


def orthogonalise(gradient: jax.Array) -> jax.Array:
    """The nearest matrices with singular values of (nearly) 1: [n, rows, columns] -> the same shape in the runtime's choice."""
    x = gradient / (jnp.linalg.norm(gradient, axis=(1, 2), keepdims=True) * 1.02 + 1e-6)
    x = x.astype(runtime.muon_dtype)
    is_tall = x.shape[1] > x.shape[2]
    x = x.mT if is_tall else x
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if is_tall else x


def muon_update(weight, gradient, momentum, variance, mu, lr, decay):
    """(new weight, momentum, variance) of n matrices of one shape, float32 [n, rows, columns] each; mu, lr, decay: 0-d arrays.

    Muon (Jordan et al. 2024): Nesterov momentum, orthogonalised. Variance reduction: NorMuon, arXiv 2510.05491. Cautious weight
    decay, arXiv 2510.12402: only where the step already makes the weight smaller.
    """
    momentum = gradient + mu * (momentum - gradient)
    step = orthogonalise(gradient + mu * (momentum - gradient)).astype(jnp.float32)
    size = jnp.square(step).mean(axis=reduced_axis(weight), keepdims=True)
    variance = size + MUON_BETA2 * (variance - size)
    scale = jax.lax.rsqrt(jnp.maximum(variance, 1e-10))
    # The step keeps its length: only its distribution over rows (or columns) changes.
    before, after = (total.sum(axis=(1, 2), keepdims=True) for total in (size, size * jnp.square(scale)))
    step = step * scale * jnp.sqrt(before / jnp.maximum(after, 1e-10))
    is_shrinking = step * weight > 0
    return weight - lr * (step + decay * is_shrinking * weight), momentum, variance


def reduced_axis(weight: jax.Array) -> int:
    """The shorter dimension, over which the variance is taken."""
    return -1 if weight.shape[-2] >= weight.shape[-1] else -2


def adam_update(weight, gradient, mean, variance, step, lr, beta1):
    """(new weight, mean, variance); Adam, arXiv 1412.6980, with both bias corrections; step: 0-d float32, 1 at the first."""
    mean = gradient + beta1 * (mean - gradient)
    variance = ADAM_BETA2 * variance + (1 - ADAM_BETA2) * jnp.square(gradient)
    root = jnp.sqrt(variance) / jnp.sqrt(1 - ADAM_BETA2**step)
    return weight - lr / (1 - beta1**step) * mean / (root + ADAM_EPS), mean, variance


def adam_settings(weights: dict) -> dict[str, tuple[float, float]]:
    """(full learning rate, beta1) of each weight that AdamW trains."""
    width_scale = (weights["lm_head"].shape[1] / 768) ** -0.5
    rates = {name: PAIR_LR if name == "pair_embedding" else EMBEDDING_LR for name in weights if "embedding" in name}
    settings = {name: (lr * width_scale, ADAM_BETA1) for name, lr in rates.items()}
    return settings | {
        "lm_head": (UNEMBEDDING_LR * width_scale, ADAM_BETA1),
        "resid_lambdas": (SCALAR_LR * 0.01, ADAM_BETA1),
        "x0_lambdas": (SCALAR_LR, 0.96),
    }


def stacks(weights: dict) -> dict[tuple[int, int], list[str]]:
    """The matrices that Muon trains as one stack, by their shape."""
    found = {}
    for name, weight in weights.items():
        if is_matrix(name):
            found.setdefault(weight.shape, []).append(name)
    return found


def initial_state(weights: dict) -> dict:
    """The optimizer's memory before the first step."""
    state = {"step": jnp.zeros(()), "adam": {}, "muon": {}}
    for name in adam_settings(weights):
        state["adam"][name] = (jnp.zeros_like(weights[name]), jnp.zeros_like(weights[name]))
    for shape, names in stacks(weights).items():
        stack = jnp.zeros((len(names), *shape))
        state["muon"][shape] = (stack, stack.mean(axis=reduced_axis(stack), keepdims=True))
    return state


def update(weights: dict, gradients: dict, state: dict, multiplier, mu, decay) -> tuple[dict, dict]:
    """(weights, state) after a step: Muon for the matrices, AdamW for the rest. multiplier, mu, decay: 0-d arrays.

    Neither sees the scale of the gradients, so loss_scale needs no undoing.
    """
    step, weights = state["step"] + 1, dict(weights)
    fresh = {"step": step, "adam": {}, "muon": {}}
    for name, (lr, beta1) in adam_settings(weights).items():
        memory = state["adam"][name]
        weights[name], *memory = adam_update(weights[name], gradients[name], *memory, step, lr * multiplier, beta1)
        fresh["adam"][name] = tuple(memory)
    for shape, names in stacks(weights).items():
        weight, gradient = (jnp.stack([tree[name] for name in names]) for tree in (weights, gradients))
        lr = MATRIX_LR * max(1, shape[0] / shape[1]) ** 0.5 * multiplier
        stack, *memory = muon_update(weight, gradient, *state["muon"][shape], mu, lr, decay)
        weights |= dict(zip(names, stack, strict=True))
        fresh["muon"][shape] = tuple(memory)
    return weights, fresh


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
    """A model, its optimizer's state, and one step of both."""

    def __init__(self, model: GPT, seq_len: int):
        self.model, self.state = model, initial_state(model.weights)
        self.rows = max(1, min(DEVICE_BATCH_SIZE, TOTAL_BATCH_SIZE // seq_len))
        self.passes = max(1, round(TOTAL_BATCH_SIZE / (self.rows * seq_len)))  # gradient accumulation
        self._compiled = jax.jit(self._step, donate_argnums=(0, 1))  # the new weights and state take the memory of the old

    def step(self, get_batch, progress: float) -> jax.Array:
        """One optimizer step; get_batch(rows) -> (inputs, targets). Returns the mean loss in nats, still on the device."""
        inputs, targets = map(np.stack, zip(*(get_batch(self.rows) for _ in range(self.passes)), strict=True))
        # jit makes arrays of these numbers: another value compiles nothing anew.
        numbers = (lr_multiplier(progress), muon_momentum(progress), WEIGHT_DECAY * (1 - progress))
        self.model.weights, self.state, loss = self._compiled(self.model.weights, self.state, inputs, targets, *numbers)
        return loss

    def warm_up(self, get_batch, steps: int = 2) -> None:
        """Compile everything on stand-in tokens, then put weights and optimizer back as they were."""
        before = jax.tree.map(jnp.copy, self.model.weights)  # a step gives the memory of its arguments away
        for _ in range(steps):
            self.step(get_batch, progress=0.0)
        self.model.weights, self.state = before, initial_state(before)
        jax.block_until_ready((self.model.weights, self.state))

    def _step(self, weights: dict, state: dict, inputs, targets, multiplier, mu, decay):
        """(weights, state, mean loss); inputs, targets int32 [passes, rows, T]."""

        def scaled_loss(weights, inputs, targets):
            return self.model.loss(weights, inputs, targets) * (runtime.loss_scale / self.passes)

        def add_a_pass(total, batch):
            return jax.tree.map(jnp.add, total, jax.value_and_grad(scaled_loss)(weights, *batch)), None

        nothing = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, weights))
        (loss, gradients), _ = jax.lax.scan(add_a_pass, nothing, (inputs, targets))
        return *update(weights, gradients, state, multiplier, mu, decay), loss / runtime.loss_scale


def main() -> None:
    run = measure.start()
    started = time.perf_counter()
    model = build_model(run.spec, run.seed)
    trainer = Trainer(model, run.spec.seq_len)
    num_params = sum(weight.size for weight in model.weights.values())
    print(f"depth {DEPTH}, width {model_width()}, {num_params / 1e6:.1f} M parameters, {runtime.dtype} on {runtime.device_name}")
    trainer.warm_up(run.stand_in)
    print(f"ready after {time.perf_counter() - started:.1f} s")
    run.describe(depth=DEPTH, num_params=num_params, flops_per_token=model.flops_per_token(run.spec.seq_len))
    run.describe(peak_memory_bytes=runtime.peak_memory_bytes())  # of the two steps: a limit may refuse it now
    gc.freeze()  # nothing here makes cycles: a collection only costs time
    gc.disable()

    for _step in run.steps(save=lambda path: runtime.save_weights(model, path)):
        run.report(loss=float(trainer.step(run.batch, run.progress)))
    run.describe(peak_memory_bytes=runtime.peak_memory_bytes())


if __name__ == "__main__":
    main()

"""A small GPT, trained for a fixed time: constants, model, optimizer, training. This file is what the agent edits.

The device's side (dtype, attention, loss, compilation) is the backend's `runtime`; tokens and the clock are the harness's.
Shape letters: B rows, T tokens in a row, C model width, H query heads, G key/value heads, D head width, V vocabulary.
"""

import gc
import math
import time
from collections import deque

import numpy as np
import runtime
import torch
import torch.nn.functional as F
from torch import nn

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


def norm(x):
    return F.rms_norm(x, (x.size(-1),))


def linear(x, weight):
    """x @ weight.T in x's dtype; the weight itself stays float32, for the optimizer."""
    return F.linear(x, weight.to(x.dtype))


def matrix(rows: int, columns: int, scale: float = INIT_SCALE) -> nn.Parameter:
    """Uniform, with a standard deviation of scale / sqrt(columns)."""
    bound = scale * math.sqrt(3 / columns)
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))


def rotary_width() -> int:
    """R, how many channels of a head turn: the first ones, in pairs."""
    return 2 * round(ROTARY_SHARE * HEAD_DIM / 2)


def rotate(x, cos, sin):
    """Rotary embedding (arXiv 2104.09864): channel pairs (i, i + R/2) are turned by minus position * frequency. x [B, T, H, D]."""
    first, second, rest = x.split((cos.size(-1), cos.size(-1), x.size(-1) - 2 * cos.size(-1)), dim=-1)
    return torch.cat((first * cos + second * sin, second * cos - first * sin, rest), dim=-1)


def offset(k):
    """The channels that do not turn are those of the token before: of x [B, T, G, D] at the first token 0.

    Modded-nanogpt's partial key offset (KellerJordan/modded-nanogpt#169): a query that looks for its own token finds the one after
    the last time that it came, in one layer where it else takes two (arXiv 2209.11895).
    """
    turned, rest = k.split((rotary_width(), HEAD_DIM - rotary_width()), dim=-1)
    return torch.cat((turned, F.pad(rest[:, :-1], (0, 0, 0, 0, 1, 0))), dim=-1)


class Attention(nn.Module):
    def __init__(self, layer: int, width: int):
        super().__init__()
        heads = width // HEAD_DIM
        groups = max(1, heads // GQA_RATIO)
        assert heads % groups == 0, f"{heads} heads can't share {groups} key/value heads: change GQA_RATIO"
        self.query = matrix(heads * HEAD_DIM, width)
        self.key = matrix(groups * HEAD_DIM, width)
        self.value = matrix(groups * HEAD_DIM, width)
        self.out = nn.Parameter(torch.zeros(width, heads * HEAD_DIM))
        self.gate = nn.Parameter(torch.zeros(groups, GATE_CHANNELS)) if has_value_embedding(layer) else None

    def forward(self, x, value_embedding, cos, sin, window: int):
        """x [B, T, C], value_embedding [B, T, G * D] or None; returns [B, T, C]."""
        parts = (self.query, self.key, self.value)
        mixed = linear(x, torch.cat(parts))  # one product for all three
        q, k, v = (y.unflatten(-1, (-1, HEAD_DIM)) for y in mixed.split([part.size(0) for part in parts], dim=-1))
        if value_embedding is not None:
            gate = 2 * torch.sigmoid(linear(x[..., :GATE_CHANNELS], self.gate))  # [B, T, G], 1 at the start
            v = v + gate.unsqueeze(-1) * value_embedding.unflatten(-1, (-1, HEAD_DIM))
        q, k = norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))
        k = offset(k) if KEY_OFFSET else k
        return linear(runtime.attention(q, k, v, window).flatten(2), self.out)


class MLP(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.up = matrix(int(MLP_RATIO * width), width)
        self.down = nn.Parameter(torch.zeros(width, int(MLP_RATIO * width)))

    def forward(self, x):
        return linear(F.relu(linear(x, self.up)).square(), self.down)


def pair_rows(ids):
    """The row of the pair table for each token and the one before it: [B, T]. Before the first one there is token 0."""
    before = F.pad(ids[:, :-1], (1, 0))
    return (27191 * ids + 36313 * before) % PAIR_ROWS


class GPT(nn.Module):
    """forward: token ids int64 [B, T] -> logits float32 [B, T, V]."""

    def __init__(self, vocab_size: int, seq_len: int):
        super().__init__()
        width = model_width()
        self.windows = windows(seq_len)
        self.embedding = nn.Parameter(torch.randn(vocab_size, width))
        self.attention = nn.ModuleList(Attention(layer, width) for layer in range(DEPTH))
        self.mlp = nn.ModuleList(MLP(width) for _ in range(DEPTH))
        key_width = self.attention[0].value.size(0)
        layers = [str(layer) for layer in range(DEPTH) if has_value_embedding(layer)]
        self.value_embeddings = nn.ParameterDict({layer: matrix(vocab_size, key_width) for layer in layers})
        self.pair_embedding = nn.Parameter(torch.zeros(PAIR_ROWS, width)) if PAIR_ROWS else None
        self.resid_lambdas = nn.Parameter(torch.ones(DEPTH))
        self.x0_lambdas = nn.Parameter(torch.full((DEPTH,), X0_INIT))
        self.lm_head = nn.Parameter(0.001 * torch.randn(vocab_size, width))
        frequency = ROPE_BASE ** -(torch.arange(0, rotary_width(), 2) / rotary_width())
        angle = torch.outer(torch.arange(seq_len), frequency)[:, None]  # [T, 1, R / 2]
        self.register_buffer("cos", angle.cos().to(runtime.dtype), persistent=False)
        self.register_buffer("sin", angle.sin().to(runtime.dtype), persistent=False)

    def hidden(self, ids):
        """What lm_head reads: [B, T, C] in the compute dtype."""
        cos, sin = self.cos[: ids.size(1)], self.sin[: ids.size(1)]
        x = norm(runtime.embedding(ids, self.embedding).to(runtime.dtype))
        if PAIR_ROWS:
            x = x + runtime.embedding(pair_rows(ids), self.pair_embedding).to(x.dtype)
        x0 = x
        for layer in range(DEPTH):
            value_embedding = None
            if has_value_embedding(layer):
                value_embedding = runtime.embedding(ids, self.value_embeddings[str(layer)]).to(x.dtype)
            resid, skip = self.resid_lambdas[layer].to(x.dtype), self.x0_lambdas[layer].to(x.dtype)
            x = resid * x + skip * x0
            x = x + self.attention[layer](norm(x), value_embedding, cos, sin, self.windows[layer])
            x = x + self.mlp[layer](norm(x))
        return norm(x)

    def forward(self, ids):
        return SOFTCAP * torch.tanh(linear(self.hidden(ids), self.lm_head).float() / SOFTCAP)

    def loss(self, ids, targets):
        """Mean cross-entropy in nats; targets int64 [B, T]."""
        return runtime.cross_entropy(self.hidden(ids).flatten(0, 1), self.lm_head, targets.flatten(), SOFTCAP)

    def matrices(self) -> list[nn.Parameter]:
        """What Muon trains."""
        return [*self.attention.parameters(), *self.mlp.parameters()]

    def flops_per_token(self, seq_len: int) -> int:
        """Of a training step, as in arXiv 2204.02311 appendix B, but without the products that the causal mask throws away."""
        products = sum(weight.numel() for weight in self.matrices()) + self.lm_head.numel()
        keys = sum(sum(min(row, window) + 1 for row in range(seq_len)) / seq_len for window in self.windows)
        return round(6 * products + 12 * self.attention[0].query.size(0) * keys)


def build_model(spec) -> GPT:
    """A model with fresh weights, on the device. spec.vocab_size, spec.seq_len: the sizes that the harness has set."""
    return GPT(spec.vocab_size, spec.seq_len).to(runtime.device)


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


def orthogonalise(gradient):
    """The nearest matrices with singular values of (nearly) 1: [n, rows, columns] -> the same shape in the runtime's choice."""
    x = gradient / (gradient.norm(dim=(1, 2), keepdim=True) * 1.02 + 1e-6)
    x = x.to(runtime.muon_dtype(runtime.dtype))
    is_tall = x.size(1) > x.size(2)
    x = x.mT.contiguous() if is_tall else x
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


def muon_update(weight, gradient, momentum, variance, mu, lr, decay):
    """(new weight, momentum, variance) of n matrices of one shape, float32 [n, rows, columns] each; mu, lr, decay: 0-d tensors.

    Muon (Jordan et al. 2024): Nesterov momentum, orthogonalised. Variance reduction: NorMuon, arXiv 2510.05491. Cautious weight
    decay, arXiv 2510.12402: only where the step already makes the weight smaller.
    """
    momentum = torch.lerp(gradient, momentum, mu)
    step = orthogonalise(torch.lerp(gradient, momentum, mu)).float()
    size = step.square().mean(dim=reduced_dim(weight), keepdim=True)
    variance = torch.lerp(size, variance, MUON_BETA2)
    scale = torch.rsqrt(variance.clamp_min(1e-10))
    # The step keeps its length: only its distribution over rows (or columns) changes.
    before, after = size.sum(dim=(1, 2), keepdim=True), (size * scale.square()).sum(dim=(1, 2), keepdim=True)
    step = step * scale * torch.sqrt(before / after.clamp_min(1e-10))
    is_shrinking = (step * weight > 0).to(weight.dtype)
    return weight - lr * (step + decay * is_shrinking * weight), momentum, variance


def reduced_dim(weight) -> int:
    """The shorter dimension, over which the variance is taken."""
    return -1 if weight.size(-2) >= weight.size(-1) else -2


class Optimizer:
    """Muon for the matrices, AdamW for the rest."""

    def __init__(self, model: GPT):
        width_scale = (model.lm_head.size(1) / 768) ** -0.5
        tables = [model.embedding, *model.value_embeddings.values()]
        groups = [
            (EMBEDDING_LR * width_scale, ADAM_BETA1, tables),
            (UNEMBEDDING_LR * width_scale, ADAM_BETA1, [model.lm_head]),
            (SCALAR_LR * 0.01, ADAM_BETA1, [model.resid_lambdas]),
            (SCALAR_LR, 0.96, [model.x0_lambdas]),
            *([(PAIR_LR * width_scale, ADAM_BETA1, [model.pair_embedding])] if PAIR_ROWS else []),
        ]
        groups = [{"params": params, "lr": lr, "betas": (beta1, ADAM_BETA2)} for lr, beta1, params in groups]
        self.adam = torch.optim.AdamW(groups, eps=1e-10, weight_decay=0.0, fused=True)
        self.full_lr = [group["lr"] for group in groups]
        self.update = runtime.compile(muon_update)
        self.stacks = []  # [weights of one shape, their momentum, their variance, the step's numbers as 0-d tensors]
        for shape in dict.fromkeys(weight.shape for weight in model.matrices()):
            weights = [weight for weight in model.matrices() if weight.shape == shape]
            stack = torch.stack([weight.detach() for weight in weights])
            momentum, variance = torch.zeros_like(stack), torch.zeros_like(stack.mean(dim=reduced_dim(stack), keepdim=True))
            self.stacks.append([weights, momentum, variance, [momentum.new_zeros(()) for _ in range(3)]])

    def reset(self) -> None:
        """Forget all steps so far; what is compiled stays."""
        self.adam.state.clear()
        for _, momentum, variance, _ in self.stacks:
            momentum.zero_()
            variance.zero_()

    @torch.no_grad()
    def step(self, progress: float, left_out: torch.Tensor | None = None) -> None:
        """left_out: 1. where the step changes nothing, else 0.; on the device, which is not waited for."""
        multiplier = lr_multiplier(progress)
        for group, lr in zip(self.adam.param_groups, self.full_lr, strict=True):
            group["lr"] = lr * multiplier
        self.adam.found_inf = left_out  # read by its fused kernel
        self.adam.step()
        mu = muon_momentum(progress)
        for stack in self.stacks:
            weights, momentum, variance, numbers = stack
            rows, columns = weights[0].shape
            lr = MATRIX_LR * multiplier * max(1, rows / columns) ** 0.5
            # Numbers go in as tensors: a compiled function is compiled anew for another Python float. Filled, not made: that would
            # wait for the device.
            for tensor, number in zip(numbers, (mu, lr, WEIGHT_DECAY * (1 - progress)), strict=True):
                tensor.fill_(number)
            weight = torch.stack(weights)
            gradient = torch.stack([weight.grad for weight in weights])
            before, after = (weight, momentum, variance), self.update(weight, gradient, momentum, variance, *numbers)
            if left_out is not None:
                after = [torch.where(left_out > 0, *pair) for pair in zip(before, after, strict=True)]
            weight, stack[1], stack[2] = after
            torch._foreach_copy_(weights, list(weight.unbind(0)))


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
    """A model, its optimizer, and one step of both.

    A device that is full gets the step again in smaller portions: at most half the rows, in as many more passes. In float16 the
    loss is scaled; a step whose gradients are not finite is left out at half the scale, which grows back (arXiv 1710.03740). All of
    that stays on the device: nothing waits to hear whether they are.
    """

    SCALE_GROWS_AFTER = 200  # steps in a row with finite gradients; chosen for runs of a few hundred to some thousand steps

    def __init__(self, model: GPT, seq_len: int):
        self.model, self.optimizer = model, Optimizer(model)
        self.rows = max(1, min(DEVICE_BATCH_SIZE, TOTAL_BATCH_SIZE // seq_len))
        self.passes = max(1, round(TOTAL_BATCH_SIZE / (self.rows * seq_len)))  # gradient accumulation
        self.loss = runtime.compile(model.loss)
        self.loss_scale, self.finite_steps = (torch.zeros((), device=runtime.device) for _ in range(2))
        self._reset_scale()
        self.started_at: float | None = None
        self.step_seconds: deque[float] = deque(maxlen=20)

    def step(self, get_batch, progress: float) -> torch.Tensor:
        """One optimizer step; get_batch(rows) -> (inputs, targets). Returns the mean loss in nats, still on the device."""
        now = time.perf_counter()
        if self.started_at is not None:
            self.step_seconds.append(now - self.started_at)
        self.started_at = now
        runtime.check_pace(tuple(self.step_seconds))
        batch = Rereadable(get_batch)
        while (total := self._gradients(batch)) is None:
            self._take_smaller_portions()
            batch.position = 0
        self.optimizer.step(progress, None if runtime.loss_scale == 1 else self._unscale())
        self._forget_gradients()
        return total

    def warm_up(self, get_batch, steps: int = 2) -> None:
        """Compile everything on stand-in tokens, then put weights and optimizer back as they were. What stays is what was learned
        of the device: the number of rows.
        """
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        for _ in range(steps):
            self.step(get_batch, progress=0.0)
        self.model.load_state_dict(before)
        self.optimizer.reset()
        self._reset_scale()
        self.started_at = None
        self.step_seconds.clear()
        runtime.synchronize()

    def _gradients(self, batch: "Rereadable") -> torch.Tensor | None:
        """Add up the gradients of all passes and return the mean loss; None when the device is full and fewer rows can be tried."""
        total = torch.zeros((), device=runtime.device)
        try:
            for _ in range(self.passes):
                inputs, targets = map(runtime.to_device, batch.take(self.rows))
                loss = self.loss(inputs, targets) / self.passes
                (loss * self.loss_scale).backward()
                total += loss.detach()
        except RuntimeError as error:
            if self.rows == 1 or not runtime.is_out_of_memory(error):
                raise
            return None  # and not handled here: the error keeps the failed pass's tensors alive
        return total

    def _take_smaller_portions(self) -> None:
        self._forget_gradients()
        runtime.forget_memory()
        rows = self.rows * self.passes
        self.rows = next(count for count in range(self.rows // 2, 0, -1) if rows % count == 0)
        self.passes = rows // self.rows
        print(f"out of memory: {self.rows} rows in {self.passes} passes from here on, the same {rows} a step", flush=True)

    def _reset_scale(self) -> None:
        self.loss_scale.fill_(runtime.loss_scale)
        self.finite_steps.zero_()

    def _unscale(self) -> torch.Tensor:
        """Take the scale out of the gradients, and let it follow them. 1. where one of them is not finite: then all are 0; else 0.

        Zeros, since Metal's AdamW takes no found_inf before PyTorch 2.14 (pytorch/pytorch#186360): there its momentum moves on.
        """
        gradients = [parameter.grad for parameter in self.model.parameters()]
        torch._foreach_div_(gradients, self.loss_scale)
        overflows = ~torch.stack(torch._foreach_norm(gradients)).isfinite().all()
        for gradient in gradients:
            gradient.masked_fill_(overflows, 0)
        left_out = overflows.float()
        self.finite_steps.add_(1).mul_(1 - left_out)
        grows = (self.finite_steps % self.SCALE_GROWS_AFTER == 0) & ~overflows
        self.loss_scale.mul_(1 + grows.float() - left_out / 2).clamp_(min=1)
        return left_out

    def _forget_gradients(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = None


class Rereadable:
    """Rows of get_batch, one after the other, in portions of any size; position 0 starts again with the same rows."""

    def __init__(self, get_batch):
        self.get_batch, self.position = get_batch, 0
        self.drawn: list[tuple[np.ndarray, np.ndarray]] = []  # (inputs, targets) of each row, [T]

    def take(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """(inputs, targets) of the next rows, int32 [rows, T] each."""
        end = self.position + rows
        if end > len(self.drawn):
            self.drawn += zip(*self.get_batch(end - len(self.drawn)), strict=True)
        inputs, targets = zip(*self.drawn[self.position : end], strict=True)
        self.position = end
        return np.stack(inputs), np.stack(targets)


def main() -> None:
    run = measure.start()
    started = time.perf_counter()
    runtime.seed(run.seed)
    model = build_model(run.spec)
    trainer = Trainer(model, run.spec.seq_len)
    num_params = sum(parameter.numel() for parameter in model.parameters())
    print(f"depth {DEPTH}, width {model_width()}, {num_params / 1e6:.1f} M parameters, {runtime.dtype} on {runtime.device}")
    trainer.warm_up(run.stand_in)
    print(f"ready after {time.perf_counter() - started:.1f} s")
    runtime.seed(run.seed)
    run.describe(depth=DEPTH, num_params=num_params, flops_per_token=model.flops_per_token(run.spec.seq_len))
    run.describe(peak_memory_bytes=runtime.peak_memory_bytes())  # of the two steps: a limit may refuse it now
    gc.freeze()  # nothing here makes cycles: a collection only costs time
    gc.disable()

    read = None
    for _step in run.steps(save=lambda path: runtime.save_weights(model, path), ahead=runtime.steps_ahead):
        read_before, read = read, runtime.read_later(trainer.step(run.batch, run.progress))
        if read_before:  # the loss of the step before: the device has this one to do meanwhile
            run.report(loss=read_before())
    if read:
        run.report(loss=read())
    run.describe(peak_memory_bytes=runtime.peak_memory_bytes())


if __name__ == "__main__":
    main()

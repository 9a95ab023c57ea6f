"""What every torch device shares. A device's own runtime.py imports these names, and replaces the ones it does better.

The module `runtime` that train.py and the score worker see must have all of these:

    device, dtype            torch.device; what matrix products run in. Weights, optimizer state and losses stay in float32
    loss_scale               what the loss is multiplied with before backward(): 1 except in float16
    compile(function)        torch.compile, or the function as it is
    seed, attention, cross_entropy, synchronize, peak_memory_bytes, save_weights, load_weights, logits, probe

Shape letters: B rows, T tokens in a row, H query heads, G key/value heads, D head width, C model width, N = B*T, V vocabulary.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

LOGITS_AT_ONCE = 1 << 27  # elements of a scoring chunk: 256 MB in bfloat16
LOSS_ELEMENTS_AT_ONCE = 1 << 25  # elements of a chunk of logits in training: 64 MB in bfloat16


def seed(number: int) -> None:
    torch.manual_seed(number)


def synchronize() -> None:
    """Wait until the device has done its work. Nothing to wait for where work is done in the calling thread."""


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    """Causal attention: a token sees itself and the `window` tokens before it.

    q [B, T, H, D]; k and v [B, T, G, D] with H a multiple of G; returns [B, T, H, D].
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    is_full = window >= q.size(2) - 1
    mask = None if is_full else band(q.size(2), window, q.device)
    is_grouped = q.size(1) != k.size(1)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_full, enable_gqa=is_grouped)
    return out.transpose(1, 2)


def band(seq_len: int, window: int, device: torch.device) -> torch.Tensor:
    """bool [T, T]: row sees column when 0 <= row - column <= window."""
    row = torch.arange(seq_len, device=device)[:, None]
    distance = row - row.T
    return (distance >= 0) & (distance <= window)


def cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, softcap: float) -> torch.Tensor:
    """Mean cross-entropy in nats of the logits `softcap * tanh(hidden @ weight.T / softcap)`.

    hidden [N, C] in the compute dtype, weight [V, C] float32, targets int64 [N]; returns a float32 scalar.
    The logits exist for a chunk of tokens at a time, and only once: their gradient is taken while they are at hand.
    """
    return _LinearCrossEntropy.apply(hidden, weight, targets, softcap)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, targets, softcap):
        count, vocab_size = hidden.size(0), weight.size(0)
        chunk = max(1, min(count, LOSS_ELEMENTS_AT_ONCE // vocab_size))
        compute_weight = weight.to(hidden.dtype)
        loss = torch.zeros((), device=hidden.device)
        grad_weight = torch.zeros_like(weight)
        grad_hidden = []
        for x, goal in zip(hidden.split(chunk), targets.split(chunk), strict=True):
            chunk_loss, grad_logits = _loss_and_grad(x @ compute_weight.T, goal, softcap)
            loss = loss + chunk_loss
            grad_hidden.append(grad_logits @ compute_weight)
            grad_weight = grad_weight + grad_logits.T @ x
        ctx.save_for_backward(torch.cat(grad_hidden), grad_weight)
        return loss / count

    @staticmethod
    def backward(ctx, grad_loss):
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grad_loss / grad_hidden.size(0)
        return (grad_hidden * scale).to(grad_hidden.dtype), grad_weight * scale, None, None


def _loss_and_grad(raw: torch.Tensor, targets: torch.Tensor, softcap: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(summed cross-entropy, its gradient for raw, in raw's dtype). raw [n, V]: logits before the soft cap."""
    squashed = torch.tanh(raw.float() / softcap)
    value = softcap * squashed
    # A capped logit can't overflow exp(), so a small cap saves the pass over the logits that looks for their maximum.
    top = softcap if softcap <= 40 else value.amax(1, keepdim=True)
    weight = torch.exp(value - top)
    total = weight.sum(1, keepdim=True)
    target_value = softcap * torch.tanh(raw.gather(1, targets[:, None]).float() / softcap)
    loss = (total.log() + top - target_value).sum()
    is_target = torch.arange(raw.size(1), device=raw.device) == targets[:, None]
    grad = (weight / total - is_target.float()) * (1 - squashed * squashed)
    return loss, grad.to(raw.dtype)


def save_weights(model: torch.nn.Module, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)


def load_weights(model: torch.nn.Module, path: Path) -> torch.nn.Module:
    """The model with the weights of the file, where the model is, ready to score."""
    from safetensors.torch import load_file

    device = next(model.parameters()).device
    model.load_state_dict(load_file(path, device=str(device)))
    return model.eval()


@torch.inference_mode()
def logits(model: torch.nn.Module, ids: np.ndarray, out: np.ndarray) -> None:
    """Fill out (float16 [B, T, V]) with the model's logits for ids (int32 [B, T]), some rows at a time."""
    device = next(model.parameters()).device
    rows = max(1, LOGITS_AT_ONCE // out[0].size)
    for start in range(0, len(ids), rows):
        inputs = torch.from_numpy(ids[start : start + rows].astype(np.int64)).to(device)
        torch.from_numpy(out[start : start + rows]).copy_(model(inputs))


def print_probe(probe) -> None:
    """The answer to `python runtime.py --probe`: one JSON line of probe()'s facts."""
    print(json.dumps(probe() | {"versions": {"torch": torch.__version__}}))

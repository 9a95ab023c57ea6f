"""Attention as the model was scored with it: PyTorch's own kernels."""

import torch
import torch.nn.functional as F


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

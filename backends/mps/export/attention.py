"""Attention as the model was scored with it on Metal: always with a mask, and with as many key as query heads."""

import torch
import torch.nn.functional as F


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    """Causal attention: a token sees itself and the `window` tokens before it.

    q [B, T, H, D]; k and v [B, T, G, D] with H a multiple of G; returns [B, T, H, D]. The mask is there since SDPA's own causal one
    has shown a query later tokens on Metal (pytorch/pytorch#195910).
    """
    shared = q.size(2) // k.size(2)
    if shared > 1:
        k, v = (x.repeat_interleave(shared, dim=2) for x in (k, v))
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=band(q.size(2), window, q.device)).transpose(1, 2)


def band(seq_len: int, window: int, device: torch.device) -> torch.Tensor:
    """bool [T, T]: row sees column when 0 <= row - column <= window."""
    row = torch.arange(seq_len, device=device)[:, None]
    distance = row - row.T
    return (distance >= 0) & (distance <= window)

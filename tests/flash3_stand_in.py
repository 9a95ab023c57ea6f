"""What the hub's flash-attn3 is to its caller, in plain PyTorch: two custom operators with shape functions and a
torch.autograd.Function over them, called in the same way (kernels-community/flash-attn3, flash_attn_interface.py).
"""

import math

import torch


def _scores(q, k, left: int):
    """Probabilities [B, H, T, T] of q [B, T, H, D] and k [B, T, G, D], where a token sees itself and `left` tokens before it."""
    k = k.repeat_interleave(q.size(2) // k.size(2), dim=2)
    position = torch.arange(q.size(1), device=q.device)
    distance = position[:, None] - position
    score = torch.einsum("bqhd,bkhd->bhqk", q.float(), k.float()) / math.sqrt(q.size(-1))
    return torch.softmax(score.masked_fill((distance < 0) | (distance > left), -math.inf), -1)


@torch.library.custom_op("flash3_stand_in::forward", mutates_args=())
def _forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, left: int) -> tuple[torch.Tensor, torch.Tensor]:
    v = v.repeat_interleave(q.size(2) // v.size(2), dim=2)
    out = torch.einsum("bhqk,bkhd->bqhd", _scores(q, k, left), v.float())
    return out.to(q.dtype).contiguous(), q.new_zeros(q.size(0), q.size(2), q.size(1), dtype=torch.float32)


@_forward.register_fake
def _(q, k, v, left):
    return torch.empty_like(q, memory_format=torch.contiguous_format), q.new_empty(
        q.size(0), q.size(2), q.size(1), dtype=torch.float32
    )


@torch.library.custom_op("flash3_stand_in::backward", mutates_args=("dq", "dk", "dv"))
def _backward(
    grad: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, dq: torch.Tensor, dk: torch.Tensor, dv: torch.Tensor,
    left: int,
) -> torch.Tensor:  # fmt: skip
    groups = k.size(2)
    many_k, many_v = (x.repeat_interleave(q.size(2) // groups, dim=2).float() for x in (k, v))
    weight, grad = _scores(q, k, left), grad.float()
    slope = torch.einsum("bqhd,bkhd->bhqk", grad, many_v)
    slope = weight * (slope - (slope * weight).sum(-1, keepdim=True)) / math.sqrt(q.size(-1))
    dq.copy_(torch.einsum("bhqk,bkhd->bqhd", slope, many_k))
    dk.copy_(torch.einsum("bhqk,bqhd->bkhd", slope, q.float()).unflatten(2, (groups, -1)).sum(3))
    dv.copy_(torch.einsum("bhqk,bqhd->bkhd", weight, grad).unflatten(2, (groups, -1)).sum(3))
    return weight.sum(-1)


@_backward.register_fake
def _(grad, q, k, v, dq, dk, dv, left):
    return q.new_empty(q.size(0), q.size(2), q.size(1), dtype=torch.float32)


class _Flash(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, causal, window_size):
        assert causal and window_size[1] == 0
        out, sums = _forward(q, k, v, window_size[0])
        ctx.save_for_backward(q, k, v, out, sums)
        ctx.window_size = window_size
        return out

    @staticmethod
    def backward(ctx, grad, *_):
        q, k, v, _out, _sums = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        _backward(grad, q, k, v, dq, dk, dv, ctx.window_size[0])
        return dq, dk, dv, None, None


def flash_attn_func(q, k, v, softmax_scale=None, causal=False, window_size=(-1, -1)):
    return _Flash.apply(q, k, v, causal, window_size)

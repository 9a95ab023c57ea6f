"""Two parts of a training step whose usual form is slow on a CPU; docs/design/cpu-speed.md has the times of both.

embedding: the gradient of a table in one pass over the tokens; torch.compile would add each number atomically.
attention: batched matrix products over blocks of queries, each with only the keys that it can see. The probabilities of a block
           are small enough to be kept, so the backward pass takes no exponentials. PyTorch's flash kernel is slow backwards.

Under torch.compile everything between two products becomes one loop over memory.
"""

import torch

BLOCK = 256  # queries of an attention block; 128 when the window is no longer than that


def embedding(ids: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Rows of weight (float32 [V, C]) for ids (int64 [B, T]): float32 [B, T, C]."""
    return _Embedding.apply(ids, weight)


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx, ids, weight):
        ctx.save_for_backward(ids)
        ctx.count = weight.size(0)
        return torch.nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx, grad):
        (ids,) = ctx.saved_tensors
        return None, sum_rows(grad.flatten(0, 1), ids.flatten(), ctx.count)


@torch.library.custom_op("autoresearch::sum_rows", mutates_args=())
def sum_rows(values: torch.Tensor, ids: torch.Tensor, count: int) -> torch.Tensor:
    """float32 [count, C]: row i is the sum of the rows of values [N, C] whose id is i. A custom op, so that it is not compiled."""
    return torch.zeros(count, values.size(1)).index_add_(0, ids, values.float())


@sum_rows.register_fake
def _(values, ids, count):
    return values.new_empty(count, values.size(1), dtype=torch.float32)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    """Causal: a token sees itself and the `window` tokens before it. q [B, T, H, D]; k, v [B, T, G, D]; returns [B, T, H, D]."""
    batch, seq_len, heads, width = q.shape
    groups = k.size(2)
    # [B * G, R, T, D]: the R = H / G query heads that share a key head are more rows of the same products.
    q = q.transpose(1, 2).reshape(batch * groups, heads // groups, seq_len, width)
    k, v = (x.transpose(1, 2).reshape(batch * groups, seq_len, width) for x in (k, v))
    return _Attention.apply(q, k, v, window).view(batch, heads, seq_len, width).transpose(1, 2)


def _blocks(seq_len: int, window: int) -> list[tuple[int, int, int]]:
    """(first query, end, first key) of every block; its keys end where its queries end. Keys start at a block's start."""
    size = block_size(window)
    starts = range(0, seq_len, size)
    return [(start, min(start + size, seq_len), max(0, start - window) // size * size) for start in starts]


def block_size(window: int) -> int:
    return BLOCK if window > BLOCK // 2 else BLOCK // 2


def _is_hidden(start: int, end: int, first: int, window: int) -> torch.Tensor:
    """bool [queries, keys] of a block."""
    distance = torch.arange(start, end)[:, None] - torch.arange(first, end)
    return (distance < 0) | (distance > window)


class _Attention(torch.autograd.Function):
    """q [n, R, T, D]; k, v [n, T, D]. Saves exp(score - row maximum) in q's dtype, and the rows' sums in float32."""

    @staticmethod
    def forward(ctx, q, k, v, window):
        n, repeats, seq_len, width = q.shape
        weights, sums, outs = [], [], []
        for start, end, first in _blocks(seq_len, window):
            rows = q[:, :, start:end].reshape(n, -1, width)
            score = (rows @ k[:, first:end].mT).view(n, repeats, end - start, end - first).float() * width**-0.5
            score = score.masked_fill(_is_hidden(start, end, first, window), float("-inf"))
            weight = torch.exp(score - score.amax(-1, keepdim=True))
            total = weight.sum(-1, keepdim=True)  # [n, R, queries, 1]
            weight = weight.to(q.dtype).view(n, -1, end - first)
            out = (weight @ v[:, first:end]).view(n, repeats, -1, width) / total
            weights.append(weight)
            sums.append(total)
            outs.append(out.to(q.dtype))
        out = torch.cat(outs, 2)
        ctx.save_for_backward(q, k, v, out, torch.cat(sums, 2), *weights)
        ctx.window = window
        return out

    @staticmethod
    def backward(ctx, grad):
        q, k, v, out, sums, *weights = ctx.saved_tensors
        n, _, seq_len, width = q.shape
        blocks, size = _blocks(seq_len, ctx.window), block_size(ctx.window)
        grad = grad.float() / sums  # weights are not normalised: the division is done here, on fewer elements
        dot = (grad * out.float()).sum(-1, keepdim=True)
        grad = grad.to(q.dtype)
        grad_q = []
        grad_k, grad_v = ([[] for _ in blocks] for _ in range(2))  # for each block of keys, a part from each block of queries
        for (start, end, first), weight in zip(blocks, weights, strict=True):
            g = grad[:, :, start:end].reshape(n, -1, width)
            slope = (g @ v[:, first:end].mT).float() - dot[:, :, start:end].reshape(n, -1, 1)
            slope = (weight.float() * slope * width**-0.5).to(q.dtype)
            grad_q.append((slope @ k[:, first:end]).view(n, -1, end - start, width))
            for_k = slope.mT @ q[:, :, start:end].reshape(n, -1, width)
            for_v = weight.mT @ g
            for index in range(first // size, start // size + 1):
                part = slice(index * size - first, min((index + 1) * size, end) - first)
                grad_k[index].append(for_k[:, part])
                grad_v[index].append(for_v[:, part])
        return torch.cat(grad_q, 2), _join(grad_k), _join(grad_v), None


def _join(parts: list[list[torch.Tensor]]) -> torch.Tensor:
    """The sums of the parts of each block, one block after the other."""
    return torch.cat([sum(part.float() for part in block).to(block[0].dtype) for block in parts], 1)

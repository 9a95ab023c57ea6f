"""Attention kernels on a CUDA card, beside its best matrix product: `python benchmarks/gpu_attention.py`.

Causal, bfloat16, `h100`'s shape (4 heads of 128, 2048 tokens) at 64 rows; medians of ten, by the card's own clock. FLOPs leave out
what the mask hides; backward counts 2.5 times forward. Results: docs/design/gpu.md.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

ROWS, HEADS, TOKENS, WIDTH = 64, 4, 2048, 128
SHAPE = (ROWS, TOKENS, HEADS, WIDTH)


def milliseconds(work: Callable[[], object], rounds: int = 10) -> float:
    for _ in range(3):
        work()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[rounds // 2]


def main() -> None:
    made = {"device": "cuda", "dtype": torch.bfloat16}
    square = torch.randn(8192, 8192, **made)
    out = square @ square
    print(f"product of 8192: {2 * 8192**3 / milliseconds(lambda: torch.mm(square, square, out=out)) / 1e9:.0f} TFLOP/s")
    q, k, v = (torch.randn(SHAPE, **made).transpose(1, 2).requires_grad_() for _ in range(3))
    slope = torch.randn(SHAPE, **made).transpose(1, 2)
    compiled = torch.compile(flex_attention, dynamic=False)

    def sdpa(kind: SDPBackend) -> Callable[..., torch.Tensor]:
        def attend(q, k, v):
            with sdpa_kernel(kind):
                return F.scaled_dot_product_attention(q, k, v, is_causal=True)

        return attend

    def flex(window: int) -> Callable[..., torch.Tensor]:
        def sees(batch, head, row, column):
            return (row >= column) & (row - column <= window)

        mask = create_block_mask(sees, None, None, TOKENS, TOKENS, device="cuda")
        return lambda q, k, v: compiled(q, k, v, block_mask=mask)

    kinds = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
    variants = {kind.name.lower(): (sdpa(kind), TOKENS) for kind in kinds}
    variants |= {f"flex, window {window}": (flex(window), window) for window in (TOKENS, 1024, 256)}
    for name, (attend, window) in variants.items():
        flops = 4 * ROWS * HEADS * WIDTH * sum(min(row, window) + 1 for row in range(TOKENS))

        def both(attend=attend) -> None:
            q.grad = k.grad = v.grad = None
            attend(q, k, v).backward(slope)

        try:
            with torch.no_grad():
                forward = milliseconds(lambda attend=attend: attend(q, k, v))
            whole = milliseconds(both)
        except RuntimeError as error:  # this card has no such kernel
            print(f"{name:<20} {str(error).splitlines()[0][:100]}")
            continue
        print(
            f"{name:<20} forward {forward:.2f} ms, {flops / forward / 1e9:.0f} TFLOP/s; "
            f"with backward {whole:.2f} ms, {3.5 * flops / whole / 1e9:.0f} TFLOP/s"
        )


if __name__ == "__main__":
    main()

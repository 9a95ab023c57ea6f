"""Small causal models as Hugging Face's `transformers` defines them, with its names of weights: llama (mistral, qwen2 and qwen3 are
that with a few switches) and gpt2. A fine-tuning's base_model.py where its base is such a folder; of a study it is a train.py.

build_model(spec): spec.kind is "llama" or "gpt2", the other numbers are those that tasks/finetune/hugging_face.py reads from
config.json. Weights are float32, products run in the runtime's dtype; tests/unit/test_finetune_models.py holds both against
`transformers`.

Shape letters: B rows, T tokens in a row, C model width, H query heads, G key/value heads, D head width, V vocabulary.
"""

import math

import runtime
import torch
import torch.nn.functional as F
from torch import nn


class Linear(nn.Linear):
    """In x's dtype; the weight itself stays float32, for the optimizer."""

    def forward(self, x):
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class Transposed(nn.Module):
    """A linear layer whose weight lies [in, out], as all of GPT-2's do."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return F.linear(x, self.weight.T.to(x.dtype), self.bias.to(x.dtype))


class Embedding(nn.Module):
    def __init__(self, count: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(count, width))

    def forward(self, ids):
        return runtime.embedding(ids, self.weight).to(runtime.dtype)


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return F.rms_norm(x.float(), (x.size(-1),), self.weight, self.eps).to(x.dtype)


class LayerNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width)), eps

    def forward(self, x):
        return F.layer_norm(x.float(), (x.size(-1),), self.weight, self.bias, self.eps).to(x.dtype)


# ---------------------------------------------------------------------------------------------------------------------
# llama


def frequencies(spec):
    """Of the rotary embedding, in radians a token: float32 [D / 2]."""
    rates = spec.rope_base ** -(torch.arange(0, spec.head_width, 2).float() / spec.head_width)
    if spec.rope_kind == "linear":
        return rates / spec.rope_factor
    if spec.rope_kind == "llama3":  # long waves are stretched, short ones stay, those between are mixed (transformers, rope_utils)
        turns = spec.rope_original * rates / (2 * math.pi)  # in the context that it was first trained on
        share = ((turns - spec.rope_low) / (spec.rope_high - spec.rope_low)).clamp(0, 1)
        return rates * (share + (1 - share) / spec.rope_factor)
    return rates


def rotate(x, cos, sin):
    """Channel pairs (i, i + D/2) are turned by position * frequency. x [B, T, H, D]; cos, sin [T, 1, D / 2]."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Attention(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.head_width = spec.head_width
        queries, keys = spec.heads * spec.head_width, spec.groups * spec.head_width
        self.q_proj = Linear(spec.width, queries, bias=spec.bias_in)
        self.k_proj = Linear(spec.width, keys, bias=spec.bias_in)
        self.v_proj = Linear(spec.width, keys, bias=spec.bias_in)
        self.o_proj = Linear(queries, spec.width, bias=spec.bias_out)
        self.q_norm = RMSNorm(spec.head_width, spec.eps) if spec.norm_heads else nn.Identity()
        self.k_norm = RMSNorm(spec.head_width, spec.eps) if spec.norm_heads else nn.Identity()

    def forward(self, x, cos, sin):
        q, k, v = (layer(x).unflatten(-1, (-1, self.head_width)) for layer in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(self.q_norm(q), cos, sin), rotate(self.k_norm(k), cos, sin)
        return self.o_proj(runtime.attention(q, k, v, x.size(1)).flatten(2))


class MLP(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.gate_proj = Linear(spec.width, spec.mlp_width, bias=spec.bias_mlp)
        self.up_proj = Linear(spec.width, spec.mlp_width, bias=spec.bias_mlp)
        self.down_proj = Linear(spec.mlp_width, spec.width, bias=spec.bias_mlp)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaLayer(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(spec.width, spec.eps), RMSNorm(spec.width, spec.eps)
        self.self_attn, self.mlp = Attention(spec), MLP(spec)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """forward: token ids int64 [B, T] -> logits float32 [B, T, V]."""

    def __init__(self, spec):
        super().__init__()
        self.embed_tokens = Embedding(spec.vocab_size, spec.width)
        self.layers = nn.ModuleList(LlamaLayer(spec) for _ in range(spec.layers))
        self.norm = RMSNorm(spec.width, spec.eps)
        self.lm_head = self.embed_tokens if spec.tied else Linear(spec.width, spec.vocab_size, bias=False)
        angle = torch.outer(torch.arange(spec.seq_len), frequencies(spec))[:, None]  # [T, 1, D / 2]
        self.register_buffer("cos", angle.cos().to(runtime.dtype), persistent=False)
        self.register_buffer("sin", angle.sin().to(runtime.dtype), persistent=False)

    def forward(self, ids):
        x, cos, sin = self.embed_tokens(ids), self.cos[: ids.size(1)], self.sin[: ids.size(1)]
        for layer in self.layers:
            x = layer(x, cos, sin)
        return F.linear(self.norm(x), self.lm_head.weight.to(x.dtype)).float()


# ---------------------------------------------------------------------------------------------------------------------
# gpt2


class GPT2Attention(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.heads = spec.heads
        self.c_attn, self.c_proj = Transposed(spec.width, 3 * spec.width), Transposed(spec.width, spec.width)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in self.c_attn(x).chunk(3, dim=-1))
        return self.c_proj(runtime.attention(q, k, v, x.size(1)).flatten(2))


class GPT2MLP(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.c_fc, self.c_proj = Transposed(spec.width, spec.mlp_width), Transposed(spec.mlp_width, spec.width)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class GPT2Layer(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.ln_1, self.ln_2 = LayerNorm(spec.width, spec.eps), LayerNorm(spec.width, spec.eps)
        self.attn, self.mlp = GPT2Attention(spec), GPT2MLP(spec)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """forward: token ids int64 [B, T] -> logits float32 [B, T, V]."""

    def __init__(self, spec):
        super().__init__()
        self.wte, self.wpe = Embedding(spec.vocab_size, spec.width), Embedding(spec.positions, spec.width)
        self.h = nn.ModuleList(GPT2Layer(spec) for _ in range(spec.layers))
        self.ln_f = LayerNorm(spec.width, spec.eps)
        self.lm_head = self.wte if spec.tied else Linear(spec.width, spec.vocab_size, bias=False)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe.weight[: ids.size(1)].to(runtime.dtype)
        for layer in self.h:
            x = layer(x)
        return F.linear(self.ln_f(x), self.lm_head.weight.to(x.dtype)).float()


def build_model(spec):
    """A model of the spec's shape on the device. Its weights are to be loaded: what it has until then means nothing."""
    return {"llama": Llama, "gpt2": GPT2}[spec.kind](spec).to(runtime.device)

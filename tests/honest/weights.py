"""Models whose tensors are shared, odd, or none at all: a scorer must load each of them as it was saved. Verdict: passes.

`setup` makes the tensors, `logits` is the forward pass for ids [B, T], `trained` is what a training makes of `model`. `xp` is torch
or mlx.core. Every tensor starts at random numbers, so that one that was not loaded shows.
"""

from dataclasses import dataclass
from textwrap import indent

C = 16
TABLE = "return self.embed[ids] @ self.unembed.T"
TWO = "self.embed, self.unembed = normal(V, C), normal(V, C)"
TWO_LAYERS = "return xp.tanh(self.second(xp.tanh(self.first(self.embed[ids])))) @ self.unembed.T"


@dataclass(frozen=True)
class Odd:
    setup: str
    logits: str = TABLE
    trained: str = "return model"
    numbers: int | None = None  # in the checkpoint, where it is no matter of course

    def train_py(self, start: str) -> str:
        def method(head: str, body: str) -> str:
            return f"    def {head}:\n{indent(body.strip(chr(10)), ' ' * 8)}\n\n"

        return (
            f"{start}\nclass Model(Module):\n"
            + method("__init__(self, spec)", f"super().__init__()\nself.setup(spec.vocab_size, {C})")
            + method("setup(self, V, C)", "self.V = V\n" + self.setup)
            + method("forward(self, ids)", self.logits)
            + f"def build_model(spec):\n    return Model(spec)\n\ndef trained(model):\n{indent(self.trained, '    ')}\n"
        )


EVERYWHERE = {
    "tied embeddings": Odd("self.embed = normal(V, C)\nself.unembed = self.embed", numbers=64 * C),
    "tied by the training": Odd(TWO, trained="model.unembed = model.embed\nreturn model", numbers=64 * C),
    "a layer used twice": Odd(
        TWO + "\nself.first = nn.Linear(C, C)\nself.second = self.first", TWO_LAYERS, numbers=2 * 64 * C + C * C + C
    ),
    "no tensors": Odd("pass", "return 3.0 * one_hot((5 * ids) % self.V, self.V)", numbers=0),
    "bfloat16": Odd("self.embed, self.unembed = (weight(to(normal(V, C), 'bfloat16')) for _ in range(2))"),
    "a number alone": Odd("self.scale = weight(2 + abs(normal(4)).sum())", "return self.scale * one_hot(ids, self.V)", numbers=1),
    "a transposed matrix": Odd("self.embed, self.unembed = normal(V, C), weight(normal(C, V).T)"),
    "logits beyond float16's range": Odd(TWO, "return 1e5 * (self.embed[ids] @ self.unembed.T) + 3e5"),
}
BUFFER = "self.embed = normal(V, C)\nself.register_buffer"
TORCH = {
    "no parameters but a buffer": Odd("self.register_buffer('table', torch.randn(V, V))", "return self.table[ids]"),
    "an integer buffer": Odd(BUFFER + "('other', torch.randint(V, (V,)))", "return self.embed[self.other[ids]] @ self.embed.T"),
    "buffers that are views of one matrix": Odd(
        "whole = torch.randn(V + 8, C)\nself.register_buffer('embed', whole[:-8])\nself.register_buffer('unembed', whole[8:])"
    ),
    "a view of a parameter": Odd(
        TWO + "\nself.register_buffer('part', self.embed.detach()[:, ::2])", "return self.part[ids] @ self.unembed[:, ::2].T"
    ),
    "a transposed twin": Odd("self.embed = normal(V, V)\nself.unembed = nn.Parameter(self.embed.T)"),
    "an expanded buffer": Odd(BUFFER + "('unembed', torch.randn(C).expand(V, C))"),
    "a buffer that was None": Odd(
        BUFFER + "('unembed', None)",
        "if self.unembed is None:\n    self.unembed = torch.randn(self.V, self.embed.shape[1])\n" + TABLE,
        "model(torch.zeros(1, 4, dtype=torch.int64))\nreturn model",
    ),
    "a buffer made on the way": Odd(
        "self.embed = normal(V, C)",
        "if not hasattr(self, 'unembed'):\n    self.register_buffer('unembed', torch.randn(self.V, self.embed.shape[1]))\n" + TABLE,
        "model(torch.zeros(1, 4, dtype=torch.int64))\nreturn model",
    ),
    "a buffer that grows": Odd(
        BUFFER + "('unembed', torch.randn(0, C))",
        "if len(self.unembed) < self.V:\n    self.unembed = torch.randn(self.V, self.embed.shape[1])\n" + TABLE,
        "model(torch.zeros(1, 4, dtype=torch.int64))\nreturn model",
    ),
    "a buffer that is not saved": Odd(
        TWO + "\nself.register_buffer('two', torch.full((), 2.0), persistent=False)",
        "return self.two * (self.embed[ids] @ self.unembed.T)",
    ),
    "in a wrapper of torch.compile": Odd(TWO, trained="return torch.compile(model, backend='eager')"),
    "a layer in a wrapper of torch.compile": Odd(
        TWO + "\nself.first, self.second = nn.Linear(C, C), nn.Linear(C, C)",
        TWO_LAYERS,
        "model.first = torch.compile(model.first, backend='eager')\nreturn model",
    ),
    "compiled as it is built": Odd(
        TWO + "\nself.first = self.second = torch.compile(nn.Linear(C, C), backend='eager')",
        TWO_LAYERS,
        numbers=2 * 64 * C + C * C + C,
    ),
    "weight norm": Odd(
        TWO + "\nself.first = nn.utils.parametrizations.weight_norm(nn.Linear(C, C))\nself.second = self.first", TWO_LAYERS
    ),
    "a lazy layer": Odd(
        TWO + "\nself.first, self.second = nn.LazyLinear(C), nn.Linear(C, C)",
        TWO_LAYERS,
        "model(torch.zeros(1, 4, dtype=torch.int64))\nreturn model",
    ),
    "float64": Odd("self.embed, self.unembed = (nn.Parameter(torch.randn(V, C, dtype=torch.float64)) for _ in range(2))"),
    "trained in inference tensors": Odd(
        TWO, trained="with torch.inference_mode():\n    model.embed.data = 1 * model.embed\nreturn model"
    ),
}

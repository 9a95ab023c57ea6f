"""Unusual models that use nothing but a token and those before it in its row. Verdict of every one: passes its audits.

Each is two layers x + mix(norm(x)) between an embedding and a head, with random weights that are large enough for all of it to
show. `mix` gets x [B, T, C] and ids [B, T]; `xp` is torch or mlx.core.
"""

from dataclasses import dataclass

SIZE = 24  # C

MODEL = f"""
def norm(x):
    return x / xp.sqrt((x * x).mean(-1)[..., None] + 1e-5)

def back(x, by):
    "x [B, T, ...] of `by` tokens ago, 0 at the start."
    return xp.concatenate([0 * x[:, :by], x[:, : x.shape[1] - by]], 1)

def scan(step, state, parts):
    "The states after each token."
    states = []
    for t in range(parts[0].shape[1]):
        state = step(state, *(part[:, t] for part in parts))
        states.append(state)
    return xp.stack(states, 1)

def attend(q, k, v, seen, bias=0):
    return xp.softmax(xp.where(seen, q @ xp.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1]) + bias, -1e9), -1) @ v

class Model(Module):
    def __init__(self, spec):
        super().__init__()
        self.V, C = spec.vocab_size, {SIZE}
        self.embed, self.unembed = normal(self.V, C), normal(self.V, C)
        self.q, self.k, self.v, self.o, self.g = (normal(C, C, scale=1.5 / math.sqrt(C)) for _ in range(5))
        self.setup(C, spec.seq_len)

    def setup(self, C, T):
        pass

    def forward(self, ids):
        x = self.embed[ids]
        (B, T), C = ids.shape, x.shape[-1]
        for layer in range(2):
            x = x + self.mix(norm(x), ids, B, T, C)
        return self.head(norm(x), ids)

    def head(self, x, ids):
        return x @ self.unembed.T
"""


@dataclass(frozen=True)
class Honest:
    mix: str
    setup: str = "pass"
    head: str = "return x @ self.unembed.T"

    def train_py(self, start: str) -> str:
        methods = {"mix(self, x, ids, B, T, C)": self.mix, "setup(self, C, T)": self.setup, "head(self, x, ids)": self.head}
        text = start + MODEL
        for name, body in methods.items():
            text += f"\n    def {name}:\n" + "".join(f"        {line}\n" for line in body.strip("\n").splitlines())
        return text + "\n\ndef build_model(spec):\n    return Model(spec)\n"


PLACES = "i, j = xp.arange(T)[:, None], xp.arange(T)[None, :]\n"
QKV = PLACES + "q, k, v = x @ self.q, x @ self.k, x @ self.v\n"
CAUSAL = QKV + "return attend(q, k, v, j <= i) @ self.o"
TURN = """angle = xp.arange(T)[:, None] * xp.exp(-xp.arange(C // 2) / 3.0)
cos, sin = xp.cos(angle), xp.sin(angle)
halves = lambda y: (y[..., : C // 2], y[..., C // 2 :])
turn = lambda y: (lambda a, b: xp.concatenate([a * cos - b * sin, a * sin + b * cos], -1))(*halves(y))
"""
KEPT = "decay = xp.sigmoid(xp.arange(C) / 4.0 - 2)\n"

MODELS = {
    # Attention
    "no positions at all": Honest(CAUSAL),
    "sliding window": Honest(QKV + "return attend(q, k, v, (j <= i) & (i - j <= 8)) @ self.o"),
    "strided sparse attention": Honest(QKV + "return attend(q, k, v, (j <= i) & ((i - j < 4) | (j % 8 == 7))) @ self.o"),
    "attention sinks": Honest(QKV + "return attend(q, k, v, (j <= i) & ((i - j < 8) | (j < 2))) @ self.o"),
    "ALiBi": Honest(QKV + "return attend(q, k, v, j <= i, -0.2 * abs(i - j)) @ self.o"),
    "rotary": Honest(QKV + TURN + "return attend(turn(q), turn(k), v, j <= i) @ self.o"),
    "learned positions": Honest("x = x + self.places\n" + CAUSAL, "self.places = normal(T, C)"),
    "multi-query": Honest(
        QKV + "k, v = k[..., None, :6], v[..., None, :6]\nq = xp.swapaxes(q.reshape(B, T, 4, 6), 1, 2)\n"
        "out = attend(q, xp.swapaxes(k, 1, 2), xp.swapaxes(v, 1, 2), j <= i)\n"
        "return xp.swapaxes(out, 1, 2).reshape(B, T, C) @ self.o"
    ),
    "the best four keys": Honest(
        QKV + "score = xp.where(j <= i, q @ xp.swapaxes(k, 1, 2), -1e9)\n"
        "rank = (score[:, :, None, :] > score[..., None]).sum(-1)\nreturn attend(q, k, v, (j <= i) & (rank < 4)) @ self.o"
    ),
    "chunks that see the chunks before": Honest(
        QKV + "means = lambda y: y.reshape(B, T // 8, 8, C).mean(2)\n"
        "keys, values = xp.concatenate([k, means(k)], 1), xp.concatenate([v, means(v)], 1)\n"
        "near, far = (j <= i) & (i // 8 == j // 8), xp.arange(T // 8)[None, :] < i // 8\n"
        "return attend(q, keys, values, xp.concatenate([near, far], 1)) @ self.o"
    ),
    "sigmoid attention": Honest(QKV + "return (xp.sigmoid(q @ xp.swapaxes(k, 1, 2)) * (j <= i) / (i + 1)) @ v @ self.o"),
    "normalised before the mask": Honest(
        QKV + "w = xp.exp(-xp.abs(q @ xp.swapaxes(k, 1, 2))) * (j <= i)\nreturn w / w.sum(2)[..., None] @ v @ self.o"
    ),
    "induction head": Honest(
        PLACES + "seen = (back(ids + 1, 1)[:, None, :] == ids[:, :, None] + 1) & (j <= i)\nreturn 3.0 * (1.0 * seen) @ x"
    ),
    # Recurrence
    "linear attention by a scan": Honest(
        QKV + "k = xp.exp(k / 4)\nstate = xp.zeros((B, C, C))\n"
        "states = scan(lambda s, k, v: s + k[:, :, None] * v[:, None], state, (k, v))\n"
        "return (norm(q)[..., None, :] @ states)[..., 0, :] / 5"
    ),
    "linear attention by sums": Honest(
        QKV + "k, q = xp.exp(k / 4), xp.exp(q / 4)\nsums = xp.cumsum(k[..., :, None] * v[..., None, :], 1)\n"
        "return (q[..., None, :] @ sums)[..., 0, :] / (q * xp.cumsum(k, 1)).sum(-1)[..., None] @ self.o"
    ),
    "delta rule": Honest(
        QKV + "k, zeros = norm(k) / math.sqrt(C), xp.zeros((B, C, C))\n"
        "step = lambda s, k, v: s + k[:, :, None] * (v - (k[:, None] @ s)[:, 0])[:, None]\n"
        "return (q[..., None, :] @ scan(step, zeros, (k, v)))[..., 0, :] / 3"
    ),
    "GRU": Honest("out = self.gru(x)\nreturn 2 * (out[0] if isinstance(out, tuple) else out)", "self.gru = gru(C)"),
    "LSTM": Honest("return 2 * self.lstm(x)[0]", "self.lstm = lstm(C)"),
    "decay of a channel's own": Honest(
        QKV + KEPT + "w, step = xp.exp(k / 4), lambda s, a: decay * s + a\n"
        "up, down = scan(step, 0 * x[:, 0], (w * v,)), scan(step, 0 * x[:, 0], (w,))\n"
        "return xp.sigmoid(q) * up / down @ self.o"
    ),
    "selective scan": Honest(
        QKV + "keep = xp.sigmoid(q)\nreturn scan(lambda s, keep, v: keep * s + (1 - keep) * v, 0 * x[:, 0], (keep, v)) @ self.o"
    ),
    "exponential average": Honest(KEPT + "return scan(lambda s, x: decay * s + (1 - decay) * x, 0 * x[:, 0], (x,)) @ self.o"),
    "turned around twice": Honest(
        "order = xp.arange(T - 1, -1, -1)\nreturn scan(lambda s, x: (s + x) / 2, 0 * x[:, 0], (x[:, order][:, order],)) @ self.o"
    ),
    # Convolution and sums
    "convolution padded on the left": Honest("return sum(back(x, n) @ w for n, w in enumerate((self.q, self.k, self.v, self.o)))"),
    "dilated convolution": Honest("return sum(back(x, 4 * n) @ w for n, w in enumerate((self.q, self.k, self.v, self.o)))"),
    "FFT with room for the whole": Honest(
        "decay = xp.exp(-0.2 * xp.arange(T)) * xp.cos(0.5 * xp.arange(T))\n"
        "return xp.fft.irfft(xp.fft.rfft(x, 2 * T, 1) * xp.fft.rfft(decay, 2 * T, 0)[:, None], 2 * T, 1)[:, :T] @ self.o"
    ),
    "token shift": Honest("return (x + back(x, 1)) / 2 @ self.o"),
    "mean of all so far": Honest("return xp.cumsum(x, 1) / (xp.arange(T) + 1)[:, None] @ self.o"),
    "normalised over the tokens so far": Honest(
        "n = (xp.arange(T) + 1)[:, None]\nmean = xp.cumsum(x, 1) / n\nvar = xp.cumsum(x * x, 1) / n - mean * mean\n"
        "return (x - mean) / xp.sqrt(abs(var) + 0.1) @ self.o"
    ),
    "distinct tokens so far": Honest(
        "n = (1.0 * (xp.cumsum(one_hot(ids, self.V), 1) > 0)).sum(2)[..., None]\nreturn xp.sin(n * self.q[0]) @ self.o"
    ),
    "hashed trigrams": Honest(
        "h = (ids * 31 + back(ids, 1) * 17 + back(ids, 2) * 7) % 97\nreturn self.hashed[h]", "self.hashed = normal(97, C)"
    ),
    "bigram table": Honest("return 0 * x", "self.table = normal(self.V, self.V, scale=3)", "return self.table[ids]"),
    # By token
    "experts by token": Honest(
        CAUSAL.replace("return", "x = x +") + "\ngate = x @ self.g\n"
        "best = 1.0 * (gate[..., :4, None] >= gate[..., None, :4]).all(-1)\n"
        "return sum(best[..., n : n + 1] * (x @ w) for n, w in enumerate((self.q, self.k, self.v, self.o)))"
    ),
    "two experts by token": Honest(
        CAUSAL.replace("return", "x = x +") + "\ngate = (x @ self.g)[..., :4]\n"
        "rank = (gate[..., None, :] > gate[..., None]).sum(-1)\n"
        "share = xp.softmax(xp.where(rank < 2, gate, -1e9), -1)\n"
        "return sum(share[..., n : n + 1] * (x @ w) for n, w in enumerate((self.q, self.k, self.v, self.o)))"
    ),
    "the same layer four times": Honest(
        PLACES + "for _ in range(4):\n    x = norm(x + attend(x @ self.q, x @ self.k, x @ self.v, j <= i) @ self.o)\nreturn x"
    ),
    "depth by token": Honest(
        PLACES + "for _ in range(4):\n    more = xp.sigmoid((x @ self.g)[..., :1])\n"
        "    x = xp.where(more > 0.5, norm(x + attend(x @ self.q, x @ self.k, x @ self.v, j <= i) @ self.o), x)\nreturn x"
    ),
    "LayerNorm": Honest("x = (x - x.mean(-1)[..., None]) / xp.sqrt(x.var(-1)[..., None] + 1e-5)\n" + CAUSAL),
    "dropout that is off": Honest("x = self.dropout(x)\n" + CAUSAL, "self.dropout = nn.Dropout(0.5)"),
    # Heads
    "tied weights": Honest(CAUSAL, head="return x @ self.embed.T"),
    "factorised head": Honest(CAUSAL, head="return (x @ self.g[:, :8]) @ self.unembed[:, :8].T"),
    "soft cap": Honest(CAUSAL, head="return 15 * xp.tanh(x @ self.unembed.T / 15)"),
    "mixture of softmaxes": Honest(
        CAUSAL,
        head="share = xp.softmax((x @ self.g)[..., :3], -1)\n"
        "odds = (xp.softmax(x @ w @ self.unembed.T, -1) for w in (self.q, self.k, self.v))\n"
        "return xp.log(sum(share[..., n : n + 1] * each for n, each in enumerate(odds)) + 1e-6)",
    ),
    "pointer mixture": Honest(
        CAUSAL,
        head="T = ids.shape[1]\n" + PLACES + "copy = attend(x @ self.q, x @ self.k, one_hot(ids, self.V), j <= i)\n"
        "share = xp.sigmoid((x @ self.g)[..., :1])\n"
        "return xp.log(share * xp.softmax(x @ self.unembed.T, -1) + (1 - share) * copy + 1e-6)",
    ),
    # Numbers
    "bfloat16": Honest(
        PLACES + "x, *w = (to(part, 'bfloat16') for part in (x, self.q, self.k, self.v, self.o))\n"
        "return to(attend(x @ w[0], x @ w[1], x @ w[2], j <= i) @ w[3], 'float32')"
    ),
    "weights of 8 bits": Honest(
        PLACES + "q, k, v, o = (to(to(w * 40, 'int8'), 'float32') / 40 for w in (self.q, self.k, self.v, self.o))\n"
        "return attend(x @ q, x @ k, x @ v, j <= i) @ o"
    ),
    "another order of sums for other rows beside": Honest(
        QKV + "parts = 1 + int(ids.sum()) % 3\n"
        "score = sum(q[..., n::parts] @ xp.swapaxes(k[..., n::parts], 1, 2) for n in range(parts))\n"
        "return xp.softmax(xp.where(j <= i, score / 5, -1e9), -1) @ v @ self.o"
    ),
    "a softmax less a number of all keys": Honest(
        QKV + "score = q @ xp.swapaxes(k, 1, 2) / 5\nmiddle = abs(score).mean(-1)[..., None]\n"
        "share = xp.exp(score - middle) * (j <= i)\nreturn share / share.sum(2)[..., None] @ v @ self.o"
    ),
    "another order of sums for other batches": Honest(
        QKV + "parts = 1 + B % 3\nsize = C // 6\n"
        "score = sum(q[..., n::parts] @ xp.swapaxes(k[..., n::parts], 1, 2) for n in range(parts))\n"
        "return xp.softmax(xp.where(j <= i, score / 5, -1e9), -1) @ v @ self.o"
    ),
}

"""The algorithm of every train.py in float64 and numpy alone: model, gradients, both optimizers. The golden state is made with it.

Written to be read beside the papers, not to be fast. The gradients are by hand: each operation below returns its value and a
function `back` that turns the gradient of the value into that of the operation's input; parameters' gradients are added up in
a dict. tests/golden/test_reference.py holds them against finite differences, and the rest against plain definitions.

`c` is the dict of train.py's constants (c["DEPTH"], ...). Weights are a dict with the names and shapes of the checkpoint:

    embedding, lm_head [V, C]    value_embeddings.I [V, G*D]    resid_lambdas, x0_lambdas [layers]
    pair_embedding [PAIR_ROWS, C], where c["PAIR_ROWS"] is not 0
    attention.I.query [H*D, C]   attention.I.key, .value [G*D, C]   attention.I.out [C, H*D]   attention.I.gate [G, channels]
    mlp.I.up [M, C]   mlp.I.down [C, M]

Shape letters: B rows, T tokens in a row, C width, H query heads, G key/value heads, D head width, M MLP width, V vocabulary.
"""

import numpy as np

# PyTorch's rms_norm without an eps takes that of the type it computes in: float32's, also for bfloat16 and float16 input.
EPS = float(np.finfo(np.float32).eps)

# ---------------------------------------------------------------------------------------------------------------- sizes


def width(c) -> int:
    """Of the model: ASPECT_RATIO a layer, rounded to whole heads."""
    return c["HEAD_DIM"] * max(1, round(c["ASPECT_RATIO"] * c["DEPTH"] / c["HEAD_DIM"]))


def shapes(c, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Of every weight, in the order of the checkpoint's description above."""
    model, head = width(c), c["HEAD_DIM"]
    heads = model // head
    groups = max(1, heads // c["GQA_RATIO"])
    inner = int(c["MLP_RATIO"] * model)
    found = {"embedding": (vocab_size, model), "lm_head": (vocab_size, model)}
    found |= {"resid_lambdas": (c["DEPTH"],), "x0_lambdas": (c["DEPTH"],)}
    if c["PAIR_ROWS"]:
        found["pair_embedding"] = (c["PAIR_ROWS"], model)
    for i in range(c["DEPTH"]):
        found |= {f"attention.{i}.query": (heads * head, model), f"attention.{i}.out": (model, heads * head)}
        found |= {f"attention.{i}.{name}": (groups * head, model) for name in ("key", "value")}
        found |= {f"mlp.{i}.up": (inner, model), f"mlp.{i}.down": (model, inner)}
        if has_value_embedding(c, i):
            found |= {f"value_embeddings.{i}": (vocab_size, groups * head), f"attention.{i}.gate": (groups, c["GATE_CHANNELS"])}
    return found


def has_value_embedding(c, layer: int) -> bool:
    """Every other layer, the last one included."""
    return (c["DEPTH"] - 1 - layer) % 2 == 0


def window(c, layer: int, seq_len: int) -> int:
    """How many earlier tokens a layer's token sees, beside itself."""
    is_short = c["WINDOW_PATTERN"][layer % len(c["WINDOW_PATTERN"])] == "S" and layer != c["DEPTH"] - 1
    return max(1, round(c["SHORT_WINDOW"] * seq_len)) if is_short else seq_len


# ----------------------------------------------------------------------------------------------------------- operations


def norm(x):
    """Root mean square norm without a gain, arXiv 1910.07467, over the last axis."""
    scale = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + EPS)
    y = x * scale
    return y, lambda dy: scale * (dy - y * (dy * y).mean(-1, keepdims=True))


def linear(x, weights, name, gradients):
    """x @ weight.T; the weight's gradient is added to gradients[name]."""
    weight = weights[name]

    def back(dy):
        gradients[name] += dy.reshape(-1, dy.shape[-1]).T @ x.reshape(-1, x.shape[-1])
        return dy @ weight

    return x @ weight.T, back


def embed(ids, weights, name, gradients):
    """Rows of a table; nothing lies before them, so back returns nothing."""

    def back(dy):
        np.add.at(gradients[name], ids, dy)

    return weights[name][ids], back


def pair_rows(ids, rows):
    """The row of the pair table for each token and the one before it; before the first one there is token 0."""
    before = np.concatenate([np.zeros_like(ids[:, :1]), ids[:, :-1]], axis=1)
    return (27191 * ids.astype(np.int64) + 36313 * before.astype(np.int64)) % rows


def rotary_width(c) -> int:
    """R: how many channels of a head turn, the first ones."""
    return 2 * round(c["ROTARY_SHARE"] * c["HEAD_DIM"] / 2)


def rotate(x, base, width):
    """Rotary embedding, arXiv 2104.09864, of x [B, T, heads, D]: channels i and i + R/2 of token t turn by -t / base**(2i/R)."""
    half = width // 2
    angle = np.arange(x.shape[1])[:, None] / base ** (np.arange(half) / half)  # [T, D/2]
    turn = np.exp(-1j * angle)[:, None]  # [T, 1, D/2]

    def turned(pairs, by):
        z = (pairs[..., :half] + 1j * pairs[..., half:width]) * by
        return np.concatenate([z.real, z.imag, pairs[..., width:]], -1)

    return turned(x, turn), lambda dy: turned(dy, turn.conj())


def offset(k, width):
    """The channels from `width` on are those of the token before, at the first token 0; k [B, T, G, D]."""
    y, rest = k.copy(), k[..., width:]
    y[..., width:] = 0
    y[:, 1:, :, width:] = rest[:, :-1]

    def back(dy):
        dk = dy.copy()
        dk[..., width:] = 0
        dk[:, :-1, :, width:] = dy[:, 1:, :, width:]
        return dk

    return y, back


def attend(q, k, v, window):
    """softmax(q k' / sqrt(D)) v over the token itself and `window` before it; q [B, T, H, D], k and v [B, T, G, D].

    H / G neighbouring query heads share a key/value head, arXiv 2305.13245.
    """
    batch, length, heads, size = q.shape
    q = q.reshape(batch, length, k.shape[2], -1, size)  # [B, T, G, R, D]
    distance = np.arange(length)[:, None] - np.arange(length)
    score = np.einsum("btgrd,bsgd->bgrts", q, k) / np.sqrt(size)
    score = np.where((distance >= 0) & (distance <= window), score, -np.inf)
    weight = np.exp(score - score.max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)

    def back(dy):
        dy = dy.reshape(q.shape)
        slope = np.einsum("btgrd,bsgd->bgrts", dy, v)
        slope = weight * (slope - (weight * slope).sum(-1, keepdims=True)) / np.sqrt(size)
        dq = np.einsum("bgrts,bsgd->btgrd", slope, k).reshape(batch, length, heads, size)
        return dq, np.einsum("bgrts,btgrd->bsgd", slope, q), np.einsum("bgrts,btgrd->bsgd", weight, dy)

    return np.einsum("bgrts,bsgd->btgrd", weight, v).reshape(batch, length, heads, size), back


def cross_entropy(raw, targets, softcap):
    """Logits softcap * tanh(raw / softcap) (arXiv 2408.00118), the loss of each token in nats, the gradient of their mean for raw.

    raw [B, T, V], targets [B, T].
    """
    squashed = np.tanh(raw / softcap)
    logits = softcap * squashed
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    token_loss = -np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    draw = (np.exp(log_p) - np.eye(raw.shape[-1])[targets]) * (1 - squashed**2) / targets.size
    return logits, token_loss, draw


# ---------------------------------------------------------------------------------------------------------------- model


def attention(x, ids, weights, c, layer, gradients):
    """A token looks at those before it, with queries and keys normed (arXiv 2010.04245) after they are turned.

    Channels that do not turn are in a key those of the token before (KellerJordan/modded-nanogpt, partial key offset).
    Where the layer has a value embedding (arXiv 2410.17897), 2 sigmoid(gate) times it is added to the values: once, at a gate of 0.
    """
    name = f"attention.{layer}"
    heads_of = (*ids.shape, -1, c["HEAD_DIM"])
    (q, back_q), (k, back_k), (v, back_v) = (linear(x, weights, f"{name}.{part}", gradients) for part in ("query", "key", "value"))
    q, k, v = (part.reshape(heads_of) for part in (q, k, v))
    if has_value_embedding(c, layer):
        table, back_table = embed(ids, weights, f"value_embeddings.{layer}", gradients)
        raw_gate, back_gate = linear(x[..., : c["GATE_CHANNELS"]], weights, f"{name}.gate", gradients)  # [B, T, G]
        table, gate = table.reshape(heads_of), 2 / (1 + np.exp(-raw_gate))
        v = v + gate[..., None] * table
    q, back_rotate_q = rotate(q, c["ROPE_BASE"], rotary_width(c))
    k, back_rotate_k = rotate(k, c["ROPE_BASE"], rotary_width(c))
    (q, back_norm_q), (k, back_norm_k) = norm(q), norm(k)
    k, back_offset = offset(k, rotary_width(c)) if c["KEY_OFFSET"] else (k, lambda dk: dk)
    y, back_attend = attend(q, k, v, window(c, layer, ids.shape[1]))
    y, back_out = linear(y.reshape(*ids.shape, -1), weights, f"{name}.out", gradients)

    def back(dy):
        dq, dk, dv = back_attend(back_out(dy))
        dq, dk = back_rotate_q(back_norm_q(dq)), back_rotate_k(back_norm_k(back_offset(dk)))
        flat = (*ids.shape, -1)
        dx = back_q(dq.reshape(flat)) + back_k(dk.reshape(flat)) + back_v(dv.reshape(flat))
        if has_value_embedding(c, layer):
            back_table((gate[..., None] * dv).reshape(flat))
            dx[..., : c["GATE_CHANNELS"]] += back_gate((dv * table).sum(-1) * gate * (1 - gate / 2))
        return dx

    return y, back


def mlp(x, weights, layer, gradients):
    """Squared ReLU, arXiv 2109.08668."""
    inner, back_up = linear(x, weights, f"mlp.{layer}.up", gradients)
    positive = np.maximum(inner, 0)
    y, back_down = linear(positive**2, weights, f"mlp.{layer}.down", gradients)
    return y, lambda dy: back_up(2 * positive * back_down(dy))


def evaluate(weights, ids, targets, c):
    """(logits [B, T, V], loss of each token in nats [B, T], gradients of their mean by name) of ids and targets [B, T]."""
    weights = {name: np.asarray(weight, np.float64) for name, weight in weights.items()}
    gradients = {name: np.zeros_like(weight) for name, weight in weights.items()}
    resid, skip = weights["resid_lambdas"], weights["x0_lambdas"]
    x, back_embed = embed(ids, weights, "embedding", gradients)
    x, back_first = norm(x)
    back_pairs = None
    if c["PAIR_ROWS"]:
        y, back_pairs = embed(pair_rows(ids, c["PAIR_ROWS"]), weights, "pair_embedding", gradients)
        x = x + y
    x0, layers = x, []
    for i in range(c["DEPTH"]):
        before = x
        x = resid[i] * x + skip[i] * x0
        y, back_norm_1 = norm(x)
        y, back_attention = attention(y, ids, weights, c, i, gradients)
        x = x + y
        y, back_norm_2 = norm(x)
        y, back_mlp = mlp(y, weights, i, gradients)
        x = x + y
        layers.append((before, back_norm_1, back_attention, back_norm_2, back_mlp))
    x, back_last = norm(x)
    raw, back_head = linear(x, weights, "lm_head", gradients)
    logits, token_loss, draw = cross_entropy(raw, targets, c["SOFTCAP"])

    dx, dx0 = back_last(back_head(draw)), 0
    for i, (before, back_norm_1, back_attention, back_norm_2, back_mlp) in reversed(list(enumerate(layers))):
        dx = dx + back_norm_2(back_mlp(dx))
        dx = dx + back_norm_1(back_attention(dx))
        gradients["resid_lambdas"][i], gradients["x0_lambdas"][i] = (dx * before).sum(), (dx * x0).sum()
        dx0 = dx0 + skip[i] * dx
        dx = resid[i] * dx
    if back_pairs:
        back_pairs(dx + dx0)
    back_embed(back_first(dx + dx0))
    return logits, token_loss, gradients


# ------------------------------------------------------------------------------------------------------------ optimizer

# Polar Express, arXiv 2505.16932: (a, b, c) of each iteration X <- a X + b (XX')X + c (XX')^2 X, for singular values in [0.001, 1]
# and with that paper's safety factor.
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


class Optimizer:
    """Muon for the matrices of attention and MLP, AdamW for everything else. It owns a float64 copy of the weights."""

    def __init__(self, weights, c):
        self.c, self.count = c, 0
        self.weights = {name: np.array(weight, np.float64) for name, weight in weights.items()}
        self.first = {name: np.zeros_like(weight) for name, weight in self.weights.items()}
        self.second = {name: 0.0 for name in weights}

    def step(self, gradients, progress: float) -> None:
        self.count += 1
        for name, gradient in gradients.items():
            is_matrix = name.startswith(("attention.", "mlp."))
            (self.muon if is_matrix else self.adam)(name, gradient, progress)

    def adam(self, name, gradient, progress):
        """AdamW, arXiv 1711.05101, with bias correction and eps outside the root; nothing that it trains is decayed."""
        c, beta2 = self.c, self.c["ADAM_BETA2"]
        lr, beta1 = self.adam_settings(name)
        self.first[name] = beta1 * self.first[name] + (1 - beta1) * gradient
        self.second[name] = beta2 * self.second[name] + (1 - beta2) * gradient**2
        mean, square = self.first[name] / (1 - beta1**self.count), self.second[name] / (1 - beta2**self.count)
        self.weights[name] -= lr * lr_multiplier(c, progress) * mean / (np.sqrt(square) + 1e-10)

    def adam_settings(self, name) -> tuple[float, float]:
        """(full learning rate, beta1). Tables' rates fall with the root of the width, and are meant for a width of 768."""
        c, by_width = self.c, (width(self.c) / 768) ** -0.5
        if name == "resid_lambdas":
            return c["SCALAR_LR"] * 0.01, c["ADAM_BETA1"]
        if name == "x0_lambdas":
            return c["SCALAR_LR"], 0.96
        rate = {"lm_head": "UNEMBEDDING_LR", "pair_embedding": "PAIR_LR"}.get(name, "EMBEDDING_LR")
        return c[rate] * by_width, c["ADAM_BETA1"]

    def muon(self, name, gradient, progress):
        """Muon (Jordan et al. 2024): Nesterov momentum, orthogonalised; then scaled as NorMuon (arXiv 2510.05491) does, at its old
        length; decayed where that agrees with the step (arXiv 2510.12402)."""
        c, weight = self.c, self.weights[name]
        mu = muon_momentum(c, progress)
        self.first[name] = mu * self.first[name] + (1 - mu) * gradient
        step = orthogonalise((1 - mu) * gradient + mu * self.first[name])
        rows, columns = weight.shape
        axis = 1 if rows >= columns else 0  # the shorter one is averaged away
        size = (step**2).mean(axis, keepdims=True)
        self.second[name] = c["MUON_BETA2"] * self.second[name] + (1 - c["MUON_BETA2"]) * size
        scaled = step / np.sqrt(np.maximum(self.second[name], 1e-10))
        step = scaled * np.linalg.norm(step) / np.linalg.norm(scaled)
        lr = c["MATRIX_LR"] * lr_multiplier(c, progress) * np.sqrt(max(1, rows / columns))
        decay = c["WEIGHT_DECAY"] * (1 - progress) * (step * weight > 0)
        self.weights[name] = weight - lr * (step + decay * weight)


def orthogonalise(gradient):
    """The nearest matrix whose singular values are all 1, nearly: five iterations of a polynomial in X."""
    x = gradient / (1.02 * np.linalg.norm(gradient) + 1e-6)
    for a, b, c in POLAR_EXPRESS:
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x


def lr_multiplier(c, progress: float) -> float:
    """Rises over WARMUP_RATIO, stays, and falls over WARMDOWN_RATIO to FINAL_LR_FRAC."""
    if progress < c["WARMUP_RATIO"]:
        return max(progress, 1e-3) / c["WARMUP_RATIO"]
    left = min(1.0, (1 - progress) / c["WARMDOWN_RATIO"])
    return left + (1 - left) * c["FINAL_LR_FRAC"]


def muon_momentum(c, progress: float) -> float:
    share = min(1.0, progress / c["MOMENTUM_WARMUP_RATIO"])
    return 0.85 + share * (c["MUON_MOMENTUM"] - 0.85)

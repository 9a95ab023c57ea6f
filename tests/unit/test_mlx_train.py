"""MLX's train.py at a size of milliseconds: what the model promises, what a warm-up leaves behind."""

import math

import pytest
from mlx_backend import needs_mlx, run


@needs_mlx
@pytest.mark.parametrize("pattern", ["L", "SL"])
def test_a_later_token_moves_no_earlier_logit(pattern):
    found = run(
        """
model = awake_model()
ids = get_batch(1)[0]
for changed in (0, 1, 13, 23):
    other = ids.copy()
    other[0, changed] = (other[0, changed] + 1) % 97
    found[changed] = mx.abs(model(mx.array(ids)) - model(mx.array(other))).max(-1)[0].tolist()
""",
        WINDOW_PATTERN=pattern,
    )
    for changed, difference in found.items():
        assert max(difference[: int(changed)], default=0.0) < 1e-5
        assert min(difference[int(changed) :]) > 1e-4


@needs_mlx
def test_logits_are_float32_inside_the_cap_and_the_loss_is_theirs():
    found = run("""
model = awake_model()
inputs, targets = map(mx.array, get_batch(2))
logits = model(inputs)
found |= {"dtype": str(logits.dtype), "shape": logits.shape, "largest": mx.abs(logits).max().item()}
found |= {"loss": model.loss(inputs, targets).item(), "plain": nn.losses.cross_entropy(logits, targets).mean().item()}
""")
    assert found["dtype"] == "mlx.core.float32" and found["shape"] == [2, 24, 97] and found["largest"] < 15
    assert found["loss"] == pytest.approx(found["plain"], abs=1e-5)


@needs_mlx
def test_grouped_heads_equal_repeated_heads():
    found = run(
        """
grouped = awake_model()
weights = grouped.weights()
for name, weight in weights.items():
    if name.endswith((".key", ".value", ".gate")):
        weights[name] = mx.tile(weight, (3, 1))
    elif name.startswith("value_embeddings"):
        weights[name] = mx.tile(weight, (1, 3))
train.GQA_RATIO = 1
single = train.build_model(SPEC)
single.load_weights(list(weights.items()))
ids = mx.array(get_batch(2)[0])
found["difference"] = mx.abs(grouped(ids) - single(ids)).max().item()
found["groups"] = [len(model.attention[0].key) // 16 for model in (grouped, single)]
""",
        GQA_RATIO=3,
    )
    assert found["groups"] == [1, 3] and found["difference"] < 1e-4


@needs_mlx
def test_bfloat16_is_kept_through_the_stream_and_float32_in_the_state():
    found = run(
        """
seen = {}
def watch(place, name):
    function = getattr(place, name)
    def watched(*arguments):
        arrays = [one for one in (*arguments, function(*arguments)) if isinstance(one, mx.array)]
        seen.setdefault(name, set()).update(str(array.dtype) for array in arrays)
        return function(*arguments)
    setattr(place, name, watched)
watch(runtime, "attention")
watch(runtime, "norm")
watch(train.nn, "relu")
trainer = train.Trainer(awake_model(), 24)
trainer.step(get_batch, 0.1)
found |= {name: sorted(dtypes) for name, dtypes in seen.items()}
found["hidden"] = [str(trainer.model.hidden(mx.array(get_batch(2)[0])).dtype)]
found["state"] = sorted({str(array.dtype) for _, array in tree_flatten([trainer.model.parameters(), trainer.optimizer.state])})
""",
        dtype="bfloat16",
    )
    bfloat16 = ["mlx.core.bfloat16"]
    assert found == {
        "attention": bfloat16, "norm": bfloat16, "relu": bfloat16, "hidden": bfloat16, "state": ["mlx.core.float32"],
    }  # fmt: skip


@pytest.mark.slow
@needs_mlx
def test_a_warm_up_leaves_no_trace():
    found = run("""
found["losses"] = []
for warm_up in (False, True):
    mx.random.seed(0)
    trainer = train.Trainer(train.build_model(SPEC), 24)
    before = trainer.model.weights()
    if warm_up:
        trainer.warm_up(lambda rows: get_batch(rows, seed=9))
        found["is_same"] = all(mx.array_equal(value, before[name]).item() for name, value in trainer.model.weights().items())
        found["is_fresh"] = not any(array.any().item() for _, array in tree_flatten(trainer.optimizer.state))
    found["losses"].append([float(trainer.step(get_batch, 0.1)) for _ in range(3)])
""")
    assert found["is_same"] and found["is_fresh"]
    assert found["losses"][0] == found["losses"][1]


@pytest.mark.slow
@needs_mlx
def test_it_learns():
    found = run("""
tokens = np.tile(np.arange(30, dtype=np.int32), 3)
def batch(rows):
    return np.stack([tokens[:24]] * rows), np.stack([tokens[1:25]] * rows)
mx.random.seed(0)
trainer = train.Trainer(train.build_model(SPEC), 24)
found["losses"] = [float(trainer.step(batch, 0.5)) for _ in range(12)]
""")
    assert found["losses"][0] == pytest.approx(math.log(97), abs=0.05) and found["losses"][-1] < 0.5 * found["losses"][0]


@needs_mlx
def test_flops_are_those_of_torch():
    found = run('found["flops"] = train.build_model(SPEC).flops_per_token(24)', WINDOW_PATTERN="L", DEPTH=1, ASPECT_RATIO=16)
    products = 97 * 16 + 4 * 16 * 16 + 2 * 64 * 16 + 8
    assert found["flops"] == 6 * products + 12 * 16 * 25 // 2

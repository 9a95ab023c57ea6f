"""The reference against finite differences and plain definitions, and the golden state against the reference."""

import golden
import make
import numpy as np
import pytest
import reference

C, V, T = golden.ABOUT["constants"], golden.ABOUT["vocab_size"], golden.ABOUT["seq_len"]


@pytest.fixture(scope="module")
def state():
    return golden.load()


def start(seed: int = 0, **values):
    """(constants, random weights, ids [2, T], targets [2, T])."""
    c, rng = C | values, np.random.default_rng(seed)
    return c, make.random_weights(c, V, rng), *rng.integers(V, size=(2, 2, T))


def test_the_shipped_state_is_what_make_writes(state):
    made = make.make(golden.ABOUT)
    assert {name: value.shape for name, value in made.items()} == {name: value.shape for name, value in state.items()}
    for name, value in made.items():
        assert value.dtype == state[name].dtype, name
        np.testing.assert_allclose(state[name], value, rtol=1e-6, atol=1e-8, err_msg=name)


def test_the_state_is_small_and_leaves_no_path_out(state):
    assert (golden.FOLDER / "golden.npz").stat().st_size < 300_000
    weights, gradients, after = (golden.part(state, prefix) for prefix in ("weights", "gradients", "after"))
    for name, weight in weights.items():
        assert weight.all(), name
        assert gradients[name].any(axis=-1).mean() > 0.5, name  # only tokens that don't occur have none
        assert np.abs(after[name] - weight).max() > 1e-3, name
    assert np.abs(state["logits"]).max() > 0.8 * C["SOFTCAP"]  # where the cap bends
    assert state["losses"][-3:].mean() < state["losses"][:3].mean() - 0.5


CHANGED = {
    "ROTARY_SHARE": 0.75, "KEY_OFFSET": 0, "PAIR_LR": 0.021, "ROPE_BASE": 1e4, "SOFTCAP": 6.0,
    "SHORT_WINDOW": 0.3, "WINDOW_PATTERN": "L", "EMBEDDING_LR": 0.021, "UNEMBEDDING_LR": 0.0041,
    "MATRIX_LR": 0.041, "SCALAR_LR": 0.051, "ADAM_BETA1": 0.81, "ADAM_BETA2": 0.96, "MUON_MOMENTUM": 0.94, "MUON_BETA2": 0.9,
    "WEIGHT_DECAY": 0.19, "WARMUP_RATIO": 0.1, "WARMDOWN_RATIO": 0.51, "FINAL_LR_FRAC": 0.09, "MOMENTUM_WARMUP_RATIO": 0.2,
}  # fmt: skip


def noticed(state, c) -> dict[str, float]:
    """The deviations beyond float32's tolerances when the reference, as it now is, follows the state."""
    found = make.follow(golden.part(state, "weights"), state["ids"], c)
    return golden.beyond(golden.deviations(found, state), "float32")


@pytest.mark.parametrize("name", CHANGED)
def test_another_value_of_a_constant_is_noticed(state, name):
    assert not noticed(state, C)
    assert {"losses", "after"} <= noticed(state, C | {name: CHANGED[name]}).keys()


def rotate_by_plus_theta(x, base, width):
    def swapped(pairs):
        return np.concatenate([np.roll(pairs[..., :width], width // 2, -1), pairs[..., width:]], -1)

    y, back = ROTATE(swapped(x), base, width)
    return swapped(y), lambda dy: swapped(back(swapped(dy)))


def offset_to_the_token_after(k, width):
    y, back = OFFSET(k[:, ::-1], width)
    return y[:, ::-1], lambda dy: back(dy[:, ::-1])[:, ::-1]


def adam_without_bias_correction(optimizer, *arguments):
    count, optimizer.count = optimizer.count, 10**9
    ADAM(optimizer, *arguments)
    optimizer.count = count


def muon_that_decays_everywhere(optimizer, name, gradient, progress):
    before, c = optimizer.weights[name].copy(), optimizer.c
    optimizer.c = c | {"WEIGHT_DECAY": 0.0}
    MUON(optimizer, name, gradient, progress)
    optimizer.c = c
    lr = c["MATRIX_LR"] * reference.lr_multiplier(c, progress) * np.sqrt(max(1, before.shape[0] / before.shape[1]))
    optimizer.weights[name] -= lr * c["WEIGHT_DECAY"] * (1 - progress) * before


ROTATE, OFFSET, WINDOW = reference.rotate, reference.offset, reference.window
ADAM, MUON = reference.Optimizer.adam, reference.Optimizer.muon
MISTAKES = [
    ("the norm's eps of another framework", reference, "EPS", 1e-6),
    ("rotation by plus theta", reference, "rotate", rotate_by_plus_theta),
    ("keys of the token after", reference, "offset", offset_to_the_token_after),
    ("a window of w sees w keys", reference, "window", lambda *arguments: WINDOW(*arguments) - 1),
    ("the first Muon's five iterations", reference, "POLAR_EXPRESS", ((3.4445, -4.7750, 2.0315),) * 5),
    ("no bias correction", reference.Optimizer, "adam", adam_without_bias_correction),
    ("decay that is not cautious", reference.Optimizer, "muon", muon_that_decays_everywhere),
]


@pytest.mark.parametrize("owner, name, mistake", [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_a_known_mistake_is_noticed(state, monkeypatch, owner, name, mistake):
    monkeypatch.setattr(owner, name, mistake)
    assert noticed(state, C)


SHAPES = [
    {}, {"ROTARY_SHARE": 1, "KEY_OFFSET": 0}, {"ROTARY_SHARE": 0.25}, {"GQA_RATIO": 1, "WINDOW_PATTERN": "L"},
    {"DEPTH": 2, "ASPECT_RATIO": 32, "GQA_RATIO": 4}, {"PAIR_ROWS": 0},
]  # fmt: skip


@pytest.mark.parametrize("values", SHAPES)
def test_gradients_are_finite_differences(values):
    c, weights, ids, targets = start(**values)
    weights = {name: weight.astype(np.float64) for name, weight in weights.items()}
    _, _, gradients = reference.evaluate(weights, ids, targets, c)
    rng, h = np.random.default_rng(1), 1e-5
    for name, weight in weights.items():
        direction = rng.standard_normal(weight.shape)
        sides = [weights | {name: weight + sign * h * direction} for sign in (1, -1)]
        above, below = (reference.evaluate(side, ids, targets, c)[1].mean() for side in sides)
        assert (gradients[name] * direction).sum() == pytest.approx((above - below) / (2 * h), rel=1e-5, abs=1e-9), name


@pytest.mark.parametrize("changed", [1, 13, T - 1])
def test_a_later_token_moves_no_earlier_logit(changed):
    c, weights, ids, targets = start()
    other = ids.copy()
    other[:, changed] = (other[:, changed] + 1) % V
    logits, others = (reference.evaluate(weights, tokens, targets, c)[0] for tokens in (ids, other))
    moved = np.abs(logits - others).max(axis=(0, 2))
    assert moved[:changed].max() == 0 and moved[changed:].min() > 1e-6


@pytest.mark.parametrize("window", [1, 6, T])
def test_a_window_of_w_sees_w_plus_1_keys(window):
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, T, 1, 4))
    _, back = reference.attend(q, k, v, window)
    for row in range(T):
        upstream = np.zeros_like(q)
        upstream[0, row] = 1
        seen = np.flatnonzero(np.abs(back(upstream)[2]).sum(axis=(0, 2, 3)))
        assert seen.tolist() == list(range(max(0, row - window), row + 1))


def test_windows_are_short_by_the_pattern_and_full_in_the_last_layer():
    assert [reference.window(C, layer, T) for layer in range(3)] == [6, T, T]


def test_grouped_heads_equal_repeated_ones():
    c, weights, ids, targets = start(GQA_RATIO=2)
    repeated = dict(weights)
    for name, weight in weights.items():
        if name.endswith((".key", ".value", ".gate")):
            repeated[name] = np.tile(weight, (2, 1))
        elif name.startswith("value_embeddings"):
            repeated[name] = np.tile(weight, (1, 2))
    grouped = reference.evaluate(weights, ids, targets, c)[0]
    np.testing.assert_allclose(reference.evaluate(repeated, ids, targets, c | {"GQA_RATIO": 1})[0], grouped, atol=1e-12)


def test_logits_stay_inside_the_cap_and_small_ones_are_not_bent():
    raw = np.array([-1e6, -30.0, 1e-3, 30.0, 1e6]).reshape(1, 1, 5)
    logits, *_ = reference.cross_entropy(raw, np.zeros((1, 1), int), 5.0)
    assert np.abs(logits).max() <= 5 and logits[0, 0, 2] == pytest.approx(1e-3, rel=1e-6)


def test_a_gate_of_zero_adds_the_value_embedding_once():
    c, weights, ids, _ = start(DEPTH=1, ASPECT_RATIO=32, GQA_RATIO=1, WINDOW_PATTERN="L")
    x = np.random.default_rng(2).standard_normal((2, T, 32))
    weights = {name: weight.astype(np.float64) for name, weight in weights.items()}
    weights |= {"attention.0.gate": np.zeros((2, c["GATE_CHANNELS"])), "attention.0.value": np.zeros((32, 32))}
    weights["attention.0.out"] = np.eye(32)
    y, _ = reference.attention(x, ids, weights, c, 0, {name: np.zeros_like(weight) for name, weight in weights.items()})
    np.testing.assert_allclose(y[:, 0], weights["value_embeddings.0"][ids[:, 0]])  # the first token sees itself alone


def test_rotation_is_by_minus_theta_and_scores_depend_on_the_distance_alone():
    turned, _ = reference.rotate(np.tile([1.0, 0.0], (1, 2, 1, 1)), 10.0, 2)
    np.testing.assert_allclose(turned[0, 1, 0], [np.cos(1), -np.sin(1)])
    parts = (np.tile(np.random.default_rng(seed).standard_normal(16), (1, T, 1, 1)) for seed in (0, 1))
    q, k = (reference.rotate(part, 1000.0, 12)[0] for part in parts)
    assert q[0, 3, 0] @ k[0, 1, 0] == pytest.approx(q[0, 20, 0] @ k[0, 18, 0])


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8)])
def test_orthogonalised_singular_values_are_near_1_and_directions_stay(shape):
    gradient = np.random.default_rng(0).standard_normal(shape)
    u, values, vt = np.linalg.svd(gradient, full_matrices=False)
    inside = u.T @ reference.orthogonalise(gradient) @ vt.T
    np.testing.assert_allclose(inside, np.diag(np.diag(inside)), atol=1e-9)
    assert np.all((np.diag(inside)[values > 0.1 * values[0]] > 0.8) & (np.diag(inside)[values > 0.1 * values[0]] < 1.2))


def test_muon_keeps_the_steps_length_and_decays_only_where_that_agrees():
    name, rng = "attention.0.query", np.random.default_rng(0)
    weight, gradient = rng.standard_normal((2, 32, 32))
    steps = []
    for decay in (0.0, 0.5):
        optimizer = reference.Optimizer({name: weight}, C | {"WEIGHT_DECAY": decay, "WARMUP_RATIO": 0, "MATRIX_LR": 0.1})
        optimizer.step({name: gradient}, 0.0)
        steps.append(weight - optimizer.weights[name])
    plain, decayed = steps
    assert np.linalg.norm(plain) == pytest.approx(0.1 * np.linalg.norm(reference.orthogonalise(gradient)))
    assert np.ptp(np.linalg.norm(plain, axis=1)) < 1e-6  # one length for all rows, at the first step
    np.testing.assert_allclose(decayed, plain + np.where(plain * weight > 0, 0.1 * 0.5 * weight, 0))


def test_the_first_step_of_adam_is_the_learning_rate_against_the_gradient():
    c = C | {"WARMUP_RATIO": 0, "SCALAR_LR": 0.5}
    optimizer = reference.Optimizer({"x0_lambdas": np.zeros(4)}, c)
    optimizer.step({"x0_lambdas": np.array([3.0, -1e-3, 1e-7, 0.0])}, 0.0)
    np.testing.assert_allclose(optimizer.weights["x0_lambdas"], [-0.5, 0.5, -0.5, 0.0], rtol=2e-3)


def test_schedules():
    c = C | {"WARMUP_RATIO": 0.1, "WARMDOWN_RATIO": 0.5, "FINAL_LR_FRAC": 0.2, "MOMENTUM_WARMUP_RATIO": 0.1}
    multipliers = [reference.lr_multiplier(c, progress) for progress in (0.0, 0.05, 0.1, 0.5, 0.75, 1.0)]
    assert multipliers == pytest.approx([0.01, 0.5, 1, 1, 0.6, 0.2])
    assert [reference.muon_momentum(c, progress) for progress in (0.0, 0.05, 1.0)] == pytest.approx([0.85, 0.9, 0.95])

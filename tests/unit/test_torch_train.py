"""train.py at a size of milliseconds: what the model promises, what the optimizer does, what a warm-up leaves behind."""

import functools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_backend  # noqa: E402
from torch_backend import SPEC  # noqa: E402

from autoresearch import constants  # noqa: E402


@pytest.fixture(scope="module")
def train():
    return torch_backend.train()


def awake_model(train, seed=0):
    """A model in which every path carries something: at the start the outputs of all blocks are zero."""
    torch.manual_seed(seed)
    model = train.build_model(SPEC)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def get_batch(seed=0):
    rng = np.random.default_rng(seed)

    def batch(rows):
        tokens = rng.integers(SPEC.vocab_size, size=(rows, SPEC.seq_len + 1), dtype=np.int32)
        return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])

    return batch


def test_every_constant_is_readable_and_has_a_range_that_holds_it():
    for name, constant in constants.read(torch_backend.SOURCE).items():
        assert constant.annotation is not None and constant.comment, name
        match constant.annotation:
            case constants.Range(low, high):
                assert low <= constant.value <= high, name
            case constants.Choices(values):
                assert constant.value in values, name


def test_logits_have_a_row_for_each_token_and_stay_inside_the_cap(train):
    logits = awake_model(train)(torch.randint(97, (2, 24)))
    assert logits.shape == (2, 24, 97) and logits.dtype == torch.float32
    assert logits.abs().max() < train.SOFTCAP


@pytest.mark.parametrize("pattern", ["L", "SL"])
@pytest.mark.parametrize("changed", [0, 1, 13, 23])
def test_a_later_token_moves_no_earlier_logit(pattern, changed):
    model = awake_model(torch_backend.train(WINDOW_PATTERN=pattern))
    ids = torch.randint(97, (1, 24), generator=torch.Generator().manual_seed(1))
    other = ids.clone()
    other[0, changed] = (other[0, changed] + 1) % 97
    with torch.no_grad():
        difference = (model(ids) - model(other)).abs().amax(-1)[0]
    assert difference[:changed].max().item() < 1e-5 if changed else True
    assert difference[changed:].min().item() > 1e-4


def test_short_windows_are_a_fraction_of_the_row_and_the_last_layer_is_full(train):
    assert train.windows(24) == [6, 24, 24]
    assert torch_backend.train(WINDOW_PATTERN="S", DEPTH=4).windows(100) == [25, 25, 25, 100]


def test_grouped_heads_equal_repeated_heads():
    grouped = awake_model(torch_backend.train(GQA_RATIO=3))
    single = torch_backend.train(GQA_RATIO=1).build_model(SPEC)
    state = grouped.state_dict()
    for name in state:
        if name.endswith((".key", ".value", ".gate")):
            state[name] = state[name].repeat(3, 1)
        elif name.startswith("value_embeddings"):
            state[name] = state[name].repeat(1, 3)
    single.load_state_dict(state)
    ids = torch.randint(97, (2, 24))
    with torch.no_grad():
        torch.testing.assert_close(grouped(ids), single(ids), atol=1e-4, rtol=0)


def test_rotation_is_by_minus_theta_and_scores_depend_on_distance_only(train):
    angle = torch.tensor([0.3]).view(1, 1, 1)
    turned = train.rotate(torch.tensor([1.0, 0.0]).view(1, 1, 1, 2), angle.cos(), angle.sin()).flatten()
    torch.testing.assert_close(turned, torch.tensor([np.cos(0.3), -np.sin(0.3)], dtype=torch.float32))
    model = train.build_model(SPEC)
    q, k = (train.rotate(torch.randn(16).expand(1, 24, 1, 16), model.cos, model.sin)[0, :, 0] for _ in range(2))
    scores = q @ k.T
    torch.testing.assert_close(scores[3, 1], scores[20, 18], atol=1e-4, rtol=0)


def test_the_training_loss_is_that_of_the_logits(train):
    model = awake_model(train)
    ids, targets = torch.randint(97, (2, 24)), torch.randint(97, (2, 24))
    expected = torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
    torch.testing.assert_close(model.loss(ids, targets), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rows, columns", [(64, 64), (32, 128), (128, 32)])
def test_polar_express_brings_singular_values_near_1(train, rows, columns):
    gradient = torch.randn(3, rows, columns, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(train.orthogonalise(gradient).float())
    # A square Gaussian matrix has a few singular values near 0, which five iterations do not lift all the way.
    assert values.max() < 1.25 and values.median() > 0.85 and (values > 0.6).float().mean() > 0.95


def test_weight_decay_is_cautious(train):
    weight, gradient = torch.randn(1, 8, 8), torch.randn(1, 8, 8)
    momentum, variance = torch.zeros_like(weight), torch.zeros(1, 8, 1)
    numbers = [torch.tensor(number) for number in (0.9, 0.1)]
    plain, *_ = train.muon_update(weight, gradient, momentum, variance, *numbers, torch.tensor(0.0))
    decayed, *_ = train.muon_update(weight, gradient, momentum, variance, *numbers, torch.tensor(0.5))
    is_shrinking = (weight - plain) * weight > 0
    torch.testing.assert_close(decayed, torch.where(is_shrinking, plain - 0.05 * weight, plain))


def test_schedules():
    train = torch_backend.train(WARMUP_RATIO=0.1, WARMDOWN_RATIO=0.5, FINAL_LR_FRAC=0.2, MOMENTUM_WARMUP_RATIO=0.1)
    assert [train.lr_multiplier(progress) for progress in (0.05, 0.1, 0.5, 1.0)] == pytest.approx([0.5, 1, 1, 0.2])
    assert train.lr_multiplier(0.0) > 0
    assert [train.muon_momentum(progress) for progress in (0.0, 0.1, 1.0)] == pytest.approx([0.85, 0.95, 0.95])


@pytest.mark.slow
def test_a_warm_up_leaves_no_trace(train):
    losses = []
    for warm_up in (False, True):
        torch.manual_seed(0)
        trainer = train.Trainer(train.build_model(SPEC), SPEC.seq_len)
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        if warm_up:
            trainer.warm_up(get_batch(9))
            for name, value in trainer.model.state_dict().items():
                assert torch.equal(value, before[name]), name
            assert not trainer.optimizer.adam.state
            assert all(not stack[1].any() and not stack[2].any() for stack in trainer.optimizer.stacks)
            assert all(parameter.grad is None for parameter in trainer.model.parameters())
        batch = get_batch(1)
        losses.append([trainer.step(batch, 0.1).item() for _ in range(3)])
    assert losses[0] == losses[1]


def test_accumulated_passes_are_one_big_batch():
    after = []
    for rows in (4, 2):
        train = torch_backend.train(DEVICE_BATCH_SIZE=rows, ADAM_BETA2=0.9)
        model = awake_model(train)
        trainer = train.Trainer(model, SPEC.seq_len)
        assert trainer.rows * trainer.passes == 4
        trainer.step(get_batch(), 0.1)
        after.append(torch.cat([parameter.detach().flatten() for parameter in model.attention.parameters()]))
    torch.testing.assert_close(*after, atol=1e-3, rtol=0)


# A device that is full


def limited(attention, most_rows, calls_before=0):
    """An attention that raises PyTorch's own error above a number of rows, from a call on: a device of that size."""
    calls = 0

    def attend(q, k, v, window):
        nonlocal calls
        calls += 1
        if calls > calls_before and q.size(0) > most_rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return attention(q, k, v, window)

    return attend


def weights_after(trainer, steps=3):
    batch = get_batch(1)
    losses = [trainer.step(batch, 0.1).item() for _ in range(steps)]
    return losses, {name: value.clone() for name, value in trainer.model.state_dict().items()}


@functools.cache
def on_a_device_with_room(rows):
    """(losses, weights) after three steps of 8 rows, `rows` at a time."""
    train = torch_backend.train(DEVICE_BATCH_SIZE=rows, TOTAL_BATCH_SIZE=8 * 24)
    return weights_after(train.Trainer(awake_model(train), SPEC.seq_len))


@pytest.mark.slow
@pytest.mark.parametrize(
    "most_rows, calls_before",
    [
        (2, 0),  # at once
        (1, 4),  # in the second pass of the first step
        (2, 4),
        (2, 10),  # in the second step, inside the clock
    ],
)
def test_a_full_device_gets_smaller_portions_of_the_same_step(monkeypatch, capsys, most_rows, calls_before):
    expected_losses, expected = on_a_device_with_room(4)
    _, exact = on_a_device_with_room(most_rows)

    train = torch_backend.train(DEVICE_BATCH_SIZE=4, TOTAL_BATCH_SIZE=8 * 24)
    trainer = train.Trainer(awake_model(train), SPEC.seq_len)
    runtime = torch_backend.runtime()
    monkeypatch.setattr(runtime, "attention", limited(runtime.attention, most_rows, calls_before))
    losses, weights = weights_after(trainer)
    assert (trainer.rows, trainer.passes) == (most_rows, 8 // most_rows)
    assert f"{most_rows} rows in {8 // most_rows} passes from here on, the same 8 a step" in capsys.readouterr().out
    assert losses == pytest.approx(expected_losses, abs=1e-5)
    for name, value in weights.items():
        torch.testing.assert_close(value, expected[name], atol=2e-3, rtol=0)  # sums in another order, through Muon
        if calls_before < 10:  # all of it was done in small portions, and leaves no trace of the attempts
            assert torch.equal(value, exact[name]), name


@pytest.mark.slow
def test_the_warm_up_finds_out_how_many_rows_fit(monkeypatch):
    train = torch_backend.train(DEVICE_BATCH_SIZE=6, TOTAL_BATCH_SIZE=6 * 24)
    trainer = train.Trainer(awake_model(train), SPEC.seq_len)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    runtime = torch_backend.runtime()
    monkeypatch.setattr(runtime, "attention", limited(runtime.attention, 2))
    trainer.warm_up(get_batch(9))
    assert (trainer.rows, trainer.passes) == (1, 6)  # 3 rows did not fit; at most half of 3, in whole portions
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    asked = []

    def batch(rows):
        asked.append(rows)
        return get_batch(1)(rows)

    trainer.step(batch, 0.1)
    assert asked == [1] * 6


def test_a_device_for_which_one_row_is_too_much_says_so(train, monkeypatch):
    trainer = train.Trainer(train.build_model(SPEC), SPEC.seq_len)
    runtime = torch_backend.runtime()
    monkeypatch.setattr(runtime, "attention", limited(runtime.attention, 0))
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        trainer.warm_up(get_batch())
    assert trainer.rows == 1


def test_another_error_is_not_taken_for_a_full_device(train, monkeypatch):
    trainer = train.Trainer(train.build_model(SPEC), SPEC.seq_len)
    monkeypatch.setattr(torch_backend.runtime(), "attention", lambda q, k, v, window: q @ v)
    with pytest.raises(RuntimeError, match="size"):
        trainer.step(get_batch(), 0.1)
    assert trainer.rows == 2


# float16


def test_a_scale_of_the_loss_leaves_no_trace_in_the_weights(train, monkeypatch):
    _, expected = weights_after(train.Trainer(awake_model(train), SPEC.seq_len))
    monkeypatch.setattr(torch_backend.runtime(), "loss_scale", 2.0**13)
    _, weights = weights_after(train.Trainer(awake_model(train), SPEC.seq_len))
    for name, value in weights.items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("at", [0, 2])
def test_a_step_that_overflows_is_left_out_and_the_scale_follows(train, monkeypatch, at):
    """The same steps without it end in the same weights, bit for bit."""
    monkeypatch.setattr(torch_backend.runtime(), "loss_scale", 2.0**20)
    monkeypatch.setattr(train.Trainer, "SCALE_GROWS_AFTER", 3)

    def after(overflow_at: int | None) -> tuple:
        trainer, batch, scales = train.Trainer(awake_model(train), SPEC.seq_len), get_batch(), []
        for step in range(4):
            if step == overflow_at:
                with monkeypatch.context() as patch:
                    patch.setattr(trainer, "loss", lambda *ids: trainer.model.loss(*ids) * 1e34)  # its gradients: 1e40
                    assert trainer.step(get_batch(9), 0.1).isfinite()  # the loss itself is not scaled
                scales.append(trainer.loss_scale.item())
            trainer.step(batch, 0.1)
            scales.append(trainer.loss_scale.item())
        adam = [value for state in trainer.optimizer.adam.state.values() for value in state.values()]
        return (
            trainer,
            scales,
            [*trainer.model.parameters(), *adam, *(one for stack in trainer.optimizer.stacks for one in stack[1:3])],
        )

    _, scales, expected = after(None)
    assert scales == [2.0**20, 2.0**20, 2.0**21, 2.0**21]
    trainer, scales, found = after(at)
    assert scales == ([2.0**19] * 3 + [2.0**20] * 2 if at == 0 else [2.0**20] * 2 + [2.0**19] * 3)
    assert all(map(torch.equal, found, expected))
    trainer.warm_up(get_batch())
    assert trainer.loss_scale == 2.0**20  # as at the start: stand-in tokens say nothing of the real ones


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_it_learns(train, dtype, monkeypatch):
    runtime = torch_backend.runtime()
    monkeypatch.setattr(runtime, "dtype", dtype)
    monkeypatch.setattr(runtime, "loss_scale", 2.0**13 if dtype == torch.float16 else 1.0)
    torch.manual_seed(0)
    trainer = train.Trainer(train.build_model(SPEC), SPEC.seq_len)
    assert train.orthogonalise(torch.randn(1, 8, 8)).dtype == torch.float32  # in float16 too
    tokens = np.tile(np.arange(30, dtype=np.int32), 3)

    def batch(rows):
        return np.stack([tokens[:24]] * rows), np.stack([tokens[1:25]] * rows)

    losses = [trainer.step(batch, 0.5).item() for _ in range(12)]
    assert losses[0] == pytest.approx(np.log(97), abs=0.05) and losses[-1] < 0.5 * losses[0]


def test_flops_count_what_the_mask_lets_through():
    one = torch_backend.train(WINDOW_PATTERN="L", DEPTH=1, ASPECT_RATIO=16)
    model = one.build_model(SPEC)
    products = 97 * 16 + 4 * 16 * 16 + 2 * 64 * 16 + model.attention[0].gate.numel()
    assert model.flops_per_token(24) == 6 * products + 12 * 16 * 25 // 2


def test_a_step_makes_no_tensor_on_the_device_from_a_number(train, monkeypatch):
    """torch.tensor(number, device=...) waits for all that the device has to do: 12 times a step."""
    model = train.GPT(64, 16)
    trainer = train.Trainer(model, 16)
    rng = np.random.default_rng(0)

    def batch(rows):
        tokens = rng.integers(64, size=(rows, 17), dtype=np.int32)
        return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])

    trainer.step(batch, 0.0)
    monkeypatch.setattr(train.torch, "tensor", None)
    monkeypatch.setattr(train.torch.Tensor, "item", None)
    loss = trainer.step(batch, 0.5)
    monkeypatch.undo()
    assert math.isfinite(train.runtime.read_later(loss)())

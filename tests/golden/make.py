"""Writes the golden state: `python tests/golden/make.py`. All of it follows from golden.json's sizes and constants, and a seed.

golden.npz holds (names of weights as in a checkpoint; letters as in reference.py):

    weights/NAME   float32    before the first step
    ids            int32 [steps, B, T + 1]   the tokens of each step: inputs are [..., :-1], targets [..., 1:]
    logits         float32 [B, T, V], token_loss [B, T], gradients/NAME: of the first step's tokens at those weights
    losses         float64 [steps]   the mean loss of each step; progress of step i is i / steps
    after/NAME     float32    the weights after all steps
"""

import golden
import numpy as np
import reference

SEED = 20260101
GRID = 2**9  # weights are odd multiples of half its inverse: never 0, and a smaller file


def make(about: dict) -> dict[str, np.ndarray]:
    """The arrays of golden.npz for golden.json's `about`."""
    c, rng = about["constants"], np.random.default_rng(SEED)
    weights = random_weights(c, about["vocab_size"], rng)
    share = 1 / np.arange(1, about["vocab_size"] + 1)  # some tokens often, some never: there is something to learn
    shape = (about["steps"], about["rows"], about["seq_len"] + 1)
    ids = rng.choice(about["vocab_size"], shape, p=share / share.sum()).astype(np.int32)
    return {f"weights/{name}": weight for name, weight in weights.items()} | {"ids": ids} | follow(weights, ids, c)


def follow(weights: dict, ids: np.ndarray, c: dict) -> dict[str, np.ndarray]:
    """What the reference says of these weights and tokens: everything in the state that is not given."""
    logits, token_loss, gradients = reference.evaluate(weights, ids[0, :, :-1], ids[0, :, 1:], c)
    optimizer, losses = reference.Optimizer(weights, c), []
    for step, tokens in enumerate(ids):
        _, step_loss, step_gradients = reference.evaluate(optimizer.weights, tokens[:, :-1], tokens[:, 1:], c)
        optimizer.step(step_gradients, step / len(ids))
        losses.append(step_loss.mean())
    found = {"logits": logits, "token_loss": token_loss}
    found |= {f"gradients/{name}": gradient for name, gradient in gradients.items()}
    found |= {f"after/{name}": weight for name, weight in optimizer.weights.items()}
    return {name: value.astype(np.float32) for name, value in found.items()} | {"losses": np.array(losses)}


def random_weights(c: dict, vocab_size: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """float32 weights of which none is zero, so that every path carries something forwards and backwards."""
    weights = {}
    for name, shape in reference.shapes(c, vocab_size).items():
        if name == "resid_lambdas":
            values = rng.uniform(0.8, 1.2, shape)
        elif name == "x0_lambdas":
            values = rng.uniform(0.1, 0.4, shape)
        elif name == "embedding":
            values = rng.standard_normal(shape)
        else:
            values = rng.standard_normal(shape) / np.sqrt(shape[1])
        if name == "lm_head":
            values = 2 * values  # so that the soft cap bends the logits
        weights[name] = ((np.floor(values * GRID) + 0.5) / GRID).astype(np.float32)
    return weights


if __name__ == "__main__":
    np.savez_compressed(golden.FOLDER / "golden.npz", **make(golden.ABOUT))

"""What the tests of MLX's train.py and runtime begin with, in a child process."""

import importlib.util

import backend_child
import pytest

needs_mlx = pytest.mark.skipif(importlib.util.find_spec("mlx") is None, reason="mlx is not installed")

START = """
import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_map

def awake_model():
    "A model in which every path carries something: at the start the outputs of all blocks are zero."
    mx.random.seed(0)
    model = train.build_model(SPEC)
    model.update(tree_map(lambda weight: weight + 0.2 * mx.random.normal(weight.shape), model.parameters()))
    return model
"""


def run(lines: str, dtype: str = "float32", **values) -> dict:
    """What the lines put into `found`; see backend_child.run."""
    return backend_child.run("mlx", f"{START}\n{lines}", dtype, **values)

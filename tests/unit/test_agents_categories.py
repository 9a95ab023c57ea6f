"""What an edit of the shipped train.py files is called, and that every text has a category."""

import random

import pytest

from autoresearch import constants, paths
from autoresearch.categories import CATEGORIES, CODE, CONSTANTS, category

BACKENDS = ("torch", "mlx", "jax", "null")


def train_py(backend: str) -> str:
    return (paths.shipped("backends") / backend / "train.py").read_text(encoding="utf-8")


TORCH = train_py("torch")
FIRST = {"DEPTH": 6, "TOTAL_BATCH_SIZE": 4096, "MATRIX_LR": 0.02, "WARMDOWN_RATIO": 0.3, "X0_INIT": 0.2}  # one of each section


def edited(old: str, new: str, text: str = TORCH) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "section"), list(zip(FIRST, CONSTANTS, strict=True)))
def test_a_constant_has_the_name_of_its_section(backend, name, section):
    text = train_py(backend)
    assert category(text, constants.write(text, {name: FIRST[name]})) == section


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("q, k = norm(rotate(q, cos, sin)), norm(", "q, k = rotate(q, cos, sin), (", "attention"),
        ("F.relu(linear(x, self.up)).square()", "F.silu(linear(x, self.up))", "mlp"),
        ("x = resid * x + skip * x0", "x = resid * x", "norm and residual"),
        ("0.001 * torch.randn(vocab_size, width)", "torch.zeros(vocab_size, width)", "embedding and head"),
        ("gradient.norm(dim=(1, 2), keepdim=True) * 1.02", "gradient.norm(dim=(1, 2), keepdim=True) * 1.01", "optimizer"),
        ("    (4.042929935166739, -2.808917465908714, 0.5000178451051316),\n", "", "optimizer"),
        ("return runtime.cross_entropy(", "return 0.9 * runtime.cross_entropy(", "loss"),
        ("    return left + (1 - left) * FINAL_LR_FRAC", "    return left**2 + (1 - left) * FINAL_LR_FRAC", "schedules"),
        ("    gc.disable()\n", "", "loop"),
        ("import math\n", "import math\nimport os\n", "other"),
        ("DEPTH = 8  # layers [2..12]", "DEPTH = 8  # blocks [2..16]", "other"),
        ("DEPTH = 8  # layers [2..12]", "\n# More\nDEPTH = 8  # layers [2..12]", "other"),
    ],
)
def test_code_has_the_name_of_the_part_that_it_touches(old, new, expected):
    assert category(TORCH, edited(old, new)) == expected


def test_code_counts_where_numbers_changed_too():
    text = constants.write(TORCH, {"DEPTH": 6, "MLP_RATIO": 3})
    text = edited("F.relu(linear(x, self.up)).square()", "F.silu(linear(x, self.up))", text)
    assert category(TORCH, text) == "mlp"


def test_the_part_with_the_most_changed_lines_counts():
    line = "        return linear(F.relu"
    text = edited(line, f"        x = norm(x)\n        x = 2 * x\n        x = x / 2\n{line}")
    text = edited("    gc.disable()\n", "", text)
    assert category(TORCH, text) == "mlp"


def test_new_constant_counts_by_where_it_lies():
    assert category(TORCH, edited("\n# Batch\n", "NEW = 3\n\n# Batch\n")) == "shape"
    assert category(TORCH, edited("\n# Batch\n", "\n# Mine\nNEW = 3\n\n# Batch\n")) == "other"
    assert category(TORCH, edited("DEVICE_BATCH_SIZE = 32", "NEW = 3\nDEVICE_BATCH_SIZE = 32")) == "batch"


def test_lines_in_another_order_are_a_change():
    first = "        x = 2 * x\n"
    second = "        x = x + 1\n"
    line = "        return linear(F.relu"
    one, other = edited(line, first + second + line), edited(line, second + first + line)
    assert category(one, other) == "mlp"


def test_every_changed_line_has_a_category_and_most_of_the_code_has_a_name():
    for backend in BACKENDS[:3]:
        text = train_py(backend)
        lines = text.splitlines()
        body = range(next(i for i, line in enumerate(lines) if line.startswith("# Model")), len(lines))
        kinds = [category(text, "\n".join([*lines[:i], lines[i] + " + 1", *lines[i + 1 :]])) for i in body if lines[i].strip()]
        assert set(kinds) <= set(CATEGORIES)
        assert {"attention", "mlp", "norm and residual", "embedding and head", "optimizer", "loss", "loop"} <= set(kinds)
        assert kinds.count("other") < len(kinds) / 4


def test_no_text_is_too_odd():
    rng = random.Random(0)
    odd = ["]\n)", "\t\tdef f", "", "\n", "def", "class :\n  def (", "x = '''", "\x00\ud800"]
    odd += ["\r\r\n#\r", "# ---------------------------\n#"]
    for _ in range(300):
        start, end = sorted(rng.sample(range(len(TORCH)), 2))
        odd.append(TORCH[:start] + rng.choice(odd[:10]) + TORCH[end:])
    for text in odd:
        for pair in ((TORCH, text), (text, TORCH), (text, text), ("", text)):
            assert category(*pair) in CATEGORIES
    assert category("", "") == category(TORCH, TORCH) == "other"


def test_the_names_are_those_of_both_kinds():
    assert CATEGORIES == CONSTANTS + CODE and len(set(CATEGORIES)) == 13

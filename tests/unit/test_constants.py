"""constants: what is read from a train.py, and that writing changes the literal and not one byte more."""

import gc
import string
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch import constants
from autoresearch.constants import Choices, Fixed, Range
from autoresearch.errors import UsageError

TRAIN = '''"""A train.py, with a decoy: DEPTH = 99"""
import math

DEPTH = 4  # layers [2..12]
MATRIX_LR = 0.04   # learning rate of the matrices [0.005..0.2 log]
TOTAL_BATCH_SIZE = 2**16  # tokens a step [2**12..2**20 log]
HEAD_DIM = 64  # [32, 64, 128]
WINDOW_PATTERN = "SSSL"  # ["L", "SL", "SSSL"]
BETAS = (0.8, 0.95)
EPS: float = 1e-10
USE_BIAS = False
SAVE_EVERY = 10  # [fixed]
SHIFT = -0.5  # μ, not annotated
WIDTH = DEPTH * 64
EMPTY = None
TWICE = 1
TWICE = 2
lower = 3


def f():
    DEPTH = 5
    return DEPTH
'''


def test_reads_literals_and_nothing_else():
    found = constants.read(TRAIN)
    assert {name: constant.value for name, constant in found.items()} == {
        "DEPTH": 4, "MATRIX_LR": 0.04, "TOTAL_BATCH_SIZE": 65536, "HEAD_DIM": 64, "WINDOW_PATTERN": "SSSL",
        "BETAS": (0.8, 0.95), "EPS": 1e-10, "USE_BIAS": False, "SAVE_EVERY": 10, "SHIFT": -0.5,
    }  # fmt: skip
    assert list(found)[:2] == ["DEPTH", "MATRIX_LR"]
    assert found["DEPTH"].line == 4
    assert found["USE_BIAS"].value is False


def test_reads_annotations_and_comments():
    found = constants.read(TRAIN)
    assert found["DEPTH"].annotation == Range(2, 12)
    assert found["MATRIX_LR"].annotation == Range(0.005, 0.2, log=True)
    assert found["MATRIX_LR"].comment == "learning rate of the matrices"
    assert found["TOTAL_BATCH_SIZE"].annotation == Range(4096, 2**20, log=True)
    assert found["HEAD_DIM"].annotation == Choices((32, 64, 128))
    assert found["HEAD_DIM"].comment == ""
    assert found["WINDOW_PATTERN"].annotation == Choices(("L", "SL", "SSSL"))
    assert found["SAVE_EVERY"].annotation == Fixed()
    assert found["SHIFT"].annotation is None
    assert found["SHIFT"].comment == "μ, not annotated"


@pytest.mark.parametrize(
    "line",
    [
        "A = 4  # [2..]",
        "A = 4  # [12..2]",
        "A = 4  # [2..12 logg]",
        "A = 4  # [0..8 log]",
        "A = 4  # [0.5..8]",
        "A = 4  # [fixd]",
        "A = 4  # [1, 2.5]",
        "A = 4  # [1]",
        "A = 4  # [B, T]",
        'A = "x"  # [1..2]',
        "A = True  # [0..1]",
        'A = 4  # ["a", "b"]',
        "A = 4  # []",
        "A = 4  # [3, 3]",
    ],
)
def test_an_ill_formed_annotation_is_refused_with_its_line(line):
    with pytest.raises(UsageError, match=r"line 2: \["):
        constants.read(f"import os\n{line}\n")


def test_a_text_that_does_not_parse_is_refused_with_its_line():
    for source, part in [
        ("A = 1\nB = = 2\n", "line 2"),
        ("A = 1\0", "does not parse"),
        ("A = " + "(" * 5000, "does not parse"),
    ]:
        with pytest.raises(UsageError, match=part):
            constants.read(source)


def test_write_replaces_the_literal_only():
    changed = constants.write(TRAIN, {"DEPTH": 6, "MATRIX_LR": 0.06, "BETAS": [0.9, 0.95], "WINDOW_PATTERN": "L", "EPS": 3e-9})
    expected = (
        TRAIN.replace("DEPTH = 4 ", "DEPTH = 6 ").replace("0.04 ", "0.06 ").replace("(0.8, 0.95)", "(0.9, 0.95)")
        .replace('N = "SSSL"', 'N = "L"').replace("1e-10", "3e-9")
    )  # fmt: skip
    assert changed == expected
    assert constants.write(TRAIN, {}) == TRAIN


@pytest.mark.parametrize(
    ("line", "value", "expected"),
    [
        ("A = 2**16", 2**17, "A = 2**17"),
        ("A = 2 ** 16", 65536 * 4, "A = 2 ** 18"),
        ("A = 2**16", 3 * 2**15, "A = 98304"),
        ("A = 10**3", 10**6, "A = 10**6"),
        ("A = 3 * 256", 1024, "A = 1024"),
        ("A = 65_536", 131072, "A = 131_072"),
        ("A = (2**4) * 3", 50, "A = 50"),
        ("A = (0.5)", 0.25, "A = (0.25)"),
        ("A = 0.5", 1, "A = 1.0"),
        ("A = 1e-3", 0.00025, "A = 2.5e-4"),
        ("A = 1e-3", 0.5, "A = 0.5"),
        ("A = -0.5", -0.25, "A = -0.25"),
        ("A = 0.5", 1e-5, "A = 1e-5"),
        ("A = 'x'", "y", "A = 'y'"),
        ('A = "x"', 'say "hi"', "A = 'say \"hi\"'"),
        ('A = "x"', "it's \\ \n", 'A = "it\'s \\\\ \\n"'),
        ("A = True", False, "A = False"),
        ("A = 1, 2", (3, 4), "A = (3, 4)"),
        ("A = (1.0,)", [2], "A = (2.0,)"),
        ("A = 1; B = 2", 7, "A = 7; B = 2"),
    ],
)
def test_write_keeps_the_form_of_the_literal(line, value, expected):
    assert constants.write(f"{line}  # é\n", {"A": value}) == f"{expected}  # é\n"


def test_write_knows_bytes_from_characters_and_every_line_end():
    source = "\ufeffNAME = 'größe'; A = 1  # é\r\n# ж\x0c\u2028 A = 5\rB = (\r\n  1,\n  2.5)  # tail\r\n"
    assert constants.read(source)["B"].comment == "tail"
    changed = constants.write(source, {"A": 22, "B": (3, 4.5), "NAME": "ß"})
    assert changed == "\ufeffNAME = 'ß'; A = 22  # é\r\n# ж\x0c\u2028 A = 5\rB = (3, 4.5)  # tail\r\n"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"no constant MATRIX_RL; did you mean MATRIX_LR\?"):
        constants.write(TRAIN, {"MATRIX_RL": 0.1})
    with pytest.raises(UsageError, match="no constant WIDTH"):
        constants.write(TRAIN, {"WIDTH": 256})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEPTH", 4.5),
        ("DEPTH", True),
        ("DEPTH", "4"),
        ("USE_BIAS", 1),
        ("WINDOW_PATTERN", 3),
        ("MATRIX_LR", "0.1"),
        ("BETAS", 0.9),
        ("BETAS", ()),
        ("MATRIX_LR", float("nan")),
        ("MATRIX_LR", float("inf")),
    ],
)
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(UsageError, match=f"{name} is a "):
        constants.write(TRAIN, {name: value})


def test_absurd_arithmetic_is_no_constant_and_costs_nothing():
    source = "A = 9**9**9\nB = 1 / 0\nC = 10.0**999\nD = (1, None)\nE = 1e999\nF = 2j\nG = " + "-" * 300 + "1\nH = 1\n"
    assert list(constants.read(source)) == ["G", "H"]


# A whole number that is written over a float in a tuple becomes one; beyond 2**53 a float can't hold it.
WHOLE = st.integers(-(2**53), 2**53)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = (
    NUMBERS
    | st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.lists(NUMBERS, min_size=1, max_size=3).map(tuple)
)
NAMES = st.text(string.ascii_uppercase + string.digits + "_", min_size=1, max_size=6).filter(lambda name: name[0].isalpha())
COMMENTS = st.sampled_from(["", "  # plain", "\t# ünï — ж", "  # [fixed]", "  # ] 𝔘 ["])
FILLERS = st.sampled_from(["", "# é\x0b\u2028", 'print("A = 1")', "def f(A=2):\n    A = 3"])


@given(
    data=st.data(),
    values=st.dictionaries(NAMES, VALUES, min_size=1, max_size=5),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_what_is_written_is_read_back_and_the_rest_stays(data, values, newline):
    def text(chosen: dict, rest: list) -> str:
        lines = [
            f"{name} = {value!r}{comment}{newline}{filler}"
            for (name, value), (comment, filler) in zip(chosen.items(), rest, strict=True)
        ]
        return newline.join(lines) + newline

    rest = data.draw(st.lists(st.tuples(COMMENTS, FILLERS), min_size=len(values), max_size=len(values)))
    rest = [(comment, filler.replace("\n", newline)) for comment, filler in rest]
    source = text(values, rest)
    assert {name: constant.value for name, constant in constants.read(source).items()} == values

    name = data.draw(st.sampled_from(list(values)))
    strategy = {
        bool: st.booleans(),
        int: st.integers(-(2**70), 2**70),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: st.text(st.characters(exclude_categories=["Cs"])),
        tuple: st.lists(WHOLE, min_size=1).map(tuple),
    }[type(values[name])]
    new = data.draw(strategy)
    changed = constants.write(source, {name: new})
    after = {name: constant.value for name, constant in constants.read(changed).items()}
    expected = {**values, name: new}
    assert after == expected
    # Every byte outside the literal is where it was.
    before, after = source.encode(), changed.encode()
    marker = f"{name} = ".encode()
    start = before.index(marker) if before.startswith(marker) else before.index(newline.encode() + marker) + len(newline)
    start += len(marker)
    tail = len(before) - start - len(repr(values[name]).encode())
    assert before[:start] == after[:start]
    assert before[len(before) - tail :] == after[len(after) - tail :]


@given(st.integers(0, 80), st.integers(0, 80))
def test_powers_stay_powers(old, new):
    changed = constants.write(f"A = 2**{old}  # x\n", {"A": 2**new})
    assert constants.read(changed)["A"].value == 2**new
    assert new == 0 or changed == f"A = 2**{new}  # x\n"


def test_two_threads_may_read_at_once():
    """Python 3.11 counts the depth of all trees that are built at once: a switch of threads in the middle was a SystemError."""
    source = "\n".join(f"X{number} = (1 + {number}) * 2" for number in range(200))

    def switch(phase: str, _) -> None:
        time.sleep(0.0005)  # another thread's turn, wherever garbage is looked for

    threshold = gc.get_threshold()
    gc.callbacks.append(switch)
    gc.set_threshold(200)
    try:
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(constants.read, [source] * 6))
    finally:
        gc.callbacks.remove(switch)
        gc.set_threshold(*threshold)
    assert all(len(one) == 200 for one in found)

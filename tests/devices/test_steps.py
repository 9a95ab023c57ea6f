"""A training step on cards that are not there, at each GPU profile's width, rows and passes, two layers deep.

One graph for the loss and one for the optimizer's update of each shape of matrices, none of them made in a later step; and no wait for
the device but for the loss of the step before, which it has long computed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearch.hardware.planner import profiles

torch = pytest.importorskip("torch")
import fake_card  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or torch.version.cuda is not None, reason="needs Linux and PyTorch's CPU build"),
]
EVENT = {"event": 1}
# Metal's copies wait: its memory is the computer's, and PyTorch queues no copy from there that is sure to be finished in time.
METAL = {"copy to mps": 2, "number read": 1}


@pytest.fixture(scope="session")
def library(compile_cache) -> Path:
    return fake_card.build_library(compile_cache)


def on_card(library: Path, card: str, backend: str, names: list[str], dtype: str, **job) -> dict:
    """What child.py says."""
    job = {
        "library": str(library),
        "card": card,
        "backend": backend,
        "profiles": names,
        "constants": {},
        "machine_code": False,
    } | job
    variables = os.environ | {"AUTORESEARCH_DTYPE": dtype, "AUTORESEARCH_COMPILE_CACHE": ""}
    command = [sys.executable, str(Path(__file__).with_name("child.py")), json.dumps(job)]
    done = subprocess.run(command, env=variables, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "card, backend, dtype, waits",
    [
        ("sm_75", "cuda", "float16", EVENT),
        ("sm_90", "cuda", "bfloat16", EVENT),
        ("gfx942", "rocm", "bfloat16", EVENT),
        ("xe2", "xpu", "bfloat16", EVENT),
        ("apple", "mps", "float16", METAL),
    ],
)
def test_a_step_is_one_graph_a_part_and_waits_for_the_last_loss_only(library, card, backend, dtype, waits):
    names = [name for name, one in profiles.all().items() if backend in one.backends]
    if backend == "cuda":
        names = [name for name in names if (name == "turing-8gb") == (card == "sm_75")]
    layers = {"DEPTH": 2, "ASPECT_RATIO": 256}
    found = on_card(library, card, backend, names, dtype, constants=layers)
    for name in names:
        one = found[name]
        assert one["dtype"] == dtype
        parts = 0 if backend == "mps" else 1 + one["shapes"]
        assert (one["graphs"], one["later graphs"], one["breaks"]) == (parts, [0, 0], []), name
        assert one["waits"][-1] == {kind: number * (one["passes"] if "copy" in kind else 1) for kind, number in waits.items()}, name

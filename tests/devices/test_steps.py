"""A training step on cards that are not there, at each GPU profile's width, rows and passes, two layers deep.

One graph for the loss and one for the optimizer's update of each shape of matrices, none of them made in a later step; and no wait
for the device but for the loss of the step before, which it has long computed.
"""

import pytest

from autoresearch.hardware.planner import profiles

pytestmark = pytest.mark.slow
EVENT = {"event": 1}
# Metal's copies wait: PyTorch queues none from memory that it does not know to stay as it is.
METAL = {"copy to mps": 2, "number read": 1}


@pytest.mark.parametrize(
    "card, backend, dtype, waits",
    [  # the plain run: Metal's waits
        pytest.param("sm_75", "cuda", "float16", EVENT, marks=pytest.mark.thorough),
        pytest.param("sm_90", "cuda", "bfloat16", EVENT, marks=pytest.mark.thorough),
        pytest.param("gfx942", "rocm", "bfloat16", EVENT, marks=pytest.mark.thorough),
        pytest.param("xe2", "xpu", "bfloat16", EVENT, marks=pytest.mark.thorough),
        ("apple", "mps", "float16", METAL),
    ],
)
def test_a_step_is_one_graph_a_part_and_waits_for_the_last_loss_only(on_card, card, backend, dtype, waits):
    names = [name for name, one in profiles.all().items() if backend in one.backends]
    if backend == "cuda":
        names = [name for name in names if (name == "turing-8gb") == (card == "sm_75")]
    found = on_card(card, backend, names, dtype, {"DEPTH": 2, "ASPECT_RATIO": 256})
    for name in names:
        one = found[name]
        assert one["dtype"] == dtype
        parts = 0 if backend == "mps" else 1 + one["shapes"]
        assert (one["graphs"], one["later graphs"], one["breaks"]) == (parts, [0, 0], []), name
        assert one["waits"][-1] == {kind: number * (one["passes"] if "copy" in kind else 1) for kind, number in waits.items()}, name

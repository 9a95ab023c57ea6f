"""FlashAttention 3 in a training step: with a stand-in of the hub's, which is called in the same way, on a CPU."""

import functools
import importlib.metadata
import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import flash3_stand_in  # noqa: E402
import torch_backend  # noqa: E402
from functorch.compile import make_boxed_func  # noqa: E402
from torch._dynamo.backends.common import aot_autograd  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from autoresearch.errors import UsageError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile does it itself
cuda = torch_backend.device_runtime("cuda")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """The hub's client reads this once, and other tests of the process download."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")


class Counted(TorchDispatchMode):
    """Graphs that a step has been compiled to, and what runs outside of them."""

    supports_higher_order_operators = True

    def __init__(self):
        super().__init__()
        self.made, self.calls, self.outside, self.is_inside = [], 0, 0, False

    @classmethod
    def ignore_compile_internals(cls):
        return True

    def compiler(self, kind: str):
        def make(graph, inputs):
            self.made.append(kind)

            def run(*arguments):
                self.calls, self.is_inside = self.calls + 1, True
                try:
                    return graph.forward(*arguments)
                finally:
                    self.is_inside = False

            return make_boxed_func(run)

        return make

    def __torch_dispatch__(self, function, kinds, args=(), kwargs=None):
        self.outside += not self.is_inside and not getattr(function, "is_view", False)
        return function(*args, **(kwargs or {}))


def step(kind: str, monkeypatch) -> tuple[Counted, float]:
    """(of the second step of a training, its loss) with an attention, as the CUDA backend compiles it."""
    monkeypatch.setenv("AUTORESEARCH_ATTENTION", kind)
    torch.compiler.reset()
    counted = Counted()
    backend = aot_autograd(fw_compiler=counted.compiler("forward"), bw_compiler=counted.compiler("backward"))
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    settings = cuda.choose((9, 0), True, True, "linux", no_flash3=None).as_asked()
    there = {"settings": settings, "device": CPU, "dtype": torch.float32, "loss_scale": 1.0}
    there |= {"_flash3": flash3_stand_in.flash_attn_func, "to_device": lambda ids: torch.from_numpy(ids).to(torch.int64)}
    for name, value in there.items():
        monkeypatch.setattr(cuda, name, value, raising=False)
    torch.manual_seed(0)
    train = torch_backend.train(cuda, DEPTH=2, WINDOW_PATTERN="SL")
    for module in (cuda, train):
        monkeypatch.setitem(sys.modules, module.__name__, module)  # Dynamo looks its functions' globals up there
    trainer = train.Trainer(train.build_model(SimpleNamespace(vocab_size=97, seq_len=24)), 24)
    monkeypatch.setattr(trainer.optimizer, "step", lambda *_: None)  # its updates are graphs of their own
    trainer.passes = 1
    ids = np.random.default_rng(0).integers(97, size=(trainer.rows, 24), dtype=np.int32)
    trainer.step(lambda rows: (ids[:rows], ids[:rows]), 0.5)
    counted.calls = 0
    with counted:
        loss = trainer.step(lambda rows: (ids[:rows], ids[:rows]), 0.5)
    return counted, float(loss)


@pytest.mark.slow
def test_a_step_is_two_graphs_with_flash_attention_3_as_without(monkeypatch):
    with monkeypatch.context() as patch:
        without, expected = step("sdpa", patch)
    counted, loss = step("flash3", monkeypatch)
    assert counted.made == without.made == ["forward", "backward"] and counted.calls == without.calls == 2
    assert counted.outside == without.outside and loss == pytest.approx(expected, rel=1e-5)


def test_heads_that_it_does_not_take_are_left_to_sdpa(monkeypatch):
    monkeypatch.setattr(
        cuda, "settings", SimpleNamespace(attention="flash3", attend=torch_backend.runtime().attention), raising=False
    )
    monkeypatch.setattr(cuda, "_flash3", lambda *_, **__: "its own", raising=False)
    heads = {width: torch.ones(1, 4, 1, width) for width in (12, 64, 256, 264)}
    found = {width: cuda.attention(q, q, q, 4) for width, q in heads.items()}
    assert found[64] == found[256] == "its own" and found[12].shape == heads[12].shape and found[264].shape == heads[264].shape


def other_window(q, k, v, causal, window_size):
    return flash3_stand_in.flash_attn_func(q, k, v, causal=causal, window_size=(window_size[0] + 1, 0))


def no_gradient(q, k, v, causal, window_size):
    return flash3_stand_in.flash_attn_func(q.detach(), k.detach(), v.detach(), causal=causal, window_size=window_size)


@torch.library.custom_op("flash3_stand_in::shapeless", mutates_args=())
def shapeless(q: torch.Tensor) -> torch.Tensor:
    return q.clone()


@pytest.mark.slow
@pytest.mark.parametrize(
    "function, words",
    [
        (flash3_stand_in.flash_attn_func, None),
        (torch.compiler.disable(flash3_stand_in.flash_attn_func), "it is not part of one graph here: "),
        (lambda q, k, v, **_: shapeless(q), "it is not part of one graph here: "),
        (no_gradient, "it is not part of one graph here: "),
        (other_window, "its numbers are not those of SDPA here"),
    ],
    ids=["the stand-in", "kept out of graphs", "no shape function", "no gradient", "another window"],
)
def test_what_can_not_train_in_one_graph_is_left_with_its_reason(function, words):
    torch.compiler.reset()
    found = cuda.flash3_fault(function, CPU)
    assert found is None if words is None else found.startswith(words) and "\n" not in found


def test_a_flash_attention_3_that_is_not_there_is_told_with_its_cure(tmp_path, monkeypatch):
    pytest.importorskip("kernels")
    monkeypatch.setenv("KERNELS_CACHE", str(tmp_path))
    assert cuda.load_flash3(CPU) == (None, f"it is not on this computer, and this gets it: {cuda.GET_FLASH3}")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.13.0")
    assert cuda.load_flash3(CPU) == (None, f"kernels 0.13.0 is too old: pip install -U kernels, then {cuda.GET_FLASH3}")
    monkeypatch.setitem(sys.modules, "kernels", None)
    assert cuda.load_flash3(CPU)[1].startswith("the package kernels is not installed")


@pytest.fixture
def hopper(monkeypatch, tmp_path):
    """The CUDA backend's runtime as it starts beside an H100: PyTorch says so, and can make no tensor there."""
    monkeypatch.setenv("KERNELS_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    find = importlib.util.find_spec  # its build brings Triton, a CPU's does not
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: "there" if name == "triton" else find(name, *more))
    said = {"init": None, "get_device_capability": (9, 0), "get_arch_list": ["sm_90"]}
    for name, answer in said.items():
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)
    return torch_backend.device_runtime.__wrapped__


def test_the_probe_offers_it_and_a_process_that_is_not_told_to_use_it_does_not_look(hopper, monkeypatch):
    runtime = hopper("cuda")
    assert runtime.found is None and runtime.settings.attention == "flex" and not runtime.settings.has_flash3
    monkeypatch.setattr(runtime.gpu.Settings, "card_facts", lambda self, *_: {"reason": self.attention_reason, **self.offers})
    monkeypatch.setattr(runtime, "load_flash3", lambda device: (flash3_stand_in.flash_attn_func, None))
    assert runtime.probe()["attention"] == ("flex", "flash3", "sdpa")
    monkeypatch.setattr(runtime, "load_flash3", lambda device: (None, "a reason; this gets it: a line"))
    assert runtime.probe()["attention"] == ("flex", "sdpa")
    assert runtime.probe()["reason"].endswith("; no FlashAttention 3: a reason; this gets it: a line")


def test_where_it_is_asked_for_and_not_there_a_line_says_why_and_what_to_do(hopper, monkeypatch):
    pytest.importorskip("kernels")
    monkeypatch.setenv("AUTORESEARCH_ATTENTION", "flash3")
    with pytest.raises(UsageError, match="AUTORESEARCH_ATTENTION is 'flash3', and here is flex or sdpa only") as caught:
        hopper("cuda")
    assert f"this gets it: {cuda.GET_FLASH3}" in str(caught.value) and "\n" not in str(caught.value)

"""What the planner says that layers keep for the backward pass, against PyTorch itself on the meta device, byte by byte.

Eager: autograd's saved tensors hooks. Compiled: the graphs that torch.compile's partitioner makes. Attention stands there as one
operation that keeps its inputs, its result and a sum for each query and head, as the fused kernels of accelerators do.
"""

import sys
import types
from types import SimpleNamespace

import pytest
from test_hardware_model import sizes_of

from autoresearch.hardware.planner import memory, model
from autoresearch.hardware.planner.memory import Layout
from autoresearch.paths import shipped

torch = pytest.importorskip("torch")
import torch_backend  # noqa: E402

SHAPES = {
    "two heads": {"DEPTH": 3, "ASPECT_RATIO": 43, "HEAD_DIM": 64, "WINDOW_PATTERN": "L"},
    "shared keys": {"DEPTH": 2, "ASPECT_RATIO": 64, "HEAD_DIM": 32, "GQA_RATIO": 2, "MLP_RATIO": 3, "WINDOW_PATTERN": "SL"},
}
BATCH = {"DEVICE_BATCH_SIZE": 3, "TOTAL_BATCH_SIZE": 3 * 64, "GATE_CHANNELS": 32}
SEQ_LEN, VOCAB = 64, 640


@torch.library.custom_op("plan_test::attention", mutates_args=())
def fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)


@fused.register_fake
def _(q, k, v):
    return torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)


@torch.library.custom_op("plan_test::attention_backward", mutates_args=())
def fused_backward(
    grad: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, out: torch.Tensor, sums: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


@fused_backward.register_fake
def _(grad, q, k, v, out, sums):
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


fused.register_autograd(
    lambda ctx, grad, _: fused_backward(grad, *ctx.saved_tensors),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs, *output),
)


def meta_model(monkeypatch, constants: dict, dtype):
    """(GPT without memory, ids)."""
    folder = str(shipped("backends") / "torch")
    monkeypatch.syspath_prepend(folder)
    import torch_runtime

    runtime = types.ModuleType("runtime")
    runtime.__dict__.update({name: value for name, value in vars(torch_runtime).items() if not name.startswith("__")})
    runtime.device, runtime.dtype, runtime.loss_scale = torch.device("meta"), dtype, 1.0
    runtime.compile, runtime.attention = lambda function: function, lambda q, k, v, window: fused(q, k, v)[0]
    train = torch_backend.train(runtime, **BATCH, **constants)
    monkeypatch.setitem(sys.modules, train.__name__, train)  # where torch.compile looks for a function's globals
    with torch.device("meta"):
        gpt = train.build_model(SimpleNamespace(vocab_size=VOCAB, seq_len=SEQ_LEN))
    return gpt, torch.zeros((3, SEQ_LEN), dtype=torch.int64, device="meta")


def expected_bytes(constants: dict, layout: Layout) -> int:
    """Activations, weights as multiplied, and what the loss keeps: the gradients of its two inputs.

    A batch this small is one chunk of logits: compiled, lm_head's gradient is then that chunk's product, not yet float32.
    """
    sizes = sizes_of(BATCH | constants, SEQ_LEN, VOCAB)
    head_bytes = layout.product_bytes if layout.compiled else memory.FLOAT32
    loss = layout.product_bytes * sizes.pass_tokens * sizes.width + head_bytes * model.head_params(sizes)
    return memory.activation_bytes(sizes, layout) + memory.cast_bytes(sizes, layout) + loss


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", SHAPES)
def test_eager_code_keeps_what_is_predicted(monkeypatch, name, dtype):
    gpt, ids = meta_model(monkeypatch, SHAPES[name], dtype)
    parameters = {one.untyped_storage()._cdata for one in gpt.parameters()}
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        gpt.loss(ids, ids)
    found = sum(storage.nbytes() for key, storage in kept.items() if key not in parameters)
    # On the meta device, as on a CPU, a norm is several float32 operations.
    layout = Layout(product_bytes=dtype.itemsize, compiled=False, norm_bytes=memory.FLOAT32)
    assert expected_bytes(SHAPES[name], layout) == pytest.approx(found, rel=0.01)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Your compiler for AOTAutograd")
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile does it itself
@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float32, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("name", SHAPES)
def test_compiled_code_keeps_what_is_predicted(monkeypatch, name, dtype):
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch.partitioners import min_cut_rematerialization_partition
    from torch._inductor.decomposition import select_decomp_table

    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph.forward

    backend = aot_autograd(
        fw_compiler=keep,
        bw_compiler=keep,
        partition_fn=min_cut_rematerialization_partition,
        decompositions=select_decomp_table(),
    )
    gpt, ids = meta_model(monkeypatch, SHAPES[name], dtype)
    torch._dynamo.reset()
    torch.compile(gpt.loss, backend=backend, fullgraph=True, dynamic=False)(ids, ids).backward()
    forward, _ = graphs
    (outputs,) = (node.args[0] for node in forward.graph.nodes if node.op == "output")
    parameters = {tuple(one.shape) for one in gpt.parameters()}
    # Attention's result is there twice, once as a view: a storage counts one time.
    found = {}
    for node in outputs[1:]:
        value = node.meta["val"]
        if isinstance(value, torch.Tensor) and not is_parameter(node, value, parameters):
            found[root(node)] = value.numel() * value.dtype.itemsize
    assert expected_bytes(SHAPES[name], Layout(product_bytes=dtype.itemsize)) == pytest.approx(sum(found.values()), rel=0.01)


def is_parameter(node, value, shapes) -> bool:
    return value.dtype == torch.float32 and root(node).op == "placeholder" and tuple(value.shape) in shapes


def root(node):
    """What a view is a view of."""
    views = ("view", "permute", "alias", "reshape", "transpose", "t.", "detach", "expand", "unsqueeze", "squeeze")
    while node.op == "call_function" and str(node.target).removeprefix("aten.").startswith(views):
        node = node.args[0]
    return node

"""The parts under a torch training step, each against its plain form in float64."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoresearch.hardware.devices import registry

torch = pytest.importorskip("torch")

import torch_backend  # noqa: E402

runtime = torch_backend.runtime()
import cpu_compiler  # noqa: E402
import cpu_kernels  # noqa: E402
import torch_runtime  # noqa: E402

ROOT = Path(__file__).parents[2]
KERNELS = [cpu_kernels.attention, torch_runtime.attention]


def plain_attention(q, k, v, window):
    k, v = (x.repeat_interleave(q.size(2) // k.size(2), dim=2) for x in (k, v))
    score = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.size(-1))
    distance = torch.arange(q.size(1))[:, None] - torch.arange(q.size(1))
    score = score.masked_fill((distance < 0) | (distance > window), float("-inf"))
    return torch.einsum("bhqk,bkhd->bqhd", score.softmax(-1), v)


def random_qkv(seq_len, heads, groups, width=8):
    generator = torch.Generator().manual_seed(seq_len)
    shapes = [(2, seq_len, count, width) for count in (heads, groups, groups)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("seq_len, window", [(7, 3), (7, 7), (300, 300), (300, 40), (530, 200), (520, 519)])
@pytest.mark.parametrize("heads, groups", [(2, 2), (4, 2), (3, 1)])
def test_attention_equals_the_plain_form_with_repeated_heads(kernel, seq_len, window, heads, groups):
    inputs = random_qkv(seq_len, heads, groups)
    upstream = torch.randn(2, seq_len, heads, 8, dtype=torch.float64)
    expected, actual = plain_attention(*inputs, window), kernel(*inputs, window)
    torch.testing.assert_close(actual.double(), expected, atol=2e-6, rtol=0)
    wanted = torch.autograd.grad(expected, inputs, upstream)
    for ours, theirs in zip(torch.autograd.grad(actual, inputs, upstream), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("window", [1, 5, 100, 299])
def test_a_window_of_w_sees_w_plus_1_keys(kernel, window):
    q, k, v = random_qkv(300, 1, 1)
    for row in (0, window, 299):
        (grad,) = torch.autograd.grad(kernel(q, k, v, window)[0, row].sum(), v)
        seen = grad[0].abs().sum((1, 2)).nonzero().flatten().tolist()
        assert seen == list(range(max(0, row - window), row + 1))


@pytest.mark.parametrize(("rows", "chunks"), [(10, 1), (64, 7), (1000, 16), (100_000, 16)])
def test_the_loss_is_taken_in_16_chunks_at_most(rows, chunks, monkeypatch):
    """Each is unrolled in what is compiled: 256 of them took minutes for an H100."""
    seen = []
    whole = torch_runtime._loss_and_slope

    def counted(raw, targets, softcap):
        seen.append(len(raw))
        return whole(raw, targets, softcap)

    monkeypatch.setattr(torch_runtime, "LOSS_ELEMENTS_AT_ONCE", 10 * 7)
    monkeypatch.setattr(torch_runtime, "_loss_and_slope", counted)
    hidden, weight = torch.zeros(rows, 4), torch.zeros(7, 4)
    torch_runtime.cross_entropy(hidden, weight, torch.zeros(rows, dtype=torch.int64), 15.0)
    assert len(seen) == chunks and sum(seen) == rows


@pytest.mark.parametrize("softcap", [4.0, 15.0, 1000.0])
@pytest.mark.parametrize("at_once", [1 << 23, 97 * 7])
def test_the_chunked_loss_equals_a_plain_one_in_value_and_gradients(softcap, at_once, monkeypatch):
    monkeypatch.setattr(torch_runtime, "LOSS_ELEMENTS_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    hidden = (3 * torch.randn(50, 16, generator=generator)).requires_grad_()
    weight = torch.randn(97, 16, generator=generator, requires_grad=True)
    targets = torch.randint(0, 97, (50,), generator=generator)
    loss = torch_runtime.cross_entropy(hidden, weight, targets, softcap)

    exact = [x.detach().double().requires_grad_() for x in (hidden, weight)]
    logits = softcap * torch.tanh(exact[0] @ exact[1].T / softcap)
    expected = torch.nn.functional.cross_entropy(logits, targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    wanted = torch.autograd.grad(7 * expected, exact)
    for ours, theirs in zip(torch.autograd.grad(7 * loss, (hidden, weight)), wanted, strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=3e-5 * theirs.abs().max().item(), rtol=0)


def test_the_gradient_of_an_embedding_adds_up_repeated_tokens():
    weight = torch.randn(11, 4, requires_grad=True)
    ids = torch.tensor([[1, 1, 5], [10, 1, 0]])
    upstream = torch.randn(2, 3, 4)
    (ours,) = torch.autograd.grad(runtime.embedding(ids, weight), weight, upstream)
    (theirs,) = torch.autograd.grad(weight[ids], weight, upstream)
    torch.testing.assert_close(ours, theirs)


def test_weights_survive_a_file_and_logits_do_not_depend_on_the_chunk(tmp_path, monkeypatch):
    train = torch_backend.train()
    model, other = (train.build_model(torch_backend.SPEC) for _ in range(2))
    torch.nn.init.normal_(model.lm_head)
    runtime.save_weights(model, tmp_path / "checkpoint")
    assert runtime.load_weights(other, tmp_path / "checkpoint") is other
    ids = np.random.default_rng(0).integers(0, 97, (5, 24), dtype=np.int32)
    first, second = (np.empty((5, 24, 97), np.float16) for _ in range(2))
    runtime.logits(model, ids, first)
    monkeypatch.setattr(torch_runtime, "LOGITS_AT_ONCE", 2 * 24 * 97)
    runtime.logits(other, ids, second)
    np.testing.assert_allclose(first, second, atol=2e-3)
    assert np.ptp(first) > 1


def test_the_probe_says_what_the_cpu_is():
    facts = runtime.probe()
    assert facts["ok"] and facts["cores"] >= 1 and facts["matmul_tflops"] > 0 and facts["memory_bytes"] > 0
    assert facts["dtype_reason"] and facts["compile_reason"] and facts["capability"] is None and facts["peak_flops"] is None


def test_without_a_compiler_the_step_runs_eagerly_and_says_why(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    is_on, reason = cpu_compiler.choose()
    assert not is_on and "C++ compiler" in reason


@pytest.mark.skipif(sys.platform != "linux", reason="tried on Linux only")
def test_a_compiler_that_does_not_work_is_told_before_a_training_breaks(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho 'trial.cpp:1:10: fatal error: Python.h: No such file or directory' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    is_on, reason = cpu_compiler.choose()
    assert not is_on and "Python.h: No such file or directory" in reason and "eager is slower" in reason


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32" or not runtime.can_compile, reason="needs a compiler; on Windows PyTorch quotes")
def test_an_environment_and_a_study_in_folders_with_a_space_and_an_apostrophe(tmp_path):
    """PyTorch joins the compiler's line without quotes, and splits it at spaces."""
    odd = tmp_path / "My Projects" / "Ünï's lab"
    odd.mkdir(parents=True)
    environment = odd / "env"
    environment.symlink_to(sys.prefix)
    python = environment / Path(sys.executable).relative_to(sys.prefix)
    (odd / "tmp").mkdir()
    code = (
        "import sys, tempfile; sys.path[:0] = sys.argv[1:]\n"
        "import runtime, torch\n"
        "assert runtime.compile_on and ' ' in torch.__file__ and ' ' in tempfile.gettempdir()\n"
        "print(float(runtime.compile(lambda x: (x.sin() + x).sum())(torch.zeros(8) + 1)))"
    )
    places = [str(path) for path in registry.scan()["cpu"].python_path]
    variables = {"TMPDIR": str(odd / "tmp"), "AUTORESEARCH_COMPILE_CACHE": str(odd / "cache"), "PYTHONPATH": str(ROOT)}
    command = [str(python), "-c", code, *places]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) == pytest.approx(8 * (math.sin(1) + 1), rel=1e-5)


@pytest.mark.parametrize(
    "error, expected",
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("CUDA driver error: out of memory"), True),
        (RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"), True),
        (RuntimeError("level_zero backend failed with error: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"), False),
        (ValueError("no"), False),
    ],
)
def test_every_way_to_say_that_memory_ran_out_is_known(error, expected):
    assert torch_runtime.is_out_of_memory(error) is expected


STEADY = [0.5] * 10


@pytest.mark.parametrize(
    "step_seconds, free_gb, is_paging",
    [
        ([*STEADY, 4.0, 4.5], 0.1, True),
        ([*STEADY, 4.0, 4.5], 2.0, False),  # slow, with memory to spare: something else
        ([*STEADY, 4.0], 0.1, False),  # one hiccup
        ([*STEADY, 0.9, 1.0], 0.1, False),  # a card that gets hot
        ([0.5, 0.5, 4.0, 4.5], 0.1, False),  # too few to know what is usual
        (STEADY, 0.0, False),
        ([], 0.0, False),
    ],
)
def test_paging_is_many_slow_steps_on_a_full_device(step_seconds, free_gb, is_paging):
    reason = torch_runtime.paging(step_seconds, int(free_gb * 2**30), 8 * 2**30)
    assert (reason is not None) == is_paging
    if is_paging:
        assert reason.startswith("out of memory: the driver moves") and "4.00 s and more after 0.50 s, 0.1 of 8.0 GB free" in reason
        assert torch_runtime.is_out_of_memory(torch.OutOfMemoryError(reason))

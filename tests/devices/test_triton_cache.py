"""What Triton has compiled in one run's folder is found in the next one's, by Triton itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearch.sandbox import workdir

pytestmark = pytest.mark.slow
KERNEL = """
import triton
import triton.language as tl

@triton.jit
def add(a, b, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(b + i, tl.load(a + i, i < n) + 1, i < n)
"""
COMPILE = """
import json, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import CUDABackend
from kernel import add
assembled, whole = [], CUDABackend.make_cubin
CUDABackend.make_cubin = lambda *arguments: assembled.append(1) or whole(*arguments)
source = triton.compiler.ASTSource(add, {"a": "*fp32", "b": "*fp32", "n": "i32", "BLOCK": "constexpr"}, {"BLOCK": 1024})
size = len(triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"])
print(json.dumps([len(assembled), size]))
"""


def test_a_later_run_assembles_nothing_again(tmp_path, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "kernel.py").write_text(KERNEL)

    def run(name: str) -> list[int]:
        """[how many kernels were assembled, bytes of the kernel's machine code]"""
        work = workdir.make(tmp_path / "runs" / name, [workdir.layer("train.py")])
        monkeypatch.setenv("TRITON_CACHE_DIR", str(Path(work, workdir.COMPILED, "inductor", "triton", "0")))
        command = [sys.executable, "-c", COMPILE]
        found = json.loads(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
        workdir.harvest(work, "train.py")
        workdir.remove(work)
        return found

    first, later = run("1"), run("2")
    assert first[0] == 1 and first[1] > 0 and later == [0, first[1]]

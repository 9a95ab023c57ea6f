"""FlashAttention 3 from the hub: fetched as docs/install.md says, with the real kernels package, from a server on this machine;
then loaded without a network, in the cell that a study gets.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from local_hub import Hub, served

from autoresearch.checks.in_cell import probe_in_cell
from autoresearch.hardware.devices import registry
from autoresearch.sandbox import levels

pytest.importorskip("torch")
pytest.importorskip("kernels")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STAND_IN = ROOT / "tests" / "flash3_stand_in.py"
LEVEL = levels.reach().level
# A backend that answers with what the CUDA backend finds on a CPU, which has no card to ask.
RUNTIME = """
import cuda_runtime, torch
def probe():
    function, why = cuda_runtime.load_flash3(torch.device("cpu"))
    return {"ok": function is not None, "reason": why}
"""


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """The CUDA backend, its cells included."""
    cuda, folder = registry.scan()["cuda"], tmp_path_factory.mktemp("card")
    shutil.copy(cuda.folder / "runtime.py", folder / "cuda_runtime.py")
    (folder / "runtime.py").write_text(RUNTIME, encoding="utf-8")
    return replace(cuda, folder=folder)


def fetch() -> None:
    """The line of docs/install.md, as typed. The server holds a build for this machine and one for another, as the hub does."""
    about = {"name": "flash-attn3", "version": 1, "license": "MIT", "python-depends": [], "id": "_flash_attn3_1"}
    hub = Hub("", "kernels/kernels-community/flash-attn3", branches=("main", "v1"))
    for name in ("cpu", "cuda"):
        about["backend"] = {"type": name}
        hub.files[f"build/torch-{name}/metadata.json"] = json.dumps(about).encode()
        hub.files[f"build/torch-{name}/__init__.py"] = STAND_IN.read_bytes()
    code = re.search(r'python -c "(from kernels [^"]+)"', (ROOT / "docs" / "install.md").read_text(encoding="utf-8"))[1]
    with served(hub):
        environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, timeout=120)


@pytest.mark.parametrize("name", ["KERNELS_CACHE", "XDG_CACHE_HOME"])
def test_what_the_readme_fetches_is_loaded_in_the_cell(card, name, tmp_path, monkeypatch):
    for other in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "KERNELS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "own"))
    monkeypatch.setenv(name, str(tmp_path / "cache"))
    fetch()
    assert probe_in_cell(card, LEVEL) is None

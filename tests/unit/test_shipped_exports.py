"""What an export takes along computes what its model was scored with: also on devices that are not here."""

import ast
from pathlib import Path

import pytest

from autoresearch.hardware.devices import registry

BACKENDS = Path(registry.shipped("backends"))
# exported file -> where its functions come from
SAME = {
    ("torch/export/attention.py", "torch/torch_runtime.py"): ("attention", "band"),
    ("mps/export/attention.py", "mps/runtime.py"): ("attention",),
    ("mps/export/attention.py", "torch/torch_runtime.py"): ("band",),
    ("mlx/export/runtime.py", "mlx/runtime.py"): ("norm", "attention", "band"),
    ("jax/export/runtime.py", "jax/runtime.py"): ("norm", "attention"),
}


def function(path: Path, name: str) -> str:
    """Its code without its docstring."""
    found = next(node for node in ast.parse(path.read_text(encoding="utf-8")).body if getattr(node, "name", None) == name)
    assert isinstance(found, ast.FunctionDef)
    return ast.unparse([found.args, *found.body[ast.get_docstring(found) is not None :]])


@pytest.mark.parametrize(("names", "files"), [(names, files) for files, names in SAME.items()], ids=str)
def test_a_function_that_is_taken_along_is_the_runtimes(names, files):
    exported, own = (BACKENDS / name for name in files)
    for name in names:
        assert function(exported, name) == function(own, name)


def test_every_backend_that_trains_has_a_load_py():
    for backend in (one for one in registry.scan(BACKENDS).values() if one.trains):
        names = {path.name for path in backend.export_files}
        assert backend.simulated == (not names) and ({"load.py", "runtime.py"} <= names or backend.simulated), backend.name


def test_a_file_of_the_backends_own_goes_before_its_train_pys():
    backends = registry.scan(BACKENDS)
    for name, path in (("mps", "mps/export/attention.py"), ("cpu", "torch/export/attention.py"), ("cpu", "torch/torch_weights.py")):
        assert BACKENDS / path in backends[name].export_files

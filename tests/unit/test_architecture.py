"""The shape that docs/design/architecture.md draws: who may import whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "autoresearch"
# From the top down; a folder imports those below it. What is not named here may be imported by all.
LAYERS = (
    "cli",
    "commands",
    "bench",
    "checks",
    "transfer",
    "loop",
    "propose",
    "agents",
    "workers",
    "report",
    "study",
    "run",
    "task",
    "hardware",
    "data",
    "sandbox",
    "border",
    "measure",
)
# The session draws what follows from the state; what an attempt or a start-up asks of the machine is asked by its owner.
ALLOWED = {("study", "report")}


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    """The modules of the package that a file imports, also inside functions; not those for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{one.name}" if f"{node.module}.{one.name}" in MODULES else node.module for one in node.names}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
    return {name for name in found if name in MODULES}


GRAPH = {name: imports(path) for name, path in MODULES.items()}


def test_no_modules_import_each_other():
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in GRAPH[name]:
                visit(other, (*way, name))
            done.add(name)

    for name in GRAPH:
        visit(name, ())


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[1:2] and name.split(".")[1] in LAYERS])
def test_imports_point_down(name):
    folder = name.split(".")[1]
    below = LAYERS[LAYERS.index(folder) :]
    for other in GRAPH[name]:
        target = [*other.split("."), ""][1]
        assert target not in LAYERS or target in below or (folder, target) in ALLOWED, f"{name} imports {other}"


def test_nothing_imports_a_backend_by_name():
    for path in MODULES.values():
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        assert not any(isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "backends" for node in nodes), path


def test_every_design_note_is_in_the_index():
    notes = ROOT / "docs" / "design"
    index = (notes / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in sorted(notes.glob("*.md")) if path.name != "README.md" and f"]({path.name})" not in index] == []

"""Backends are found by scanning, and one that is wrong never disturbs another."""

import fnmatch

import pytest

from autoresearch.hardware.devices import registry
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.planner import profiles
from autoresearch.sandbox import policy

GOOD = """
title = "Good"
rank = 7
auto = true
train = "../shared/train.py"
requires = ["json"]
install = "pip install json"
"""


def make(root, name, toml=GOOD):
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "backend.toml").write_text(toml, encoding="utf-8")
    (folder / "runtime.py").write_text("", encoding="utf-8")
    (root / "shared").mkdir(exist_ok=True)
    (root / "shared" / "train.py").write_text("", encoding="utf-8")
    return folder


def test_a_folder_with_a_backend_toml_is_a_backend(tmp_path):
    make(tmp_path, "low", GOOD.replace("7", "1"))
    make(tmp_path, "good")
    found = registry.scan(tmp_path)
    assert list(found) == ["good", "low"]  # highest rank first; `shared` has no backend.toml
    good = found["good"]
    assert (good.title, good.rank, good.auto, good.requires) == ("Good", 7, True, ("json",))
    assert good.train_py == (tmp_path / "shared" / "train.py").resolve()
    assert good.python_path == [tmp_path / "good", (tmp_path / "shared").resolve()]
    assert good.problem is None


@pytest.mark.parametrize(
    "toml, words",
    [
        ("title = ", "cannot be read"),
        (GOOD.replace("rank = 7", ""), "'rank' is missing"),
        (GOOD.replace("rank = 7", "rank = true"), "rank must be a whole number, not True"),
        (GOOD.replace("rank", "ranc"), "unknown key 'ranc'; did you mean rank?"),
        (GOOD.replace('["json"]', "[1]"), "requires must be a list of names to import, not [1]"),
        (GOOD.replace("install =", "#"), "'install' is missing"),
        (GOOD.replace("../shared/train.py", "nowhere.py"), "there is no nowhere.py"),
    ],
)
def test_a_wrong_backend_toml_is_its_own_problem(tmp_path, toml, words):
    make(tmp_path, "wrong", toml)
    make(tmp_path, "good")
    found = registry.scan(tmp_path)
    assert words in found["wrong"].problem
    assert "\n" not in found["wrong"].problem
    assert found["good"].problem is None


def install(site, entry_points):
    """What a package manager leaves in site-packages."""
    info = site / "plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[autoresearch.backends]\n{entry_points}\n", encoding="utf-8")


def test_an_installed_package_brings_a_backend_and_is_not_imported_for_it(tmp_path, monkeypatch):
    make(tmp_path / "plugin", "npu", GOOD)
    (tmp_path / "plugin" / "__init__.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    install(tmp_path, "npu = plugin.npu")
    monkeypatch.syspath_prepend(tmp_path)
    found = registry.scan()
    assert found["npu"].problem is None
    assert found["npu"].folder == tmp_path / "plugin" / "npu"


def test_an_entry_point_may_name_a_path(tmp_path, monkeypatch):
    folder = make(tmp_path / "elsewhere", "tpu")
    (tmp_path / "plugin_paths.py").write_text(f"FOLDER = {str(folder)!r}\n", encoding="utf-8")
    install(tmp_path, "tpu = plugin_paths:FOLDER\nlost = plugin_paths:NOWHERE\ngone = no_such_package.backend")
    monkeypatch.syspath_prepend(tmp_path)
    found = registry.scan()
    assert found["tpu"].problem is None
    assert "does not load: AttributeError" in found["lost"].problem
    assert "no folder of that package holds a backend.toml" in found["gone"].problem


def test_an_entry_point_cannot_take_a_shipped_name(tmp_path, monkeypatch):
    shipped = registry.scan()
    name = next(iter(shipped))
    make(tmp_path / "plugin", name)
    install(tmp_path, f"{name} = plugin.{name}")
    monkeypatch.syspath_prepend(tmp_path)
    found = registry.scan()
    assert found[name] == shipped[name]
    assert next(one.problem for key, one in found.items() if key not in shipped).startswith(f"the name {name} is taken")


PROFILE = """
title = "NPU"
backends = ["npu"]
[data]
corpus = "stdlib"
vocab_size = 512
seq_len = 64
eval_bytes = 20_000
[budget]
train_seconds = 300
startup_limit_seconds = 60
"""


def bring(site, monkeypatch, name="npu-small", profile=PROFILE):
    """An installed package with a backend and, in the same folder, its profile."""
    folder = make(site / "plugin", "npu")
    (folder / "profiles").mkdir()
    (folder / "profiles" / f"{name}.toml").write_text(profile, encoding="utf-8")
    install(site, "npu = plugin.npu")
    monkeypatch.syspath_prepend(site)
    return folder / "profiles" / f"{name}.toml"


def test_a_backend_brings_its_profiles(tmp_path, monkeypatch):
    file = bring(tmp_path, monkeypatch)
    backend = registry.scan()["npu"]
    assert (backend.problem, backend.profiles) == (None, [file])
    assert profiles.load("npu-small").source == str(file)
    best, _, _ = profiles.choose("auto", backend, Facts(ok=True, device="NPU"))
    assert best.name == "npu-small"


@pytest.mark.parametrize(
    "name, profile, words",
    [
        ("npu-small", PROFILE.replace("npu", "cuda"), 'backends must be ["npu"]'),
        ("npu-small", PROFILE.replace("seq_len = 64", ""), "'seq_len' is missing"),
        ("cpu", PROFILE, "is taken by"),
    ],
)
def test_a_wrong_profile_is_its_backends_problem_and_nobody_elses(tmp_path, monkeypatch, name, profile, words):
    before = profiles.all()
    bring(tmp_path, monkeypatch, name, profile)
    assert words in registry.scan()["npu"].problem
    assert profiles.all() == before


def test_what_a_probe_sees_of_the_users_variables_its_workers_see(tmp_path, monkeypatch):
    """HSA_OVERRIDE_GFX_VERSION reached the probe and not the cell: a card was found, and no training began."""
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "runtime.py").touch()
    (folder / "train.py").touch()
    table = 'title = "B"\nrank = 1\nauto = true\ntrain = "train.py"\n[sandbox]\nvariables = ["A_CARD", "ITS_ROOT"]\n'
    (folder / "backend.toml").write_text(table)
    backend = registry.read("b", folder)
    assert backend.variables == {}
    monkeypatch.setenv("A_CARD", "1")
    monkeypatch.setenv("ITS_ROOT", str(tmp_path))
    assert backend.variables == {"A_CARD": "1", "ITS_ROOT": str(tmp_path)}
    cell = policy.cell(0, tmp_path / "b", [], needs=backend.sandbox)
    assert str(tmp_path.resolve()) in cell.reads, "a folder that a variable names is read"
    (folder / "backend.toml").write_text(table.replace("A_CARD", "A_TOKEN"))
    assert "A_TOKEN looks like a key" in registry.read("b", folder).problem


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("cuda", {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "TRITON_PTXAS_PATH", "TRITON_LIBCUDA_PATH", "KERNELS_CACHE"}),
        ("rocm", {"HSA_OVERRIDE_GFX_VERSION", "HIP_VISIBLE_DEVICES", "ROCM_PATH", "TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL"}),
        ("xpu", {"ONEAPI_DEVICE_SELECTOR", "ZE_AFFINITY_MASK"}),
        ("jax", {"JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES"}),
    ],
)
def test_each_backend_declares_what_sets_up_its_driver(name, variables):
    assert variables <= set(registry.scan()[name].sandbox.variables)


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("cuda", ["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-caps/nvidia-cap1"]),
        ("cuda", ["/dev/dxg"]),  # WSL
        ("cuda", ["/dev/nvhost-ctrl-gpu", "/dev/nvhost-gpu", "/dev/nvmap", "/dev/nvgpu/igpu0/ctrl"]),  # Jetson (L4T 36)
        ("rocm", ["/dev/kfd", "/dev/dri/renderD128"]),
        ("xpu", ["/dev/dri/renderD128"]),
        ("jax", ["/dev/nvidia0", "/dev/accel0", "/dev/vfio/0"]),
    ],
)
def test_the_nodes_that_a_driver_opens_are_in_its_cell(name, nodes):
    patterns = registry.scan()[name].sandbox.devices
    assert [node for node in nodes if not any(fnmatch.fnmatch(node, pattern) for pattern in patterns)] == []


@pytest.mark.parametrize("name", ["cuda", "rocm", "xpu"])
def test_an_install_line_takes_pytorch_from_its_own_index_alone(name):
    """--extra-index-url lets pip take the build without the device from the other index."""
    line = registry.scan()[name].install
    assert "--index-url https://download.pytorch.org/whl/" in line and "--extra-index-url" not in line

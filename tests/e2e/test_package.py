"""The wheel, as somebody who has no checkout gets it: built from the sdist, installed in a new environment, run from elsewhere."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The command line on a machine that does other things too: see conftest's fixture of that name.
UNHURRIED = """
from autoresearch import cli
from autoresearch.run import experiment
experiment.GRACE_LEAST_SECONDS = experiment.GRACE_MOST_SECONDS = 60.0
cli.main()
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("no checkout to build from")
    out = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT])  # the sdist, and the wheel from that
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A new virtual environment that holds the wheel; what it depends on is borrowed from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    variables = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=variables))
    # pip of this environment, told to install for that one's Python.
    pip = [sys.executable, "-m", "pip", "--python", _program(folder, "python"), "install", "--no-deps", "--no-index"]
    _run([*pip, "--no-cache-dir", "--disable-pip-version-check", wheel])
    # A path file adds its folder behind the new site-packages, so the wheel's copy comes first; path files in the borrowed
    # folder, the editable install's among them, are not read.
    (site / "borrowed.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}) + "\n", "utf-8")
    return folder


@pytest.fixture
def installed(environment, tmp_path):
    """Run a program of that environment in a folder that has nothing to do with the project."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    variables |= {"AUTORESEARCH_CACHE_DIR": str(tmp_path / "cache"), "PYTHONIOENCODING": "utf-8"}
    work = tmp_path / "elsewhere"
    work.mkdir()

    def run(program: str, *arguments: str) -> str:
        return _run([_program(environment, program), *arguments], cwd=work, env=variables)

    return run


def test_the_wheel_holds_what_git_tracks_of_what_is_shipped_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    shipped = {path if path.startswith("autoresearch/") else f"autoresearch/{path}" for path in _tracked()}
    assert {"autoresearch/program.md", "autoresearch/profiles/null.toml", "autoresearch/study/AGENTS.template.md"} < shipped
    assert names == shipped
    assert "autoresearch/backends/__init__.py" not in names  # run, never imported


def test_the_wheels_own_copy_is_what_runs(installed, environment):
    ask = "import autoresearch, json; from autoresearch.paths import shipped; print(json.dumps([autoresearch.__file__, "
    ask += "*map(str, map(shipped, ['backends', 'profiles', 'program.md']))]))"
    package, *shipped = map(Path, json.loads(installed("python", "-c", ask)))
    inside = package.resolve().parent
    assert inside.is_relative_to(environment.resolve())
    assert all(path.exists() and path.resolve().is_relative_to(inside) for path in shipped)


def test_doctor_and_profiles_work_from_anywhere(installed):
    # This environment borrows packages by a .pth file, from folders that no cell reads: doctor would end with 1, and say so.
    seen = json.loads(installed("autoresearch", "doctor", "--json", "--sandbox", "none"))
    assert {backend["name"] for backend in seen["backends"]} == {path.parent.name for path in ROOT.glob("backends/*/backend.toml")}
    listed = installed("autoresearch", "profiles")
    assert all(path.stem in listed for path in ROOT.glob("profiles/*.toml"))


def test_a_study_runs_and_is_reported_from_anywhere(installed, corpus):
    terms = "--backend null --profile null --agent search --decide strict --sandbox none --train-seconds 1 --experiments 1 --plain"
    run = ["run", *terms.split(), "--corpus", str(corpus), "--workspace", "study"]
    assert "stopped: 1 experiment done" in installed("python", "-c", UNHURRIED, *run)
    installed("autoresearch", "report", "--workspace", "study")


def _tracked() -> list[str]:
    """The files in git of what is shipped, as they lie in a checkout, new ones too; without what running them left behind."""
    shown = [
        "git",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "autoresearch",
        "backends",
        "profiles",
        "tasks",
        "program.md",
    ]
    return [path for path in _run(shown, cwd=ROOT).splitlines() if (ROOT / path).is_file()]


def _program(folder: Path, name: str) -> Path:
    return folder / ("Scripts" if os.name == "nt" else "bin") / (f"{name}.exe" if os.name == "nt" else name)


def _run(command, **options) -> str:
    ended = subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8", timeout=240, **options)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout
